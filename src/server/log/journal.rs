//! The journal's own protocol: a datagram an event, its facts as fields, and a message id where there is one.
//!
//! What people read (`MESSAGE=`) is the sentence with the facts behind it, as in the text form; what programs select by
//! are the fields, `WSROUTER_REGISTRATION=` and the like. Nobody waits for a journal that hangs: a relay thread logs,
//! too. An entry that the journal doesn't take is lost, and the next one says how many were.

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::messages;

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Entries that were not taken, and of which nothing was said yet.
    lost: AtomicU64,
}

impl Journal {
    /// Finds the journal, and tells if there is none.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // Of nothing the journal takes no note.
        socket.send_to(&[], SOCKET)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, lost: AtomicU64::new(0) })
    }

    fn send(&self, mut entry: Entry) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            entry.fact("lost", &lost.to_string());
        }
        if self.socket.send_to(&entry.finished(), SOCKET).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut entry = Entry::default();
        event.record(&mut entry);
        let about = event.metadata();
        let priority = match *about.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "ws-router");
        entry.put("TARGET", about.target());
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            entry.put("CODE_FILE", file);
            entry.put("CODE_LINE", &line.to_string());
        }
        self.send(entry);
    }
}

/// An entry that is being put together.
#[derive(Debug, Default)]
struct Entry {
    sentence: String,
    /// Behind the sentence, for people.
    facts: String,
    fields: Vec<u8>,
}

impl Entry {
    /// Adds a field (name, length and value, so that any value may stand there).
    fn put(&mut self, name: &str, value: &str) {
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.push(b'\n');
        self.fields.extend_from_slice(&(value.len() as u64).to_le_bytes());
        self.fields.extend_from_slice(value.as_bytes());
        self.fields.push(b'\n');
    }

    fn fact(&mut self, name: &str, value: &str) {
        let is_plain = !value.is_empty() && !value.contains([' ', '"', '\n', '=']);
        // A string takes whatever is written to it.
        let _ = if is_plain { write!(self.facts, " {name}={value}") } else { write!(self.facts, " {name}={value:?}") };
        self.put(&format!("WSROUTER_{}", name.to_ascii_uppercase()), value);
    }

    fn finished(mut self) -> Vec<u8> {
        if let Some(id) = messages::id(&self.sentence) {
            self.put("MESSAGE_ID", id);
        }
        let message = format!("{}{}", self.sentence, self.facts);
        self.put("MESSAGE", &message);
        self.fields
    }
}

impl Visit for Entry {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.sentence = value.into(),
            name => self.fact(name, value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Where the journal listens (systemd's JOURNAL_NATIVE_PROTOCOL).
const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn an_entry_has_its_sentence_its_facts_and_its_id() {
        let mut entry = Entry { sentence: "ready".into(), ..Entry::default() };
        entry.fact("version", "0.1.0");
        entry.fact("error", "no such file");
        let bytes = entry.finished();
        let text = String::from_utf8_lossy(&bytes);
        let length = |bytes: u8| String::from_utf8(vec![bytes, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(text.contains(&format!("WSROUTER_VERSION\n{}0.1.0\n", length(5))), "{text}");
        assert!(text.contains(&format!("MESSAGE_ID\n{}{}\n", length(32), messages::id("ready").unwrap())), "{text}");
        assert!(text.ends_with("ready version=0.1.0 error=\"no such file\"\n"), "{text}");
    }

    #[test]
    fn a_journal_that_takes_nothing_holds_nobody_up_and_the_loss_is_counted() {
        let socket = UnixDatagram::unbound().unwrap();
        let (journal, lost) = (Journal { socket, lost: AtomicU64::new(2) }, Entry::default());
        // Nobody listens on an unbound socket's other end but the system's journal, if there is one.
        if !std::path::Path::new(SOCKET).exists() {
            journal.send(lost);
            assert_eq!(journal.lost.load(Ordering::Relaxed), 3);
            let subscriber = tracing_subscriber::registry().with(journal);
            tracing::subscriber::with_default(subscriber, || tracing::info!("nobody hears this"));
        }
    }
}
