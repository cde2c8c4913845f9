//! What two ends of a pipe say to each other beside the data.
//!
//! Data are binary messages and marks are text messages, JSON objects with the field `ws-router-pipe`; so whoever reads
//! only binary messages has the bare data, and a text that is no mark is data of an end that is another program. The
//! relay tells nobody who comes and goes, so the ends do it themselves: each says hello, and from then on gives signs of
//! life. An end of the data says how much it was, and the other one answers how much it has written.

use serde::{Deserialize, Serialize};

/// A message that is no data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ws-router-pipe", rename_all = "kebab-case")]
pub(super) enum Mark {
    /// An end has come, and wants a sign of life at least this often.
    Hello { beat_ms: u64 },
    /// The answer to it, of an end that was there.
    Ready { beat_ms: u64 },
    /// A sign of life.
    Beat,
    /// No more data come from this end; these were all.
    End(Sum),
    /// All data have arrived and are written out; these were all.
    Received(Sum),
    /// This end gives up.
    Broken { why: String },
}

/// How much was passed, and its BLAKE3 hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

impl Mark {
    /// Reads a text message; `None` where it is no mark.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Writes it as a text message.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Adds up what is passed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    bytes: u64,
    hash: blake3::Hasher,
}

impl Tally {
    /// Counts some more bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Tells what has been passed so far.
    pub(super) fn sum(&self) -> Sum {
        Sum { bytes: self.bytes, blake3: self.hash.finalize().to_hex().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_read_as_the_manual_shows_them() {
        let hello = r#"{"ws-router-pipe":"hello","beat_ms":7500}"#;
        assert_eq!(Mark::Hello { beat_ms: 7500 }.text(), hello);
        let mut tally = Tally::default();
        tally.add(b"ab");
        tally.add(b"c");
        let end = Mark::End(tally.sum());
        assert!(end.text().starts_with(r#"{"ws-router-pipe":"end","bytes":3,"blake3":"6437b3ac38465133"#));
        for mark in [end, Mark::Beat, Mark::Received(tally.sum()), Mark::Broken { why: "x".into() }] {
            assert_eq!(Mark::read(&mark.text()), Some(mark));
        }
    }

    #[test]
    fn what_a_person_types_is_no_mark() {
        for text in ["hello", "", "{}", r#"{"ws-router-pipe":"dance"}"#, r#"{"bytes":3}"#] {
            assert_eq!(Mark::read(text), None, "{text}");
        }
    }
}
