//! The admin interface: HTTP with JSON over a Unix socket, for ws-routerctl, curl and monitoring.
//!
//! Owns the conversations on the admin socket. Who may have one is decided by the socket's mode, before a request is
//! read; each change is then logged with the peer's uid and pid. It uses the operations of the [`Server`], and reaches the
//! daemon's lifecycle only through [`Command`]s. It never sees a key.
//!
//! One task a connection, none of them detached: [`serve`] returns when the last one has ended. What a peer can hold
//! is bounded by the constants here, since even an administrator's script can go wrong.

mod adopt;
mod drain;
mod exposition;
mod reply;
mod routes;
mod scrape;
mod session;
mod status;
mod stream;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ws_router_admin_api as wire;

use crate::config::Problems;
use crate::handover::exec::TrialError;
use crate::log::messages;
use crate::net::{self, ListenError};
use crate::server::Server;

pub use scrape::serve_metrics;
pub use ws_router_admin_api::ReloadReport;

/// The router, and what the interface shows of the daemon around it.
#[derive(Debug, Clone)]
pub struct Context {
    /// The router.
    pub server: Arc<Server>,
    /// The certificates in use.
    pub certificates: Vec<Arc<net::Certificates>>,
    /// The addresses that the daemon listens on.
    pub listeners: Vec<String>,
    /// The progress of a drain.
    pub drain: watch::Receiver<wire::Drain>,
    /// Phase of a restart.
    pub handover: watch::Receiver<wire::HandoverPhase>,
    /// Commands to the life cycle, which is reached in no other way.
    pub lifecycle: mpsc::Sender<Command>,
}

/// Commands to the daemon's life cycle, each with the sender of its reply.
#[derive(Debug)]
pub enum Command {
    /// Reload the configuration and certificates; replies what changed, or all problems.
    Reload(oneshot::Sender<Result<ReloadReport, Problems>>),
    /// Execute the program that is on the disk now; replies before that, or with the reason why it can't take over.
    Upgrade(oneshot::Sender<Result<(), TrialError>>),
    /// Reject newcomers, and close all members within this time.
    Drain(Duration, oneshot::Sender<wire::Drain>),
    /// Return to service.
    Undrain(oneshot::Sender<wire::Drain>),
    /// Serve a connection that inetd accepted.
    Adopt(OwnedFd, oneshot::Sender<Result<(), ListenError>>),
}

/// Answers requests on the admin socket until `stop`, then lets the answers in progress finish.
pub async fn serve(listener: UnixListener, context: Context, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if tasks.len() >= MAX_CONNECTIONS => turn_away(&stream),
                Ok((stream, _)) => {
                    tasks.spawn(session::converse(stream, context.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept on the admin socket failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    let answered = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, answered).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Answers without reading the request, so that a full house costs nothing but a refusal.
fn turn_away(stream: &UnixStream) {
    tracing::warn!(
        message_id = messages::ADMIN_CONNECTION_REJECTED,
        limit = MAX_CONNECTIONS,
        "admin connection rejected; too many are open"
    );
    let body = r#"{"error":"too many admin connections; close some of them"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    // It fits the fresh socket's buffer; a peer that has gone already misses nothing.
    let _ = stream.try_write(answer.as_bytes());
}

/// Admin connections at once: some people's event streams, some monitoring, inetd's hand-overs, with room to spare;
/// few enough that forgotten ones can't use up the descriptors that devices need.
const MAX_CONNECTIONS: usize = 64;

/// Time for the head of the first request, and between requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a request's body, and for a descriptor that was announced.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest request head: paths and headers here are short.
const MAX_HEAD: usize = 16 * 1024;

/// How long a failed accept rests; out of descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time that answers in progress have when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
