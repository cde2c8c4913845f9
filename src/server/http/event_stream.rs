//! Body of a response that is a stream of server-sent events.
//!
//! An event is created only when everything before it has been sent. So a client that doesn't read holds one event, and
//! the stream, which reports states, skips those in between.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::connection::Progress;

/// Stream of events, each with its empty line.
pub(super) struct EventStream {
    events: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// Last event of a connection that is asked to stop.
    farewell: Option<Bytes>,
    /// The connection, once the response has begun.
    progress: Option<Arc<Progress>>,
}

impl EventStream {
    /// Creates a stream. `farewell` is its last event if the connection ends before it.
    pub(super) fn new(events: impl Stream<Item = Bytes> + Send + 'static, farewell: Bytes) -> Self {
        Self { events: Box::pin(events), farewell: Some(farewell), progress: None }
    }

    /// Attaches the stream to its connection.
    pub(super) fn attach(&mut self, progress: Arc<Progress>) {
        self.progress = Some(progress);
    }

    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(progress) = &self.progress else { return self.events.as_mut().poll_next(cx) };
        if progress.poll_flushed(cx).is_pending() {
            return Poll::Pending;
        }
        let event = match self.events.as_mut().poll_next(cx) {
            Poll::Pending if progress.is_stopping() => Poll::Ready(self.farewell.take()),
            event => event,
        };
        if let Poll::Ready(Some(_)) = event {
            progress.on_written();
        }
        event
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::stream;
    use futures_util::task::noop_waker;

    use super::*;
    use crate::config;

    #[test]
    fn an_event_is_created_when_the_one_before_has_been_sent() {
        static STATE: AtomicU32 = AtomicU32::new(1);
        let states = stream::repeat_with(|| Bytes::from(STATE.load(Ordering::Relaxed).to_string()));
        let progress = Arc::new(Progress::new(&config::Http::default()));
        let mut events = EventStream::new(states, Bytes::new());
        events.attach(Arc::clone(&progress));
        let waker = noop_waker();
        let mut poll = || events.poll_event(&mut Context::from_waker(&waker));
        assert_eq!(poll(), Poll::Ready(Some("1".into())));
        for state in 2..=9 {
            STATE.store(state, Ordering::Relaxed);
            assert_eq!(poll(), Poll::Pending);
        }
        progress.on_sent();
        assert_eq!(poll(), Poll::Ready(Some("9".into())));
        assert_eq!(poll(), Poll::Pending);
    }

    #[test]
    fn a_connection_that_stops_ends_a_stream_that_has_nothing_to_send() {
        let progress = Arc::new(Progress::new(&config::Http::default()));
        let mut events = EventStream::new(stream::pending(), "bye".into());
        events.attach(Arc::clone(&progress));
        let waker = noop_waker();
        let mut poll = || {
            progress.on_sent();
            events.poll_event(&mut Context::from_waker(&waker))
        };
        assert_eq!(poll(), Poll::Pending);
        progress.on_stop();
        assert_eq!(poll(), Poll::Ready(Some("bye".into())));
        assert_eq!(poll(), Poll::Ready(None));
    }
}
