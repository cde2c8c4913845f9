//! Numbers as people read them: sizes, ages, times of day, how far a drain is.

use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use ws_router_admin_api::Drain;

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
    // The format knows no year above 9999, and its writer would have to fail.
    let time = UNIX_EPOCH + Duration::from_millis(millis.min(LAST_MILLISECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Shows how many members are still to be closed, and within what time: `12 of 40 members left, 23s`.
pub(super) fn progress(drain: &Drain) -> String {
    format!("{} of {} members left, {}", drain.members, drain.members_before, age(drain.left_ms))
}

/// 9999-12-31T23:59:59Z
const LAST_MILLISECOND: u64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_by_its_two_largest_units() {
        assert_eq!(age(999), "0s");
        assert_eq!(age(61_000), "1m 1s");
        assert_eq!(age(((3 * 24 + 4) * 3600 + 5) * 1000), "3days 4h");
    }

    #[test]
    fn progress_tells_who_is_left_and_for_how_long() {
        let drain = Drain { members: 12, members_before: 40, left_ms: 23_400, ..Drain::default() };
        assert_eq!(progress(&drain), "12 of 40 members left, 23s");
    }

    #[test]
    fn sizes_and_times_are_the_usual() {
        assert_eq!(size(1536 * 1024), "1.5 MiB");
        assert_eq!(size(12), "12 B");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
