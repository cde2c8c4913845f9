//! TLS on the public routes: every kind of key, both versions, clients without SNI, and new certificates at run time.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::tls::{Secured, client, dial, ecdsa, generated, reload};
use crate::support::{exchange, read_head, until};
use futures_util::{SinkExt, StreamExt};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use ws_router_server::config::Tls;

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Creates a key with one openssl command, and a certificate for it with another.
fn by_openssl(files: &Tls, make_key: &[&str]) {
    openssl(make_key, &files.key);
    let key = files.key.to_str().unwrap();
    openssl(&["req", "-x509", "-new", "-subj", "/CN=localhost", "-days", "2", "-key", key], &files.certificate);
}

fn openssl(arguments: &[&str], into: &Path) {
    let made = Command::new("openssl").args(arguments).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(into, made.stdout).unwrap();
}

fn has_openssl() -> bool {
    Command::new("openssl").arg("version").output().is_ok()
}

async fn assert_serves_both_versions(secured: &Secured) {
    for version in [&TLS12, &TLS13] {
        let stream = secured.dial(client(&[version])).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        assert_eq!(exchange(stream, HEALTH).await.body, "ok");
    }
    assert_eq!(secured.server.metrics.tls_handshakes.value(), 2);
}

#[tokio::test]
async fn ecdsa_and_ed25519_keys_serve_both_versions() {
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        assert_serves_both_versions(&Secured::start(|files| generated(files, kind)).await).await;
    }
}

#[tokio::test]
async fn keys_as_openssl_makes_them_serve_both_versions() {
    if !has_openssl() {
        return;
    }
    let recipes: [&[&str]; 4] = [
        &["genrsa", "3072"],
        // PKCS#1 and SEC1.
        &["genrsa", "-traditional", "2048"],
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
        &["genpkey", "-algorithm", "ed25519"],
    ];
    for recipe in recipes {
        assert_serves_both_versions(&Secured::start(|files| by_openssl(files, recipe)).await).await;
    }
}

#[tokio::test]
async fn http_1_is_agreed_on_and_nothing_else() {
    let secured = Secured::start(ecdsa).await;
    let mut both = client(&[&TLS13]);
    both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = secured.dial(both).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut h2 = client(&[&TLS13]);
    h2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(secured.dial(h2).await.is_err());
    until("the failure is counted", || secured.server.metrics.tls_failures.value() == 1).await;
}

/// The terminal client uses TLS without SNI, accepts any certificate, and sends a slash after its role and an unescaped
/// plus in its key.
#[tokio::test]
async fn the_terminal_client_talks_to_a_plain_host() {
    let secured = Secured::start(ecdsa).await;
    let server = &secured.server;
    let id = server.register("key=a%20b&host_key=h&reg_type=hostclient").await;
    let mut host = server.websocket(&format!("/connect?id={id}&key=a%20b&sock_type=host")).await.unwrap();
    let mut nameless = client(&[&TLS12, &TLS13]);
    nameless.enable_sni = false;
    let stream = secured.dial(nameless).await.unwrap();
    let url = format!("wss://localhost/connect?id={id}&key=a+b&sock_type=client/");
    let (mut device, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    device.send(Message::text("question")).await.unwrap();
    assert_eq!(host.next().await.unwrap().unwrap(), Message::text("question"));
    host.send(Message::text("answer")).await.unwrap();
    assert_eq!(device.next().await.unwrap().unwrap(), Message::text("answer"));
}

#[tokio::test]
async fn bytes_after_the_handshake_reach_the_relay_through_tls() {
    let secured = Secured::start_with(ecdsa, |config| config.registration.auto_remove = false).await;
    let id = secured.server.register("key=k&host_key=h&reg_type=lobby").await;
    for version in [&TLS12, &TLS13] {
        let mut stream = secured.dial(client(&[version])).await.unwrap();
        let request = format!(
            "GET /connect?id={id}&key=k HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        // A masked ping of "hi" in a record of its own, on its way before the answer.
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(&[0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 101);
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 2, b'h', b'i']);
    }
}

#[tokio::test]
async fn a_device_that_comes_back_resumes_its_session() {
    let secured = Secured::start(ecdsa).await;
    for version in [&TLS12, &TLS13] {
        let device = Arc::new(client(&[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = dial(secured.server.https.unwrap(), Arc::clone(&device)).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected));
            assert_eq!(exchange(&mut stream, HEALTH).await.status, 200);
        }
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_for_new_connections_and_open_ones_continue() {
    let secured = Secured::start(ecdsa).await;
    let shown = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let open = secured.dial(client(&[&TLS13])).await.unwrap();
    let certificates = &secured.server.certificates[0];
    generated(&secured.files, &rcgen::PKCS_ED25519);
    assert!(certificates.are_stale());
    assert!(reload(certificates).unwrap());
    let fresh = secured.dial(client(&[&TLS13])).await.unwrap();
    assert_ne!(shown(&open), shown(&fresh));
    assert_eq!(exchange(open, HEALTH).await.body, "ok");
    assert_eq!(exchange(fresh, HEALTH).await.body, "ok");
}

#[tokio::test]
async fn a_bad_replacement_leaves_the_certificate_in_use() {
    let secured = Secured::start(ecdsa).await;
    let certificates = &secured.server.certificates[0];
    std::fs::write(&secured.files.key, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let error = reload(certificates).unwrap_err().to_string();
    assert!(error.contains("doesn't fit the first certificate"), "{error}");
    let stream = secured.dial(client(&[&TLS13])).await.unwrap();
    assert_eq!(exchange(stream, HEALTH).await.body, "ok");
}

#[tokio::test]
async fn a_client_that_sends_no_tls_or_nothing_is_counted_and_closed() {
    let secured = Secured::start_with(ecdsa, |config| config.http.request_timeout = Duration::from_millis(100)).await;
    let address = secured.server.https.unwrap();
    let plain = exchange(TcpStream::connect(address).await.unwrap(), HEALTH).await;
    assert_eq!(plain.status, 0);
    let silent = exchange(TcpStream::connect(address).await.unwrap(), b"").await;
    assert_eq!(silent.head, "");
    until("both are counted", || secured.server.metrics.tls_failures.value() == 2).await;
    until("their places are free", || secured.server.metrics.connections.value() == 0).await;
    let stream = secured.dial(client(&[&TLS13])).await.unwrap();
    assert_eq!(exchange(stream, HEALTH).await.body, "ok");
}
