//! `/members`: the numbers of members of a registration, once as JSON, or as a stream of events.
//!
//! The stream is a state and not a queue: after a change the current numbers are sent, at most ten times a second, and a
//! client that reads slowly skips the numbers in between. Its last event, `end`, has the reason for which it ends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header;
use http::{HeaderMap, Method, Request};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::time::Instant;

use super::authorize::{self, ClientInfo};
use super::event_stream::EventStream;
use super::query::Form;
use super::responses::{self, Body, HttpError, Response, json};
use super::{connect, headers};
use crate::access::Action;
use crate::registry::MemberCounts;
use crate::server::{MembersWatch, Server, WatchEnd};

/// Returns the numbers of members, or the stream of their changes if the client accepts one.
pub(super) async fn members(
    server: &Server,
    request: &Request<Incoming>,
    client: ClientInfo<'_>,
    form: Form<'_>,
) -> Result<Response, HttpError> {
    authorize::authorize(server, Action::Members, client, request.headers(), form).await?;
    let id = form.required("id")?;
    let (key, credential) = connect::key(form)?;
    let (registration, counts) = server.count_members(&id, credential(&key), &client.peer)?;
    if !accepts_events(request.headers()) {
        return Ok(json(document(&counts)));
    }
    if request.method() == Method::HEAD {
        return Ok(responses::events(Body::default()));
    }
    let feed = Feed::new(server.watch_members(registration, &client.peer)?);
    let events = stream::unfold(Some(feed), |feed| async {
        let mut feed = feed?;
        let event = feed.next().await;
        let is_last = matches!(event, Event::End(_));
        Some((event.encode(), (!is_last).then_some(feed)))
    });
    let farewell = Event::End(WatchEnd::Stopped).encode();
    Ok(responses::events(Body::Events(EventStream::new(events, farewell))))
}

/// Returns whether a client accepts a stream of events. Any other client receives JSON.
fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers::list(headers, &header::ACCEPT).map(|range| range.split(';').next().unwrap_or_default());
    accepted.any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Members(MemberCounts),
    /// Nothing; so that proxies don't time out, and the end of a client that has vanished is noticed.
    Comment,
    End(WatchEnd),
}

impl Event {
    /// Encodes the event with the empty line that ends it.
    fn encode(self) -> Bytes {
        match self {
            Self::Members(counts) => format!("data: {}\n\n", document(&counts)),
            Self::Comment => ": still watching\n\n".to_owned(),
            Self::End(reason) => {
                format!("event: end\ndata: {}\n\n", document(&End { reason: reason.label() }))
            }
        }
        .into()
    }
}

#[derive(Serialize)]
struct End {
    reason: &'static str,
}

fn document(value: &impl Serialize) -> String {
    // Numbers and words can always be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// Source of a stream's events.
#[derive(Debug)]
struct Feed {
    watch: MembersWatch,
    /// The numbers that were sent last.
    sent: Option<MemberCounts>,
    /// Time before which no numbers are sent.
    not_before: Instant,
}

impl Feed {
    fn new(watch: MembersWatch) -> Self {
        Self { watch, sent: None, not_before: Instant::now() }
    }

    /// Waits for the next event.
    async fn next(&mut self) -> Event {
        let comment = Instant::now() + COMMENT_INTERVAL;
        loop {
            let counts = match self.watch.state() {
                Ok(counts) => counts,
                Err(reason) => return Event::End(reason),
            };
            if self.sent == Some(counts) {
                tokio::select! {
                    () = self.watch.changed() => {}
                    () = tokio::time::sleep_until(comment) => return Event::Comment,
                }
            } else if self.not_before > Instant::now() {
                // Changes in the meantime don't wake the task. The end of the registration may wait as well.
                tokio::select! {
                    () = self.watch.interrupted() => {}
                    () = tokio::time::sleep_until(self.not_before) => {}
                }
            } else {
                self.sent = Some(counts);
                self.not_before = Instant::now() + MIN_INTERVAL;
                return Event::Members(counts);
            }
        }
    }
}

/// Minimum time between two events with numbers: ten a second look continuous, and cost little even with a thousand
/// watchers.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Time without an event after which a comment is sent. The usual timeouts of proxies are thirty seconds and more.
const COMMENT_INTERVAL: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests {
    use ws_router_core::kind::Kind;
    use ws_router_core::secret::Key;

    use super::*;
    use crate::config::Config;
    use crate::peer::Peer;
    use crate::registry::{self, Credential, Terms};

    #[tokio::test(start_paused = true)]
    async fn a_comment_follows_twenty_five_seconds_without_an_event() {
        let server = Server::start(Config::default(), None).unwrap();
        let key = Key::new("k".into());
        let request = registry::Request {
            kind: Kind::Lobby,
            key: key.clone(),
            host_key: Key::new("h".into()),
            wanted: None,
            reject_taken: false,
            rule: None,
            terms: Terms::default(),
        };
        let peer = Peer::Unix { uid: 0, pid: 1 };
        let id = server.register(&request, &peer).await.unwrap();
        let (registration, counts) = server.count_members(id.as_str(), Credential::Key(&key), &peer).unwrap();
        let mut feed = Feed::new(server.watch_members(registration, &peer).unwrap());
        assert_eq!(feed.next().await, Event::Members(counts));
        for _ in 0..3 {
            let begin = Instant::now();
            assert_eq!(feed.next().await, Event::Comment);
            assert!(begin.elapsed() >= COMMENT_INTERVAL && begin.elapsed() < COMMENT_INTERVAL + MIN_INTERVAL);
        }
        server.interrupt_watches(WatchEnd::Drain);
        assert_eq!(feed.next().await, Event::End(WatchEnd::Drain));
    }

    #[test]
    fn events_are_encoded_with_their_empty_line() {
        assert_eq!(Event::Members(MemberCounts::Lobby { peers: 3 }).encode(), "data: {\"peers\":3}\n\n");
        assert_eq!(Event::End(WatchEnd::Emptied).encode(), "event: end\ndata: {\"reason\":\"emptied\"}\n\n");
        assert!(Event::Comment.encode().starts_with(b": ") && Event::Comment.encode().ends_with(b"\n\n"));
    }
}
