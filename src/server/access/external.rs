//! The external authorizer of an access rule: an HTTP service that decides about each request.
//!
//! The authorizer is asked for every request, and no decision is cached: a change takes effect at once, and one client's
//! decision is never used for another. A status of 200 to 299 allows, and 401 and 403 deny. Any other status, or no answer
//! in time, is no decision, and the request fails. The number of requests in flight is limited in total and per network,
//! in case the authorizer hangs. It receives the known facts about the client and its token, but never a key.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::{Action, Caller};
use crate::config;
use crate::peer::{Network, ShareError, Shares};

/// External authorizer of a rule.
#[derive(Debug)]
pub struct ExternalAuthorizer {
    endpoint: Endpoint,
    path: String,
    timeout: Duration,
    in_flight: Shares,
}

#[derive(Debug)]
enum Endpoint {
    /// Host and port.
    Tcp(String),
    Unix(PathBuf),
}

/// Decision of an external authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The request may go on.
    Allow,
    /// The request is denied, whatever token it has (403).
    Deny,
    /// The request is denied because its token is missing or not valid (401).
    DenyToken,
}

/// Reason why an external authorizer gives no decision.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// As many requests as allowed are in flight, or the client's network has its share of them.
    #[error("requests in flight: {0}")]
    TooManyRequests(#[from] ShareError),
    /// The authorizer didn't answer within `ask-timeout`.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// The authorizer can't be reached.
    #[error("can't connect: {0}")]
    Connect(#[source] io::Error),
    /// The request can't be written as JSON.
    #[error("can't write the request: {0}")]
    Encode(#[from] serde_json::Error),
    /// The request isn't valid HTTP.
    #[error("can't make the request: {0}")]
    Request(#[from] http::Error),
    /// The connection failed, or its answer isn't HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// It answered with a status that is no decision.
    #[error("answered {0}")]
    Status(StatusCode),
}

/// Parameters of the request to decide about, without the keys.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct AuthRequest<'a> {
    /// Id of the registration, or the one that `id_req` asks for.
    pub id: Option<&'a str>,
    /// `reg_type`, when registering.
    pub kind: Option<&'a str>,
    /// `sock_type`, when connecting.
    pub role: Option<&'a str>,
}

/// Body of a request to the authorizer.
#[derive(Serialize)]
struct Body<'a> {
    action: &'static str,
    #[serde(flatten)]
    request: &'a AuthRequest<'a>,
    address: Option<String>,
    user: Option<u32>,
    certificate: Option<&'a [String]>,
    origin: Option<&'a str>,
}

impl ExternalAuthorizer {
    pub(super) fn new(ask: &config::AuthorizerAddress, timeout: Duration) -> Self {
        let endpoint = match &ask.endpoint {
            config::AuthorizerEndpoint::Tcp(authority) => Endpoint::Tcp(authority.clone()),
            config::AuthorizerEndpoint::Unix(path) => Endpoint::Unix(path.clone()),
        };
        Self { endpoint, path: ask.path.clone(), timeout, in_flight: Shares::default() }
    }

    /// Asks for a decision about a request. A client without a `network`, such as a process on this machine, counts only in
    /// the total.
    pub async fn authorize(
        &self,
        action: Action,
        caller: &Caller<'_>,
        request: &AuthRequest<'_>,
        network: Option<Network>,
    ) -> Result<Decision, AuthorizerError> {
        let _share = self.in_flight.take(network, MAX_IN_FLIGHT)?;
        let request = self.request(action, caller, request)?;
        let status = async {
            match &self.endpoint {
                Endpoint::Tcp(authority) => exchange(TcpStream::connect(authority).await, request).await,
                Endpoint::Unix(path) => exchange(UnixStream::connect(path).await, request).await,
            }
        };
        match tokio::time::timeout(self.timeout, status).await {
            Err(_) => Err(AuthorizerError::Timeout(self.timeout)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(StatusCode::FORBIDDEN)) => Ok(Decision::Deny),
            Ok(Ok(StatusCode::UNAUTHORIZED)) => Ok(Decision::DenyToken),
            Ok(Ok(status)) if status.is_success() => Ok(Decision::Allow),
            Ok(Ok(status)) => Err(AuthorizerError::Status(status)),
        }
    }

    fn request(
        &self,
        action: Action,
        caller: &Caller<'_>,
        request: &AuthRequest<'_>,
    ) -> Result<Request<Full<Bytes>>, AuthorizerError> {
        let body = Body {
            action: action.as_str(),
            request,
            address: caller.peer.ip().map(|ip| ip.to_string()),
            user: caller.user,
            certificate: caller.certificate.map(|certified| certified.names.as_slice()),
            origin: caller.origin,
        };
        let host = match &self.endpoint {
            Endpoint::Tcp(authority) => authority.as_str(),
            Endpoint::Unix(_) => "localhost",
        };
        let mut request = Request::post(self.path.as_str())
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(&body)?)))?;
        // A token that can't be sent in a header can't be valid, so the authorizer decides without it.
        let token = caller.token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.reveal())).ok());
        if let Some(mut token) = token {
            token.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        Ok(request)
    }
}

/// Sends a request on a new connection, and returns the status of the answer. Its body isn't read.
async fn exchange<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: io::Result<S>,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, AuthorizerError> {
    let stream = stream.map_err(AuthorizerError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    Ok(sender.send_request(request).await?.status())
}

/// Maximum number of requests in flight to one authorizer. With the default timeout of two seconds, a hundred clients per
/// second are answered even while the authorizer hangs.
const MAX_IN_FLIGHT: usize = 256;
