use super::*;

#[test]
fn the_timer_is_over_after_the_whole_time_without_work() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let mut timer = IdleTimer::new(None);
    assert!(!timer.is_over(false, 3 * second, start));
    assert!(!timer.is_over(true, 3 * second, start + 2 * second));
    assert!(!timer.is_over(false, 3 * second, start + 4 * second));
    assert!(timer.is_over(false, 3 * second, start + 5 * second));
}

#[test]
fn the_timer_is_never_over_without_a_timeout() {
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let mut timer = IdleTimer::new(None);
    assert!(!timer.is_over(false, Duration::ZERO, start));
    assert!(!timer.is_over(false, Duration::ZERO, start + hour));
    let mut under_inetd = IdleTimer::new(Some(Duration::from_secs(60)));
    assert!(!under_inetd.is_over(false, Duration::ZERO, start));
    assert!(under_inetd.is_over(false, Duration::ZERO, start + hour));
}
