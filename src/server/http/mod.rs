//! Public HTTP routes: register, connect, remove, health, statistics, and a page to try them.
//!
//! [`serve`] runs the accept loop of a listener, and [`serve_connection`] one connection: requests one after the other,
//! each answered by `routes`, until the peer closes, is too slow, or becomes a websocket and moves to a relay thread.
//! All of it runs in the connection's task of the accept loop, so no other task needs to be tracked.

mod authorize;
mod body;
mod connect;
mod console;
#[doc(hidden)] // Public for the fuzz targets.
pub mod forwarded;
pub mod headers;
mod lingering_close;
#[doc(hidden)] // Public for the fuzz targets.
pub mod query;
mod rate_limit;
mod register;
mod responses;
mod routes;
mod stats;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use authorize::ClientInfo;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rate_limit::RequestCount;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::net::{self, Connection, Listener};
use crate::server::Server;

/// Accepts connections on a listener until `stop`, and serves each in a task of `tasks`.
pub async fn serve(server: Arc<Server>, listener: Listener, tasks: TaskTracker, stop: CancellationToken) {
    let (gate, until) = (server.connection_gate(), stop.clone());
    let serve = move |connection| {
        let (server, stop) = (Arc::clone(&server), until.clone());
        async move { serve_connection(&server, connection, stop).await }
    };
    net::accept(listener, gate, tasks, stop, serve).await;
}

/// Answers the requests of one connection until it ends, becomes a websocket, or `stop` is cancelled. At `stop`, the
/// request in progress is finished, and a client that hasn't sent one yet may do so within [`net::LAST_CALL`].
pub async fn serve_connection(server: &Server, mut connection: Connection, stop: CancellationToken) {
    let (peer, certificate) = (connection.peer(), connection.client_identity());
    let client = ClientInfo::new(peer, certificate.as_ref());
    let activity = connection.activity();
    let protocol = {
        let config = server.config();
        connection.set_write_timeout(config.http.request_timeout);
        protocol(&config.http)
    };
    // At most one request of a connection becomes a websocket, and it is the last one.
    let joining = Mutex::new(None);
    let (received, requests) = (Notify::new(), RequestCount::default());
    let handler = service_fn(async |request| {
        received.notify_one();
        let _active = activity.request();
        let (response, member) = routes::handle(server, request, client, &requests).await;
        if member.is_some() {
            *joining.lock() = member;
        }
        Ok::<_, Infallible>(response)
    });
    let mut http = protocol.serve_connection(TokioIo::new(connection), handler).with_upgrades();
    let ended = tokio::select! {
        ended = &mut http => Some(ended),
        () = last_call(&stop, &received) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut http).graceful_shutdown();
            (&mut http).await
        }
    };
    let rest = http.into_parts().map(|parts| (parts.io.into_inner(), !parts.read_buf.is_empty()));
    if let Err(error) = &ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
    if let Some(joining) = joining.into_inner() {
        joining.finish(peer).await;
    } else if let Some((connection, is_partial)) = rest {
        tokio::select! {
            () = stop.cancelled() => {}
            () = lingering_close::close(server, connection, ended.err(), is_partial) => {}
        }
    }
}

/// Waits for `stop`, and then for a first request for at most [`net::LAST_CALL`]: that of a connection that was accepted
/// just before may still be in transit. Connections still in the listen queue are served by the new process.
async fn last_call(stop: &CancellationToken, received: &Notify) {
    stop.cancelled().await;
    let _ = tokio::time::timeout(net::LAST_CALL, received.notified()).await;
}

fn protocol(rules: &config::Http) -> http1::Builder {
    let max_head = usize::try_from(rules.max_head.as_u64()).unwrap_or(usize::MAX);
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        // A client may close its half of the connection right after its request.
        .half_close(true)
        .header_read_timeout(rules.request_timeout)
        .max_header_size(max_head)
        .max_buf_size(max_head.max(MIN_BUFFER));
    protocol
}

/// Smallest buffer that hyper accepts.
const MIN_BUFFER: usize = 8192;
