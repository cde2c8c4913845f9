//! Rate limits: token buckets with a rate and a burst.
//!
//! A [`Bucket`] contains only the time at which it is full again, from which all else is computed (the generic cell rate
//! algorithm). This keeps tables of buckets small, and needs no timer for refilling. A full bucket is equivalent to a new
//! one, so it can be dropped. The [`Rate`] is not stored in the bucket but passed with each call, so a reload that changes
//! it applies to all buckets at once.
//!
//! Times are arguments, measured from a moment that the caller chooses and never changes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rate with a burst: the amount allowed per period, and the amount allowed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    amount: u64,
    per: Duration,
    burst: u64,
}

impl Rate {
    /// Creates a rate that allows `amount` in each `per`, and `burst` at once after a pause. Zeros are replaced by the
    /// smallest valid values: 1, one nanosecond, and 1.
    pub const fn new(amount: u64, per: Duration, burst: u64) -> Self {
        let per = if per.is_zero() { Duration::from_nanos(1) } else { per };
        Self { amount: at_least_one(amount), per, burst: at_least_one(burst) }
    }

    /// Creates a rate that allows `amount` in a second, and `burst` at once.
    pub const fn per_second(amount: u64, burst: u64) -> Self {
        Self::new(amount, Duration::from_secs(1), burst)
    }

    /// Returns the amount allowed in [`Rate::per`].
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// Returns the time in which [`Rate::amount`] is allowed.
    pub const fn per(&self) -> Duration {
        self.per
    }

    /// Returns the amount allowed at once after a pause.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Parses a string such as `20/s`, or `20/m burst 100` with an explicit burst. Numbers are parsed by `number`.
    /// Without a burst, the amount of the rate is allowed at once.
    pub fn parse(text: &str, number: impl Fn(&str) -> Option<u64>) -> Result<Self, RateError> {
        let refused = || RateError(text.into());
        let (rate, burst) = match text.split_once("burst") {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let (amount, unit) = rate.split_once('/').ok_or_else(refused)?;
        let per = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, per)| *per).ok_or_else(refused)?;
        let positive = |text: &str| number(text.trim()).filter(|number| *number > 0).ok_or_else(refused);
        let amount = positive(amount)?;
        let burst = burst.map_or(Ok(amount), positive)?;
        Ok(Self { amount, per, burst })
    }

    /// Returns the nanoseconds after which an amount is allowed again, rounded up, so that no rate is exceeded.
    fn cost(&self, amount: u64) -> u64 {
        let nanos = u128::from(amount).saturating_mul(self.per.as_nanos()).div_ceil(u128::from(self.amount));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, |number| number.parse().ok())
    }
}

impl fmt::Display for Rate {
    /// Formats a rate so that [`Rate::parse`] accepts it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, per)| *per == self.per).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.amount)?;
        if self.burst == self.amount { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// The string is not a rate. The text of the error contains the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate; write a number and s, m or h, such as \"20/s\" or \"20/s burst 1000\"")]
pub struct RateError(String);

/// A token bucket. A new one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Time at which the bucket is full again, in nanoseconds of the caller's time.
    full_at: u64,
}

impl Bucket {
    /// A full bucket.
    pub const FULL: Self = Self { full_at: 0 };

    /// Takes an amount. If it isn't available, takes nothing and returns the time to wait. An amount above the burst is
    /// taken from a full bucket, since the bucket can never contain it; the next calls wait accordingly longer.
    pub fn take(&mut self, rate: &Rate, now: Duration, amount: u64) -> Result<(), Duration> {
        match self.wait(rate, now, amount) {
            Duration::ZERO => {
                self.charge(rate, now, amount);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Returns the time to wait until an amount is available; zero if it is.
    pub fn wait(&self, rate: &Rate, now: Duration, amount: u64) -> Duration {
        let behind = self.full_at.saturating_sub(nanos(now));
        let most = rate.cost(rate.burst).saturating_sub(rate.cost(amount.min(rate.burst)));
        Duration::from_nanos(behind.saturating_sub(most))
    }

    /// Takes an amount even if it isn't available. For events that are counted after they have happened.
    pub fn charge(&mut self, rate: &Rate, now: Duration, amount: u64) {
        self.full_at = self.full_at.max(nanos(now)).saturating_add(rate.cost(amount));
    }

    /// Creates a bucket that is full again after a time, as returned by [`Bucket::wait`] for the whole burst.
    pub fn behind(now: Duration, time: Duration) -> Self {
        Self { full_at: nanos(now).saturating_add(nanos(time)) }
    }

    /// Returns the amount that can be taken now.
    pub fn left(&self, rate: &Rate, now: Duration) -> u64 {
        let behind = self.full_at.saturating_sub(nanos(now));
        let free = u128::from(rate.cost(rate.burst).saturating_sub(behind)) * u128::from(rate.amount);
        let left = free / rate.per.as_nanos().max(1);
        u64::try_from(left).unwrap_or(u64::MAX).min(rate.burst)
    }

    /// Returns the time at which the bucket is full again, in the caller's time.
    pub fn full_at(&self) -> Duration {
        Duration::from_nanos(self.full_at)
    }

    /// Returns whether the bucket is full, and so equivalent to a new one.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= nanos(now)
    }
}

/// Units of time in the string form of a rate.
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

const fn at_least_one(number: u64) -> u64 {
    if number == 0 { 1 } else { number }
}

/// Longest time: five centuries.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
