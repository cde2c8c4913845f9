//! Answers: plain text that a device takes as it is, and refusals that say in one line what to mend.
//!
//! A [`Refused`] is what a route returns instead of an answer; it is turned into one, and counted, in one place. No
//! answer is to be kept by a cache: an id is for one device, and everything else is true only now.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::query::Unfit;
use crate::access::Action;
use crate::metrics::Refusal;
use crate::registry::SeatError;
use crate::server::{JoinError, RegisterError, RemoveError, Unavailable};

/// An answer to a request.
pub(super) type Reply = Response<Full<Bytes>>;

/// Makes an answer of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, body, "text/plain; charset=utf-8")
}

/// Makes an answer of JSON.
pub(super) fn json(body: impl Into<Bytes>) -> Reply {
    typed(StatusCode::OK, body, "application/json")
}

/// Makes an answer that is a page for people.
pub(super) fn html(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, body, "text/html; charset=utf-8")
}

/// Makes an answer that is its status.
pub(super) fn bare(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

fn typed(status: StatusCode, body: impl Into<Bytes>, kind: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Why a request isn't answered with what it asked for.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the counter says.
    pub(super) why: Refusal,
    status: StatusCode,
    text: Cow<'static, str>,
    hint: Hint,
}

/// What the headers say beside the text.
#[derive(Debug, Clone, Copy)]
enum Hint {
    None,
    RetryAfter(u64),
    Allow(&'static str),
    Upgrade,
    Authenticate(&'static str),
}

impl Refused {
    pub(super) fn new(status: StatusCode, why: Refusal, text: impl Into<Cow<'static, str>>) -> Self {
        Self { why, status, text: text.into(), hint: Hint::None }
    }

    pub(super) fn malformed(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Refusal::Malformed, text)
    }

    pub(super) fn wrong_key(text: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, Refusal::WrongKey, text)
    }

    /// A request that a token would make welcome; the header says so to programs.
    pub(super) fn unauthorized(challenge: &'static str, text: &'static str) -> Self {
        Self { hint: Hint::Authenticate(challenge), ..Self::new(StatusCode::UNAUTHORIZED, Refusal::Access, text) }
    }

    /// A request that nothing makes welcome.
    pub(super) fn forbidden(action: Action) -> Self {
        let text = match action {
            Action::Register => "this router's access rules don't let you register; ask its operator",
            Action::Connect => "this router's access rules don't let you connect; ask its operator",
            Action::Remove => "this router's access rules don't let you remove registrations; ask its operator",
        };
        Self::new(StatusCode::FORBIDDEN, Refusal::Access, text)
    }

    /// A request that nobody could decide about.
    pub(super) fn undecided() -> Self {
        let text = "it can't be found out now whether you may; try again later";
        Self {
            hint: Hint::RetryAfter(RETRY_AFTER),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Refusal::Access, text)
        }
    }

    pub(super) fn unknown(text: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Refusal::Unknown, text)
    }

    /// A request that may well succeed a little later.
    pub(super) fn unavailable(text: &'static str) -> Self {
        Self { hint: Hint::RetryAfter(RETRY_AFTER), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Refusal::Full, text) }
    }

    /// A request of a network that makes too many, and may go on after `wait`; told in whole seconds, rounded up.
    pub(super) fn too_often(text: &'static str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let hint = Hint::RetryAfter(seconds);
        Self { hint, ..Self::new(StatusCode::TOO_MANY_REQUESTS, Refusal::TooOften, text) }
    }

    fn too_many_wrong_keys(wait: Duration) -> Self {
        Self::too_often("too many wrong keys for this registration; wait a little", wait)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let text = format!("this method is not for this path; use one of {allowed}");
        Self { hint: Hint::Allow(allowed), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, Refusal::Method, text) }
    }

    /// A plain request where a websocket is wanted (RFC 6455 section 4.2.2, RFC 9110 section 15.5.22).
    pub(super) fn upgrade_required(text: &'static str) -> Self {
        Self { hint: Hint::Upgrade, ..Self::new(StatusCode::UPGRADE_REQUIRED, Refusal::NoUpgrade, text) }
    }

    pub(super) fn into_reply(self) -> Reply {
        let body = match self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let mut reply = text(self.status, body);
        let headers = reply.headers_mut();
        let mut insert = |name, value| headers.insert(name, HeaderValue::from_static(value));
        match self.hint {
            Hint::None => {}
            Hint::RetryAfter(seconds) => _ = headers.insert(header::RETRY_AFTER, seconds.into()),
            Hint::Allow(methods) => _ = insert(header::ALLOW, methods),
            Hint::Authenticate(challenge) => _ = insert(header::WWW_AUTHENTICATE, challenge),
            Hint::Upgrade => {
                insert(header::UPGRADE, "websocket");
                insert(header::SEC_WEBSOCKET_VERSION, "13");
            }
        }
        reply
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(match error {
            Unavailable::Draining => "the router is draining and takes nobody new; try again later",
            Unavailable::OutOfMemory => "the router has no memory left for more; try again later",
        })
    }
}

impl From<RegisterError> for Refused {
    fn from(error: RegisterError) -> Self {
        use crate::registry::RegisterError as Rejected;
        match error {
            RegisterError::Unavailable(error) => error.into(),
            RegisterError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            RegisterError::Rejected(Rejected::Taken) => {
                Self::new(StatusCode::CONFLICT, Refusal::Taken, "this id is taken; ask for another one in id_req")
            }
            RegisterError::Rejected(Rejected::Quota) => Self::unavailable(
                "there are as many registrations as this router's access rules let you have; remove one of yours, or try again later",
            ),
            RegisterError::Rejected(Rejected::Full) => {
                Self::unavailable("there is no room for another registration; try again later")
            }
        }
    }
}

impl From<JoinError> for Refused {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Unavailable(error) => error.into(),
            JoinError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            JoinError::TooManyConnections => {
                Self::unavailable("your network has too many connections open; close some, or try again later")
            }
            JoinError::Rejected(SeatError::Unknown) => Self::unknown("there is no such registration; register first"),
            JoinError::Rejected(SeatError::WrongKey) => {
                Self::wrong_key("key is wrong; give the one that was registered")
            }
            JoinError::Rejected(SeatError::RoleRequired) => Self::malformed("sock_type must be host or client, once"),
            JoinError::Rejected(SeatError::Full) => Self::unavailable("this registration is full; try again later"),
            JoinError::Busy => Self::unavailable("the router is busy; try again later"),
        }
    }
}

impl From<RemoveError> for Refused {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::TooManyWrongKeys(wait) => Self::too_many_wrong_keys(wait),
            RemoveError::Unknown => Self::unknown("there is no such registration; it may have ended already"),
            RemoveError::WrongKey => Self::wrong_key("key or host_key is wrong; give those of the registration"),
        }
    }
}

impl From<Unfit> for Refused {
    fn from(unfit: Unfit) -> Self {
        Self::malformed(unfit.to_string())
    }
}

/// Seconds after which a refused device may come again.
const RETRY_AFTER: u64 = 5;
