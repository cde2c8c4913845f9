//! Whether somebody may do what a request asks for: gathers what is known of the one who asks, and puts it to the access
//! rules.
//!
//! It comes before anything else is looked at, so that those who aren't let in learn nothing of what is inside. A token
//! may come in three ways: in the `Authorization` header (RFC 6750), where programs put it; and for web pages, which
//! can't set that header on a websocket, as a subprotocol `token.TOKEN` beside `ws-router`, or as the parameter `token`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ws_router_core::secret::Token;
use ws_router_core::shard::Rates;

use super::query::{Form, Unfit};
use super::replies::Refused;
use crate::access::{Access, Action, Answer, Caller, Rule, Verdict, Wish};
use crate::log::RateLimitedLog;
use crate::net::turns;
use crate::peer::{Certified, Peer};
use crate::server::Server;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visitor<'a> {
    /// Where it comes from: the connection's other end, or who stands behind a proxy there that is trusted.
    pub(super) peer: Peer,
    /// Whether a proxy said so.
    pub(super) is_forwarded: bool,
    /// The user whose process is at the other end, if it is on this machine.
    user: Option<u32>,
    certificate: Option<&'a Certified>,
}

impl<'a> Visitor<'a> {
    /// Takes what is known of a connection.
    pub(super) fn new(peer: Peer, certificate: Option<&'a Certified>) -> Self {
        let user = match peer {
            Peer::Unix { uid, .. } => Some(uid),
            Peer::Inet(_) => None,
        };
        Self { peer, is_forwarded: false, user, certificate }
    }

    /// Takes the client's own address in the place of a proxy's.
    pub(super) fn behind(self, peer: Peer) -> Self {
        Self { peer, is_forwarded: peer != self.peer, ..self }
    }
}

/// Under which rule somebody was let in, and what that bounds; nothing if there are no rules.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// The rule's name.
    pub(super) rule: Option<Arc<str>>,
    /// How much it may send as a member.
    pub(super) rates: Option<Box<Rates>>,
}

/// Lets the visitor do it, or refuses.
pub(super) async fn admit(
    server: &Server,
    action: Action,
    visitor: Visitor<'_>,
    headers: &HeaderMap,
    form: Form<'_>,
) -> Result<Admission, Refused> {
    let access = server.access();
    let token = token(&access, headers, form)?;
    let caller = Caller {
        peer: visitor.peer,
        user: visitor.user,
        certificate: visitor.certificate,
        origin: origin(headers),
        token: token.as_ref(),
    };
    let (rule, token_would_help) = match access.decide(action, &caller) {
        Verdict::Open => return Ok(Admission::default()),
        Verdict::Allowed(rule) => match ask(rule, action, &caller, form).await {
            Answer::Yes => {
                tracing::debug!(peer = %visitor.peer, action = action.as_str(), rule = %rule.name(), "let in");
                return Ok(Admission { rule: Some(Arc::clone(rule.name())), rates: rule.rates().map(Box::new) });
            }
            Answer::No => (Some(rule), false),
            Answer::NotWithThisToken => (Some(rule), true),
            Answer::Nothing(error) => {
                server.metrics().auth_request_failures.up();
                if let Some(suppressed) = SILENCES.should_log(Instant::now()) {
                    tracing::warn!(rule = %rule.name(), error, suppressed, "not let in, since who is asked gives no answer");
                }
                return Err(Refused::undecided());
            }
        },
        Verdict::Refused { rule, token_would_help } => (rule, token_would_help),
    };
    if let Some(suppressed) = REFUSALS.should_log(Instant::now()) {
        let rule = rule.map_or("none applies", |rule| rule.name());
        tracing::warn!(peer = %visitor.peer, action = action.as_str(), rule, suppressed, "not let in");
    }
    Err(match (token_would_help, token) {
        (true, None) => Refused::unauthorized(NO_TOKEN, "a token is needed; send it as Authorization: Bearer TOKEN"),
        (true, Some(_)) => Refused::unauthorized(BAD_TOKEN, "this token is not known here; ask for another one"),
        (false, _) => Refused::forbidden(action),
    })
}

/// Chooses the one subprotocol that is spoken here, for those who offer it: a browser that offers any gives up when none
/// is chosen.
pub(super) fn subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    protocols(headers).any(|offered| offered == SUBPROTOCOL).then(|| HeaderValue::from_static(SUBPROTOCOL))
}

/// Reads the request's origin. One that is there more than once, or is no text, is no origin that any rule names.
pub(super) fn origin(headers: &HeaderMap) -> Option<&str> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let first = origins.next()?;
    Some(first.to_str().ok().filter(|_| origins.next().is_none()).unwrap_or_default())
}

/// Finds the token, if the rules look at tokens at all.
fn token(access: &Access, headers: &HeaderMap, form: Form<'_>) -> Result<Option<Token>, Unfit> {
    if !access.looks_at_tokens() {
        return Ok(None);
    }
    let offered = || protocols(headers).find_map(|offered| offered.strip_prefix(TOKEN_PROTOCOL));
    let found = match bearer(headers).or_else(offered) {
        Some(token) => Some(token.to_owned()),
        None => form.optional("token")?.map(|token| token.into_owned()),
    };
    Ok(found.map(Token::new))
}

/// Has the rule's authority decide, if it has one.
async fn ask(rule: &Rule, action: Action, caller: &Caller<'_>, form: Form<'_>) -> Answer {
    let Some(authority) = rule.authority() else { return Answer::Yes };
    // What is missing or malformed is for the route to say.
    let parameter = |name| form.optional(name).ok().flatten();
    let (id, kind, role) = match action {
        Action::Register => (parameter("id_req"), parameter("reg_type"), None),
        Action::Connect => (parameter("id"), None, parameter("sock_type")),
        Action::Remove => (parameter("id"), None, None),
    };
    turns::take(turns::QUESTION);
    let wish = Wish { id: id.as_deref(), kind: kind.as_deref(), role: role.as_deref() };
    let answer = authority.ask(action, caller, &wish).await;
    // A crowd's questions that hang end all at once.
    turns::take(turns::QUESTION);
    answer
}

/// Reads `Authorization: Bearer TOKEN`; other schemes are for others, such as a proxy in front.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    values(headers, &header::AUTHORIZATION).find_map(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    })
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    values(headers, &header::SEC_WEBSOCKET_PROTOCOL).flat_map(|value| value.split(',')).map(str::trim)
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// The subprotocol that may be offered, so that there is one to be chosen beside the token.
const SUBPROTOCOL: &str = "ws-router";

/// Begins the subprotocol that carries a token.
const TOKEN_PROTOCOL: &str = "token.";

/// Asks for a token (RFC 6750 section 3).
const NO_TOKEN: &str = "Bearer realm=\"ws-router\"";

/// Asks for another token.
const BAD_TOKEN: &str = "Bearer realm=\"ws-router\", error=\"invalid_token\"";

/// Anybody can cause refusals at will.
static REFUSALS: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));

/// A program that is asked and gives no answer does so for every request.
static SILENCES: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
