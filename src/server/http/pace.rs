//! How often a client's network may ask: 429 with the time to wait, before anything is spent on the request.
//!
//! Connections of clients themselves are counted where they are accepted, and here only the requests beyond the first.
//! Behind a proxy a request is what a connection is elsewhere, and only it tells the client's address, so each counts.
//! A wrong key is counted when it is found wrong, at every route by which a key could be tried.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Service;
use super::admission::Visitor;
use super::replies::Refused;
use crate::config::Config;
use crate::net::{Clients, Place};
use crate::peer::Peer;

/// What is known of a connection's earlier requests.
#[derive(Debug, Default)]
pub(super) struct Earlier(AtomicBool);

impl Earlier {
    /// Takes note of a request; tells whether it is the first.
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

impl Service {
    /// Counts a request, if that wasn't done when its connection was accepted.
    pub(super) fn may_ask(&self, visitor: Visitor<'_>, earlier: &Earlier, config: &Config) -> Result<(), Refused> {
        if earlier.is_first() && !visitor.is_forwarded {
            return Ok(());
        }
        let Some(network) = Clients::network_of(&visitor.peer, &config.http) else { return Ok(()) };
        let counted = self.clients.connect(network, &config.limits.connection_rate);
        counted.map_err(|wait| Refused::too_often("your network asks too often; wait a little", wait))
    }

    /// Counts a request for a registration.
    pub(super) fn may_register(&self, client: &Peer, config: &Config) -> Result<(), Refused> {
        let Some(network) = Clients::network_of(client, &config.http) else { return Ok(()) };
        let counted = self.clients.register(network, &config.limits.register_rate);
        counted.map_err(|wait| Refused::too_often("your network registers too often; wait a little", wait))
    }

    /// Refuses while too many keys for this id were wrong.
    pub(super) fn may_try_key(&self, client: &Peer, id: &str, config: &Config) -> Result<(), Refused> {
        let Some(network) = Clients::network_of(client, &config.http) else { return Ok(()) };
        let tried = self.clients.may_try(network, id, &config.limits.wrong_key_rate);
        tried.map_err(|wait| Refused::too_often("too many wrong keys for this registration; wait a little", wait))
    }

    /// Counts a wrong key for this id.
    pub(super) fn tried_in_vain(&self, client: &Peer, id: &str, config: &Config) {
        if let Some(network) = Clients::network_of(client, &config.http) {
            self.clients.tried_in_vain(network, id, &config.limits.wrong_key_rate);
        }
    }

    /// Refuses newcomers while what peers make us hold is near the budget.
    pub(super) fn has_room(&self) -> Result<(), Refused> {
        if self.relay.budget().is_tight() {
            self.front.out_of_memory.up();
            return Err(Refused::unavailable("the router has no memory left for more; try again later"));
        }
        Ok(())
    }

    /// Gives a client behind a proxy a place among its network's connections; others have theirs already.
    pub(super) fn place(&self, visitor: Visitor<'_>, config: &Config) -> Result<Option<Place>, Refused> {
        if !visitor.is_forwarded {
            return Ok(None);
        }
        self.clients.hold(&visitor.peer, config).map_err(|_| {
            self.front.crowded.up();
            Refused::unavailable("your network has too many connections open; close some, or try again later")
        })
    }
}
