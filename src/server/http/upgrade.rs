//! Upgrade of an HTTP connection: the 101, and the step that follows it.
//!
//! The connection of a device that joins moves to a relay thread. A web page whose handshake is rejected can't read the
//! status, since browsers hide it; if it offers the subprotocol `ws-router`, it gets a 101, followed at once by a close
//! frame whose code stands for the status. Such a websocket never becomes a member: the connection's own task waits for
//! the page's close frame.

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
    next: Next,
}

/// Step after the 101.
#[derive(Debug)]
enum Next {
    /// Move the connection to the relay, as a member.
    Join(Reservation),
    /// Send a close frame with this payload, and close the connection. The slot counts it for its client's network until
    /// then.
    Close(Vec<u8>, Option<NetworkSlot>),
}

impl Upgrade {
    /// Creates the upgrade of a device that joins. `accept` is the value of Sec-WebSocket-Accept.
    pub(super) fn join(request: &HeaderMap, accept: HeaderValue, reservation: Reservation) -> Self {
        let headers = headers(request, accept, reservation.registration.subprotocol.as_deref());
        Self { headers, next: Next::Join(reservation) }
    }

    /// Creates an upgrade to a websocket that is closed at once. The reason is truncated to [`MAX_REASON`].
    pub(super) fn reject(
        request: &HeaderMap,
        accept: HeaderValue,
        code: u16,
        reason: &str,
        slot: Option<NetworkSlot>,
    ) -> Self {
        let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        let payload = [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat();
        Self { headers: headers(request, accept, None), next: Next::Close(payload, slot) }
    }

    /// Sends the 101, and passes the connection on or closes it. `early` contains the bytes received after the request.
    pub(super) async fn finish(
        self,
        server: &Server,
        mut connection: Connection,
        early: Bytes,
        stop: &CancellationToken,
    ) {
        let (peer, mut head) = (connection.peer(), encode(&self.headers));
        let finished = match self.next {
            Next::Join(reservation) => {
                async {
                    send(&mut connection, &head).await?;
                    let (socket, early) = connection.into_socket(early)?;
                    reservation.attach(socket, early);
                    io::Result::Ok(())
                }
                .await
            }
            Next::Close(payload, _slot) => {
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

fn headers(request: &HeaderMap, accept: HeaderValue, registered_subprotocol: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(chosen) = authorize::choose_subprotocol(request, registered_subprotocol) {
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

/// Discards what the client sends until its close frame, an invalid frame, or the end of the stream.
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

/// Maximum length of a close frame's reason, in bytes: the payload of a control frame has at most 125 (RFC 6455 section
/// 5.5), of which the code takes two.
const MAX_REASON: usize = 123;
