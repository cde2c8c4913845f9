//! A cheap websocket client: a blocking socket, with its own encoding of frames.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use ws_router_core::frame::client_frame;

/// Websocket client.
pub struct Device {
    stream: BufReader<TcpStream>,
}

/// Frame that was received.
#[derive(Debug, PartialEq)]
pub enum Received {
    Message(Vec<u8>),
    Close(u16),
}

impl Device {
    /// Connects and upgrades.
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(crate::PATIENCE)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut stream = BufReader::with_capacity(4096, stream);
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(answer.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
        Self { stream }
    }

    /// Returns a second handle of the connection, for another thread. It doesn't wait forever, so that a test that fails
    /// ends.
    pub fn split(&self) -> TcpStream {
        self.stream.get_ref().set_write_timeout(Some(crate::PATIENCE)).unwrap();
        self.stream.get_ref().try_clone().unwrap()
    }

    /// Sends a binary message.
    pub fn send(&mut self, payload: &[u8]) {
        self.stream.get_mut().write_all(&frame(payload)).unwrap();
    }

    /// Waits for the next message, whole or in fragments, or for a close frame; answers pings.
    pub fn receive(&mut self) -> Received {
        let mut message = Vec::new();
        loop {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head).unwrap();
            let len = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let is_data = head[0] & 0x08 == 0;
            let from = if is_data { message.len() } else { 0 };
            let mut control = Vec::new();
            let payload = if is_data { &mut message } else { &mut control };
            payload.resize(from + len as usize, 0);
            self.stream.read_exact(&mut payload[from..]).unwrap();
            match head[0] {
                0x80..=0x82 => return Received::Message(message),
                0x00..=0x02 => {}
                0x88 => return Received::Close(u16::from_be_bytes([control[0], control[1]])),
                0x89 => self.stream.get_mut().write_all(&[0x8a, 0x80, 0, 0, 0, 0]).unwrap(),
                other => panic!("unexpected first byte of a frame: {other:x}"),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// Returns a masked binary message.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    client_frame(0x82, [0x5a, 0x11, 0xc3, 0x08], payload)
}
