//! The journal's native protocol: each message is a datagram with its fields, and a message id if it has one.
//!
//! `MESSAGE=` is the text followed by the fields, as on standard error. For programs, each field is also an entry field,
//! such as `WSROUTER_REGISTRATION=`. Writing never blocks, since relay threads log, too: an entry that the journal doesn't
//! accept at once is lost, and the next one contains the number of lost entries.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::messages;

/// A connection to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Entries that were lost since the last one that was sent.
    lost: AtomicU64,
}

impl Journal {
    /// Connects to the journal; fails if there is none.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // The journal ignores an empty datagram.
        socket.send_to(&[], SOCKET)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, mut entry: Entry) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            entry.field("lost", &lost.to_string());
        }
        if self.socket.send_to(&entry.finish(), SOCKET).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let metadata = event.metadata();
        let priority = match *metadata.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "ws-router");
        entry.put("TARGET", metadata.target());
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        self.send(entry);
    }
}

/// An entry under construction.
#[derive(Debug, Default)]
struct Entry {
    text: String,
    /// Fields as text, which follow the message.
    suffix: String,
    /// Encoded fields.
    encoded: Vec<u8>,
}

impl Entry {
    /// Encodes a field as name, length and value, so that the value may be any bytes.
    fn put(&mut self, name: &str, value: &str) {
        self.encoded.extend_from_slice(name.as_bytes());
        self.encoded.push(b'\n');
        self.encoded.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.encoded.extend_from_slice(value.as_bytes());
        self.encoded.push(b'\n');
    }

    fn field(&mut self, name: &str, value: &str) {
        let is_plain = !value.is_empty() && !value.contains([' ', '"', '\n', '=']);
        // Writing to a string never fails.
        let _ =
            if is_plain { write!(self.suffix, " {name}={value}") } else { write!(self.suffix, " {name}={value:?}") };
        self.put(&format!("WSROUTER_{}", name.to_ascii_uppercase()), value);
    }

    fn finish(mut self) -> Vec<u8> {
        let message = format!("{}{}", self.text, self.suffix);
        self.put("MESSAGE", &message);
        self.encoded
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.text = value.into(),
            messages::FIELD => self.put("MESSAGE_ID", value),
            name => self.field(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Socket of the journal (systemd's JOURNAL_NATIVE_PROTOCOL).
const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_entry_has_its_text_and_its_fields() {
        let mut entry = Entry { text: "ready".into(), ..Entry::default() };
        entry.field("version", "0.1.0");
        entry.field("error", "no such file");
        let bytes = entry.finish();
        let text = String::from_utf8_lossy(&bytes);
        let length = |bytes: u8| String::from_utf8(vec![bytes, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(text.contains(&format!("WSROUTER_VERSION\n{}0.1.0\n", length(5))), "{text}");
        assert!(text.ends_with("ready version=0.1.0 error=\"no such file\"\n"), "{text}");
    }

    #[test]
    fn a_journal_that_accepts_nothing_blocks_nothing_and_lost_entries_are_counted() {
        let socket = UnixDatagram::unbound().unwrap();
        let (journal, lost) = (Journal { socket, lost: AtomicU64::new(2) }, Entry::default());
        // Only a machine's own journal listens there.
        if !std::path::Path::new(SOCKET).exists() {
            journal.send(lost);
            assert_eq!(journal.lost.load(Ordering::Relaxed), 3);
            let subscriber = tracing_subscriber::registry().with(journal);
            tracing::subscriber::with_default(subscriber, || tracing::info!("lost"));
        }
    }
}
