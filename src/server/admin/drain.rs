//! Taking the daemon out of service and back into it, as administrators ask for it.
//!
//! `POST /v1/drain?over=60s` and `DELETE /v1/drain` reach the life cycle, which does it; `GET /v1/drain` follows.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;

use super::reply::{self, Reply};
use super::session::{Administrator, Session};
use super::{Command, wire};

use crate::log::messages;

/// Has the life cycle let nobody new in, and close all members over the time that the query says.
pub(super) async fn begin(session: &Session, query: &str) -> Reply {
    let Some(over) = span(query) else {
        return reply::refusal(StatusCode::BAD_REQUEST, "over is a time of at most a day, such as ?over=60s");
    };
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(
        message_id = messages::DRAIN_REQUESTED,
        uid,
        pid,
        over_ms = over.as_millis() as u64,
        "drain requested by an administrator"
    );
    order(session, |answer| Command::Drain(over, answer)).await
}

/// Has the life cycle let devices in again.
pub(super) async fn undo(session: &Session) -> Reply {
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(
        message_id = messages::DRAIN_UNDO_REQUESTED,
        uid,
        pid,
        "end of the drain requested by an administrator"
    );
    order(session, Command::Undrain).await
}

async fn order(session: &Session, command: impl FnOnce(oneshot::Sender<wire::Drain>) -> Command) -> Reply {
    let (answer, answered) = oneshot::channel();
    // Whether the command or its answer was lost, the life cycle has ended.
    let _ = session.context.lifecycle.send(command(answer)).await;
    match answered.await {
        Ok(drain) => reply::document(&drain),
        Err(_) => reply::refusal(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}

/// Reads `over`; the default when the query doesn't have it, nothing when it makes no sense.
fn span(query: &str) -> Option<Duration> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("over="));
    let over = value.map_or(Ok(DEFAULT), humantime::parse_duration).ok()?;
    (over <= LONGEST).then_some(over)
}

/// A minute spreads some ten thousand devices well, and nobody minds to wait for it.
const DEFAULT: Duration = Duration::from_secs(60);

/// Whoever means longer has mistyped.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_bounded() {
        assert_eq!(span(""), Some(DEFAULT));
        assert_eq!(span("x=1&over=0s"), Some(Duration::ZERO));
        assert_eq!(span("over=90s"), Some(Duration::from_secs(90)));
        for bad in ["over=", "over=60", "over=soon", "over=2days"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
