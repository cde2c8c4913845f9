//! `join`: a terminal as a device. Each line of standard input is a text message, and so is each printed line.
//!
//! Standard output has the messages, or with `--json` an event a line; how the connection ended is printed on standard
//! error. The end of standard input, and SIGINT or SIGTERM, leave the registration with a close frame.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use thiserror::Error as ThisError;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use uuid::Uuid;
use ws_router_admin_api::cli;
use ws_router_core::kind::Role;

use super::dial::{DialError, Dialer, Socket};
use super::error::{Error, with_causes};
use super::key::Key;
use super::liveness;
use super::output::Format;
use super::transfer::{self, Input, TransferError};

/// Joins a registration until either side closes the connection.
pub(super) async fn join(arguments: &cli::Join, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let key = Key::require(arguments.key_file.as_deref())?;
    let dialer = Dialer::new(&arguments.deployment)?;
    let is_host = arguments.host || (arguments.register && !arguments.client);
    let role = if is_host { Role::Host } else { Role::Client };
    let joining = async {
        let id = match &arguments.id {
            Some(id) => id.as_str().to_owned(),
            // Nobody but the router removes it, so its host key is nobody's.
            None => {
                let host_key = Uuid::new_v4().simple().to_string();
                dialer.register(arguments.kind.as_str(), key.reveal(), &host_key, None).await?
            }
        };
        let socket = dialer.join(&id, key.reveal(), Some(role.as_str())).await?;
        Ok((id, socket))
    };
    let late = || Err(DialError::NoConnection(arguments.timeout));
    let (id, socket) = timeout(arguments.timeout, joining).await.unwrap_or_else(|_| late())?;
    let mut screen = Screen::new(format, out);
    screen.joined(&id)?;
    let input = match arguments.no_input {
        true => None,
        false => Some(Input::stdin().map_err(|error| Error::System("standard input", error))?),
    };
    let signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| Error::System("signals", error))?;
    let end = converse(socket, input, signals, &mut screen).await?;
    screen.ended(&end)?;
    if end.is_failure() { Err(Error::Reported) } else { Ok(()) }
}

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// This device left.
    Left,
    /// The router sent a close frame.
    Closed { code: u16, reason: String },
    /// The connection broke, or something couldn't be sent.
    Broken(String),
}

impl End {
    /// Uses the close frame that the router sent, which may have none, and neither has a code.
    fn closed(frame: Option<CloseFrame>) -> Self {
        match frame {
            Some(frame) => Self::Closed { code: frame.code.into(), reason: frame.reason.to_string() },
            None => Self::Closed { code: CloseCode::Status.into(), reason: String::new() },
        }
    }

    /// Returns who closed the connection. In a paired registration, codes of applications are from the other end.
    fn by(&self) -> &'static str {
        match self {
            Self::Left => "device",
            Self::Closed { code: 3000..=3999 | 4100..=4399 | 4500..=4999, .. } => "peer",
            Self::Closed { .. } => "router",
            Self::Broken(_) => "network",
        }
    }

    fn is_failure(&self) -> bool {
        !matches!(self, Self::Left | Self::Closed { code: 1000, .. })
    }
}

/// Sends lines and prints messages, until the connection has ended.
async fn converse<W: Write>(
    socket: Socket,
    input: Option<Input>,
    mut signals: Signals,
    screen: &mut Screen<'_, W>,
) -> Result<End, Error> {
    let (mut sink, mut stream) = socket.split();
    let send = async {
        let sent = tokio::select! {
            sent = send_lines(&mut sink, input) => sent,
            _ = signals.next() => Ok(()),
        };
        let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        if sent.is_ok() && sink.send(Message::Close(Some(close))).await.is_ok() {
            // The router answers, unless the connection is broken.
            sleep(CLOSE_TIMEOUT).await;
        }
        sent
    };
    tokio::pin!(send);
    let mut has_left = false;
    loop {
        let received = tokio::select! {
            biased;
            received = liveness::receive(&mut stream) => received,
            sent = &mut send => return Ok(sent.map_or_else(|error| End::Broken(with_causes(&error)), |()| End::Left)),
        };
        match received {
            Ok(Some(Message::Text(text))) => screen.text(&text)?,
            Ok(Some(Message::Binary(bytes))) => screen.binary(&bytes)?,
            Ok(Some(Message::Close(frame))) => {
                let end = End::closed(frame);
                has_left = !end.is_failure();
                if !has_left {
                    return Ok(end);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) if has_left => return Ok(End::Left),
            Ok(None) => return Ok(End::Broken(with_causes(&DialError::Ended))),
            Err(_) if has_left => return Ok(End::Left),
            Err(error) => return Ok(End::Broken(with_causes(&error))),
        }
    }
}

/// Reason why a line can't be sent.
#[derive(Debug, ThisError)]
enum SendError {
    #[error("standard input: a line longer than 1 MiB; pipe sends data of any size")]
    LongLine,
    #[error("standard input: a line isn't UTF-8; pipe sends any data")]
    NoText,
    #[error(transparent)]
    Input(#[from] TransferError),
    #[error(transparent)]
    Connection(#[from] tungstenite::Error),
}

/// Sends each line as a message until the input ends, and pings.
async fn send_lines(sink: &mut SplitSink<Socket, Message>, mut input: Option<Input>) -> Result<(), SendError> {
    let mut pings = liveness::pings();
    let mut lines = Lines::default();
    loop {
        let chunk = tokio::select! {
            chunk = transfer::next(&mut input) => chunk,
            _ = pings.tick() => {
                sink.send(Message::Ping(Default::default())).await?;
                continue;
            }
        };
        let is_end = chunk.is_none();
        match chunk {
            Some(Ok(bytes)) => lines.push(&bytes),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        while let Some(line) = lines.next(is_end)? {
            sink.send(Message::text(line)).await?;
        }
        if is_end {
            return Ok(());
        }
    }
}

/// Splits input into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next line without its end; at the end of the input, what is left is one too.
    fn next(&mut self, is_end: bool) -> Result<Option<String>, SendError> {
        let (len, rest) = match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at, at + 1),
            None if is_end && !self.buffer.is_empty() => (self.buffer.len(), self.buffer.len()),
            None if self.buffer.len() > MAX_LINE => return Err(SendError::LongLine),
            None => return Ok(None),
        };
        let line: Vec<u8> = self.buffer.drain(..rest).take(len).collect();
        String::from_utf8(line).map(Some).map_err(|_| SendError::NoText)
    }
}

/// Prints messages and events.
struct Screen<'a, W> {
    is_json: bool,
    /// Whether control characters could control the terminal of the person who reads.
    is_terminal: bool,
    out: &'a mut W,
}

impl<'a, W: Write> Screen<'a, W> {
    fn new(format: Format, out: &'a mut W) -> Self {
        Self { is_json: format.is_json(), is_terminal: io::stdout().is_terminal(), out }
    }

    fn joined(&mut self, id: &str) -> Result<(), Error> {
        if self.is_json {
            return self.event(&json!({ "event": "joined", "id": id }));
        }
        note(format_args!("joined {id}"));
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Error> {
        if self.is_json {
            return self.event(&json!({ "event": "text", "text": text }));
        }
        if self.is_terminal {
            writeln!(self.out, "{}", without_controls(text))?;
        } else {
            writeln!(self.out, "{text}")?;
        }
        Ok(self.out.flush()?)
    }

    fn binary(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_json {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return self.event(&json!({ "event": "binary", "bytes": bytes.len(), "hex": hex }));
        }
        note(format_args!("a binary message of {} bytes", bytes.len()));
        Ok(())
    }

    fn ended(&mut self, end: &End) -> Result<(), Error> {
        if self.is_json {
            let mut event = json!({ "event": "closed", "by": end.by() });
            match end {
                End::Left => {}
                End::Closed { code, reason } => {
                    event["code"] = (*code).into();
                    event["reason"] = reason.as_str().into();
                }
                End::Broken(why) => event["error"] = why.as_str().into(),
            }
            return self.event(&event);
        }
        match end {
            End::Left => note(format_args!("closed by this device")),
            End::Closed { code, reason } => {
                let by = if end.by() == "peer" { "the other end" } else { "the router" };
                note(format_args!("closed by {by}: {code} {}", reason.escape_debug()));
            }
            End::Broken(why) => note(format_args!("{why}")),
        }
        Ok(())
    }

    fn event(&mut self, event: &Value) -> Result<(), Error> {
        writeln!(self.out, "{event}")?;
        Ok(self.out.flush()?)
    }
}

/// Escapes control characters, with which another device could write anywhere on the terminal.
fn without_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push('\t'),
            character if character.is_control() => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
    shown
}

fn note(text: std::fmt::Arguments<'_>) {
    // If standard error is closed, the exit status remains.
    let _ = writeln!(io::stderr(), "ws-routerctl: {text}");
}

/// Length of a line of the input. Longer ones are rather data, which `pipe` sends.
const MAX_LINE: usize = 1 << 20;
/// Time for the router to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_wherever_the_input_was() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in ["on", "e\n\ntw", "o\nthree"] {
            lines.push(chunk.as_bytes());
            found.extend(std::iter::from_fn(|| lines.next(false).unwrap()));
        }
        found.extend(std::iter::from_fn(|| lines.next(true).unwrap()));
        assert_eq!(found, ["one", "", "two", "three"]);
        lines.push(b"\xff\n");
        assert_eq!(
            lines.next(false).unwrap_err().to_string(),
            "standard input: a line isn't UTF-8; pipe sends any data"
        );
        lines.push(&vec![b'a'; MAX_LINE + 1]);
        assert!(matches!(lines.next(false), Err(SendError::LongLine)));
    }

    #[test]
    fn another_device_cannot_control_the_terminal() {
        assert_eq!(without_controls("a\tü\u{1b}[2J\n\u{9b}"), "a\tü\\u{1b}[2J\\n\\u{9b}");
    }

    #[test]
    fn codes_of_applications_are_from_the_other_end() {
        let by = |code| End::Closed { code, reason: String::new() }.by();
        assert_eq!([1000, 1012, 4000, 4007, 4404].map(by), ["router"; 5]);
        assert_eq!([3000, 4100, 4999].map(by), ["peer"; 3]);
    }
}
