//! Counters and their rates, and numbers as short as a column of a small terminal needs them.

use std::time::Duration;

use ws_router_admin_api as wire;

/// What has been passed on in all, as the daemon counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) messages_in: u64,
    pub(super) bytes_in: u64,
    pub(super) messages_out: u64,
    pub(super) bytes_out: u64,
}

/// What is passed on in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) messages_in: f64,
    pub(super) bytes_in: f64,
    pub(super) messages_out: f64,
    pub(super) bytes_out: f64,
}

impl Rates {
    /// Takes the difference of two samples; `None` where a counter has begun anew in between, since what it had
    /// counted before that isn't known.
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

    /// Messages of both directions.
    pub(super) fn messages(&self) -> f64 {
        self.messages_in + self.messages_out
    }

    /// Bytes of both directions.
    pub(super) fn bytes(&self) -> f64 {
        self.bytes_in + self.bytes_out
    }
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

/// Shows a number by up to six characters: `0.5`, `12`, `1234`, `12.3k`, `4.56M`.
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

/// Shows bytes by up to eight characters: `999 B`, `9.8 KiB`, `1023 MiB`.
pub(super) fn bytes(number: f64) -> String {
    let (mut number, mut unit) = (number.max(0.0), 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = if unit > 0 && number < 9.95 { 1 } else { 0 };
    format!("{number:.digits$} {}", UNITS[unit])
}

/// Shows a span of time by its two largest units and up to seven characters: `59m 59s`, `3d 4h`, `1y 30d`.
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

/// Shows the time of a round trip by up to seven characters: `0.42ms`, `123ms`, `1.5s`.
pub(super) fn round_trip(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{:.2}ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0}ms", micros as f64 / 1e3),
        _ => format!("{:.1}s", micros as f64 / 1e6),
    }
}

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_difference_by_the_time() {
        let before = Counts { messages_in: 10, bytes_in: 1000, ..Counts::default() };
        let now = Counts { messages_in: 30, bytes_in: 5000, messages_out: 4, ..Counts::default() };
        let rates = Rates::between(before, now, Duration::from_secs(2)).unwrap();
        assert_eq!((rates.messages_in, rates.bytes_in, rates.messages_out, rates.bytes_out), (10.0, 2000.0, 2.0, 0.0));
        assert_eq!((rates.messages(), rates.bytes()), (12.0, 2000.0));
    }

    #[test]
    fn a_counter_that_began_anew_gives_no_rate_and_neither_does_no_time() {
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
}
