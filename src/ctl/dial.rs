//! Connections to a deployment by its public address, as a device makes them: HTTP requests and websockets, through any
//! proxy and TLS in front of the router.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue, InvalidHeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::task::AbortOnDropHandle;
use ws_router_admin_api::cli;
use ws_router_core::ids::RegistrationId;
use ws_router_core::secret::Token;

use super::tls::{Identity, Tls, TlsSetupError};

/// Reason why connections to a deployment can't be prepared.
#[derive(Debug, Error)]
pub(super) enum SetupError {
    #[error("{what} file {}", .path.display())]
    File { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} file {}: no {what}; write it there and nothing else", .path.display())]
    NoSecret { what: &'static str, path: PathBuf },
    #[error("token file {}", .path.display())]
    NoHeader { path: PathBuf, source: InvalidHeaderValue },
    #[error("a client certificate needs TLS; write the URL with https://")]
    CertificateWithoutTls,
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
}

/// Reason why a request or a connection to a deployment failed.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("{host} port {port}")]
    Connect { host: String, port: u16, source: io::Error },
    #[error("no answer within {}", humantime::format_duration(*.0))]
    NoConnection(Duration),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    #[error("{0}{hint}", hint = tls_hint(.0))]
    Tls(#[source] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("invalid request")]
    Request(#[from] http::Error),
    #[error("the answer can't be read: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Websocket(tungstenite::Error),
    #[error("{status}: {}", .reason.escape_debug())]
    Refused { status: StatusCode, reason: String },
    #[error("random numbers")]
    Random(#[from] getrandom::Error),
    #[error("the connection ended")]
    Ended,
    #[error("the router closed the connection: {code} {}", .reason.escape_debug())]
    Closed { code: u16, reason: String },
    /// Something answers, but not as ws-router does.
    #[error("{0}")]
    Unexpected(String),
}

impl DialError {
    /// Returns whether nothing answered at all.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::NoConnection(_))
    }
}

/// Keeps the reason in the body of a refused handshake.
impl From<tungstenite::Error> for DialError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(answer) => {
                let body = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Self::refused(answer.status(), &body)
            }
            other => Self::Websocket(other),
        }
    }
}

impl DialError {
    fn refused(status: StatusCode, body: &str) -> Self {
        Self::Refused { status, reason: body.lines().next().unwrap_or_default().to_owned() }
    }
}

/// A connection, with TLS or without.
pub(super) type Stream = Box<dyn Io>;

/// A websocket to the router.
pub(super) type Socket = WebSocketStream<Stream>;

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
    /// Reads what connections need: the system's certificate authorities, the token, and the client certificate.
    pub(super) fn new(deployment: &cli::Deployment) -> Result<Self, SetupError> {
        let authorization = deployment.token_file.as_deref().map(authorization).transpose()?;
        let target = Target::new(&deployment.url);
        let files = deployment.client_certificate.as_deref().zip(deployment.client_key.as_deref());
        if files.is_some() && !target.tls {
            return Err(SetupError::CertificateWithoutTls);
        }
        let identity = files.map(|(certificate, key)| Identity::read(certificate, key)).transpose()?;
        let tls = target.tls.then(|| Tls::new(&target.host, deployment.insecure, identity)).transpose()?;
        Ok(Self { target, tls, authorization })
    }

    /// Adds the token to a request, if there is one.
    fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(secret) = &self.authorization {
            headers.insert(header::AUTHORIZATION, secret.clone());
        }
    }

    /// Returns the TLS client if the deployment uses TLS.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Connects without TLS.
    pub(super) async fn tcp(&self) -> Result<TcpStream, DialError> {
        let Target { host, port, .. } = &self.target;
        tcp(host, *port).await.map_err(|source| DialError::Connect { host: host.clone(), port: *port, source })
    }

    /// Connects, with TLS if the deployment uses it.
    pub(super) async fn stream(&self) -> Result<Stream, DialError> {
        let stream = self.tcp().await?;
        match &self.tls {
            Some(tls) => Ok(Box::new(tls.handshake(stream).await.map_err(DialError::Tls)?.stream)),
            None => Ok(Box::new(stream)),
        }
    }

    /// Joins a registration.
    pub(super) async fn join(&self, id: &str, key: &str, role: Option<&str>) -> Result<Socket, DialError> {
        let mut parameters = vec![("id", id), ("key", key)];
        parameters.extend(role.map(|role| ("sock_type", role)));
        self.connect(&parameters).await
    }

    /// Opens a websocket with parameters of `/connect`.
    pub(super) async fn connect(&self, parameters: &[(&str, &str)]) -> Result<Socket, DialError> {
        let url = self.websocket_url("/connect", parameters);
        let stream = self.stream().await?;
        let mut request = url.into_client_request()?;
        self.authorize(request.headers_mut());
        let (websocket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(websocket)
    }

    fn websocket_url(&self, route: &str, parameters: &[(&str, &str)]) -> String {
        let Target { tls, authority, prefix, .. } = &self.target;
        let scheme = if *tls { "wss" } else { "ws" };
        format!("{scheme}://{authority}{prefix}{route}?{}", form(parameters))
    }

    /// Verifies that the router admits new members.
    pub(super) async fn health(&self, stream: Stream) -> Result<(), DialError> {
        let body = self.request(stream, Method::GET, "/healthz", String::new()).await?;
        if body.trim_end() == "ok" { Ok(()) } else { Err(unexpected("the answer isn't ws-router's")) }
    }

    /// Registers, with the requested id if possible, and returns the id.
    pub(super) async fn register(
        &self,
        kind: &str,
        key: &str,
        host_key: &str,
        wish: Option<&str>,
    ) -> Result<String, DialError> {
        let mut parameters = vec![("reg_type", kind), ("key", key), ("host_key", host_key)];
        parameters.extend(wish.map(|id| ("id_req", id)));
        let id = self.request(self.stream().await?, Method::POST, "/register", form(&parameters)).await?;
        match RegistrationId::parse(&id) {
            Ok(_) => Ok(id),
            Err(_) => Err(unexpected("the answer isn't an id and nothing else")),
        }
    }

    /// Registers under a requested id that may be in use already by a registration with these keys; returns whether this
    /// deployment gave that id. If it gave another one, that registration is removed.
    pub(super) async fn claim(&self, kind: &str, key: &str, host_key: &str, id: &str) -> Result<bool, DialError> {
        let given = self.register(kind, key, host_key, Some(id)).await?;
        if given != id {
            self.remove(&given, key, host_key).await?;
        }
        Ok(given == id)
    }

    /// Returns the numbers of members; `Err` in `Ok` with the reason if this deployment doesn't serve them: an older router
    /// knows no such path, and access rules may not allow it.
    pub(super) async fn members(&self, id: &str, key: &str) -> Result<Result<Value, &'static str>, DialError> {
        let form = form(&[("id", id), ("key", key)]);
        match self.request(self.stream().await?, Method::POST, "/members", form).await {
            Ok(text) => serde_json::from_str(&text).map(Ok).map_err(|_| unexpected("the answer isn't JSON")),
            Err(DialError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(Err("not served by this router")),
            Err(DialError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. }) => {
                Ok(Err("not allowed by the access rules"))
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a registration.
    pub(super) async fn remove(&self, id: &str, key: &str, host_key: &str) -> Result<(), DialError> {
        let form = form(&[("id", id), ("key", key), ("host_key", host_key)]);
        let body = self.request(self.stream().await?, Method::POST, "/remove", form).await?;
        if body.is_empty() { Ok(()) } else { Err(unexpected("the answer isn't empty")) }
    }

    /// Sends a request and returns the body of a successful answer. Keys go in the body, where no proxy logs them.
    async fn request(&self, stream: Stream, method: Method, route: &str, form: String) -> Result<String, DialError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{route}", self.target.prefix))
            .header(header::HOST, &self.target.authority)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from(form))?;
        self.authorize(request.headers_mut());
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(DialError::Body)?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        match head.status {
            StatusCode::OK => Ok(text),
            status => Err(DialError::refused(status, &text)),
        }
    }
}

/// Connects to a host, whose address may be an IPv6 address without brackets.
pub(super) async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = match loopback(host, port) {
        Some(addresses) => TcpStream::connect(&addresses[..]).await?,
        None => TcpStream::connect((host, port)).await?,
    };
    // Messages are timed, and keys are typed, so they must not be delayed to be sent together.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns an error about something that answers, but not as ws-router does.
pub(super) fn unexpected(what: impl Into<String>) -> DialError {
    DialError::Unexpected(what.into())
}

/// Reads a secret that a file contains, and nothing else.
pub(super) fn read_secret(
    what: &'static str,
    path: &Path,
    is_valid: impl Fn(&str) -> bool,
) -> Result<String, SetupError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| SetupError::File { what, path: path.to_owned(), source })?;
    let text = text.trim();
    if !text.is_empty() && is_valid(text) {
        Ok(text.into())
    } else {
        Err(SetupError::NoSecret { what, path: path.to_owned() })
    }
}

/// Reads a token into a header.
fn authorization(path: &Path) -> Result<HeaderValue, SetupError> {
    let token = read_secret("token", path, |text| text.bytes().all(|byte| byte.is_ascii_graphic())).map(Token::new)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
        .map_err(|source| SetupError::NoHeader { path: path.to_owned(), source })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Returns the addresses of `localhost`, which is the loopback interface whatever resolvers say (RFC 6761, section
/// 6.3); a machine without /etc/hosts may have none that knows it.
fn loopback(host: &str, port: u16) -> Option<[SocketAddr; 2]> {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_loopback = name == "localhost" || name.ends_with(".localhost");
    let addresses = [IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST)];
    is_loopback.then(|| addresses.map(|address| SocketAddr::new(address, port)))
}

fn tls_hint(error: &io::Error) -> &'static str {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => "; --insecure accepts any certificate",
        _ => "",
    }
}

fn form(parameters: &[(&str, &str)]) -> String {
    let pairs =
        parameters.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Parts of a deployment's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    tls: bool,
    /// Name or address; an IPv6 address without brackets.
    host: String,
    port: u16,
    /// Host and port as in a request.
    authority: String,
    /// Path before the routes: empty, or beginning with a slash and without one at the end.
    prefix: String,
}

impl Target {
    /// Splits a URL that has a scheme and a host; the port defaults to the scheme's.
    fn new(url: &Uri) -> Self {
        let tls = matches!(url.scheme_str(), Some("https" | "wss"));
        let named = url.host().unwrap_or_default();
        let host = named.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(named);
        Self {
            tls,
            host: host.into(),
            port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: url.authority().map(ToString::to_string).unwrap_or_default(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        }
    }
}

/// The router's answers are one line; a proxy's error page may be longer.
const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_scheme_and_the_prefix_loses_its_slash() {
        let target = |url: &str| Target::new(&url.parse().unwrap());
        let plain = target("http://relay.example/sub/dir/");
        assert_eq!((plain.tls, plain.port, plain.prefix.as_str()), (false, 80, "/sub/dir"));
        let tls = target("https://[::1]:8741");
        assert_eq!((tls.tls, tls.host.as_str(), tls.port, tls.prefix.as_str()), (true, "::1", 8741, ""));
        assert_eq!(tls.authority, "[::1]:8741");
        assert_eq!((target("wss://relay.example").tls, target("wss://relay.example").port), (true, 443));
    }

    #[test]
    fn localhost_is_the_loopback_interface_without_a_resolver() {
        for name in ["localhost", "LocalHost", "localhost.", "relay.localhost"] {
            let addresses = loopback(name, 80).unwrap().map(|address| address.to_string());
            assert_eq!(addresses, ["[::1]:80", "127.0.0.1:80"]);
        }
        for name in ["localhost.example", "mylocalhost", "127.0.0.1", ""] {
            assert_eq!(loopback(name, 80), None, "{name}");
        }
    }
}
