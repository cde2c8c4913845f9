//! Members with TLS: messages stay whole however they are split, a slow receiver sets the pace, and a broken session ends
//! its member alone.

use std::time::Duration;

use crate::support::device::{Device, Received, closes, frame, header, read_frame, request};
use crate::support::tls::{Secured, client, ecdsa};
use crate::support::{read_head, until};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use ws_router_core::close::CloseReason;
use ws_router_server::peer::Peer;

const LOBBY: &str = "key=k&host_key=h&reg_type=lobby";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Sealed = Device<TlsStream<TcpStream>>;

/// Lobby of a router with TLS.
struct Lobby {
    secured: Secured,
    target: String,
}

impl Lobby {
    async fn start() -> Self {
        let secured = Secured::start(ecdsa).await;
        let id = secured.server.register(LOBBY).await;
        Self { secured, target: format!("/connect?id={id}&key=k") }
    }

    async fn join(&self, version: &'static SupportedProtocolVersion) -> Sealed {
        let stream = self.secured.dial(client(&[version])).await.unwrap();
        Device::join(stream, &self.target).await
    }

    async fn join_plain(&self) -> Device<TcpStream> {
        Device::join(self.secured.server.connect().await, &self.target).await
    }
}

/// Returns varying bytes that identify their message.
fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ number) as u8).collect()
}

/// Sends all messages while receiving as many, with `delay` after each.
async fn converse(mut device: Sealed, sizes: Vec<usize>, delay: Duration) {
    let (mut reader, mut writer) = tokio::io::split(&mut device.0);
    let send = async {
        for (number, len) in sizes.iter().enumerate() {
            writer.write_all(&frame(0x82, &payload(number, *len))).await.unwrap();
        }
        writer.flush().await.unwrap();
    };
    let receive = async {
        for (number, len) in sizes.iter().enumerate() {
            let received = read_frame(&mut reader).await.unwrap();
            assert!(received == Received::Binary(payload(number, *len)), "message {number} of {len} bytes");
            if !delay.is_zero() && number % 100 == 0 {
                tokio::time::sleep(delay).await;
            }
        }
    };
    tokio::join!(send, receive);
}

/// Returns the longest time for an exchange, which `WS_ROUTER_PATIENCE` makes longer on an emulated machine, in seconds.
fn patience() -> Duration {
    let wanted = std::env::var("WS_ROUTER_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(wanted.unwrap_or(60))
}

/// Has two members send each other messages of these sizes at the same time.
async fn exchange_all(sizes: &[usize], delay: Duration) {
    for version in VERSIONS {
        let lobby = Lobby::start().await;
        let (one, other) = (lobby.join(version).await, lobby.join(version).await);
        let both = async {
            tokio::join!(converse(one, sizes.to_vec(), Duration::ZERO), converse(other, sizes.to_vec(), delay))
        };
        tokio::time::timeout(patience(), both).await.expect("it got stuck");
        assert_eq!(closes(&lobby.secured.server, CloseReason::TooSlow), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_go_both_ways_at_once() {
    exchange_all(&[16 << 20, 1, 16 << 20, 65_535, 65_536], Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_messages_wait_for_a_slow_reader_and_none_is_lost() {
    let sizes: Vec<usize> = (0..20_000).map(|number| (number * 7) % 1500).collect();
    exchange_all(&sizes, Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_around_the_size_of_a_record_arrive_whole() {
    let sizes: Vec<usize> = (16_300..16_500).collect();
    exchange_all(&sizes, Duration::ZERO).await;
}

#[tokio::test]
async fn everything_sent_before_the_answer_is_relayed() {
    for version in VERSIONS {
        let lobby = Lobby::start().await;
        let mut receiver = lobby.join_plain().await;
        let mut stream = lobby.secured.dial(client(&[version])).await.unwrap();
        let mut burst = request(&lobby.target).into_bytes();
        for number in 0..20 {
            burst.extend(frame(0x82, &payload(number, 4000)));
        }
        stream.write_all(&burst).await.unwrap();
        stream.flush().await.unwrap();
        for number in 0..20 {
            assert!(receiver.receive().await == Received::Binary(payload(number, 4000)), "message {number}");
        }
        assert_eq!(read_head(&mut stream).await.status, 101);
        let mut device = Device(stream);
        receiver.say("all received").await;
        device.expect("all received").await;
    }
}

#[tokio::test]
async fn a_close_ends_both_layers() {
    for version in VERSIONS {
        let lobby = Lobby::start().await;
        let (mut leaver, mut stayer) = (lobby.join(version).await, lobby.join(version).await);
        leaver.raw(&frame(0x88, &1000_u16.to_be_bytes())).await;
        assert_eq!(leaver.frame().await, Received::Close(1000, "closed".into()));
        // Without a close_notify the session would fail here instead of being at its end.
        assert_eq!(leaver.0.read(&mut [0]).await.unwrap(), 0);
        until("it is counted", || closes(&lobby.secured.server, CloseReason::Left) == 1).await;
        let mut third = lobby.join_plain().await;
        third.say("still here?").await;
        stayer.expect("still here?").await;
    }
}

#[tokio::test]
async fn a_tls_session_that_ends_or_breaks_ends_its_member_alone() {
    let lobby = Lobby::start().await;
    let (mut one, mut other) = (lobby.join(&TLS12).await, lobby.join(&TLS13).await);
    for (number, version) in VERSIONS.into_iter().cycle().take(8).enumerate() {
        let mut offender = lobby.join(version).await;
        let (stream, session) = offender.0.get_mut();
        let mut sealed = Vec::new();
        match number / 2 {
            // Bytes behind the end of the session, of which nothing is to be understood any more.
            0 => {
                session.send_close_notify();
                session.write_tls(&mut sealed).unwrap();
                sealed.extend([0x17; 20_000]);
            }
            // A record that wasn't sealed by this session's keys.
            1 => sealed.extend([&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat()),
            // No record at all.
            2 => sealed.extend(b"GET / HTTP/1.1\r\n\r\n"),
            // A message, and a broken record right behind it.
            _ => {
                std::io::Write::write_all(&mut session.writer(), &frame(0x81, b"last words")).unwrap();
                session.write_tls(&mut sealed).unwrap();
                sealed.extend([&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat());
            }
        }
        stream.write_all(&sealed).await.unwrap();
        if number / 2 == 3 {
            one.expect("last words").await;
            other.expect("last words").await;
        }
        // The connection itself is ended, in order or by a reset.
        let mut byte = [0];
        let ended = tokio::time::timeout(Duration::from_secs(5), offender.0.read(&mut byte));
        assert!(!matches!(ended.await.expect("it was not closed"), Ok(1..)));
        until("it is counted", || closes(&lobby.secured.server, CloseReason::Lost) == number as u64 + 1).await;
        one.say("still here").await;
        other.expect("still here").await;
    }
}

#[tokio::test]
async fn a_stalled_member_receives_its_4003_when_it_reads_on() {
    let secured = Secured::start_with(ecdsa, |config| {
        config.websocket.outbox = bytesize::ByteSize::kib(256);
        config.websocket.close_timeout = Duration::from_secs(30);
    })
    .await;
    let id = secured.server.register(LOBBY).await;
    let lobby = Lobby { secured, target: format!("/connect?id={id}&key=k") };
    let mut stuck = lobby.join(&TLS13).await;
    let (mut talker, mut receiver) = (lobby.join(&TLS13).await, lobby.join(&TLS12).await);
    let mut sent = 0;
    while closes(&lobby.secured.server, CloseReason::TooSlow) == 0 {
        talker.raw(&frame(0x82, &payload(sent, 100_000))).await;
        assert!(receiver.receive().await == Received::Binary(payload(sent, 100_000)), "message {sent}");
        sent += 1;
        assert!(sent < 1000, "it was never closed");
    }
    let mut received = 0;
    loop {
        match stuck.frame().await {
            Received::Binary(message) => {
                assert!(message == payload(received, 100_000), "message {received}");
                received += 1;
            }
            end => break assert_eq!(end, Received::Close(4003, "too slow".into())),
        }
    }
    assert!(received < sent);
}

/// Reason for which the router closes a member first, with the bytes that the member sends to cause it.
fn closed_first() -> [(CloseReason, Vec<u8>); 5] {
    [
        (CloseReason::Protocol, frame(0x83, b"?")),
        (CloseReason::InvalidUtf8, frame(0x81, b"\xff")),
        (CloseReason::TooBig, header(0x82, 1 << 40)),
        (CloseReason::ClosedByAdmin, Vec::new()),
        (CloseReason::Removed, Vec::new()),
    ]
}

#[tokio::test]
async fn a_member_that_the_router_closes_can_send_its_own_close_frame_before_the_end() {
    let lobby = Lobby::start().await;
    let router = &lobby.secured.server.router;
    for (reason, offence) in closed_first() {
        let id = lobby.secured.server.register(LOBBY).await;
        let plain = Device::join(lobby.secured.server.connect().await, &to(&id)).await;
        let mut closing = vec![plain.boxed()];
        for version in VERSIONS {
            let stream = lobby.secured.dial(client(&[version])).await.unwrap();
            closing.push(Device::join(stream, &to(&id)).await.boxed());
        }
        let mut members = router.members(&router.find(&id).unwrap().registration).await;
        members.sort_by_key(|member| member.id.0);
        if reason == CloseReason::Removed {
            lobby.secured.server.get(&format!("/remove?id={id}&key=k&host_key=h")).await;
        }
        for (number, device) in closing.iter_mut().enumerate() {
            device.raw(&offence).await;
            if reason == CloseReason::ClosedByAdmin {
                assert!(router.disconnect(members[number].id, Peer::Unix { uid: 0, pid: 1 }).await);
            }
            assert_eq!(device.receive().await, Received::Close(reason.code().unwrap(), reason.text().into()));
        }
        // Whatever the threads did behind the close frames, they have done it now.
        assert!(router.self_test(Duration::from_secs(10)).await);
        let is_open_until_the_end_of_file = offence_ends_decoding(reason);
        for device in &mut closing {
            let end = tokio::time::timeout(Duration::ZERO, device.0.read_u8()).await;
            assert!(end.is_err(), "{reason:?}: the router's side has ended, or more has come: {end:?}");
            device.raw(&frame(0x82, &[0; 100_000])).await;
            device.raw(&frame(0x88, &1000_u16.to_be_bytes())).await;
            if is_open_until_the_end_of_file {
                assert!(router.self_test(Duration::from_secs(10)).await);
                let end = tokio::time::timeout(Duration::ZERO, device.0.read_u8()).await;
                assert!(end.is_err(), "{reason:?}: it ended before the end of the stream: {end:?}");
                device.0.shutdown().await.unwrap();
            }
            // Without a close_notify a TLS session would fail here instead of being at its end.
            assert_eq!(device.frame().await, Received::End(true), "{reason:?}");
        }
        until("all are counted", || closes(&lobby.secured.server, reason) == 3).await;
    }
    let overdue: u64 = router.thread_totals().iter().map(|thread| thread.close_timeouts.value()).sum();
    assert_eq!(overdue, 0, "no close handshake timed out");
}

/// Returns whether nothing that the member sends is decoded any more (RFC 6455 section 7.1.7).
fn offence_ends_decoding(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Protocol | CloseReason::InvalidUtf8 | CloseReason::TooBig)
}

fn to(id: &str) -> String {
    format!("/connect?id={id}&key=k")
}
