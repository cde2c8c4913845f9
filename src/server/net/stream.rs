//! A plain stream socket on the event loop, TCP or Unix, below TLS or HTTP.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, SockRef, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::socket::Plain;
use crate::peer::Peer;

/// A connected stream socket.
#[derive(Debug)]
pub enum Stream {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    Unix(UnixStream),
}

/// Reason why a descriptor isn't a connection that can be served.
#[derive(Debug, thiserror::Error)]
pub enum NotAConnection {
    /// The socket is of another type, such as a datagram socket.
    #[error("not a stream socket; use `stream` in inetd's line")]
    NotStream,
    /// The socket has no peer.
    #[error("not connected; use `nowait` in inetd's line for this")]
    NotConnected,
    /// Any other failure of the system, such as a descriptor of a file.
    #[error("{0}")]
    Other(#[from] io::Error),
}

impl Stream {
    /// Takes a connected socket that another program (inetd) accepted; fails for other kinds of descriptors.
    pub(super) fn adopt(descriptor: OwnedFd) -> Result<Self, NotAConnection> {
        let is_unix = {
            let socket = SockRef::from(&descriptor);
            if socket.r#type()? != Type::STREAM {
                return Err(NotAConnection::NotStream);
            }
            socket.peer_addr().map_err(|_| NotAConnection::NotConnected)?;
            socket.domain()? == Domain::UNIX
        };
        Ok(Self::from_descriptor(descriptor, is_unix)?)
    }

    /// Registers a connected socket of the given family with the event loop.
    pub(super) fn from_descriptor(descriptor: OwnedFd, is_unix: bool) -> io::Result<Self> {
        if is_unix {
            let socket = std::os::unix::net::UnixStream::from(descriptor);
            socket.set_nonblocking(true)?;
            UnixStream::from_std(socket).map(Self::Unix)
        } else {
            let socket = std::net::TcpStream::from(descriptor);
            socket.set_nonblocking(true)?;
            TcpStream::from_std(socket).map(Self::Tcp)
        }
    }

    /// Disables Nagle's algorithm, since writes are gathered already, and limits the unsent bytes in the kernel: bytes
    /// that wait for a slow peer belong in its outbox, where they are counted and their progress is observed.
    pub(super) fn disable_buffering(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => disable_buffering(socket),
            Self::Unix(_) => Ok(()),
        }
    }

    /// Returns the first bytes that the peer has sent, without consuming them. Empty on a Unix socket: tokio can't peek
    /// there.
    pub(super) async fn peek(&self, max: usize) -> io::Result<Vec<u8>> {
        let Self::Tcp(socket) = self else { return Ok(Vec::new()) };
        let mut bytes = vec![0; max];
        let len = socket.peek(&mut bytes).await?;
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Waits until the peer has sent bytes or closed its side.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    /// Returns the other end of the connection, as the kernel knows it.
    pub(super) fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().map(Peer::inet),
            Self::Unix(socket) => {
                socket.peer_cred().map(|peer| Peer::Unix { uid: peer.uid(), pid: peer.pid().unwrap_or(0) })
            }
        }
    }

    /// Detaches the socket from tokio's event loop; it stays non-blocking.
    pub(super) fn into_plain(self) -> io::Result<Plain> {
        match self {
            Self::Tcp(socket) => socket.into_std().map(Plain::Tcp),
            Self::Unix(socket) => socket.into_std().map(Plain::Unix),
        }
    }
}

/// Disables Nagle's algorithm, and limits the unsent bytes in the kernel.
pub(super) fn disable_buffering(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_notsent_lowat(MAX_UNSENT)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Bytes are written straight to the kernel.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// Maximum number of unsent bytes in the kernel (TCP_NOTSENT_LOWAT, tcp(7)). The kernel's default is megabytes; a much
/// lower limit than this makes large messages take more writes than necessary (tests/bench/README.md).
const MAX_UNSENT: u32 = 512 << 10;
