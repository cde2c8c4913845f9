//! What `connect` and `expose` have in common: a TCP connection at an end of a pair, and the lines about connections.

use std::io::Write;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dial::Socket;
use super::error::{Error, with_causes};
use super::output::Format;
use super::transfer::{self, Options, Transfer, TransferError};

/// An event of a program that listens until it is stopped.
#[derive(Debug)]
pub(super) enum Event {
    /// It listens under an id, or on an address.
    Listening { as_id: Option<String>, address: Option<String> },
    /// The router is out of reach; the next attempt follows after a pause.
    Lost { error: String, pause: Duration },
    /// A connection has ended, or wasn't made.
    Connection(Connection),
}

/// A connection that has ended.
#[derive(Debug)]
pub(super) struct Connection {
    /// Counted from 1.
    pub(super) number: u64,
    /// Name of the service, as the client gave it.
    pub(super) service: Option<String>,
    pub(super) lasted: Duration,
    /// The amounts, or the reason why it failed.
    pub(super) ended: Result<Transfer, Failure>,
}

/// Reason for which a connection failed, in words.
#[derive(Debug)]
pub(super) struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(with_causes(&error))
    }
}

impl Event {
    /// Prints the event as a line.
    pub(super) fn print(&self, format: Format, out: &mut impl Write) -> Result<(), Error> {
        if format.is_json() {
            writeln!(out, "{}", self.json())?;
        } else {
            writeln!(out, "{}", self.text())?;
        }
        Ok(out.flush()?)
    }

    fn text(&self) -> String {
        match self {
            Self::Listening { as_id: Some(id), .. } => format!("listening as {id}"),
            Self::Listening { address, .. } => format!("listening on {}", address.as_deref().unwrap_or_default()),
            Self::Lost { error, pause } => {
                format!("{error}; next attempt in {}", humantime::format_duration(rounded(*pause)))
            }
            Self::Connection(Connection { number, service, lasted, ended }) => {
                let service = service.as_ref().map(|name| format!(" {}", name.escape_debug())).unwrap_or_default();
                let outcome = match ended {
                    Ok(transfer) => transfer.text(true),
                    Err(Failure(why)) => why.clone(),
                };
                format!("connection {number}{service}: {outcome}, {}", humantime::format_duration(rounded(*lasted)))
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Listening { as_id, address } => json!({ "event": "listening", "id": as_id, "address": address }),
            Self::Lost { error, pause } => {
                json!({ "event": "lost", "error": error, "pause_ms": milliseconds(*pause) })
            }
            Self::Connection(Connection { number, service, lasted, ended }) => {
                let mut event = match ended {
                    Ok(transfer) => transfer.json(true),
                    Err(Failure(why)) => json!({ "error": why, "confirmed": false }),
                };
                event["event"] = "connection".into();
                event["number"] = (*number).into();
                event["service"] = service.as_deref().into();
                event["ms"] = milliseconds(*lasted).into();
                event
            }
        }
    }
}

/// Transfers between a TCP connection, which has a name in error messages, and the other end of a pair.
pub(super) async fn run(
    socket: Socket,
    name: &'static str,
    stream: TcpStream,
    timeout: Duration,
) -> Result<Transfer, TransferError> {
    let (input, output) = transfer::tcp(name, stream);
    transfer::run(socket, Some(input), output, Options { plain: false, ends_with_peer: false, timeout }).await
}

/// Measures a connection from now on.
pub(super) async fn measured(
    number: u64,
    service: Option<String>,
    work: impl Future<Output = Result<Transfer, Failure>>,
) -> Event {
    let start = Instant::now();
    let ended = work.await;
    Event::Connection(Connection { number, service, lasted: start.elapsed(), ended })
}

fn rounded(span: Duration) -> Duration {
    Duration::from_millis(milliseconds(span))
}

fn milliseconds(span: Duration) -> u64 {
    span.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Events that wait to be printed.
pub(super) const EVENTS: usize = 16;
