//! Counters, their rates and the rates' recent history, and numbers in the short form that columns need.

use std::collections::VecDeque;
use std::time::Duration;

use ws_router_admin_api as wire;

/// Counters of messages and bytes, as the daemon reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) messages_in: u64,
    pub(super) bytes_in: u64,
    pub(super) messages_out: u64,
    pub(super) bytes_out: u64,
}

/// Messages and bytes per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) messages_in: f64,
    pub(super) bytes_in: f64,
    pub(super) messages_out: f64,
    pub(super) bytes_out: f64,
}

impl Rates {
    /// Returns the rates between two samples, or `None` if a counter has restarted in between, since its value before
    /// the restart is unknown.
    pub(super) fn between(before: Counts, now: Counts, time: Duration) -> Option<Self> {
        let seconds = time.as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 / seconds);
        Some(Self {
            messages_in: rate(before.messages_in, now.messages_in)?,
            bytes_in: rate(before.bytes_in, now.bytes_in)?,
            messages_out: rate(before.messages_out, now.messages_out)?,
            bytes_out: rate(before.bytes_out, now.bytes_out)?,
        })
    }

    /// Returns the messages of both directions.
    pub(super) fn messages(&self) -> f64 {
        self.messages_in + self.messages_out
    }

    /// Returns the bytes of both directions.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes_in + self.bytes_out
    }
}

/// Returns the mean of rates; `None` if there are none.
pub(super) fn mean(rates: impl Iterator<Item = Rates>) -> Option<Rates> {
    let (mut sum, mut count) = (Rates::default(), 0.0);
    for rates in rates {
        sum.messages_in += rates.messages_in;
        sum.bytes_in += rates.bytes_in;
        sum.messages_out += rates.messages_out;
        sum.bytes_out += rates.bytes_out;
        count += 1.0;
    }
    (count > 0.0).then(|| Rates {
        messages_in: sum.messages_in / count,
        bytes_in: sum.bytes_in / count,
        messages_out: sum.messages_out / count,
        bytes_out: sum.bytes_out / count,
    })
}

impl From<&wire::Relay> for Counts {
    fn from(of: &wire::Relay) -> Self {
        let wire::Relay { messages_in, bytes_in, messages_out, bytes_out, .. } = *of;
        Self { messages_in, bytes_in, messages_out, bytes_out }
    }
}

impl From<&wire::Registration> for Counts {
    fn from(of: &wire::Registration) -> Self {
        let wire::Registration { messages_in, bytes_in, messages_out, bytes_out, .. } = *of;
        Self { messages_in, bytes_in, messages_out, bytes_out }
    }
}

impl From<&wire::Member> for Counts {
    fn from(of: &wire::Member) -> Self {
        let wire::Member { messages_in, bytes_in, messages_out, bytes_out, .. } = *of;
        Self { messages_in, bytes_in, messages_out, bytes_out }
    }
}

/// Rates of the last samples, with gaps where there are none.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Option<Rates>>);

impl History {
    /// Adds the newest rates, or a gap.
    pub(super) fn push(&mut self, rates: Option<Rates>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rates);
    }

    /// Returns the mean of the newest rates, of up to [`SMOOTHED`] samples without a gap.
    pub(super) fn latest(&self) -> Option<Rates> {
        mean(self.0.iter().rev().map_while(|rates| *rates).take(SMOOTHED))
    }

    /// Returns one of the rates over the last `width` samples, the newest last, scaled for a sparkline.
    pub(super) fn series(&self, width: usize, of: impl Fn(&Rates) -> f64) -> Vec<Option<u64>> {
        let known = self.0.iter().skip(self.0.len().saturating_sub(width));
        let known = known.map(|rates| rates.as_ref().map(|rates| (of(rates) * SCALE).round() as u64));
        let missing = width.saturating_sub(self.0.len());
        std::iter::repeat_n(None, missing).chain(known).collect()
    }
}

/// Shows a number in at most six characters: `0.5`, `12`, `1234`, `12.3k`, `4.56M`.
pub(super) fn count(number: f64) -> String {
    match number {
        small if small < 0.05 => "0".into(),
        small if small < 9.95 && small.fract() != 0.0 => format!("{small:.1}"),
        few if few < 9_999.5 => format!("{few:.0}"),
        thousands if thousands < 999_950.0 => format!("{:.1}k", thousands / 1e3),
        millions if millions < 999.5e6 => format!("{:.1}M", millions / 1e6),
        more => format!("{:.1}G", more / 1e9),
    }
}

/// Shows bytes in at most eight characters: `999 B`, `9.8 KiB`, `1023 MiB`. The other commands use
/// [`size`](crate::output::size), which needs ten (`1023.0 MiB`); the columns have eight.
pub(super) fn bytes(number: f64) -> String {
    let (mut number, mut unit) = (number.max(0.0), 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = if unit > 0 && number < 9.95 { 1 } else { 0 };
    format!("{number:.digits$} {}", UNITS[unit])
}

/// Shows a span of time by its two largest units, in at most seven characters: `59m 59s`, `3d 4h`, `1y 30d`.
pub(super) fn span(millis: u64) -> String {
    let seconds = millis / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (1..365, _, _) => format!("{days}d {hours}h"),
        _ => format!("{}y {}d", days / 365, days % 365),
    }
}

/// Shows the time of a round trip in at most seven characters: `0.42ms`, `123ms`, `1.5s`.
pub(super) fn round_trip(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.2}ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0}ms", micros as f64 / 1e3),
        _ => format!("{:.1}s", micros as f64 / 1e6),
    }
}

/// Number of samples over which rates are smoothed, so that rows don't change places all the time.
pub(super) const SMOOTHED: usize = 3;
/// Number of samples kept: as many as the widest terminal shows.
const KEPT: usize = 512;
/// Factor by which rates are multiplied for a sparkline, whose values are integers, so that rates below one are visible.
const SCALE: f64 = 100.0;
const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_divided_by_the_time() {
        let before = Counts { messages_in: 10, bytes_in: 1000, ..Counts::default() };
        let now = Counts { messages_in: 30, bytes_in: 5000, messages_out: 4, ..Counts::default() };
        let rates = Rates::between(before, now, Duration::from_secs(2)).unwrap();
        assert_eq!((rates.messages_in, rates.bytes_in, rates.messages_out, rates.bytes_out), (10.0, 2000.0, 2.0, 0.0));
        assert_eq!((rates.messages(), rates.bytes()), (12.0, 2000.0));
    }

    #[test]
    fn a_counter_that_restarted_or_a_time_of_zero_gives_no_rate() {
        let some = Counts { messages_in: 10, ..Counts::default() };
        assert_eq!(Rates::between(some, Counts::default(), Duration::from_secs(1)), None);
        assert_eq!(Rates::between(some, some, Duration::ZERO), None);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.04, 0.5, 3.0, 9.96, 42.4, 9999.0, 12_345.0, 999_949.0, 4_560_000.0, 12e9].map(count);
        assert_eq!(shown, ["0", "0", "0.5", "3", "10", "42", "9999", "12.3k", "999.9k", "4.6M", "12.0G"]);
        assert!(shown.iter().all(|text| text.len() <= 6));
    }

    #[test]
    fn bytes_are_short() {
        let shown = [0.0, 0.4, 999.0, 1023.6, 10_000.0, 1023.0 * 1024.0, 3.5 * 1024.0 * 1024.0, 1e18].map(bytes);
        assert_eq!(shown, ["0 B", "0 B", "999 B", "1.0 KiB", "9.8 KiB", "1023 KiB", "3.5 MiB", "888 PiB"]);
        assert!(shown.iter().all(|text| text.len() <= 8));
    }

    #[test]
    fn spans_and_round_trips_are_short() {
        let minute = 60_000;
        let shown = [999, 59 * minute + 59_000, 25 * 60 * minute, 23 * 60 * minute + 59 * minute, 400 * 1440 * minute];
        assert_eq!(shown.map(span), ["0s", "59m 59s", "1d 1h", "23h 59m", "1y 35d"]);
        assert_eq!([420, 9_999, 123_400, 1_540_000].map(round_trip), ["0.42ms", "10.00ms", "123ms", "1.5s"]);
    }

    fn rates(messages_in: f64) -> Option<Rates> {
        Some(Rates { messages_in, ..Rates::default() })
    }

    #[test]
    fn a_series_ends_with_the_newest_and_starts_with_a_gap() {
        let mut history = History::default();
        assert_eq!((history.latest(), history.series(2, |rates| rates.messages_in)), (None, vec![None, None]));
        for sample in [rates(1.0), None, rates(0.5)] {
            history.push(sample);
        }
        assert_eq!(history.series(5, |rates| rates.messages_in), [None, None, Some(100), None, Some(50)]);
        assert_eq!(history.series(1, |rates| rates.messages_in), [Some(50)]);
        assert_eq!(history.latest(), rates(0.5));
        history.push(rates(1.5));
        assert_eq!(history.latest(), rates(1.0));
    }

    #[test]
    fn the_number_of_samples_is_bounded() {
        let mut history = History::default();
        for number in 0..2000 {
            history.push(rates(f64::from(number)));
        }
        assert_eq!(history.0.len(), KEPT);
        assert_eq!(history.series(1, |rates| rates.messages_in), [Some(199_900)]);
    }
}
