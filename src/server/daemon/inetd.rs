//! Started by inetd: serves the listening socket of a `wait` line, hands over the connection of a `nowait` line.
//!
//! A connection is handed to the running daemon over its admin socket, because a process of its own for each
//! connection could not pass messages between them. The request is an ordinary upgrade; after the 101 the descriptor
//! follows in a message with one byte, and the daemon answers with a line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::admin_socket;
use super::exit::{ExitError, Status};
use crate::config;
use crate::sys;
use crate::systemd::{self, Giver, Inherited, Input};

/// What inetd passed.
#[derive(Debug)]
pub(super) enum Passed {
    /// A listening socket, to be served until nobody needs it.
    Listener(Inherited),
    /// A connection, to be handed to the running daemon.
    Connection(OwnedFd),
}

/// Takes the socket from descriptor 0, and keeps everything that is written to 1 and 2 away from it.
pub(super) fn take() -> Result<Passed, ExitError> {
    match systemd::standard_input() {
        Ok(Input::Listening(descriptor)) => {
            Ok(Passed::Listener(Inherited { name: "http".into(), descriptor, giver: Giver::Supervisor }))
        }
        Ok(Input::Connected(descriptor)) => Ok(Passed::Connection(descriptor)),
        Ok(Input::Other) => Err(ExitError::new(
            Status::Usage,
            "--inetd: descriptor 0 is no socket; the option is for a line of inetd's configuration",
        )),
        Err(error) => Err(ExitError::system("--inetd: descriptor 0", &error)),
    }
}

/// Hands a connection to the daemon that runs.
pub(super) fn hand_over(connection: &OwnedFd, config: &config::Admin) -> Result<(), ExitError> {
    let candidates = admin_socket::candidates(config);
    let (stream, path) = connect(&candidates)?;
    let failed = |error: io::Error| ExitError::system(format_args!("admin socket {}", path.display()), &error);
    match ask(stream, connection).map_err(failed)? {
        Answer::Taken => Ok(()),
        Answer::Refused(text) => {
            let text = format!("admin socket {}: the connection was refused: {text}", path.display());
            Err(ExitError::new(Status::Unavailable, text))
        }
    }
}

fn connect(candidates: &[PathBuf]) -> Result<(UnixStream, &Path), ExitError> {
    let mut failures = Vec::new();
    for path in candidates {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok((stream, path)),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
    }
    let text = format!(
        "no running ws-router answers ({}); start one, and let inetd's line run as a user who may use its admin socket",
        failures.join("; ")
    );
    Err(ExitError::new(Status::Unavailable, text))
}

enum Answer {
    Taken,
    Refused(String),
}

fn ask(mut stream: UnixStream, connection: &OwnedFd) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(REQUEST.as_bytes())?;
    let head = read_head(&mut stream)?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Ok(Answer::Refused(status.to_owned()));
    }
    sys::send_fd(&stream, connection.as_fd())?;
    let mut line = String::new();
    BufReader::new(stream).take(LONGEST_ANSWER as u64).read_line(&mut line)?;
    Ok(match line.trim_end() {
        "ok" => Answer::Taken,
        "" => Answer::Refused("no answer".into()),
        text => Answer::Refused(text.to_owned()),
    })
}

/// Reads the response's head byte by byte, so as to take nothing of what follows it.
fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while head.len() < LONGEST_ANSWER && !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

const REQUEST: &str = "POST /v1/adopt HTTP/1.1\r\nHost: admin\r\nConnection: upgrade\r\n\
                       Upgrade: ws-router-descriptor\r\nContent-Length: 0\r\n\r\n";

/// The daemon answers within milliseconds; a device gives up after some ten seconds anyway.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer's head, or of its line.
const LONGEST_ANSWER: usize = 4096;
