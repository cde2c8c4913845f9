//! Start by inetd: the listening socket of a `wait` line is served, the connection of a `nowait` line is handed to the
//! running daemon.
//!
//! A connection is handed to the running daemon over its admin socket, since a process per connection couldn't relay
//! messages to the others. The request is an ordinary upgrade; after the 101 the descriptor follows in a message
//! with one byte, and the daemon answers with one line.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config;
use crate::exit::{ExitError, Status};
use crate::sys;
use crate::systemd::{self, Giver, Inherited, Input};

/// Socket that inetd passed.
#[derive(Debug)]
pub enum PassedSocket {
    /// A listening socket, served until the daemon is idle.
    Listener(Inherited),
    /// A connection, to be handed to the running daemon.
    Connection(OwnedFd),
}

/// Takes the socket from descriptor 0, and replaces it by `/dev/null` there and on 1 and 2.
pub fn take_socket() -> Result<PassedSocket, ExitError> {
    match systemd::standard_input() {
        Ok(Input::Listening(descriptor)) => {
            Ok(PassedSocket::Listener(Inherited { name: "http".into(), descriptor, giver: Giver::Supervisor }))
        }
        Ok(Input::Connected(descriptor)) => Ok(PassedSocket::Connection(descriptor)),
        Ok(Input::Other) => Err(ExitError::new(
            Status::Usage,
            "--inetd: descriptor 0 is not a socket; use this option only in the configuration of inetd",
        )),
        Err(error) => Err(ExitError::system("--inetd: descriptor 0", &error)),
    }
}

/// Hands a connection to the running daemon.
pub fn hand_over(connection: &OwnedFd, config: &config::Admin) -> Result<(), ExitError> {
    let candidates = config.socket_candidates();
    let (stream, path) = connect(&candidates)?;
    let failed = |error: io::Error| ExitError::system(format_args!("admin socket {}", path.display()), &error);
    match send(stream, connection).map_err(failed)? {
        Answer::Accepted => Ok(()),
        Answer::Refused(text) => {
            let text = format!("admin socket {}: connection refused: {text}", path.display());
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
        "no running ws-router answers ({}); start one, and run inetd's line as a user who may use its admin socket",
        failures.join("; ")
    );
    Err(ExitError::new(Status::Unavailable, text))
}

enum Answer {
    Accepted,
    Refused(String),
}

fn send(mut stream: UnixStream, connection: &OwnedFd) -> io::Result<Answer> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(REQUEST.as_bytes())?;
    let head = read_head(&mut stream)?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Ok(Answer::Refused(status.to_owned()));
    }
    sys::send_fd(&stream, connection.as_fd())?;
    let mut line = String::new();
    BufReader::new(stream).take(MAX_ANSWER as u64).read_line(&mut line)?;
    Ok(match line.trim_end() {
        "ok" => Answer::Accepted,
        "" => Answer::Refused("no answer".into()),
        text => Answer::Refused(text.to_owned()),
    })
}

/// Reads the head of the response byte by byte, so that nothing after it is consumed.
fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while head.len() < MAX_ANSWER && !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

const REQUEST: &str = "POST /v1/adopt HTTP/1.1\r\nHost: admin\r\nConnection: upgrade\r\n\
                       Upgrade: ws-router-descriptor\r\nContent-Length: 0\r\n\r\n";

/// The daemon answers within milliseconds, and devices give up after about ten seconds anyway.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limit in bytes of the response's head, and of the answer line.
const MAX_ANSWER: usize = 4096;
