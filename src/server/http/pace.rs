//! How often a client's network may ask: 429 with the time to wait, before anything is spent on the request.
//!
//! Connections of clients themselves are counted where they are accepted, and here only the requests beyond the first.
//! Behind a proxy a request is what a connection is elsewhere, and only it tells the client's address, so each counts.
//! Wrong keys are counted by the router itself ([`Server`]), for every operation by which a key could be tried.

use std::sync::atomic::{AtomicBool, Ordering};

use super::admission::Visitor;
use super::replies::Refused;
use crate::config::Config;
use crate::net::Clients;
use crate::peer::Peer;
use crate::server::Server;

/// What is known of a connection's earlier requests.
#[derive(Debug, Default)]
pub(super) struct Earlier(AtomicBool);

impl Earlier {
    /// Takes note of a request; tells whether it is the first.
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Counts a request, unless that was done when its connection was accepted.
pub(super) fn may_ask(
    server: &Server,
    visitor: Visitor<'_>,
    earlier: &Earlier,
    config: &Config,
) -> Result<(), Refused> {
    if earlier.is_first() && !visitor.is_forwarded {
        return Ok(());
    }
    let Some(network) = Clients::network_of(&visitor.peer, &config.http) else { return Ok(()) };
    let counted = server.clients().connect(network, &config.limits.connection_rate);
    counted.map_err(|wait| Refused::too_often("your network asks too often; wait a little", wait))
}

/// Counts a request for a registration.
pub(super) fn may_register(server: &Server, client: &Peer, config: &Config) -> Result<(), Refused> {
    let Some(network) = Clients::network_of(client, &config.http) else { return Ok(()) };
    let counted = server.clients().register(network, &config.limits.register_rate);
    counted.map_err(|wait| Refused::too_often("your network registers too often; wait a little", wait))
}
