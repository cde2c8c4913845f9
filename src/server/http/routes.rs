//! Routing of requests by path and method.
//!
//! Deployed clients build URLs by joining strings, so repeated and trailing slashes are ignored. `http.path-prefix` is
//! for proxies that don't strip theirs: a path is accepted with and without the prefix.

use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::authorize::{self, ClientInfo};
use super::query::Form;
use super::rate_limit::RequestCount;
use super::responses::{HttpError, Response, bare};
use super::upgrade::Upgrade;
use super::{body, connect, console, forwarded, headers, host, members, rate_limit, register, send, session, stats};
use crate::access::Action;
use crate::config::Config;
use crate::log::RateLimitedLog;
use crate::metrics::Refusal;
use crate::net::yield_budget;
use crate::peer::Peer;
use crate::server::Server;

/// Public route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Register,
    Connect,
    Send,
    Remove,
    Members,
    Session,
    Health,
    Stats,
    Console,
}

/// Answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// HTTP response, after which the connection remains HTTP.
    Response(Response),
    /// 101, after which the connection is a websocket.
    Upgrade(Upgrade),
}

impl Answer {
    fn status(&self) -> StatusCode {
        match self {
            Self::Response(response) => response.status(),
            Self::Upgrade(_) => StatusCode::SWITCHING_PROTOCOLS,
        }
    }
}

/// Answers a request, counts it and logs it.
pub(super) async fn handle(
    server: &Server,
    mut request: Request<Incoming>,
    client: ClientInfo<'_>,
    requests: &RequestCount,
) -> Answer {
    let started = Instant::now();
    let config = server.config();
    let connected = client.peer;
    if forwarded::is_untrusted(&connected, request.headers(), &config.http) {
        on_untrusted_forwarding(server, &connected);
    }
    let client = client.forwarded_for(forwarded::client(connected, request.headers(), &config.http));
    let (method, page) = (request.method().clone(), authorize::origin(request.headers()).map(str::to_owned));
    let found = Route::find(request.uri().path(), &config.http.path_prefix);
    yield_budget::spend(if matches!(found, Some(Route::Connect)) { yield_budget::JOIN } else { yield_budget::REQUEST });
    let result = match (rate_limit::check_request_rate(server, client, requests, &config), found) {
        (Err(error), _) => Err(error),
        _ if target_len(&request) > MAX_TARGET => Err(too_long()),
        (Ok(()), found) => match check_host_and_forwarding(&request, found, &connected, &config) {
            Err(error) => Err(error),
            Ok(()) => match found {
                Some(route) => dispatch(server, route, &mut request, client, &config).await,
                None => Err(unknown_path()),
            },
        },
    };
    server.metrics().requests.increment();
    let mut answer = result.unwrap_or_else(|error| {
        server.metrics().refused(error.reason);
        let is_connect = found == Some(Route::Connect) && method == Method::GET;
        let upgrade = if is_connect { connect::reject_over_websocket(server, &request, client, &error) } else { None };
        upgrade.map_or_else(|| Answer::Response(error.into_response()), Answer::Upgrade)
    });
    if let Answer::Response(response) = &mut answer
        && let Some(allowed) = allowed_origin(server, page.as_deref(), &config)
    {
        allow_origin(response, allowed);
    }
    // The query and an unknown path aren't logged, since they may contain a key.
    tracing::debug!(
        peer = %client.peer,
        %method,
        route = found.map_or("unknown", Route::label),
        status = answer.status().as_u16(),
        elapsed_ms = started.elapsed().as_millis() as u64,
        "request answered"
    );
    answer
}

/// Checks the Host header and, with `http.require-forwarded`, that a proxy sent the client's address. `/healthz` may be
/// requested under any name and without that address, since load balancers request it for themselves.
fn check_host_and_forwarding(
    request: &Request<Incoming>,
    route: Option<Route>,
    connected: &Peer,
    config: &Config,
) -> Result<(), HttpError> {
    let headers = request.headers();
    host::check_header(request.version(), headers)?;
    if route == Some(Route::Health) {
        return Ok(());
    }
    host::check_name(request.uri(), headers, &config.http.hosts)?;
    if config.http.require_forwarded && forwarded::is_missing(connected, headers, &config.http) {
        return Err(HttpError::malformed("the proxy must send the client's address; see http.forwarded-header"));
    }
    Ok(())
}

/// Counts and logs an ignored forwarding header. The usual cause is a proxy that isn't in `http.trusted-proxies`.
fn on_untrusted_forwarding(server: &Server, peer: &Peer) {
    server.metrics().untrusted_forwarded.increment();
    if let Some(suppressed) = UNTRUSTED.should_log(Instant::now()) {
        tracing::warn!(%peer, suppressed, "forwarding header ignored: peer is not in http.trusted-proxies");
    }
}

async fn dispatch(
    server: &Server,
    route: Route,
    request: &mut Request<Incoming>,
    client: ClientInfo<'_>,
    config: &Config,
) -> Result<Answer, HttpError> {
    if route == Route::Register && matches!(*request.method(), Method::GET | Method::POST) {
        rate_limit::check_register_rate(server, &client.peer, config)?;
    }
    if route == Route::Send && *request.method() == Method::POST {
        rate_limit::check_send_rate(server, &client.peer, config)?;
    }
    match (route, request.method()) {
        // A disabled route is answered like an unknown path.
        (Route::Stats, _) if !config.http.public_stats => Err(unknown_path()),
        (Route::Console, _) if !config.http.console => Err(unknown_path()),
        (_, &Method::OPTIONS) => {
            let page = authorize::origin(request.headers());
            Ok(preflight(route, request.headers(), allowed_origin(server, page, config).is_some()))
        }
        (Route::Connect, &Method::GET) => {
            return connect::connect(server, request, client).await.map(Answer::Upgrade);
        }
        (Route::Register | Route::Remove, &Method::GET) => {
            let form = Form::of_query(request.uri());
            register_or_remove(server, route, client, request.headers(), form, config).await
        }
        (Route::Register | Route::Remove, &Method::POST) => {
            let body = body::read(request, &config.http).await?;
            register_or_remove(server, route, client, request.headers(), Form::new(&body), config).await
        }
        (Route::Members, &Method::GET | &Method::HEAD) => {
            let form = Form::of_query(request.uri());
            members::members(server, request, client, form).await
        }
        (Route::Members, &Method::POST) => {
            let body = body::read(request, &config.http).await?;
            members::members(server, request, client, Form::new(&body)).await
        }
        (Route::Session, &Method::GET) => {
            let form = Form::of_query(request.uri());
            session::session(server, client, request.headers(), form).await
        }
        (Route::Session, &Method::POST) => {
            let body = body::read(request, &config.http).await?;
            session::session(server, client, request.headers(), Form::new(&body)).await
        }
        (Route::Send, &Method::POST) => send::send(server, request, client, config).await,
        (Route::Health, &Method::GET | &Method::HEAD) => register::health(server),
        (Route::Stats, &Method::GET | &Method::HEAD) => stats::stats(server).await,
        (Route::Console, &Method::GET | &Method::HEAD) => Ok(console::page()),
        _ => Err(HttpError::method(route.methods())),
    }
    .map(Answer::Response)
}

async fn register_or_remove(
    server: &Server,
    route: Route,
    client: ClientInfo<'_>,
    headers: &HeaderMap,
    form: Form<'_>,
    config: &Config,
) -> Result<Response, HttpError> {
    let (action, peer) = (if route == Route::Register { Action::Register } else { Action::Remove }, &client.peer);
    let grant = authorize::authorize(server, action, client, headers, form).await?;
    if route == Route::Register {
        register::register(server, form, grant, peer, config).await
    } else {
        register::remove(server, form, peer).await
    }
}

/// Returns the value of Access-Control-Allow-Origin: the page's own origin if an access rule names it, else
/// `http.allow-origin`. `None` if no page may read the response.
fn allowed_origin<'a>(server: &Server, page: Option<&'a str>, config: &'a Config) -> Option<&'a str> {
    let named = page.filter(|page| server.access().names_origin(page));
    named.or(Some(config.http.allow_origin.as_str())).filter(|allowed| !allowed.is_empty())
}

impl Route {
    /// Finds the route of a path with or without the prefix.
    pub(super) fn find(path: &str, prefix: &str) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let after_prefix = {
            let mut segments = segments.clone();
            let mut prefix = prefix.split('/').filter(|segment| !segment.is_empty());
            prefix.all(|expected| segments.next() == Some(expected)).then_some(segments)
        };
        after_prefix.and_then(|mut segments| Self::of(&mut segments)).or_else(|| Self::of(&mut segments))
    }

    fn of<'a>(segments: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let route = match segments.next()? {
            "register" => Self::Register,
            "connect" => Self::Connect,
            "send" => Self::Send,
            "remove" => Self::Remove,
            "members" => Self::Members,
            "session" => Self::Session,
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
            Self::Send => "send",
            Self::Remove => "remove",
            Self::Members => "members",
            Self::Session => "session",
            Self::Health => "healthz",
            Self::Stats => "stats",
            Self::Console => "console",
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Register | Self::Remove | Self::Session => "GET, POST, OPTIONS",
            Self::Connect => "GET, OPTIONS",
            Self::Members => "GET, HEAD, POST, OPTIONS",
            Self::Send => "POST, OPTIONS",
            Self::Health | Self::Stats | Self::Console => "GET, HEAD, OPTIONS",
        }
    }
}

fn unknown_path() -> HttpError {
    HttpError::unknown("no such path; use /register, /connect, /send or /remove")
}

fn too_long() -> HttpError {
    HttpError::new(StatusCode::URI_TOO_LONG, Refusal::TooLarge, "the URL is too long; send the parameters with POST")
}

fn target_len(request: &Request<Incoming>) -> usize {
    request.uri().path_and_query().map_or(0, |target| target.as_str().len())
}

/// Answers a CORS preflight request.
fn preflight(route: Route, request: &HeaderMap, is_readable: bool) -> Response {
    let mut response = bare(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static(route.methods());
    headers.insert(header::ALLOW, methods.clone());
    if is_readable {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(request));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    response
}

/// Returns the request headers that a page may send. These are the ones that it asks for: allowing a header grants
/// nothing, and tracing libraries add their own. A list that is too long or malformed is replaced by a default.
fn allowed_headers(request: &HeaderMap) -> HeaderValue {
    let names: Vec<_> = headers::list(request, &header::ACCESS_CONTROL_REQUEST_HEADERS).collect();
    let list = names.join(", ");
    let is_valid =
        !list.is_empty() && list.len() <= MAX_ALLOWED_HEADERS && names.iter().all(|name| headers::is_token(name));
    (is_valid.then(|| HeaderValue::from_str(&list).ok()).flatten())
        .unwrap_or(HeaderValue::from_static("Authorization, Content-Type"))
}

/// Allows web pages of one origin, or of all origins (`*`), to read the response.
fn allow_origin(response: &mut Response, allowed: &str) {
    // Both a received Origin and the configured one are valid header values.
    let Ok(value) = HeaderValue::from_str(allowed) else { return };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    if allowed != "*" {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Response headers that a page may read in addition to the safelisted ones (Fetch standard, section 3.3.3).
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("Retry-After, WWW-Authenticate, Location");

/// Longest Access-Control-Request-Headers that is echoed, in bytes. Browsers send a few names.
const MAX_ALLOWED_HEADERS: usize = 1024;

/// Rate limit for the warning about forwarding headers of untrusted peers, which any client can trigger.
static UNTRUSTED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(60));

/// Maximum length of path and query, in bytes: the least that RFC 9110 section 4.1 recommends to support, and enough for
/// eight parameters of maximum length.
const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests;
