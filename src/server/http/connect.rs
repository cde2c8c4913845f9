//! `/connect`: a device takes a seat in a registration and becomes a websocket (RFC 6455 section 4.2).
//!
//! The parameters are checked first, then the upgrade, then the seat, so that the error names the first thing to fix, and
//! only a request that can use a seat takes one. The device is a member before the 101 is sent, so it receives whatever
//! is sent after that. A connection that breaks on its way to the relay releases its seat by dropping it.

use http::header::{self, HeaderValue};
use http::{Request, StatusCode, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use ws_router_core::kind::Role;
use ws_router_core::secret::Key;

use super::authorize::{self, ClientInfo};
use super::headers::{has_token, single};
use super::query::Form;
use super::responses::{HttpError, Response, bare};
use crate::access::Action;
use crate::net::Connection;
use crate::peer::Peer;
use crate::server::{Join, Reservation, Server};

/// Member whose connection is on its way to the relay.
#[derive(Debug)]
pub(super) struct Joining {
    reservation: Reservation,
    upgrade: OnUpgrade,
}

/// Makes the device a member and returns the 101; [`Joining::finish`] then passes its connection on.
pub(super) async fn connect(
    server: &Server,
    request: &mut Request<Incoming>,
    client: ClientInfo<'_>,
) -> Result<(Response, Joining), HttpError> {
    let form = Form::new(request.uri().query().unwrap_or_default().as_bytes());
    let grant = authorize::authorize(server, Action::Connect, client, request.headers(), form).await?;
    server.check_available()?;
    let id = form.required("id")?;
    let key = Key::new(form.required("key")?.into_owned());
    // A lobby ignores the role, so the registry reports one that is missing or invalid.
    let role = form.optional("sock_type").ok().flatten().and_then(|text| Role::from_param(&text));
    let accept = check_upgrade(request)?;
    let join =
        Join { id: &id, key: &key, role, client: client.peer, is_forwarded: client.is_forwarded, rates: grant.rates };
    let reservation = server.join(join).await?;
    let mut response = bare(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(chosen) = authorize::subprotocol(request.headers()) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    Ok((response, Joining { reservation, upgrade: hyper::upgrade::on(request) }))
}

impl Joining {
    /// Passes the connection to the relay, with the bytes that arrived behind the request.
    pub(super) async fn finish(self, peer: Peer) {
        // It fails only if the connection broke while the 101 was on its way.
        let Ok(upgraded) = self.upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else { return };
        match parts.io.into_inner().into_socket() {
            Ok(socket) => self.reservation.attach(socket, parts.read_buf),
            Err(error) => tracing::debug!(%peer, %error, "connection can't be passed to the relay"),
        }
    }
}

/// Checks the request against RFC 6455 section 4.2.1, and returns the value of Sec-WebSocket-Accept.
fn check_upgrade(request: &Request<Incoming>) -> Result<HeaderValue, HttpError> {
    let headers = request.headers();
    let wants_websocket = request.version() >= Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !wants_websocket {
        return Err(HttpError::upgrade_required("this path expects a websocket; connect with ws:// or wss://"));
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
