//! Connections that break, stall or trickle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use ws_router_server::log::messages;

use super::client::{Member, ask, connect, connect_narrow, register};
use super::harness::Setup;
use super::{Chance, Scene, until};

/// Returns the first bytes of a member: its request, and a message in two fragments with a ping between them.
fn opening(id: &str) -> Vec<u8> {
    let request = format!(
        "GET /connect?id={id}&key=key HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let frames =
        [&[0x01, 0x82, 0, 0, 0, 0, b'o', b'n'][..], &[0x89, 0x80, 0, 0, 0, 0], &[0x80, 0x81, 0, 0, 0, 0, b'e']];
    [request.as_bytes(), &frames.concat()].concat()
}

/// Makes the drop of a connection reset it, as the crash of a proxy does.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn connections_that_are_reset_at_any_point_leave_nothing_behind() {
    let mut scene = Scene::start(Setup::on_loopback());
    let id = register(connect(scene.address), "key");
    let mut stays = Member::join(connect(scene.address), &id, "key");
    let (opening, mut chance) = (opening(&id), Chance(4711));
    let whole = opening.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for _ in 0..900 {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        // A write can fail if the router has rejected the connection, which is right, too.
        let sent = chance.below(opening.len() + 1);
        let _ = stream.write_all(&opening[..sent]);
        if sent >= whole && chance.below(3) == 0 {
            // Part of the response is read.
            let _ = stream.read(&mut [0; 16]);
        }
        reset(&stream);
    }
    scene.check_pair();
    until("only three are left", || scene.status("/members") == 3 && scene.status("/connections") == 3);
    assert!(scene.status("/closes/lost") > 0);
    stays.send_text("the next one");
    drop(stays);
    scene.until_alone();
    scene.check_pair();
}

#[test]
fn a_peer_that_vanishes_is_closed_at_the_pong_timeout() {
    let silent = "[websocket]\nping-interval = \"300ms\"\npong-timeout = \"600ms\"\n";
    let scene = Scene::start(Setup::on_loopback().config(silent));
    let id = register(connect(scene.address), "key");
    // It answers nothing, like a machine that has lost its power.
    let gone = Member::join(connect(scene.address), &id, "key");
    // The pair isn't read, so it answers nothing either. This member is read only when all are closed, since the client
    // answers the pings that it reads.
    until("all three are closed", || scene.status("/closes/no-pong") == 3);
    assert_eq!(gone.closed().0, 4004);
}

#[test]
fn a_receive_window_that_stays_closed_for_a_while_loses_nothing() {
    let mut scene = Scene::start(Setup::on_loopback());
    let id = register(connect(scene.address), "key");
    let mut sender = Member::join(connect(scene.address), &id, "key");
    let mut slow = Member::join(connect_narrow(scene.address), &id, "key");
    const MESSAGES: usize = 400;
    let text = |number: usize| format!("{number:06}{}", "x".repeat(20_000));
    let sending = thread::spawn(move || {
        (0..MESSAGES).for_each(|number| sender.send_text(&text(number)));
        sender
    });
    until("a message is buffered for the slow member", || scene.status("/relay/outbox_bytes") > 0);
    scene.check_pair();
    (0..MESSAGES).for_each(|number| assert!(slow.receive() == text(number), "{number}"));
    sending.join().unwrap();
    scene.check_pair();
}

#[test]
fn a_client_that_never_reads_its_responses_is_closed_and_counted() {
    let impatient = "[http]\nrequest-timeout = \"300ms\"\nconsole = true\n";
    let mut scene = Scene::start(Setup::on_loopback().config(impatient));
    let requests = "GET /console HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100);
    let mut stuck = connect_narrow(scene.address);
    // Until the daemon closes.
    while stuck.write_all(requests.as_bytes()).is_ok() {}
    until("the stalled client is counted", || scene.status("/frontend/stalled") == 1);
    assert_eq!((scene.status("/frontend/idle"), scene.status("/pending")), (0, 0));
    // A client without a request is closed, too, and counted as idle instead.
    assert_eq!(connect(scene.address).read(&mut [0]).unwrap(), 0);
    until("the idle client is counted", || scene.status("/frontend/idle") == 1);
    assert_eq!(scene.status("/frontend/stalled"), 1);
    scene.until_alone();
    scene.check_pair();
}

#[test]
fn a_handshake_and_messages_can_arrive_byte_by_byte() {
    let mut scene = Scene::start(Setup::on_loopback());
    let id = register(connect(scene.address), "key");
    let mut receiver = Member::join(connect(scene.address), &id, "key");
    let mut stream = connect(scene.address);
    stream.set_nodelay(true).unwrap();
    for byte in opening(&id) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(receiver.receive(), "one");
    scene.check_pair();
}

#[test]
fn silent_connections_above_what_the_descriptor_limit_allows_are_evicted() {
    // Half of the descriptors are for connections, and the router itself needs fewer than the other half.
    outlasts_a_crowd("ulimit -n 160;", |scene| {
        until("connections are evicted", || scene.status("/frontend/connections_rejected/evicted") > 0);
        assert_eq!(scene.status("/frontend/accept_errors"), 0);
    });
}

#[test]
fn connections_that_cannot_be_accepted_for_lack_of_descriptors_wait_until_others_end() {
    // The router itself needs more than half of them.
    outlasts_a_crowd("ulimit -n 36;", |scene| drop(scene.router.logged(&[messages::ACCEPT_FAILED])));
}

/// Starts a router with few descriptors, connects more often than these allow, waits for what that causes, and expects a
/// router that serves its members meanwhile and new ones afterwards.
fn outlasts_a_crowd(limit: &str, wait: impl FnOnce(&mut Scene)) {
    let mut scene = Scene::start(Setup::on_loopback().prelude(limit));
    let crowd: Vec<_> = (0..240).map(|_| TcpStream::connect(scene.address).unwrap()).collect();
    wait(&mut scene);
    scene.check_pair();
    drop(crowd);
    until("it accepts again", || {
        // Until the crowd's connections are closed, this one may be rejected, too.
        std::panic::catch_unwind(|| ask(connect(scene.address), "/healthz").0 == 200).unwrap_or(false)
    });
    let id = register(connect(scene.address), "key");
    let mut one = Member::join(connect(scene.address), &id, "key");
    let mut other = Member::join(connect(scene.address), &id, "key");
    one.send_text("there is room");
    assert_eq!(other.receive(), "there is room");
    scene.check_pair();
}
