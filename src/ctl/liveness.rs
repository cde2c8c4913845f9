//! Detection of a connection to the router that has broken without notice, as in a network that is gone.
//!
//! A connection that is idle may be so for days. It sends pings, and each is answered by the router.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::dial::{DialError, Socket};

/// Returns the ticks at which to send a ping.
pub(super) fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + INTERVAL, INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// Receives the next message, or `None` at the end. Fails if nothing, not even the answer to a ping, arrives for long.
pub(super) async fn receive(stream: &mut SplitStream<Socket>) -> Result<Option<Message>, DialError> {
    match timeout(SILENCE, stream.next()).await {
        Ok(message) => Ok(message.transpose()?),
        Err(_) => Err(DialError::Timeout(SILENCE)),
    }
}

/// Less than the router's own interval (30 seconds) and the timeouts of common proxies and NATs (60 seconds).
const INTERVAL: Duration = Duration::from_secs(20);
/// Two pings and the time for the answer.
const SILENCE: Duration = Duration::from_secs(50);
