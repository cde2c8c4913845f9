//! The admin interface on a real socket, with a router in the test's process.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use ws_router_admin_api::event::EventKind;
use ws_router_core::close::CloseReason;
use ws_router_server::admin::{Command, ReloadReport, serve_metrics};
use ws_router_server::config::{Config, Problems, SocketPermissions};
use ws_router_server::metrics::families;
use ws_router_server::net::Listener;
use ws_router_server::sys;

use crate::support::admin::Admin;
use crate::support::{exchange, read_head, until};

type WebSocket = WebSocketStream<TcpStream>;

/// Lobby with two members.
async fn lobby(admin: &Admin) -> (String, WebSocket, WebSocket) {
    let id = admin.server.register("key=a&host_key=b&reg_type=lobby").await;
    let target = format!("/connect?id={id}&key=a");
    let first = admin.server.websocket(&target).await.unwrap();
    let second = admin.server.websocket(&target).await.unwrap();
    let router = &admin.server.router;
    until("both are members", || router.member_count() == 2).await;
    (id, first, second)
}

async fn close_code(socket: &mut WebSocket) -> u16 {
    match socket.next().await {
        Some(Ok(Message::Close(Some(frame)))) => frame.code.into(),
        other => panic!("no close frame: {other:?}"),
    }
}

fn closes(admin: &Admin, reason: CloseReason) -> u64 {
    admin.server.router.thread_totals().iter().map(|thread| thread.closes(reason)).sum()
}

fn error(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_status_reports_the_daemons_numbers() {
    let admin = Admin::start(Config::default()).await;
    let _members = lobby(&admin).await;
    let status = admin.document("GET", "/v1/status").await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], std::process::id());
    assert_eq!((&status["registrations"], &status["members"]), (&1.into(), &2.into()));
    assert_eq!(status["frontend"]["registered"], 1);
    assert_eq!(status["listeners"][0], admin.server.http.to_string());
    assert!(status["memory"]["resident_bytes"].as_u64() > Some(0));
    assert_eq!(status["refusals"]["wrong-key"], 0);
    assert_eq!(status["closes"]["too-slow"], 0);
}

#[tokio::test]
async fn the_metrics_have_every_family_with_what_was_counted() {
    let admin = Admin::start(Config::default()).await;
    let (_, mut first, mut second) = lobby(&admin).await;
    futures_util::SinkExt::send(&mut first, Message::text("hello")).await.unwrap();
    second.next().await.unwrap().unwrap();
    admin.server.get("/connect?id=unknown-id&key=k").await;
    let short = admin.server.register("key=k&host_key=h&reg_type=lobby").await;
    assert_eq!(admin.server.get(&format!("/remove?id={short}&key=k&host_key=h")).await.status, 200);
    until("the message is counted", || {
        admin.server.router.thread_totals().iter().any(|thread| thread.deliveries.value() == 1)
    })
    .await;
    let answer = admin.ask("GET", "/metrics").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    // Without TLS there is no certificate.
    for family in families::ALL.iter().filter(|family| **family != families::CERTIFICATE) {
        assert!(
            answer.body.contains(&format!("\n# TYPE {} ", family.name))
                || answer.body.contains(&format!("# HELP {} ", family.name)),
            "{}",
            family.name
        );
    }
    for line in [
        "wsrouter_members 2",
        "wsrouter_registrations_made_total 2",
        "wsrouter_registrations_ended_total{reason=\"removed\"} 1",
        "wsrouter_registrations_ended_total{reason=\"unclaimed\"} 0",
        "wsrouter_messages_received_total 1",
        "wsrouter_relay_latency_seconds_count 1",
        "wsrouter_relay_latency_seconds_bucket{le=\"+Inf\"} 1",
        "wsrouter_requests_refused_total{reason=\"no-upgrade\"} 1",
        "wsrouter_closes_total{reason=\"too-slow\"} 0",
        "wsrouter_draining 0",
    ] {
        assert!(answer.body.lines().any(|one| one == line), "{line}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_listener_for_monitoring_has_the_metrics_and_nothing_else() {
    let admin = Admin::start(Config::default()).await;
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketPermissions::default(), None).unwrap();
    let address = listener.address();
    let serving = tokio::spawn(serve_metrics(listener, admin.context.clone(), admin.stop.clone()));
    let ask = async |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        exchange(TcpStream::connect(&address).await.unwrap(), request.as_bytes()).await
    };
    let answer = ask("GET", "/metrics").await;
    assert!(answer.status == 200 && answer.body.contains("\nwsrouter_connections 0\n"), "{}", answer.body);
    assert_eq!(ask("GET", "/v1/status").await.status, 404);
    assert_eq!(ask("POST", "/metrics").await.header("allow"), Some("GET, HEAD"));
    admin.stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_its_metrics_blocks_no_other() {
    let admin = Admin::start(Config::default()).await;
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap(), &SocketPermissions::default(), None).unwrap();
    let address = listener.address().parse().unwrap();
    let serving = tokio::spawn(serve_metrics(listener, admin.context.clone(), admin.stop.clone()));
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        // The daemon may close after the first answer, before it has received everything.
        let _ = stream.try_write("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(300).as_bytes());
        stream.flush().await.unwrap();
        greedy.push(stream);
    }
    let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = exchange(TcpStream::connect(address).await.unwrap(), ask).await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    admin.stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_registration_is_listed_and_shown_with_its_members_and_without_its_keys() {
    let admin = Admin::start(Config::default()).await;
    let (id, mut first, mut second) = lobby(&admin).await;
    futures_util::SinkExt::send(&mut first, Message::text("hello")).await.unwrap();
    second.next().await.unwrap().unwrap();

    let list = admin.document("GET", "/v1/registrations").await;
    assert_eq!(
        (&list[0]["id"], &list[0]["kind"], &list[0]["seats"]),
        (&id.as_str().into(), &"lobby".into(), &2.into())
    );
    assert_eq!(list[0]["expires_in_ms"], Value::Null);

    let shown = admin.document("GET", &format!("/v1/registrations/{id}")).await;
    for one in [&list[0], &shown] {
        let passed = ["messages_in", "messages_out", "outbox_bytes"].map(|name| one[name].as_u64());
        assert_eq!(passed, [Some(1), Some(1), Some(0)], "{one}");
        // Payload is counted as received, and what goes out with its frame header of two bytes.
        assert_eq!((&one["bytes_in"], &one["bytes_out"]), (&5.into(), &7.into()), "{one}");
    }
    let member = &shown["members"][0];
    assert_eq!((&member["role"], &member["tls"]), (&"peer".into(), &false.into()));
    assert_eq!(member["messages_in"], 1);
    assert!(member["round_trip_us"].as_u64() > Some(0) && member["unsent_bytes"] == 0, "{member}");
    assert_eq!(shown["members"][1]["messages_out"], 1);
    assert_eq!(member["address"], first.get_ref().local_addr().unwrap().to_string());
    assert!(shown.get("key").is_none() && shown.get("host_key").is_none());

    let alone = admin.document("GET", &format!("/v1/connections/{}", member["id"])).await;
    assert_eq!((&alone["registration"], &alone["address"]), (&id.as_str().into(), &member["address"]));
}

#[tokio::test]
async fn a_removed_registration_closes_its_members_with_4001() {
    let admin = Admin::start(Config::default()).await;
    let (id, mut first, mut second) = lobby(&admin).await;
    let removed = admin.document("DELETE", &format!("/v1/registrations/{id}")).await;
    assert_eq!(removed["removed"], id);
    assert_eq!((close_code(&mut first).await, close_code(&mut second).await), (4001, 4001));
    assert_eq!(admin.server.router.registrations(), 0);
    until("the closes are counted", || closes(&admin, CloseReason::RemovedByAdmin) == 2).await;
    assert_eq!(admin.ask("DELETE", &format!("/v1/registrations/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_disconnected_member_is_closed_with_4002_and_the_others_stay() {
    let admin = Admin::start(Config::default()).await;
    let (id, mut first, mut second) = lobby(&admin).await;
    let path = format!("/v1/registrations/{id}");
    let number = admin.document("GET", &path).await["members"][0]["id"].as_u64().unwrap();
    let answer = admin.document("DELETE", &format!("/v1/connections/{number}")).await;
    assert_eq!(answer["disconnected"], number);
    assert_eq!(close_code(&mut first).await, 4002);
    until("the close is counted", || closes(&admin, CloseReason::ClosedByAdmin) == 1).await;
    first.close(None).await.ok();
    futures_util::SinkExt::send(&mut second, Message::Ping("still there".into())).await.unwrap();
    assert_eq!(second.next().await.unwrap().unwrap(), Message::Pong("still there".into()));
    assert_eq!(admin.ask("DELETE", &format!("/v1/connections/{number}")).await.status, 404);
}

#[tokio::test]
async fn a_malformed_request_is_rejected_with_what_to_fix() {
    let admin = Admin::start(Config::default()).await;
    let cases = [
        ("GET", "/", 404, "no such path"),
        ("GET", "/v2/status", 404, "no such path"),
        ("GET", "/v1/registrations/unknown-id", 404, "no such registration"),
        ("DELETE", "/v1/registrations/unknown-id", 404, "no such registration"),
        ("GET", "/v1/registrations/%00%ff", 400, "an id is 8 to 64"),
        ("DELETE", "/v1/registrations/short", 400, "an id is 8 to 64"),
        ("GET", "/v1/connections/7", 404, "no such connection"),
        ("DELETE", "/v1/connections/first", 400, "not the number of a connection"),
        ("GET", "/v1/connections/99999999999999999999", 400, "not the number of a connection"),
        ("POST", "/v1/drain?over=soon", 400, "a time of at most a day"),
        ("POST", "/v1/adopt", 426, "Upgrade: ws-router-descriptor"),
    ];
    for (method, path, status, text) in cases {
        let answer = admin.ask(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(error(&answer.body).contains(text), "{method} {path}: {}", answer.body);
    }
    for (method, path, allow) in [
        ("PUT", "/v1/status", "GET"),
        ("GET", "/v1/reload", "POST"),
        ("POST", "/v1/registrations/some-id-1", "GET, DELETE"),
        ("BREW", "/v1/events", "GET"),
    ] {
        let answer = admin.ask(method, path).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)));
        assert!(error(&answer.body).contains(allow));
    }
}

#[tokio::test]
async fn an_unexpected_body_is_rejected() {
    let admin = Admin::start(Config::default()).await;
    for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
        let answer = admin.raw(&format!("POST /v1/reload HTTP/1.1\r\nHost: admin\r\n{body}")).await;
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
        assert!(error(&answer.body).contains("leave it out"));
    }
    assert_eq!(admin.raw("what is this\r\n\r\n").await.status, 400);
    let long = format!("GET /v1/status HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert_eq!(admin.raw(&long).await.status, 431);
    assert_eq!(admin.ask("GET", "/v1/status").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let admin = Admin::start(Config::default()).await;
    let mut idle = admin.connect().await;
    let mut half = admin.connect().await;
    half.write_all(b"GET /v1/sta").await.unwrap();
    let mut bodiless = admin.connect().await;
    bodiless.write_all(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n").await.unwrap();
    let mut read = String::new();
    idle.read_to_string(&mut read).await.unwrap();
    half.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "");
    bodiless.read_to_string(&mut read).await.unwrap();
    assert!(read.starts_with("HTTP/1.1 408 "), "{read}");
}

#[tokio::test]
async fn too_many_connections_are_answered_503_until_one_closes() {
    let admin = Admin::start(Config::default()).await;
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = admin.connect().await;
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(read_head(&mut stream).await.status, 200);
        held.push(stream);
    }
    let answer = admin.raw("").await;
    assert_eq!(answer.status, 503);
    assert!(error(&answer.body).contains("too many admin connections"));
    held.pop();
    // The daemon notices the closed connection later; each try before that is answered 503.
    let retrying = async { while admin.ask("GET", "/v1/status").await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(10), retrying).await.expect("the connection never freed its slot");
}

/// Follows the events.
async fn follow(admin: &Admin) -> BufReader<UnixStream> {
    let mut stream = admin.connect().await;
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let head = read_head(&mut stream).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
    BufReader::new(stream)
}

/// Reads the next line that is an event, skipping the lengths of chunks.
async fn event(stream: &mut BufReader<UnixStream>) -> Option<Value> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return None;
        }
        if line.starts_with('{') {
            return Some(serde_json::from_str(&line).unwrap());
        }
    }
}

#[tokio::test]
async fn events_come_as_they_happen_until_the_daemon_stops() {
    let admin = Admin::start(Config::default()).await;
    let mut stream = follow(&admin).await;
    let (id, ..) = lobby(&admin).await;
    let registered = event(&mut stream).await.unwrap();
    assert_eq!((&registered["event"], &registered["kind"]), (&"registered".into(), &"lobby".into()));
    let joined = event(&mut stream).await.unwrap();
    assert_eq!((&joined["event"], &joined["registration"]), (&"joined".into(), &id.as_str().into()));
    assert!(joined["at_ms"].as_u64() > Some(1_600_000_000_000));
    admin.stop.cancel();
    while event(&mut stream).await.is_some() {}
    tokio::time::timeout(Duration::from_secs(10), admin.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_registrations_history_outlives_it() {
    let admin = Admin::start(Config::default()).await;
    let (id, mut first, second) = lobby(&admin).await;
    let path = format!("/v1/registrations/{id}/history");
    first.close(Some(CloseFrame { code: 1001.into(), reason: "".into() })).await.unwrap();
    until("the first has left", || closes(&admin, CloseReason::Left) == 1).await;
    drop(second);
    until("the registration has ended", || admin.server.router.registrations() == 0).await;
    let history = admin.document("GET", &path).await;
    assert_eq!((&history["id"], &history["forgotten"]), (&id.as_str().into(), &0.into()));
    let events: Vec<_> =
        history["events"].as_array().unwrap().iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["registered", "joined", "joined", "left", "left", "ended"]);
    assert_eq!((&history["events"][3]["reason"], &history["events"][3]["code"]), (&"left".into(), &1001.into()));
    assert_eq!((&history["events"][4]["reason"], &history["events"][5]["reason"]), (&"lost".into(), &"emptied".into()));
    assert_eq!(admin.ask("GET", "/v1/registrations/unknown-id/history").await.status, 404);
    assert_eq!(admin.ask("GET", "/v1/registrations/short/history").await.status, 400);
}

#[tokio::test]
async fn a_follower_that_lags_receives_the_number_of_missed_events() {
    let admin = Admin::start(Config::default()).await;
    let mut stream = follow(&admin).await;
    // The test has one thread, so no event is read in between.
    for _ in 0..5000 {
        admin.server.events.publish(EventKind::Reloaded);
    }
    let missed = event(&mut stream).await.unwrap();
    assert_eq!((&missed["event"], &missed["count"]), (&"missed".into(), &904.into()));
    for _ in 904..5000 {
        assert_eq!(event(&mut stream).await.unwrap()["event"], "reloaded");
    }
}

#[tokio::test]
async fn a_reload_returns_what_changed_or_all_problems() {
    let mut admin = Admin::start(Config::default()).await;
    let answers = [
        Ok(ReloadReport { changed: vec!["registration.linger".into()], need_restart: vec!["relay.threads".into()] }),
        Err(Problems(vec!["a.toml:1:1: this".into(), "a.toml:2:1: that".into()])),
    ];
    let mut life = std::mem::replace(&mut admin.life, tokio::sync::mpsc::channel(1).1);
    let daemon = tokio::spawn(async move {
        for answer in answers {
            match life.recv().await {
                Some(Command::Reload(asked)) => asked.send(answer).unwrap(),
                other => panic!("{other:?}"),
            }
        }
    });
    let report = admin.document("POST", "/v1/reload").await;
    assert_eq!(report["changed"][0], "registration.linger");
    assert_eq!(report["need_restart"][0], "relay.threads");
    let refused = admin.ask("POST", "/v1/reload").await;
    assert_eq!(refused.status, 422);
    let refused: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(refused["problems"][1], "a.toml:2:1: that");
    daemon.await.unwrap();
    assert_eq!(admin.ask("POST", "/v1/reload").await.status, 503);
}

const ADOPT: &[u8] = b"POST /v1/adopt HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\
    Upgrade: ws-router-descriptor\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_connection_from_inetd_is_handed_to_the_lifecycle() {
    let mut admin = Admin::start(Config::default()).await;
    let mut stream = admin.connect().await;
    stream.write_all(ADOPT).await.unwrap();
    let head = read_head(&mut stream).await;
    assert_eq!((head.status, head.header("upgrade")), (101, Some("ws-router-descriptor")));
    let (mut ours, theirs) = StdUnixStream::pair().unwrap();
    sys::send_fd(&stream, theirs.as_fd()).unwrap();
    drop(theirs);
    let Some(Command::Adopt(descriptor, answer)) = admin.life.recv().await else { panic!("no hand-over") };
    answer.send(Ok(())).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "ok\n");
    std::io::Write::write_all(&mut StdUnixStream::from(descriptor), b"hello").unwrap();
    let mut received = [0; 5];
    std::io::Read::read_exact(&mut ours, &mut received).unwrap();
    assert_eq!(&received, b"hello");
}

#[tokio::test]
async fn a_hand_over_without_a_descriptor_is_rejected_with_the_reason() {
    let mut admin = Admin::start(Config::default()).await;
    let mut stream = admin.connect().await;
    stream.write_all(ADOPT).await.unwrap();
    assert_eq!(read_head(&mut stream).await.status, 101);
    stream.write_all(b"x").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("no descriptor: ") && answer.ends_with('\n'), "{answer}");
    assert!(admin.life.try_recv().is_err());
}
