//! The public routes: register, connect, remove, health, statistics, and a page to try them on.
//!
//! [`serve`] runs the accept loop of a listener, and [`serve_connection`] one connection: requests one after the other,
//! each answered by `routes`, until the peer leaves, is too slow, or becomes a websocket and goes to a relay thread. All
//! of it happens in the one task that the accept loop runs for the connection, so no other task needs to be tracked.

mod admission;
mod body;
mod connect;
mod console;
#[doc(hidden)] // For the fuzzer, as `query`.
pub mod forwarded;
mod pace;
mod parting;
#[doc(hidden)] // For the fuzzer, which looks at the parser itself.
pub mod query;
mod register;
mod replies;
mod routes;
mod stats;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use admission::Visitor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pace::Earlier;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::net::{self, Connection, Listener};
use crate::server::Server;

/// Accepts connections on a listener until `stop`, and answers each in a task of `tasks`.
pub async fn serve(server: Arc<Server>, listener: Listener, tasks: TaskTracker, stop: CancellationToken) {
    let (gate, until) = (server.door(), stop.clone());
    let serve = move |connection| {
        let (server, stop) = (Arc::clone(&server), until.clone());
        async move { serve_connection(&server, connection, stop).await }
    };
    net::accept(listener, gate, tasks, stop, serve).await;
}

/// Answers the requests of one connection until it ends, becomes a websocket, or `stop` is cancelled. Then the request in
/// progress is finished, and a client that hasn't sent one yet may do so for a moment.
pub async fn serve_connection(server: &Server, mut connection: Connection, stop: CancellationToken) {
    let (peer, certificate) = (connection.peer(), connection.certified());
    let visitor = Visitor::new(peer, certificate.as_ref());
    let protocol = {
        let config = server.config();
        connection.set_write_patience(config.http.request_timeout);
        protocol(&config.http)
    };
    // At most one request of a connection becomes a websocket, and it is the last.
    let joining = Mutex::new(None);
    let (asked, earlier) = (Notify::new(), Earlier::default());
    let answer = service_fn(async |request| {
        asked.notify_one();
        let (reply, joins) = routes::answer(server, request, visitor, &earlier).await;
        if joins.is_some() {
            *joining.lock().unwrap_or_else(PoisonError::into_inner) = joins;
        }
        Ok::<_, Infallible>(reply)
    });
    let mut http = protocol.serve_connection(TokioIo::new(connection), answer).with_upgrades();
    let ended = tokio::select! {
        ended = &mut http => Some(ended),
        () = last_call(&stop, &asked) => None,
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
    if let Some(joining) = joining.into_inner().unwrap_or_else(PoisonError::into_inner) {
        joining.finish(peer).await;
    } else if let Some((connection, has_begun)) = rest {
        tokio::select! {
            () = stop.cancelled() => {}
            () = parting::part(server, connection, ended.err(), has_begun) => {}
        }
    }
}

/// Waits for the stop, and then for the request of a connection that was taken from the queue just before: it may be on
/// its way, and whoever still waits in the queue is answered by a successor.
async fn last_call(stop: &CancellationToken, asked: &Notify) {
    stop.cancelled().await;
    let _ = tokio::time::timeout(net::LAST_CALL, asked.notified()).await;
}

fn protocol(rules: &config::Http) -> http1::Builder {
    let max_head = usize::try_from(rules.max_head.as_u64()).unwrap_or(usize::MAX);
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        // A client may end its half of the connection right behind its request.
        .half_close(true)
        .header_read_timeout(rules.request_timeout)
        .max_header_size(max_head)
        .max_buf_size(max_head.max(LEAST_BUFFER));
    protocol
}

/// The least buffer that hyper takes.
const LEAST_BUFFER: usize = 8192;
