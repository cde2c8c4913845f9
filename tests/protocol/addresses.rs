//! Client addresses behind proxies: the PROXY protocol, forwarded headers, and which proxies are trusted.

use std::sync::Arc;
use std::time::Duration;

use crate::support::device::{Device, Stream};
use crate::support::{Answer, Server, exchange, plain, until};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use ws_router_admin_api::ListenAddress;
use ws_router_server::config::{Config, ForwardedHeader, Listener};
use ws_router_server::peer::{Peer, Peers, Range};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn peers(texts: &[&str]) -> Peers {
    texts.iter().map(|text| text.parse::<Range>().unwrap()).collect()
}

/// Starts a router whose only listener expects a PROXY header from loopback.
async fn behind_proxy(change: impl FnOnce(&mut Config)) -> Server {
    let listeners = vec![Listener { proxy_protocol: true, ..plain() }];
    let mut config = Config { listeners, ..Config::default() };
    config.http.trusted_proxies = peers(&["127.0.0.1"]);
    change(&mut config);
    Server::start(config).await
}

/// Registers with the router itself, since not every test's router answers plain requests.
async fn lobby(server: &Server) -> String {
    use ws_router_core::kind::Kind;
    use ws_router_core::secret::Key;
    use ws_router_server::registry::Request;
    let (key, host_key) = (Key::new("k".into()), Key::new("h".into()));
    let request = Request {
        key,
        host_key,
        kind: Kind::Lobby,
        wanted: None,
        reject_taken: false,
        rule: None,
        terms: Default::default(),
    };
    let client = Peer::Unix { uid: 0, pid: 0 };
    server.router.register(&request, &client).await.unwrap().to_string()
}

/// Returns the address of the only member of a registration.
async fn address_of_member(server: &Server, id: &str) -> String {
    let registration = server.router.find(id).unwrap().registration;
    let members = server.router.members(&registration).await;
    assert_eq!(members.len(), 1);
    members[0].peer.to_string()
}

/// Joins over a stream on which `begin` is sent first.
async fn joined(mut stream: impl Stream + 'static, begin: &[u8], id: &str) -> Device<impl Stream> {
    stream.write_all(begin).await.unwrap();
    Device::join(stream, &format!("/connect?id={id}&key=k")).await
}

async fn asked(server: &Server, bytes: &[u8]) -> Answer {
    exchange(server.connect().await, bytes).await
}

fn binary(command: u8) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11, 0, 12], &addresses].concat()
}

#[tokio::test]
async fn both_versions_of_the_proxy_header_give_a_member_its_own_address() {
    let server = behind_proxy(|_| {}).await;
    for (header, address) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4660 443\r\n".to_vec(), "192.0.2.1:4660"),
        (binary(0x21), "192.0.2.1:4660"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), "[2001:db8::1]:1"),
    ] {
        let id = lobby(&server).await;
        let _member = joined(server.connect().await, &header, &id).await;
        assert_eq!(address_of_member(&server, &id).await, address);
    }
    assert_eq!(server.metrics.proxy_failures.value(), 0);
}

#[tokio::test]
async fn a_local_proxy_header_keeps_the_proxys_address() {
    let server = behind_proxy(|_| {}).await;
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), binary(0x20)] {
        assert_eq!(asked(&server, &[header.clone(), HEALTH.to_vec()].concat()).await.status, 200);
        let id = lobby(&server).await;
        let _member = joined(server.connect().await, &header, &id).await;
        assert!(address_of_member(&server, &id).await.starts_with("127.0.0.1:"));
    }
}

#[tokio::test]
async fn a_connection_without_a_valid_header_is_closed_and_counted() {
    let server = behind_proxy(|_| {}).await;
    for (count, bytes) in [HEALTH, b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\nXXXX"].into_iter().enumerate() {
        assert_eq!(asked(&server, bytes).await.status, 0);
        assert_eq!(server.metrics.proxy_failures.value(), count as u64 + 1);
    }
    assert_eq!(server.metrics.requests.value(), 0);
    until("all are gone", || server.metrics.connections.value() == 0).await;
}

#[tokio::test]
async fn a_connection_without_a_header_in_time_is_closed() {
    let server = behind_proxy(|config| config.http.request_timeout = Duration::from_millis(50)).await;
    let mut slow = server.connect().await;
    slow.write_all(b"PROXY TCP4 192.0.2.1 ").await.unwrap();
    assert_eq!(slow.read(&mut [0; 10]).await.unwrap_or(0), 0);
    assert_eq!(server.metrics.proxy_failures.value(), 1);
}

#[tokio::test]
async fn a_proxy_header_from_an_untrusted_peer_is_rejected() {
    let server = behind_proxy(|config| config.http.trusted_proxies = peers(&["192.0.2.0/24", "unix"])).await;
    assert_eq!(asked(&server, &[&binary(0x21), HEALTH].concat()).await.status, 0);
    assert_eq!(server.metrics.proxy_failures.value(), 1);
    server.reconfigure(|config| config.http.trusted_proxies = peers(&["127.0.0.0/8"]));
    assert_eq!(asked(&server, &[&binary(0x21), HEALTH].concat()).await.status, 200);
}

#[tokio::test]
async fn tls_starts_after_the_proxy_header() {
    let secured = crate::support::tls::Secured::start_with(crate::support::tls::ecdsa, |config| {
        config.listeners[1].proxy_protocol = true;
        config.http.trusted_proxies = peers(&["127.0.0.1"]);
    })
    .await;
    let id = lobby(&secured.server).await;
    let mut stream = tokio::net::TcpStream::connect(secured.server.https.unwrap()).await.unwrap();
    stream.write_all(&binary(0x21)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(crate::support::tls::client(&[&TLS13])));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let _member = joined(stream, b"", &id).await;
    assert_eq!(address_of_member(&secured.server, &id).await, "192.0.2.1:4660");
}

#[tokio::test]
async fn a_members_address_is_what_a_trusted_proxy_forwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listeners = vec![plain(), Listener::new(ListenAddress::Unix(path.clone()), None)];
    let mut config = Config { listeners, ..Config::default() };
    config.http.trusted_proxies = peers(&["unix"]);
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    let request = crate::support::device::request(&format!("/connect?id={id}&key=k"));
    let request =
        request.replacen("\r\n", "\r\nX-Forwarded-For: 203.0.113.9, 192.0.2.1\r\nForwarded: for=10.0.0.1\r\n", 1);

    let mut through_proxy = UnixStream::connect(&path).await.unwrap();
    through_proxy.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(crate::support::read_head(&mut through_proxy).await.status, 101);
    assert_eq!(address_of_member(&server, &id).await, "192.0.2.1");

    drop(through_proxy);
    let id = server.register(LOBBY).await;
    let request = request.replacen("id=", &format!("id={id}&x="), 1);
    let mut directly = server.connect().await;
    directly.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(crate::support::read_head(&mut directly).await.status, 101);
    assert!(address_of_member(&server, &id).await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn each_request_of_a_kept_connection_has_its_own_client() {
    let mut config = Config::default();
    config.http.trusted_proxies = peers(&["127.0.0.1"]);
    config.http.forwarded_header = ForwardedHeader::Forwarded;
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nForwarded: for=192.0.2.1\r\n\r\n").await.unwrap();
    assert_eq!(crate::support::read_head(&mut stream).await.status, 200);
    stream.read_exact(&mut [0; 2]).await.unwrap();
    let request = crate::support::device::request(&format!("/connect?id={id}&key=k"));
    let request = request.replacen("\r\n", "\r\nForwarded: for=\"[2001:db8::2]:7\"\r\n", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(crate::support::read_head(&mut stream).await.status, 101);
    assert_eq!(address_of_member(&server, &id).await, "[2001:db8::2]:7");
}

#[tokio::test]
async fn a_forwarding_header_of_an_untrusted_peer_is_ignored_and_counted() {
    let server = Server::start(Config::default()).await;
    for header in ["X-Forwarded-For: 192.0.2.1\r\n", "Forwarded: for=192.0.2.1\r\n", ""] {
        assert_eq!(server.request("GET", "/healthz", header, "").await.status, 200);
    }
    assert_eq!(server.metrics.untrusted_forwarded.value(), 2);
    server.reconfigure(|config| config.http.trusted_proxies = peers(&["127.0.0.1"]));
    assert_eq!(server.request("GET", "/healthz", "X-Forwarded-For: 192.0.2.1\r\n", "").await.status, 200);
    assert_eq!(server.metrics.untrusted_forwarded.value(), 2);
}

#[tokio::test]
async fn with_require_forwarded_a_proxys_request_without_the_header_is_rejected() {
    let mut config = Config::default();
    config.http.trusted_proxies = peers(&["127.0.0.1"]);
    config.http.require_forwarded = true;
    let server = Server::start(config).await;
    let register = format!("/register?{LOBBY}");
    for (header, status) in [
        ("", 400),
        ("X-Forwarded-For: ,\r\n", 400),
        ("Forwarded: for=192.0.2.1\r\n", 400),
        ("X-Forwarded-For: 192.0.2.1\r\n", 200),
    ] {
        assert_eq!(server.request("GET", &register, header, "").await.status, status, "{header}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    server.reconfigure(|config| config.http.trusted_proxies = Peers::default());
    assert_eq!(server.get(&register).await.status, 200, "it isn't a proxy");
}
