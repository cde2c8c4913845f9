//! A blocking connection for requests and for frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ws_router_core::frame::{client_frame, client_header};

/// Connection of an HTTP client or of a member.
pub(crate) struct Line(pub(crate) TcpStream);

impl Line {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Registers a lobby, and returns its id.
    pub(crate) fn register(address: SocketAddr) -> io::Result<String> {
        let mut line = Self::open(address)?;
        let (status, body) = line.ask("/register?key=k&host_key=h&reg_type=lobby", "")?;
        if status == 200 { Ok(body) } else { Err(io::Error::other(format!("/register was answered with {status}"))) }
    }

    /// Joins a lobby.
    pub(crate) fn join(address: SocketAddr, id: &str) -> io::Result<Self> {
        let mut line = Self::open(address)?;
        match line.ask(&format!("/connect?id={id}&key=k"), UPGRADE)? {
            (101, _) => Ok(line),
            (status, body) => Err(io::Error::other(format!("/connect was answered with {status}: {body}"))),
        }
    }

    /// Makes a request with more headers, each with its line end; returns the status and the body.
    pub(crate) fn ask(&mut self, target: &str, headers: &str) -> io::Result<(u16, String)> {
        self.send(target, headers)?;
        self.answer()
    }

    /// Sends a request without waiting for the response.
    pub(crate) fn send(&mut self, target: &str, headers: &str) -> io::Result<()> {
        self.0.write_all(format!("GET {target} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes())
    }

    /// Waits for a response.
    pub(crate) fn answer(&mut self) -> io::Result<(u16, String)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Waits for a frame; returns its first byte and its payload.
    pub(crate) fn frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head)?;
        let mut payload = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.0.read_exact(&mut len)?;
                vec![0; usize::from(u16::from_be_bytes(len))]
            }
            127 => return Err(io::Error::other("unexpectedly large frame")),
            short => vec![0; usize::from(short)],
        };
        self.0.read_exact(&mut payload)?;
        Ok((head[0], payload))
    }
}

/// Returns a client frame, masked with zeros.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, [0; 4], payload)
}

/// Returns the header of a client frame.
pub(crate) fn header(first: u8, len: u64) -> Vec<u8> {
    client_header(first, [0; 4], len)
}

/// Headers of a handshake request.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PATIENCE: Duration = Duration::from_secs(20);
