//! The end of an HTTP connection: what is still said to a peer, and the time it gets to hear it.
//!
//! A socket that is closed while bytes of its peer lie unread resets the connection, and the peer may lose the answer
//! that tells it what was wrong. So after the last answer the rest of what it sends is read away, for a moment.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::metrics::Refusal;
use crate::net::Connection;
use crate::server::Server;

/// Counts what ended the connection and parts from the peer; `has_begun` tells that half a request was there.
pub(super) async fn part(server: &Server, mut connection: Connection, error: Option<hyper::Error>, has_begun: bool) {
    match error {
        None => {}
        // One who only kept the connection open expects no answer.
        Some(error) if error.is_timeout() && !has_begun => return server.metrics().idle.up(),
        Some(error) if error.is_timeout() => say_too_slow(server, &mut connection).await,
        Some(error) if error.is_parse_too_large() => refuse(server, Refusal::TooLarge),
        Some(error) if error.is_parse() => refuse(server, Refusal::Malformed),
        // The connection is broken.
        Some(_) => return,
    }
    // Whether the peer went or kept on talking, the connection is closed now.
    let _ = tokio::time::timeout(PATIENCE, read_away(&mut connection)).await;
}

async fn say_too_slow(server: &Server, connection: &mut Connection) {
    refuse(server, Refusal::Timeout);
    // What can't be written isn't wanted.
    if connection.write_all(TOO_SLOW).await.is_ok() {
        let _ = connection.shutdown().await;
    }
}

fn refuse(server: &Server, why: Refusal) {
    server.metrics().requests.up();
    server.metrics().refused(why);
}

async fn read_away(connection: &mut Connection) -> io::Result<()> {
    // On the heap, since every connection's task has the room of what it may once hold.
    let mut rest = vec![0; 4096];
    let mut read = 0;
    while read < MOST {
        match connection.read(&mut rest).await? {
            0 => break,
            bytes => read += bytes,
        }
    }
    Ok(())
}

const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n\r\n\
    the request's head took too long; send it at once";

/// A round trip of a bad line; nobody needs to keep a place here longer than that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes that are read away at most; more is no mistake any more.
const MOST: usize = 256 * 1024;
