//! The public routes: register, connect, remove, health, statistics, and a page to try them on.
//!
//! [`Service::serve`] is the life of one connection: requests one after the other, each answered by `routes`, until
//! the peer leaves, is too slow, or becomes a websocket and goes to a relay thread. All of it happens in the one task
//! that the accept loop runs for the connection, so there is nothing to be tracked apart.

mod admission;
mod body;
mod connect;
mod console;
#[doc(hidden)] // For the fuzzer, as `query`.
pub mod forwarded;
mod health;
mod pace;
mod parting;
#[doc(hidden)] // For the fuzzer, which looks at the parser itself.
pub mod query;
mod register;
mod remove;
mod replies;
mod routes;
mod stats;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use admission::Visitor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pace::Earlier;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::access;
use crate::config;
use crate::directory::Directory;
use crate::metrics::Front;
use crate::net::{self, Clients, Connection, Door};
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
    /// Who may register and connect.
    pub access: access::Live,
    /// What is counted.
    pub front: Arc<Front>,
    /// What each client network does and holds.
    pub clients: Arc<Clients>,
    /// Set while the router takes no new registrations and members.
    pub draining: Arc<AtomicBool>,
}

impl Service {
    /// Answers the requests of one connection until it ends, becomes a websocket, or `stop` (then the request in
    /// progress is finished, and one who hasn't asked yet may do so for a moment).
    pub async fn serve(&self, mut connection: Connection, stop: CancellationToken) {
        let (peer, certificate) = (connection.peer(), connection.certified());
        let visitor = Visitor::new(peer, certificate.as_ref());
        let protocol = {
            let config = self.live.borrow();
            connection.set_write_patience(config.http.request_timeout);
            protocol(&config.http)
        };
        // At most one request of a connection becomes a websocket, and it is the last.
        let joining = Mutex::new(None);
        let (asked, earlier) = (Notify::new(), Earlier::default());
        let answer = service_fn(async |request| {
            asked.notify_one();
            let (reply, joins) = self.answer(request, visitor, &earlier).await;
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
            self.join(joining, peer).await;
        } else if let Some((connection, has_begun)) = rest {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.part(connection, ended.err(), has_begun) => {}
            }
        }
    }

    /// The way in for connections that this service is to answer.
    pub fn door(&self) -> Door {
        let (front, clients) = (Arc::clone(&self.front), Arc::clone(&self.clients));
        Door { live: self.live.clone(), front, clients }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
