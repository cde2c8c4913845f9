//! The external authorizer of access rules: what it receives, and the effect of each decision, or none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::descriptors::Descriptors;
use crate::support::{Server, read_head};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use ws_router_server::config::{Config, Rule};
use ws_router_server::metrics::Refusal;
use ws_router_server::peer::{Peers, Range};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";

async fn server(rules: Vec<Rule>) -> Server {
    let mut config = Config { access: rules, ..Config::default() };
    config.registration.linger = Duration::from_secs(60);
    Server::start(config).await
}

fn networks(network: &str) -> Peers {
    [network.parse::<Range>().unwrap()].into_iter().collect()
}

/// Sends a handshake, and returns the status.
async fn upgrade(server: &Server, target: &str) -> u16 {
    let mut stream = server.connect().await;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await.status
}

fn loopback() -> Rule {
    Rule { networks: networks("127.0.0.0/8"), ..Rule::default() }
}

/// Authorizer that answers every request with one status, and records the requests.
struct FakeAuthorizer {
    ask: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeAuthorizer {
    async fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ask = format!("http://{}/allow?who", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = read_head(&mut stream).await;
                let length = head.header("content-length").unwrap().parse().unwrap();
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                kept.lock().unwrap().push(format!("{}\n{}", head.head, String::from_utf8(body).unwrap()));
                if status.is_empty() {
                    std::future::pending::<()>().await;
                }
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { ask, requests }
    }

    fn rule(&self) -> Rule {
        Rule { ask: self.ask.parse().ok(), ask_timeout: Some(Duration::from_secs(30)), ..Rule::default() }
    }
}

#[tokio::test]
async fn the_authorizer_receives_the_client_and_its_request_and_never_a_key() {
    let authorizer = FakeAuthorizer::start("204 No Content").await;
    let server = server(vec![authorizer.rule()]).await;
    let register = "/register?key=hunter2&host_key=hunter3&reg_type=hostclient&id_req=my-device&token=t0ken";
    let id = server.request("GET", register, "Origin: https://example.com\r\n", "").await.body;
    assert_eq!(id, "my-device");
    assert_eq!(upgrade(&server, "/connect?id=my-device&key=hunter2&sock_type=host").await, 101);
    assert_eq!(server.get("/remove?id=my-device&key=hunter2&host_key=hunter3").await.status, 200);
    let requests = authorizer.requests.lock().unwrap();
    let body = |text: &str| serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).unwrap();
    let (first, second, third) = (body(&requests[0]), body(&requests[1]), body(&requests[2]));
    assert!(requests[0].starts_with("POST /allow?who HTTP/1.1"), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("authorization: bearer t0ken"), "{}", requests[0]);
    assert_eq!((&first["action"], &first["id"]), (&"register".into(), &"my-device".into()));
    assert_eq!((&first["kind"], &first["origin"]), (&"hostclient".into(), &"https://example.com".into()));
    assert_eq!(first["address"], "127.0.0.1");
    assert_eq!((&second["action"], &second["role"]), (&"connect".into(), &"host".into()));
    assert_eq!((&third["action"], &third["id"]), (&"remove".into(), &"my-device".into()));
    assert!(!requests.iter().any(|request| request.contains("hunter")), "{requests:?}");
}

#[tokio::test]
async fn a_denial_is_401_or_403_and_no_decision_is_503() {
    for (decision, status) in [
        ("403 Forbidden", 403),
        ("401 Unauthorized", 401),
        ("302 Found", 503),
        ("500 Internal Server Error", 503),
        ("nonsense", 503),
        ("", 503),
    ] {
        let authorizer = FakeAuthorizer::start(decision).await;
        let mut rule = authorizer.rule();
        if decision.is_empty() {
            rule.ask_timeout = Some(Duration::from_millis(50));
        }
        let server = server(vec![rule, loopback()]).await;
        let answer = server.get(&format!("/register?{LOBBY}")).await;
        assert_eq!(answer.status, status, "{decision}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503, "{decision}");
        assert_eq!(server.metrics.refusals(Refusal::Access), 1, "{decision}");
        assert_eq!(server.metrics.auth_request_failures.value(), u64::from(status == 503), "{decision}");
        assert_eq!(server.router.registrations(), 0);
    }
    let unreachable = Rule { ask: "unix:/nonexistent/sock:/".parse().ok(), ..Rule::default() };
    assert_eq!(server(vec![unreachable]).await.get(&format!("/register?{LOBBY}")).await.status, 503);
}

#[tokio::test]
async fn the_authorizer_is_not_asked_about_a_client_to_which_the_rule_does_not_apply() {
    let authorizer = FakeAuthorizer::start("200 OK").await;
    let rule = Rule { networks: networks("192.0.2.0/24"), ..authorizer.rule() };
    assert_eq!(server(vec![rule]).await.get(&format!("/register?{LOBBY}")).await.status, 403);
    assert!(authorizer.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_to_an_authorizer_that_hangs_are_bounded_and_members_continue() {
    // Both ends of each client's connection and of each connection to the authorizer are in this process.
    let Some(_descriptors) = Descriptors::at_least(2000) else { return };
    let authorizer = FakeAuthorizer::start("").await;
    let hangs = Rule { ask_timeout: Some(Duration::from_secs(3600)), ..authorizer.rule() };
    let server = server(vec![Rule { networks: networks("192.0.2.0/24"), ..hangs }, loopback()]).await;
    server.reconfigure(|config| config.http.trusted_proxies = networks("127.0.0.1"));
    let connect = format!("/connect?id={}&key=k", server.register(LOBBY).await);
    let mut one = server.websocket(&connect).await.unwrap();
    let mut other = server.websocket(&connect).await.unwrap();
    let ask = |client: u8| {
        let (address, client) = (server.http, client);
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            read_head(&mut stream).await
        }
    };
    let mut waiting: JoinSet<_> = (0..=u8::MAX).map(ask).collect();
    // A request over the limit is answered at once, and no other is.
    for count in 1..=3 {
        waiting.spawn(ask(1));
        let refused = waiting.join_next().await.unwrap().unwrap();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        assert_eq!(server.metrics.refusals(Refusal::Access), count);
    }
    assert_eq!(waiting.len(), 256);
    one.send(Message::text("still here")).await.unwrap();
    assert_eq!(other.next().await.unwrap().unwrap(), Message::text("still here"));
    assert_eq!(server.get(&format!("/register?{LOBBY}")).await.status, 200, "another rule has no authorizer");
}

#[tokio::test]
async fn a_network_whose_requests_hang_leaves_the_authorizer_to_others() {
    let Some(_descriptors) = Descriptors::at_least(2000) else { return };
    // It answers the requests of all clients but one.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ask = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read_head(&mut stream).await;
                let mut body = vec![0; head.header("content-length").unwrap().parse().unwrap()];
                stream.read_exact(&mut body).await.unwrap();
                if String::from_utf8(body).unwrap().contains("192.0.2.1") {
                    std::future::pending::<()>().await;
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            });
        }
    });
    let rule = Rule { ask: ask.parse().ok(), ask_timeout: Some(Duration::from_secs(3600)), ..Rule::default() };
    let server = server(vec![rule]).await;
    server.reconfigure(|config| config.http.trusted_proxies = networks("127.0.0.1"));
    let register = async |client: &str| {
        let header = format!("X-Forwarded-For: {client}\r\n");
        server.request("GET", &format!("/register?{LOBBY}"), &header, "").await
    };
    let address = server.http;
    let hang = || async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        read_head(&mut stream).await
    };
    let mut waiting: JoinSet<_> = std::iter::repeat_with(hang).take(200).collect();
    // Of 256 requests, one network may have half.
    for _ in 128..200 {
        let rejected = waiting.join_next().await.unwrap().unwrap();
        assert_eq!((rejected.status, rejected.header("retry-after")), (503, Some("5")));
    }
    for attempt in 0..50 {
        assert_eq!(register("198.51.100.1").await.status, 200, "attempt {attempt}");
    }
    assert_eq!(register("192.0.2.1").await.status, 503);
}
