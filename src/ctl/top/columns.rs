//! The columns of both tables: their headings, widths and keys, and the choice of those that fit the terminal.

/// Column of a table, by which it can be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Kind,
    Members,
    Messages,
    MessagesIn,
    MessagesOut,
    Bytes,
    BytesIn,
    BytesOut,
    Outbox,
    Age,
    EndsIn,
    Rule,
    Terms,
    Waiting,
    Pairs,
    Queue,
    Pair,
    Sends,
    Token,
    Number,
    Role,
    Address,
    Tls,
    RoundTrip,
    Resent,
    Unsent,
    Silent,
}

/// Appearance of a column.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) column: Column,
    pub(super) heading: &'static str,
    /// Width in characters; for the flexible column, the maximum.
    pub(super) width: u16,
    /// Whether it holds words, which are aligned to the left; numbers are aligned to the right.
    pub(super) words: bool,
    /// Order in which columns are dropped on a narrow terminal: the highest rank first.
    rank: u8,
    /// Key that sorts by it.
    pub(super) key: Option<char>,
}

/// Columns of a table.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) specs: &'static [Spec],
    /// The column that takes the remaining width. Its first minimum is for important columns only; less important ones are
    /// added as long as it keeps the second.
    flexible: (Column, u16, u16),
}

impl Column {
    /// Returns whether the largest values come first, as for most numbers.
    pub(super) fn is_descending(self) -> bool {
        !matches!(self, Self::Id | Self::Kind | Self::Rule | Self::Number | Self::Role | Self::Address | Self::Tls)
    }

    /// Returns whether it says something of paired registrations only.
    fn is_of_paired(self) -> bool {
        matches!(self, Self::Pairs | Self::Queue | Self::Pair)
    }

    /// Returns its name in a sentence, and the names of its two orders: the ordinary and the reversed one.
    pub(super) fn description(self) -> (&'static str, [&'static str; 2]) {
        let (name, first) = match self {
            Self::Id => ("id", ["a to z", "z to a"]),
            Self::Members => ("members", MOST),
            Self::Messages => ("messages/s", MOST),
            Self::Bytes => ("bytes/s", MOST),
            Self::Outbox => ("outbox", MOST),
            Self::Waiting => ("waiting", MOST),
            Self::Queue => ("queue", MOST),
            Self::Age => ("age", ["oldest first", "newest first"]),
            Self::Number => ("number", ["earliest first", "latest first"]),
            Self::RoundTrip => ("round trip", ["slowest first", "fastest first"]),
            Self::Resent => ("resent", MOST),
            Self::Unsent => ("unsent", MOST),
            Self::Silent => ("silence", ["longest first", "shortest first"]),
            _ => ("", MOST),
        };
        (name, first)
    }
}

impl Columns {
    /// Returns the columns that fit, in order, with their widths. The one that rows are sorted by is always included; the
    /// others are added in the order of their importance. Those of paired registrations are left out without one.
    pub(super) fn fitting(&self, room: u16, sorted_by: Column, with_paired: bool) -> Vec<(&'static Spec, u16)> {
        let (flexible, least, comfortable) = self.flexible;
        let rank = |spec: &Spec| if spec.column == sorted_by { 0 } else { spec.rank };
        let has_place = |column: Column| column != flexible && (with_paired || !column.is_of_paired());
        let mut by_rank: Vec<&Spec> = self.specs.iter().filter(|spec| has_place(spec.column)).collect();
        by_rank.sort_by_key(|spec| rank(spec));
        let (mut taken, mut chosen) = (0, vec![flexible]);
        // Columns of one rank are shown together or not at all.
        for group in by_rank.chunk_by(|one, other| rank(one) == rank(other)) {
            let (rank, more) = (rank(group[0]), group.iter().map(|spec| GAP + spec.width).sum::<u16>());
            let beside = if rank <= IMPORTANT { least } else { comfortable };
            if beside + taken + more > room && rank > 0 {
                // The following ones are less important, even if they are narrower.
                break;
            }
            taken += more;
            chosen.extend(group.iter().map(|spec| spec.column));
        }
        let shown = self.specs.iter().filter(|spec| chosen.contains(&spec.column));
        let width = |spec: &Spec| if spec.column == flexible { room.saturating_sub(taken) } else { spec.width };
        shown.map(|spec| (spec, width(spec).min(spec.width))).collect()
    }

    /// Returns the column that a key sorts by.
    pub(super) fn for_key(&self, key: char) -> Option<Column> {
        self.specs.iter().find(|spec| spec.key == Some(key)).map(|spec| spec.column)
    }
}

const fn words(column: Column, heading: &'static str, width: u16, rank: u8, key: Option<char>) -> Spec {
    Spec { column, heading, width, words: true, rank, key }
}

const fn number(column: Column, heading: &'static str, width: u16, rank: u8, key: Option<char>) -> Spec {
    Spec { column, heading, width, words: false, rank, key }
}

/// Columns of the table of registrations.
pub(super) const REGISTRATIONS: Columns = Columns {
    flexible: (Column::Id, 12, 32),
    specs: &[
        words(Column::Id, "ID", 64, 0, Some('i')),
        words(Column::Kind, "KIND", 10, 6, None),
        number(Column::Members, "MEMBERS", 7, 1, Some('m')),
        number(Column::Messages, "MSG/S", 6, 2, Some('t')),
        number(Column::MessagesIn, "IN/S", 6, 8, None),
        number(Column::MessagesOut, "OUT/S", 6, 8, None),
        number(Column::Bytes, "BYTES/S", 8, 3, Some('b')),
        number(Column::BytesIn, "IN B/S", 8, 9, None),
        number(Column::BytesOut, "OUT B/S", 8, 9, None),
        number(Column::Outbox, "OUTBOX", 8, 4, Some('o')),
        number(Column::Age, "AGE", 7, 5, Some('a')),
        number(Column::Pairs, "PAIRS", 6, 7, None),
        number(Column::Queue, "QUEUE", 6, 7, Some('c')),
        number(Column::EndsIn, "ENDS IN", 7, 10, None),
        number(Column::Waiting, "WAITING", 8, 11, Some('w')),
        words(Column::Rule, "RULE", 16, 12, None),
        words(Column::Terms, "TERMS", 48, 13, None),
    ],
};

/// Columns of the table of members.
pub(super) const MEMBERS: Columns = Columns {
    flexible: (Column::Address, 15, 21),
    specs: &[
        number(Column::Number, "N", 6, 0, Some('n')),
        words(Column::Role, "ROLE", 6, 0, None),
        words(Column::Pair, "PAIR", 7, 1, None),
        words(Column::Address, "ADDRESS", 48, 0, None),
        words(Column::Tls, "TLS", 3, 9, None),
        number(Column::Messages, "MSG/S", 6, 6, Some('t')),
        number(Column::MessagesIn, "IN/S", 6, 10, None),
        number(Column::MessagesOut, "OUT/S", 6, 10, None),
        number(Column::Bytes, "BYTES/S", 8, 7, Some('b')),
        number(Column::RoundTrip, "RTT", 8, 1, Some('p')),
        number(Column::Resent, "RESENT", 6, 4, Some('e')),
        number(Column::Unsent, "UNSENT", 8, 5, Some('u')),
        number(Column::Outbox, "OUTBOX", 8, 2, Some('o')),
        number(Column::Silent, "SILENT", 7, 3, Some('s')),
        number(Column::Age, "AGE", 7, 8, Some('a')),
        words(Column::Sends, "SENDS", 5, 11, None),
        words(Column::Rule, "RULE", 16, 12, None),
        words(Column::Token, "TOKEN", 16, 12, None),
    ],
};

/// Highest rank for which the flexible column is narrowed.
const IMPORTANT: u8 = 5;
/// Space between two columns, in characters.
pub(super) const GAP: u16 = 1;
const MOST: [&str; 2] = ["most first", "least first"];

#[cfg(test)]
mod tests {
    use super::*;

    fn headings(columns: &Columns, room: u16, sorted_by: Column) -> Vec<&'static str> {
        let fitting = columns.fitting(room, sorted_by, false);
        let taken: u16 = fitting.iter().map(|(_, width)| width + GAP).sum();
        assert!(taken <= room + GAP, "{taken} in {room}");
        fitting.into_iter().map(|(spec, _)| spec.heading).collect()
    }

    #[test]
    fn eighty_characters_show_the_main_columns() {
        let registrations = ["ID", "MEMBERS", "MSG/S", "BYTES/S", "OUTBOX", "AGE"];
        assert_eq!(headings(&REGISTRATIONS, 78, Column::Messages), registrations);
        let members = ["N", "ROLE", "ADDRESS", "RTT", "RESENT", "UNSENT", "OUTBOX", "SILENT"];
        assert_eq!(headings(&MEMBERS, 78, Column::Number), members);
        let width = |columns: &Columns, column| {
            columns.fitting(78, Column::Age, false).iter().find(|(spec, _)| spec.column == column).unwrap().1
        };
        // A whole id that the router has chosen.
        assert!(width(&REGISTRATIONS, Column::Id) >= 32);
        assert!(width(&MEMBERS, Column::Address) >= 15);
    }

    #[test]
    fn a_narrow_terminal_keeps_the_important_columns_and_the_sorted_one() {
        assert_eq!(headings(&REGISTRATIONS, 38, Column::Messages), ["ID", "MEMBERS", "MSG/S", "BYTES/S"]);
        assert_eq!(headings(&REGISTRATIONS, 38, Column::Age), ["ID", "MEMBERS", "MSG/S", "AGE"]);
        assert_eq!(headings(&MEMBERS, 38, Column::Number), ["N", "ROLE", "ADDRESS", "RTT"]);
        assert_eq!(headings(&REGISTRATIONS, 20, Column::Age), ["ID", "AGE"]);
    }

    #[test]
    fn a_wide_terminal_shows_all_columns() {
        let wide = headings(&REGISTRATIONS, 118, Column::Messages);
        assert!(wide.contains(&"KIND") && wide.contains(&"OUT B/S"), "{wide:?}");
        for (columns, room) in [(REGISTRATIONS, 260), (MEMBERS, 206)] {
            let all = columns.fitting(room, Column::Messages, true).len();
            assert_eq!(all, columns.specs.len());
            let of_paired = columns.specs.iter().filter(|spec| spec.column.is_of_paired()).count();
            assert_eq!(columns.fitting(room, Column::Messages, false).len(), all - of_paired);
        }
    }

    #[test]
    fn the_members_of_a_paired_registration_have_their_part_on_eighty_characters() {
        let fitting = MEMBERS.fitting(78, Column::Number, true);
        assert!(fitting.iter().any(|(spec, _)| spec.column == Column::Pair));
    }

    #[test]
    fn each_key_sorts_by_one_column_that_has_a_name() {
        for columns in [REGISTRATIONS, MEMBERS] {
            for spec in columns.specs {
                let Some(key) = spec.key else { continue };
                assert_eq!(columns.for_key(key), Some(spec.column), "{key}");
                assert_ne!(spec.column.description().0, "", "{key}");
            }
        }
        assert_eq!(REGISTRATIONS.for_key('n'), None);
    }
}
