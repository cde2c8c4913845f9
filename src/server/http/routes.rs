//! Which path and method goes where.
//!
//! Clients in the field build URLs by joining strings, so doubled and trailing slashes are tolerated. The path prefix
//! is for a proxy that passes its own path on: requests are answered with it and without it.

use std::time::Instant;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::admission::{self, Visitor};
use super::connect::Joining;
use super::pace::Earlier;
use super::query::Form;
use super::replies::{Refused, Reply, bare};
use super::{body, connect, console, forwarded, pace, register, stats};
use crate::access::Action;
use crate::config::Config;
use crate::metrics::Refusal;
use crate::net::turns;
use crate::server::Server;

/// A path that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Register,
    Connect,
    Remove,
    Health,
    Stats,
    Console,
}

/// Answers a request, counts it and logs it; a connection that becomes a websocket comes with the answer.
pub(super) async fn answer(
    server: &Server,
    mut request: Request<Incoming>,
    visitor: Visitor<'_>,
    earlier: &Earlier,
) -> (Reply, Option<Joining>) {
    let began = Instant::now();
    let config = server.config();
    let visitor = visitor.behind(forwarded::client(visitor.peer, request.headers(), &config.http));
    let (method, page) = (request.method().clone(), admission::origin(request.headers()).map(str::to_owned));
    let found = Route::find(request.uri().path(), &config.http.path_prefix);
    turns::take(if matches!(found, Some(Route::Connect)) { turns::JOIN } else { turns::REQUEST });
    let answered = match (pace::may_ask(server, visitor, earlier, &config), found) {
        (Err(refused), _) => Err(refused),
        _ if target_len(&request) > MAX_TARGET => Err(too_long()),
        (Ok(()), Some(route)) => dispatch(server, route, &mut request, visitor, &config).await,
        (Ok(()), None) => Err(unknown_path()),
    };
    server.metrics().requests.up();
    let (mut reply, joining) = answered.unwrap_or_else(|refused| {
        server.metrics().refused(refused.why);
        (refused.into_reply(), None)
    });
    if let Some(readers) = readers(server, page.as_deref(), &config) {
        allow_origin(&mut reply, readers);
    }
    // Neither the query nor an unknown path is shown: a key may be in them.
    tracing::debug!(
        peer = %visitor.peer,
        %method,
        route = found.map_or("unknown", Route::label),
        status = reply.status().as_u16(),
        elapsed_ms = began.elapsed().as_millis() as u64,
        "request answered"
    );
    (reply, joining)
}

async fn dispatch(
    server: &Server,
    route: Route,
    request: &mut Request<Incoming>,
    visitor: Visitor<'_>,
    config: &Config,
) -> Result<(Reply, Option<Joining>), Refused> {
    if route == Route::Register && matches!(*request.method(), Method::GET | Method::POST) {
        pace::may_register(server, &visitor.peer, config)?;
    }
    match (route, request.method()) {
        // Whether there are statistics isn't told to those who may not see them.
        (Route::Stats, _) if !config.http.public_stats => Err(unknown_path()),
        (Route::Console, _) if !config.http.console => Err(unknown_path()),
        (_, &Method::OPTIONS) => {
            let page = admission::origin(request.headers());
            Ok(preflight(route, readers(server, page, config).is_some()))
        }
        (Route::Connect, &Method::GET) => {
            return connect::connect(server, request, visitor).await.map(|(reply, joining)| (reply, Some(joining)));
        }
        (Route::Register | Route::Remove, &Method::GET) => {
            let form = Form::new(request.uri().query().unwrap_or_default().as_bytes());
            change(server, route, visitor, request.headers(), form, config).await
        }
        (Route::Register | Route::Remove, &Method::POST) => {
            let body = body::read(request, &config.http).await?;
            change(server, route, visitor, request.headers(), Form::new(&body), config).await
        }
        (Route::Health, &Method::GET | &Method::HEAD) => register::health(server),
        (Route::Stats, &Method::GET | &Method::HEAD) => stats::stats(server),
        (Route::Console, &Method::GET | &Method::HEAD) => Ok(console::page()),
        _ => Err(Refused::method(route.methods())),
    }
    .map(|reply| (reply, None))
}

async fn change(
    server: &Server,
    route: Route,
    visitor: Visitor<'_>,
    headers: &HeaderMap,
    form: Form<'_>,
    config: &Config,
) -> Result<Reply, Refused> {
    let (action, peer) = (if route == Route::Register { Action::Register } else { Action::Remove }, &visitor.peer);
    let admission = admission::admit(server, action, visitor, headers, form).await?;
    if route == Route::Register {
        register::register(server, form, admission, peer, config).await
    } else {
        register::remove(server, form, peer).await
    }
}

/// Tells which web pages may read the answer: the one that asks, if an access rule names its origin, and otherwise
/// those that the configuration says.
fn readers<'a>(server: &Server, page: Option<&'a str>, config: &'a Config) -> Option<&'a str> {
    let named = page.filter(|page| server.access().names_origin(page));
    named.or(Some(config.http.allow_origin.as_str())).filter(|readers| !readers.is_empty())
}

impl Route {
    /// Finds the route of a path, whose prefix may be there or not.
    pub(super) fn find(path: &str, prefix: &str) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let behind_prefix = {
            let mut segments = segments.clone();
            let mut prefix = prefix.split('/').filter(|segment| !segment.is_empty());
            prefix.all(|expected| segments.next() == Some(expected)).then_some(segments)
        };
        behind_prefix.and_then(|mut segments| Self::of(&mut segments)).or_else(|| Self::of(&mut segments))
    }

    fn of<'a>(segments: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let route = match segments.next()? {
            "register" => Self::Register,
            "connect" => Self::Connect,
            "remove" => Self::Remove,
            "healthz" => Self::Health,
            "stats" => Self::Stats,
            "console" => Self::Console,
            _ => return None,
        };
        segments.next().is_none().then_some(route)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Connect => "connect",
            Self::Remove => "remove",
            Self::Health => "healthz",
            Self::Stats => "stats",
            Self::Console => "console",
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Register | Self::Remove => "GET, POST, OPTIONS",
            Self::Connect => "GET, OPTIONS",
            Self::Health | Self::Stats | Self::Console => "GET, HEAD, OPTIONS",
        }
    }
}

fn unknown_path() -> Refused {
    Refused::unknown("there is nothing at this path; use /register, /connect or /remove")
}

fn too_long() -> Refused {
    Refused::new(StatusCode::URI_TOO_LONG, Refusal::TooLarge, "the URL is too long; send the parameters with POST")
}

fn target_len(request: &Request<Incoming>) -> usize {
    request.uri().path_and_query().map_or(0, |target| target.as_str().len())
}

/// Answers what a browser asks before a request across origins.
fn preflight(route: Route, may_be_read: bool) -> Reply {
    let mut reply = bare(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    let methods = HeaderValue::from_static(route.methods());
    headers.insert(header::ALLOW, methods.clone());
    if may_be_read {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Content-Type"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    reply
}

/// Tells a browser which web pages may read the answer.
fn allow_origin(reply: &mut Reply, readers: &str) {
    // Neither a header that came nor the configuration has other characters than a header takes.
    let Ok(value) = HeaderValue::from_str(readers) else { return };
    let headers = reply.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    if readers != "*" {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Bytes of path and query: the least that RFC 9110 section 4.1 recommends, and eight of the longest parameters.
const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests;
