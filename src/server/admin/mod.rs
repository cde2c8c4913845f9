//! The admin interface: HTTP with JSON over a Unix socket, for ws-routerctl, curl and monitoring.
//!
//! The mode and group of the socket's file decide who may connect; each change is logged with the peer's uid and pid. The
//! interface uses the operations of the [`Server`], and reaches the daemon's life cycle only through [`Command`]s. It never
//! has access to a key.
//!
//! Each connection has a task of its own, and [`serve`] returns when the last one has ended. What a peer can make the
//! daemon hold is limited by the constants here, since an administrator's script may be faulty, too.

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
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use session::{Administrator, Session};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use ws_router_admin_api as wire;
use ws_router_admin_api::finding::Finding;

use crate::config::Problems;
use crate::diagnostics::{self, Listening};
use crate::handover::exec::TrialError;
use crate::log::messages;
use crate::net::{self, AdoptError};
use crate::server::Server;

pub use scrape::serve_metrics;
pub use session::AdminAccess;
pub use ws_router_admin_api::ReloadReport;

/// The router, and the parts of the daemon around it that the interface shows.
#[derive(Debug, Clone)]
pub struct Context {
    /// The router.
    pub server: Arc<Server>,
    /// The certificates in use.
    pub certificates: Vec<Arc<net::Certificates>>,
    /// The addresses that the daemon listens on.
    pub listeners: Vec<String>,
    /// The same for the diagnostics.
    pub listening: Vec<Listening>,
    /// The progress of a drain.
    pub drain: watch::Receiver<wire::Drain>,
    /// Phase of a restart.
    pub handover: watch::Receiver<wire::HandoverPhase>,
    /// Commands to the life cycle, which is reached in no other way.
    pub lifecycle: mpsc::Sender<Command>,
}

impl Context {
    /// Returns the findings of the diagnostics, the worst first. Reads files.
    fn findings(&self) -> Vec<Finding> {
        diagnostics::of_server(&self.server, &self.listening, &self.certificates)
    }
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
    Adopt(OwnedFd, oneshot::Sender<Result<(), AdoptError>>),
}

/// Serves an admin socket until `stop`, then finishes the answers in progress. Each socket has its own limit of connections,
/// so that clients of the read-only one can't keep administrators out.
pub async fn serve(listener: UnixListener, context: Context, access: AdminAccess, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if tasks.len() >= MAX_CONNECTIONS => reject(&stream),
                Ok((stream, _)) => {
                    tasks.spawn(serve_connection(stream, context.clone(), access, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed on the admin socket");
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

/// Serves one connection until it ends or the daemon stops.
async fn serve_connection(stream: UnixStream, context: Context, access: AdminAccess, stop: CancellationToken) {
    let administrator = match stream.peer_cred() {
        Ok(peer) => Administrator { uid: peer.uid(), pid: peer.pid().unwrap_or(0) },
        Err(error) => {
            tracing::warn!(%error, "admin connection rejected; its peer is unknown");
            return;
        }
    };
    let session = Arc::new(Session::new(context, administrator, access, stop));
    let service = service_fn(|request| routes::answer(Arc::clone(&session), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = session.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        let Administrator { uid, pid } = administrator;
        tracing::debug!(uid, pid, %error, "admin connection failed");
    }
    if let Some(upgrade) = session.take_upgrade() {
        adopt::take_over(upgrade, &session).await;
    }
}

/// Answers 503 without reading the request.
fn reject(stream: &UnixStream) {
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
    // It fits into the buffer of a new socket. A peer that has disconnected doesn't need it.
    let _ = stream.try_write(answer.as_bytes());
}

/// Limit of admin connections: enough for event streams, monitoring and inetd's hand-overs, and few enough that forgotten
/// ones don't use up the descriptors that devices need.
const MAX_CONNECTIONS: usize = 64;

/// Time for the head of the first request, and between requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for a request's body, and for a descriptor after the 101.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Limit of a request's head in bytes: paths and headers are short here.
const MAX_HEAD: usize = 16 * 1024;

/// Pause after a failed accept. Without free descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time to finish answers in progress when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
