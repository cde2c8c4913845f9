//! Requests to take the daemon out of service, and to return it to service.
//!
//! `POST /v1/drain?over=60s` and `DELETE /v1/drain` are commands to the life cycle; `GET /v1/drain` follows the progress.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::oneshot;

use super::reply::{self, Reply};
use super::session::{Administrator, Session};
use super::{Command, wire};
use crate::log::messages;

/// Starts a drain over the time in the query.
pub(super) async fn start(session: &Session, query: &str) -> Reply {
    let Some(over) = parse_over(query) else {
        return reply::error(StatusCode::BAD_REQUEST, "over must be a time of at most a day, such as ?over=60s");
    };
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(
        message_id = messages::DRAIN_REQUESTED,
        uid,
        pid,
        over_ms = over.as_millis() as u64,
        "drain requested by an administrator"
    );
    send_command(session, |answer| Command::Drain(over, answer)).await
}

/// Ends a drain.
pub(super) async fn undo(session: &Session) -> Reply {
    let Administrator { uid, pid } = session.administrator;
    tracing::info!(
        message_id = messages::DRAIN_UNDO_REQUESTED,
        uid,
        pid,
        "end of the drain requested by an administrator"
    );
    send_command(session, Command::Undrain).await
}

async fn send_command(session: &Session, command: impl FnOnce(oneshot::Sender<wire::Drain>) -> Command) -> Reply {
    let (answer, answered) = oneshot::channel();
    // If the command or its answer is lost, the life cycle has ended.
    let _ = session.context.lifecycle.send(command(answer)).await;
    match answered.await {
        Ok(drain) => reply::document(&drain),
        Err(_) => reply::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping"),
    }
}

/// Parses `over`; returns the default if the query doesn't have it, and `None` if it is invalid.
fn parse_over(query: &str) -> Option<Duration> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("over="));
    let over = value.map_or(Ok(DEFAULT_OVER), humantime::parse_duration).ok()?;
    (over <= MAX_OVER).then_some(over)
}

/// Default of `over`: spreads the reconnects of ten thousand devices well enough, and is short for an administrator.
const DEFAULT_OVER: Duration = Duration::from_secs(60);

/// Longest accepted `over`. A longer one is taken for a typing error.
const MAX_OVER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_drain_is_parsed_and_bounded() {
        assert_eq!(parse_over(""), Some(DEFAULT_OVER));
        assert_eq!(parse_over("x=1&over=0s"), Some(Duration::ZERO));
        assert_eq!(parse_over("over=90s"), Some(Duration::from_secs(90)));
        for bad in ["over=", "over=60", "over=soon", "over=2days"] {
            assert_eq!(parse_over(bad), None, "{bad}");
        }
    }
}
