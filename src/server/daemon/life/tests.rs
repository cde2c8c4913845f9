use super::*;

#[test]
fn idleness_is_over_when_nothing_was_to_do_for_the_whole_time() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let mut idleness = Idleness::new(None);
    assert!(!idleness.is_over(false, 3 * second, start));
    assert!(!idleness.is_over(true, 3 * second, start + 2 * second));
    assert!(!idleness.is_over(false, 3 * second, start + 4 * second));
    assert!(idleness.is_over(false, 3 * second, start + 5 * second));
}

#[test]
fn idleness_never_ends_a_daemon_that_is_to_stay() {
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let mut idleness = Idleness::new(None);
    assert!(!idleness.is_over(false, Duration::ZERO, start));
    assert!(!idleness.is_over(false, Duration::ZERO, start + hour));
    let mut under_inetd = Idleness::new(Some(Duration::from_secs(60)));
    assert!(!under_inetd.is_over(false, Duration::ZERO, start));
    assert!(under_inetd.is_over(false, Duration::ZERO, start + hour));
}
