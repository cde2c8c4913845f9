//! Public HTTP routes: register, connect, send, remove, members, health, statistics, and a page to try them.
//!
//! [`serve`] runs the accept loop of a listener, and [`serve_connection`] serves one connection: its requests, one
//! after the other, are answered by `routes` until it is closed, times out, or moves to a relay thread as a websocket.
//! All of it runs in the connection's task of the accept loop, so no other task needs to be tracked.
//!
//! A request passes, in this order: the client's address behind proxies (`forwarded`), the rate of its network
//! (`rate_limit`), its host (`host`), the route (`routes`), the access rules (`authorize`), and the route's own module.
//! Each may fail with an error of `responses`.

mod authorize;
mod body;
mod connect;
mod connection;
mod console;
mod event_stream;
#[doc(hidden)] // Public for the fuzz targets.
pub mod forwarded;
pub mod headers;
mod host;
mod lingering_close;
mod members;
#[doc(hidden)] // Public for the fuzz targets.
pub mod query;
mod rate_limit;
mod register;
mod responses;
mod routes;
mod send;
mod session;
mod stats;
mod upgrade;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{self, Listener};
use crate::server::Server;
pub use connection::serve_connection;

/// Accepts connections on a listener until `stop`, and serves each in a task of `tasks`.
pub async fn serve(server: Arc<Server>, listener: Listener, tasks: TaskTracker, stop: CancellationToken) {
    let (gate, until) = (server.connection_gate(), stop.clone());
    let serve = move |connection| {
        let (server, stop) = (Arc::clone(&server), until.clone());
        async move { serve_connection(&server, connection, stop).await }
    };
    net::accept(listener, gate, tasks, stop, serve).await;
}
