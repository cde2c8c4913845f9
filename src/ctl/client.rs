//! Client of the admin socket. Each request opens a connection, which costs next to nothing on a Unix socket and leaves
//! no state that could become stale.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use ws_router_admin_api as wire;

use super::error::Error;

/// Client of one daemon.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// Answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A JSON document.
    Document(Bytes),
    /// Nothing exists by that name.
    Unknown(wire::Refused),
    /// The daemon refuses.
    Refused(StatusCode, wire::Refused),
}

/// A stream of lines.
#[derive(Debug)]
pub(super) struct Lines {
    reply: Reply,
    pending: Vec<u8>,
}

/// An answer whose body is still to come, and the task that reads it.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    body: Incoming,
    _driver: AbortOnDropHandle<hyper::Result<()>>,
}

impl Client {
    /// Creates a client; the first request connects.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Reads a document that must exist, and returns it parsed and as text.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Bytes), Error> {
        match self.request(Method::GET, path).await? {
            Answer::Document(text) => Ok((serde_json::from_slice(&text)?, text)),
            Answer::Unknown(refused) | Answer::Refused(_, refused) => Err(Error::UnexpectedAnswer(refused.error)),
        }
    }

    /// Sends a request and waits for the whole answer, at most [`ANSWER_TIMEOUT`].
    pub(super) async fn request(&self, method: Method, path: &str) -> Result<Answer, Error> {
        self.within(ANSWER_TIMEOUT, self.exchange(method, path)).await
    }

    /// Sends a command (`POST`), whose answer may take up to [`COMMAND_TIMEOUT`]. Verifies first that the daemon answers.
    pub(super) async fn command(&self, path: &str) -> Result<Bytes, Error> {
        self.request(Method::GET, "/v1/status").await?;
        match self.within(COMMAND_TIMEOUT, self.exchange(Method::POST, path)).await? {
            Answer::Document(text) => Ok(text),
            Answer::Unknown(refused) => Err(Error::UnexpectedAnswer(refused.error)),
            Answer::Refused(StatusCode::UNPROCESSABLE_ENTITY, refused) => {
                let lines = std::iter::once(refused.error).chain(refused.problems);
                Err(Error::Rejected(lines.collect::<Vec<_>>().join("\n")))
            }
            Answer::Refused(_, refused) => Err(Error::Unavailable(refused.error)),
        }
    }

    /// Requests a stream of lines; only its beginning is limited in time.
    pub(super) async fn lines(&self, path: &str) -> Result<Lines, Error> {
        let reply = self.within(ANSWER_TIMEOUT, self.send(Method::GET, path)).await?;
        match reply.status {
            StatusCode::OK => Ok(Lines { reply, pending: Vec::new() }),
            status => Err(Error::UnexpectedAnswer(status.to_string())),
        }
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        timeout(limit, work).await.unwrap_or_else(|_| Err(Error::Unresponsive(self.socket.clone())))
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<Answer, Error> {
        let mut reply = self.send(method, path).await?;
        let text = (&mut reply.body).collect().await?.to_bytes();
        let status = reply.status;
        if status.is_success() {
            return Ok(Answer::Document(text));
        }
        let refused = serde_json::from_slice(&text)
            .unwrap_or_else(|_| wire::Refused { error: format!("status {status}"), problems: Vec::new() });
        // A name that can't exist is as unknown as any other.
        Ok(match status {
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Answer::Unknown(refused),
            _ => Answer::Refused(status, refused),
        })
    }

    async fn send(&self, method: Method, path: &str) -> Result<Reply, Error> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let request =
            Request::builder().method(method).uri(path).header(header::HOST, "ws-router").body(Empty::<Bytes>::new())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok(Reply { status: head.status, body, _driver: driver })
    }

    async fn connect(&self) -> Result<UnixStream, Error> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                // The listener's backlog is full. The kernel doesn't report when it has room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_RETRY).await,
                Err(error) => return Err(self.unreachable(error)),
            }
        }
    }

    fn unreachable(&self, source: io::Error) -> Error {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Error::NoDaemon(socket),
            io::ErrorKind::PermissionDenied => Error::PermissionDenied(socket),
            _ => Error::Connect { socket, source },
        }
    }
}

impl Lines {
    /// Waits for the next line; returns `None` once the daemon has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.pending, rest)));
            }
            match self.reply.body.frame().await {
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.pending.extend_from_slice(&bytes);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

/// Time within which a running daemon answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a reload, which may wait for slow file systems, and for an upgrade, which tries the new program.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);
const BACKLOG_RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_user_without_permission_reads_which_group_has_it() {
        let error = Client::new("/run/x.sock".into()).unreachable(io::ErrorKind::PermissionDenied.into());
        assert_eq!(error.exit_status(), 77);
        assert!(error.message().unwrap().contains("/run/x.sock: permission denied; join the group ws-router"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_takes_connections_and_never_answers_is_given_up_after_ten_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        // Connections stay in the backlog, as those to a stopped process do.
        let listener = UnixListener::bind(&socket).unwrap();
        let client = Client::new(socket.clone());
        for _ in 0..2 {
            let begun = tokio::time::Instant::now();
            let errors = [
                client.request(Method::GET, "/v1/status").await.map(drop).unwrap_err(),
                client.command("/v1/reload").await.map(drop).unwrap_err(),
                client.lines("/v1/events").await.map(drop).unwrap_err(),
            ];
            assert_eq!(begun.elapsed().as_secs(), 30);
            for error in errors {
                assert_eq!(error.exit_status(), 69);
                let expected = format!(
                    "{}: accepts connections but does not answer; see systemctl status ws-router",
                    socket.display()
                );
                assert_eq!(error.message().unwrap(), expected);
            }
            // The second time with a full backlog, where connecting itself fails at once.
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        }
    }
}
