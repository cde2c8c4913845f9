use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_burst_is_there_at_once_and_the_rest_comes_at_the_rate() {
    let rate = Rate::per_second(10, 3);
    let mut bucket = Bucket::default();
    for _ in 0..3 {
        assert_eq!(bucket.take(&rate, ms(0), 1), Ok(()));
    }
    assert_eq!(bucket.take(&rate, ms(0), 1), Err(ms(100)));
    assert_eq!(bucket.take(&rate, ms(60), 1), Err(ms(40)));
    assert_eq!(bucket.take(&rate, ms(100), 1), Ok(()));
    assert_eq!(bucket.take(&rate, ms(100), 1), Err(ms(100)));
}

#[test]
fn one_who_tries_all_the_time_is_not_held_up_longer_for_it() {
    let rate = Rate::per_second(1, 1);
    let mut bucket = Bucket::default();
    let taken = (0..10_000).filter(|millis| bucket.take(&rate, ms(*millis), 1).is_ok()).count();
    assert_eq!(taken, 10);
}

#[test]
fn a_rest_fills_it_and_no_more_than_that() {
    let rate = Rate::per_second(10, 3);
    let mut bucket = Bucket::default();
    assert!(bucket.is_full(ms(0)));
    assert_eq!(bucket.take(&rate, ms(0), 3), Ok(()));
    assert!(!bucket.is_full(ms(299)));
    assert!(bucket.is_full(ms(300)));
    assert_eq!(bucket.take(&rate, ms(60_000), 3), Ok(()));
    assert!(bucket.take(&rate, ms(60_000), 1).is_err());
}

#[test]
fn more_than_the_burst_goes_through_when_it_is_full_and_is_waited_for_afterwards() {
    let rate = Rate::per_second(100, 10);
    let mut bucket = Bucket::default();
    assert_eq!(bucket.take(&rate, ms(0), 1_000), Ok(()));
    assert_eq!(bucket.take(&rate, ms(0), 1_000), Err(ms(10_000)));
    assert_eq!(bucket.take(&rate, ms(10_000), 1_000), Ok(()));
}

#[test]
fn a_charge_may_exceed_the_available_amount() {
    let rate = Rate::per_second(1, 1);
    let mut bucket = Bucket::default();
    bucket.charge(&rate, ms(0), 5);
    assert_eq!(bucket.wait(&rate, ms(0), 1), ms(5_000));
    assert_eq!(bucket.wait(&rate, ms(5_000), 1), Duration::ZERO);
}

#[test]
fn another_rate_holds_from_the_next_call() {
    let mut bucket = Bucket::default();
    assert_eq!(bucket.take(&Rate::new(1, Duration::from_secs(60), 1), ms(0), 1), Ok(()));
    assert!(bucket.take(&Rate::new(1, Duration::from_secs(60), 1), ms(0), 1).is_err());
    assert_eq!(bucket.take(&Rate::new(1, Duration::from_secs(60), 2), ms(0), 1), Ok(()));
}

#[test]
fn nonsense_is_the_least_that_means_anything_and_nothing_overflows() {
    let rate = Rate::new(0, Duration::ZERO, 0);
    assert_eq!((rate.amount(), rate.per(), rate.burst()), (1, Duration::from_nanos(1), 1));
    let mut bucket = Bucket::default();
    let slow = Rate::new(1, Duration::MAX, u64::MAX);
    for _ in 0..3 {
        bucket.charge(&slow, Duration::MAX, u64::MAX);
    }
    assert_eq!(bucket.wait(&slow, Duration::MAX, u64::MAX), Duration::ZERO);
}

#[test]
fn a_rate_is_written_as_it_is_read() {
    let second = Duration::from_secs(1);
    for (text, rate) in [
        ("20/s", Rate::new(20, second, 20)),
        ("20/m", Rate::new(20, second * 60, 20)),
        ("1/h burst 100", Rate::new(1, second * 3600, 100)),
    ] {
        assert_eq!(text.parse(), Ok(rate));
        assert_eq!(rate.to_string(), text);
    }
    assert_eq!(" 5 / s  burst 7 ".parse(), Ok(Rate::per_second(5, 7)));
}

#[test]
fn an_invalid_rate_is_reported_with_the_fix() {
    for text in ["", "20", "/s", "20/", "0/s", "-1/s", "20/d", "20/s burst", "20/s burst 0", "1.5/s", "20/s 5"] {
        let error = text.parse::<Rate>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{text:?} is not a rate; write ")), "{error}");
    }
}

proptest! {
    /// In any span of time, at most the burst and the rate's amount for that span are taken. After the returned wait, the
    /// amount is available.
    #[test]
    fn the_rate_is_kept_and_a_wait_is_neither_too_short_nor_too_long(
        amount in 1..1_000_u64,
        burst in 1..100_u64,
        steps in proptest::collection::vec((0..50_u64, 1..100_u64), 1..200),
    ) {
        let rate = Rate::per_second(amount, burst);
        let mut bucket = Bucket::default();
        let (mut now, mut taken) = (Duration::ZERO, Vec::new());
        for (pause, wanted) in steps {
            now += ms(pause);
            let wanted = wanted.min(burst);
            if let Err(wait) = bucket.take(&rate, now, wanted) {
                let mut early = bucket;
                prop_assert!(early.take(&rate, now + wait - Duration::from_nanos(1), wanted).is_err());
                now += wait;
                prop_assert_eq!(bucket.take(&rate, now, wanted), Ok(()));
            }
            taken.push((now, wanted));
            for (index, (begin, _)) in taken.iter().enumerate() {
                let sum: u64 = taken[index..].iter().map(|(_, wanted)| wanted).sum();
                let most = burst as f64 + amount as f64 * (now - *begin).as_secs_f64();
                prop_assert!(sum as f64 <= most + 1e-6);
            }
        }
    }
}

#[test]
fn the_amount_left_can_be_taken_and_a_bucket_can_be_restored_from_its_wait() {
    let rate = Rate::per_second(10, 5);
    let mut bucket = Bucket::default();
    assert_eq!(bucket.left(&rate, ms(0)), 5);
    bucket.charge(&rate, ms(0), 7);
    assert_eq!(bucket.left(&rate, ms(0)), 0);
    assert_eq!(bucket.left(&rate, ms(300)), 1);
    assert_eq!(bucket.take(&rate, ms(300), 1), Ok(()));
    let again = Bucket::behind(ms(9000), bucket.wait(&rate, ms(300), 5));
    assert_eq!(again.wait(&rate, ms(9000), 1), bucket.wait(&rate, ms(300), 1));
    assert_eq!(again.left(&rate, ms(10_000)), 5);
}
