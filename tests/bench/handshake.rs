//! The part of HTTP that the reference servers support: enough for the generator to treat all servers alike.

use std::io;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Request to a reference server.
#[derive(Debug)]
pub(crate) enum Request {
    /// Request to `/register`.
    Register,
    /// Request to `/connect`.
    Connect {
        /// Id of the lobby.
        id: u64,
        /// Response that accepts the websocket.
        reply: String,
    },
}

/// Parses a request; returns it with its length, or `None` if it is incomplete.
pub(crate) fn request(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    if head.starts_with("GET /register?") {
        return Ok(Some((Request::Register, end + 4)));
    }
    let id = head.split_once("id=").and_then(|(_, id)| u64::from_str_radix(id.get(..ID_DIGITS)?, 16).ok());
    let key = head.split_once("Sec-WebSocket-Key: ").and_then(|(_, key)| key.lines().next());
    let (id, key) = id.zip(key).ok_or_else(|| io::Error::other("neither a registration nor a join"))?;
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    Ok(Some((Request::Connect { id, reply }, end + 4)))
}

/// Returns the response to a registration.
pub(crate) fn registered(id: u64) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {ID_DIGITS}\r\n\r\n{id:0ID_DIGITS$x}")
}

const ID_DIGITS: usize = 16;
