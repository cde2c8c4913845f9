//! A network that holds all the connections it can leaves others room, in whatever way it holds them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use ws_router_server::config::{Config, Limits, Listener, Tls};
use ws_router_server::metrics::Rejection;
use ws_router_server::peer::Range;

use crate::support::tls::{client, ecdsa};
use crate::support::{Server, exchange, plain, read_head, until};

const PENDING: usize = 16;
const ATTACKER: &str = "192.0.2.1";
const NEWCOMER: &str = "198.51.100.1";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Starts a router with few pending connections, whose clients come through a trusted proxy on loopback.
async fn router(listener: Listener) -> Server {
    router_with(listener, |limits| limits.pending = PENDING).await
}

async fn router_with(listener: Listener, change: impl FnOnce(&mut Limits)) -> Server {
    let mut config = Config { listeners: vec![Listener { proxy_protocol: true, ..listener }], ..Config::default() };
    config.http.trusted_proxies = ["127.0.0.1".parse::<Range>().unwrap()].into_iter().collect();
    change(&mut config.limits);
    Server::start(config).await
}

/// Returns the address of the router's only listener.
fn address(server: &Server) -> SocketAddr {
    server.https.unwrap_or(server.http)
}

/// Connects as a client of this address.
async fn connect(server: &Server, client: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address(server)).await.unwrap();
    stream.write_all(format!("PROXY TCP4 {client} 198.51.100.9 1 2\r\n").as_bytes()).await.unwrap();
    stream
}

/// Opens connections of one network, each of which sends `bytes`, until the network is at its share.
async fn hold(server: &Server, bytes: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    while server.metrics.rejections(Rejection::Share) + server.metrics.rejections(Rejection::Evicted) == 0 {
        let mut stream = connect(server, ATTACKER).await;
        let _ = stream.write_all(bytes).await;
        held.push(stream);
        tokio::task::yield_now().await;
    }
    until("the share is held", || server.metrics.pending.value() <= PENDING as u64 / 2).await;
    held
}

/// A newcomer of another network succeeds, every time.
async fn newcomer_succeeds(server: &Server) {
    for attempt in 0..50 {
        let answer = exchange(connect(server, NEWCOMER).await, HEALTH).await;
        assert_eq!(answer.status, 200, "attempt {attempt}");
    }
}

#[tokio::test]
async fn silent_connections_of_one_network_leave_others_room() {
    let server = router(plain()).await;
    let _held = hold(&server, b"").await;
    newcomer_succeeds(&server).await;
}

#[tokio::test]
async fn slow_requests_of_one_network_leave_others_room() {
    let server = router(plain()).await;
    let _held = hold(&server, b"GET /healthz HTTP/1.1\r\nHost: ").await;
    newcomer_succeeds(&server).await;
}

#[tokio::test]
async fn requests_in_progress_of_one_network_leave_others_room() {
    let server = router(plain()).await;
    let _held = hold(&server, b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nkey=").await;
    newcomer_succeeds(&server).await;
}

#[tokio::test]
async fn kept_connections_of_one_network_leave_others_room() {
    let server = router(plain()).await;
    let mut held = Vec::new();
    for _ in 0..PENDING / 2 {
        let mut stream = connect(&server, ATTACKER).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 200);
        held.push(stream);
    }
    assert_eq!(server.metrics.pending.value(), PENDING as u64 / 2);
    // One more is rejected, or takes the slot of the one that has been idle longest.
    let _more = connect(&server, ATTACKER).await;
    until("it is counted", || {
        server.metrics.rejections(Rejection::Share) + server.metrics.rejections(Rejection::Evicted) == 1
    })
    .await;
    newcomer_succeeds(&server).await;
}

#[tokio::test]
async fn half_sent_tls_hellos_of_one_network_leave_others_room() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls::new(folder.path().join("cert.pem"), folder.path().join("key.pem"));
    ecdsa(&tls);
    let server = router(Listener { tls: Some(tls), ..plain() }).await;
    // The head of a ClientHello of 512 bytes.
    let _held = hold(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    let connector = TlsConnector::from(Arc::new(client(&[&TLS13])));
    for attempt in 0..50 {
        let stream = connect(&server, NEWCOMER).await;
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await;
        let answer = exchange(stream.unwrap_or_else(|error| panic!("attempt {attempt}: {error}")), HEALTH).await;
        assert_eq!(answer.status, 200, "attempt {attempt}");
    }
}

#[tokio::test]
async fn half_sent_proxy_headers_are_evicted_for_newcomers() {
    let server = router(plain()).await;
    let mut held = Vec::new();
    for _ in 0..PENDING {
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        stream.write_all(b"PROXY TCP4 ").await.unwrap();
        held.push(stream);
    }
    until("all slots are taken", || server.metrics.pending.value() == PENDING as u64).await;
    // The headers have begun, so each has some seconds before it can be evicted.
    tokio::time::timeout(Duration::from_secs(8), async {
        while exchange(connect(&server, NEWCOMER).await, HEALTH).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    newcomer_succeeds(&server).await;
    assert!(server.metrics.rejections(Rejection::Evicted) > 0);
}

#[tokio::test]
async fn silent_connections_that_use_up_all_connections_are_evicted_for_newcomers() {
    let server = router_with(plain(), |limits| limits.connections = Some(PENDING)).await;
    let mut held = Vec::new();
    for number in 0..PENDING {
        held.push(connect(&server, &format!("203.0.113.{number}")).await);
    }
    until("all connections are taken", || server.metrics.connections.value() == PENDING as u64).await;
    newcomer_succeeds(&server).await;
    assert_eq!(server.metrics.rejections(Rejection::Limit), 0);
}

#[tokio::test]
async fn many_networks_that_hold_all_slots_are_evicted_for_newcomers() {
    let server = router(plain()).await;
    let mut held = Vec::new();
    for number in 0..PENDING {
        held.push(connect(&server, &format!("203.0.113.{number}")).await);
    }
    until("all slots are taken", || server.metrics.pending.value() == PENDING as u64).await;
    newcomer_succeeds(&server).await;
    // An evicted connection is closed at once.
    until("some are evicted", || server.metrics.rejections(Rejection::Evicted) > 0).await;
    let read = tokio::time::timeout(Duration::from_secs(5), held[0].read(&mut [0])).await.unwrap();
    assert!(read.is_err() || read.is_ok_and(|count| count == 0));
}
