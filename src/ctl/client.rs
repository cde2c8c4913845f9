//! Requests on the admin socket: a connection each, which is nothing on a Unix socket, and leaves no state to go stale.

use std::io;
use std::path::PathBuf;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;
use ws_router_admin_api as wire;

use super::fault::Fault;

/// The way to a daemon.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// What the daemon answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// A JSON document.
    Document(Bytes),
    /// Nothing by that name.
    Unknown(wire::Refused),
    /// No.
    Refused(StatusCode, wire::Refused),
}

/// A stream of lines.
#[derive(Debug)]
pub(super) struct Lines {
    reply: Reply,
    pending: Vec<u8>,
}

/// An answer whose body is still to come, and the task that brings it.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Incoming,
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Client {
    /// Remembers where the daemon is; nothing is connected yet.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks for a document that must be there, and reads it.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Bytes), Fault> {
        match self.ask(Method::GET, path).await? {
            Answer::Document(text) => Ok((parse(&text)?, text)),
            Answer::Unknown(refused) | Answer::Refused(_, refused) => Err(Fault::Software(refused.error)),
        }
    }

    /// Asks, and waits for the whole answer.
    pub(super) async fn ask(&self, method: Method, path: &str) -> Result<Answer, Fault> {
        let mut reply = self.send(method, path).await?;
        let text = (&mut reply.body).collect().await.map_err(broken)?.to_bytes();
        let status = reply.status;
        if status.is_success() {
            return Ok(Answer::Document(text));
        }
        let refused = serde_json::from_slice(&text)
            .unwrap_or_else(|_| wire::Refused { error: format!("the daemon answered {status}"), problems: Vec::new() });
        // A name that can't be one is as unknown as any other.
        Ok(match status {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Answer::Unknown(refused),
            _ => Answer::Refused(status, refused),
        })
    }

    /// Asks for a stream of lines.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines, Fault> {
        let reply = self.send(Method::GET, path).await?;
        match reply.status {
            StatusCode::OK => Ok(Lines { reply, pending: Vec::new() }),
            status => Err(Fault::Software(format!("the daemon answered {status}"))),
        }
    }

    async fn send(&self, method: Method, path: &str) -> Result<Reply, Fault> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "ws-router")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Fault::Software(error.to_string()))?;
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        Ok(Reply { status: head.status, body, _driver: driver })
    }

    fn unreachable(&self, error: &io::Error) -> Fault {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Fault::Unavailable(format!("no daemon at {socket}; start ws-router, or name its socket with --socket"))
            }
            io::ErrorKind::PermissionDenied => Fault::Permission(format!(
                "{socket}: permission denied; join the group ws-router (usermod -aG ws-router USER, then log in anew)"
            )),
            _ => Fault::Unavailable(format!("{socket}: {error}")),
        }
    }
}

impl Lines {
    /// Waits for the next line; `None` once the daemon has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.pending, rest)));
            }
            match self.reply.body.frame().await {
                Some(frame) => {
                    if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                        self.pending.extend_from_slice(&bytes);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

/// Reads a document of the daemon's.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(text)
        .map_err(|error| Fault::Software(format!("the daemon's answer makes no sense: {error}")))
}

fn broken(error: hyper::Error) -> Fault {
    Fault::Unavailable(format!("the daemon broke off: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_may_not_use_the_socket_is_told_which_group_may() {
        let fault = Client::new("/run/x.sock".into()).unreachable(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(fault.status(), 77);
        assert!(fault.text().unwrap().contains("/run/x.sock: permission denied; join the group ws-router"));
    }
}
