//! Senders that the router slows down because nobody receives: much more than it buffers is sent, and all of it arrives.
//!
//! Every byte of every message is compared with what was sent, in order. The router's memory stays below one outbox.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptors::Descriptors;
use crate::device::{Device, Received, frame};
use crate::router::Router;
use crate::{NO_PINGS, PATIENCE, expect, payload};

/// Default of `websocket.outbox`.
const OUTBOX: u64 = 8 << 20;
/// Number of buffered bytes at which a sender is no longer read.
const HIGH_WATER: u64 = 256 << 10;
/// Lengths of the messages in turn. A paired registration passes the two largest on in fragments.
const LENGTHS: [usize; 8] = [1, 125, 126, 4096, 65_535, 65_536, 300_000, LARGEST];
const LARGEST: usize = 1 << 20;
const MEBIBYTE: usize = 1 << 20;

/// Random bytes, of which each message is another part.
struct Data(Vec<u8>);

impl Data {
    fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (0..2 * LARGEST / 8).map(|_| {
            // xorshift64
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        });
        Self(words.flat_map(u64::to_le_bytes).collect())
    }

    /// Returns the messages that together have at least `total` bytes.
    fn messages(&self, total: usize) -> impl Iterator<Item = &[u8]> {
        let mut left = total;
        (0..).map_while(move |number: usize| {
            let (at, len) = (number * 7919 % LARGEST, LENGTHS[number % LENGTHS.len()]);
            let has_more = left > 0;
            left = left.saturating_sub(len);
            has_more.then(|| &self.0[at..at + len])
        })
    }

    /// Sends all messages.
    fn send(&self, mut writer: std::net::TcpStream, total: usize) {
        for message in self.messages(total) {
            writer.write_all(&frame(message)).unwrap();
        }
    }

    /// Receives all messages.
    fn expect(&self, device: &mut Device, total: usize) {
        for (number, expected) in self.messages(total).enumerate() {
            match device.receive() {
                Received::Message(message) => assert!(message == expected, "message {number} is another one"),
                Received::Close(code) => panic!("closed with {code} in place of message {number}"),
            }
        }
    }
}

/// Returns the bytes of a long transfer.
fn total() -> usize {
    std::env::var("WS_ROUTER_TRANSFER").map_or(96, |text| text.parse::<usize>().unwrap()) * MEBIBYTE
}

/// Returns the time by which a receiver comes late.
fn lateness() -> Duration {
    Duration::from_secs(std::env::var("WS_ROUTER_LATE").map_or(0, |text| text.parse().unwrap()))
}

/// Waits until the router buffers as much as it takes from a sender.
fn until_paced(router: &Router, field: &str) {
    let deadline = Instant::now() + PATIENCE;
    while router.figure(field) < HIGH_WATER {
        assert!(Instant::now() < deadline, "{field} is {}", router.figure(field));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for the announcement of a client, and returns its number.
fn announced(host: &mut Device) -> String {
    let Received::Message(text) = host.receive() else { panic!("the host is closed") };
    let text = String::from_utf8(text).unwrap();
    text.strip_prefix(r#"{"incoming":""#).and_then(|rest| rest.get(..32)).unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// Connects a client to a paired registration and accepts it.
fn pair(router: &Router, id: &str, host: &mut Device) -> (Device, Device) {
    let client = router.connect(&format!("id={id}&key=k&sock_type=client"));
    let end = router.connect(&format!("id={id}&accept={}", announced(host)));
    (client, end)
}

#[test]
fn what_a_client_sends_before_it_is_accepted_arrives_in_little_memory() {
    let (router, data, total) = (Router::start(""), Data::new(), total() / 2);
    let id = router.register("paired");
    let mut host = router.connect(&format!("id={id}&key=k&sock_type=host"));
    let client = router.connect(&format!("id={id}&key=k&sock_type=client"));
    let number = announced(&mut host);
    let before = router.memory("VmRSS");
    thread::scope(|scope| {
        let sender = scope.spawn(|| data.send(client.split(), total));
        until_paced(&router, "outbox_bytes");
        thread::sleep(lateness());
        assert!(!sender.is_finished());
        assert!(router.figure("outbox_bytes") < 2 * HIGH_WATER + LARGEST as u64);
        let mut end = router.connect(&format!("id={id}&accept={number}"));
        data.expect(&mut end, total);
    });
    let grown = router.memory("VmHWM").saturating_sub(before);
    println!("{} MiB of a client before it was accepted: the router grew by {grown} bytes", total / MEBIBYTE);
    assert!(grown < OUTBOX, "the router grew by {grown} bytes");
}

#[test]
fn what_is_sent_while_messages_wait_for_a_late_receiver_arrives_in_little_memory() {
    let (router, data, total) = (Router::start(""), Data::new(), total());
    let id = router.register("hostclient&wait=60");
    let host = router.join(&id, "host");
    let before = router.memory("VmRSS");
    thread::scope(|scope| {
        let sender = scope.spawn(|| data.send(host.split(), total));
        until_paced(&router, "waiting_bytes");
        thread::sleep(lateness());
        assert!(!sender.is_finished());
        assert!(router.figure("waiting_bytes") < 2 * (HIGH_WATER + LARGEST as u64));
        data.expect(&mut router.join(&id, "client"), total);
    });
    let grown = router.memory("VmHWM").saturating_sub(before);
    println!("{} MiB while messages waited: the router grew by {grown} bytes", total / MEBIBYTE);
    assert!(grown < OUTBOX, "the router grew by {grown} bytes");
    assert_eq!(router.figure("expired"), 0, "no message has waited too long");
}

#[test]
fn a_stalled_pair_disturbs_no_other_pair_of_its_registration_and_loses_nothing() {
    const PAIRS: usize = 100;
    const ROUNDS: usize = 20;
    /// More than the kernel keeps in the buffers of two connections.
    const STALLED: usize = 48 * MEBIBYTE;
    let (router, data) = (Router::start(&format!("{NO_PINGS}stall-timeout = \"1h\"\n")), Data::new());
    let id = router.register("paired");
    let mut host = router.connect(&format!("id={id}&key=k&sock_type=host"));
    let (talker, mut stalled) = pair(&router, &id, &mut host);
    let mut pairs: Vec<_> = (0..PAIRS).map(|_| pair(&router, &id, &mut host)).collect();
    thread::scope(|scope| {
        let sender = scope.spawn(|| data.send(talker.split(), STALLED));
        until_paced(&router, "outbox_bytes");
        for round in 0..ROUNDS {
            let of = |pair: usize| pair * ROUNDS + round;
            for (number, (client, end)) in pairs.iter_mut().enumerate() {
                client.send(&payload(of(number), 100));
                end.send(&payload(of(number), 40_000));
            }
            for (number, (client, end)) in pairs.iter_mut().enumerate() {
                expect(end, of(number), 100);
                expect(client, of(number), 40_000);
            }
        }
        assert!(!sender.is_finished());
        assert_eq!(router.figure("members"), 2 * (PAIRS as u64 + 1) + 1, "none is closed");
        data.expect(&mut stalled, STALLED);
    });
}

#[test]
fn a_thousand_clients_that_wait_at_once_are_accepted_each_with_what_it_has_said() {
    const CLIENTS: usize = 1000;
    let Some(_descriptors) = Descriptors::at_least(2 * CLIENTS + 100) else { return };
    let router = Router::start(NO_PINGS);
    let id = router.register("paired");
    let mut host = router.connect(&format!("id={id}&key=k&sock_type=host"));
    let before = router.memory("VmRSS");
    let mut clients: Vec<Device> = (0..CLIENTS)
        .map(|number| {
            let mut client = router.connect(&format!("id={id}&key=k&sock_type=client"));
            client.send(&payload(number, 100));
            client
        })
        .collect();
    let numbers: Vec<String> = clients.iter().map(|_| announced(&mut host)).collect();
    assert_eq!(router.figure("waiting_clients"), CLIENTS as u64);
    let each = router.memory("VmRSS").saturating_sub(before) / CLIENTS as u64;
    println!("a client that waits with a message of 100 bytes: the router grew by {each} bytes");
    for (number, client) in clients.iter_mut().enumerate().rev() {
        let mut end = router.connect(&format!("id={id}&accept={}", numbers[number]));
        expect(&mut end, number, 100);
        end.send(&payload(number, 50));
        expect(client, number, 50);
    }
}
