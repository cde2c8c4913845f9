//! What comes on a connection before HTTP: a PROXY header, a TLS handshake, both, or neither.
//!
//! Each has `http.request-timeout`, in a task of its own, so that nobody waits for a slow one in the accept loop. A
//! connection whose greeting fails is closed and counted.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use super::{Connection, Door, Listener, turns};
use crate::log::RateLimitedLog;
use crate::peer::Peer;

/// How the connections of a listener begin.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    certificates: Option<Arc<Certificates>>,
    proxy_protocol: bool,
    door: Door,
    stop: CancellationToken,
}

impl Greeting {
    /// Tells what a listener's connections begin with; `None` if that is their first request.
    pub(super) fn of(listener: &Listener, door: &Door, stop: &CancellationToken) -> Option<Self> {
        let (certificates, proxy_protocol) = (listener.certificates().cloned(), listener.proxy_protocol());
        (certificates.is_some() || proxy_protocol).then(|| Self {
            certificates,
            proxy_protocol,
            door: door.clone(),
            stop: stop.clone(),
        })
    }

    /// Goes through all of it; `None` if the connection is to be closed.
    pub(super) async fn exchange(&self, mut connection: Connection) -> Option<Connection> {
        if self.proxy_protocol {
            let peer = connection.peer();
            let trusted = self.door.live.borrow().http.trusted_proxies.clone();
            let done = self.in_time(connection.behind_proxy(&trusted)).await?;
            turns::take(turns::HEADER);
            connection = done.map_err(|error| self.no_header(&peer, &error)).ok()?;
            self.door.admit_client(&mut connection).ok()?;
        }
        if let Some(certificates) = &self.certificates {
            let peer = connection.peer();
            let done = self.in_time(connection.into_tls(certificates)).await?;
            turns::take(turns::HANDSHAKE);
            let failed = |error| {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                self.door.front.tls_failures.up();
            };
            connection = done.map_err(failed).ok()?;
            self.door.front.tls_handshakes.up();
        }
        Some(connection)
    }

    /// Runs a step to its end, or to that of the peer's time; `None` if everything stops meanwhile.
    async fn in_time<T>(&self, step: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let patience = self.door.live.borrow().http.request_timeout;
        tokio::select! {
            () = async { self.stop.cancelled().await; tokio::time::sleep(LAST_CALL).await } => None,
            done = tokio::time::timeout(patience, step) => {
                Some(done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }

    /// Counts a connection without a valid header, and says so: it is either a mistake of the configuration, or
    /// somebody who goes past the proxy.
    fn no_header(&self, peer: &Peer, error: &io::Error) {
        self.door.front.proxy_failures.up();
        if let Some(suppressed) = NO_HEADER.should_log(Instant::now()) {
            tracing::warn!(%peer, %error, suppressed, "connection without a PROXY header closed; see listener.proxy-protocol");
        }
    }
}

/// How long a connection that has just been taken from the queue may finish its greeting and begin its request when
/// everything stops: some round trips.
pub const LAST_CALL: Duration = Duration::from_millis(500);

/// Callers can cause the warning at will.
static NO_HEADER: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
