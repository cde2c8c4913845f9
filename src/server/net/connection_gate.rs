//! The limits that a connection has to pass before anything is spent on it: those of all connections, and those of its
//! client's network.
//!
//! They are checked as soon as the client's address is known, which is at once or after the PROXY header, and in any
//! case before the TLS handshake. Behind an HTTP proxy the address comes with each request, and the routes check the
//! network's limits there.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permit::{ConnectionPermit, connection_limit};
use super::stream::Stream;
use super::{Clients, Connection, ListenError, PendingPool, TooManyConnections};
use crate::config;
use crate::log::{RateLimitedLog, messages};
use crate::metrics::{FrontendMetrics, Rejection};
use crate::peer::Peer;

/// Admission of new connections, shared by all listeners; cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionGate {
    /// The running configuration.
    pub config: config::Live,
    /// Counters of the frontend.
    pub metrics: Arc<FrontendMetrics>,
    /// Rates and connections of each client network.
    pub clients: Arc<Clients>,
    /// Connections that are not websockets yet.
    pub pending: Arc<PendingPool>,
}

/// Reason why a connection is not admitted; limits are counted and logged already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    /// `limits.connections` or `limits.pending` is reached.
    #[error("rejected; raise limits.connections or limits.pending")]
    TotalLimit,
    /// The client's network is at a limit.
    #[error("rejected; raise limits.connection-rate, limits.connections-per-address or limits.pending")]
    NetworkLimit,
    /// The peer has disconnected.
    #[error("the peer has disconnected")]
    Disconnected,
}

impl ConnectionGate {
    /// Admits a connected stream socket that another program (inetd) accepted, within the same limits; it is closed if
    /// they are reached.
    pub fn adopt(&self, descriptor: OwnedFd) -> Result<Connection, ListenError> {
        let stream = Stream::adopt(descriptor)?;
        self.metrics.accepted.increment();
        self.admit(stream, true).map_err(|why| ListenError::Unavailable(format!("handed-over connection: {why}")))
    }

    /// Gives a connection its permits; `is_client` says that the peer is the client itself and not a proxy.
    pub(super) fn admit(&self, stream: Stream, is_client: bool) -> Result<Connection, Rejected> {
        let peer = stream.peer().map_err(|_| Rejected::Disconnected)?;
        let (permit, pending) = {
            let config = self.config.borrow();
            let network = Clients::network_of(&peer, &config.http);
            let pending = self.pending.admit(network, self.pending_limit(&config.limits));
            let pending = pending.map_err(|why| self.reject(&peer, why))?;
            let permit = ConnectionPermit::take(&self.metrics, connection_limit(&config.limits));
            (permit.ok_or_else(|| self.reject(&peer, Rejection::Limit))?, pending)
        };
        let mut connection = Connection::plain(stream, peer, permit, pending);
        if is_client {
            self.admit_client(&mut connection)?;
        }
        connection.disable_buffering().map_err(|_| Rejected::Disconnected)?;
        Ok(connection)
    }

    /// Checks the limits of the client's network, once it is known.
    pub(super) fn admit_client(&self, connection: &mut Connection) -> Result<(), Rejected> {
        let config = self.config.borrow();
        let peer = connection.peer();
        let network = Clients::network_of(&peer, &config.http);
        connection.assign(network, self.pending_limit(&config.limits)).map_err(|why| self.reject(&peer, why))?;
        let Some(network) = network else { return Ok(()) };
        if self.clients.connect(network, &config.limits.connection_rate).is_err() {
            return Err(self.reject(&peer, Rejection::Rate));
        }
        match self.clients.hold(&peer, &config) {
            Ok(slot) => connection.hold(slot),
            Err(TooManyConnections) => return Err(self.reject(&peer, Rejection::PerAddress)),
        }
        Ok(())
    }

    /// Returns how many connections may be pending: `limits.pending`, or what websockets leave of all connections.
    fn pending_limit(&self, limits: &config::Limits) -> usize {
        let websockets = self.metrics.connections.value().saturating_sub(self.metrics.pending.value());
        let free = connection_limit(limits).saturating_sub(usize::try_from(websockets).unwrap_or(usize::MAX));
        limits.pending.min(free)
    }

    /// Counts and logs a rejected connection. Many clients may share one address, for which a limit is then too low.
    fn reject(&self, peer: &Peer, why: Rejection) -> Rejected {
        let (limit, rejected) = match why {
            Rejection::Limit => ("limits.connections or limits.pending", Rejected::TotalLimit),
            Rejection::Share | Rejection::Evicted => ("limits.pending", Rejected::NetworkLimit),
            Rejection::Rate => ("limits.connection-rate", Rejected::NetworkLimit),
            Rejection::PerAddress => ("limits.connections-per-address", Rejected::NetworkLimit),
        };
        self.metrics.rejected(why);
        if let Some(suppressed) = REJECTED.should_log(Instant::now()) {
            tracing::warn!(message_id = messages::CONNECTION_REJECTED, %peer, limit, suppressed, "connection rejected: limit reached");
        }
        rejected
    }
}

/// Limits a message that peers can trigger.
static REJECTED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
