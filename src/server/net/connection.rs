//! An accepted connection until it becomes a websocket, in the form that hyper reads and writes.
//!
//! It owns its permits, so that they are released however it ends. Writes time out here, since hyper has no timeout for
//! them: a peer that sends requests without reading the responses would keep its connection forever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::certificates::{Certificates, ClientCertificate};
use super::kernel_tls::{self, KernelStream, Moved, RecordReader, move_to_kernel};
use super::pending::{Activity, PendingGuard};
use super::permit::ConnectionPermit;
use super::stream::Stream;
use super::{NetworkSlot, Plain, Socket, Transport, client_hello, proxy};
use crate::metrics::Rejection;
use crate::peer::{Network, Peer, Peers};

/// An accepted connection, plain or with TLS.
#[derive(Debug)]
pub struct Connection {
    layer: Layer,
    peer: Peer,
    permit: ConnectionPermit,
    /// Dropped when the connection becomes a websocket.
    pending: PendingGuard,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    /// Runs while a write waits for the peer.
    write_timer: Option<Pin<Box<Sleep>>>,
    has_timed_out: bool,
    /// Bytes that were received with the handshake, and are read first.
    unread: Bytes,
}

#[derive(Debug)]
enum Layer {
    Plain(Stream),
    Kernel(KernelStream, Option<ClientChain>),
    Tls(Box<TlsStream<RecordReader>>, Arc<Certificates>),
}

/// The certificates that a client has presented, and those that verify them.
type ClientChain = (Vec<CertificateDer<'static>>, Arc<Certificates>);

impl Connection {
    /// Returns the other end of the connection.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the client certificate, if the peer has presented one.
    pub fn client_certificate(&self) -> Option<ClientCertificate> {
        match &self.layer {
            Layer::Plain(_) => None,
            Layer::Kernel(_, chain) => chain.as_ref().and_then(|(chain, by)| ClientCertificate::new(chain, by)),
            Layer::Tls(stream, certificates) => {
                ClientCertificate::new(stream.get_ref().1.peer_certificates()?, certificates)
            }
        }
    }

    /// Sets how long a write may wait for the peer; unlimited by default.
    pub fn set_write_timeout(&mut self, timeout: Duration) {
        self.write_timeout = timeout;
    }

    /// Detaches the connection from tokio's event loop, for a relay thread. `early` is what was read of it already; returns
    /// it with what wasn't.
    pub fn into_socket(self, early: Bytes) -> io::Result<(Socket, Bytes)> {
        let transport = match self.layer {
            Layer::Plain(stream) => Transport::Plain(stream.into_plain()?),
            Layer::Kernel(stream, _) => {
                let sealed = stream.is_limited().then_some(0);
                match stream.into_stream().into_plain()? {
                    Plain::Tcp(socket) => Transport::Kernel(socket, sealed),
                    plain @ Plain::Unix(_) => Transport::Plain(plain),
                }
            }
            Layer::Tls(stream, _) => {
                let (stream, session) = stream.into_inner();
                Transport::Tls(stream.into_stream().into_plain()?, Box::new(session))
            }
        };
        let early = if self.unread.is_empty() { early } else { [early, self.unread].concat().into() };
        Ok((Socket { transport, peer: self.peer, permit: self.permit }, early))
    }

    /// Wraps a connection that has just been accepted.
    pub(super) fn plain(stream: Stream, peer: Peer, permit: ConnectionPermit, pending: PendingGuard) -> Self {
        let layer = Layer::Plain(stream);
        let evicted = Box::pin(pending.evicted());
        Self {
            layer,
            peer,
            permit,
            pending,
            evicted,
            write_timeout: UNLIMITED,
            write_timer: None,
            has_timed_out: false,
            unread: Bytes::new(),
        }
    }

    /// Returns a handle that reports requests. During a request, the connection isn't evicted.
    pub fn activity(&self) -> Activity {
        self.pending.activity()
    }

    /// Moves the connection to its client's network in the pool of pending connections.
    pub(super) fn assign(&mut self, network: Option<Network>, limit: usize) -> Result<(), Rejection> {
        self.pending.assign(network, limit)
    }

    /// Waits for the peer's first bytes. If failures are logged, returns the start of its ClientHello, else nothing.
    async fn first_bytes(&mut self) -> io::Result<Vec<u8>> {
        let Layer::Plain(stream) = &self.layer else { return Ok(Vec::new()) };
        Self::unless_evicted(&self.pending, stream.readable()).await?;
        self.pending.on_first_byte();
        if tracing::enabled!(tracing::Level::DEBUG) { stream.peek(MAX_PEEKED).await } else { Ok(Vec::new()) }
    }

    /// Runs a step of the handshake; fails if the connection is evicted meanwhile.
    async fn unless_evicted<T>(pending: &PendingGuard, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::select! {
            biased;
            () = pending.evicted() => Err(evicted_error()),
            done = step => done,
        }
    }

    /// Fails if the connection has been evicted, else wakes the task when it is.
    fn check_evicted(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.evicted.as_mut().poll(cx) {
            Poll::Ready(()) => Err(evicted_error()),
            Poll::Pending => Ok(()),
        }
    }

    /// Keeps the slot of the client's network until the connection ends.
    pub(super) fn hold(&mut self, slot: Option<NetworkSlot>) {
        self.permit.hold(slot);
    }

    /// Limits the buffering in the kernel; see [`Stream::disable_buffering`].
    pub(super) fn disable_buffering(&self) -> io::Result<()> {
        match &self.layer {
            Layer::Plain(stream) => stream.disable_buffering(),
            Layer::Kernel(stream, _) => stream.disable_buffering(),
            Layer::Tls(stream, _) => stream.get_ref().0.stream().disable_buffering(),
        }
    }

    /// Reads the PROXY header that a trusted proxy sends first, and takes the client's address from it.
    pub(super) async fn read_proxy_header(mut self, trusted: &Peers) -> io::Result<Self> {
        if !trusted.contain(&self.peer) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is not in http.trusted-proxies"));
        }
        if let Layer::Plain(stream) = &mut self.layer
            && let Some(client) = Self::unless_evicted(&self.pending, proxy::read_header(stream)).await?
        {
            self.peer = Peer::inet(client);
        }
        Ok(self)
    }

    /// Runs the TLS handshake, and moves the connection into the kernel if it can.
    pub(super) async fn into_tls(mut self, certificates: &Arc<Certificates>) -> io::Result<Self> {
        let hello = self.first_bytes().await?;
        self.permit.count_tls();
        let Layer::Plain(stream) = self.layer else { return Ok(self) };
        let uses_kernel = certificates.uses_kernel() && kernel_tls::prepare(&stream, certificates);
        let stream = RecordReader::new(stream, uses_kernel);
        let handshake = TlsAcceptor::from(certificates.server_config(uses_kernel)).accept(stream);
        let tls = Self::unless_evicted(&self.pending, handshake).await;
        let tls = Box::new(tls.map_err(|error| with_server_name(error, &hello))?);
        self.pending.on_handshake();
        let metrics = self.pending.metrics();
        let chain = tls.get_ref().1.peer_certificates().filter(|_| uses_kernel).map(<[_]>::to_vec);
        let (mut early, mut moved) = (Vec::new(), Moved::InProcess(tls));
        if uses_kernel && let Moved::InProcess(tls) = moved {
            moved = Self::unless_evicted(&self.pending, move_to_kernel(tls, &mut early, metrics)).await?;
        }
        let layer = match moved {
            Moved::InKernel(stream) => {
                self.permit.count_kernel_tls();
                Layer::Kernel(stream, chain.map(|chain| (chain, Arc::clone(certificates))))
            }
            Moved::InProcess(_) if certificates.needs_kernel() => {
                metrics.tls_kernel_failures.increment();
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "listener.tls.kernel is required, and not possible",
                ));
            }
            Moved::InProcess(mut tls) => {
                tls.get_mut().0.read_freely();
                Layer::Tls(tls, Arc::clone(certificates))
            }
        };
        let connection = Self { layer, unread: early.into(), ..self };
        // A resumed TLS session has the certificate of its first handshake, which may have expired since.
        if connection.client_certificate().is_some_and(|certificate| certificate.identity().is_none()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client certificate has expired or is revoked"));
        }
        Ok(connection)
    }

    /// Runs a write. Fails if the peer reads nothing for the write timeout, which is counted once per connection.
    fn write_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.check_evicted(cx)?;
        if self.has_timed_out {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let written = match &mut self.layer {
            Layer::Plain(stream) => write(Pin::new(stream), cx),
            Layer::Kernel(stream, _) => write(Pin::new(stream), cx),
            Layer::Tls(stream, _) => write(Pin::new(&mut **stream), cx),
        };
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.write_timeout)));
        timer.as_mut().poll(cx).map(|()| {
            self.has_timed_out = true;
            self.pending.metrics().stalled.increment();
            Err(io::ErrorKind::TimedOut.into())
        })
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        connection.check_evicted(cx)?;
        if !connection.unread.is_empty() {
            let bytes = connection.unread.len().min(into.remaining());
            into.put_slice(&connection.unread.split_to(bytes));
            return Poll::Ready(Ok(()));
        }
        let read = match &mut connection.layer {
            Layer::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Layer::Kernel(stream, _) => Pin::new(stream).poll_read(cx, into),
            Layer::Tls(stream, _) => Pin::new(&mut **stream).poll_read(cx, into),
        };
        if read.is_ready() {
            connection.pending.on_first_byte();
        }
        read
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
            Layer::Kernel(stream, _) => stream.is_write_vectored(),
            Layer::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write_with(cx, |layer, cx| layer.poll_shutdown(cx))
    }
}

/// Adds the server name that a client asked for to the error of its handshake.
fn with_server_name(error: io::Error, hello: &[u8]) -> io::Error {
    match client_hello::server_name(hello) {
        Some(name) => io::Error::new(error.kind(), format!("{error}; the client sent the server name {name:?}")),
        None => error,
    }
}

fn evicted_error() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "closed to make room for another connection")
}

/// Bytes of a ClientHello that are searched for the server name, which is near the start.
const MAX_PEEKED: usize = 2048;

/// A year. The handshake, which is the only user, has its own timeout.
const UNLIMITED: Duration = Duration::from_secs(60 * 60 * 24 * 365);
