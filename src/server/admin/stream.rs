//! Streams of JSON lines: one for each event, or one for each change of a drain.
//!
//! A client that reads too slowly receives a line with the number of missed events in place of these events, and only the
//! latest state of a drain. The stream ends when the daemon stops; hyper notices a client that disconnects.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use futures_util::Stream;
use futures_util::stream;
use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use ws_router_admin_api as wire;
use ws_router_admin_api::event::Event;

/// Body of a response that is a stream of lines.
pub(super) struct Lines(Pin<Box<dyn Stream<Item = Bytes> + Send>>);

impl Lines {
    /// Streams events until `stop`.
    pub(super) fn of_events(events: Receiver<Arc<Event>>, stop: CancellationToken) -> Self {
        Self(Box::pin(stream::unfold((events, stop), |(mut events, stop)| async move {
            let line = tokio::select! {
                biased;
                () = stop.cancelled() => None,
                received = events.recv() => match received {
                    Ok(event) => line(&*event),
                    Err(RecvError::Lagged(count)) => line(&missed(count)),
                    Err(RecvError::Closed) => None,
                },
            };
            line.map(|line| (line, (events, stop)))
        })))
    }

    /// Streams the state of a drain and its changes until `stop`.
    pub(super) fn of_drain(mut drain: watch::Receiver<wire::Drain>, stop: CancellationToken) -> Self {
        drain.mark_changed();
        Self(Box::pin(stream::unfold((drain, stop), async |(mut drain, stop)| {
            let is_open = tokio::select! {
                // First the change: the daemon stops right after the last member has left.
                biased;
                changed = drain.changed() => changed.is_ok(),
                () = stop.cancelled() => false,
            };
            let now = *drain.borrow_and_update();
            let line = is_open.then(|| line(&now)).flatten();
            line.map(|line| (line, (drain, stop)))
        })))
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.as_mut().poll_next(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines(..)")
    }
}

fn missed(count: u64) -> wire::Missed {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    wire::Missed { at_ms: since_epoch.as_millis() as u64, event: "missed".into(), count }
}

fn line(what: &impl Serialize) -> Option<Bytes> {
    let mut line = serde_json::to_vec(what).ok()?;
    line.push(b'\n');
    Some(line.into())
}
