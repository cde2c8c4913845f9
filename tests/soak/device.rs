//! Websocket client over a non-blocking socket, which encodes and decodes its frames itself.
//!
//! Its unsent frames are in one buffer, so that it can stop at any byte of a frame.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};
use ws_router_core::frame::client_frame;

use super::error::Error;

/// Address of a listener.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Inet(SocketAddr),
    Unix(PathBuf),
}

/// Reading speed of a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    Full,
    /// A little at a time, through a small receive buffer, so that the router has to buffer its messages.
    Slow,
}

/// Connects, with a timeout on each read and write.
pub(crate) fn connect(endpoint: &Endpoint, pace: Pace, patience: Duration) -> io::Result<Socket> {
    let (domain, address) = match endpoint {
        Endpoint::Inet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Endpoint::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if pace == Pace::Slow {
        socket.set_recv_buffer_size(8 << 10)?;
    }
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&address)?;
    if let Endpoint::Inet(_) = endpoint {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}

/// Registers with this query on a connection of its own; returns the id.
pub(crate) fn register(endpoint: &Endpoint, query: &str, patience: Duration) -> Result<String, Error> {
    let context = Error::io("register");
    let mut socket = connect(endpoint, Pace::Full, patience).map_err(context)?;
    write!(socket, "GET /register?{query} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").map_err(context)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(context)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, id)) if head.starts_with("HTTP/1.1 200 ") => Ok(id.to_owned()),
        _ => Err(Error::Response { request: "register", response: answer }),
    }
}

/// Joins a registration, whose key is `k`.
pub(crate) fn join(endpoint: &Endpoint, id: &str, role: &str, pace: Pace, patience: Duration) -> Result<Socket, Error> {
    let context = Error::io("join");
    let mut socket = connect(endpoint, pace, patience).map_err(context)?;
    let head = format!(
        "GET /connect?id={id}&key=k&sock_type={role} HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).map_err(context)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).map_err(context)?;
        answer.push(byte[0]);
    }
    let response = String::from_utf8_lossy(&answer).into_owned();
    if response.starts_with("HTTP/1.1 101") { Ok(socket) } else { Err(Error::Response { request: "join", response }) }
}

/// Frame from the router.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// Member with a non-blocking socket.
pub(crate) struct Device {
    stream: Box<dyn MioStream>,
    pace: Pace,
    is_readable: bool,
    is_writable: bool,
    /// Reason why the connection has ended.
    pub(crate) ended: Option<Error>,
    received: Vec<u8>,
    parsed: usize,
    /// Frames to send.
    pub(crate) out: Vec<u8>,
    /// Number of bytes of `out` that have been sent.
    sent: usize,
    /// Position in `out` at which to stop for now.
    pub(crate) cut: Option<usize>,
}

trait MioStream: Read + Write + Source + Send {}
impl<S: Read + Write + Source + Send> MioStream for S {}

impl Device {
    /// Wraps the connection of a member.
    pub(crate) fn new(socket: Socket, endpoint: &Endpoint, pace: Pace) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let stream: Box<dyn MioStream> = match endpoint {
            Endpoint::Inet(_) => Box::new(mio::net::TcpStream::from_std(socket.into())),
            Endpoint::Unix(_) => {
                Box::new(mio::net::UnixStream::from_std(UnixStream::from(std::os::fd::OwnedFd::from(socket))))
            }
        };
        let (received, out, ended) = (Vec::new(), Vec::new(), None);
        Ok(Self {
            stream,
            pace,
            is_readable: false,
            is_writable: false,
            ended,
            received,
            parsed: 0,
            out,
            sent: 0,
            cut: None,
        })
    }

    /// Registers for events.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Records an event.
    pub(crate) fn event(&mut self, event: &mio::event::Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.is_writable |= event.is_writable();
    }

    /// Returns its reading speed.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Returns whether there may be more to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Reads at most `limit` bytes; returns how many were read.
    pub(crate) fn read(&mut self, limit: usize) -> usize {
        let start = self.received.len();
        self.received.resize(start + limit, 0);
        let mut end = start;
        while self.is_readable && end < start + limit {
            match self.stream.read(&mut self.received[end..]) {
                Ok(0) => self.end(Error::Disconnected),
                Ok(read) => end += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) => self.end(Error::io("read")(error)),
            }
        }
        self.received.truncate(end);
        end - start
    }

    fn end(&mut self, reason: Error) {
        self.ended = Some(reason);
        self.is_readable = false;
    }

    /// Returns the next complete frame.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some((head, len)) = payload(&self.received[self.parsed..]) else { return Ok(self.no_frame()) };
        let start = self.parsed + head;
        let Some(payload) = self.received.get(start..start + len) else { return Ok(self.no_frame()) };
        let (payload, first) = (payload.to_vec(), self.received[self.parsed]);
        self.parsed = start + len;
        match first {
            0x81 => Ok(Some(Frame::Text(payload))),
            0x82 => Ok(Some(Frame::Binary(payload))),
            0x88 if payload.len() < 2 => Ok(Some(Frame::Close(1005, String::new()))),
            0x88 => {
                let reason = String::from_utf8_lossy(&payload[2..]).into_owned();
                Ok(Some(Frame::Close(u16::from_be_bytes([payload[0], payload[1]]), reason)))
            }
            0x8a => Ok(Some(Frame::Pong(payload))),
            // The pong follows the buffered frames, and is never in the middle of one.
            0x89 if self.cut.is_none() => {
                self.out.extend(client_frame(0x8a, [1, 2, 3, 4], &payload));
                self.frame()
            }
            0x89 => self.frame(),
            other => Err(Error::FirstByte(other)),
        }
    }

    fn no_frame(&mut self) -> Option<Frame> {
        self.received.drain(..self.parsed);
        self.parsed = 0;
        None
    }

    /// Sends as much as the kernel accepts, up to the cut; reports whether anything was sent.
    pub(crate) fn write(&mut self) -> Result<bool, Error> {
        let (end, before) = (self.cut.unwrap_or(self.out.len()), self.sent);
        while self.is_writable && self.sent < end {
            match self.stream.write(&self.out[self.sent..end]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) => return Err(Error::io("write")(error)),
            }
        }
        let is_any = self.sent > before;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(is_any)
    }

    /// Returns whether it has stopped at its cut, in the middle of a frame.
    pub(crate) fn holds(&self) -> bool {
        self.cut == Some(self.sent)
    }
}

/// Returns the position and the length of the payload of the first frame.
fn payload(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, usize::from(short))),
    }
}
