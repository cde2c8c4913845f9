//! Addresses of external authorizers: "http://127.0.0.1:9000/path", "unix:/socket:/path".
//!
//! An authorizer decides about access, so it must be on this machine or in a trusted network; TLS is not supported.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ws_router_admin_api::AddressError;

/// Address of an external authorizer, which is asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizerAddress {
    /// Socket on which it listens.
    pub endpoint: AuthorizerEndpoint,
    /// Path of the request, with a query if there is one.
    pub path: String,
}

/// Socket of an external authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizerEndpoint {
    /// `HOST:PORT`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Reason why an address can't be used, with the fix.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// The string is not an address.
    #[error("{0:?} is not an address; write \"http://127.0.0.1:9000/path\" or \"unix:/socket:/path\"")]
    Invalid(String),
    /// The address requires TLS.
    #[error("{0:?} requires TLS, which is not supported; use http or a Unix socket on this machine")]
    Tls(String),
    /// The path of the Unix socket is not valid.
    #[error(transparent)]
    Socket(#[from] AddressError),
}

impl FromStr for AuthorizerAddress {
    type Err = AuthorizerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || AuthorizerError::Invalid(text.to_owned());
        if let Some(rest) = text.strip_prefix("unix:") {
            let (socket, path) = rest.rsplit_once(":/").ok_or_else(invalid)?;
            let path = format!("/{path}");
            path.parse::<http::uri::PathAndQuery>().map_err(|_| invalid())?;
            return Ok(Self { endpoint: AuthorizerEndpoint::Unix(ws_router_admin_api::socket_path(socket)?), path });
        }
        if text.starts_with("https:") {
            return Err(AuthorizerError::Tls(text.to_owned()));
        }
        let url: http::Uri = text.parse().map_err(|_| invalid())?;
        // The parser accepts any digits as a port; without a valid one, the authority is more than the host.
        let is_plain = |it: &http::uri::Authority| {
            !it.host().is_empty() && !it.as_str().contains('@') && (it.port().is_some() || it.as_str() == it.host())
        };
        let authority =
            url.authority().filter(|it| url.scheme_str() == Some("http") && is_plain(it)).ok_or_else(invalid)?;
        let endpoint = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { endpoint: AuthorizerEndpoint::Tcp(endpoint), path })
    }
}

impl fmt::Display for AuthorizerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            AuthorizerEndpoint::Tcp(authority) => write!(f, "http://{authority}{}", self.path),
            AuthorizerEndpoint::Unix(socket) => write!(f, "unix:{}:{}", socket.display(), self.path),
        }
    }
}
