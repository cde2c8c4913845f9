//! A cached value with an expiry.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Value that is computed at most once per interval, and shared by all readers.
#[derive(Debug)]
pub struct Cached<T> {
    interval: Duration,
    /// The last value and the time of its computation. The lock is held during a computation, so that other readers wait
    /// for its result.
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Cached<T> {
    pub(super) fn every(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// Returns the last value, or computes a new one if it is older than the interval.
    pub async fn get_or_try_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((made, value)) if made.elapsed() < self.interval => Ok(value.clone()),
            _ => {
                let value = make()?;
                *last = Some((Instant::now(), value.clone()));
                Ok(value)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_made_once_in_an_interval_and_an_error_is_not_kept() {
        let (cached, mut made) = (Cached::every(Duration::from_secs(3600)), 0);
        assert_eq!(cached.get_or_try_make(|| Err::<i32, _>("no")).await, Err("no"));
        for _ in 0..3 {
            let value = cached.get_or_try_make(|| {
                made += 1;
                Ok::<_, ()>(made)
            });
            assert_eq!(value.await, Ok(1));
        }
        let always = Cached::every(Duration::ZERO);
        assert_eq!(always.get_or_try_make(|| Ok::<_, ()>(1)).await, Ok(1));
        assert_eq!(always.get_or_try_make(|| Ok::<_, ()>(2)).await, Ok(2));
    }
}
