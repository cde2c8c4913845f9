//! The real program with many members and much data: memory stays bounded, messages stay in order, and a stuck device
//! doesn't affect the others. `WS_ROUTER_TRANSFER` sets the MiB of the long transfers (default 96; half of it for a client that isn't
//! accepted yet), `WS_ROUTER_LATE` the seconds by which the receivers of some are late (default 0), and `WS_ROUTER_CROWD`
//! the devices of the mass event (default 2000); tests/system/run sets 2048, 10 and 19000.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod crowd;
#[path = "../support/descriptors.rs"]
mod descriptors;
mod device;
mod paced;
mod router;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use descriptors::Descriptors;
use device::{Device, Received, frame};
use router::Router;

/// Longest wait for a message.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Configuration without pings: a device answers them only when it is read, and on a busy machine it takes minutes until the
/// last of thousands is.
const NO_PINGS: &str = "[websocket]\nping-interval = \"1h\"\n";

/// Returns a payload that repeats its number.
fn payload(number: usize, len: usize) -> Vec<u8> {
    (number as u64).to_be_bytes().iter().copied().cycle().take(len).collect()
}

fn expect(device: &mut Device, number: usize, len: usize) {
    let received = device.receive();
    assert!(received == Received::Message(payload(number, len)), "message {number} of {len} bytes");
}

#[test]
fn in_a_lobby_with_a_stuck_member_the_others_lose_nothing_and_memory_stays_bounded() {
    const MESSAGES: usize = 40_000;
    const SIZE: usize = 1024;
    const WINDOW: usize = 512;
    let router = Router::start("[websocket]\noutbox = \"1MiB\"\n");
    let lobby = router.register("lobby");
    let _stuck = router.join(&lobby, "");
    let mut talker = router.join(&lobby, "");
    let before = router.memory("VmRSS");
    let progress: Vec<AtomicUsize> = (0..48).map(|_| AtomicUsize::new(0)).collect();
    thread::scope(|scope| {
        let (sender, progressed) = std::sync::mpsc::channel();
        for done in &progress {
            let mut device = router.join(&lobby, "");
            let sender = sender.clone();
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    expect(&mut device, number, SIZE);
                    done.store(number + 1, Ordering::Release);
                    if number % (WINDOW / 2) == 0 {
                        // At the end the sending thread no longer receives progress.
                        let _ = sender.send(());
                    }
                }
            });
        }
        drop(sender);
        // As fast as they receive: no healthy member is ever more than the window behind.
        for number in 0..MESSAGES {
            while progress.iter().any(|done| number - done.load(Ordering::Acquire) >= WINDOW) {
                progressed.recv_timeout(PATIENCE).unwrap();
            }
            talker.send(&payload(number, SIZE));
        }
    });
    let status = router.ask("/v1/status");
    assert!(status.contains("\"too-slow\":1"), "{status}");
    let grown = router.memory("VmHWM").saturating_sub(before);
    assert!(grown < 12 << 20, "the router grew by {grown} bytes");
}

#[test]
fn a_long_transfer_to_a_slow_reader_arrives_whole_in_little_memory() {
    const SIZE: usize = 1 << 20;
    let mebibytes: usize = std::env::var("WS_ROUTER_TRANSFER").map_or(96, |text| text.parse().unwrap());
    let router = Router::start("");
    let pair = router.register("hostclient");
    let (host, mut client) = (router.join(&pair, "host"), router.join(&pair, "client/"));
    let before = router.memory("VmRSS");
    let mut writer = host.split();
    let sender = thread::spawn(move || {
        for number in 0..mebibytes {
            writer.write_all(&frame(&payload(number, SIZE))).unwrap();
        }
    });
    // The sender builds and writes faster than this thread reads, copies and compares.
    for number in 0..mebibytes {
        expect(&mut client, number, SIZE);
    }
    sender.join().unwrap();
    let grown = router.memory("VmHWM").saturating_sub(before);
    assert!(grown < (8 << 20) + 2 * SIZE as u64 + (6 << 20), "the router grew by {grown} bytes");
    let status = router.ask("/v1/status");
    assert!(status.contains("\"too-slow\":0"), "{status}");
}

#[test]
fn a_thousand_members_of_a_lobby_receive_each_others_messages() {
    let Some(_descriptors) = Descriptors::at_least(2000) else { return };
    let router = Router::start(NO_PINGS);
    let lobby = router.register("lobby");
    let mut members: Vec<Device> = (0..1000).map(|_| router.join(&lobby, "")).collect();
    for talker in [0, 500, 999] {
        members[talker].send(&payload(talker, 300));
        for receiver in (0..1000).filter(|receiver| *receiver != talker) {
            expect(&mut members[receiver], talker, 300);
        }
    }
}

#[test]
fn messages_of_two_hundred_registrations_do_not_mix() {
    let router = Router::start(NO_PINGS);
    let mut pairs: Vec<(Device, Device)> = (0..200)
        .map(|_| {
            let id = router.register("hostclient");
            (router.join(&id, "host"), router.join(&id, "client"))
        })
        .collect();
    for round in 0..10 {
        for (number, (host, client)) in pairs.iter_mut().enumerate() {
            host.send(&payload(number * 10 + round, 100));
            client.send(&payload(number * 20 + round, 70_000));
        }
        for (number, (host, client)) in pairs.iter_mut().enumerate() {
            expect(client, number * 10 + round, 100);
            expect(host, number * 20 + round, 70_000);
        }
    }
}

#[test]
fn ten_thousand_idle_connections_are_held_at_the_default_limits() {
    let Some(_descriptors) = Descriptors::at_least(11_000) else { return };
    let router = Router::start(NO_PINGS);
    let before = router.memory("VmRSS");
    let mut pairs: Vec<(Device, Device)> = (0..5000)
        .map(|_| {
            let id = router.register("hostclient");
            (router.join(&id, "host"), router.join(&id, "client"))
        })
        .collect();
    let each = router.memory("VmRSS").saturating_sub(before) / 10_000;
    println!("resident memory: {each} bytes a connection");
    for (number, (host, client)) in pairs.iter_mut().enumerate().step_by(250) {
        host.send(&payload(number, 50));
        expect(client, number, 50);
    }
    let status = router.ask("/v1/status");
    assert!(status.contains("\"members\":10000"), "{status}");
}
