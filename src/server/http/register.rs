//! `/register`, `/remove` and `/healthz`: creating and removing a registration, and whether new ones are accepted.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::Kind;
use ws_router_core::secret::Key;

use super::authorize::{self, Grant};
use super::headers::is_token;
use super::query::Form;
use super::responses::{HttpError, Response, text};
use crate::config::Config;
use crate::peer::Peer;
use crate::registry::{Request, Terms};
use crate::server::{Server, Unavailable};

/// Creates a registration. The body is exactly its id, since devices paste the body into a URL unchanged.
pub(super) async fn register(
    server: &Server,
    form: Form<'_>,
    grant: Grant,
    peer: &Peer,
    config: &Config,
) -> Result<Response, HttpError> {
    server.check_available()?;
    let reject_taken = config.registration.reject_taken_ids;
    let (key, host_key) = (form.required("key")?, form.required("host_key")?);
    let kind = Kind::from_param(&form.required("reg_type")?)
        .ok_or_else(|| HttpError::malformed("reg_type must be hostclient, lobby or paired"))?;
    let request = Request {
        terms: terms(form, kind, [&*key, &*host_key], config)?,
        key: Key::new(key.into_owned()),
        host_key: Key::new(host_key.into_owned()),
        kind,
        wanted: wanted_id(form, reject_taken)?,
        reject_taken,
        rule: grant.rule,
    };
    let id = server.register(&request, peer).await?;
    Ok(text(StatusCode::OK, Bytes::copy_from_slice(id.as_str().as_bytes())))
}

/// Removes a registration for a device that has both of its keys.
pub(super) async fn remove(server: &Server, form: Form<'_>, peer: &Peer) -> Result<Response, HttpError> {
    let id = form.required("id")?;
    let key = Key::new(form.required("key")?.into_owned());
    let host_key = Key::new(form.required("host_key")?.into_owned());
    server.remove(&id, &key, &host_key, peer).await?;
    Ok(text(StatusCode::OK, ""))
}

/// Reports to a load balancer: 200 `ok`, or 503 while draining.
pub(super) fn health(server: &Server) -> Result<Response, HttpError> {
    if server.is_draining() { Err(Unavailable::Draining.into()) } else { Ok(text(StatusCode::OK, "ok")) }
}

/// Parses the optional terms of a registration; `others` are its other keys.
fn terms(form: Form<'_>, kind: Kind, others: [&str; 2], config: &Config) -> Result<Terms, HttpError> {
    let (client_key, receive_key) = (form.optional("client_key")?, form.optional("receive_key")?);
    if client_key.is_some() && kind == Kind::Lobby {
        return Err(HttpError::malformed("client_key needs reg_type=hostclient or paired"));
    }
    if receive_key.is_some() && kind == Kind::Paired {
        return Err(HttpError::malformed("receive_key needs reg_type=hostclient or lobby"));
    }
    if client_key.as_deref().is_some_and(|key| others.contains(&key)) {
        return Err(HttpError::malformed("client_key must differ from key and host_key"));
    }
    if receive_key.as_deref().is_some_and(|key| others.contains(&key) || client_key.as_deref() == Some(key)) {
        return Err(HttpError::malformed("receive_key must differ from the other keys"));
    }
    // A host and a client.
    let least = if kind == Kind::HostClient { 2 } else { 1 };
    let max_members = number(form, "max_members", least..=config.limits.members as u64)?;
    let expires_in = number(form, "expires_in", 1..=YEAR)?;
    let wait_s = wait(form, config)?;
    if wait_s.is_some() && kind == Kind::Paired {
        return Err(HttpError::malformed("wait needs reg_type=hostclient or lobby"));
    }
    Ok(Terms {
        client_key: client_key.map(|key| Key::new(key.into_owned())),
        receive_key: receive_key.map(|key| Key::new(key.into_owned())),
        max_members: max_members.and_then(|most| usize::try_from(most).ok()),
        subprotocol: subprotocol(form)?,
        expires_in: expires_in.map(Duration::from_secs),
        wait_s,
    })
}

/// Parses the optional websocket subprotocol. Those that the router itself gives a meaning are reserved.
fn subprotocol(form: Form<'_>) -> Result<Option<Box<str>>, HttpError> {
    let Some(name) = form.optional("subprotocol")? else { return Ok(None) };
    if !is_token(&name) || name.len() > MAX_SUBPROTOCOL {
        return Err(HttpError::malformed("subprotocol must be a token of at most 64 bytes, such as mqtt"));
    }
    if authorize::is_reserved_subprotocol(&name) {
        return Err(HttpError::malformed("subprotocol must not be ws-router or begin with token."));
    }
    Ok(Some(name.into()))
}

/// Parses `wait`, in seconds up to `registration.max-wait`.
fn wait(form: Form<'_>, config: &Config) -> Result<Option<NonZeroU32>, HttpError> {
    let most = config.registration.max_wait.as_secs();
    if most == 0 && form.optional("wait")?.is_some() {
        return Err(HttpError::malformed("wait is turned off on this router; leave it out"));
    }
    let seconds = number(form, "wait", 1..=most)?;
    Ok(seconds.and_then(|seconds| u32::try_from(seconds).ok()).and_then(NonZeroU32::new))
}

/// Parses an optional number in a range, in decimal digits.
fn number(form: Form<'_>, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, HttpError> {
    let Some(text) = form.optional(name)? else { return Ok(None) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()).then_some(&*text);
    let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| range.contains(number));
    let malformed = || HttpError::malformed(format!("{name} must be {} to {}", range.start(), range.end()));
    number.ok_or_else(malformed).map(Some)
}

/// Parses `id_req`. A malformed one is ignored, unless `registration.reject-taken-ids` is set.
fn wanted_id(form: Form<'_>, reject: bool) -> Result<Option<RegistrationId>, HttpError> {
    let wanted = match form.optional("id_req") {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => {
            RegistrationId::parse(&text).map_err(|error| HttpError::malformed(format!("id_req: {error}")))
        }
        Err(error) => Err(error.into()),
    };
    match wanted {
        Err(error) if reject => Err(error),
        wanted => Ok(wanted.ok()),
    }
}

/// Longest name of a subprotocol, in bytes.
const MAX_SUBPROTOCOL: usize = 64;

/// Seconds of 365 days.
const YEAR: u64 = 31_536_000;
