//! Identifiers of registrations and members, and the serial numbers that distinguish registrations with the same id.
//!
//! Ids from requests are parsed here, and are no raw strings in the rest of the code. Serial numbers and member ids are
//! never reused, not even after a restart with a hand-over, so that a late command for an old registration or member can't
//! affect a newer one.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Id of a registration: 8 to 64 characters of `[0-9A-Za-z_-]`; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RegistrationId(Arc<str>);

/// The string is not a valid registration id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is {MIN_LEN} to {MAX_LEN} of 0-9 A-Z a-z _ -")]
pub struct MalformedId;

impl RegistrationId {
    /// Parses an id that a device asks for.
    pub fn parse(text: &str) -> Result<Self, MalformedId> {
        let fits = (MIN_LEN..=MAX_LEN).contains(&text.len());
        let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits && clean { Ok(Self(text.into())) } else { Err(MalformedId) }
    }

    /// Returns a UUID as an id of 32 lower-case hex digits.
    pub fn from_uuid(uuid: Uuid) -> Self {
        let mut digits = [0; uuid::fmt::Simple::LENGTH];
        Self((&*uuid.simple().encode_lower(&mut digits)).into())
    }

    /// Returns the id as a string, as in URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegistrationId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        Self::parse(&text)
    }
}

impl Borrow<str> for RegistrationId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegistrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Serial number of a registration, which distinguishes it from earlier and later ones with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Serial(pub u64);

/// Number of a member, that is, of one websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A sequence of numbers that never repeat.
#[derive(Debug)]
pub struct Sequence(AtomicU64);

impl Sequence {
    /// Creates a sequence that starts above `last`, the highest number assigned so far (0 for none).
    pub const fn after(last: u64) -> Self {
        Self(AtomicU64::new(last + 1))
    }

    /// Returns the next number.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Skips all numbers up to `last`, which the old process has assigned.
    pub fn skip(&self, last: u64) {
        self.0.fetch_max(last.saturating_add(1), Ordering::Relaxed);
    }

    /// Returns the highest number assigned so far, after which a new process continues.
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed) - 1
    }
}

const MIN_LEN: usize = 8;
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_uuid_is_32_lower_case_hex_digits() {
        let id = RegistrationId::from_uuid(Uuid::from_u128(0xAB << 120 | 1));
        assert_eq!(id.as_str(), "ab000000000000000000000000000001");
    }

    #[test]
    fn an_id_is_8_to_64_plain_characters() {
        for good in ["12345678", "A_b-4567", &"x".repeat(64)] {
            assert_eq!(RegistrationId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "1234567", &"x".repeat(65), "1234 5678", "ümlaut-12345", "a/b/c/d/e/f"] {
            assert_eq!(RegistrationId::parse(bad), Err(MalformedId));
        }
    }

    #[test]
    fn a_sequence_continues_where_an_earlier_one_stopped() {
        let first = Sequence::after(0);
        assert_eq!((first.next(), first.next()), (1, 2));
        assert_eq!(Sequence::after(first.last()).next(), 3);
    }
}
