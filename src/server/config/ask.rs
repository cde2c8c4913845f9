//! Where another program is asked, as an access rule writes it: "http://127.0.0.1:9000/path", "unix:/socket:/path".
//!
//! Whoever answers decides who gets in, so it is meant to be on this machine or in a network that is trusted; there is
//! no TLS to it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where another program is asked, over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where it listens.
    pub place: AskPlace,
    /// The path of its answer, with a query if there is one.
    pub path: String,
}

/// Where a program listens that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskPlace {
    /// Host and port.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Ask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mend = || {
            format!("{text:?} is no place to ask at; write \"http://127.0.0.1:9000/path\" or \"unix:/socket:/path\"")
        };
        if let Some(rest) = text.strip_prefix("unix:") {
            let (socket, path) = rest.rsplit_once(":/").ok_or_else(mend)?;
            let path = format!("/{path}");
            path.parse::<http::uri::PathAndQuery>().map_err(|_| mend())?;
            return Ok(Self { place: AskPlace::Unix(ws_router_admin_api::socket_path(socket)?), path });
        }
        if text.starts_with("https:") {
            return Err(format!("{text:?} wants TLS; ask a program on this machine, by http or a Unix socket"));
        }
        let url: http::Uri = text.parse().map_err(|_| mend())?;
        // The parser takes any digits for a port; where they are none, there is more written than the host.
        let is_plain = |it: &http::uri::Authority| {
            !it.host().is_empty() && !it.as_str().contains('@') && (it.port().is_some() || it.as_str() == it.host())
        };
        let authority =
            url.authority().filter(|it| url.scheme_str() == Some("http") && is_plain(it)).ok_or_else(mend)?;
        let place = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { place: AskPlace::Tcp(place), path })
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            AskPlace::Tcp(authority) => write!(f, "http://{authority}{}", self.path),
            AskPlace::Unix(socket) => write!(f, "unix:{}:{}", socket.display(), self.path),
        }
    }
}
