//! A websocket client over any stream that can break every rule of the protocol, and returns what it receives frame by
//! frame.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use ws_router_core::close::CloseReason;
use ws_router_core::frame::{client_frame, client_header};

use super::{Server, read_head};

/// Stream that a device can use.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Device's end of a connection.
pub struct Device<S>(pub S);

/// Device over a stream of any type.
pub type Any = Device<Box<dyn Stream>>;

/// Frame or end that a device received.
#[derive(PartialEq, Clone)]
pub enum Received {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
    /// End of the stream: by the protocol, or broken.
    End(bool),
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text {text:.100}"),
            Self::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Ping => write!(f, "ping"),
            Self::Pong(payload) => write!(f, "pong of {} bytes", payload.len()),
            Self::Close(code, reason) => write!(f, "close {code} {reason}"),
            Self::End(in_order) => write!(f, "end, {}", if *in_order { "in order" } else { "broken" }),
        }
    }
}

/// Returns a handshake request.
pub fn request(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl<S: Stream> Device<S> {
    pub async fn join(mut stream: S, target: &str) -> Self {
        stream.write_all(request(target).as_bytes()).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        Self(stream)
    }

    pub fn boxed(self) -> Any
    where
        S: 'static,
    {
        Device(Box::new(self.0))
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub async fn say(&mut self, text: &str) {
        self.raw(&frame(0x81, text.as_bytes())).await;
    }

    /// Waits for the next frame, or the end; fails the test after ten seconds.
    pub async fn frame(&mut self) -> Received {
        let frame = tokio::time::timeout(Duration::from_secs(10), read_frame(&mut self.0));
        match frame.await.expect("nothing was received") {
            Ok(received) => received,
            Err(error) => Received::End(error.kind() == std::io::ErrorKind::UnexpectedEof),
        }
    }

    /// Waits for the next frame that isn't a ping, and answers pings.
    pub async fn receive(&mut self) -> Received {
        loop {
            match self.frame().await {
                Received::Ping => self.raw(&frame(0x8a, b"")).await,
                received => return received,
            }
        }
    }

    pub async fn expect(&mut self, text: &str) {
        assert_eq!(self.receive().await, Received::Text(text.into()));
    }

    /// Waits for the close frame of this reason, answers it, and waits for the end behind that.
    pub async fn expect_close(&mut self, reason: CloseReason) {
        assert_eq!(self.receive().await, Received::Close(reason.code().unwrap(), reason.text().into()));
        self.raw(&frame(0x88, &1000u16.to_be_bytes())).await;
        if matches!(reason, CloseReason::Protocol | CloseReason::InvalidUtf8 | CloseReason::TooBig) {
            // The router decodes nothing any more, and waits for the end of the stream.
            self.0.shutdown().await.unwrap();
        }
        assert!(matches!(self.frame().await, Received::End(_)));
    }
}

/// Reads one frame of a server.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Received> {
    let (first, short) = (stream.read_u8().await?, stream.read_u8().await?);
    let len = match short {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let mut payload = vec![0; len as usize];
    stream.read_exact(&mut payload).await?;
    Ok(match first {
        0x81 => Received::Text(String::from_utf8(payload).unwrap()),
        0x82 => Received::Binary(payload),
        0x88 => {
            let (code, reason) = payload.split_first_chunk().unwrap();
            Received::Close(u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).unwrap())
        }
        0x89 => Received::Ping,
        0x8a => Received::Pong(payload),
        other => panic!("a frame that begins with {other:x}"),
    })
}

/// Returns a masked client frame with the shortest form of its length.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    client_frame(first, MASK, payload)
}

/// Returns the header of a client frame.
pub fn header(first: u8, len: u64) -> Vec<u8> {
    client_header(first, MASK, len)
}

/// Returns how many connections ended for a reason.
pub fn closes(server: &Server, reason: CloseReason) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.closes(reason)).sum()
}

const MASK: [u8; 4] = [0x5a, 0x11, 0xc3, 0x08];
