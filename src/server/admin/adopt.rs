//! Hand-over of a connection that inetd accepted, as a descriptor on the admin socket.
//!
//! HTTP can't carry a descriptor, so the request asks for an upgrade. After the 101 the client sends one byte with one
//! descriptor (`SCM_RIGHTS`); the daemon serves it like a connection that it accepted itself, answers one line, `ok` or an
//! error, and closes.

use std::io;
use std::os::fd::OwnedFd;

use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::reply::{self, Reply};
use super::session::{Administrator, Session};
use super::{BODY_TIMEOUT, Command};
use crate::http::headers::has_token;
use crate::net::AdoptError;
use crate::sys;

/// Answers the request for a hand-over with 101.
pub(super) fn switch_protocols(session: &Session, mut head: Parts) -> Reply {
    let upgrade = head.extensions.remove::<OnUpgrade>();
    match upgrade.filter(|_| has_token(&head.headers, &header::UPGRADE, PROTOCOL)) {
        Some(upgrade) => {
            session.set_upgrade(upgrade);
            reply::switching(PROTOCOL)
        }
        None => {
            let error = "a hand-over needs `Connection: upgrade` and `Upgrade: ws-router-descriptor`";
            let mut reply = reply::error(StatusCode::UPGRADE_REQUIRED, error);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
            reply
        }
    }
}

/// Receives the descriptor, serves its connection, and sends the result.
pub(super) async fn take_over(upgrade: OnUpgrade, session: &Session) {
    let Administrator { uid, pid } = session.administrator;
    let mut stream = match upgraded(upgrade).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(uid, pid, %error, "hand-over of a connection aborted"),
    };
    let answer = match adopt(&stream, session).await {
        Ok(()) => {
            tracing::info!(uid, pid, "connection handed over");
            "ok\n".to_owned()
        }
        Err(error) => {
            tracing::warn!(uid, pid, %error, "handed-over connection rejected");
            format!("{}\n", error.to_string().replace('\n', "; "))
        }
    };
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(uid, pid, %error, "answer to a hand-over could not be sent");
    }
}

/// Takes the socket back from HTTP.
async fn upgraded(upgrade: OnUpgrade) -> Result<UnixStream, TransferError> {
    let upgraded = upgrade.await.map_err(TransferError::Upgrade)?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| TransferError::NotAdminSocket)?;
    // The descriptor is lost if hyper has read its byte: without a control buffer, the kernel discards it (unix(7)).
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner()) } else { Err(TransferError::EarlyBytes) }
}

async fn adopt(stream: &UnixStream, session: &Session) -> Result<(), TransferError> {
    let received = tokio::select! {
        received = tokio::time::timeout(BODY_TIMEOUT, descriptor(stream)) => received,
        () = session.stop.cancelled() => return Err(TransferError::Stopping),
    };
    let descriptor = match received {
        Ok(Ok(descriptor)) => descriptor,
        Ok(Err(error)) => return Err(TransferError::Receive(error)),
        Err(_) => return Err(TransferError::Timeout),
    };
    let (answer, answered) = oneshot::channel();
    // If the command or its answer is lost, the life cycle has ended.
    let _ = session.context.lifecycle.send(Command::Adopt(descriptor, answer)).await;
    Ok(answered.await.map_err(|_| TransferError::Stopping)??)
}

async fn descriptor(stream: &UnixStream) -> io::Result<OwnedFd> {
    stream.async_io(Interest::READABLE, || sys::recv_fd(stream)).await
}

/// Protocol that follows the upgrade.
const PROTOCOL: &str = "ws-router-descriptor";

/// Reason why a connection wasn't transferred.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error(transparent)]
    Upgrade(hyper::Error),
    #[error("not on the admin socket")]
    NotAdminSocket,
    #[error("bytes were sent before the 101")]
    EarlyBytes,
    #[error("no descriptor: {0}")]
    Receive(#[source] io::Error),
    #[error("no descriptor arrived; send one byte with one descriptor after the 101")]
    Timeout,
    #[error("the daemon is stopping")]
    Stopping,
    #[error(transparent)]
    Rejected(#[from] AdoptError),
}
