//! What a connection has to pass before anything is spent on it: the limits of all, and those of its client's network.
//!
//! It is asked as soon as the client's address is known: at once, or behind the PROXY header, and in any case before a
//! TLS handshake and before HTTP. Behind a proxy that speaks HTTP the address comes with each request, and the routes
//! ask for it there.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permit::Pending;
use super::stream::Stream;
use super::{Clients, Connection, Crowded, ListenError, Permit, connection_limit};
use crate::config;
use crate::log::RateLimitedLog;
use crate::metrics::{Front, Rejection};
use crate::peer::Peer;

/// The way in, the same for all listeners; cheap to clone.
#[derive(Debug, Clone)]
pub struct Door {
    /// The running configuration.
    pub live: config::Live,
    /// What is counted.
    pub front: Arc<Front>,
    /// What each client network does.
    pub clients: Arc<Clients>,
}

/// Why a connection isn't let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// There are as many as may be in all.
    Full,
    /// Its network has as many as it may have, or comes too often; that is counted and told already.
    Network,
    /// The peer is gone.
    Gone,
}

impl Door {
    /// Lets a connected stream socket in that somebody else has accepted (inetd), within the same limits; it is closed
    /// if they are reached.
    pub fn adopt(&self, descriptor: OwnedFd) -> Result<Connection, ListenError> {
        let stream = Stream::adopt(descriptor)?;
        self.front.accepted.up();
        self.admit(stream, true).map_err(|closed| {
            let why = match closed {
                Closed::Full => {
                    self.front.rejected(Rejection::Limit);
                    "rejected; see limits.connections and limits.pending"
                }
                Closed::Network => "closed; see limits.connection-rate and limits.connections-per-address",
                Closed::Gone => "its other end is gone",
            };
            ListenError::Unavailable(format!("handed-over connection: {why}"))
        })
    }

    /// Gives a connection its permits; `is_client` tells that the peer is the client and no proxy in front of it.
    pub(super) fn admit(&self, stream: Stream, is_client: bool) -> Result<Connection, Closed> {
        let peer = stream.peer().map_err(|_| Closed::Gone)?;
        let (permit, pending) = {
            let limits = &self.live.borrow().limits;
            let permit = Permit::take(&self.front, connection_limit(limits)).ok_or(Closed::Full)?;
            (permit, Pending::take(&self.front, limits.pending).ok_or(Closed::Full)?)
        };
        let mut connection = Connection::plain(stream, peer, permit, pending);
        if is_client {
            self.admit_client(&mut connection)?;
        }
        connection.set_eager().map_err(|_| Closed::Gone)?;
        Ok(connection)
    }

    /// Looks at the limits of the client's network, once it is known.
    pub(super) fn admit_client(&self, connection: &mut Connection) -> Result<(), Closed> {
        let config = self.live.borrow();
        let peer = connection.peer();
        let Some(network) = Clients::network_of(&peer, &config.http) else { return Ok(()) };
        if self.clients.connect(network, &config.limits.connection_rate).is_err() {
            self.front.rejected(Rejection::Rate);
            tell(&peer, "limits.connection-rate");
            return Err(Closed::Network);
        }
        match self.clients.hold(&peer, &config) {
            Ok(place) => connection.keep(place),
            Err(Crowded) => {
                self.front.rejected(Rejection::PerAddress);
                tell(&peer, "limits.connections-per-address");
                return Err(Closed::Network);
            }
        }
        Ok(())
    }
}

/// Says which limit closed a connection. It may be a crowd behind one address, for which the limit is too low.
fn tell(peer: &Peer, limit: &'static str) {
    if let Some(suppressed) = CLOSED.should_log(Instant::now()) {
        tracing::warn!(%peer, limit, suppressed, "connection closed; its network is at a limit");
    }
}

/// Callers can cause the warning at will.
static CLOSED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
