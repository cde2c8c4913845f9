//! Guests who are in, and strangers who try what they may not: what these are answered, what is counted, and that the
//! guests hear every message in order meanwhile.

use std::io::ErrorKind;
use std::time::Instant;

use super::client::{Member, Stream};
use super::harness::{PATIENCE, Router};

/// Two members of a lobby.
pub(crate) struct Guests<S> {
    one: Member<S>,
    other: Member<S>,
    said: u32,
}

impl<S: Stream> Guests<S> {
    pub(crate) fn join(connect: impl Fn() -> S, id: &str, key: &str) -> Self {
        let join = || Member::join(connect(), id, key);
        Self { one: join(), other: join(), said: 0 }
    }

    /// Says some more each way; nothing is missing, doubled or out of order.
    pub(crate) fn talk(&mut self) {
        let numbers = self.said..self.said + 10;
        self.said = numbers.end;
        numbers.clone().for_each(|number| self.one.say(&number.to_string()));
        numbers.clone().for_each(|number| assert_eq!(self.other.receive(), number.to_string()));
        numbers.clone().for_each(|number| self.other.say(&format!("heard {number}")));
        numbers.for_each(|number| assert_eq!(self.one.receive(), format!("heard {number}")));
    }
}

/// What a stranger was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if the connection was closed without a word.
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

/// Sends bytes as they are, and reads the head of what is answered; the stream stays with the caller.
pub(crate) fn send(stream: &mut impl Stream, bytes: &[u8]) -> Answer {
    // Who is refused early may be closed before all is written; what was said is what counts.
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("neither an answer nor an end: {}", String::from_utf8_lossy(&head))
            }
            Ok(_) | Err(_) => break,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head }
}

/// Asks for a path with more headers, each with its line's end.
pub(crate) fn get(mut stream: impl Stream, path: &str, headers: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n{headers}\r\n");
    send(&mut stream, request.as_bytes())
}

/// Asks for a websocket with more headers; gives the stream too, since a member stays one only as long as it lives.
pub(crate) fn upgrade<S: Stream>(mut stream: S, path: &str, headers: &str) -> (Answer, S) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: router\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    (send(&mut stream, request.as_bytes()), stream)
}

/// Waits until a number of a group of the status, or of none, is as expected: some are counted when the connection is closed already.
#[track_caller]
pub(crate) fn counted(router: &Router, group: &str, name: &str, expected: u64) {
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
