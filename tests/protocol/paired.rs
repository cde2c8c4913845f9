//! Paired registrations: hosts that listen, clients that wait, and pairs (ws-router-protocol(7)).

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use ws_router_core::close::CloseReason;
use ws_router_core::kind::Role;
use ws_router_core::shard::parse_number;
use ws_router_server::config::{Config, RateLimit};
use ws_router_server::metrics::Refusal;
use ws_router_server::peer::Peer;
use ws_router_server::server::AcceptClient;

use crate::support::device::{Device, Received, closes, frame, request};
use crate::support::{Answer, Server, read_head, until};

const REGISTER: &str = "key=k&host_key=h&reg_type=paired&client_key=c";

/// A router with one paired registration.
struct Paired {
    server: Server,
    id: String,
}

type Member = Device<TcpStream>;

impl Paired {
    async fn new() -> Self {
        Self::with(Config::default(), "").await
    }

    async fn with(config: Config, terms: &str) -> Self {
        let server = Server::start(config).await;
        let id = server.register(&format!("{REGISTER}{terms}")).await;
        Self { server, id }
    }

    async fn join(&self, query: &str) -> Member {
        Device::join(self.server.connect().await, &format!("/connect?id={}&{query}", self.id)).await
    }

    async fn host(&self) -> Member {
        self.join("key=k&sock_type=host").await
    }

    async fn client(&self, hello: &str) -> Member {
        self.join(&format!("client_key=c&sock_type=client&hello={hello}")).await
    }

    async fn accept(&self, number: &str) -> Member {
        self.join(&format!("accept={number}")).await
    }

    /// Makes a handshake, and returns the answer.
    async fn answer(&self, query: &str) -> Answer {
        let mut stream = self.server.connect().await;
        stream.write_all(request(&format!("/connect?id={}&{query}", self.id)).as_bytes()).await.unwrap();
        read_head(&mut stream).await
    }

    /// Makes a pair: the host's end, and the client.
    async fn pair(&self, host: &mut Member) -> (Member, Member) {
        let client = self.client("me").await;
        let (number, _) = incoming(host).await;
        (self.accept(&number).await, client)
    }

    fn seats(&self) -> Option<usize> {
        self.server.router.find(&self.id).map(|summary| summary.seats)
    }

    async fn members(&self) -> String {
        self.server.get(&format!("/members?id={}&client_key=c", self.id)).await.body
    }

    fn waiting(&self) -> u64 {
        self.server.router.thread_totals().iter().map(|thread| thread.waiting_clients.value()).sum()
    }
}

async fn control(host: &mut Member) -> Value {
    match host.receive().await {
        Received::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Receives an announcement: its number, and what the client says.
async fn incoming(host: &mut Member) -> (String, String) {
    let message = control(host).await;
    let text = |name: &str| message[name].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
    assert_eq!(message.as_object().unwrap().len(), 2);
    let number = text("incoming");
    assert!(number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    (number, text("hello"))
}

async fn gone(host: &mut Member) -> String {
    let message = control(host).await;
    assert_eq!(message.as_object().unwrap().len(), 1, "{message}");
    message["gone"].as_str().unwrap().to_owned()
}

/// Waits for a close frame, answers it, and waits for the end.
async fn expect_close_with(member: &mut Member, code: u16, reason: &str) {
    assert_eq!(member.receive().await, Received::Close(code, reason.into()));
    member.raw(&frame(0x88, &1000u16.to_be_bytes())).await;
    assert!(matches!(member.frame().await, Received::End(_)));
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

#[tokio::test]
async fn each_client_gets_a_connection_of_its_own_to_the_host() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let mut one = paired.client("I+am+%22one%22").await;
    let (first, hello) = incoming(&mut host).await;
    assert_eq!(hello, "I am \"one\"");
    let mut other = paired.join("key=k&sock_type=client").await;
    let (second, hello) = incoming(&mut host).await;
    assert_eq!(hello, "");
    assert_ne!(first, second);
    one.say("early").await;
    assert_eq!(paired.members().await, r#"{"hosts":1,"pairs":0,"waiting":2}"#);
    assert_eq!(paired.waiting(), 2);
    let mut to_other = paired.accept(&second).await;
    assert_eq!(paired.members().await, r#"{"hosts":1,"pairs":1,"waiting":1}"#);
    let mut to_one = paired.accept(&first).await;
    to_one.expect("early").await;
    to_other.say("for the other").await;
    to_one.say("for one").await;
    one.expect("for one").await;
    other.expect("for the other").await;
    one.raw(&frame(0x82, &[0, 255, 0])).await;
    assert_eq!(to_one.receive().await, Received::Binary(vec![0, 255, 0]));
    assert_eq!(paired.waiting(), 0);
    let summary = paired.server.router.find(&paired.id).unwrap();
    assert_eq!((summary.seats, summary.hosts, summary.pairs), (3, 1, 2));
    assert_eq!(paired.server.router.members(&summary.registration).await.len(), 5);
}

#[tokio::test]
async fn only_a_handshake_that_succeeds_uses_an_announcement_up() {
    let mut config = Config::default();
    config.limits.wrong_key_rate = RateLimit(Some("1/h burst 3".parse().unwrap()));
    let paired = Paired::with(config, "").await;
    let mut host = paired.host().await;
    let mut client = paired.client("x").await;
    let (number, _) = incoming(&mut host).await;
    let unknown = "0".repeat(32);
    for _ in 0..10 {
        assert_eq!(paired.answer(&format!("accept={unknown}")).await.status, 404);
    }
    for (query, status) in [
        (format!("accept={number}&accept={number}"), 400),
        (format!("accept={number}&key=k"), 400),
        ("accept=".into(), 400),
        ("accept=12".into(), 400),
        (format!("accept={}", "g".repeat(32)), 400),
    ] {
        assert_eq!(paired.answer(&query).await.status, status, "{query}");
    }
    let plain = paired.server.get(&format!("/connect?id={}&accept={number}", paired.id)).await;
    assert_eq!(plain.status, 426);
    let elsewhere = paired.server.get(&format!("/register?{REGISTER}")).await.body;
    let mut stream = paired.server.connect().await;
    stream.write_all(request(&format!("/connect?id={elsewhere}&accept={number}")).as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 404, "it belongs to one registration");
    let mut end = paired.accept(&number).await;
    end.say("still there").await;
    client.expect("still there").await;
    assert_eq!(paired.answer(&format!("accept={number}")).await.status, 404, "used");
    assert_eq!(paired.server.metrics.refusals(Refusal::WrongKey), 0);
    assert_eq!(paired.answer("client_key=c&sock_type=client").await.status, 101, "no guess was counted");
}

#[tokio::test]
async fn an_accept_whose_101_is_not_written_leaves_the_client_waiting() {
    let mut config = Config::default();
    config.limits.waiting = 1;
    let paired = Paired::with(config, "").await;
    let (mut host, mut other) = (paired.host().await, paired.host().await);
    let mut client = paired.client("x").await;
    let (number, _) = incoming(&mut host).await;
    let (other_number, _) = incoming(&mut other).await;
    let (id, peer) = (paired.id.as_str(), Peer::Unix { uid: 0, pid: 0 });
    for _ in 0..3 {
        let number = parse_number(&number).unwrap();
        let accept =
            AcceptClient { id, number, client: peer, is_forwarded: false, admission: None, rates: None, session: None };
        let reservation = paired.server.router.accept(accept).await.unwrap();
        assert_eq!(paired.answer(&format!("accept={other_number}")).await.status, 404, "one accept at a time");
        drop(reservation);
        assert_eq!(paired.answer("client_key=c&sock_type=client").await.status, 503, "it counts as waiting");
    }
    let mut end = paired.accept(&other_number).await;
    end.say("accepted").await;
    client.expect("accepted").await;
    assert_eq!(gone(&mut host).await, number);
    assert_eq!(paired.members().await, r#"{"hosts":2,"pairs":1,"waiting":0}"#);
    assert_eq!(paired.seats(), Some(3));
    other.raw(&close_frame(1000, "")).await;
    assert_eq!(other.receive().await, Received::Close(1000, "closed".into()), "it has heard nothing since");
}

#[tokio::test]
async fn what_is_malformed_is_refused() {
    let paired = Paired::new().await;
    for (query, status) in [
        ("key=k", 400),
        ("key=k&sock_type=peer", 400),
        ("client_key=c&sock_type=host", 403),
        ("key=wrong&sock_type=host", 403),
        ("key=k&client_key=c&sock_type=client", 400),
        ("key=k&sock_type=client&hello=", 400),
        ("key=k&sock_type=client&hello=a&hello=b", 400),
        ("receive_key=k&sock_type=client", 403),
    ] {
        assert_eq!(paired.answer(query).await.status, status, "{query}");
    }
    let long = |len: usize| format!("key=k&sock_type=client&hello={}", "x".repeat(len));
    assert_eq!(paired.answer(&long(1025)).await.status, 400);
    assert_eq!(paired.answer(&long(1024)).await.status, 101);
    for query in ["&receive_key=r", "&wait=5", "&client_key=k", "&client_key=h", "&max_members=0"] {
        let target = format!("/register?key=k&host_key=h&reg_type=paired{query}");
        assert_eq!(paired.server.get(&target).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn every_host_hears_of_every_client_with_numbers_of_its_own() {
    let paired = Paired::new().await;
    let (mut one, mut other) = (paired.host().await, paired.host().await);
    let _client = paired.client("a").await;
    let ((of_one, _), (of_other, _)) = (incoming(&mut one).await, incoming(&mut other).await);
    assert_ne!(of_one, of_other);
    let _end = paired.accept(&of_one).await;
    assert_eq!(gone(&mut other).await, of_other, "the other host learns that it is taken");
    assert_eq!(paired.answer(&format!("accept={of_other}")).await.status, 404);
    let client = paired.client("b").await;
    let ((of_one, hello), (of_other, _)) = (incoming(&mut one).await, incoming(&mut other).await);
    assert_eq!(hello, "b", "the host that accepted wasn't told that the first is gone");
    drop(client);
    assert_eq!((gone(&mut one).await, gone(&mut other).await), (of_one, of_other));
}

#[tokio::test]
async fn a_listening_connection_may_drop_and_come_back() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let (mut end, mut client) = paired.pair(&mut host).await;
    let mut waiting = paired.client("still+waiting").await;
    let (before, _) = incoming(&mut host).await;
    host.raw(&close_frame(1000, "")).await;
    assert_eq!(host.receive().await, Received::Close(1000, "closed".into()));
    end.say("goes on").await;
    client.expect("goes on").await;
    let mut host = paired.host().await;
    let (again, hello) = incoming(&mut host).await;
    assert_eq!(hello, "still waiting");
    assert_ne!(before, again);
    let mut accepted = paired.accept(&before).await;
    assert_eq!(gone(&mut host).await, again, "the number that another connection got was used");
    accepted.say("hello").await;
    waiting.expect("hello").await;
}

#[tokio::test]
async fn a_client_that_nobody_accepts_in_time_is_closed_with_4006() {
    let mut config = Config::default();
    config.registration.accept_timeout = Duration::from_millis(10);
    let paired = Paired::with(config, "").await;
    let mut host = paired.host().await;
    let mut client = paired.client("x").await;
    let (number, _) = incoming(&mut host).await;
    client.say("anyone?").await;
    client.expect_close(CloseReason::NotAccepted).await;
    assert_eq!(gone(&mut host).await, number);
    assert_eq!(paired.answer(&format!("accept={number}")).await.status, 404);
    let totals = paired.server.router.thread_totals();
    until("it is counted", || totals[0].accept_timeouts.value() == 1 && totals[0].waiting_clients.value() == 0).await;
    assert_eq!(closes(&paired.server, CloseReason::NotAccepted), 1);
}

#[tokio::test]
async fn a_host_rejects_a_client_with_a_code_and_a_reason_if_it_likes() {
    let paired = Paired::new().await;
    let (mut host, mut other) = (paired.host().await, paired.host().await);
    let passed_on = format!(r#","code":4400,"reason":"{}""#, "x".repeat(123));
    for (more, code, reason) in [
        ("", 4006, "not accepted"),
        (r#","code":4999,"reason":"no \"such\" door""#, 4999, "no \"such\" door"),
        (r#","code":3000"#, 3000, ""),
        (r#","reason":"later""#, 4006, "later"),
        (r#","code":4001,"reason":"the router's""#, 4006, "not accepted"),
        (r#","code":1000"#, 4006, "not accepted"),
        (&passed_on, 4006, "not accepted"),
    ] {
        let mut client = paired.client("x").await;
        let ((number, _), (of_other, _)) = (incoming(&mut host).await, incoming(&mut other).await);
        host.say(&format!(r#"{{"reject":"{number}"{more}}}"#)).await;
        expect_close_with(&mut client, code, reason).await;
        assert_eq!((gone(&mut host).await, gone(&mut other).await), (number.clone(), of_other.clone()));
        // Both are ignored: the client is gone.
        host.say(&format!(r#"{{"reject":"{number}"}}"#)).await;
        other.say(&format!(r#"{{"reject":"{of_other}"}}"#)).await;
        assert_eq!(paired.answer(&format!("accept={number}")).await.status, 404);
    }
    let totals = paired.server.router.thread_totals();
    until("all are counted", || totals[0].rejected_clients.value() == 7).await;
}

#[tokio::test]
async fn anything_but_a_reject_closes_the_listening_connection_with_4005() {
    let paired = Paired::new().await;
    let _other = paired.host().await;
    let number = "0".repeat(32);
    let long_reason = format!(r#"{{"reject":"{number}","reason":"{}"}}"#, "x".repeat(124));
    let unknown = format!(r#"{{"reject":"{number}","more":1}}"#);
    let bad_code = format!(r#"{{"reject":"{number}","code":70000}}"#);
    let valid = format!(r#"{{"reject":"{number}"}}"#);
    let large = format!("{valid}{}", " ".repeat(3000));
    let mut broken = vec![frame(0x82, valid.as_bytes()), frame(0x01, &[b' '; 20_000])];
    let list = format!(r#"["{number}",4000,"no"]"#);
    let short = ["", "hello", "{}", r#"{"reject":"12"}"#, r#"{"reject":7}"#];
    for text in short.into_iter().chain([&*long_reason, &unknown, &bad_code, &large, &list]) {
        broken.push(frame(0x81, text.as_bytes()));
    }
    let count = broken.len() as u64;
    for bytes in broken {
        let mut host = paired.host().await;
        host.say(&valid).await;
        host.raw(&frame(0x89, b"alive?")).await;
        assert_eq!(host.receive().await, Received::Pong(b"alive?".to_vec()));
        host.raw(&bytes).await;
        host.expect_close(CloseReason::NotPermitted).await;
    }
    until("all are counted", || closes(&paired.server, CloseReason::NotPermitted) == count).await;
}

#[tokio::test]
async fn when_one_end_leaves_the_other_receives_what_is_queued_and_the_code_of_an_application() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    for (sent, code, reason) in [
        (Some(close_frame(1000, "bye")), 4007, "peer disconnected"),
        (Some(close_frame(4006, "bye")), 4007, "peer disconnected"),
        (Some(close_frame(4404, "bye")), 4007, "peer disconnected"),
        (Some(close_frame(3000, "bye")), 3000, "bye"),
        (Some(close_frame(4100, "")), 4100, ""),
        (Some(close_frame(4399, "é")), 4399, "é"),
        (Some(close_frame(4500, "x")), 4500, "x"),
        (Some(frame(0x88, b"")), 4007, "peer disconnected"),
        (Some(frame(0xff, b"")), 4007, "peer disconnected"),
        (None, 4007, "peer disconnected"),
    ] {
        for leaves_first in ["host", "client"] {
            let (end, client) = paired.pair(&mut host).await;
            let (mut leaving, mut left) = if leaves_first == "host" { (end, client) } else { (client, end) };
            leaving.say("the last words").await;
            match &sent {
                Some(sent) => leaving.raw(sent).await,
                None => drop(leaving),
            }
            left.expect("the last words").await;
            expect_close_with(&mut left, code, reason).await;
        }
    }
    until("only the host is left", || paired.seats() == Some(1)).await;
}

#[tokio::test]
async fn only_a_host_claims_the_registration_and_clients_and_pairs_keep_it() {
    let paired = Paired::new().await;
    let client = paired.client("early").await;
    drop(client);
    until("it has left", || paired.seats() == Some(0)).await;
    let mut host = paired.host().await;
    let (end, client) = paired.pair(&mut host).await;
    drop(host);
    until("the host has left", || paired.seats() == Some(1)).await;
    let waiting = paired.client("late").await;
    drop(end);
    let mut client = client;
    client.expect_close(CloseReason::PeerDisconnected).await;
    until("one waits", || paired.seats() == Some(1)).await;
    drop(waiting);
    until("it ends with the last one", || paired.seats().is_none()).await;
}

#[tokio::test]
async fn the_end_of_the_registration_ends_all_of_it() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let (mut end, mut client) = paired.pair(&mut host).await;
    let mut waiting = paired.client("x").await;
    incoming(&mut host).await;
    let removed = paired.server.get(&format!("/remove?id={}&key=k&host_key=h", paired.id)).await;
    assert_eq!(removed.status, 200);
    for member in [&mut host, &mut end, &mut client, &mut waiting] {
        member.expect_close(CloseReason::Removed).await;
    }
    let paired = Paired::with(Config::default(), "&expires_in=1").await;
    let mut host = paired.host().await;
    let (mut end, mut client) = paired.pair(&mut host).await;
    let is_gone = || {
        paired.server.router.sweep(Instant::now());
        paired.seats().is_none()
    };
    until("its time is over", is_gone).await;
    for member in [&mut host, &mut end, &mut client] {
        member.expect_close(CloseReason::Removed).await;
    }
}

#[tokio::test]
async fn max_members_counts_clients_only() {
    let paired = Paired::with(Config::default(), "&max_members=1").await;
    let (mut host, mut other) = (paired.host().await, paired.host().await);
    let client = paired.client("x").await;
    let ((number, _), _) = (incoming(&mut host).await, incoming(&mut other).await);
    assert_eq!(paired.answer("client_key=c&sock_type=client").await.status, 503);
    let _end = paired.accept(&number).await;
    gone(&mut other).await;
    assert_eq!(paired.answer("client_key=c&sock_type=client").await.status, 503);
    drop(client);
    until("its seat is free", || paired.seats() == Some(2)).await;
    paired.client("y").await;
}

#[tokio::test]
async fn at_most_so_many_clients_wait() {
    let mut config = Config::default();
    config.limits.waiting = 2;
    let paired = Paired::with(config, "").await;
    let mut host = paired.host().await;
    let (one, _other) = (paired.client("1").await, paired.client("2").await);
    let ((number, _), _) = (incoming(&mut host).await, incoming(&mut host).await);
    let answer = paired.answer("client_key=c&sock_type=client").await;
    assert_eq!((answer.status, answer.header("Retry-After")), (503, Some("5")));
    let _end = paired.accept(&number).await;
    let third = paired.client("3").await;
    incoming(&mut host).await;
    assert_eq!(paired.answer("client_key=c&sock_type=client").await.status, 503);
    drop(third);
    gone(&mut host).await;
    let _fourth = paired.client("4").await;
    drop(one);
}

#[tokio::test]
async fn a_network_has_at_most_half_of_the_waiting_clients_that_others_leave_free() {
    let mut config = Config::default();
    config.limits.waiting = 4;
    config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    let paired = Paired::with(config, "").await;
    let ask = async |address: &str| {
        let mut stream = paired.server.connect().await;
        let request = request(&format!("/connect?id={}&client_key=c&sock_type=client", paired.id));
        let forwarded = request.replacen("\r\n", &format!("\r\nX-Forwarded-For: {address}\r\n"), 1);
        stream.write_all(forwarded.as_bytes()).await.unwrap();
        let status = read_head(&mut stream).await.status;
        (stream, status)
    };
    let mut held = Vec::new();
    for (address, status) in [
        ("192.0.2.1", 101),
        ("192.0.2.1", 101),
        ("192.0.2.1", 503),
        ("192.0.2.2", 101),
        ("192.0.2.2", 503),
        ("192.0.2.3", 101),
        ("192.0.2.4", 503),
    ] {
        let (stream, answer) = ask(address).await;
        assert_eq!(answer, status, "{address}");
        held.push(stream);
    }
    assert_eq!(paired.server.metrics.refusals(Refusal::Full), 3);
    held.clear();
    until("their shares are free", || paired.waiting() == 0).await;
    assert_eq!(ask("192.0.2.1").await.1, 101);
}

#[tokio::test]
async fn a_thousand_clients_that_wait_are_announced_to_a_host_at_once() {
    let paired = Paired::new().await;
    let mut clients = Vec::new();
    for number in 0..1000 {
        clients.push(paired.client(&format!("{number}")).await);
    }
    let mut host = paired.host().await;
    let mut numbers = std::collections::HashSet::new();
    for expected in 0..1000 {
        let (number, hello) = incoming(&mut host).await;
        assert_eq!(hello, expected.to_string(), "in the order in which they came");
        numbers.insert(number);
    }
    assert_eq!(numbers.len(), 1000);
    assert_eq!(paired.waiting(), 1000);
}

#[tokio::test]
async fn a_page_can_read_that_no_client_waits() {
    let paired = Paired::new().await;
    let mut stream = paired.server.connect().await;
    let request = request(&format!("/connect?id={}&accept={}", paired.id, "0".repeat(32)));
    let offering = request.replacen("\r\n", "\r\nSec-WebSocket-Protocol: ws-router\r\n", 1);
    stream.write_all(offering.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 101);
    let reason = "no client waits with this number; it may be taken or gone";
    assert_eq!(Device(stream).receive().await, Received::Close(4404, reason.into()));
}

#[tokio::test]
async fn a_drain_closes_all_of_it_with_1012() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let (mut end, mut client) = paired.pair(&mut host).await;
    let mut waiting = paired.client("x").await;
    incoming(&mut host).await;
    paired.server.router.drain(Duration::ZERO);
    until("all are due", || {
        paired.server.router.advance_drain();
        closes(&paired.server, CloseReason::Draining) == 4
    })
    .await;
    for member in [&mut host, &mut end, &mut client, &mut waiting] {
        member.expect_close(CloseReason::Draining).await;
    }
}

#[tokio::test]
async fn an_administrator_who_closes_one_end_closes_the_other_with_4007() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let (mut end, mut client) = paired.pair(&mut host).await;
    let registration = paired.server.router.find(&paired.id).unwrap().registration;
    let members = paired.server.router.members(&registration).await;
    let client_id = members.iter().find(|member| member.role == Role::Client).unwrap().id;
    assert!(paired.server.router.disconnect(client_id, Peer::Unix { uid: 0, pid: 1 }).await);
    client.expect_close(CloseReason::ClosedByAdmin).await;
    end.expect_close(CloseReason::PeerDisconnected).await;
}

#[tokio::test]
async fn a_waiting_client_is_paced_and_nothing_of_it_is_lost() {
    let paired = Paired::new().await;
    let mut host = paired.host().await;
    let client = paired.client("x").await;
    let (number, _) = incoming(&mut host).await;
    let message = frame(0x82, &[7; 64 << 10]);
    let count = 512;
    let (mut stream, bytes) = (client.0, message.repeat(count));
    let sending = tokio::spawn(async move {
        stream.write_all(&bytes).await.unwrap();
        stream
    });
    let totals = paired.server.router.thread_totals();
    until("it has reached the high-water mark", || totals[0].outbox_bytes.value() > 256 << 10).await;
    assert!(totals[0].outbox_bytes.value() < 1 << 20 && !sending.is_finished());
    let mut end = paired.accept(&number).await;
    for _ in 0..count {
        assert_eq!(end.receive().await, Received::Binary(vec![7; 64 << 10]));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn at_most_64_hosts_listen_in_a_registration() {
    let paired = Paired::new().await;
    let mut hosts = Vec::new();
    for _ in 0..64 {
        hosts.push(paired.host().await);
    }
    assert_eq!(paired.answer("key=k&sock_type=host").await.status, 503);
    let _client = paired.client("x").await;
    let mut leaving = hosts.pop().unwrap();
    leaving.raw(&close_frame(1000, "")).await;
    until("a host has left", || paired.seats() == Some(64)).await;
    assert_eq!(paired.answer("key=k&sock_type=host").await.status, 101);
}
