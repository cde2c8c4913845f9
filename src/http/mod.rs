//! The public routes: register, connect, remove, health and statistics.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config;
use crate::directory::Directory;
use crate::metrics::Front;
use crate::net::Connection;
use crate::relay::Relay;

/// What the routes work with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Service {
    /// Which registrations there are.
    pub directory: Arc<Directory>,
    /// Where connections go.
    pub relay: Relay,
    /// The running configuration.
    pub live: config::Live,
    /// What is counted.
    pub front: Arc<Front>,
    /// Set while the router takes no new registrations and members.
    pub draining: Arc<std::sync::atomic::AtomicBool>,
}

impl Service {
    /// Answers the requests of one connection until it ends, becomes a websocket, or `stop` (then the request in
    /// progress is finished).
    pub async fn serve(&self, _connection: Connection, _stop: CancellationToken) {}
}
