//! The hand-over of a connection that inetd accepted: it comes as a descriptor in a message on the admin socket.
//!
//! HTTP can't carry a descriptor, so the request asks for an upgrade. After the 101 the client sends one byte with one
//! descriptor (`SCM_RIGHTS`); the daemon takes it into its life cycle as if it had accepted it itself, answers one
//! line, `ok` or what is wrong, and closes.

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
use crate::sys;

/// Answers the request for a hand-over.
pub(super) fn agree(session: &Session, mut head: Parts) -> Reply {
    let upgrade = head.extensions.remove::<OnUpgrade>();
    match upgrade.filter(|_| has_token(&head.headers, &header::UPGRADE, PROTOCOL)) {
        Some(upgrade) => {
            session.take_over(upgrade);
            reply::switching(PROTOCOL)
        }
        None => {
            let error = "a hand-over needs `Connection: upgrade` and `Upgrade: ws-router-descriptor`";
            let mut reply = reply::refusal(StatusCode::UPGRADE_REQUIRED, error);
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
            reply
        }
    }
}

/// Takes the descriptor and answers how it went.
pub(super) async fn take_over(upgrade: OnUpgrade, session: &Session) {
    let Administrator { uid, pid } = session.administrator;
    let mut stream = match upgraded(upgrade).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(uid, pid, %error, "hand-over broke off"),
    };
    let answer = match adopt(&stream, session).await {
        Ok(()) => {
            tracing::info!(uid, pid, "connection handed over");
            "ok\n".to_owned()
        }
        Err(error) => {
            tracing::warn!(uid, pid, error, "hand-over refused");
            format!("{}\n", error.replace('\n', "; "))
        }
    };
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(uid, pid, %error, "hand-over's answer got lost");
    }
}

/// Takes the socket back from HTTP.
async fn upgraded(upgrade: OnUpgrade) -> Result<UnixStream, String> {
    let upgraded = upgrade.await.map_err(|error| error.to_string())?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| "not on the admin socket")?;
    // A byte that HTTP has read came without its descriptor: the kernel throws that away.
    if parts.read_buf.is_empty() { Ok(parts.io.into_inner()) } else { Err("bytes before the 101".into()) }
}

async fn adopt(stream: &UnixStream, session: &Session) -> Result<(), String> {
    let received = tokio::select! {
        received = tokio::time::timeout(BODY_TIMEOUT, descriptor(stream)) => received,
        () = session.stop.cancelled() => return Err(STOPPING.into()),
    };
    let descriptor = match received {
        Ok(Ok(descriptor)) => descriptor,
        Ok(Err(error)) => return Err(format!("no descriptor: {error}")),
        Err(_) => return Err("no descriptor came; send one byte with one descriptor after the 101".into()),
    };
    let (answer, answered) = oneshot::channel();
    // Whether the command or its answer was lost, the life cycle has ended.
    let _ = session.context.life.send(Command::Adopt(descriptor, answer)).await;
    answered.await.unwrap_or_else(|_| Err(STOPPING.into()))
}

async fn descriptor(stream: &UnixStream) -> io::Result<OwnedFd> {
    stream.async_io(Interest::READABLE, || sys::recv_fd(stream)).await
}

/// What the connection becomes.
const PROTOCOL: &str = "ws-router-descriptor";

const STOPPING: &str = "the daemon is stopping";
