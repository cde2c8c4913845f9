//! `/connect`: reserves a seat in a registration and upgrades the connection to a websocket (RFC 6455 section 4.2).
//!
//! The parameters are checked first, then the upgrade, and the seat is reserved last: the error names the first thing to
//! fix, and no seat is reserved for a request that can't use it. The device becomes a member before the 101 is sent, so
//! it misses no message that is sent after the 101. If the connection fails before it reaches the relay, dropping the
//! reservation releases the seat.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Version};
use hyper::body::{Body, Incoming};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ws_router_core::close::CloseReason;
use ws_router_core::kind::Role;
use ws_router_core::secret::Key;
use ws_router_core::shard::{SessionError, parse_number};

use super::authorize::{self, ClientInfo};
use super::headers::{has_token, single};
use super::query::Form;
use super::responses::HttpError;
use super::upgrade::Upgrade;
use crate::access::Action;
use crate::registry::Credential;
use crate::server::{AcceptClient, Join, JoinError, Reservation, Server, SessionRequest};

/// Makes the device a member. Its connection is attached when the returned upgrade finishes.
pub(super) async fn connect(
    server: &Server,
    request: &Request<Incoming>,
    client: ClientInfo<'_>,
) -> Result<Upgrade, HttpError> {
    let form = Form::of_query(request.uri());
    let grant = authorize::authorize(server, Action::Connect, client, request.headers(), form).await?;
    server.check_available()?;
    let id = form.required("id")?;
    let session = session(form)?;
    let session = session.as_ref().map(|(secret, received)| SessionRequest { secret, received: *received });
    if let Some(number) = accept_number(form)? {
        let accept = check_upgrade(request)?;
        let (client, is_forwarded, admission, rates) = (client.peer, client.is_forwarded, grant.admission, grant.rates);
        let accepted =
            server.accept(AcceptClient { id: &id, number, client, is_forwarded, admission, rates, session }).await;
        return upgrade(request.headers(), accept, accepted);
    }
    let (key, credential) = key(form)?;
    let credential = credential(&key);
    // A lobby ignores the role, so the registry reports one that is missing or invalid.
    let role = form.optional("sock_type").ok().flatten().and_then(|text| Role::from_param(&text));
    let hello = form.optional("hello")?;
    let accept = check_upgrade(request)?;
    let join = Join {
        id: &id,
        credential,
        role,
        hello: hello.as_deref(),
        client: client.peer,
        is_forwarded: client.is_forwarded,
        admission: grant.admission,
        rates: grant.rates,
        session,
    };
    upgrade(request.headers(), accept, server.join(join).await)
}

/// Returns the upgrade of a device that has joined, or of one whose session is lost: it gets a websocket that is closed
/// at once, since a browser hides the status of a failed handshake.
fn upgrade(
    headers: &HeaderMap,
    accept: HeaderValue,
    joined: Result<Reservation, JoinError>,
) -> Result<Upgrade, HttpError> {
    let reason = CloseReason::SessionLost;
    match (joined, reason.code()) {
        (Ok(reservation), _) => Ok(Upgrade::join(headers, accept, reservation)),
        (Err(JoinError::Session(SessionError::Unknown | SessionError::Gap)), Some(code)) => {
            Ok(Upgrade::reject(headers, accept, code, reason.text(), None))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Returns the secret of the session with which a device joins, and how many messages it has received in it.
fn session(form: Form<'_>) -> Result<Option<(Key, Option<u64>)>, HttpError> {
    let Some(secret) = session_secret(form)? else {
        return match form.optional("received")? {
            None => Ok(None),
            Some(_) => Err(HttpError::malformed("received goes with session; send both")),
        };
    };
    let received = form.optional("received")?.map(|text| text.parse::<u64>());
    let received = received.transpose().map_err(|_| HttpError::malformed("received must be a number of messages"))?;
    Ok(Some((secret, received)))
}

/// Returns the secret of a session.
pub(super) fn session_secret(form: Form<'_>) -> Result<Option<Key>, HttpError> {
    let Some(secret) = form.optional("session")? else { return Ok(None) };
    let is_valid = (16..=64).contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_valid {
        return Err(HttpError::malformed("session must be 16 to 64 of 0-9, A-Z, a-z, _ and -; draw it at random"));
    }
    Ok(Some(Key::new(secret.into_owned())))
}

/// Returns the number of the client that a host accepts, if the request is one to accept. It takes the place of a key.
pub(super) fn accept_number(form: Form<'_>) -> Result<Option<u128>, HttpError> {
    let Some(text) = form.optional("accept")? else { return Ok(None) };
    for key in ["key", "client_key", "receive_key"] {
        if form.optional(key)?.is_some() {
            return Err(HttpError::malformed("send accept without a key"));
        }
    }
    let malformed = || HttpError::malformed("accept must be the 32 hex digits of an incoming client");
    parse_number(&text).ok_or_else(malformed).map(Some)
}

/// Conversion of a key to a credential of one kind.
pub(super) type ToCredential = fn(&Key) -> Credential<'_>;

/// Returns the key of a request, and its conversion to the kind of credential that the name of the parameter selects.
pub(super) fn key(form: Form<'_>) -> Result<(Key, ToCredential), HttpError> {
    let [key, client_key, receive_key] = ["key", "client_key", "receive_key"].map(|name| form.optional(name));
    let (key, credential): (_, ToCredential) = match (key?, client_key?, receive_key?) {
        (Some(key), None, None) => (key, |key| Credential::Key(key)),
        (None, Some(key), None) => (key, |key| Credential::ClientKey(key)),
        (None, None, Some(key)) => (key, |key| Credential::ReceiveKey(key)),
        (None, None, None) => (form.required("key")?, |key| Credential::Key(key)),
        _ => return Err(HttpError::malformed("send only one of key, client_key and receive_key")),
    };
    Ok((Key::new(key.into_owned()), credential))
}

/// Rejects a request over a websocket whose close code a web page can read, since browsers hide the status of a failed
/// handshake. Returns `None` unless the request is a valid handshake that offers the subprotocol `ws-router` and the
/// status has a close code. A client behind a proxy holds a slot of its network until the websocket is closed; without
/// a free slot, the result is `None`, too.
pub(super) fn reject_over_websocket(
    server: &Server,
    request: &Request<Incoming>,
    client: ClientInfo<'_>,
    error: &HttpError,
) -> Option<Upgrade> {
    let code = error.close_code()?;
    authorize::choose_subprotocol(request.headers(), None)?;
    let accept = check_upgrade(request).ok()?;
    let slot = if client.is_forwarded { server.clients().hold(&client.peer, &server.config()).ok()? } else { None };
    Some(Upgrade::reject(request.headers(), accept, code, &error.close_reason(), slot))
}

/// Checks the request against RFC 6455 section 4.2.1, and returns the value of Sec-WebSocket-Accept.
fn check_upgrade(request: &Request<Incoming>) -> Result<HeaderValue, HttpError> {
    let headers = request.headers();
    let is_http_11 = request.version() >= Version::HTTP_11;
    let has_upgrade =
        has_token(headers, &header::CONNECTION, "upgrade") && has_token(headers, &header::UPGRADE, "websocket");
    if !(is_http_11 && has_upgrade) {
        // Only websocket clients send this header, and they send the others with it, in HTTP/1.1.
        let is_websocket = headers.contains_key(header::SEC_WEBSOCKET_KEY);
        return Err(HttpError::upgrade_required(match (is_websocket, is_http_11) {
            (false, _) => "this path expects a websocket; connect with ws:// or wss://",
            (true, false) => {
                "a proxy on the path sent this websocket request as HTTP/1.0; make it use HTTP/1.1 and pass Upgrade on"
            }
            (true, true) => "a proxy on the path removed the Upgrade or Connection header; make it pass them on",
        }));
    }
    if single(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(HttpError::upgrade_required("unsupported websocket version; send Sec-WebSocket-Version: 13"));
    }
    if !request.body().is_end_stream() {
        return Err(HttpError::malformed("a websocket request has no body; send none"));
    }
    single(headers, &header::SEC_WEBSOCKET_KEY)
        .filter(|key| is_nonce(key.as_bytes()))
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| HttpError::malformed("Sec-WebSocket-Key must be present once, 16 bytes in base64"))
}

/// Returns whether a key is 16 bytes in base64: 22 digits and the padding.
fn is_nonce(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_key_is_16_bytes_in_base64() {
        assert!(is_nonce(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in ["", "==", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25j!Q=="] {
            assert!(!is_nonce(bad.as_bytes()), "{bad}");
        }
    }
}
