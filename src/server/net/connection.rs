//! An accepted connection between its handshake and its life as a websocket, as hyper reads and writes it.
//!
//! It holds its permits, so that it is counted wherever it ends, and bounds how long a peer may take nothing of an
//! answer: reading has a timeout in HTTP, and without one for writing a peer that asks and never reads would keep its
//! place for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::certified::certified;
use super::permit::Pending;
use super::stream::Stream;
use super::{Permit, Place, Socket, Transport, proxy};
use crate::peer::{Certified, Peer, Peers};

/// An accepted connection with its TLS handshake done, as hyper reads and writes it.
#[derive(Debug)]
pub struct Connection {
    layer: Layer,
    peer: Peer,
    permit: Permit,
    /// Given back when the connection becomes a websocket.
    pending: Pending,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    is_given_up: bool,
}

#[derive(Debug)]
enum Layer {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

impl Connection {
    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Tells what the peer has proved to be by a certificate, if it showed one; the TLS handshake has checked it.
    pub fn certified(&self) -> Option<Certified> {
        match &self.layer {
            Layer::Plain(_) => None,
            Layer::Tls(stream) => stream.get_ref().1.peer_certificates()?.first().map(certified),
        }
    }

    /// Bounds how long the peer may take nothing of an answer; unbounded before.
    pub fn set_write_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Takes the connection from its event loop, for a relay thread.
    pub fn into_socket(self) -> io::Result<Socket> {
        let transport = match self.layer {
            Layer::Plain(stream) => Transport::Plain(stream.into_plain()?),
            Layer::Tls(stream) => {
                let (stream, session) = stream.into_inner();
                Transport::Tls(stream.into_plain()?, Box::new(session))
            }
        };
        Ok(Socket { transport, peer: self.peer, permit: self.permit })
    }

    pub(super) fn plain(stream: Stream, peer: Peer, permit: Permit, pending: Pending) -> Self {
        let layer = Layer::Plain(stream);
        Self { layer, peer, permit, pending, patience: UNBOUNDED, stalled: None, is_given_up: false }
    }

    /// Keeps the connection's place among those of its client's network.
    pub(super) fn keep(&mut self, place: Option<Place>) {
        self.permit.keep(place);
    }

    /// Has small writes sent at once.
    pub(super) fn set_eager(&self) -> io::Result<()> {
        match &self.layer {
            Layer::Plain(stream) => stream.set_eager(),
            Layer::Tls(stream) => stream.get_ref().0.set_eager(),
        }
    }

    /// Takes the client's address from the PROXY header that a trusted proxy sends first.
    pub(super) async fn behind_proxy(mut self, trusted: &Peers) -> io::Result<Self> {
        if !trusted.contain(&self.peer) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not from one of http.trusted-proxies"));
        }
        if let Layer::Plain(stream) = &mut self.layer
            && let Some(client) = proxy::receive(stream).await?
        {
            self.peer = Peer::inet(client);
        }
        Ok(self)
    }

    /// Does the TLS handshake.
    pub(super) async fn into_tls(mut self, certificates: &Certificates) -> io::Result<Self> {
        self.permit.seal();
        let layer = match self.layer {
            Layer::Plain(stream) => {
                let tls = TlsAcceptor::from(certificates.server_config()).accept(stream).await?;
                Layer::Tls(Box::new(tls))
            }
            done @ Layer::Tls(_) => done,
        };
        Ok(Self { layer, ..self })
    }

    /// Runs a write, and fails once the peer has taken nothing for as long as it may; that is counted once.
    fn write_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.is_given_up {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = match &mut self.layer {
            Layer::Plain(stream) => write(Pin::new(stream), cx),
            Layer::Tls(stream) => write(Pin::new(&mut **stream), cx),
        };
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
        stalled.as_mut().poll(cx).map(|()| {
            self.is_given_up = true;
            self.pending.front().stalled.up();
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Layer::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.layer {
            Layer::Plain(stream) => stream.is_write_vectored(),
            Layer::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_shutdown(cx))
    }
}

/// Longer than a process lives.
const UNBOUNDED: Duration = Duration::from_secs(60 * 60 * 24 * 365);
