//! Responses: plain text for devices, and errors whose text is one line with the fix.
//!
//! A route fails with an [`HttpError`], which is counted and converted to a response in one place. No response may be
//! cached: an id is for one device, and all other responses change with time.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http_body_util::Full;
use hyper::body::{Frame, SizeHint};
use ws_router_core::shard::SessionError;

use super::event_stream::EventStream;
use super::query::ParamError;
use crate::access::Action;
use crate::metrics::Refusal;
use crate::registry::{KeyError, SeatError, SenderError};
use crate::server::{
    JoinError, MembersError, RegisterError, RemoveError, SendError, SessionQueryError, Unavailable, WatchError,
};

/// Response to a request.
pub(super) type Response = http::Response<Body>;

/// Body of a response.
#[derive(Debug)]
pub(super) enum Body {
    /// A document.
    Full(Full<Bytes>),
    /// A stream of events, which lasts for an unknown time.
    Events(EventStream),
}

impl Default for Body {
    fn default() -> Self {
        Self::Full(Full::default())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(document) => Pin::new(document).poll_frame(cx),
            Self::Events(events) => events.poll_event(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(document) => document.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(document) => document.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// Returns a response of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, body, "text/plain; charset=utf-8")
}

/// Returns a JSON document.
pub(super) fn json(body: impl Into<Bytes>) -> Response {
    typed(StatusCode::OK, body, "application/json")
}

/// Returns an HTML page.
pub(super) fn html(status: StatusCode, body: impl Into<Bytes>) -> Response {
    typed(status, body, "text/html; charset=utf-8")
}

/// Returns a stream of events (HTML standard, section "Server-sent events"). Its connection is for nothing else, and is
/// closed at the end.
pub(super) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    // nginx would otherwise collect events until its buffer is full.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Returns a response without headers or body.
pub(super) fn bare(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

fn typed(status: StatusCode, body: impl Into<Bytes>, media_type: &'static str) -> Response {
    let mut response = Response::new(Body::Full(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Error response: status, one line of text, and a header that goes with the status.
#[derive(Debug)]
pub(super) struct HttpError {
    /// Reason under which it is counted.
    pub(super) reason: Refusal,
    status: StatusCode,
    text: Cow<'static, str>,
    hint: Hint,
    /// Whether a web page never sees it as a close code.
    is_http_only: bool,
}

/// Header that goes with a status.
#[derive(Debug, Clone, Copy)]
enum Hint {
    None,
    RetryAfter(u64),
    Allow(&'static str),
    Upgrade,
    Authenticate(&'static str),
}

impl HttpError {
    pub(super) fn new(status: StatusCode, reason: Refusal, text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, status, text: text.into(), hint: Hint::None, is_http_only: false }
    }

    pub(super) fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Refusal::Malformed, text)
    }

    pub(super) fn wrong_key(text: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Refusal::WrongKey, text)
    }

    /// A request that a token would authorize (401).
    pub(super) fn unauthorized(challenge: &'static str, text: &'static str) -> Self {
        Self { hint: Hint::Authenticate(challenge), ..Self::new(StatusCode::UNAUTHORIZED, Refusal::Access, text) }
    }

    /// A request that the access rules deny.
    pub(super) fn forbidden(action: Action) -> Self {
        let text = match action {
            Action::Register => "the access rules don't allow you to register; ask the operator",
            Action::Connect => "the access rules don't allow you to connect; ask the operator",
            Action::Remove => "the access rules don't allow you to remove registrations; ask the operator",
            Action::Members => "the access rules don't allow you to ask for members; ask the operator",
            Action::Send => "the access rules don't allow you to send; ask the operator",
        };
        Self::new(StatusCode::FORBIDDEN, Refusal::Access, text)
    }

    /// A request about which the external authorizer gave no decision.
    pub(super) fn undecided() -> Self {
        let text = "access can't be checked now; try again later";
        Self {
            hint: Hint::RetryAfter(RETRY_AFTER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Refusal::Access, text)
        }
    }

    pub(super) fn unknown(text: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Refusal::Unknown, text)
    }

    /// A request that may succeed later.
    pub(super) fn unavailable(text: &'static str) -> Self {
        Self { hint: Hint::RetryAfter(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Refusal::Full, text) }
    }

    /// A request of a network that exceeds a rate. `Retry-After` is `wait` in whole seconds, rounded up.
    pub(super) fn too_often(text: &'static str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let hint = Hint::RetryAfter(seconds);
        Self { hint, ..Self::new(StatusCode::TOO_MANY_REQUESTS, Refusal::TooOften, text) }
    }

    fn too_many_wrong_keys(wait: Duration) -> Self {
        Self::too_often("too many wrong keys for this registration from your network; wait before the next try", wait)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let text = format!("method not allowed for this path; use one of {allowed}");
        Self { hint: Hint::Allow(allowed), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, Refusal::Method, text) }
    }

    /// A plain request where a websocket handshake is expected (RFC 6455 section 4.2.2, RFC 9110 section 15.5.22).
    pub(super) fn upgrade_required(text: &'static str) -> Self {
        Self { hint: Hint::Upgrade, ..Self::new(StatusCode::UPGRADE_REQUIRED, Refusal::NoUpgrade, text) }
    }

    /// Returns the close code that stands for the status where a web page can't read it; `None` if there is none.
    pub(super) fn close_code(&self) -> Option<u16> {
        match self.status {
            _ if self.is_http_only => None,
            StatusCode::BAD_REQUEST => Some(4400),
            StatusCode::UNAUTHORIZED => Some(4401),
            StatusCode::FORBIDDEN => Some(4403),
            StatusCode::NOT_FOUND => Some(4404),
            StatusCode::TOO_MANY_REQUESTS => Some(4429),
            StatusCode::SERVICE_UNAVAILABLE => Some(4453),
            _ => None,
        }
    }

    /// Returns the reason of a close frame: the text, with the seconds of Retry-After first.
    pub(super) fn close_reason(&self) -> Cow<'_, str> {
        match self.hint {
            Hint::RetryAfter(seconds) => Cow::Owned(format!("{seconds} {}", self.text)),
            _ => Cow::Borrowed(&self.text),
        }
    }

    pub(super) fn into_response(self) -> Response {
        let body = match self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let mut response = text(self.status, body);
        let headers = response.headers_mut();
        let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
        match self.hint {
            Hint::None => {}
            Hint::RetryAfter(seconds) => _ = headers.insert(header::RETRY_AFTER, seconds.into()),
            Hint::Allow(methods) => _ = insert(header::ALLOW, methods),
            Hint::Authenticate(challenge) => _ = insert(header::WWW_AUTHENTICATE, challenge),
            Hint::Upgrade => {
                // A sender of Upgrade has to list it in Connection (RFC 9110 section 7.8).
                insert(header::CONNECTION, "Upgrade");
                insert(header::UPGRADE, "websocket");
                insert(header::SEC_WEBSOCKET_VERSION, "13");
            }
        }
        response
    }
}

impl From<Unavailable> for HttpError {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(match error {
            Unavailable::Draining => "the router is draining and accepts no newcomers; try again later",
            Unavailable::OutOfMemory => "the router is at its memory limit; try again later",
        })
    }
}

impl From<RegisterError> for HttpError {
    fn from(error: RegisterError) -> Self {
        use crate::registry::RegisterError as Rejected;
        match error {
            RegisterError::Unavailable(error) => error.into(),
            RegisterError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            RegisterError::Rejected(Rejected::Taken) => {
                Self::new(StatusCode::CONFLICT, Refusal::Taken, "this id is taken; choose another id_req")
            }
            RegisterError::Rejected(Rejected::Quota) => Self::unavailable(
                "you have as many registrations as the access rules allow; remove one, or try again later",
            ),
            RegisterError::Rejected(Rejected::Full) => {
                Self::unavailable("the router is at its limit of registrations; try again later")
            }
        }
    }
}

impl From<JoinError> for HttpError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Unavailable(error) => error.into(),
            JoinError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            // A websocket that only reports this would be one more connection of the network.
            JoinError::TooManyConnections => Self {
                is_http_only: true,
                ..Self::unavailable("your network has too many connections open; close some, or try again later")
            },
            JoinError::Rejected(SeatError::Unknown) => KeyError::Unknown.into(),
            JoinError::Rejected(SeatError::WrongKey) => KeyError::WrongKey.into(),
            JoinError::Rejected(SeatError::Forbidden) => {
                Self::wrong_key("this key doesn't admit hosts; send sock_type=client, or use key")
            }
            JoinError::Rejected(SeatError::RoleRequired) => Self::malformed("sock_type must be host or client, once"),
            JoinError::Rejected(SeatError::Full) => {
                Self::unavailable("the registration has as many members as it may; try again later")
            }
            JoinError::TooManyWaiting => {
                Self::unavailable("too many clients wait for a host, of your network or of all; try again later")
            }
            JoinError::NoSession => {
                Self::malformed("a host of a paired registration has no session; send it with each accept")
            }
            JoinError::Session(error) => error.into(),
            JoinError::NotWaiting => Self::unknown("no client waits with this number; it may be taken or gone"),
            JoinError::Busy => Self::unavailable("the router is busy; try again later"),
        }
    }
}

impl From<SessionError> for HttpError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Unknown | SessionError::Gap => Self::unknown("no such session; connect without received"),
            SessionError::Forbidden => Self::wrong_key("the session was begun with another key or role"),
            SessionError::TooManyAway => {
                Self::unavailable("too many members are away, of your network or of all; try again later")
            }
        }
    }
}

impl From<SessionQueryError> for HttpError {
    fn from(error: SessionQueryError) -> Self {
        match error {
            SessionQueryError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            SessionQueryError::Rejected(error) => JoinError::Rejected(error).into(),
            SessionQueryError::Session(error) => error.into(),
            SessionQueryError::Busy => JoinError::Busy.into(),
        }
    }
}

impl From<KeyError> for HttpError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown => Self::unknown("no such registration; register first"),
            KeyError::WrongKey => Self::wrong_key("wrong key; use the one that was registered"),
        }
    }
}

impl From<MembersError> for HttpError {
    fn from(error: MembersError) -> Self {
        match error {
            MembersError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            MembersError::Rejected(error) => error.into(),
        }
    }
}

impl From<WatchError> for HttpError {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Unavailable(error) => error.into(),
            WatchError::TooManyWatchers => Self::unavailable(
                "too many clients watch members; ask without Accept: text/event-stream, or try again later",
            ),
        }
    }
}

impl From<SendError> for HttpError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::OutOfMemory => Unavailable::OutOfMemory.into(),
            SendError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            SendError::Rejected(SenderError::Unknown) => {
                Self::unknown("no such registration; it may have ended already")
            }
            SendError::Rejected(SenderError::WrongKey) => Self::wrong_key("wrong key; use the one that was registered"),
            SendError::Rejected(SenderError::Forbidden) => {
                Self::wrong_key("this key doesn't admit hosts; send sock_type=client, or use key")
            }
            SendError::Rejected(SenderError::ReceivesOnly) => {
                Self::wrong_key("receive_key doesn't allow to send; use key or client_key")
            }
            SendError::Rejected(SenderError::RoleRequired) => Self::malformed("sock_type must be host or client, once"),
            SendError::Rejected(SenderError::Paired) => {
                Self::malformed("a paired registration takes no messages for all; connect as its client")
            }
            SendError::NoReceiver => Self {
                reason: Refusal::NoReceiver,
                ..Self::unavailable("nobody is there to receive it; try again later")
            },
            SendError::TooSlow => Self {
                reason: Refusal::SlowReceivers,
                ..Self::unavailable("all receivers are too slow, and nothing was sent; try again later")
            },
            SendError::Busy => Self::unavailable("the router is busy; try again later"),
        }
    }
}

impl From<RemoveError> for HttpError {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            RemoveError::Unknown => Self::unknown("no such registration; it may have ended already"),
            RemoveError::WrongKey => Self::wrong_key("wrong key or host_key; use those of the registration"),
        }
    }
}

impl From<ParamError> for HttpError {
    fn from(error: ParamError) -> Self {
        Self::malformed(error.to_string())
    }
}

/// Header that controls buffering by nginx.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Seconds after which a device may try again (`Retry-After`).
const RETRY_AFTER: u64 = 5;
