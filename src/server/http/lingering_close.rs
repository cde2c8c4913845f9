//! Lingering close of an HTTP connection: the last answer, and time for the peer to receive it.
//!
//! Closing a socket while received bytes are unread resets the connection, and the peer may lose the answer that explains
//! the error. So after the last answer, input is read and discarded until the peer closes, for a bounded time and
//! amount (nginx's `lingering_close`, RFC 9112 section 9.6).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::metrics::Refusal;
use crate::net::Connection;
use crate::server::Server;

/// Reason why an HTTP connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The peer closed it, or the last response is sent.
    Regular,
    /// No request began within its timeout.
    Idle,
    /// The head of a request wasn't complete within `http.request-timeout`.
    TimedOut,
    /// A request is malformed, or the connection is broken.
    Failed(hyper::Error),
}

/// Counts the reason for which a connection ended, and closes it.
pub(super) async fn close(server: &Server, mut connection: Connection, ending: Ending) {
    match ending {
        Ending::Regular => {}
        // The connection was only kept open; the peer expects no answer.
        Ending::Idle => return server.metrics().idle.increment(),
        Ending::TimedOut => send_timeout(server, &mut connection).await,
        Ending::Failed(error) if error.is_parse_too_large() => count(server, Refusal::TooLarge),
        Ending::Failed(error) if error.is_parse() => count(server, Refusal::Malformed),
        // The connection is broken.
        Ending::Failed(_) => return,
    }
    // The connection is closed now, whether the peer has closed it or still sends.
    let _ = tokio::time::timeout(LINGERING_TIME, discard_input(&mut connection)).await;
}

/// Answers a request whose head didn't arrive in time.
async fn send_timeout(server: &Server, connection: &mut Connection) {
    count(server, Refusal::Timeout);
    // A peer that doesn't read the answer is not waited for.
    if connection.write_all(REQUEST_TIMEOUT).await.is_ok() {
        let _ = connection.shutdown().await;
    }
}

fn count(server: &Server, why: Refusal) {
    server.metrics().requests.increment();
    server.metrics().refused(why);
}

async fn discard_input(connection: &mut Connection) -> io::Result<()> {
    // On the heap: a buffer on the stack would enlarge every connection's task.
    let mut buffer = vec![0; 4096];
    let mut discarded = 0;
    while discarded < MAX_DISCARDED {
        match connection.read(&mut buffer).await? {
            0 => break,
            bytes => discarded += bytes,
        }
    }
    Ok(())
}

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n\r\n\
    the request's head took too long; send it at once";

/// Time for which input is discarded: a round trip on a bad line. The connection holds its slot meanwhile.
const LINGERING_TIME: Duration = Duration::from_secs(1);

/// Maximum number of bytes that are discarded. A peer that sends more than this after the last answer isn't reading it.
const MAX_DISCARDED: usize = 256 * 1024;
