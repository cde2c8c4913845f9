//! Limits of client networks: what each answers and counts, and that it affects no other network.

use std::time::Duration;

use crate::support::device::{Device, Received};
use crate::support::{Answer, Server, exchange, plain, read_head, until};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use ws_router_admin_api::ListenAddress;
use ws_router_core::close::CloseReason;
use ws_router_server::config::{Config, Limits, Listener, RateLimit};
use ws_router_server::metrics::{Refusal, Rejection};
use ws_router_server::peer::Range;

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";

fn rate(text: &str) -> RateLimit {
    RateLimit(Some(text.parse().unwrap()))
}

/// Starts a router that trusts loopback as a proxy, by forwarded headers or the PROXY protocol.
async fn router(limits: Limits, proxy_protocol: bool) -> Server {
    let listeners = vec![Listener { proxy_protocol, ..plain() }];
    let mut config = Config { listeners, limits, ..Config::default() };
    config.registration.auto_remove = false;
    config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    Server::start(config).await
}

/// Makes a request that a proxy forwards for a client.
async fn ask(server: &Server, client: &str, target: &str) -> Answer {
    server.request("GET", target, &format!("X-Forwarded-For: {client}\r\n"), "").await
}

/// Sends a handshake that a proxy forwards for a client; returns the connection and the head of the answer.
async fn connect(server: &Server, client: &str, id: &str, key: &str) -> (TcpStream, Answer) {
    let mut stream = server.connect().await;
    let request = crate::support::device::request(&format!("/connect?id={id}&key={key}"));
    let request = request.replacen("\r\n", &format!("\r\nX-Forwarded-For: {client}\r\n"), 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    (stream, answer)
}

fn assert_too_often(answer: &Answer, most: u64) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=most).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_network_that_registers_too_often_waits_and_others_do_not() {
    let server = router(Limits { register_rate: rate("1/h burst 2"), ..Limits::default() }, false).await;
    let register = format!("/register?{LOBBY}");
    for _ in 0..2 {
        assert_eq!(ask(&server, "2001:db8::1", &register).await.status, 200);
    }
    assert_too_often(&ask(&server, "2001:db8::2", &register).await, 3600);
    assert_eq!(server.metrics.refusals(Refusal::TooOften), 1);
    assert_eq!(server.router.registrations(), 2);
    for other in ["2001:db8:0:1::1", "192.0.2.1"] {
        assert_eq!(ask(&server, other, &register).await.status, 200);
    }
    for _ in 0..10 {
        assert_eq!(server.get(&register).await.status, 200);
    }
}

#[tokio::test]
async fn wrong_keys_are_rate_limited_on_every_route_for_their_registration_alone() {
    let server = router(Limits { wrong_key_rate: rate("1/h burst 3"), ..Limits::default() }, false).await;
    let (mine, other) = (server.register(LOBBY).await, server.register(LOBBY).await);
    assert_eq!(connect(&server, "192.0.2.1", &mine, "bad").await.1.status, 403);
    assert_eq!(ask(&server, "192.0.2.1", &format!("/remove?id={mine}&key=k&host_key=bad")).await.status, 403);
    let guess = format!("/register?key=bad&host_key=bad&reg_type=lobby&id_req={mine}");
    assert_eq!(ask(&server, "192.0.2.1", &guess).await.status, 200);

    assert_too_often(&connect(&server, "192.0.2.1", &mine, "bad").await.1, 3600);
    assert_too_often(&ask(&server, "192.0.2.1", &guess).await, 3600);
    assert_too_often(&ask(&server, "192.0.2.1", &format!("/remove?id={mine}&key=k&host_key=h")).await, 3600);
    assert_too_often(&connect(&server, "192.0.2.1", &mine, "k").await.1, 3600);
    assert_eq!(server.metrics.refusals(Refusal::TooOften), 4);

    assert_eq!(connect(&server, "192.0.2.1", &other, "k").await.1.status, 101);
    assert_eq!(connect(&server, "192.0.2.2", &mine, "k").await.1.status, 101);
}

#[tokio::test]
async fn wrong_keys_from_this_machine_are_rate_limited_too() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("http.sock");
    let mut config = Config {
        limits: Limits { wrong_key_rate: rate("1/h burst 3"), ..Limits::default() },
        listeners: vec![plain(), Listener::new(ListenAddress::Unix(socket.clone()), None)],
        ..Config::default()
    };
    config.http.trusted_proxies = ["unix".parse::<Range>().unwrap()].into_iter().collect();
    let server = Server::start(config).await;
    let (mine, other) = (server.register(LOBBY).await, server.register(LOBBY).await);
    let remove = |id: &str, host_key| format!("/remove?id={id}&key=k&host_key={host_key}");
    for _ in 0..3 {
        assert_eq!(server.get(&remove(&mine, "bad")).await.status, 403);
    }
    assert_too_often(&server.get(&remove(&mine, "bad")).await, 3600);
    assert_too_often(&server.get(&remove(&mine, "h")).await, 3600);
    assert_eq!(server.get(&remove(&other, "h")).await.status, 200);

    // A Unix socket is another network, and limited even where it belongs to a trusted proxy.
    let by_socket = async |host_key| {
        let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", remove(&mine, host_key));
        exchange(stream, request.as_bytes()).await
    };
    for _ in 0..3 {
        assert_eq!(by_socket("bad").await.status, 403);
    }
    assert_too_often(&by_socket("h").await, 3600);
}

#[tokio::test]
async fn right_keys_and_unknown_ids_do_not_count_as_wrong_keys() {
    let server = router(Limits { wrong_key_rate: rate("1/h burst 1"), ..Limits::default() }, false).await;
    let id = server.register(LOBBY).await;
    for _ in 0..5 {
        assert_eq!(connect(&server, "192.0.2.1", &id, "k").await.1.status, 101);
        assert_eq!(connect(&server, "192.0.2.1", "no-such-id", "k").await.1.status, 404);
        let again = ask(&server, "192.0.2.1", &format!("/register?{LOBBY}&id_req={id}")).await;
        assert_eq!((again.status, again.body), (200, id.clone()));
    }
    assert_eq!(server.metrics.refusals(Refusal::TooOften), 0);
}

#[tokio::test]
async fn a_network_that_connects_too_often_is_closed_before_anything_is_read() {
    let server = router(Limits { connection_rate: rate("1/h burst 2"), ..Limits::default() }, true).await;
    let request = |client: &str| {
        format!("PROXY TCP4 {client} 10.0.0.1 1 2\r\nGET /healthz HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n")
    };
    for _ in 0..2 {
        assert_eq!(exchange(server.connect().await, request("192.0.2.1").as_bytes()).await.status, 200);
    }
    assert_eq!(exchange(server.connect().await, request("192.0.2.1").as_bytes()).await.status, 0);
    assert_eq!((server.metrics.rejections(Rejection::Rate), server.metrics.requests.value()), (1, 2));
    assert_eq!(exchange(server.connect().await, request("192.0.2.2").as_bytes()).await.status, 200);
}

#[tokio::test]
async fn requests_on_a_kept_connection_count_as_connections_do() {
    let server = router(Limits { connection_rate: rate("1/h burst 2"), ..Limits::default() }, true).await;
    let mut stream = server.connect().await;
    stream.write_all(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n").await.unwrap();
    for status in [200, 200, 429] {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let answer = read_head(&mut stream).await;
        assert_eq!(answer.status, status);
        let len = answer.header("content-length").unwrap().parse().unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut vec![0; len]).await.unwrap();
    }
}

#[tokio::test]
async fn behind_a_proxy_each_request_counts_for_its_client() {
    let server = router(Limits { connection_rate: rate("1/h burst 1"), ..Limits::default() }, false).await;
    assert_eq!(ask(&server, "192.0.2.1", "/healthz").await.status, 200);
    assert_too_often(&ask(&server, "192.0.2.1", "/healthz").await, 3600);
    assert_eq!(ask(&server, "192.0.2.2", "/healthz").await.status, 200);
    for _ in 0..5 {
        assert_eq!(server.get("/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_forwarded_network_with_too_many_connections_is_rejected_until_one_ends() {
    let server = router(Limits { connections_per_address: Some(1), ..Limits::default() }, false).await;
    let id = server.register(LOBBY).await;
    let (first, answer) = connect(&server, "192.0.2.1", &id, "k").await;
    assert_eq!(answer.status, 101);
    let refused = connect(&server, "192.0.2.1", &id, "k").await.1;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(server.metrics.rejections(Rejection::PerAddress), 1);
    assert_eq!(connect(&server, "192.0.2.2", &id, "k").await.1.status, 101);
    drop(first);
    let again = async { while connect(&server, "192.0.2.1", &id, "k").await.1.status != 101 {} };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the slot was never released");
}

#[tokio::test]
async fn a_direct_network_with_too_many_connections_is_closed_at_once() {
    let server = router(Limits { connections_per_address: Some(1), ..Limits::default() }, true).await;
    let register = format!("PROXY UNKNOWN\r\nGET /register?{LOBBY} HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n");
    let id = exchange(server.connect().await, register.as_bytes()).await.body;
    let mut streams = Vec::new();
    for client in ["192.0.2.1", "192.0.2.1", "192.0.2.2"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("PROXY TCP4 {client} 10.0.0.1 1 2\r\n").as_bytes()).await.unwrap();
        stream.write_all(crate::support::device::request(&format!("/connect?id={id}&key=k")).as_bytes()).await.unwrap();
        let status = read_head(&mut stream).await.status;
        streams.push((Device(stream), status));
    }
    let statuses: Vec<_> = streams.iter().map(|(_, status)| *status).collect();
    assert_eq!(statuses, [101, 0, 101]);
    assert_eq!(server.metrics.rejections(Rejection::PerAddress), 1);
    streams[0].0.say("still here").await;
    assert_eq!(streams[2].0.frame().await, Received::Text("still here".into()));
}

#[tokio::test]
async fn a_full_registration_accepts_no_member_until_one_leaves() {
    let server = router(Limits { members: 2, ..Limits::default() }, false).await;
    let (full, other) = (server.register(LOBBY).await, server.register(LOBBY).await);
    let (first, _) = connect(&server, "192.0.2.1", &full, "k").await;
    let (_second, _) = connect(&server, "192.0.2.1", &full, "k").await;
    let refused = connect(&server, "192.0.2.1", &full, "k").await.1;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(server.metrics.refusals(Refusal::Full), 1);
    assert_eq!(connect(&server, "192.0.2.1", &other, "k").await.1.status, 101);
    drop(first);
    let again = async { while connect(&server, "192.0.2.1", &full, "k").await.1.status != 101 {} };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the seat was never released");
}

#[tokio::test]
async fn without_memory_newcomers_are_rejected_and_members_continue() {
    let server = Server::start(Config::default()).await;
    let id = server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let mut one = Device::join(server.connect().await, &target).await;
    let mut other = Device::join(server.connect().await, &target).await;
    server.router.memory().set_limit(1);
    for refused in [server.get(&format!("/register?{LOBBY}")).await, connect(&server, "192.0.2.1", &id, "k").await.1] {
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    }
    assert_eq!(server.metrics.out_of_memory.value(), 2);
    one.say("still here").await;
    assert_eq!(other.frame().await, Received::Text("still here".into()));
    server.router.memory().set_limit(u64::MAX);
    assert_eq!(server.register(LOBBY).await.len(), 32);
}

#[tokio::test]
async fn above_the_memory_limit_the_member_that_holds_most_is_closed_and_the_others_notice_nothing() {
    let limits = Limits { memory: Some(bytesize::ByteSize::mib(2)), ..Limits::default() };
    let server = Server::start(Config { limits, ..Config::default() }).await;
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let target = format!("/connect?id={}&key=k", server.register(LOBBY).await);
        let one = Device::join(server.connect().await, &target).await;
        pairs.push((one, Device::join(server.connect().await, &target).await));
    }
    let [(hoarder, neighbor), (one, other)] = &mut pairs[..] else { unreachable!() };
    // An unfinished message.
    hoarder.raw(&crate::support::device::frame(0x02, &vec![0; 4 << 20])).await;
    hoarder.expect_close(CloseReason::TooSlow).await;
    let totals = &server.router.thread_totals()[0];
    let counted = || (totals.relieved.value(), totals.closes(CloseReason::TooSlow)) == (1, 1);
    until("it is counted", counted).await;
    one.say("still here").await;
    assert_eq!(other.frame().await, Received::Text("still here".into()));
    neighbor.say("alone").await;
    until("all memory is released", || totals.held.value() == 0).await;
}
