//! Output for people: tables, sizes, times, and colors.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, ContentArrangement, presets};
use ws_router_admin_api::event::Terms;
use ws_router_admin_api::{Drain, Registration};

/// Form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// JSON documents for programs.
    Json,
    /// Text for people.
    Text(Colors),
}

/// Whether text is colored. Colors only repeat what the words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colors {
    Off,
    On,
}

impl Format {
    /// Chooses JSON if it is asked for, and colors where standard output shows them.
    pub(super) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        Self::Text(Colors::of(io::stdout().is_terminal(), |name| std::env::var_os(name)))
    }

    pub(super) fn is_json(self) -> bool {
        self == Self::Json
    }

    /// Returns the colors of text; none for JSON.
    pub(super) fn colors(self) -> Colors {
        match self {
            Self::Json => Colors::Off,
            Self::Text(colors) => colors,
        }
    }
}

impl Colors {
    /// Follows no-color.org: colors on a terminal, unless `NO_COLOR` is set to something.
    fn of(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_plain = variable("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        if is_terminal && !is_refused && !is_plain { Self::On } else { Self::Off }
    }

    /// Makes headings and names bold.
    pub(super) fn strong(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    /// Shows success in green.
    pub(super) fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }

    /// Shows what an administrator should notice in yellow.
    pub(super) fn notice(self, text: impl Display) -> String {
        self.paint("33", text)
    }

    /// Shows failures in red.
    pub(super) fn bad(self, text: impl Display) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: impl Display) -> String {
        match self {
            Self::Off => text.to_string(),
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    /// For words.
    Left,
    /// For numbers.
    Right,
}

/// A table of aligned columns without lines, whose headings are its first row.
#[derive(Debug)]
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// Creates a table with these headings.
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = comfy_table::Table::new();
        // Ids and addresses are copied from tables, so no cell is ever wrapped.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|(heading, _)| heading));
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, GAP));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self(table)
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells);
    }

    /// Prints headings and rows; no line ends in spaces.
    pub(super) fn print(&self, colors: Colors, out: &mut impl Write) -> io::Result<()> {
        let text = self.0.to_string();
        let mut lines = text.lines().map(str::trim_end);
        if let Some(headings) = lines.next() {
            writeln!(out, "{}", colors.strong(headings))?;
        }
        lines.try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// Shows bytes: `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// Shows a span of time by its two largest units: `3days 4h`.
pub(super) fn age(millis: u64) -> String {
    let whole = humantime::format_duration(Duration::from_secs(millis / 1000)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Shows a point in time, in UTC: `2026-01-31T12:00:00Z`.
pub(super) fn time(millis: u64) -> String {
    // The format has no year above 9999.
    let time = UNIX_EPOCH + Duration::from_millis(millis.min(LAST_MILLISECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Shows an id so that it can be pasted after a command: one that begins with a hyphen would be taken for an option.
pub(super) fn id_argument(id: &str) -> String {
    if id.starts_with('-') { format!("-- {id}") } else { id.to_owned() }
}

/// Shows the terms of a registration, in a few words each.
pub(super) fn in_words(terms: &Terms) -> Vec<String> {
    let Terms { client_key, receive_key, max_members, ends_in_ms, subprotocol, wait_ms } = terms;
    let words = [
        client_key.then(|| "client_key".to_owned()),
        receive_key.then(|| "receive_key".to_owned()),
        max_members.map(|most| format!("at most {}", plural(most, "member"))),
        ends_in_ms.map(|left| format!("ends in {}", age(left))),
        subprotocol.as_ref().map(|name| format!("subprotocol {name}")),
        wait_ms.map(|time| format!("messages wait {}", age(time))),
    ];
    words.into_iter().flatten().collect()
}

/// Shows what waits in a registration until a receiver joins: `12.0 KiB for a host, 40s left`, or until a host accepts:
/// `2 clients for a host`; `None` if nothing does.
pub(super) fn waiting(registration: &Registration) -> Option<String> {
    if let Some(clients) = registration.waiting_clients.filter(|clients| *clients > 0) {
        return Some(format!("{} for a host to accept", plural(clients, "client")));
    }
    if registration.waiting_messages == 0 {
        return None;
    }
    let roles: Vec<_> = registration.waiting_for.iter().map(|role| format!("a {}", role.as_str())).collect();
    let receiver = if roles.is_empty() { "a receiver".into() } else { roles.join(" and ") };
    let left = registration.waiting_left_ms.map(|left| format!(", {} left", age(left))).unwrap_or_default();
    Some(format!("{} for {receiver}{left}", size(registration.waiting_bytes)))
}

/// Shows the traffic of a member: `9 messages, 1.5 KiB in; 12 messages, 2 KiB out`.
pub(super) fn traffic(received: (u64, u64), delivered: (u64, u64)) -> String {
    let [received, delivered] =
        [received, delivered].map(|(messages, bytes)| format!("{}, {}", plural(messages, "message"), size(bytes)));
    format!("{received} in; {delivered} out")
}

/// Shows the progress of a drain: `12 of 40 members left, 23s`.
pub(super) fn progress(drain: &Drain) -> String {
    format!("{} of {} members left, {}", drain.members, drain.members_before, age(drain.left_ms))
}

/// Shows a count with its noun: `1 member`, `2 members`.
pub(super) fn plural(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Shows the counts that aren't zero: `3 lost, 1 no-pong`, or `none`.
pub(super) fn nonzero<'a>(counts: impl IntoIterator<Item = (u64, &'a str)>) -> String {
    let counted = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let list = counted.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "none".into() } else { list }
}

/// Shows the reasons that have occurred.
pub(super) fn reasons(counts: &BTreeMap<String, u64>) -> String {
    nonzero(counts.iter().map(|(reason, count)| (*count, reason.as_str())))
}

/// Spaces between two columns.
const GAP: u16 = 2;
/// 9999-12-31T23:59:59Z
const LAST_MILLISECOND: u64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_left_and_numbers_right_and_no_line_ends_in_spaces() {
        let mut table = Table::new(&[("ID", Align::Left), ("MEMBERS", Align::Right), ("KIND", Align::Left)]);
        table.row(["my-device".into(), "2".into(), "lobby".into()]);
        table.row(["x".into(), "10000".into(), "".into()]);
        let mut out = Vec::new();
        table.print(Colors::Off, &mut out).unwrap();
        let expected = "ID         MEMBERS  KIND\nmy-device        2  lobby\nx            10000\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn colors_need_a_terminal_and_no_variable_that_turns_them_off() {
        let colors = |is_terminal, variables: &'static [(&str, &str)]| {
            Colors::of(is_terminal, |name| variables.iter().find(|one| one.0 == name).map(|one| one.1.into()))
        };
        assert_eq!(colors(true, &[("TERM", "xterm")]), Colors::On);
        assert_eq!(colors(true, &[("TERM", "xterm"), ("NO_COLOR", "")]), Colors::On);
        assert_eq!(colors(true, &[("TERM", "xterm"), ("NO_COLOR", "1")]), Colors::Off);
        assert_eq!(colors(true, &[("TERM", "dumb")]), Colors::Off);
        assert_eq!(colors(false, &[("TERM", "xterm")]), Colors::Off);
        assert_eq!((Colors::On.bad("x"), Colors::Off.bad("x")), ("\x1b[31mx\x1b[0m".into(), "x".into()));
    }

    #[test]
    fn a_span_is_shown_by_its_two_largest_units() {
        assert_eq!(age(999), "0s");
        assert_eq!(age(61_000), "1m 1s");
        assert_eq!(age(((3 * 24 + 4) * 3600 + 5) * 1000), "3days 4h");
    }

    #[test]
    fn progress_shows_the_members_and_the_time_left() {
        let drain = Drain { members: 12, members_before: 40, left_ms: 23_400, ..Drain::default() };
        assert_eq!(progress(&drain), "12 of 40 members left, 23s");
    }

    #[test]
    fn sizes_and_times_have_the_usual_form() {
        assert_eq!(size(1536 * 1024), "1.5 MiB");
        assert_eq!(size(12), "12 B");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn only_counts_above_zero_are_shown() {
        assert_eq!(nonzero([(2, "lost"), (0, "left"), (1, "too-slow")]), "2 lost, 1 too-slow");
        assert_eq!(nonzero([(0, "left")]), "none");
        assert_eq!((plural(1, "member"), plural(0, "member")), ("1 member".into(), "0 members".into()));
    }
}
