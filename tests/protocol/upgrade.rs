//! The websocket handshake: an exact 101 whatever else is under way, and rejections that a web page can read.

use std::time::Duration;

use crate::support::device::{Received, frame, read_frame, request};
use crate::support::tls::{Secured, client, ecdsa};
use crate::support::{Answer, Server, read_head, until};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use ws_router_core::secret::Token;
use ws_router_server::config::{Config, RateLimit, Rule, User};
use ws_router_server::metrics::{Refusal, Rejection};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";

async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    config.registration.auto_remove = false;
    change(&mut config);
    Server::start(config).await
}

/// Asserts that a 101 has the headers of RFC 6455 section 4.2.2 and no others.
fn assert_exact(answer: &Answer, context: &str) {
    let mut lines: Vec<_> = answer.head.lines().map(str::to_ascii_lowercase).collect();
    lines[1..].sort();
    let accept = "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=";
    assert_eq!(
        lines,
        ["http/1.1 101 switching protocols", "connection: upgrade", accept, "upgrade: websocket"],
        "{context}"
    );
}

#[tokio::test]
async fn the_101_has_exactly_connection_upgrade_whatever_the_request_has() {
    let server = server_with(|_| {}).await;
    let id = server.register(LOBBY).await;
    for connection in
        ["Upgrade", "keep-alive, Upgrade", "close, Upgrade", "Upgrade, close", "Upgrade\r\nConnection: close"]
    {
        let request = request(&format!("/connect?id={id}&key=k"))
            .replace("Connection: Upgrade", &format!("Connection: {connection}"));
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_exact(&read_head(&mut stream).await, connection);
    }
}

#[tokio::test]
async fn the_101_has_exactly_connection_upgrade_while_the_router_stops() {
    let server = server_with(|_| {}).await;
    let id = server.register(LOBBY).await;
    let request = request(&format!("/connect?id={id}&key=k"));
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(server.connect().await);
    }
    until("all are accepted", || server.metrics.connections.value() == 50).await;
    let join_all = async {
        for stream in &mut streams {
            stream.write_all(request.as_bytes()).await.unwrap();
        }
        for stream in &mut streams {
            assert_exact(&read_head(stream).await, "stopping");
        }
    };
    tokio::join!(server.stop(), join_all);
    assert_eq!(server.router.find(&id).unwrap().seats, 50);
}

#[tokio::test]
async fn requests_before_a_handshake_on_the_same_connection_are_answered_first() {
    let server = server_with(|_| {}).await;
    let id = server.register(LOBBY).await;
    let health = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
    let handshake = request(&format!("/connect?id={id}&key=k"));
    let mut stream = server.connect().await;
    stream.write_all(&[health.as_bytes(), handshake.as_bytes(), &frame(0x89, b"hi")].concat()).await.unwrap();
    for _ in 0..20 {
        let answer = read_head(&mut stream).await;
        assert_eq!(answer.status, 200);
        stream.read_exact(&mut [0; 2]).await.unwrap();
    }
    assert_exact(&read_head(&mut stream).await, "after other requests");
    assert_eq!(read_frame(&mut stream).await.unwrap(), Received::Pong(b"hi".to_vec()));
}

#[tokio::test]
async fn a_426_names_the_proxy_that_dropped_the_upgrade() {
    let server = server_with(|_| {}).await;
    let id = server.register(LOBBY).await;
    let handshake = request(&format!("/connect?id={id}&key=k"));
    let ask = async |request: String| {
        let request = request.replacen("\r\n", "\r\nX-Nothing: x\r\n", 1);
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Answer::parse(&answer)
    };
    let plain = format!("GET /connect?id={id}&key=k HTTP/1.1\r\nHost: x\r\n\r\n");
    for (request, cause) in [
        (plain, "expects a websocket"),
        (handshake.replace("HTTP/1.1", "HTTP/1.0"), "a proxy on the path sent this websocket request as HTTP/1.0"),
        (handshake.replace("Upgrade: websocket\r\n", ""), "a proxy on the path removed the Upgrade"),
        (handshake.replace("Connection: Upgrade", "Connection: close"), "a proxy on the path removed the Upgrade"),
    ] {
        let answer = ask(request).await;
        assert_eq!((answer.status, answer.header("upgrade")), (426, Some("websocket")), "{answer:?}");
        let connection = answer.header("connection").unwrap();
        assert!(connection.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")), "{connection}");
        assert!(answer.body.contains(cause), "{}", answer.body);
    }
}

/// Sends a handshake of a page that offers `ws-router`, with more headers.
async fn offer(server: &Server, target: &str, headers: &str) -> (TcpStream, Answer) {
    let request =
        request(target).replacen("\r\n", &format!("\r\nSec-WebSocket-Protocol: chat, ws-router\r\n{headers}"), 1);
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    (stream, answer)
}

/// Asserts that a handshake is rejected by a close frame; returns its reason.
async fn reject(server: &Server, target: &str, headers: &str, code: u16) -> String {
    let (mut stream, answer) = offer(server, target, headers).await;
    assert_eq!(
        (answer.status, answer.header("sec-websocket-protocol")),
        (101, Some("ws-router")),
        "{target}: {answer:?}"
    );
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    let Received::Close(received, reason) = read_frame(&mut stream).await.unwrap() else { panic!("no close frame") };
    assert_eq!(received, code, "{target}: {reason}");
    stream.write_all(&frame(0x88, &code.to_be_bytes())).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "it ends after both close frames");
    reason
}

#[tokio::test]
async fn a_page_that_offers_ws_router_reads_the_status_of_a_rejection_in_a_close_code() {
    let server = server_with(|config| {
        config.limits.members = 1;
        config.limits.wrong_key_rate = RateLimit(Some("1/h burst 1".parse().unwrap()));
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    })
    .await;
    let id = server.register(LOBBY).await;
    let connect = format!("/connect?id={id}&key=k");
    assert!(reject(&server, &format!("/connect?id={id}"), "", 4400).await.contains("key"));
    assert!(reject(&server, "/connect?id=no-such-id&key=k", "", 4404).await.contains("no such registration"));
    let far = "X-Forwarded-For: 192.0.2.1\r\n";
    assert!(reject(&server, &format!("/connect?id={id}&key=bad"), far, 4403).await.contains("wrong key"));
    let wait = reject(&server, &connect, far, 4429).await;
    assert!(wait.split(' ').next().unwrap().parse::<u64>().unwrap() > 3500, "{wait}");
    let (_member, answer) = offer(&server, &connect, "").await;
    assert_eq!(answer.status, 101);
    assert!(reject(&server, &connect, "", 4453).await.starts_with("5 the registration has as many members"));
    assert_eq!(server.metrics.refusals(Refusal::WrongKey), 1);
    assert_eq!(server.router.find(&id).unwrap().seats, 1);
    until("the rejected ones are gone", || server.metrics.connections.value() == 1).await;
}

#[tokio::test]
async fn a_page_without_a_token_reads_4401_and_a_denied_one_4403() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, format!("phone:{}\n", Token::from_bits([1; 32]).hash())).unwrap();
    let server = server_with(|config| config.access = vec![Rule { tokens: Some(path), ..Rule::default() }]).await;
    assert!(reject(&server, "/connect?id=12345678&key=k", "", 4401).await.contains("token"));
    server.reconfigure(|config| config.access = vec![Rule { users: vec![User::Id(4_000_000_000)], ..Rule::default() }]);
    assert!(reject(&server, "/connect?id=12345678&key=k", "", 4403).await.contains("access rules"));
}

#[tokio::test]
async fn other_rejections_stay_http() {
    let server = server_with(|config| {
        config.limits.connections_per_address = Some(1);
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    })
    .await;
    let id = server.register(LOBBY).await;
    let connect = format!("/connect?id={id}&key=k");
    let far = "X-Forwarded-For: 192.0.2.1\r\n";
    let (_member, answer) = offer(&server, &connect, far).await;
    assert_eq!(answer.status, 101);
    assert_eq!(offer(&server, &connect, far).await.1.status, 503, "too many connections");
    assert_eq!(server.metrics.rejections(Rejection::PerAddress), 1);
    let mut stream = server.connect().await;
    stream.write_all(request("/connect?id=no-such-id&key=k").as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 404, "ws-router isn't offered");
    let long = format!("/connect?id=no-such-id&key={}", "k".repeat(9000));
    assert_eq!(offer(&server, &long, "").await.1.status, 414);
    let invalid = request("/connect?id=no-such-id&key=k").replace("dGhlIHNhbXBsZSBub25jZQ==", "short");
    let mut stream = server.connect().await;
    stream
        .write_all(invalid.replacen("\r\n", "\r\nSec-WebSocket-Protocol: ws-router\r\n", 1).as_bytes())
        .await
        .unwrap();
    assert_eq!(read_head(&mut stream).await.status, 400, "not a valid handshake");
}

#[tokio::test]
async fn a_rejected_page_counts_as_a_connection_until_it_closes_or_the_close_timeout_ends() {
    let server = server_with(|config| {
        config.websocket.close_timeout = Duration::from_millis(200);
        config.limits.pending = 1;
    })
    .await;
    let (mut stream, answer) = offer(&server, "/connect?id=no-such-id&key=k", "").await;
    assert_eq!(answer.status, 101);
    assert!(matches!(read_frame(&mut stream).await.unwrap(), Received::Close(4404, _)));
    assert_eq!((server.metrics.connections.value(), server.metrics.pending.value()), (1, 1));
    // What it sends instead of a close frame is discarded.
    stream.write_all(&frame(0x82, &[0; 5000])).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    until("its slot is free", || server.metrics.pending.value() == 0 && server.metrics.connections.value() == 0).await;
}

#[tokio::test]
async fn a_rejected_page_behind_a_proxy_counts_as_a_connection_of_its_network() {
    let server = server_with(|config| {
        config.limits.connections_per_address = Some(1);
        config.http.trusted_proxies = ["127.0.0.1".parse().unwrap()].into_iter().collect();
    })
    .await;
    let id = server.register(LOBBY).await;
    let (far, near) = ("X-Forwarded-For: 192.0.2.1\r\n", "X-Forwarded-For: 192.0.2.2\r\n");
    let (mut rejected, answer) = offer(&server, "/connect?id=no-such-id&key=k", far).await;
    assert_eq!(answer.status, 101);
    assert_eq!(offer(&server, &format!("/connect?id={id}&key=k"), far).await.1.status, 503);
    assert_eq!(offer(&server, "/connect?id=no-such-id", far).await.1.status, 400, "not one more");
    assert_eq!(offer(&server, &format!("/connect?id={id}&key=k"), near).await.1.status, 101);
    assert!(matches!(read_frame(&mut rejected).await.unwrap(), Received::Close(4404, _)));
    rejected.write_all(&frame(0x88, &4404u16.to_be_bytes())).await.unwrap();
    assert_eq!(rejected.read(&mut [0]).await.unwrap(), 0);
    let again = async { while offer(&server, &format!("/connect?id={id}&key=k"), far).await.1.status != 101 {} };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("the slot was never given back");
}

#[tokio::test]
async fn a_page_on_tls_is_rejected_readably_and_can_answer_the_close_frame() {
    let secured = Secured::start(ecdsa).await;
    let handshake = request("/connect?id=no-such-id&key=k");
    let handshake = handshake.replacen("\r\n", "\r\nSec-WebSocket-Protocol: ws-router\r\n", 1);
    for version in [&TLS12, &TLS13] {
        let mut stream = secured.dial(client(&[version])).await.unwrap();
        stream.write_all(handshake.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 101);
        assert!(matches!(read_frame(&mut stream).await.unwrap(), Received::Close(4404, _)));
        stream.write_all(&frame(0x88, &4404u16.to_be_bytes())).await.unwrap();
        // A stream that ended without close_notify would be an error.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}
