//! Session resumption (ws-router-protocol(7), Sessions).

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use ws_router_core::close::CloseReason;
use ws_router_server::config::Config;

use crate::support::device::{Device, Received, frame, request};
use crate::support::{Answer, Server, read_head, until};

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const PAIR: &str = "key=k&host_key=h&reg_type=hostclient&client_key=c&receive_key=r";
const PAIRED: &str = "key=k&host_key=h&reg_type=paired";
const SECRET: &str = "session=a-secret-that-it-has-drawn";

async fn server() -> Server {
    Server::start(Config::default()).await
}

async fn join(server: &Server, id: &str, query: &str) -> Device<TcpStream> {
    Device::join(server.connect().await, &format!("/connect?id={id}&{query}")).await
}

/// Asks for the counts of a session.
async fn counts(server: &Server, id: &str, query: &str) -> (u64, u64) {
    let answer = server.post("/session", &format!("id={id}&{query}&{SECRET}")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{}", answer.body);
    let counts: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    (counts["received"].as_u64().unwrap(), counts["sent"].as_u64().unwrap())
}

/// Returns the close code with which a connection is closed at once after its handshake.
async fn closed_at_once(server: &Server, id: &str, query: &str) -> u16 {
    let mut device = join(server, id, query).await;
    match device.receive().await {
        Received::Close(code, _) => code,
        other => panic!("{other:?}"),
    }
}

/// Returns the answer to a request to connect that is refused.
async fn refused(server: &Server, id: &str, query: &str) -> Answer {
    let mut stream = server.connect().await;
    let target = format!("/connect?id={id}&{query}");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request(&target).as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

fn away(server: &Server) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.members_away.value()).sum()
}

fn resumed(server: &Server) -> u64 {
    server.router.thread_totals().iter().map(|thread| thread.sessions_resumed.value()).sum()
}

#[tokio::test]
async fn a_device_that_has_lost_its_connection_misses_nothing_and_repeats_nothing() {
    let server = server().await;
    for (kind, phone, home) in
        [(LOBBY, "key=k", "key=k"), (PAIR, "client_key=c&sock_type=client", "key=k&sock_type=host")]
    {
        let id = server.register(kind).await;
        let mut home = join(&server, &id, home).await;
        let mut device = join(&server, &id, &format!("{phone}&{SECRET}")).await;
        for text in ["one", "two", "three"] {
            home.say(text).await;
        }
        device.expect("one").await;
        device.say("first").await;
        home.expect("first").await;
        let before = resumed(&server);
        // Two and three are on the way, and are never read.
        drop(device);
        until("it is away", || away(&server) == 1).await;
        home.say("four").await;
        assert_eq!(counts(&server, &id, phone).await.0, 1);
        let mut device = join(&server, &id, &format!("{phone}&{SECRET}&received=1")).await;
        home.say("five").await;
        for text in ["two", "three", "four", "five"] {
            device.expect(text).await;
        }
        device.say("second").await;
        home.expect("second").await;
        assert_eq!((resumed(&server), away(&server), server.router.member_count()), (before + 1, 0, 2));
        for mut device in [device, home] {
            device.raw(&frame(0x88, &1000u16.to_be_bytes())).await;
            assert!(matches!(device.receive().await, Received::Close(1000, _)));
        }
        until("both have left", || server.router.member_count() == 0).await;
    }
}

#[tokio::test]
async fn the_counts_are_final_and_the_old_connection_is_closed_with_4008() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut home = join(&server, &id, "key=k").await;
    let mut ghost = join(&server, &id, &format!("key=k&{SECRET}")).await;
    ghost.say("first").await;
    home.say("hello").await;
    home.expect("first").await;
    ghost.expect("hello").await;
    assert_eq!(counts(&server, &id, "key=k").await, (1, 1));
    ghost.expect_close(CloseReason::TakenOver).await;
    assert_eq!(away(&server), 1);
    assert_eq!(counts(&server, &id, "key=k&sock_type=host").await, (1, 1), "a lobby has no roles");
    let mut device = join(&server, &id, &format!("key=k&{SECRET}&received=1")).await;
    device.say("second").await;
    home.expect("second").await;
}

#[tokio::test]
async fn a_ghost_that_seems_alive_is_taken_over_even_in_a_full_registration() {
    let server = server().await;
    let id = server.register(&format!("{LOBBY}&max_members=2")).await;
    let mut home = join(&server, &id, "key=k").await;
    let mut ghost = join(&server, &id, &format!("key=k&{SECRET}")).await;
    let mut device = join(&server, &id, &format!("key=k&{SECRET}&received=0")).await;
    ghost.expect_close(CloseReason::TakenOver).await;
    device.say("here").await;
    home.expect("here").await;
    // Without the number a session begins anew, in the place of the older one.
    let mut anew = join(&server, &id, &format!("key=k&{SECRET}")).await;
    device.expect_close(CloseReason::TakenOver).await;
    home.say("welcome").await;
    anew.expect("welcome").await;
    assert_eq!(refused(&server, &id, "key=k").await.status, 503);
}

#[tokio::test]
async fn the_only_member_of_a_registration_can_begin_its_session_anew() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut device = join(&server, &id, &format!("key=k&{SECRET}")).await;
    let _anew = join(&server, &id, &format!("key=k&{SECRET}")).await;
    device.expect_close(CloseReason::TakenOver).await;
    assert!(server.router.find(&id).is_some());
}

#[tokio::test]
async fn a_session_that_is_unknown_or_has_a_gap_is_closed_with_4009() {
    let mut config = Config::default();
    config.websocket.session_buffer = bytesize::ByteSize::kib(16);
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    assert_eq!(closed_at_once(&server, &id, &format!("key=k&{SECRET}&received=0")).await, 4009);
    let mut home = join(&server, &id, "key=k").await;
    let mut device = join(&server, &id, &format!("key=k&{SECRET}")).await;
    let large = "x".repeat(10_000);
    for _ in 0..3 {
        home.say(&large).await;
        device.expect(&large).await;
    }
    drop(device);
    until("it is away", || away(&server) == 1).await;
    assert_eq!(closed_at_once(&server, &id, &format!("key=k&{SECRET}&received=1")).await, 4009);
    until("it has left", || server.router.member_count() == 1).await;
    // More than was sent.
    let device = join(&server, &id, &format!("key=k&{SECRET}")).await;
    assert_eq!(closed_at_once(&server, &id, &format!("key=k&{SECRET}&received=1")).await, 4009);
    drop(device);
    let gaps = || server.router.thread_totals().iter().map(|thread| thread.session_gaps.value()).sum::<u64>();
    until("both are counted", || gaps() == 2).await;
}

#[tokio::test]
async fn a_stolen_key_without_the_secret_resumes_nothing() {
    let server = server().await;
    let id = server.register(PAIR).await;
    let mut host = join(&server, &id, &format!("key=k&sock_type=host&{SECRET}")).await;
    for (query, status) in [
        ("key=k&sock_type=client", 403),
        ("client_key=c&sock_type=client", 403),
        ("receive_key=r&sock_type=client", 403),
        ("key=wrong&sock_type=host", 403),
    ] {
        let answer = refused(&server, &id, &format!("{query}&{SECRET}&received=0")).await;
        assert_eq!(answer.status, status, "{query}");
        assert_eq!(server.post("/session", &format!("id={id}&{query}&{SECRET}")).await.status, status, "{query}");
        assert_eq!(refused(&server, &id, &format!("{query}&{SECRET}")).await.status, status, "{query}");
    }
    let other = "key=k&sock_type=host&session=another-secret-of-a-stranger";
    assert_eq!(server.post("/session", &format!("id={id}&{other}")).await.status, 404);
    assert_eq!(closed_at_once(&server, &id, &format!("{other}&received=0")).await, 4009);
    let mut client = join(&server, &id, "key=k&sock_type=client").await;
    client.say("still there?").await;
    host.expect("still there?").await;
}

#[tokio::test]
async fn malformed_parameters_are_refused() {
    let server = server().await;
    let (id, paired) = (server.register(LOBBY).await, server.register(PAIRED).await);
    for query in [
        "key=k&session=too-short",
        "key=k&session=with%20a%20space%20in%20it",
        "key=k&received=1",
        "key=k&session=a-secret-that-is-valid&received=-1",
        "key=k&session=a-secret-that-is-valid&received=one",
        &format!("key=k&session={}", "x".repeat(65)),
    ] {
        assert_eq!(refused(&server, &id, query).await.status, 400, "{query}");
    }
    assert_eq!(refused(&server, &paired, &format!("key=k&sock_type=host&{SECRET}")).await.status, 400);
    for body in [format!("id={id}&key=k"), format!("id={id}&{SECRET}"), format!("key=k&{SECRET}")] {
        assert_eq!(server.post("/session", &body).await.status, 400, "{body}");
    }
    let answer = server.get(&format!("/session?id={id}&key=k&{SECRET}")).await;
    assert_eq!(answer.status, 404, "{}", answer.body);
    assert_eq!(server.request("PUT", "/session", "", "").await.status, 405);
}

#[tokio::test]
async fn a_device_that_is_not_back_in_time_leaves() {
    let mut config = Config::default();
    config.websocket.session_timeout = Duration::from_millis(300);
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    let _home = join(&server, &id, "key=k").await;
    drop(join(&server, &id, &format!("key=k&{SECRET}")).await);
    until("it is away", || away(&server) == 1).await;
    until("it has left", || server.router.member_count() == 1).await;
    let expired: u64 = server.router.thread_totals().iter().map(|thread| thread.sessions_expired.value()).sum();
    assert_eq!((away(&server), expired), (0, 1));
}

#[tokio::test]
async fn without_a_timeout_there_are_no_sessions() {
    let mut config = Config::default();
    config.websocket.session_timeout = Duration::ZERO;
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    let _home = join(&server, &id, "key=k").await;
    drop(join(&server, &id, &format!("key=k&{SECRET}")).await);
    until("it has left", || server.router.member_count() == 1).await;
    assert_eq!(closed_at_once(&server, &id, &format!("key=k&{SECRET}&received=0")).await, 4009);
}

#[tokio::test]
async fn a_limit_holds_for_members_that_are_away() {
    let mut config = Config::default();
    config.limits.away = 1;
    let server = Server::start(config).await;
    let id = server.register(LOBBY).await;
    let mut home = join(&server, &id, "key=k").await;
    let secrets = ["session=the-secret-of-the-first", "session=the-secret-of-the-second"];
    let first = join(&server, &id, &format!("key=k&{}", secrets[0])).await;
    let second = join(&server, &id, &format!("key=k&{}", secrets[1])).await;
    drop(first);
    until("it is away", || away(&server) == 1).await;
    assert_eq!(server.post("/session", &format!("id={id}&key=k&{}", secrets[1])).await.status, 503);
    // Taking over doesn't need a place.
    let mut third = join(&server, &id, &format!("key=k&{}&received=0", secrets[1])).await;
    home.say("hello").await;
    third.expect("hello").await;
    drop(second);
    drop(third);
    until("it has left", || server.router.member_count() == 2).await;
    assert_eq!(away(&server), 1);
}

#[tokio::test]
async fn both_ends_of_a_pair_resume() {
    let server = server().await;
    let id = server.register(PAIRED).await;
    let mut host = join(&server, &id, "key=k&sock_type=host").await;
    let client = "key=k&sock_type=client&session=the-secret-of-the-client";
    let mut caller = join(&server, &id, client).await;
    let Received::Text(announced) = host.receive().await else { panic!("no announcement") };
    let announced: serde_json::Value = serde_json::from_str(&announced).unwrap();
    let accept = format!("accept={}", announced["incoming"].as_str().unwrap());
    let mut end = join(&server, &id, &format!("{accept}&{SECRET}")).await;
    caller.say("one").await;
    end.expect("one").await;
    end.say("two").await;
    caller.expect("two").await;
    drop(end);
    drop(caller);
    until("both are away", || away(&server) == 2).await;
    assert_eq!(server.post("/session", &format!("id={id}&accept={}&{SECRET}", "0".repeat(32))).await.status, 403);
    assert_eq!(refused(&server, &id, &format!("{accept}&session=another-secret-of-a-stranger")).await.status, 404);
    let mut end = join(&server, &id, &format!("{accept}&{SECRET}&received=1")).await;
    end.say("three").await;
    let mut caller = join(&server, &id, &format!("{client}&received=1")).await;
    caller.expect("three").await;
    caller.say("four").await;
    end.expect("four").await;
}

#[tokio::test]
async fn a_close_by_the_device_ends_the_session_unless_it_goes_away() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let _home = join(&server, &id, "key=k").await;
    for (code, status) in [(1000u16, 404), (1001, 200), (1011, 200)] {
        let mut device = join(&server, &id, &format!("key=k&{SECRET}")).await;
        device.raw(&frame(0x88, &code.to_be_bytes())).await;
        assert!(matches!(device.receive().await, Received::Close(answered, _) if answered == code));
        assert_eq!(server.post("/session", &format!("id={id}&key=k&{SECRET}")).await.status, status, "{code}");
    }
}

#[tokio::test]
async fn an_end_of_the_registration_ends_the_session() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    drop(join(&server, &id, &format!("key=k&{SECRET}")).await);
    until("it is away", || away(&server) == 1).await;
    assert_eq!(server.get(&format!("/remove?id={id}&key=k&host_key=h")).await.status, 200);
    until("it has left", || server.router.member_count() == 0).await;
    assert_eq!(away(&server), 0);
}

#[tokio::test]
async fn a_handshake_that_breaks_off_changes_nothing() {
    let server = server().await;
    let id = server.register(LOBBY).await;
    let mut home = join(&server, &id, "key=k").await;
    drop(join(&server, &id, &format!("key=k&{SECRET}")).await);
    until("it is away", || away(&server) == 1).await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let target = request(&format!("/connect?id={id}&key=k&{SECRET}&received=0"));
        tokio::io::AsyncWriteExt::write_all(&mut stream, target.as_bytes()).await.unwrap();
        drop(stream);
    }
    home.say("hello").await;
    let resumed = async {
        let mut device = join(&server, &id, &format!("key=k&{SECRET}&received=0")).await;
        device.expect("hello").await;
    };
    timeout(Duration::from_secs(10), resumed).await.unwrap();
    assert_eq!(server.router.member_count(), 2);
}
