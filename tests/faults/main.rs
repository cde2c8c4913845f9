//! Faults of the network, of the machine and of other processes, on the real program: broken connections are closed, and a
//! pair of other members is not disturbed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code)] // Not everything is needed here.
#[path = "../process/client.rs"]
mod client;
#[path = "../support/descriptors.rs"]
mod descriptors;
#[path = "../support/harness.rs"]
mod harness;
#[path = "../support/store.rs"]
mod store;

mod clock;
mod logs;
mod network;
mod processes;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use client::{Member, connect, register};
use harness::{PATIENCE, Router, Setup};
use std::net::TcpStream;

/// Daemon with a pair of members that isn't part of the fault.
struct Scene {
    router: Router,
    address: SocketAddr,
    pair: [Member<TcpStream>; 2],
    /// Number of the next message of the pair.
    next: u32,
}

impl Scene {
    fn start(setup: Setup) -> Self {
        let mut router = setup.start();
        // The address comes from the notify socket, since not every test can read the log.
        let status = router.notified("listening on ");
        let address = status.split("listening on ").nth(1).unwrap().split([',', '\n']).next().unwrap();
        let address: SocketAddr = address.trim().parse().unwrap_or_else(|_| panic!("not an address: {status}"));
        let id = register(connect(address), "key");
        let pair = [Member::join(connect(address), &id, "key"), Member::join(connect(address), &id, "key")];
        Self { router, address, pair, next: 0 }
    }

    /// Exchanges messages of the pair, and asserts that none is lost, duplicated or out of order.
    fn check_pair(&mut self) {
        let [one, other] = &mut self.pair;
        for number in self.next..self.next + 10 {
            one.send_text(&format!("{number}"));
        }
        for number in self.next..self.next + 10 {
            assert_eq!(receive(other), format!("{number}"));
            other.send_text(&format!("received {number}"));
        }
        for number in self.next..self.next + 10 {
            assert_eq!(receive(one), format!("received {number}"));
        }
        self.next += 10;
    }

    /// Returns a number of the daemon's status, by its JSON pointer.
    fn status(&self, path: &str) -> u64 {
        let status = self.router.admin("/v1/status");
        status.pointer(path).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{path}: {status}"))
    }

    /// Waits until the pair are the only connections.
    fn until_alone(&self) {
        until("only the pair is left", || self.status("/members") == 2 && self.status("/connections") == 2);
    }
}

/// Waits for a text; the client answers pings by itself.
fn receive(member: &mut Member<TcpStream>) -> String {
    loop {
        let text = member.receive();
        if !text.is_empty() {
            return text;
        }
    }
}

/// Waits until a condition is true.
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Pseudo-random numbers, the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
