//! Authorization of requests: collects the known facts about the client and applies the access rules to them.
//!
//! Authorization comes first, so that a client without access learns nothing about the registrations. There are three ways
//! to send a token. Programs use the `Authorization` header (RFC 6750). Web pages, which can't set that header for a
//! websocket, use a subprotocol `token.TOKEN` in addition to `ws-router`, or the parameter `token`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ws_router_admin_api::event::Admission;
use ws_router_core::secret::Token;
use ws_router_core::shard::Rates;

use super::headers::{list, single};
use super::query::{Form, ParamError};
use super::responses::HttpError;
use crate::access::{Access, Action, AuthRequest, AuthorizerError, Caller, Decision, Rule, Verdict};
use crate::log::RateLimitedLog;
use crate::net::{ClientLimits, yield_budget};
use crate::peer::{ClientIdentity, Peer};
use crate::server::Server;

/// The client at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientInfo<'a> {
    /// Address of the client: that of the connection's peer, or the one that a trusted proxy reports.
    pub(super) peer: Peer,
    /// Whether a proxy reported the address.
    pub(super) is_forwarded: bool,
    /// User of the process at the other end of a Unix socket.
    user: Option<u32>,
    certificate: Option<&'a ClientIdentity>,
}

impl<'a> ClientInfo<'a> {
    /// Describes the client of a connection.
    pub(super) fn new(peer: Peer, certificate: Option<&'a ClientIdentity>) -> Self {
        let user = match peer {
            Peer::Unix { uid, .. } => Some(uid),
            Peer::Inet(_) => None,
        };
        Self { peer, is_forwarded: false, user, certificate }
    }

    /// Replaces a proxy's address by the client's own.
    pub(super) fn forwarded_for(self, peer: Peer) -> Self {
        Self { peer, is_forwarded: peer != self.peer, ..self }
    }
}

/// Result of the access rules for an allowed request; empty if there are no rules.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// Name of the rule that allows the request.
    pub(super) rule: Option<Arc<str>>,
    /// The rule and the token's name, for members that the request adds.
    pub(super) admission: Option<Arc<Admission>>,
    /// Rates of the messages and bytes that the client may send as a member.
    pub(super) rates: Option<Box<Rates>>,
}

/// Checks that the access rules allow an action to a client.
pub(super) async fn authorize(
    server: &Server,
    action: Action,
    client: ClientInfo<'_>,
    headers: &HeaderMap,
    form: Form<'_>,
) -> Result<Grant, HttpError> {
    let access = server.access();
    let token = token(&access, headers, form)?;
    let caller = Caller {
        peer: client.peer,
        user: client.user,
        certificate: client.certificate,
        origin: origin(headers),
        is_cross_site: is_cross_site(headers),
        token: token.as_ref(),
    };
    let (rule, token_would_help) = match access.decide(action, &caller) {
        Verdict::Open => return Ok(Grant::default()),
        Verdict::Allowed(rule) => match decide_externally(server, rule, action, &caller, form).await {
            Ok(Decision::Allow) => {
                tracing::debug!(peer = %client.peer, action = action.as_str(), rule = %rule.name(), "access granted");
                return Ok(Grant {
                    rule: Some(Arc::clone(rule.name())),
                    admission: Some(Arc::clone(rule.admission(token.as_ref()))),
                    rates: rule.rates().map(Box::new),
                });
            }
            Ok(Decision::Deny) => (Some(rule), false),
            Ok(Decision::DenyToken) => (Some(rule), true),
            Err(error) => {
                server.metrics().auth_request_failures.increment();
                if let Some(suppressed) = FAILURES.should_log(Instant::now()) {
                    let rule = rule.name();
                    tracing::warn!(%rule, %error, suppressed, "access denied: external authorizer gave no decision");
                }
                return Err(HttpError::undecided());
            }
        },
        Verdict::Denied { rule, token_would_help } => (rule, token_would_help),
    };
    if let Some(suppressed) = DENIALS.should_log(Instant::now()) {
        let rule = rule.map_or("none applies", |rule| rule.name());
        tracing::warn!(peer = %client.peer, action = action.as_str(), rule, suppressed, "access denied");
    }
    Err(match (token_would_help, token) {
        (true, None) => {
            HttpError::unauthorized(NO_TOKEN, "a token is required; send it as Authorization: Bearer TOKEN")
        }
        (true, Some(_)) => HttpError::unauthorized(BAD_TOKEN, "the token is not valid; ask the operator for a new one"),
        (false, _) => HttpError::forbidden(action),
    })
}

/// Chooses one of the subprotocols that a client offers: that of the registration, else `ws-router`. A browser that offers
/// any fails the connection when none is chosen.
pub(super) fn choose_subprotocol(headers: &HeaderMap, registered: Option<&str>) -> Option<HeaderValue> {
    let is_offered = |name: &&str| list(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == *name);
    let chosen = registered.filter(is_offered).or_else(|| Some(SUBPROTOCOL).filter(is_offered))?;
    HeaderValue::from_str(chosen).ok()
}

/// Returns whether a subprotocol has a meaning for the router itself.
pub(super) fn is_reserved_subprotocol(name: &str) -> bool {
    name == SUBPROTOCOL || name.starts_with(TOKEN_PROTOCOL)
}

/// Returns the request's origin. If the header is repeated or isn't visible ASCII, the origin is empty, which matches no
/// rule.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    let is_there = headers.contains_key(header::ORIGIN);
    is_there.then(|| single(headers, &header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default())
}

/// Returns whether a browser marks a request as made by a page of another site, or of another origin of the same site
/// (Fetch Metadata, section 2.4). Browsers send the header over HTTPS and to the local machine only.
fn is_cross_site(headers: &HeaderMap) -> bool {
    list(headers, &SEC_FETCH_SITE).any(|site| ["cross-site", "same-site"].contains(&site))
}

/// Returns the token of a request, if any rule uses tokens.
fn token(access: &Access, headers: &HeaderMap, form: Form<'_>) -> Result<Option<Token>, ParamError> {
    if !access.uses_tokens() {
        return Ok(None);
    }
    let offered =
        || list(headers, &header::SEC_WEBSOCKET_PROTOCOL).find_map(|offered| offered.strip_prefix(TOKEN_PROTOCOL));
    let found = match bearer(headers).or_else(offered) {
        Some(token) => Some(token.to_owned()),
        None => form.optional("token")?.map(|token| token.into_owned()),
    };
    Ok(found.map(Token::new))
}

/// Asks the rule's external authorizer, if it has one.
async fn decide_externally(
    server: &Server,
    rule: &Rule,
    action: Action,
    caller: &Caller<'_>,
    form: Form<'_>,
) -> Result<Decision, AuthorizerError> {
    let Some(authorizer) = rule.authorizer() else { return Ok(Decision::Allow) };
    // The route itself answers for missing and malformed parameters.
    let parameter = |name| form.optional(name).ok().flatten();
    let (id, kind, role) = match action {
        Action::Register => (parameter("id_req"), parameter("reg_type"), None),
        Action::Connect | Action::Send => (parameter("id"), None, parameter("sock_type")),
        Action::Remove | Action::Members => (parameter("id"), None, None),
    };
    yield_budget::spend(yield_budget::AUTH_REQUEST);
    let network = ClientLimits::network_of(&caller.peer, &server.config().http);
    let request = AuthRequest { id: id.as_deref(), kind: kind.as_deref(), role: role.as_deref() };
    let decision = authorizer.authorize(action, caller, &request, network).await;
    // Many requests to an authorizer that hangs time out at the same moment.
    yield_budget::spend(yield_budget::AUTH_REQUEST);
    decision
}

/// Returns the token of `Authorization: Bearer TOKEN`. Other schemes are ignored: they may be for a proxy in front.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Subprotocol that a client offers in addition to its token, and that the router chooses.
const SUBPROTOCOL: &str = "ws-router";

/// Prefix of the subprotocol that contains a token.
const TOKEN_PROTOCOL: &str = "token.";

/// Challenge for a request without a token (RFC 6750 section 3).
const NO_TOKEN: &str = "Bearer realm=\"ws-router\"";

/// Challenge for a request with an unknown token.
const BAD_TOKEN: &str = "Bearer realm=\"ws-router\", error=\"invalid_token\"";

/// Rate limit of messages about denied requests, which any client can cause.
static DENIALS: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));

/// Rate limit of messages about an external authorizer's failures, which occur with every request while it is down.
static FAILURES: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
