//! The numbers of announcements, with which a host accepts a client without a key. They are as hard to guess as a random
//! number of 128 bits: keyed hashes of a count, with a random key.

use std::io;

/// A source of numbers that never repeat and can't be predicted.
#[derive(Debug)]
pub(super) struct AnnouncementNumbers {
    key: [u8; blake3::KEY_LEN],
    count: u64,
}

impl AnnouncementNumbers {
    /// Creates a source with a random key.
    pub(super) fn random() -> io::Result<Self> {
        let mut key = [0; blake3::KEY_LEN];
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { key, count: 0 })
    }

    /// Returns the next number.
    pub(super) fn next(&mut self) -> u128 {
        self.count += 1;
        let hash = blake3::keyed_hash(&self.key, &self.count.to_be_bytes());
        hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
    }
}
