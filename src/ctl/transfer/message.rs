//! Control messages between the two ends of a pipe.
//!
//! Data is sent in binary messages, and control messages are text messages: JSON objects with the field
//! `ws-router-pipe`. A program that reads only binary messages therefore has the bare data, and text without that field
//! is data of an end that is another program. The router doesn't announce who joins and leaves, so the ends do it
//! themselves with a hello and heartbeats. The end of the data carries its digest, which the other end confirms once it
//! has written everything.

use serde::{Deserialize, Serialize};

/// A message other than data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ws-router-pipe", rename_all = "kebab-case")]
pub(super) enum ControlMessage {
    /// The sender has joined, and expects heartbeats at this interval.
    Hello { beat_ms: u64 },
    /// Answer to a hello, from the end that had joined earlier.
    Ready { beat_ms: u64 },
    /// Heartbeat.
    Beat,
    /// The sender's data is complete.
    End(Digest),
    /// All data has arrived and is written.
    Received(Digest),
    /// The sender has failed.
    Broken { why: String },
}

/// Number of bytes, and their BLAKE3 hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digest {
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

impl ControlMessage {
    /// Parses a text message; returns `None` if it is data.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the text message.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Computes a digest of data as it passes.
#[derive(Debug, Default)]
pub(super) struct Digester {
    bytes: u64,
    hash: blake3::Hasher,
}

impl Digester {
    /// Adds bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }

    /// Returns the digest of the bytes so far.
    pub(super) fn digest(&self) -> Digest {
        Digest { bytes: self.bytes, blake3: self.hash.finalize().to_hex().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_form_that_the_manual_documents() {
        let hello = r#"{"ws-router-pipe":"hello","beat_ms":7500}"#;
        assert_eq!(ControlMessage::Hello { beat_ms: 7500 }.to_text(), hello);
        let mut digester = Digester::default();
        digester.update(b"ab");
        digester.update(b"c");
        let end = ControlMessage::End(digester.digest());
        assert!(end.to_text().starts_with(r#"{"ws-router-pipe":"end","bytes":3,"blake3":"6437b3ac38465133"#));
        for message in [
            end,
            ControlMessage::Beat,
            ControlMessage::Received(digester.digest()),
            ControlMessage::Broken { why: "x".into() },
        ] {
            assert_eq!(ControlMessage::parse(&message.to_text()), Some(message));
        }
    }

    #[test]
    fn typed_text_is_data() {
        for text in ["hello", "", "{}", r#"{"ws-router-pipe":"dance"}"#, r#"{"bytes":3}"#] {
            assert_eq!(ControlMessage::parse(text), None, "{text}");
        }
    }
}
