//! One HTTP connection: its requests, one after the other, until it is closed, times out, or becomes a websocket.
//!
//! hyper parses requests and writes responses. This module does two things itself. Timeouts: hyper has a single one for
//! both the head of a request and an idle connection. The 101: hyper appends `close` to its `Connection: Upgrade` if the
//! request contains `close` or the connection is shutting down, and strict clients reject that. A request that becomes a
//! websocket is therefore never answered by hyper: its handler stores an [`Upgrade`] and never returns, and the
//! connection is taken from hyper once all earlier responses are written.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::authorize::ClientInfo;
use super::lingering_close::{self, Ending};
use super::rate_limit::RequestCount;
use super::responses::Body;
use super::routes::{self, Answer};
use super::upgrade::Upgrade;
use crate::config;
use crate::net::{self, ClientCertificate, Connection};
use crate::server::Server;

/// Answers the requests of one connection until it ends, becomes a websocket, or `stop` is canceled. After `stop`, the
/// request in progress is still answered, and a client that hasn't sent a request yet has [`net::LAST_CALL`] for it.
pub async fn serve_connection(server: &Server, mut connection: Connection, stop: CancellationToken) {
    let (peer, certificate) = (connection.peer(), connection.client_certificate());
    let activity = connection.activity();
    let (protocol, progress) = {
        let config = server.config();
        connection.set_write_timeout(config.http.request_timeout);
        (protocol(&config.http), Arc::new(Progress::new(&config.http)))
    };
    let (received, requests) = (Notify::new(), RequestCount::default());
    let handler = service_fn(async |request| {
        received.notify_one();
        let _active = activity.request();
        progress.on_request();
        // The certificate may have expired since the last request.
        let client = ClientInfo::new(peer, certificate.as_ref().and_then(ClientCertificate::identity));
        match routes::handle(server, request, client, &requests).await {
            Answer::Response(mut response) => {
                match response.body_mut() {
                    Body::Full(_) => progress.on_response(),
                    Body::Events(events) => {
                        progress.on_stream();
                        events.attach(Arc::clone(&progress));
                        // It is limited by `limits.watchers`, and no longer by `limits.pending`.
                        activity.release();
                    }
                }
                Ok::<_, Infallible>(response)
            }
            Answer::Upgrade(upgrade) => {
                progress.set_upgrade(upgrade);
                // Never returns: `run` takes the connection from hyper, and this future is dropped.
                pending().await
            }
        }
    });
    let observed = Observed { connection, progress: &progress, discarded: 0 };
    let mut http = protocol.serve_connection(TokioIo::new(observed), handler);
    let outcome = run(&mut http, &progress, last_call(&stop, &received)).await;
    let parts = http.into_parts();
    let connection = parts.io.into_inner().connection;
    let ending = match outcome {
        Outcome::Upgrade(upgrade) => return upgrade.finish(server, connection, parts.read_buf, &stop).await,
        Outcome::TimedOut if progress.is_stream() => Ending::Regular,
        Outcome::TimedOut if parts.read_buf.is_empty() => Ending::Idle,
        Outcome::TimedOut => Ending::TimedOut,
        Outcome::Ended(Ok(())) => Ending::Regular,
        Outcome::Ended(Err(error)) => {
            tracing::debug!(%peer, %error, "connection ended");
            Ending::Failed(error)
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = lingering_close::close(server, connection, ending) => {}
    }
}

/// Reason why a connection is taken from hyper.
enum Outcome {
    Ended(hyper::Result<()>),
    TimedOut,
    Upgrade(Upgrade),
}

/// Drives a connection until it ends, exceeds a timeout, or is ready for its upgrade. Once `last_call` has completed, the
/// connection ends after the request in progress.
async fn run<S>(
    http: &mut http1::Connection<TokioIo<Observed<'_>>, S>,
    progress: &Progress,
    last_call: impl Future<Output = ()>,
) -> Outcome
where
    S: hyper::service::HttpService<hyper::body::Incoming, Error = Infallible>,
    S::ResBody: 'static,
    <S::ResBody as hyper::body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut last_call, mut is_stopping) = (pin!(last_call), false);
    let mut timer = pin!(tokio::time::sleep_until(progress.deadline().unwrap_or_else(Instant::now)));
    poll_fn(|cx| {
        if !is_stopping && last_call.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            progress.on_stop();
            Pin::new(&mut *http).graceful_shutdown();
        }
        if let Poll::Ready(ended) = Pin::new(&mut *http).poll(cx) {
            return Poll::Ready(Outcome::Ended(ended));
        }
        if progress.is_abandoned() {
            return Poll::Ready(Outcome::Ended(Ok(())));
        }
        if let Some(upgrade) = progress.advance() {
            return Poll::Ready(Outcome::Upgrade(upgrade));
        }
        let Some(deadline) = progress.deadline() else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).map(|()| Outcome::TimedOut)
    })
    .await
}

/// Waits for `stop`, and then up to [`net::LAST_CALL`] for a first request: if the connection was accepted just before
/// the stop, its request may still be in transit. Connections still in the listen queue are served by the new process.
async fn last_call(stop: &CancellationToken, received: &Notify) {
    stop.cancelled().await;
    let _ = tokio::time::timeout(net::LAST_CALL, received.notified()).await;
}

fn protocol(rules: &config::Http) -> http1::Builder {
    let max_head = usize::try_from(rules.max_head.as_u64()).unwrap_or(usize::MAX);
    let mut protocol = http1::Builder::new();
    protocol
        // A client may close its half of the connection right after its request.
        .half_close(true)
        .header_read_timeout(None)
        .max_header_size(max_head)
        .max_buf_size(max_head.max(MIN_BUFFER));
    protocol
}

/// Progress of a connection through its requests, which selects the timeout.
#[derive(Debug)]
pub(super) struct Progress {
    request_timeout: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Whether everything that hyper has written has been sent.
    is_flushed: bool,
    /// Waker of a stream that waits until everything has been sent.
    stream: Option<Waker>,
    /// Time at which the connection was asked to stop.
    stopped: Option<Instant>,
    upgrade: Option<Upgrade>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Nothing has been received since the last response was sent.
    Idle { since: Instant },
    /// The head of a request is expected, or has been received in part.
    Head { since: Instant },
    /// A request is being answered.
    Request,
    /// The response is complete, but may not have been sent yet.
    Response,
    /// The response is a stream, after which the connection ends.
    Stream,
    /// The peer of a stream has closed the connection.
    Abandoned,
}

impl Progress {
    pub(super) fn new(rules: &config::Http) -> Self {
        let phase = Phase::Head { since: Instant::now() };
        Self {
            request_timeout: rules.request_timeout,
            idle_timeout: rules.idle_timeout,
            state: Mutex::new(State { phase, is_flushed: true, stream: None, stopped: None, upgrade: None }),
        }
    }

    /// Returns the deadline for the peer's next step; `None` while the peer waits for the router.
    fn deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        match state.phase {
            Phase::Idle { since } => Some(since + self.idle_timeout),
            Phase::Head { since } => Some(since + self.request_timeout),
            // A stream whose peer doesn't read can't end otherwise.
            Phase::Stream => state.stopped.map(|stopped| stopped + net::LAST_CALL),
            Phase::Request | Phase::Response | Phase::Abandoned => None,
        }
    }

    /// Enters the idle phase once the response has been sent, and takes the upgrade, if any, once earlier responses have
    /// been sent.
    fn advance(&self) -> Option<Upgrade> {
        let mut state = self.state.lock();
        if !state.is_flushed {
            return None;
        }
        if matches!(state.phase, Phase::Response) {
            state.phase = Phase::Idle { since: Instant::now() };
        }
        state.upgrade.take()
    }

    fn on_received(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Idle { .. }) {
            state.phase = Phase::Head { since: Instant::now() };
        }
    }

    fn on_request(&self) {
        self.state.lock().phase = Phase::Request;
    }

    fn on_response(&self) {
        self.state.lock().phase = Phase::Response;
    }

    fn on_stream(&self) {
        self.state.lock().phase = Phase::Stream;
    }

    pub(super) fn on_stop(&self) {
        self.state.lock().stopped.get_or_insert_with(Instant::now);
    }

    fn on_peer_closed(&self) {
        self.state.lock().phase = Phase::Abandoned;
    }

    fn is_stream(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Stream)
    }

    fn is_abandoned(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Abandoned)
    }

    /// Returns whether the connection was asked to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopped.is_some()
    }

    /// Waits until everything that was written has been sent.
    pub(super) fn poll_flushed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_flushed {
            return Poll::Ready(());
        }
        state.stream = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Records that something has been written, or is about to be.
    pub(super) fn on_written(&self) {
        self.state.lock().is_flushed = false;
    }

    /// Records that everything that was written has been sent.
    pub(super) fn on_sent(&self) {
        let mut state = self.state.lock();
        state.is_flushed = true;
        if let Some(waker) = state.stream.take() {
            waker.wake();
        }
    }

    fn set_upgrade(&self, upgrade: Upgrade) {
        self.state.lock().upgrade = Some(upgrade);
    }
}

/// Connection that reports what hyper does with it.
struct Observed<'a> {
    connection: Connection,
    progress: &'a Progress,
    /// Number of bytes that were received during a stream, and discarded.
    discarded: usize,
}

impl Observed<'_> {
    /// Notices the end of a stream's peer. hyper doesn't read during a response if the peer may close its half of the
    /// connection, and nothing else would show the end before the next write. A peer that keeps sending isn't one that
    /// waits for events.
    fn watch_peer(&mut self, cx: &mut Context<'_>) {
        let mut bytes = [0; 64];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let is_closed = match Pin::new(&mut self.connection).poll_read(cx, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(read) => read.is_err() || buffer.filled().is_empty(),
            };
            self.discarded += buffer.filled().len();
            if is_closed || self.discarded > MAX_DISCARDED {
                return self.progress.on_peer_closed();
            }
        }
    }
}

impl AsyncRead for Observed<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let read = Pin::new(&mut this.connection).poll_read(cx, into);
        if into.filled().len() > before {
            this.progress.on_received();
        }
        read
    }
}

impl AsyncWrite for Observed<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.progress.on_written();
        Pin::new(&mut this.connection).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.progress.on_written();
        Pin::new(&mut this.connection).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    /// hyper flushes the connection only when its own buffer is empty.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.connection).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.progress.on_sent();
        }
        if this.progress.is_stream() {
            this.watch_peer(cx);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }
}

/// Maximum number of bytes that are discarded during a stream.
const MAX_DISCARDED: usize = 4096;

/// Smallest buffer that hyper accepts.
const MIN_BUFFER: usize = 8192;
