//! Members of a lobby that exchange messages, and requests that the router rejects meanwhile.
//!
//! A test checks the response and the counter of each rejected request, and that the members still receive every message
//! in order.

use std::io::ErrorKind;
use std::time::Instant;

use super::client::{Member, Stream};
use super::harness::{PATIENCE, Router};

/// Two members of a lobby.
pub(crate) struct LobbyPair<S> {
    one: Member<S>,
    other: Member<S>,
    /// Number of the next message.
    next: u32,
}

impl<S: Stream> LobbyPair<S> {
    pub(crate) fn join(connect: impl Fn() -> S, id: &str, key: &str) -> Self {
        let join = || Member::join(connect(), id, key);
        Self { one: join(), other: join(), next: 0 }
    }

    /// Sends ten messages each way, and asserts that none is lost, duplicated or out of order.
    pub(crate) fn exchange(&mut self) {
        let numbers = self.next..self.next + 10;
        self.next = numbers.end;
        numbers.clone().for_each(|number| self.one.send_text(&number.to_string()));
        numbers.clone().for_each(|number| assert_eq!(self.other.receive(), number.to_string()));
        numbers.clone().for_each(|number| self.other.send_text(&format!("received {number}")));
        numbers.for_each(|number| assert_eq!(self.one.receive(), format!("received {number}")));
    }
}

/// Response to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status, or 0 if the connection was closed without a response.
    pub(crate) status: u16,
    head: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Returns the values of all headers of a name.
    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.head.lines().skip(1).filter_map(move |line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Sends bytes as they are, and reads the head of the response; the caller keeps the stream.
pub(crate) fn send(stream: &mut impl Stream, bytes: &[u8]) -> Answer {
    // The router may reject the request and close before everything is written; only its response matters.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("neither a response nor an end: {}", String::from_utf8_lossy(&head))
            }
            Ok(_) | Err(_) => break,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head }
}

/// Requests a path with more headers, each with its line end.
pub(crate) fn get(mut stream: impl Stream, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n{headers}\r\n");
    send(&mut stream, request.as_bytes())
}

/// Requests a websocket with more headers. Returns the stream too: dropping it closes the member's connection.
pub(crate) fn upgrade<S: Stream>(mut stream: S, path: &str, headers: &str) -> (Answer, S) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: router\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    (send(&mut stream, request.as_bytes()), stream)
}

/// Waits until a counter of the status has the expected value, since some are incremented after the connection is closed.
/// An empty `group` stands for the status itself.
#[track_caller]
pub(crate) fn wait_for_count(router: &Router, group: &str, name: &str, expected: u64) {
    let end = Instant::now() + PATIENCE;
    let mut found = None;
    while Instant::now() < end {
        let status = router.admin("/v1/status");
        found = if group.is_empty() { &status[name] } else { &status[group][name] }.as_u64();
        if found == Some(expected) {
            return;
        }
    }
    panic!("{group}.{name} is {found:?}, not {expected}");
}
