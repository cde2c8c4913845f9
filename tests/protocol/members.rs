//! GET /members: the numbers of members, once and as a stream of events (ws-router-protocol(7)).

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use ws_router_admin_api::peer::Peer;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::RegistrationId;
use ws_router_server::config::{Allow, Config, Operation, RateLimit, Rule};
use ws_router_server::metrics::Refusal;
use ws_router_server::server::WatchEnd;

use crate::support::device::Device;
use crate::support::{Answer, Server, exchange, read_head, until};

const PAIR: &str = "key=k&host_key=h&reg_type=hostclient";
const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";

async fn server() -> Server {
    Server::start(Config::default()).await
}

async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    Server::start(config).await
}

/// Stream of events, as a client of HTTP/1.0 receives it: without chunks.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(server: &Server, query: &str) -> Self {
        let (answer, events) = Self::ask(server, query, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        events
    }

    async fn ask(server: &Server, query: &str, headers: &str) -> (Answer, Self) {
        let mut stream = server.connect().await;
        let request = format!("GET /members?{query} HTTP/1.0\r\nAccept: text/event-stream\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        (read_head(&mut stream).await, Self(BufReader::new(stream)))
    }

    /// Waits for the next event, without its empty line; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let mut event = String::new();
        let read = async {
            while self.0.read_line(&mut event).await.unwrap() > 0 {
                if event.ends_with("\n\n") {
                    return Some(event.trim_end().to_owned());
                }
            }
            assert_eq!(event, "");
            None
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("nothing was received")
    }

    async fn expect(&mut self, document: &str) {
        assert_eq!(self.next().await, Some(format!("data: {document}")));
    }

    /// Skips states until this one.
    async fn reach(&mut self, document: &str) {
        while self.next().await.expect("the stream ended") != format!("data: {document}") {}
    }

    async fn expect_end(&mut self, reason: &str) {
        assert_eq!(self.next().await, Some(format!("event: end\ndata: {{\"reason\":\"{reason}\"}}")));
        assert_eq!(self.next().await, None);
    }
}

async fn join(server: &Server, query: &str) -> Device<TcpStream> {
    Device::join(server.connect().await, &format!("/connect?{query}")).await
}

#[tokio::test]
async fn the_document_has_the_numbers_of_each_kind() {
    let server = server().await;
    let pair = server.register(&format!("{PAIR}&client_key=c&receive_key=r")).await;
    let lobby = server.register(&format!("{LOBBY}&receive_key=r")).await;
    let answer = server.get(&format!("/members?id={pair}&key=k")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"hosts":0,"clients":0}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let _host = join(&server, &format!("id={pair}&key=k&sock_type=host")).await;
    let _client = join(&server, &format!("id={pair}&client_key=c&sock_type=client")).await;
    let receiver = join(&server, &format!("id={pair}&receive_key=r&sock_type=client")).await;
    for key in ["key=k", "client_key=c", "receive_key=r"] {
        let answer = server.get(&format!("/members?id={pair}&{key}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"hosts":1,"clients":2}"#), "{key}");
    }
    drop(receiver);
    let is_gone = || server.router.find(&pair).is_some_and(|summary| summary.seats == 2);
    until("the receiver has left", is_gone).await;
    assert_eq!(server.get(&format!("/members?id={pair}&key=k")).await.body, r#"{"hosts":1,"clients":1}"#);
    let _peer = join(&server, &format!("id={lobby}&key=k")).await;
    let _other = join(&server, &format!("id={lobby}&receive_key=r")).await;
    assert_eq!(server.get(&format!("/members?id={lobby}&receive_key=r")).await.body, r#"{"peers":2}"#);
    assert_eq!(server.post("/members", &format!("id={lobby}&key=k")).await.body, r#"{"peers":2}"#);
}

#[tokio::test]
async fn a_request_needs_one_key_of_the_registration() {
    let server = server().await;
    let id = server.register(&format!("{PAIR}&client_key=c")).await;
    for (query, status) in [
        ("key=x", 403),
        ("key=c", 403),
        ("key=h", 403),
        ("client_key=k", 403),
        ("receive_key=k", 403),
        ("key=k&client_key=c", 400),
        ("key=k&key=k", 400),
        ("key=", 400),
        ("", 400),
    ] {
        let answer = server.get(&format!("/members?id={id}&{query}")).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
        assert!(!answer.body.contains('\n') && !answer.body.is_empty(), "{answer:?}");
        assert_eq!(Events::ask(&server, &format!("id={id}&{query}"), "").await.0.status, status, "{query}");
    }
    assert_eq!(server.get("/members?id=nobody-there&key=k").await.status, 404);
    assert_eq!(server.get("/members?key=k").await.status, 400);
    assert_eq!(server.metrics.refusals(Refusal::WrongKey), 10);
    assert_eq!(server.router.watchers(), 0);
}

#[tokio::test]
async fn a_wrong_key_counts_as_a_guess() {
    let server =
        server_with(|config| config.limits.wrong_key_rate = RateLimit(Some("1/h burst 3".parse().unwrap()))).await;
    let id = server.register(LOBBY).await;
    for _ in 0..3 {
        assert_eq!(server.get(&format!("/members?id={id}&key=guess")).await.status, 403);
    }
    for path in ["members", "connect"] {
        let answer = server.get(&format!("/{path}?id={id}&key=k")).await;
        let expected = if path == "connect" { 426 } else { 429 };
        assert_eq!(answer.status, expected, "{answer:?}");
    }
    let answer = Events::ask(&server, &format!("id={id}&key=k"), "").await.0;
    assert!(answer.status == 429 && answer.header("retry-after").is_some(), "{answer:?}");
}

#[tokio::test]
async fn the_route_behaves_like_the_others() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let target = format!("//members/?id={id}&key=k&unknown=%");
    let answer = server.get(&target).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let head = server.request("HEAD", &target, "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let head = server.request("HEAD", &target, "Accept: text/event-stream\r\n", "").await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(server.router.watchers(), 0);
    assert_eq!(server.request("OPTIONS", "/members", "Origin: https://a.example\r\n", "").await.status, 204);
    let answer = server.request("DELETE", &target, "", "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, POST, OPTIONS")));
    for accept in ["*/*", "application/json", "text/html, */*;q=0.1"] {
        let answer = server.request("GET", &target, &format!("Accept: {accept}\r\n"), "").await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
    }
}

#[tokio::test]
async fn a_stream_has_the_numbers_at_once_and_after_each_change() {
    let server = server().await;
    let id = server.register(PAIR).await;
    let (answer, mut events) = Events::ask(&server, &format!("id={id}&key=k"), "Origin: https://a.example\r\n").await;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    events.expect(r#"{"hosts":0,"clients":0}"#).await;
    let host = join(&server, &format!("id={id}&key=k&sock_type=host")).await;
    events.expect(r#"{"hosts":1,"clients":0}"#).await;
    let _client = join(&server, &format!("id={id}&key=k&sock_type=client")).await;
    events.expect(r#"{"hosts":1,"clients":1}"#).await;
    drop(host);
    events.expect(r#"{"hosts":0,"clients":1}"#).await;
    let mut later = Events::open(&server, &format!("id={id}&key=k")).await;
    later.expect(r#"{"hosts":0,"clients":1}"#).await;
    assert_eq!(server.router.watchers(), 2);
}

#[tokio::test]
async fn a_stream_over_http_11_is_sent_in_chunks_and_closes_its_connection() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut stream = server.connect().await;
    let request =
        format!("GET /members?id={id}&key=k HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream;q=1, */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (Some("chunked"), Some("close")));
    server.get(&format!("/remove?id={id}&key=k&host_key=h")).await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("13\r\ndata: {\"peers\":0}\n\n\r\n"), "{rest}");
    assert!(rest.ends_with("event: end\ndata: {\"reason\":\"removed\"}\n\n\r\n0\r\n\r\n"), "{rest}");
}

#[tokio::test]
async fn a_stream_has_at_most_ten_states_a_second_and_always_the_last_one() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let begin = Instant::now();
    let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
    let mut members = Vec::new();
    for _ in 0..200 {
        members.push(join(&server, &format!("id={id}&key=k")).await);
    }
    let mut count = 0;
    while events.next().await.unwrap() != r#"data: {"peers":200}"# {
        count += 1;
    }
    // The router creates the first state after `begin`, and each of the others at least 100 ms after the one before.
    assert!(count >= 1 && begin.elapsed() >= Duration::from_millis(100) * count, "{count} in {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_stream_ends_with_the_reason_for_which_the_registration_ended() {
    let server = server().await;
    let far = Duration::from_secs(3600);
    for reason in ["removed", "removed by an administrator", "expired", "emptied", "unclaimed"] {
        let terms = if reason == "expired" { "&expires_in=1" } else { "" };
        let id = server.register(&format!("{LOBBY}{terms}")).await;
        let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
        events.expect(r#"{"peers":0}"#).await;
        match reason {
            "removed" => assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200),
            "emptied" => {
                let member = join(&server, &format!("id={id}&key=k")).await;
                events.expect(r#"{"peers":1}"#).await;
                drop(member);
            }
            "unclaimed" => server.router.sweep(Instant::now() + far),
            "expired" => {
                let is_gone = || {
                    server.router.sweep(Instant::now());
                    server.router.find(&id).is_none()
                };
                until("its time is over", is_gone).await;
            }
            _ => assert!(
                server.router.force_remove(&RegistrationId::parse(&id).unwrap(), Peer::Unix { uid: 0, pid: 1 }).await
            ),
        }
        events
            .expect_end(match reason {
                "expired" => "expired",
                "emptied" | "unclaimed" => "emptied",
                _ => "removed",
            })
            .await;
    }
    until("no stream is open", || server.router.watchers() == 0).await;
}

#[tokio::test]
async fn a_drain_ends_streams_at_once_and_new_ones_are_rejected_until_it_is_undone() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let _member = join(&server, &format!("id={id}&key=k")).await;
    let query = format!("id={id}&key=k");
    let mut events = Events::open(&server, &query).await;
    events.expect(r#"{"peers":1}"#).await;
    server.router.drain(Duration::from_secs(3600));
    events.expect_end("drain").await;
    let answer = Events::ask(&server, &query, "").await.0;
    assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(server.get(&format!("/members?{query}")).await.body, r#"{"peers":1}"#);
    server.router.undo_drain();
    Events::open(&server, &query).await.expect(r#"{"peers":1}"#).await;
}

#[tokio::test]
async fn a_restart_and_a_stop_end_streams_at_once_and_wait_for_none() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let query = format!("id={id}&key=k");
    let mut events = Events::open(&server, &query).await;
    events.expect(r#"{"peers":0}"#).await;
    server.router.interrupt_watches(WatchEnd::Restart);
    events.expect_end("restart").await;
    Events::open(&server, &query).await.expect_end("restart").await;
    // The hand-over has failed.
    server.router.cancel_release();
    let mut events = Events::open(&server, &query).await;
    events.expect(r#"{"peers":0}"#).await;
    server.stop().await;
    events.expect_end("stopped").await;
}

#[tokio::test]
async fn a_stream_ends_with_the_daemon() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
    events.expect(r#"{"peers":0}"#).await;
    let closed = server.router.shutdown(CloseReason::Stopping, Duration::from_secs(1));
    events.expect_end("stopped").await;
    closed.await;
}

#[tokio::test]
async fn a_stream_keeps_no_registration_and_survives_a_reload() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
    events.expect(r#"{"peers":0}"#).await;
    server.reconfigure(|config| config.limits.watchers = 1);
    let member = join(&server, &format!("id={id}&key=k")).await;
    events.expect(r#"{"peers":1}"#).await;
    drop(member);
    events.expect_end("emptied").await;
    assert!(server.router.find(&id).is_none());
}

#[tokio::test]
async fn the_number_of_streams_is_limited_and_one_that_ends_makes_room() {
    let server = server_with(|config| config.limits.watchers = 2).await;
    let id = server.register(LOBBY).await;
    let query = format!("id={id}&key=k");
    let first = Events::open(&server, &query).await;
    let _second = Events::open(&server, &query).await;
    let answer = Events::ask(&server, &query, "").await.0;
    assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(server.metrics.refusals(Refusal::Full), 1);
    assert_eq!(server.get(&format!("/members?{query}")).await.status, 200);
    // Neither a comment nor a state is written meanwhile.
    drop(first);
    until("its place is free", || server.router.watchers() == 1).await;
    Events::open(&server, &query).await.expect(r#"{"peers":0}"#).await;
}

#[tokio::test]
async fn a_network_has_at_most_half_of_the_streams_that_others_leave_free() {
    let server = server_with(|config| {
        config.limits.watchers = 8;
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    })
    .await;
    let id = server.register(LOBBY).await;
    let ask = async |last: u8| {
        let from = format!("X-Forwarded-For: 192.0.2.{last}\r\n");
        Events::ask(&server, &format!("id={id}&key=k"), &from).await
    };
    let mut open = Vec::new();
    for (network, share) in [(1, 4), (2, 2), (3, 1)] {
        for _ in 0..share {
            let (answer, events) = ask(network).await;
            assert_eq!(answer.status, 200, "{network}");
            open.push(events);
        }
        assert_eq!(ask(network).await.0.status, 503, "{network}");
    }
    assert_eq!(server.router.watchers(), 7);
}

#[tokio::test]
async fn a_stream_takes_no_place_of_a_pending_connection_and_has_no_idle_timeout() {
    let server = server_with(|config| {
        config.http.idle_timeout = Duration::from_millis(20);
        config.limits.pending = 2;
    })
    .await;
    let id = server.register(LOBBY).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
        events.expect(r#"{"peers":0}"#).await;
        streams.push(events);
    }
    until("none is pending", || server.metrics.pending.value() == 0).await;
    // A connection without a stream times out.
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    exchange(server.connect().await, request).await;
    until("it is closed", || server.metrics.idle.value() == 1).await;
    let _member = join(&server, &format!("id={id}&key=k")).await;
    for events in &mut streams {
        events.expect(r#"{"peers":1}"#).await;
    }
    drop(streams);
    until("all are closed", || server.metrics.connections.value() == 1 && server.router.watchers() == 0).await;
    assert_eq!(server.metrics.pending.value(), 0);
}

#[tokio::test]
async fn a_client_that_sends_on_is_disconnected() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut events = Events::open(&server, &format!("id={id}&key=k")).await;
    events.expect(r#"{"peers":0}"#).await;
    // The write fails if the router has closed before all is sent.
    let _ = events.0.get_mut().write_all(&[b'x'; 16 * 1024]).await;
    until("its stream has ended", || server.router.watchers() == 0).await;
}

#[tokio::test]
async fn rules_that_name_members_decide_about_them_alone() {
    let rule = |allow| Rule { allow, ..Rule::default() };
    let elsewhere = |allow| Rule { networks: ["192.0.2.0/24".parse().unwrap()].into_iter().collect(), ..rule(allow) };
    let members = Allow::NONE.and(Operation::Members);
    for (rules, status) in [
        (vec![rule(Allow::BOTH)], 200),
        (vec![rule(Allow::REGISTER)], 403),
        (vec![rule(Allow::REGISTER), rule(members)], 200),
        (vec![rule(Allow::BOTH), elsewhere(members)], 403),
        (vec![rule(Allow::BOTH), elsewhere(Allow::NONE.and(Operation::Send))], 200),
    ] {
        let server = server_with(|config| config.access = rules.clone()).await;
        let id = server.register(LOBBY).await;
        assert_eq!(server.get(&format!("/members?id={id}&key=k")).await.status, status, "{rules:?}");
        assert_eq!(Events::ask(&server, &format!("id={id}&key=k"), "").await.0.status, status, "{rules:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watchers_all_see_the_last_state_and_the_end() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let query = format!("id={id}&key=k");
    let _keeper = join(&server, &query).await;
    let mut watchers = Vec::new();
    for _ in 0..1000 {
        watchers.push(Events::open(&server, &query).await);
    }
    assert_eq!(server.router.watchers(), 1000);
    assert_eq!(Events::ask(&server, &query, "").await.0.status, 503);
    let mut members = Vec::new();
    for round in 0..10 {
        for _ in 0..20 {
            members.push(join(&server, &query).await);
        }
        members.drain(..if round < 9 { 20 } else { 10 });
    }
    let removed = async {
        let has_left = || server.router.find(&id).is_some_and(|summary| summary.seats == 11);
        until("ten have left", has_left).await;
    };
    removed.await;
    for events in &mut watchers {
        events.reach(r#"{"peers":11}"#).await;
    }
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    for events in &mut watchers {
        let end = loop {
            let event = events.next().await.unwrap();
            if event.starts_with("event: end") {
                break event;
            }
        };
        assert_eq!(end, "event: end\ndata: {\"reason\":\"removed\"}");
    }
    until("all streams are closed", || server.router.watchers() == 0).await;
}
