//! The websocket protocol over real sockets: a member that violates it is closed with the documented code and counted,
//! and the others of its lobby notice nothing.

use std::time::Duration;

use crate::support::device::{Device, Received, closes, frame, header};
use crate::support::{Server, until};
use bytesize::ByteSize;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use ws_router_core::close::CloseReason;
use ws_router_core::frame::whole_frame_len;
use ws_router_server::config::{Config, SlowReceiver};

type Member = Device<TcpStream>;

/// Lobby with two members that must not notice what others do.
struct Lobby {
    server: Server,
    target: String,
    one: Member,
    other: Member,
}

impl Lobby {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let server = Server::start(config).await;
        let id = server.register("key=k&host_key=h&reg_type=lobby").await;
        let target = format!("/connect?id={id}&key=k");
        let one = Device::join(server.connect().await, &target).await;
        let other = Device::join(server.connect().await, &target).await;
        Self { server, target, one, other }
    }

    async fn join(&self) -> Member {
        Device::join(self.server.connect().await, &self.target).await
    }

    /// Joins with the smallest receive buffer that the kernel allows.
    async fn join_with_little_room(&self) -> Member {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Device::join(socket.connect(self.server.http).await.unwrap(), &self.target).await
    }

    /// Asserts that the two receive each other's messages, and received nothing else since the last time.
    async fn check_undisturbed(&mut self, what: &str) {
        self.one.say(what).await;
        self.other.expect(what).await;
        self.other.say(what).await;
        self.one.expect(what).await;
    }

    fn closes(&self, reason: CloseReason) -> u64 {
        closes(&self.server, reason)
    }
}

/// Frames one after the other.
fn frames(all: &[(u8, &[u8])]) -> Vec<u8> {
    all.iter().flat_map(|(first, payload)| frame(*first, payload)).collect()
}

/// A close frame with a code and a reason.
fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

const LIMIT: u64 = 100_000;

/// Sends each invalid input on a connection of its own, and asserts the close reason and its counter.
async fn assert_each_ends_alone(reason: CloseReason, violations: Vec<(String, Vec<u8>)>) {
    let mut lobby = Lobby::start(|config| config.websocket.max_message = ByteSize::b(LIMIT)).await;
    for (number, (what, bytes)) in violations.iter().enumerate() {
        println!("{what}");
        let mut offender = lobby.join().await;
        offender.raw(bytes).await;
        offender.expect_close(reason).await;
        until("the close is counted", || lobby.closes(reason) == number as u64 + 1).await;
        lobby.check_undisturbed(what).await;
    }
    let all: u64 = CloseReason::ALL.iter().map(|reason| lobby.closes(*reason)).sum();
    assert_eq!(all, violations.len() as u64, "for no other reason");
}

#[tokio::test]
async fn a_protocol_error_is_closed_with_1002() {
    let mut violations: Vec<(String, Vec<u8>)> = Vec::new();
    for bit in [0x40, 0x20, 0x10] {
        violations.push((format!("reserved bit {bit:x}"), frame(0x81 | bit, b"hi")));
        violations.push((format!("reserved bit {bit:x} of a ping"), frame(0x89 | bit, b"hi")));
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        violations.push((format!("opcode {opcode:x}"), frame(0x80 | opcode, b"hi")));
    }
    violations.push(("no mask".into(), vec![0x81, 2, b'h', b'i']));
    violations.push(("a close without a mask".into(), vec![0x88, 0]));
    violations.push(("a ping in fragments".into(), frame(0x09, b"hi")));
    violations.push(("a ping too long".into(), frame(0x89, &[0; 126])));
    violations.push(("16 bits of length for 125".into(), vec![0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0]));
    violations.push(("64 bits of length for 65535".into(), vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]));
    violations.push(("a length above 63 bits".into(), vec![0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0]));
    violations.push(("a continuation of nothing".into(), frame(0x80, b"hi")));
    violations.push(("a message within a message".into(), frames(&[(0x01, b"a"), (0x81, b"b")])));
    violations.push(("a close of one byte".into(), frame(0x88, b"x")));
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        violations.push((format!("close code {code}"), close_frame(code, b"")));
    }
    assert_each_ends_alone(CloseReason::Protocol, violations).await;
}

#[tokio::test]
async fn a_text_that_is_not_utf8_is_closed_with_1007() {
    let violations = [
        ("a bad byte", frame(0x81, b"a\xffb")),
        ("a character that ends too soon", frame(0x81, "ä".as_bytes().split_last().unwrap().1)),
        ("a surrogate", frame(0x81, b"\xed\xa0\x80")),
        ("a bad byte in a large text", frame(0x81, &[vec![b'a'; 70_000], vec![0xff]].concat())),
        ("in the second fragment", frames(&[(0x01, b"a"), (0x80, b"\xc0")])),
        ("before the message is whole", frame(0x01, b"\xff")),
        ("in the reason of a close", close_frame(1000, b"\xff")),
    ];
    let violations = violations.map(|(what, bytes)| (what.to_owned(), bytes)).to_vec();
    assert_each_ends_alone(CloseReason::InvalidUtf8, violations).await;
}

#[tokio::test]
async fn a_message_too_large_is_closed_with_1009_by_its_header() {
    let half = vec![0; LIMIT as usize / 2];
    let violations = [
        ("one byte too many", header(0x82, LIMIT + 1)),
        ("far too much", header(0x82, i64::MAX as u64)),
        ("in fragments", [frames(&[(0x02, &half), (0x00, &half)]), header(0x80, 1)].concat()),
    ];
    let violations = violations.map(|(what, bytes)| (what.to_owned(), bytes)).to_vec();
    assert_each_ends_alone(CloseReason::TooBig, violations).await;
}

#[tokio::test]
async fn the_largest_message_and_every_kind_of_fragment_arrive() {
    let mut lobby = Lobby::start(|config| config.websocket.max_message = ByteSize::b(LIMIT)).await;
    let largest = vec![7; LIMIT as usize];
    lobby.one.raw(&frame(0x82, &largest)).await;
    assert!(lobby.other.receive().await == Received::Binary(largest));
    lobby.one.raw(&frames(&[(0x01, b"fr"), (0x89, b"ping"), (0x00, b""), (0x80, b"agments")])).await;
    assert_eq!(lobby.one.receive().await, Received::Pong(b"ping".to_vec()));
    lobby.other.expect("fragments").await;
    lobby.check_undisturbed("afterwards").await;
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code_and_ends_one_member_alone() {
    let mut lobby = Lobby::start(|_| {}).await;
    let codes = [None, Some(1000), Some(1001), Some(1003), Some(1011), Some(1014), Some(3000), Some(4999)];
    for (number, code) in codes.into_iter().enumerate() {
        let mut leaver = lobby.join().await;
        leaver.raw(&code.map_or_else(|| frame(0x88, b""), |code| close_frame(code, "grüße".as_bytes()))).await;
        assert_eq!(leaver.frame().await, Received::Close(code.unwrap_or(1000), "closed".into()));
        assert_eq!(leaver.frame().await, Received::End(true), "the router ends the connection");
        until("the close is counted", || lobby.closes(CloseReason::Left) == number as u64 + 1).await;
        lobby.check_undisturbed("one left").await;
    }
}

#[tokio::test]
async fn a_member_that_resets_its_connection_leaves_and_is_counted() {
    let mut lobby = Lobby::start(|_| {}).await;
    for (number, start) in [&b""[..], &frame(0x82, &[0; 9])[..7], &header(0x82, 50_000_000)].into_iter().enumerate() {
        let mut member = lobby.join().await;
        member.raw(start).await;
        socket2::SockRef::from(&member.0).set_linger(Some(Duration::ZERO)).unwrap();
        drop(member);
        until("the close is counted", || lobby.closes(CloseReason::Lost) == number as u64 + 1).await;
        lobby.check_undisturbed("one was lost").await;
    }
    until("the connections are gone", || lobby.server.metrics.connections.value() == 2).await;
}

#[tokio::test]
async fn a_member_that_answers_no_ping_is_closed_with_4004_and_the_others_stay() {
    let mut lobby = Lobby::start(|config| {
        config.websocket.ping_interval = Duration::from_millis(100);
        config.websocket.pong_timeout = Duration::from_secs(1);
    })
    .await;
    let mut vanished = lobby.join().await;
    let (ping, end) = {
        let both = async { (vanished.frame().await, vanished.frame().await) };
        let answering = async { tokio::join!(lobby.one.receive(), lobby.other.receive()) };
        tokio::select! {
            frames = both => frames,
            received = answering => panic!("{received:?}"),
        }
    };
    assert_eq!((ping, end), (Received::Ping, Received::Close(4004, "no pong".into())));
    until("the close is counted", || lobby.closes(CloseReason::NoPong) == 1).await;
    lobby.check_undisturbed("one was given up").await;
}

/// On a slow connection the ping waits behind a large message, and its pong arrives late.
#[tokio::test]
async fn a_member_that_receives_a_large_message_slowly_stays() {
    let mut lobby = Lobby::start(|config| {
        config.websocket.ping_interval = Duration::from_millis(500);
        config.websocket.pong_timeout = Duration::from_millis(1500);
    })
    .await;
    let mut slow = lobby.join_with_little_room().await;
    lobby.one.raw(&frame(0x82, &vec![5; 768 << 10])).await;
    let (mut received, mut part) = (Vec::new(), vec![0; 20_000]);
    let reading = async {
        loop {
            let bytes = slow.0.read(&mut part).await.unwrap();
            assert!(bytes > 0, "closed after {} bytes", received.len());
            received.extend_from_slice(&part[..bytes]);
            tokio::time::sleep(Duration::from_millis(50)).await;
            match whole_frame_len(&received) {
                Some(len) if len <= received.len() => {
                    let frame: Vec<u8> = received.drain(..len).collect();
                    match frame[0] {
                        0x89 => slow.raw(&crate::support::device::frame(0x8a, b"")).await,
                        first => return (first, len),
                    }
                }
                _ => {}
            }
        }
    };
    let others = async {
        assert!(lobby.other.receive().await == Received::Binary(vec![5; 768 << 10]));
        tokio::join!(lobby.other.receive(), lobby.one.receive())
    };
    tokio::select! {
        received = reading => assert_eq!(received, (0x82, 10 + (768 << 10))),
        received = others => panic!("{received:?}"),
    }
    assert_eq!(lobby.closes(CloseReason::NoPong), 0);
}

#[tokio::test]
async fn a_member_of_a_group_that_stops_reading_is_closed_with_4003_and_the_others_lose_nothing() {
    let mut lobby = Lobby::start(|config| {
        config.websocket.outbox = ByteSize::kib(256);
        config.websocket.close_timeout = Duration::from_secs(30);
    })
    .await;
    let mut stuck = lobby.join_with_little_room().await;
    let message = |number: usize| number.to_be_bytes().repeat(10_000);
    let mut sent = 0;
    while lobby.closes(CloseReason::TooSlow) == 0 {
        lobby.one.raw(&frame(0x82, &message(sent))).await;
        assert!(lobby.other.receive().await == Received::Binary(message(sent)), "message {sent}");
        sent += 1;
        assert!(sent < 1000, "it was never closed");
    }
    lobby.check_undisturbed("one was too slow").await;
    let mut received = 0;
    let end = loop {
        match stuck.frame().await {
            Received::Binary(bytes) => assert!(bytes == message(received), "message {received}"),
            end => break end,
        }
        received += 1;
    };
    assert_eq!(end, Received::Close(4003, "too slow".into()));
    assert!(received < sent, "no message was dropped");
    // Counted at the end of the iteration, when the frame may have arrived already.
    until("nothing waits any more", || lobby.server.router.thread_totals()[0].outbox_bytes.value() == 0).await;
}

#[tokio::test]
async fn an_only_receiver_that_reads_nothing_is_closed_as_stalled_and_its_sender_stays() {
    let mut lobby = Lobby::start(|config| config.websocket.stall_timeout = Duration::from_secs(1)).await;
    // The other member leaves, and one that doesn't read joins instead.
    lobby.other = lobby.join_with_little_room().await;
    until("the other is gone", || lobby.server.router.list()[0].seats == 2).await;
    // The sender is read again as soon as no receiver throttles it.
    let sending = async {
        while closes(&lobby.server, CloseReason::TooSlow) == 0 {
            lobby.one.raw(&frame(0x82, &[0; 100_000])).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), sending).await.expect("the sender is held up for ever");
    lobby.other = lobby.join().await;
    lobby.one.say("still here").await;
    // Messages in transit arrive first.
    while let Received::Binary(_) = lobby.other.receive().await {}
    lobby.check_undisturbed("one stalled").await;
}

#[tokio::test]
async fn with_pace_all_wait_for_a_slow_member_and_it_receives_everything() {
    let mut lobby = Lobby::start(|config| {
        config.websocket.slow_receiver = SlowReceiver::Pace;
        config.websocket.outbox = ByteSize::kib(64);
    })
    .await;
    let mut slow = lobby.join_with_little_room().await;
    let message = |number: usize| number.to_be_bytes().repeat(12_500);
    let sending = async {
        for number in 0..100 {
            lobby.one.raw(&frame(0x82, &message(number))).await;
        }
    };
    let receiving = async {
        for number in 0..100 {
            assert!(lobby.other.receive().await == Received::Binary(message(number)), "message {number}");
        }
    };
    let slowly = async {
        for number in 0..100 {
            assert!(slow.receive().await == Received::Binary(message(number)), "message {number}");
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::join!(sending, receiving, slowly);
    assert_eq!(lobby.closes(CloseReason::TooSlow), 0);
    lobby.check_undisturbed("all was paced").await;
}
