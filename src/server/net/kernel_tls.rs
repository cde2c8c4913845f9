//! The move of a TLS connection into the kernel after its handshake ([`crate::sys::kernel_tls`]).
//!
//! rustls does the handshake, and then gives up its secrets. What it had already decrypted is given to the connection
//! first, and nothing else may be left in it: so the handshake reads record by record ([`RecordReader`]). From then on,
//! the connection is read and written like a plain one, its descriptor is all there is, and a restart hands it over.
//!
//! A kernel without the module, a Unix socket, and a cipher that the kernel has rejected before leave a connection in the
//! process, unless `listener.tls.kernel` is "required".

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use rustls::{ConnectionTrafficSecrets as Secrets, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::certificates::Certificates;
use super::stream::Stream;
use crate::log::RateLimitedLog;
use crate::metrics::FrontendMetrics;
use crate::sys::kernel_tls::{self as sys, CONTROL_RECORD, ControlRecord, TlsDirection, TlsVersion};

/// A stream that reads no further than to the end of a TLS record, while `by_record` is set.
#[derive(Debug)]
pub(super) struct RecordReader {
    stream: Stream,
    by_record: bool,
    header: [u8; HEADER],
    /// Bytes of the header that have been read.
    filled: usize,
    /// Bytes of the record behind its header that haven't been read.
    remaining: usize,
}

impl RecordReader {
    pub(super) fn new(stream: Stream, by_record: bool) -> Self {
        Self { stream, by_record, header: [0; HEADER], filled: 0, remaining: 0 }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Reads as much as there is from now on.
    pub(super) fn read_freely(&mut self) {
        self.by_record = false;
    }

    /// Returns whether a record has been read in part.
    fn is_within_record(&self) -> bool {
        self.filled > 0 || self.remaining > 0
    }

    /// Returns how many bytes there are to the end of the header, or of the record.
    fn limit(&self) -> usize {
        if self.remaining > 0 { self.remaining } else { HEADER - self.filled }
    }

    fn on_read(&mut self, bytes: &[u8]) {
        if self.remaining > 0 {
            self.remaining -= bytes.len();
            return;
        }
        self.header[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
        self.filled += bytes.len();
        if let [_, _, _, high, low] = self.header
            && self.filled == HEADER
        {
            (self.remaining, self.filled) = (u16::from_be_bytes([high, low]).into(), 0);
        }
    }
}

impl AsyncRead for RecordReader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.by_record {
            return Pin::new(&mut this.stream).poll_read(cx, into);
        }
        let most = this.limit().min(into.remaining());
        let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
        let read = Pin::new(&mut this.stream).poll_read(cx, &mut part);
        this.on_read(part.filled());
        let bytes = part.filled().len();
        into.advance(bytes);
        read
    }
}

impl AsyncWrite for RecordReader {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Prepares a connection for its move into the kernel after the handshake; returns whether that is possible.
pub(super) fn prepare(stream: &Stream, certificates: &Certificates) -> bool {
    let Stream::Tcp(socket) = stream else { return false };
    let attached = sys::attach(socket.as_fd());
    if attached.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        certificates.note_no_module();
    }
    attached.is_ok()
}

/// Outcome of an attempt to move a connection into the kernel.
#[derive(Debug)]
pub(super) enum Moved {
    /// The kernel encrypts and decrypts from now on.
    InKernel(KernelStream),
    /// The connection stays as it was.
    InProcess(Box<TlsStream<RecordReader>>),
}

/// Moves a connection whose handshake is complete into the kernel, if that is possible. Appends what was received behind
/// the handshake to `early`.
///
/// Fails if the connection is broken, or if the kernel rejects its keys, after which there is no way back.
pub(super) async fn move_to_kernel(
    mut tls: Box<TlsStream<RecordReader>>,
    early: &mut Vec<u8>,
    metrics: &FrontendMetrics,
) -> io::Result<Moved> {
    // The session tickets, at least.
    tls.flush().await?;
    while tls.get_ref().0.is_within_record() {
        let mut some = [0; 1024];
        match tls.read(&mut some).await? {
            0 => return Ok(Moved::InProcess(tls)),
            read => early.extend_from_slice(&some[..read]),
        }
    }
    let session = tls.get_mut().1;
    let Some(suite) = Suite::of(session).filter(|suite| !suite.is_rejected()) else { return Ok(Moved::InProcess(tls)) };
    if session.process_new_packets().map_err(io::Error::other)?.peer_has_closed() {
        return Ok(Moved::InProcess(tls));
    }
    take_plaintext(session, early)?;
    // The answer to a key update that came right after the handshake.
    tls.flush().await?;
    let (reader, session) = tls.into_inner();
    let Stream::Tcp(socket) = reader.into_stream() else { return Err(io::ErrorKind::Unsupported.into()) };
    if let Err(error) = set_keys(&socket, suite, session) {
        suite.on_error(&error);
        metrics.tls_kernel_failures.increment();
        return Err(error);
    }
    Ok(Moved::InKernel(KernelStream { socket, is_limited: suite.is_limited(), ended: false }))
}

/// Takes what is decrypted already.
fn take_plaintext(session: &mut ServerConnection, early: &mut Vec<u8>) -> io::Result<()> {
    let mut some = [0; 4096];
    loop {
        match io::Read::read(&mut session.reader(), &mut some) {
            Ok(0) => return Ok(()),
            Ok(read) => early.extend_from_slice(&some[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn set_keys(socket: &TcpStream, suite: Suite, session: ServerConnection) -> io::Result<()> {
    let secrets = session.dangerous_extract_secrets().map_err(io::Error::other)?;
    let set = |direction, (number, secrets): &(u64, Secrets)| {
        sys::set_keys(socket.as_fd(), direction, suite.version, (*number, secrets))
    };
    set(TlsDirection::Send, &secrets.tx)?;
    set(TlsDirection::Receive, &secrets.rx)
}

/// A version of TLS and a cipher.
#[derive(Debug, Clone, Copy)]
struct Suite {
    version: TlsVersion,
    cipher: Cipher,
}

/// A cipher that the kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

impl Suite {
    fn of(session: &ServerConnection) -> Option<Self> {
        use rustls::CipherSuite::*;
        let cipher = match session.negotiated_cipher_suite()?.suite() {
            TLS13_AES_128_GCM_SHA256
            | TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Cipher::Aes128Gcm,
            TLS13_AES_256_GCM_SHA384
            | TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Cipher::Aes256Gcm,
            TLS13_CHACHA20_POLY1305_SHA256
            | TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Cipher::Chacha20Poly1305,
            _ => return None,
        };
        let version = match session.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            _ => return None,
        };
        Some(Self { version, cipher })
    }

    /// Returns whether one key may protect only a limited amount of data.
    fn is_limited(self) -> bool {
        self.cipher != Cipher::Chacha20Poly1305
    }

    /// Returns whether the kernel has rejected the suite before.
    fn is_rejected(self) -> bool {
        REJECTED.load(Ordering::Relaxed) & self.bit() != 0
    }

    /// Leaves later connections with this suite in the process, if the kernel doesn't know it.
    fn on_error(self, error: &io::Error) {
        if error.kind() == io::ErrorKind::OutOfMemory {
            return;
        }
        REJECTED.fetch_or(self.bit(), Ordering::Relaxed);
        if let Some(suppressed) = SUITE_REJECTED.should_log(std::time::Instant::now()) {
            let Self { version, cipher } = self;
            tracing::warn!(?version, ?cipher, %error, suppressed, "the kernel rejects a TLS cipher; its connections stay in the process");
        }
    }

    fn bit(self) -> u8 {
        1 << (self.cipher as u8 * 2 + u8::from(self.version == TlsVersion::V1_3))
    }
}

/// A TCP connection whose TLS is in the kernel.
#[derive(Debug)]
pub(super) struct KernelStream {
    socket: TcpStream,
    is_limited: bool,
    /// Whether the peer sends nothing more.
    ended: bool,
}

impl KernelStream {
    /// Returns whether its keys may protect only a limited amount of data.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    pub(super) fn into_stream(self) -> Stream {
        Stream::Tcp(self.socket)
    }

    pub(super) fn disable_buffering(&self) -> io::Result<()> {
        super::stream::disable_buffering(&self.socket)
    }

    /// Handles a record that isn't data.
    fn on_control(&mut self) -> io::Result<()> {
        self.ended = true;
        match sys::take_control_record(self.socket.as_fd())? {
            ControlRecord::CloseNotify => Ok(()),
            record => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected TLS record: {record:?}"))),
        }
    }
}

impl AsFd for KernelStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for KernelStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut this.socket).poll_read(cx, into) {
            Poll::Ready(Err(error)) if error.raw_os_error() == Some(CONTROL_RECORD) => Poll::Ready(this.on_control()),
            read => read,
        }
    }
}

impl AsyncWrite for KernelStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Sends close_notify. The sending direction of the socket stays open until the connection is closed: what the kernel
    /// has encrypted but not sent yet would be cut off.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.socket.poll_write_ready(cx)?.is_pending() {
                return Poll::Pending;
            }
            let sent = this.socket.try_io(Interest::WRITABLE, || sys::send_close_notify(this.socket.as_fd()));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Length of a record's header (RFC 8446 section 5.1).
const HEADER: usize = 5;

/// Suites that the kernel has rejected, a bit for each.
static REJECTED: AtomicU8 = AtomicU8::new(0);

/// Rate limit for a warning that peers can trigger.
static SUITE_REJECTED: RateLimitedLog = RateLimitedLog::every(std::time::Duration::from_secs(30));

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn a_read_ends_with_the_header_and_with_the_record() {
        let (mut peer, near) = UnixStream::pair().unwrap();
        let mut reader = RecordReader::new(Stream::Unix(near), true);
        peer.write_all(&[22, 3, 3, 0, 3, b'a', b'b', b'c', 23, 3, 3, 0, 0, 23, 3]).await.unwrap();
        let mut buffer = [0; 100];
        for (expected, is_within) in [(5, true), (3, false), (5, false), (2, true)] {
            assert_eq!(reader.read(&mut buffer).await.unwrap(), expected);
            assert_eq!(reader.is_within_record(), is_within);
        }
        peer.write_all(&[3, 1, 0, 9, 9]).await.unwrap();
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 2);
        assert!(reader.is_within_record());
        reader.by_record = false;
        peer.write_all(&[7; 50]).await.unwrap();
        assert_eq!(reader.read(&mut buffer).await.unwrap(), 50);
    }
}
