//! Connections to a deployment by its public address, as a device makes them: plain HTTP routes and websockets, through
//! whatever proxy and TLS stand before it.
//!
//! Each answer comes with what is worth telling about it; what goes wrong is either that nobody is there, or that
//! somebody is and something is wrong. Keys go in a request's body wherever the protocol lets them.

mod target;
mod tls;

use std::error::Error as _;
use std::path::Path;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::AbortOnDropHandle;

use super::fault::Fault;
use target::Target;
use tls::Identity;
pub(crate) use tls::Tls;
use ws_router_admin_api::cli;
use ws_router_core::secret::Token;

/// Why something failed.
#[derive(Debug)]
pub(super) enum Flaw {
    /// Nobody is there.
    Unreachable(String),
    /// Somebody is there, and something is wrong.
    Wrong(String),
}

/// A result, with what is worth saying about it.
pub(super) type Outcome<T> = Result<(T, String), Flaw>;

/// Says what is wrong.
pub(super) fn wrong(why: impl std::fmt::Display) -> Flaw {
    Flaw::Wrong(why.to_string())
}

/// A connection, with TLS or without.
pub(super) type Stream = Box<dyn Io>;

/// What HTTP and websockets need of a connection.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens connections to one deployment.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    tls: Option<Tls>,
    authorization: Option<HeaderValue>,
}

impl Dialer {
    /// Prepares what connections need: the system's authorities, the token and the certificate of files.
    pub(super) fn to(deployment: &cli::Deployment) -> Result<Self, Fault> {
        let token = deployment.token_file.as_deref().map(read_token).transpose()?;
        let files = deployment.client_certificate.as_deref().zip(deployment.client_key.as_deref());
        let identity = files.map(|(certificate, key)| Identity::read(certificate, key)).transpose();
        let (target, identity) = (Target::new(&deployment.url), identity.map_err(Fault::Software)?);
        if identity.is_some() && !target.tls {
            return Err(Fault::Usage("without TLS no certificate is shown; write the URL with https://".into()));
        }
        Self::new(target, deployment.insecure, identity, token).map_err(Fault::Unavailable)
    }

    fn new(target: Target, insecure: bool, own: Option<Identity>, token: Option<Token>) -> Result<Self, String> {
        let tls = target.tls.then(|| Tls::new(&target.host, insecure, own)).transpose()?;
        let header = |token: Token| HeaderValue::from_str(&format!("Bearer {}", token.reveal()));
        let mut authorization = token.map(header).transpose().map_err(|_| "the token is no text for a header")?;
        if let Some(secret) = &mut authorization {
            secret.set_sensitive(true);
        }
        Ok(Self { target, tls, authorization })
    }

    /// Adds the token to a request, if there is one to be shown.
    fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(secret) = &self.authorization {
            headers.insert(header::AUTHORIZATION, secret.clone());
        }
    }

    /// Tells how TLS is spoken, if it is.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Connects without TLS.
    pub(super) async fn tcp(&self) -> Outcome<TcpStream> {
        let Target { host, port, .. } = &self.target;
        let unreachable = |error| Flaw::Unreachable(format!("{host} port {port}: {error}"));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
        // Small messages are timed, so they must not wait for company.
        stream.set_nodelay(true).map_err(wrong)?;
        let address = stream.peer_addr().map_err(unreachable)?.to_string();
        Ok((stream, address))
    }

    /// Connects, with TLS where it belongs.
    pub(super) async fn stream(&self) -> Result<Stream, Flaw> {
        let (stream, _) = self.tcp().await?;
        match &self.tls {
            Some(tls) => Ok(tls.handshake(stream).await?.0.0),
            None => Ok(Box::new(stream)),
        }
    }

    /// Joins a registration.
    pub(super) async fn join(&self, id: &str, key: &str, role: Option<&str>) -> Result<WebSocketStream<Stream>, Flaw> {
        let mut parameters = vec![("id", id), ("key", key)];
        parameters.extend(role.map(|role| ("sock_type", role)));
        let url = self.websocket_url("/connect", &parameters);
        let stream = self.stream().await?;
        let mut request = url.into_client_request().map_err(wrong)?;
        self.authorize(request.headers_mut());
        let (websocket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(refused)?;
        Ok(websocket)
    }

    fn websocket_url(&self, route: &str, parameters: &[(&str, &str)]) -> String {
        let Target { tls, authority, prefix, .. } = &self.target;
        let scheme = if *tls { "wss" } else { "ws" };
        format!("{scheme}://{authority}{prefix}{route}?{}", form(parameters))
    }

    /// Asks whether the router takes new members.
    pub(super) async fn health(&self, stream: Stream) -> Outcome<()> {
        let body = self.ask(stream, Method::GET, "/healthz", String::new()).await?;
        if body == "ok" || body == "ok\n" {
            Ok(((), String::new()))
        } else {
            Err(wrong("this isn't ws-router's answer"))
        }
    }

    /// Registers, if possible under an id of one's own choice, and answers the id.
    pub(super) async fn register(&self, kind: &str, key: &str, host_key: &str, wish: Option<&str>) -> Outcome<String> {
        let mut parameters = vec![("reg_type", kind), ("key", key), ("host_key", host_key)];
        parameters.extend(wish.map(|id| ("id_req", id)));
        let form = form(&parameters);
        let id = self.ask(self.stream().await?, Method::POST, "/register", form).await?;
        let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if is_id { Ok((id.clone(), format!("id {id}"))) } else { Err(wrong("the answer isn't an id and nothing else")) }
    }

    /// Removes a registration.
    pub(super) async fn remove(&self, id: &str, key: &str, host_key: &str) -> Outcome<()> {
        let form = form(&[("id", id), ("key", key), ("host_key", host_key)]);
        let body = self.ask(self.stream().await?, Method::POST, "/remove", form).await?;
        if body.is_empty() { Ok(((), String::new())) } else { Err(wrong("the answer isn't empty")) }
    }

    /// Does one request; keys go in the body, so that they stay out of a proxy's log.
    async fn ask(&self, stream: Stream, method: Method, route: &str, form: String) -> Result<String, Flaw> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{route}", self.target.prefix))
            .header(header::HOST, &self.target.authority)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from(form))
            .map_err(wrong)?;
        self.authorize(request.headers_mut());
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(wrong)?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        match head.status {
            StatusCode::OK => Ok(text),
            status => Err(wrong(format!("{status}: {}", text.lines().next().unwrap_or_default().escape_debug()))),
        }
    }
}

/// Reads the token that the router is to be shown.
fn read_token(path: &Path) -> Result<Token, Fault> {
    read_secret("token", path, |text| text.bytes().all(|byte| byte.is_ascii_graphic())).map(Token::new)
}

/// Reads what is secret, and stands alone in a file.
pub(super) fn read_secret(what: &str, path: &Path, is_one: impl Fn(&str) -> bool) -> Result<String, Fault> {
    let problem = |why: String| Fault::Software(format!("{what} file {}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let text = text.trim();
    if !text.is_empty() && is_one(text) {
        Ok(text.into())
    } else {
        Err(problem(format!("no {what}; write it there and nothing else")))
    }
}

/// Says why there is no answer, with the cause: with TLS 1.3 it may be that a certificate isn't taken.
fn broken(error: hyper::Error) -> Flaw {
    match error.source() {
        Some(cause) => wrong(format!("{error}: {cause}")),
        None => wrong(error),
    }
}

/// Says why there is no websocket; a router's refusal carries its reason in the body.
fn refused(error: Error) -> Flaw {
    match error {
        Error::Http(answer) => {
            let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let line = body.lines().next().unwrap_or_default().escape_debug().to_string();
            wrong(format!("{}: {line}", answer.status()))
        }
        other => wrong(other),
    }
}

fn form(parameters: &[(&str, &str)]) -> String {
    let pairs =
        parameters.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The router's answers are a line; a proxy's error page may be longer.
const LARGEST_ANSWER: usize = 64 * 1024;
