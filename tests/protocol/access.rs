//! Access rules on the public routes, over TCP and Unix sockets.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::{Answer, Server, exchange, plain, read_head};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;
use ws_router_admin_api::ListenAddress;
use ws_router_core::secret::Token;
use ws_router_server::config::{Allow, Config, Listener, Rule, User};
use ws_router_server::metrics::Refusal;
use ws_router_server::peer::{Peers, Range};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn server(rules: Vec<Rule>) -> Server {
    let mut config = Config { access: rules, ..Config::default() };
    config.registration.linger = Duration::from_secs(60);
    Server::start(config).await
}

/// Token file with one token, in a temporary folder.
struct Tokens {
    token: Token,
    path: PathBuf,
    _folder: TempDir,
}

impl Tokens {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (token, path) = (Token::from_bits([1; 32]), folder.path().join("tokens"));
        std::fs::write(&path, format!("phone:{}\n", token.hash())).unwrap();
        Self { token, path, _folder: folder }
    }

    fn rule(&self) -> Rule {
        Rule { tokens: Some(self.path.clone()), ..Rule::default() }
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token.reveal())
    }
}

/// Sends a handshake with more headers, and reads the head of the answer.
async fn upgrade(server: &Server, target: &str, headers: &str) -> Answer {
    let mut stream = server.connect().await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

fn networks(network: &str) -> Peers {
    [network.parse::<Range>().unwrap()].into_iter().collect()
}

fn loopback() -> Rule {
    Rule { networks: networks("127.0.0.0/8"), ..Rule::default() }
}

#[tokio::test]
async fn without_a_rule_that_applies_register_connect_and_remove_are_denied() {
    let far = Rule { networks: networks("192.0.2.0/24"), ..Rule::default() };
    let server = server(vec![loopback()]).await;
    let id = server.register(LOBBY).await;
    server.reconfigure(|config| config.access = vec![far]);
    let post = server.post("/register", LOBBY).await;
    let answers = [
        server.get(&format!("/register?{LOBBY}")).await,
        post,
        // A denied client doesn't learn what is wrong with its request either.
        server.get("/register").await,
        upgrade(&server, &format!("/connect?id={id}&key=k"), "").await,
        upgrade(&server, "/connect?id=no-such-id&key=k", "").await,
        server.get(&format!("/remove?id={id}&key=k&host_key=h")).await,
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.header("www-authenticate")), (403, None), "{answer:?}");
    }
    assert!(answers[0].body.contains("access rules"), "{}", answers[0].body);
    assert_eq!(server.metrics.refusals(Refusal::Access), answers.len() as u64);
    assert_eq!(server.router.registrations(), 1);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn networks_are_those_of_the_client_behind_a_trusted_proxy() {
    let near = Rule { networks: networks("192.0.2.0/24"), ..Rule::default() };
    let mut config = Config { access: vec![near], ..Config::default() };
    config.http.trusted_proxies = networks("127.0.0.1");
    let server = Server::start(config).await;
    let register = format!("/register?{LOBBY}");
    for (client, status) in [("192.0.2.7", 200), ("198.51.100.7", 403), ("192.0.2.7, 198.51.100.7", 403)] {
        let header = format!("X-Forwarded-For: {client}\r\n");
        assert_eq!(server.request("GET", &register, &header, "").await.status, status, "{client}");
    }
    assert_eq!(server.get(&register).await.status, 403);
}

#[tokio::test]
async fn a_rule_can_allow_connecting_to_all_and_registering_to_some() {
    let tokens = Tokens::new();
    let rules =
        vec![Rule { allow: Allow::REGISTER, ..tokens.rule() }, Rule { allow: Allow::CONNECT, ..Rule::default() }];
    let server = server(rules).await;
    assert_eq!(server.get(&format!("/register?{LOBBY}")).await.status, 401);
    let id = server.request("GET", &format!("/register?{LOBBY}"), &tokens.bearer(), "").await.body;
    for headers in [String::new(), tokens.bearer()] {
        assert_eq!(upgrade(&server, &format!("/connect?id={id}&key=k"), &headers).await.status, 101);
    }
    let remove = format!("/remove?id={id}&key=k&host_key=h");
    assert_eq!(server.get(&remove).await.status, 401);
    assert_eq!(server.request("GET", &remove, &tokens.bearer(), "").await.status, 200);
}

#[tokio::test]
async fn a_token_is_taken_from_the_header_the_query_the_form_and_the_subprotocol() {
    let tokens = Tokens::new();
    let server = server(vec![tokens.rule()]).await;
    let (bearer, text) = (tokens.bearer(), tokens.token.reveal());
    let register = format!("/register?{LOBBY}");
    assert_eq!(server.request("GET", &register, &bearer.replace("Bearer", "bearer"), "").await.status, 200);
    assert_eq!(server.get(&format!("{register}&token={text}")).await.status, 200);
    let id = server.post("/register", &format!("{LOBBY}&token={text}")).await.body;
    assert_eq!(id.len(), 32);
    let connect = format!("/connect?id={id}&key=k");
    assert_eq!(upgrade(&server, &connect, &bearer).await.status, 101);
    assert_eq!(upgrade(&server, &format!("{connect}&token={text}"), "").await.status, 101);
    let offered = format!("Sec-WebSocket-Protocol: ws-router, token.{text}\r\n");
    let joined = upgrade(&server, &connect, &offered).await;
    assert_eq!((joined.status, joined.header("sec-websocket-protocol")), (101, Some("ws-router")));
    assert!(!joined.head.contains(text));
}

#[tokio::test]
async fn a_missing_and_an_unknown_token_are_challenged_as_rfc_6750_requires() {
    let tokens = Tokens::new();
    let server = server(vec![tokens.rule()]).await;
    let register = format!("/register?{LOBBY}");
    let missing = server.get(&register).await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, Some("Bearer realm=\"ws-router\"")));
    let unknown = server.request("GET", &register, "Authorization: Bearer hunter2\r\n", "").await;
    let challenge = unknown.header("www-authenticate");
    assert_eq!((unknown.status, challenge), (401, Some("Bearer realm=\"ws-router\", error=\"invalid_token\"")));
    assert!(!unknown.body.contains("hunter2"));
    let other_scheme = server.request("GET", &register, "Authorization: Basic aHVudGVyMg==\r\n", "").await;
    assert_eq!(other_scheme.header("www-authenticate"), Some("Bearer realm=\"ws-router\""));
    for unfit in ["token=", "token=a&token=b", "token=%zz"] {
        assert_eq!(server.get(&format!("{register}&{unfit}")).await.status, 400, "{unfit}");
    }
    assert_eq!(server.metrics.refusals(Refusal::Access), 3);
}

#[tokio::test]
async fn without_rules_that_use_tokens_a_token_is_ignored() {
    let server = server(vec![]).await;
    assert_eq!(server.get(&format!("/register?{LOBBY}&token=&token=%zz")).await.status, 200);
}

#[tokio::test]
async fn a_web_page_is_admitted_and_reads_answers_only_from_a_listed_origin() {
    let server = server(vec![Rule { origins: vec!["https://example.com".into()], ..Rule::default() }]).await;
    let register = format!("/register?{LOBBY}");
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    let named = server.request("GET", &register, &from("https://example.com"), "").await;
    assert_eq!(named.status, 200);
    assert_eq!(named.header("access-control-allow-origin"), Some("https://example.com"));
    assert_eq!(named.header("vary"), Some("Origin"));
    for origin in ["https://example.org", "null", "https://example.com\r\nOrigin: https://example.com", "\u{e9}"] {
        assert_eq!(server.request("GET", &register, &from(origin), "").await.status, 403, "{origin}");
    }
    // No web page at all.
    let id = server.register(LOBBY).await;
    let connect = format!("/connect?id={id}&key=k");
    assert_eq!(upgrade(&server, &connect, &from("https://example.org")).await.status, 403);
    assert_eq!(upgrade(&server, &connect, &from("https://example.com")).await.status, 101);
    let preflight = server.request("OPTIONS", "/register", &from("https://example.com"), "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://example.com"));
    assert_eq!(preflight.header("access-control-allow-headers"), Some("Authorization, Content-Type"));
}

#[tokio::test]
async fn a_request_that_a_browser_marks_as_cross_site_is_denied_by_a_rule_with_origins() {
    let server = server(vec![Rule { origins: vec!["https://example.com".into()], ..Rule::default() }]).await;
    let register = format!("/register?{LOBBY}");
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let header = format!("Sec-Fetch-Site: {site}\r\n");
        assert_eq!(server.request("GET", &register, &header, "").await.status, status, "{site}");
    }
    // Where there is an origin, it decides.
    let both = "Origin: https://example.com\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(server.request("GET", &register, both, "").await.status, 200);
    assert_eq!(server.metrics.refusals(Refusal::Access), 2);
}

#[tokio::test]
async fn a_local_user_is_identified_by_its_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listeners = vec![plain(), Listener::new(ListenAddress::Unix(path.clone()), None)];
    let own = User::Id(nix::unistd::getuid().as_raw());
    let rules = vec![Rule { users: vec![own], ..Rule::default() }];
    let server = Server::start(Config { listeners, access: rules, ..Config::default() }).await;
    let register = format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let ask = || async { exchange(UnixStream::connect(&path).await.unwrap(), register.as_bytes()).await.status };
    assert_eq!(ask().await, 200);
    assert_eq!(server.get(&format!("/register?{LOBBY}")).await.status, 403);
    let other = Rule { users: vec![User::Id(4_000_000_000)], ..Rule::default() };
    server.reconfigure(|config| config.access = vec![other]);
    assert_eq!(ask().await, 403);
}

#[tokio::test]
async fn a_rule_limits_registrations_and_their_members() {
    let rule = Rule { registrations: Some(1), members: Some(1), ..loopback() };
    let server = server(vec![rule]).await;
    let id = server.register(LOBBY).await;
    let full = server.get(&format!("/register?{LOBBY}")).await;
    assert_eq!((full.status, full.header("retry-after")), (503, Some("5")));
    assert!(full.body.contains("access rules"), "{}", full.body);
    let connect = format!("/connect?id={id}&key=k");
    let _member = server.websocket(&connect).await.unwrap();
    assert_eq!(upgrade(&server, &connect, "").await.status, 503);
    assert_eq!(server.metrics.refusals(Refusal::Full), 2);
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    server.register(LOBBY).await;
}

/// Sends messages of a hundred bytes under a rule; all arrive in order, and the sender is throttled.
async fn is_throttled_and_loses_nothing(rates: Rule, messages: usize) {
    let server = server(vec![rates]).await;
    let id = server.register(LOBBY).await;
    let connect = format!("/connect?id={id}&key=k");
    let mut sender = server.websocket(&connect).await.unwrap();
    let mut receiver = server.websocket(&connect).await.unwrap();
    for number in 0..messages {
        sender.send(Message::text(format!("{number:0100}"))).await.unwrap();
    }
    for number in 0..messages {
        assert_eq!(receiver.next().await.unwrap().unwrap(), Message::text(format!("{number:0100}")));
    }
    let throttled: u64 = server.router.thread_totals().iter().map(|thread| thread.reads_throttled.value()).sum();
    assert!(throttled > 0);
}

#[tokio::test]
async fn a_member_above_its_message_rate_is_throttled_and_loses_nothing() {
    is_throttled_and_loses_nothing(Rule { messages: Some("500/s burst 10".parse().unwrap()), ..loopback() }, 300).await;
}

#[tokio::test]
async fn a_member_above_its_byte_rate_is_throttled_and_loses_nothing() {
    is_throttled_and_loses_nothing(Rule { bytes: Some("65536/s burst 4096".parse().unwrap()), ..loopback() }, 300)
        .await;
}
