//! Request rates of a client's network. A request above the rate is answered with 429 and the time to wait before any
//! other work.
//!
//! A direct client's connection is counted when it is accepted, so its first request isn't counted again. Behind a
//! trusted proxy, one connection transports requests of many clients, so every request is counted for the client that it
//! names. Wrong keys are counted by [`Server`], for every operation that could be used to guess a key.

use std::sync::atomic::{AtomicBool, Ordering};

use super::authorize::ClientInfo;
use super::responses::HttpError;
use crate::config::Config;
use crate::net::ClientLimits;
use crate::peer::Peer;
use crate::server::Server;

/// Whether a connection has had a request so far.
#[derive(Debug, Default)]
pub(super) struct RequestCount(AtomicBool);

impl RequestCount {
    /// Counts a request; returns whether it is the connection's first.
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}

/// Counts a request for `limits.connection-rate`, unless its connection was counted when it was accepted.
pub(super) fn check_request_rate(
    server: &Server,
    client: ClientInfo<'_>,
    requests: &RequestCount,
    config: &Config,
) -> Result<(), HttpError> {
    if requests.is_first() && !client.is_forwarded {
        return Ok(());
    }
    let Some(network) = ClientLimits::network_of(&client.peer, &config.http) else { return Ok(()) };
    let counted = server.clients().count_connection(network, &config.limits.connection_rate);
    counted.map_err(|wait| HttpError::too_often("too many requests from your network; wait before the next one", wait))
}

/// Counts a request to send a message for `limits.send-rate`.
pub(super) fn check_send_rate(server: &Server, client: &Peer, config: &Config) -> Result<(), HttpError> {
    let Some(network) = ClientLimits::network_of(client, &config.http) else { return Ok(()) };
    let counted = server.clients().count_send(network, &config.limits.send_rate);
    counted.map_err(|wait| HttpError::too_often("too many messages from your network; wait before the next one", wait))
}

/// Counts a request for a registration for `limits.register-rate`.
pub(super) fn check_register_rate(server: &Server, client: &Peer, config: &Config) -> Result<(), HttpError> {
    let Some(network) = ClientLimits::network_of(client, &config.http) else { return Ok(()) };
    let counted = server.clients().count_registration(network, &config.limits.register_rate);
    counted.map_err(|wait| {
        HttpError::too_often("too many registrations from your network; wait before the next one", wait)
    })
}
