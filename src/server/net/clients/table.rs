//! Buckets by whom they are for, never more than [`MOST`].
//!
//! A bucket that is full is as good as none and is forgotten when room is needed; if all are in use, those closest to
//! full go, since they say least. Whoever has so many networks that this helps him has as many fresh buckets anyway.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ws_router_core::rate::{Bucket, Rate};

/// Buckets, of which a missing one is full.
#[derive(Debug)]
pub(super) struct Table<K>(HashMap<K, Bucket>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Copy> Table<K> {
    /// Takes one, or tells how long to wait for it.
    pub(super) fn take(&mut self, key: K, rate: &Rate, now: Duration) -> Result<(), Duration> {
        self.bucket(key, now).take(rate, now, 1)
    }

    /// Takes one whether it is there or not.
    pub(super) fn charge(&mut self, key: K, rate: &Rate, now: Duration) {
        self.bucket(key, now).charge(rate, now, 1);
    }

    /// Tells how long to wait until one can be taken.
    pub(super) fn wait(&self, key: &K, rate: &Rate, now: Duration) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |bucket| bucket.wait(rate, now, 1))
    }

    fn bucket(&mut self, key: K, now: Duration) -> &mut Bucket {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        self.0.entry(key).or_default()
    }

    /// Forgets the full ones, and of the others half of [`MOST`] at most remain; so it is long until the next time.
    fn make_room(&mut self, now: Duration) {
        self.0.retain(|_, bucket| !bucket.is_full(now));
        if self.0.len() > MOST / 2 {
            let mut by_need: Vec<(Duration, K)> = self.0.iter().map(|(key, bucket)| (bucket.full_at(), *key)).collect();
            let excess = by_need.len() - MOST / 2;
            by_need.select_nth_unstable_by_key(excess, |(full_at, _)| *full_at);
            for (_, key) in &by_need[..excess] {
                self.0.remove(key);
            }
        }
    }
}

/// Networks that are remembered at most: a few megabytes.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_second(1, 2);

    #[test]
    fn however_many_come_the_table_is_bounded_and_those_who_take_most_are_remembered() {
        let (mut table, now) = (Table::default(), Duration::from_secs(1));
        for greedy in 0..10_u32 {
            table.charge(greedy, &RATE, now);
            table.charge(greedy, &RATE, now);
        }
        for other in 10..(MOST as u32 * 3) {
            assert_eq!(table.take(other, &RATE, now), Ok(()));
            assert!(table.0.len() <= MOST);
        }
        for greedy in 0..10 {
            assert_eq!(table.take(greedy, &RATE, now), Err(Duration::from_secs(1)));
        }
    }

    #[test]
    fn full_buckets_are_forgotten_when_room_is_needed() {
        let mut table = Table::default();
        for one in 0..MOST as u32 {
            table.charge(one, &RATE, Duration::ZERO);
        }
        assert_eq!(table.take(u32::MAX, &RATE, Duration::from_secs(2)), Ok(()));
        assert_eq!(table.0.len(), 1);
    }

    #[test]
    fn asking_how_long_to_wait_leaves_no_trace() {
        let table = Table::<u32>::default();
        assert_eq!(table.wait(&7, &RATE, Duration::ZERO), Duration::ZERO);
        assert!(table.0.is_empty());
    }
}
