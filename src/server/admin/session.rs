//! One connection on the admin socket: who is there, its requests, and what it became after an upgrade.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{Context, HEAD_TIMEOUT, MAX_HEAD, adopt, routes};

/// Who asks, as the kernel vouches for it; stands in the log beside each change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Administrator {
    /// The user.
    pub(super) uid: u32,
    /// The process, 0 if it isn't known.
    pub(super) pid: i32,
}

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) administrator: Administrator,
    pub(super) stop: CancellationToken,
    /// Set by a request whose answer turns the connection into something else.
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Session {
    /// Has the connection taken over once the answer has been sent.
    pub(super) fn take_over(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
    }

    fn upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Answers the requests of one connection until it ends or the daemon stops.
pub(super) async fn converse(stream: UnixStream, context: Context, stop: CancellationToken) {
    let administrator = match stream.peer_cred() {
        Ok(peer) => Administrator { uid: peer.uid(), pid: peer.pid().unwrap_or(0) },
        Err(error) => {
            tracing::warn!(%error, "admin connection refused, its peer is not known");
            return;
        }
    };
    let session = Arc::new(Session { context, administrator, stop, upgrade: Mutex::new(None) });
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
        tracing::debug!(uid, pid, %error, "admin connection broke");
    }
    if let Some(upgrade) = session.upgrade() {
        adopt::take_over(upgrade, &session).await;
    }
}
