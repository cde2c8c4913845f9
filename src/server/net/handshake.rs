//! The start of a connection, before HTTP: a PROXY header, a TLS handshake, both, or neither.
//!
//! Each step may take `http.request-timeout`, and runs in the connection's own task, so that a slow peer delays no other.
//! A connection whose handshake fails is counted and closed.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use super::{Connection, ConnectionGate, Listener, yield_budget};
use crate::log::RateLimitedLog;
use crate::peer::Peer;

/// Steps with which the connections of a listener start.
#[derive(Debug, Clone)]
pub(super) struct Handshaker {
    certificates: Option<Arc<Certificates>>,
    proxy_protocol: bool,
    gate: ConnectionGate,
    stop: CancellationToken,
}

impl Handshaker {
    /// Returns the steps for a listener's connections; `None` if they start with HTTP.
    pub(super) fn new(listener: &Listener, gate: &ConnectionGate, stop: &CancellationToken) -> Option<Self> {
        let (certificates, proxy_protocol) = (listener.certificates().cloned(), listener.proxy_protocol());
        (certificates.is_some() || proxy_protocol).then(|| Self {
            certificates,
            proxy_protocol,
            gate: gate.clone(),
            stop: stop.clone(),
        })
    }

    /// Runs all steps; `None` if the connection is to be closed.
    pub(super) async fn run(&self, mut connection: Connection) -> Option<Connection> {
        if self.proxy_protocol {
            let peer = connection.peer();
            let trusted = self.gate.config.borrow().http.trusted_proxies.clone();
            let done = self.within_timeout(connection.read_proxy_header(&trusted)).await?;
            yield_budget::spend(yield_budget::HEADER);
            connection = done.map_err(|error| self.on_header_error(&peer, &error)).ok()?;
            self.gate.admit_client(&mut connection).ok()?;
        }
        if let Some(certificates) = &self.certificates {
            let peer = connection.peer();
            let done = self.within_timeout(connection.into_tls(certificates)).await?;
            yield_budget::spend(yield_budget::HANDSHAKE);
            let failed = |error| {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                self.gate.metrics.tls_failures.increment();
            };
            connection = done.map_err(failed).ok()?;
            self.gate.metrics.tls_handshakes.increment();
        }
        Some(connection)
    }

    /// Runs a step, which fails after `http.request-timeout`. Returns `None` if it isn't done [`LAST_CALL`] after the
    /// daemon was asked to stop.
    async fn within_timeout<T>(&self, step: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        let timeout = self.gate.config.borrow().http.request_timeout;
        tokio::select! {
            () = async { self.stop.cancelled().await; tokio::time::sleep(LAST_CALL).await } => None,
            done = tokio::time::timeout(timeout, step) => {
                Some(done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }

    /// Counts and logs a connection without a valid PROXY header: either the configuration is wrong, or the peer has
    /// bypassed the proxy.
    fn on_header_error(&self, peer: &Peer, error: &io::Error) {
        self.gate.metrics.proxy_failures.increment();
        if let Some(suppressed) = NO_HEADER.should_log(Instant::now()) {
            tracing::warn!(%peer, %error, suppressed, "connection without a PROXY header closed; see listener.proxy-protocol");
        }
    }
}

/// Time that connections have to finish their handshake, and then to start their first request, when the daemon stops:
/// a few round trips.
pub const LAST_CALL: Duration = Duration::from_millis(500);

/// Rate limit for a warning that peers can trigger.
static NO_HEADER: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
