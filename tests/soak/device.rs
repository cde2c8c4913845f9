//! One device: a socket that never blocks, frames by hand in both directions.
//!
//! What it has to send lies in one buffer, so that it can stop in the middle of a frame wherever it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};
use ws_router_core::frame::client_frame;

/// Where the router listens.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Inet(SocketAddr),
    Unix(PathBuf),
}

/// How a device reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    Full,
    /// Little by little, through a small window, so that the router has to keep what is owed to it.
    Slow,
}

/// Connects and waits for each answer at most so long.
pub(crate) fn connect(place: &Place, pace: Pace, patience: Duration) -> io::Result<Socket> {
    let (domain, address) = match place {
        Place::Inet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Place::Unix(path) => (Domain::UNIX, SockAddr::unix(path)?),
    };
    let socket = Socket::new(domain, Type::STREAM, None)?;
    if pace == Pace::Slow {
        socket.set_recv_buffer_size(8 << 10)?;
    }
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&address)?;
    if let Place::Inet(_) = place {
        socket.set_tcp_nodelay(true)?;
    }
    Ok(socket)
}

/// Asks for a path on a connection of its own; gives the status and the body.
pub(crate) fn ask(place: &Place, path: &str, patience: Duration) -> Result<(u16, String), String> {
    let told = |error: io::Error| format!("{}: {error}", path.split('?').next().unwrap_or_default());
    let mut socket = connect(place, Pace::Full, patience).map_err(told)?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").map_err(told)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(told)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer to {path}: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| format!("no status: {head}"))?, body.to_owned()))
}

/// Joins a registration, whose key is `k`.
pub(crate) fn join(place: &Place, id: &str, role: &str, pace: Pace, patience: Duration) -> Result<Socket, String> {
    let told = |error: io::Error| format!("join: {error}");
    let mut socket = connect(place, pace, patience).map_err(told)?;
    let head = format!(
        "GET /connect?id={id}&key=k&sock_type={role} HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).map_err(told)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).map_err(told)?;
        answer.push(byte[0]);
    }
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 101") { Ok(socket) } else { Err(format!("join: {answer}")) }
}

/// A frame of the router.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(u16, String),
}

/// A member whose socket doesn't block.
pub(crate) struct Device {
    stream: Box<dyn MioStream>,
    pace: Pace,
    is_readable: bool,
    is_writable: bool,
    /// How the connection ended.
    pub(crate) ended: Option<String>,
    received: Vec<u8>,
    parsed: usize,
    /// To be sent, and how much of it has been.
    pub(crate) out: Vec<u8>,
    sent: usize,
    /// Where to stop for now.
    pub(crate) cut: Option<usize>,
}

trait MioStream: Read + Write + Source + Send {}
impl<S: Read + Write + Source + Send> MioStream for S {}

impl Device {
    /// Takes a member's connection.
    pub(crate) fn new(socket: Socket, place: &Place, pace: Pace) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let stream: Box<dyn MioStream> = match place {
            Place::Inet(_) => Box::new(mio::net::TcpStream::from_std(socket.into())),
            Place::Unix(_) => {
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

    /// Asks for events.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.stream.register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Notes an event.
    pub(crate) fn event(&mut self, event: &mio::event::Event) {
        self.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.is_writable |= event.is_writable();
    }

    /// How it reads.
    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Whether there may be more to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// Reads at most so much of what is there; gives how much it was.
    pub(crate) fn read(&mut self, limit: usize) -> usize {
        let start = self.received.len();
        self.received.resize(start + limit, 0);
        let mut end = start;
        while self.is_readable && end < start + limit {
            match self.stream.read(&mut self.received[end..]) {
                Ok(0) => self.end("the router closed the connection without a word".into()),
                Ok(read) => end += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) => self.end(format!("read: {error}")),
            }
        }
        self.received.truncate(end);
        end - start
    }

    fn end(&mut self, text: String) {
        self.ended = Some(text);
        self.is_readable = false;
    }

    /// Takes the next frame that has come whole.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, String> {
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
            // A ping is answered behind what is on its way already, and never in the middle of a frame.
            0x89 if self.cut.is_none() => {
                self.out.extend(client_frame(0x8a, [1, 2, 3, 4], &payload));
                self.frame()
            }
            0x89 => self.frame(),
            other => Err(format!("a frame that begins with {other:#x}")),
        }
    }

    fn no_frame(&mut self) -> Option<Frame> {
        self.received.drain(..self.parsed);
        self.parsed = 0;
        None
    }

    /// Sends as much as the kernel takes, up to the cut; tells whether it was anything.
    pub(crate) fn write(&mut self) -> Result<bool, String> {
        let (end, before) = (self.cut.unwrap_or(self.out.len()), self.sent);
        while self.is_writable && self.sent < end {
            match self.stream.write(&self.out[self.sent..end]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        let is_any = self.sent > before;
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(is_any)
    }

    /// Whether it stands at its cut, in the middle of a frame.
    pub(crate) fn holds(&self) -> bool {
        self.cut == Some(self.sent)
    }
}

/// Where the payload of the first frame begins, and how long it is.
fn payload(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?)),
        short => Some((2, usize::from(short))),
    }
}
