//! The rows of both tables: a registration or a member as the daemon reports it, with its current rates.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ws_router_admin_api as wire;

use super::super::output::in_words;
use super::columns::Column;
use super::rates::{Counts, Rates, SMOOTHED, bytes, count, mean, round_trip, span};

/// Row of a table.
pub(super) trait Row {
    /// Id that is the same in every sample.
    type Id: Clone + Ord + Hash;

    /// Returns its id.
    fn id(&self) -> &Self::Id;
    /// Returns its rates.
    fn pace(&self) -> Pace;
    /// Compares two rows by a column, in ascending order.
    fn compare(&self, other: &Self, column: Column) -> Ordering;
    /// Returns the text of a column.
    fn cell(&self, column: Column) -> String;
    /// Returns the number of members, by which rows of equal rates are sorted.
    fn members(&self) -> u64 {
        0
    }
    /// Returns whether the row is, or belongs to, a paired registration.
    fn is_of_paired(&self) -> bool;
    /// Returns whether the row contains a text in lower case.
    fn contains(&self, text: &str) -> bool;
}

/// Rates of a row, smoothed over some samples, and the counters from which the next ones are computed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    pub(super) base: Counts,
    /// Mean of the recent rates.
    pub(super) rates: Option<Rates>,
    /// Rates of the last samples, the newest first.
    recent: [Option<Rates>; SMOOTHED],
}

impl Pace {
    /// Returns the rates of a new row. All its counts are new; without a time, there is no earlier sample to compare with.
    pub(super) fn first(now: Counts, time: Option<Duration>) -> Self {
        let rates = time.and_then(|time| Rates::between(Counts::default(), now, time));
        Self { base: now, ..Self::default() }.with(rates)
    }

    /// Adds a sample, taken `time` after the last one; `None` if that is too soon for rates.
    pub(super) fn next(self, now: Counts, time: Option<Duration>) -> Self {
        match time {
            Some(time) => Self { base: now, ..self }.with(Rates::between(self.base, now, time)),
            None => self,
        }
    }

    /// Adds rates to the recent ones, or forgets all of them if the counters have restarted.
    fn with(mut self, rates: Option<Rates>) -> Self {
        match rates {
            Some(_) => {
                self.recent.rotate_right(1);
                self.recent[0] = rates;
            }
            None => self.recent = [None; SMOOTHED],
        }
        self.rates = mean(self.recent.into_iter().flatten());
        self
    }

    fn messages(&self) -> f64 {
        self.rates.map_or(0.0, |rates| rates.messages())
    }

    fn bytes(&self) -> f64 {
        self.rates.map_or(0.0, |rates| rates.bytes())
    }

    fn cell(&self, column: Column) -> String {
        let Some(rates) = self.rates else { return UNKNOWN.into() };
        match column {
            Column::Messages => count(rates.messages()),
            Column::MessagesIn => count(rates.messages_in),
            Column::MessagesOut => count(rates.messages_out),
            Column::Bytes => bytes(rates.bytes()),
            Column::BytesIn => bytes(rates.bytes_in),
            _ => bytes(rates.bytes_out),
        }
    }
}

/// Row of a registration.
#[derive(Debug, Clone)]
pub(super) struct RegistrationRow {
    pub(super) known: wire::Registration,
    pub(super) pace: Pace,
}

impl Row for RegistrationRow {
    type Id = String;

    fn id(&self) -> &String {
        &self.known.id
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn members(&self) -> u64 {
        self.known.seats
    }

    fn compare(&self, other: &Self, column: Column) -> Ordering {
        let (one, two) = (&self.known, &other.known);
        match column {
            Column::Members => one.seats.cmp(&two.seats),
            Column::Messages => self.pace.messages().total_cmp(&other.pace.messages()),
            Column::Bytes => self.pace.bytes().total_cmp(&other.pace.bytes()),
            Column::Outbox => one.outbox_bytes.cmp(&two.outbox_bytes),
            Column::Age => one.age_ms.cmp(&two.age_ms),
            Column::Waiting => one.waiting_bytes.cmp(&two.waiting_bytes),
            // One that isn't paired sorts below all that are.
            Column::Queue => one.waiting_clients.cmp(&two.waiting_clients),
            // The other columns have no key; the id decides.
            _ => Ordering::Equal,
        }
    }

    fn cell(&self, column: Column) -> String {
        let known = &self.known;
        match column {
            Column::Id => known.id.clone(),
            Column::Kind => known.kind.as_str().into(),
            Column::Members => known.seats.to_string(),
            Column::Outbox => bytes(known.outbox_bytes as f64),
            Column::Waiting => bytes(known.waiting_bytes as f64),
            Column::Pairs => known.pairs.map_or(UNKNOWN.into(), |pairs| pairs.to_string()),
            Column::Queue => known.waiting_clients.map_or(UNKNOWN.into(), |clients| clients.to_string()),
            Column::Age => span(known.age_ms),
            Column::EndsIn => known.expires_in_ms.map_or(UNKNOWN.into(), span),
            Column::Rule => known.rule.clone().unwrap_or(UNKNOWN.into()),
            Column::Terms => in_words(&known.terms()).join(", "),
            rate => self.pace.cell(rate),
        }
    }

    fn is_of_paired(&self) -> bool {
        self.known.pairs.is_some()
    }

    fn contains(&self, text: &str) -> bool {
        let rule = self.known.rule.as_deref().unwrap_or_default();
        [self.known.id.as_str(), self.known.kind.as_str(), rule].iter().any(|part| part.to_lowercase().contains(text))
    }
}

/// Row of a member.
#[derive(Debug, Clone)]
pub(super) struct MemberRow {
    pub(super) known: wire::Member,
    pub(super) pace: Pace,
}

impl Row for MemberRow {
    type Id = u64;

    fn id(&self) -> &u64 {
        &self.known.id
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn compare(&self, other: &Self, column: Column) -> Ordering {
        let (one, two) = (&self.known, &other.known);
        match column {
            Column::Messages => self.pace.messages().total_cmp(&other.pace.messages()),
            Column::Bytes => self.pace.bytes().total_cmp(&other.pace.bytes()),
            Column::Outbox => one.outbox_bytes.cmp(&two.outbox_bytes),
            Column::Age => one.age_ms.cmp(&two.age_ms),
            Column::Silent => one.silent_ms.cmp(&two.silent_ms),
            // A value that the kernel doesn't report sorts below every value.
            Column::RoundTrip => one.round_trip_us.cmp(&two.round_trip_us),
            Column::Resent => one.retransmits.cmp(&two.retransmits),
            Column::Unsent => one.unsent_bytes.cmp(&two.unsent_bytes),
            // The number decides in any case.
            _ => Ordering::Equal,
        }
    }

    fn cell(&self, column: Column) -> String {
        let known = &self.known;
        match column {
            Column::Number => known.id.to_string(),
            Column::Role => known.role.as_str().into(),
            Column::Pair => self.pair().unwrap_or(UNKNOWN.into()),
            Column::Address => known.address.clone(),
            Column::Tls => if known.tls { "yes" } else { "no" }.into(),
            Column::RoundTrip => known.round_trip_us.map_or(UNKNOWN.into(), round_trip),
            Column::Resent => known.retransmits.map_or(UNKNOWN.into(), |times| count(times as f64)),
            Column::Unsent => known.unsent_bytes.map_or(UNKNOWN.into(), |left| bytes(left as f64)),
            Column::Outbox => bytes(known.outbox_bytes as f64),
            Column::Silent => span(known.silent_ms),
            Column::Age => span(known.age_ms),
            Column::Sends => if known.receives_only { "no" } else { "yes" }.into(),
            Column::Rule => self.rule().unwrap_or(UNKNOWN).into(),
            Column::Token => self.token().unwrap_or(UNKNOWN).into(),
            rate => self.pace.cell(rate),
        }
    }

    fn is_of_paired(&self) -> bool {
        self.known.pairing.is_some()
    }

    fn contains(&self, text: &str) -> bool {
        let number = self.known.id.to_string();
        let words = [Some(number.as_str()), Some(self.known.role.as_str()), Some(&self.known.address)];
        let words = words.into_iter().chain([self.rule(), self.token()]).flatten();
        words.into_iter().any(|part| part.to_lowercase().contains(text))
    }
}

impl MemberRow {
    /// Returns the part in a paired registration: the number of the other end, or what the member waits for.
    fn pair(&self) -> Option<String> {
        self.known.pairing.map(|pairing| match (pairing, self.known.paired_with) {
            (wire::Pairing::Listening, _) => "listens".into(),
            (wire::Pairing::Waiting, _) => "waits".into(),
            (wire::Pairing::Paired, Some(other)) => other.to_string(),
            (wire::Pairing::Paired, None) => "ending".into(),
        })
    }

    /// Returns the access rule that admitted the member.
    fn rule(&self) -> Option<&str> {
        self.known.admission.as_deref().map(|admission| &*admission.rule)
    }

    /// Returns the name of the token that admitted the member.
    fn token(&self) -> Option<&str> {
        self.known.admission.as_deref().and_then(|admission| admission.token_name.as_deref())
    }
}

/// Returns the rates of the last sample, and their counters, by id.
pub(super) fn paces<R: Row>(rows: &[R]) -> HashMap<R::Id, Pace> {
    rows.iter().map(|row| (row.id().clone(), row.pace())).collect()
}

/// Text for a value that is unknown, or doesn't apply.
const UNKNOWN: &str = "-";

#[cfg(test)]
mod tests {
    use super::super::columns::{MEMBERS, REGISTRATIONS};
    use super::super::tests::{known, member};
    use super::*;
    use ws_router_admin_api::event::Admission;
    use ws_router_core::kind::Role;

    fn row(known: wire::Member) -> MemberRow {
        MemberRow { pace: Pace::first(Counts::from(&known), None), known }
    }

    #[test]
    fn a_value_that_the_kernel_does_not_report_is_not_zero_and_sorts_last() {
        let by_tcp = row(member(1, Role::Peer));
        let unix = wire::Member { round_trip_us: None, retransmits: None, unsent_bytes: None, ..member(2, Role::Peer) };
        let unix = row(unix);
        for column in [Column::RoundTrip, Column::Resent, Column::Unsent] {
            assert_eq!(unix.cell(column), "-");
            assert_ne!(by_tcp.cell(column), "-");
            assert_eq!((column.is_descending(), by_tcp.compare(&unix, column)), (true, Ordering::Greater));
        }
    }

    #[test]
    fn each_sort_key_orders_rows_by_its_column() {
        let (small, large) = (row(member(1, Role::Peer)), {
            let mut large = row(wire::Member { age_ms: 70_000, silent_ms: 4_000, ..member(2, Role::Peer) });
            large.pace.rates = Some(Rates { messages_in: 1.0, bytes_in: 1.0, ..Rates::default() });
            large
        });
        for spec in MEMBERS.specs.iter().filter(|spec| spec.key.is_some() && spec.column != Column::Number) {
            assert_eq!(small.compare(&large, spec.column), Ordering::Less, "{:?}", spec.column);
        }
        let registration = |known, rates| RegistrationRow { known, pace: Pace { rates, ..Pace::default() } };
        let small = registration(known("a", 1, 0), None);
        let larger = wire::Registration {
            age_ms: 91_000,
            outbox_bytes: 1,
            waiting_bytes: 1,
            waiting_clients: Some(0),
            ..known("b", 2, 0)
        };
        let large = registration(larger, Some(Rates { messages_out: 1.0, bytes_out: 1.0, ..Rates::default() }));
        for spec in REGISTRATIONS.specs.iter().filter(|spec| spec.key.is_some() && spec.column != Column::Id) {
            assert_eq!(small.compare(&large, spec.column), Ordering::Less, "{:?}", spec.column);
        }
    }

    #[test]
    fn rates_are_the_mean_of_three_samples_and_restart_with_the_counters() {
        let second = Some(Duration::from_secs(1));
        let counted = |messages_in| Counts { messages_in, ..Counts::default() };
        let mut pace = Pace::first(counted(0), None);
        let mut after = |count| {
            pace = pace.next(counted(count), second);
            pace.rates.map(|rates| rates.messages_in)
        };
        assert_eq!([after(9), after(9), after(9), after(9)], [Some(9.0), Some(4.5), Some(3.0), Some(0.0)]);
        assert_eq!([after(2), after(4)], [None, Some(2.0)]);
    }

    #[test]
    fn a_member_that_only_receives_and_what_admitted_it_are_shown() {
        let admission = Admission { rule: "devices".into(), token_name: Some("phone".into()) };
        let known = wire::Member { receives_only: true, admission: Some(admission.into()), ..member(1, Role::Peer) };
        let row = row(known);
        assert_eq!(
            [Column::Sends, Column::Rule, Column::Token].map(|column| row.cell(column)),
            ["no", "devices", "phone"]
        );
        assert!(row.contains("devices") && row.contains("phone"));
        let row = self::row(member(1, Role::Peer));
        assert_eq!([Column::Sends, Column::Rule, Column::Token].map(|column| row.cell(column)), ["yes", "-", "-"]);
    }

    #[test]
    fn the_terms_of_a_registration_are_shown_in_words() {
        let known = wire::Registration { receive_key: true, max_members: Some(2), ..known("my-device", 1, 0) };
        let row = RegistrationRow { known, pace: Pace::default() };
        assert_eq!(row.cell(Column::Terms), "receive_key, at most 2 members");
    }

    #[test]
    fn a_filter_matches_ids_kinds_roles_addresses_and_rules() {
        let row = row(member(17, Role::Client));
        assert!(row.contains("192.0.2.7") && row.contains("client") && row.contains("17") && !row.contains("host"));
        let known = wire::Registration { rule: Some("Home".into()), ..known("Living-Room", 1, 0) };
        let row = RegistrationRow { known, pace: Pace::default() };
        assert!(row.contains("living") && row.contains("home") && row.contains("lobby") && !row.contains("kitchen"));
    }

    #[test]
    fn no_cell_is_wider_than_its_column() {
        let largest = wire::Member {
            age_ms: 999 * 365 * 86_400_000,
            silent_ms: 86_399_000,
            outbox_bytes: 1023 << 30,
            unsent_bytes: Some(1023 << 20),
            round_trip_us: Some(999_999),
            retransmits: Some(999_949),
            ..member(999_999, Role::Client)
        };
        let mut row = row(largest);
        let most = 999_949.0;
        row.pace.rates =
            Some(Rates { messages_in: most / 2.0, messages_out: most / 2.0, bytes_in: 1e12, bytes_out: 1e12 });
        for spec in MEMBERS.specs {
            let cell = row.cell(spec.column);
            assert!(cell.chars().count() <= usize::from(spec.width), "{:?}: {cell}", spec.column);
        }
    }
}
