//! The admin interface: HTTP with JSON over a Unix socket, for ws-routerctl, curl and monitoring.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::directory::Directory;
use crate::events::Events;
use crate::metrics::Front;
use crate::relay::Relay;

/// What the interface works with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Which registrations there are.
    pub directory: Arc<Directory>,
    /// Where the members are.
    pub relay: Relay,
    /// The running configuration.
    pub live: config::Live,
    /// What the front counts.
    pub front: Arc<Front>,
    /// What happens.
    pub events: Events,
    /// When the daemon started.
    pub started: Instant,
    /// Where the daemon listens, as people read it.
    pub listeners: Vec<String>,
    /// The way to the daemon's life cycle; the interface has no other.
    pub life: mpsc::Sender<Command>,
}

/// What the interface can ask of the daemon's life cycle.
#[derive(Debug)]
pub enum Command {
    /// Read the configuration and certificates again; answers what changed, or all problems.
    Reload(oneshot::Sender<Result<ReloadReport, String>>),
    /// Serve a connection that inetd accepted.
    Adopt(OwnedFd, oneshot::Sender<Result<(), String>>),
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReloadReport {
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys that differ in the file but only take effect with a restart.
    pub need_restart: Vec<String>,
}

/// Answers requests on the admin socket until `stop`.
pub async fn serve(_listener: tokio::net::UnixListener, _context: Context, _stop: CancellationToken) {}
