//! `/connect`: a device takes a seat in a registration and becomes a websocket (RFC 6455 section 4.2).
//!
//! The parameters are checked first, then the upgrade, then the seat, so that the answer names the first thing to mend
//! and a seat is taken only by a request that can use it. The device is a member from before the 101 on, so that it
//! hears whatever is sent after it; the place is given back by itself if the connection breaks on its way to the relay.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ws_router_core::kind::Role;
use ws_router_core::secret::Key;

use super::admission::{self, Visitor};
use super::query::Form;
use super::replies::{Refused, Reply, bare};
use crate::access::Action;
use crate::net::Connection;
use crate::peer::Peer;
use crate::server::{Join, Reservation, Server};

/// A member whose connection is on its way to the relay.
#[derive(Debug)]
pub(super) struct Joining {
    reservation: Reservation,
    upgrade: OnUpgrade,
}

/// Makes the device a member and answers 101; the connection follows with [`Joining::finish`].
pub(super) async fn connect(
    server: &Server,
    request: &mut Request<Incoming>,
    visitor: Visitor<'_>,
) -> Result<(Reply, Joining), Refused> {
    let form = Form::new(request.uri().query().unwrap_or_default().as_bytes());
    let admission = admission::admit(server, Action::Connect, visitor, request.headers(), form).await?;
    server.check_available()?;
    let id = form.required("id")?;
    let key = Key::new(form.required("key")?.into_owned());
    // A lobby ignores it, so whether it is valid is decided when the seat is taken.
    let role = form.optional("sock_type").ok().flatten().and_then(|text| Role::from_param(&text));
    let accept = check_upgrade(request)?;
    let join = Join {
        id: &id,
        key: &key,
        role,
        client: visitor.peer,
        is_forwarded: visitor.is_forwarded,
        rates: admission.rates,
    };
    let reservation = server.join(join).await?;
    let mut reply = bare(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(chosen) = admission::subprotocol(request.headers()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok((reply, Joining { reservation, upgrade: hyper::upgrade::on(request) }))
}

impl Joining {
    /// Passes the connection to the relay, with the bytes that followed the request.
    pub(super) async fn finish(self, peer: Peer) {
        // It fails only if the connection broke while the 101 was on its way.
        let Ok(upgraded) = self.upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else { return };
        match parts.io.into_inner().into_socket() {
            Ok(socket) => self.reservation.attach(socket, parts.read_buf),
            Err(error) => tracing::debug!(%peer, %error, "connection can't go to the relay"),
        }
    }
}

/// Checks the request against RFC 6455 section 4.2.1 and gives the accept key.
fn check_upgrade(request: &Request<Incoming>) -> Result<HeaderValue, Refused> {
    let headers = request.headers();
    let wants_websocket = request.version() >= Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !wants_websocket {
        return Err(Refused::upgrade_required("this path is for websockets; connect with ws:// or wss://"));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refused::upgrade_required("websocket version 13 is spoken here; send Sec-WebSocket-Version: 13"));
    }
    if !request.body().is_end_stream() {
        return Err(Refused::malformed("a websocket request has no body; leave it away"));
    }
    only(headers, &header::SEC_WEBSOCKET_KEY)
        .filter(|key| is_nonce(key.as_bytes()))
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok())
        .ok_or_else(|| Refused::malformed("Sec-WebSocket-Key must be there once, 16 bytes in base64"))
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Looks for a word in a list that may be spread over several headers.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Tells whether a key is 16 bytes in base64: 22 digits and the padding.
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

    #[test]
    fn a_token_is_found_in_any_list_and_case() {
        let mut headers = HeaderMap::new();
        headers.append(header::CONNECTION, HeaderValue::from_static("keep-alive"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x , UPGRADE"));
        assert!(has_token(&headers, &header::CONNECTION, "upgrade"));
        assert!(!has_token(&headers, &header::CONNECTION, "up"));
        assert!(!has_token(&headers, &header::UPGRADE, "websocket"));
    }
}
