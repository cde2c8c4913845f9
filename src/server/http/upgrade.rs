//! Upgrade of an HTTP connection: the 101, and what follows it.
//!
//! A device that joins goes to a relay thread. A web page whose handshake is rejected can't read the status, which
//! browsers hide; if it offers the subprotocol `ws-router`, it gets a 101, and at once a close frame with a code for the
//! status. That websocket never becomes a member: the connection's own task waits for the page's close frame.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use ws_router_core::frame::{Decoder, Discarded, Opcode, ServerHeader};

use super::authorize;
use crate::net::{Connection, NetworkSlot};
use crate::server::{Reservation, Server};

/// Accepted handshake whose 101 isn't sent yet.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Headers of the 101.
    headers: HeaderMap,
    then: Then,
}

/// What becomes of the connection after its 101.
#[derive(Debug)]
enum Then {
    /// It goes to the relay as a member.
    Join(Reservation),
    /// It is closed with this payload of a close frame, and counts as a connection of its client's network until then.
    Close(Vec<u8>, Option<NetworkSlot>),
}

impl Upgrade {
    /// Makes the device a member. `accept` is the value of Sec-WebSocket-Accept.
    pub(super) fn join(request: &HeaderMap, accept: HeaderValue, reservation: Reservation) -> Self {
        Self { headers: headers(request, accept), then: Then::Join(reservation) }
    }

    /// Closes the websocket at once. The reason is cut to what a close frame can hold.
    pub(super) fn reject(
        request: &HeaderMap,
        accept: HeaderValue,
        code: u16,
        reason: &str,
        slot: Option<NetworkSlot>,
    ) -> Self {
        let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        let payload = [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat();
        Self { headers: headers(request, accept), then: Then::Close(payload, slot) }
    }

    /// Sends the 101, and passes the connection on or closes it. `early` are the bytes that arrived behind the request.
    pub(super) async fn finish(
        self,
        server: &Server,
        mut connection: Connection,
        early: Bytes,
        stop: &CancellationToken,
    ) {
        let (peer, mut head) = (connection.peer(), encode(&self.headers));
        let finished = match self.then {
            Then::Join(reservation) => {
                async {
                    send(&mut connection, &head).await?;
                    reservation.attach(connection.into_socket()?, early);
                    io::Result::Ok(())
                }
                .await
            }
            Then::Close(payload, _slot) => {
                head.extend_from_slice(ServerHeader::new(Opcode::Close, payload.len()).as_bytes());
                head.extend_from_slice(&payload);
                let timeout = server.config().websocket.close_timeout;
                let closed = async {
                    send(&mut connection, &head).await?;
                    let closed = tokio::time::timeout(timeout, await_close_frame(&mut connection, &early));
                    closed.await.unwrap_or(Ok(()))?;
                    connection.shutdown().await
                };
                tokio::select! {
                    () = stop.cancelled() => Ok(()),
                    closed = closed => closed,
                }
            }
        };
        if let Err(error) = finished {
            tracing::debug!(%peer, %error, "connection ended during its upgrade");
        }
    }
}

fn headers(request: &HeaderMap, accept: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(chosen) = authorize::subprotocol(request) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    headers
}

fn encode(headers: &HeaderMap) -> Vec<u8> {
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

async fn send(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    connection.write_all(bytes).await?;
    connection.flush().await
}

/// Discards what the client sends, until its close frame, an invalid one, or the end of its stream.
async fn await_close_frame(connection: &mut Connection, early: &[u8]) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut found = decoder.discard(early);
    let mut buffer = vec![0; 1024];
    while let Ok(Discarded::Frames) = found {
        match connection.read(&mut buffer).await? {
            0 => break,
            read => found = decoder.discard(&buffer[..read]),
        }
    }
    Ok(())
}

/// Bytes of a close frame's reason at most: a control frame's payload has 125 (RFC 6455 section 5.5), two of them for
/// the code.
const MAX_REASON: usize = 123;
