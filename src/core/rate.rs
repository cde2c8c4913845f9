//! Token buckets: how often something may happen, and how often at once.
//!
//! A [`Bucket`] is one number, the moment at which it is full again; what it costs to wait for is arithmetic on that
//! (the generic cell rate algorithm). So a table of them is small, one that is full says nothing that a fresh one
//! doesn't and may be forgotten, and no timer refills anything. The [`Rate`] isn't kept in the bucket but named with
//! each call: a reload that changes it holds at once, for every bucket.
//!
//! Time is an argument, counted from any moment that the caller keeps to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rate with a burst: how much may happen in a time, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    amount: u64,
    per: Duration,
    burst: u64,
}

impl Rate {
    /// Creates a rate that allows `amount` in each `per`, and `burst` at once after a pause. Smaller values than 1, a
    /// nanosecond and 1 are raised to these.
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

    /// Parses a text such as `20/s`, or `20/m burst 100` with an explicit burst. Numbers are parsed by `number`.
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

/// Error for a text that is not a rate, with the fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate; write a number and s, m or h, such as \"20/s\" or \"20/s burst 1000\"")]
pub struct RateError(String);

/// A token bucket. A new one is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bucket {
    /// Nanoseconds of the caller's time.
    full_at: u64,
}

impl Bucket {
    /// A full bucket.
    pub const FULL: Self = Self { full_at: 0 };

    /// Takes an amount, or returns how long to wait for it, and takes nothing. More than the burst is given to a bucket
    /// that is full, since it would never be there at once; what comes after waits accordingly.
    pub fn take(&mut self, rate: &Rate, now: Duration, amount: u64) -> Result<(), Duration> {
        match self.wait(rate, now, amount) {
            Duration::ZERO => {
                self.charge(rate, now, amount);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// Returns how long to wait until an amount can be taken; zero if it is there.
    pub fn wait(&self, rate: &Rate, now: Duration, amount: u64) -> Duration {
        let behind = self.full_at.saturating_sub(nanos(now));
        let most = rate.cost(rate.burst).saturating_sub(rate.cost(amount.min(rate.burst)));
        Duration::from_nanos(behind.saturating_sub(most))
    }

    /// Takes an amount whether it is there or not, for what can be counted only after it has happened.
    pub fn charge(&mut self, rate: &Rate, now: Duration, amount: u64) {
        self.full_at = self.full_at.max(nanos(now)).saturating_add(rate.cost(amount));
    }

    /// Creates a bucket that is full again after a time, as returned by [`Bucket::wait`] for the whole burst.
    pub fn behind(now: Duration, time: Duration) -> Self {
        Self { full_at: nanos(now).saturating_add(nanos(time)) }
    }

    /// Returns how much can be taken at once now.
    pub fn left(&self, rate: &Rate, now: Duration) -> u64 {
        let behind = self.full_at.saturating_sub(nanos(now));
        let free = u128::from(rate.cost(rate.burst).saturating_sub(behind)) * u128::from(rate.amount);
        let left = free / rate.per.as_nanos().max(1);
        u64::try_from(left).unwrap_or(u64::MAX).min(rate.burst)
    }

    /// Returns when it is full again, in the caller's time.
    pub fn full_at(&self) -> Duration {
        Duration::from_nanos(self.full_at)
    }

    /// Returns whether it is full, so that it is no different from a new one.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= nanos(now)
    }
}

/// The units of time in the text of a rate.
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
