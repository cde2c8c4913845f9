//! Public routes over real sockets: every status, every invalid input, and what existing clients send.

use std::time::Duration;

use crate::support::{Answer, Server, exchange, plain, read_head, until};
use bytesize::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use ws_router_admin_api::ListenAddress;
use ws_router_server::config::{Config, Listener};
use ws_router_server::metrics::{Refusal, Rejection};
use ws_router_server::peer::Peer;

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const HOSTCLIENT: &str = "key=k&host_key=h&reg_type=hostclient";

async fn server() -> Server {
    Server::start(Config::default()).await
}

async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::default();
    change(&mut config);
    Server::start(config).await
}

/// Sends a handshake, and reads the head of the answer.
async fn upgrade(server: &Server, target: &str) -> Answer {
    let mut stream = server.connect().await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

fn assert_one_line(answer: &Answer) {
    assert!(!answer.body.is_empty() && !answer.body.contains('\n'), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn the_body_of_register_is_exactly_the_id() {
    let server = server().await;
    let answer = server.get(&format!("/register?{LOBBY}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.body.len(), 32);
    assert!(answer.body.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    assert_eq!((server.metrics.registered.value(), server.metrics.requests.value()), (1, 1));
    assert!(server.router.find(&answer.body).is_some());
}

#[tokio::test]
async fn a_post_takes_its_parameters_from_the_body_alone() {
    let server = server().await;
    let id = server.post("/register", LOBBY).await.body;
    assert_eq!(server.post(&format!("/remove?id={id}&key=k&host_key=h"), "id=x").await.status, 400);
    let removed = server.post("/remove", &format!("id={id}&key=k&host_key=h")).await;
    assert_eq!((removed.status, removed.body.as_str()), (200, ""));
    assert_eq!(server.router.registrations(), 0);
}

#[tokio::test]
async fn a_body_that_is_no_form_is_rejected() {
    let server = server().await;
    let answer = server.request("POST", "/register", "Content-Type: application/json\r\n", "{}").await;
    assert_eq!(answer.status, 415);
    assert_one_line(&answer);
    let bare = server.request("POST", "/register", "", LOBBY).await;
    assert_eq!(bare.status, 200);
    let with_charset = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    assert_eq!(server.request("POST", "/register", with_charset, LOBBY).await.status, 200);
}

#[tokio::test]
async fn invalid_parameters_are_named_and_their_values_never_repeated() {
    let server = server().await;
    let long = "hunter2".repeat(147);
    let cases = [
        ("/register", "key"),
        ("/register?key=hunter2&reg_type=lobby", "host_key"),
        ("/register?key=hunter2&key=hunter2&host_key=h&reg_type=lobby", "key"),
        ("/register?key=&host_key=hunter2&reg_type=lobby", "key"),
        ("/register?key=hunter2%zz&host_key=h&reg_type=lobby", "key"),
        ("/register?key=hunter2%ff&host_key=h&reg_type=lobby", "key"),
        (&format!("/register?key={long}&host_key=h&reg_type=lobby"), "key"),
        ("/register?key=hunter2&host_key=h&reg_type=room", "reg_type"),
        ("/register?key=hunter2&host_key=h", "reg_type"),
        ("/connect?key=hunter2", "id"),
        ("/connect?id=12345678", "key"),
        ("/connect?id=12345678&key=hunter2&id=12345678", "id"),
        ("/remove?id=12345678&key=hunter2", "host_key"),
        ("/remove?key=hunter2&host_key=hunter2", "id"),
    ];
    for (target, name) in cases {
        let answer = server.get(target).await;
        assert_eq!(answer.status, 400, "{target}");
        assert_one_line(&answer);
        assert!(answer.body.contains(name) && !answer.body.contains("hunter2"), "{target}: {}", answer.body);
    }
    assert_eq!(server.metrics.refusals(Refusal::Malformed), cases.len() as u64);
    assert_eq!(server.router.registrations(), 0);
}

#[tokio::test]
async fn a_wanted_id_is_given_if_it_is_free_or_the_devices_own() {
    let server = server().await;
    let wanted = format!("{HOSTCLIENT}&id_req=my-device-1");
    assert_eq!(server.register(&wanted).await, "my-device-1");
    assert_eq!(server.register(&wanted).await, "my-device-1");
    for other in [
        "key=K&host_key=h&reg_type=hostclient&id_req=my-device-1",
        "key=k&host_key=H&reg_type=hostclient&id_req=my-device-1",
        "key=k&host_key=h&reg_type=lobby&id_req=my-device-1",
        "key=k&host_key=h&reg_type=lobby&id_req=short",
        "key=k&host_key=h&reg_type=lobby&id_req=",
        "key=k&host_key=h&reg_type=lobby&id_req=%zz",
    ] {
        assert_eq!(server.register(other).await.len(), 32, "{other}");
    }
}

#[tokio::test]
async fn taken_and_malformed_ids_are_rejected_if_configured() {
    let server = server_with(|config| config.registration.reject_taken_ids = true).await;
    assert_eq!(server.register(&format!("{LOBBY}&id_req=my-device-1")).await, "my-device-1");
    let taken = server.get("/register?key=x&host_key=h&reg_type=lobby&id_req=my-device-1").await;
    assert_eq!(taken.status, 409);
    assert_one_line(&taken);
    let malformed = server.get(&format!("/register?{LOBBY}&id_req=a%2Fb%2Fc%2Fd%2Fe")).await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.body.contains("id_req"));
    assert_eq!(server.register(&format!("{LOBBY}&id_req=my-device-1")).await, "my-device-1");
    assert_eq!(server.metrics.refusals(Refusal::Taken), 1);
}

#[tokio::test]
async fn of_two_racing_requests_exactly_one_gets_the_id() {
    let server = server().await;
    let mine = server.get("/register?key=a&host_key=a&reg_type=lobby&id_req=contested");
    let yours = server.get("/register?key=b&host_key=b&reg_type=lobby&id_req=contested");
    let (mine, yours) = tokio::join!(mine, yours);
    assert_eq!([&mine.body, &yours.body].iter().filter(|id| **id == "contested").count(), 1);
    assert_eq!(server.router.registrations(), 2);
}

#[tokio::test]
async fn a_full_router_answers_503_with_retry_after() {
    let server = server_with(|config| config.limits.registrations = 1).await;
    server.register(LOBBY).await;
    let answer = server.get(&format!("/register?{LOBBY}")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_one_line(&answer);
}

#[tokio::test]
async fn removing_takes_both_keys() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    for keys in ["key=x&host_key=h", "key=k&host_key=x"] {
        let answer = server.get(&format!("/remove?id={id}&{keys}")).await;
        assert_eq!(answer.status, 403);
        assert_one_line(&answer);
    }
    let removed = server.get(&format!("/remove?id={id}&key=k&host_key=h")).await;
    assert_eq!((removed.status, removed.body.as_str()), (200, ""));
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 404);
    assert_eq!(server.metrics.refusals(Refusal::WrongKey), 2);
    assert_eq!(server.metrics.refusals(Refusal::Unknown), 1);
}

#[tokio::test]
async fn an_upgrade_is_answered_as_rfc_6455_requires() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let answer = upgrade(&server, &format!("/connect?id={id}&key=k")).await;
    assert_eq!(answer.status, 101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(answer.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
    assert!(answer.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    for absent in ["sec-websocket-extensions", "sec-websocket-protocol", "content-length", "content-type"] {
        assert_eq!(answer.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_rejected_connect_names_the_first_thing_to_fix() {
    let server = server_with(|config| config.limits.members = 0).await;
    let lobby = server.register(LOBBY).await;
    let hostclient = server.register(HOSTCLIENT).await;
    let cases = [
        ("/connect?id=nobody-there&key=k".to_owned(), 404),
        (format!("/connect?id={lobby}&key=wrong"), 403),
        (format!("/connect?id={hostclient}&key=k"), 400),
        (format!("/connect?id={hostclient}&key=k&sock_type="), 400),
        (format!("/connect?id={hostclient}&key=k&sock_type=peer"), 400),
        (format!("/connect?id={hostclient}&key=k&sock_type=host&sock_type=host"), 400),
        (format!("/connect?id={lobby}&key=k&sock_type=garbage%"), 503),
    ];
    for (target, status) in cases {
        let answer = upgrade(&server, &target).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    assert_eq!(server.router.find(&lobby).unwrap().seats, 0);
}

#[tokio::test]
async fn a_request_without_an_upgrade_is_answered_426() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let version_8 = UPGRADE.replace("13", "8");
    let without_connection = UPGRADE.replace("Connection: Upgrade\r\n", "");
    let other = UPGRADE.replace("websocket", "h2c");
    for headers in ["", &version_8, &without_connection, &other] {
        let answer = server.request("GET", &target, headers, "").await;
        assert_eq!(answer.status, 426, "{headers}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
        assert_one_line(&answer);
    }
    let old = format!("GET {target} HTTP/1.0\r\n{UPGRADE}\r\n");
    assert_eq!(server.raw(old.as_bytes()).await.status, 426);
    assert_eq!(server.metrics.refusals(Refusal::NoUpgrade), 5);
}

#[tokio::test]
async fn a_bad_websocket_key_or_a_body_is_rejected() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let missing = UPGRADE.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let short = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=");
    let twice = format!("{UPGRADE}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
    for (headers, body) in [(missing.as_str(), ""), (&short, ""), (&twice, ""), (UPGRADE, "body")] {
        let answer = server.request("GET", &target, headers, body).await;
        assert_eq!(answer.status, 400, "{headers}");
        assert_one_line(&answer);
    }
    assert_eq!(server.router.find(&id).unwrap().seats, 0);
}

#[tokio::test]
async fn another_method_is_answered_405_with_those_allowed() {
    let server = server_with(|config| config.http.public_stats = true).await;
    let cases = [
        ("PUT", "/register", "GET, POST, OPTIONS"),
        ("HEAD", "/register", "GET, POST, OPTIONS"),
        ("DELETE", "/remove", "GET, POST, OPTIONS"),
        ("POST", "/connect", "GET, OPTIONS"),
        ("HEAD", "/connect", "GET, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("RUBBISH", "/stats", "GET, HEAD, OPTIONS"),
    ];
    for (method, path, allowed) in cases {
        let answer = server.request(method, path, "", "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
    }
    assert_eq!(server.metrics.refusals(Refusal::Method), cases.len() as u64);
}

#[tokio::test]
async fn a_preflight_is_answered() {
    let server = server().await;
    let asks = "Origin: https://example.org\r\nAccess-Control-Request-Method: POST\r\n";
    let answer = server.request("OPTIONS", "/register", asks, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, OPTIONS"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("Authorization, Content-Type"));
    assert!(answer.header("access-control-max-age").is_some());
    assert_eq!(server.request("OPTIONS", "/nowhere", asks, "").await.status, 404);
}

#[tokio::test]
async fn a_preflight_allows_the_headers_that_a_page_asks_for() {
    let server = server().await;
    let allowed = async |asked: &str| {
        let headers = format!("Origin: https://example.org\r\n{asked}");
        let answer = server.request("OPTIONS", "/register", &headers, "").await;
        answer.header("access-control-allow-headers").unwrap().to_owned()
    };
    let asked =
        "Access-Control-Request-Headers: traceparent,x-b3-traceid\r\nAccess-Control-Request-Headers: baggage\r\n";
    assert_eq!(allowed(asked).await, "traceparent, x-b3-traceid, baggage");
    let long = format!("Access-Control-Request-Headers: {}\r\n", "x".repeat(2000));
    for unfit in ["Access-Control-Request-Headers: a b\r\n", "Access-Control-Request-Headers: a:b\r\n", &long] {
        assert_eq!(allowed(unfit).await, "Authorization, Content-Type", "{unfit}");
    }
    let exposed = server.get("/healthz").await.header("access-control-expose-headers").unwrap().to_owned();
    assert_eq!(exposed, "Retry-After, WWW-Authenticate, Location");
}

#[tokio::test]
async fn the_allowed_origin_is_configurable() {
    let server = server_with(|config| config.http.allow_origin = "https://example.org".into()).await;
    assert_eq!(server.get("/healthz").await.header("access-control-allow-origin"), Some("https://example.org"));
    server.reconfigure(|config| config.http.allow_origin.clear());
    for path in ["/healthz", "/nowhere"] {
        assert_eq!(server.get(path).await.header("access-control-allow-origin"), None);
    }
    let preflight = server.request("OPTIONS", "/register", "", "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, None));
}

#[tokio::test]
async fn health_is_ok_until_the_router_drains() {
    let server = server().await;
    let answer = server.get("/healthz").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
    let head = server.request("HEAD", "/healthz", "", "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.as_str()), (200, Some("2"), ""));
    let id = server.register(LOBBY).await;
    server.router.drain(Duration::ZERO);
    assert_eq!(server.get("/healthz").await.status, 503);
    let register = server.get(&format!("/register?{LOBBY}")).await;
    let connect = upgrade(&server, &format!("/connect?id={id}&key=k")).await;
    for answer in [register, connect] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    }
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
}

#[tokio::test]
async fn statistics_are_public_only_if_configured() {
    let server = server().await;
    let id = server.register(HOSTCLIENT).await;
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        assert_eq!(server.request(method, "/stats", "", "").await.status, 404);
    }
    server.reconfigure(|config| config.http.public_stats = true);
    let answer = server.get("/stats").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let stats: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let line = serde_json::json!({"id": id, "connections": 0, "reg_type": "HostClient", "destroy": false});
    assert_eq!(stats["registrations"], serde_json::json!([line]));
    for field in ["total_mem", "used_mem", "proc_mem"] {
        assert!(stats["system"][field].as_u64().unwrap() > 0, "{field}");
    }
    let head = server.request("HEAD", "/stats", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_console_is_served_only_if_configured_and_with_a_strict_policy() {
    let server = server().await;
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        assert_eq!(server.request(method, "/console", "", "").await.status, 404);
    }
    server.reconfigure(|config| config.http.console = true);
    let answer = server.get("/console").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let policy = answer.header("content-security-policy").unwrap();
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert!(answer.body.contains(&format!("<script nonce=\"{nonce}\">")) && !answer.body.contains("{nonce}"));
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for part in [
        "value=\"paired\"",
        "new EventSource(`${base}members?",
        "accept: this.accept",
        "JSON.stringify({reject: number})",
    ] {
        assert!(answer.body.contains(part), "{part}");
    }
    let head = server.request("HEAD", "/console", "", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(server.request("POST", "/console", "", "").await.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn slashes_and_the_prefix_are_tolerated() {
    let server = server_with(|config| config.http.path_prefix = "/subdir".into()).await;
    for path in ["/register", "//register", "/register/", "/subdir/register", "/subdir//register//"] {
        assert_eq!(server.get(&format!("{path}?{LOBBY}")).await.status, 200, "{path}");
    }
    for path in ["/", "/subdir", "/other/register", "/register/x"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_one_line(&answer);
    }
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = server().await;
    let once = format!("GET /register?{LOBBY} HTTP/1.1\r\nHost: x\r\n\r\n");
    let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = server.raw(format!("{once}{once}{last}").as_bytes()).await;
    assert_eq!(answers.status, 200);
    assert_eq!(answers.body.matches("HTTP/1.1 200 OK").count(), 2);
    assert_eq!((server.metrics.accepted.value(), server.metrics.requests.value()), (1, 3));
}

#[tokio::test]
async fn an_oversize_head_is_rejected_and_counted() {
    let server = server().await;
    let padding = "x".repeat(20_000);
    let answer = server.request("GET", "/healthz", &format!("Cookie: {padding}\r\n"), "").await;
    assert_eq!(answer.status, 431);
    let many = "A: b\r\n".repeat(200);
    assert_eq!(server.request("GET", "/healthz", &many, "").await.status, 431);
    let long = server.get(&format!("/healthz?{}", "x".repeat(9_000))).await;
    assert_eq!(long.status, 414);
    assert_one_line(&long);
    until("the refusals are counted", || server.metrics.refusals(Refusal::TooLarge) == 3).await;
}

#[tokio::test]
async fn an_oversize_body_is_rejected_announced_or_not() {
    let server = server_with(|config| config.http.max_body = ByteSize::b(100)).await;
    let announced = server.post("/register", &format!("{LOBBY}&padding={}", "x".repeat(100_000))).await;
    assert_eq!(announced.status, 413);
    assert_one_line(&announced);
    let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
    let head = "POST /register HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(server.raw(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes()).await.status, 413);
    assert_eq!(server.post("/register", LOBBY).await.status, 200);
    assert_eq!(server.metrics.refusals(Refusal::TooLarge), 2);
}

#[tokio::test]
async fn a_client_that_closes_its_half_after_the_request_is_answered() {
    let server = server().await;
    for (path, before) in [("/healthz", 0), ("/nowhere", 1)] {
        let mut stream = server.connect().await;
        until("the connection is accepted", || server.metrics.accepted.value() > before).await;
        tokio::task::yield_now().await;
        // The server runs in this thread, so it finds the request and the end behind it at once.
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(read_head(&mut stream).await.status >= 200, "{path}");
    }
}

#[tokio::test]
async fn a_slow_head_or_body_is_answered_408_and_an_idle_connection_is_closed() {
    let server = server_with(|config| config.http.request_timeout = Duration::from_millis(50)).await;
    let head = server.raw(b"GET /healthz HTTP/1.1\r\nHos").await;
    assert_eq!(head.status, 408);
    assert_eq!(head.header("content-length").unwrap().parse(), Ok(head.body.len()));
    let body = server.raw(b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nkey=k").await;
    assert_eq!(body.status, 408);
    let idle = server.raw(b"").await;
    assert_eq!((idle.status, idle.head.as_str()), (0, ""));
    assert_eq!(server.metrics.refusals(Refusal::Timeout), 2);
    until("it is counted", || server.metrics.idle.value() == 1).await;
    until("all slots are free", || server.metrics.connections.value() == 0).await;
}

/// Requests `/healthz` on a connection that stays open, and returns the status.
async fn health(stream: &mut TcpStream) -> u16 {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let status = read_head(stream).await.status;
    let _ = stream.read_exact(&mut [0; 2]).await;
    status
}

#[tokio::test]
async fn a_kept_connection_outlives_the_request_timeout_and_ends_with_the_idle_timeout() {
    let server = server_with(|config| config.http.request_timeout = Duration::from_millis(50)).await;
    let mut kept = server.connect().await;
    assert_eq!(health(&mut kept).await, 200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(health(&mut kept).await, 200);
    // Once a head has begun, it has to be complete within the request timeout.
    kept.write_all(b"GET /hea").await.unwrap();
    assert_eq!(read_head(&mut kept).await.status, 408);
    server.reconfigure(|config| {
        config.http.request_timeout = Duration::from_secs(3600);
        config.http.idle_timeout = Duration::from_millis(50);
    });
    let mut idle = server.connect().await;
    assert_eq!(health(&mut idle).await, 200);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    until("it is counted", || server.metrics.idle.value() == 1).await;
}

#[tokio::test]
async fn http_11_needs_exactly_one_host_header() {
    let server = server().await;
    let head = |version: &str, hosts: &str| format!("GET /healthz {version}\r\n{hosts}Connection: close\r\n\r\n");
    for (version, hosts, status) in [
        ("HTTP/1.1", "", 400),
        ("HTTP/1.1", "Host: a\r\nHost: a\r\n", 400),
        ("HTTP/1.1", "Host: a\r\n", 200),
        ("HTTP/1.0", "", 200),
        ("HTTP/1.0", "Host: a\r\nHost: b\r\n", 400),
    ] {
        let answer = server.raw(head(version, hosts).as_bytes()).await;
        assert_eq!(answer.status, status, "{version} {hosts}");
        if status == 400 {
            assert_one_line(&answer);
        }
    }
    assert_eq!(server.metrics.refusals(Refusal::Malformed), 3);
}

#[tokio::test]
async fn a_request_for_another_host_name_is_answered_421() {
    let server = server_with(|config| config.http.hosts = vec!["relay.example.com".into()]).await;
    let ask = async |path: &str, host: &str| {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await
    };
    let register = format!("/register?{LOBBY}");
    for host in ["relay.example.com", "RELAY.example.com:8741", "127.0.0.1:8741", "[::1]", "localhost:8741"] {
        assert_eq!(ask(&register, host).await.status, 200, "{host}");
    }
    let rebound = ask(&register, "evil.test:8741").await;
    assert_eq!(rebound.status, 421);
    assert_one_line(&rebound);
    assert_eq!(ask("/healthz", "evil.test").await.status, 200);
    assert_eq!(server.metrics.refusals(Refusal::Host), 1);
}

#[tokio::test]
async fn a_client_that_never_reads_its_answers_is_closed() {
    let server = server_with(|config| {
        config.http.public_stats = true;
        config.http.request_timeout = Duration::from_millis(100);
    })
    .await;
    for _ in 0..50 {
        server.register(LOBBY).await;
    }
    until("others are gone", || server.metrics.connections.value() == 0).await;
    let mut stream = server.connect().await;
    let ask = "GET /stats HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let asking = async {
        // It ends when the router closes.
        while stream.write_all(ask.as_bytes()).await.is_ok() {}
    };
    asking.await;
    until("the slot is free", || server.metrics.connections.value() == 0).await;
    assert_eq!((server.metrics.stalled.value(), server.metrics.idle.value()), (1, 0));
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn malformed_requests_are_rejected_and_other_clients_notice_nothing() {
    let server = server().await;
    let malformed: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /register?key=\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /register HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ];
    for bytes in malformed {
        let answer = server.raw(bytes).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    until("all are counted", || server.metrics.refusals(Refusal::Malformed) == malformed.len() as u64).await;
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn connections_above_the_limits_are_rejected_and_others_continue() {
    let server = server_with(|config| config.limits.pending = 1).await;
    let mut first = server.connect().await;
    // A request in progress isn't evicted.
    let head = "POST /register HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: ";
    first.write_all(format!("{head}{}\r\n\r\n", LOBBY.len()).as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut first).await.status, 100);
    assert_eq!(server.get("/healthz").await.status, 0);
    assert_eq!(server.metrics.rejections(Rejection::Limit), 1);
    assert_eq!(exchange(&mut first, LOBBY.as_bytes()).await.status, 200);
    drop(first);
    server.reconfigure(|config| config.limits.connections = Some(0));
    until("the first is gone", || server.metrics.connections.value() == 0).await;
    assert_eq!(server.get("/healthz").await.status, 0);
    assert_eq!(server.metrics.rejections(Rejection::Limit), 2);
    server.reconfigure(|config| config.limits.connections = None);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_websocket_does_not_count_for_limits_pending() {
    let server = server_with(|config| config.limits.pending = 1).await;
    let id = server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let mut members = Vec::new();
    for _ in 0..3 {
        until("the last one's slot is free", || server.metrics.pending.value() == 0).await;
        members.push(server.websocket(&target).await.unwrap());
    }
    assert_eq!(server.router.find(&id).unwrap().seats, 3);
    assert_eq!(server.metrics.connections.value(), 3);
    assert_eq!(server.metrics.rejections(Rejection::Limit), 0);
}

#[tokio::test]
async fn a_connection_reset_by_its_peer_frees_its_slot() {
    let server = server().await;
    let head = format!("POST /register?{LOBBY} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nkey=");
    for sent in [&b""[..], b"GET /hea", head.as_bytes()] {
        let mut stream = server.connect().await;
        stream.write_all(sent).await.unwrap();
        until("it is accepted", || server.metrics.connections.value() == 1).await;
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        until("its slot is free", || server.metrics.connections.value() == 0).await;
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_seat_is_released_when_its_connection_breaks() {
    let server = server_with(|config| config.registration.auto_remove = false).await;
    let id = server.register(LOBBY).await;
    let mut stream = server.connect().await;
    let request = format!("GET /connect?id={id}&key=k HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 101);
    drop(stream);
    until("the seat is free", || server.router.find(&id).unwrap().seats == 0).await;
    until("the connection is gone", || server.metrics.connections.value() == 0).await;
    assert_eq!(server.metrics.pending.value(), 0);
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_the_accept_loop() {
    let server = server().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_head(&mut idle).await.status, 200);
    let fresh = server.connect().await;
    until("both are in", || server.metrics.connections.value() == 2).await;
    server.stop().await;
    assert_eq!(server.metrics.connections.value(), 0);
    assert!(tokio::net::TcpStream::connect(server.http).await.is_err());
    drop(fresh);
}

#[tokio::test]
async fn a_unix_socket_serves_the_same_routes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("public.sock");
    let address = ListenAddress::Unix(path.clone());
    let server = server_with(|config| config.listeners = vec![plain(), Listener::new(address, None)]).await;
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let answer = exchange(stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert_eq!(answer.status, 200);
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn an_adopted_connection_is_served() {
    let server = server().await;
    let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let connection = server.router.connection_gate().adopt(far.into()).unwrap();
    assert!(matches!(connection.peer(), Peer::Unix { pid, .. } if pid == std::process::id() as i32));
    near.set_nonblocking(true).unwrap();
    let near = tokio::net::UnixStream::from_std(near).unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let serve = ws_router_server::http::serve_connection(&server.router, connection, CancellationToken::new());
    let (answer, ()) = tokio::join!(exchange(near, request), serve);
    assert_eq!(answer.body, "ok");
    assert_eq!(server.metrics.connections.value(), 0);
}

#[tokio::test]
async fn only_a_connected_stream_socket_is_adopted() {
    let server = server().await;
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for (descriptor, what) in
        [(listening.into(), "not connected"), (datagrams.into(), "not a stream socket"), (file.into(), "socket")]
    {
        let error = server.router.connection_gate().adopt(descriptor).unwrap_err().to_string();
        assert!(error.starts_with("handed-over connection: ") && error.contains(what), "{error}");
    }
    assert_eq!(server.metrics.connections.value(), 0);
}

#[tokio::test]
async fn an_adopted_connection_counts_for_the_limits() {
    let server = server_with(|config| config.limits.pending = 1).await;
    let pair = || std::os::unix::net::UnixStream::pair().unwrap();
    let ((_near, far), (mut refused, second)) = (pair(), pair());
    let first = server.router.connection_gate().adopt(far.into()).unwrap();
    // A connection with a request in progress isn't evicted.
    let activity = first.activity();
    let _active = activity.request();
    let error = server.router.connection_gate().adopt(second.into()).unwrap_err().to_string();
    assert!(error.starts_with("handed-over connection: rejected; raise limits."), "{error}");
    assert_eq!(std::io::Read::read(&mut refused, &mut [0; 1]).unwrap(), 0, "it is closed");
    assert_eq!((server.metrics.rejections(Rejection::Limit), server.metrics.connections.value()), (1, 1));
    drop(first);
    let (_other, third) = pair();
    server.router.connection_gate().adopt(third.into()).unwrap();
}

/// What the phone app sends: key = host key = the password with some characters bare, the id from the body as it is,
/// an Origin, a sub-path, and after a drop the old id again without registering.
#[tokio::test]
async fn the_phone_app_reconnects_with_its_old_id_within_the_linger_time() {
    let server = server_with(|config| {
        config.registration.linger = Duration::from_secs(60);
        config.http.path_prefix = "/subdir".into();
    })
    .await;
    let password = "p%C3%A4ss+word=!$'()*,;";
    let register = format!("/subdir/register?key={password}&host_key={password}&reg_type=hostclient");
    let id = server.get(&register).await.body;
    let connect = format!("/subdir/connect?id={id}&key={password}&sock_type=host");
    for _ in 0..3 {
        let mut stream = server.connect().await;
        let request = format!(
            "GET {connect} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 101);
        drop(stream);
        until("the seat is free", || server.router.find(&id).is_some_and(|found| found.seats == 0)).await;
    }
}

/// Two devices agree on a key with an unescaped plus only because everything is decoded as a form.
#[tokio::test]
async fn an_unescaped_plus_in_a_key_is_a_space() {
    let server = server().await;
    let id = server.register("key=a+b&host_key=a%20b&reg_type=hostclient").await;
    assert_eq!(upgrade(&server, &format!("/connect?id={id}&key=a%2Bb&sock_type=client/")).await.status, 403);
    assert_eq!(upgrade(&server, &format!("/connect?id={id}&key=a%20b&sock_type=client/")).await.status, 101);
}

#[tokio::test]
async fn bytes_after_the_handshake_reach_the_relay() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut stream = server.connect().await;
    // A masked ping with the payload "hi" in the same write as the request.
    let ping = [0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
    let request = format!("GET /connect?id={id}&key=k HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n");
    stream.write_all(&[request.as_bytes(), &ping].concat()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 101);
    let mut pong = [0; 4];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 2, b'h', b'i']);
}

#[tokio::test]
async fn removing_closes_every_member() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message;
    let server = server().await;
    let id = server.register(LOBBY).await;
    let target = format!("/connect?id={id}&key=k");
    let mut members = [server.websocket(&target).await.unwrap(), server.websocket(&target).await.unwrap()];
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    for member in &mut members {
        match member.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 4000),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn members_receive_each_others_messages() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let server = server().await;
    let id = server.register(HOSTCLIENT).await;
    let mut host = server.websocket(&format!("/connect?id={id}&key=k&sock_type=host/")).await.unwrap();
    let mut client = server.websocket(&format!("/connect?id={id}&key=k&sock_type=client/")).await.unwrap();
    until("both are in", || server.metrics.pending.value() == 0).await;
    client.send(Message::text("question")).await.unwrap();
    assert_eq!(host.next().await.unwrap().unwrap(), Message::text("question"));
    host.send(Message::text("answer")).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("answer"));
}
