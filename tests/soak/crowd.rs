//! Restarts with many connections, nearly all of them silent, and one pair whose round trips are measured meanwhile.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;
use ws_router_core::frame::client_frame;

use super::descriptors::Descriptors;
use super::device::{Endpoint, Pace, join, register};
use super::restart::{Managed, Restart};
use super::{PATIENCE, run_alone, setting};

#[test]
fn a_restart_carries_many_connections_and_each_pair_still_exchanges_messages() {
    let _alone = run_alone();
    if super::Elsewhere::from_environment().is_some() {
        return;
    }
    let Some(descriptors) = Descriptors::at_least(1000) else { return };
    // The router reserves 256 descriptors for other things.
    let connections = (setting("CONNECTIONS", 1000) as usize).min(descriptors.limit - 300);
    for (kind, mut router) in [("replacing itself", Managed::by_itself()), ("restarted", Managed::by_the_manager())] {
        let endpoint = router.endpoints().remove(0);
        let mut pairs: Vec<_> = (0..connections / 2 - 1).map(|_| pair(&endpoint)).collect();
        let mut measured = pair(&endpoint);
        let (pause, usual) = measure(&mut measured, || router.restart(1));
        println!("{connections} connections, {kind}: longest round trip {pause:?}, {usual:?} before the restart");
        assert_eq!(router.router().admin("/v1/status")["members"], connections as u64 / 2 * 2);
        for (number, (host, client)) in pairs.iter_mut().enumerate() {
            send(host, number as u64);
            receive(client, number as u64);
            send(client, number as u64);
            receive(host, number as u64);
        }
    }
}

/// Exchanges messages before, during and after a restart. Returns the longest round trip during and after it, and the
/// longest before it.
fn measure((host, client): &mut (Socket, Socket), restart: impl FnOnce()) -> (Duration, Duration) {
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let longest = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let start = Instant::now();
                let number = rounds.load(Relaxed);
                send(host, number);
                receive(client, number);
                send(client, number);
                receive(host, number);
                longest.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
                rounds.fetch_add(1, Relaxed);
            }
        });
        let more = |count| {
            let (wanted, start) = (rounds.load(Relaxed) + count, Instant::now());
            while rounds.load(Relaxed) < wanted {
                assert!(start.elapsed() < PATIENCE, "the pair receives nothing");
                thread::sleep(Duration::from_millis(1));
            }
        };
        more(1000);
        let usual = longest.swap(0, Relaxed);
        restart();
        more(1000);
        is_over.store(true, Relaxed);
        (Duration::from_micros(longest.load(Relaxed)), Duration::from_micros(usual))
    })
}

fn pair(endpoint: &Endpoint) -> (Socket, Socket) {
    let id = register(endpoint, "key=k&host_key=h&reg_type=hostclient", PATIENCE).unwrap();
    let member = |role| join(endpoint, &id, role, Pace::Full, PATIENCE).unwrap();
    (member("host"), member("client"))
}

fn send(socket: &mut Socket, number: u64) {
    socket.write_all(&client_frame(0x82, [7; 4], &number.to_be_bytes())).unwrap();
}

fn receive(socket: &mut Socket, number: u64) {
    let mut frame = [0; 10];
    socket.read_exact(&mut frame).unwrap();
    assert_eq!((&frame[..2], &frame[2..]), (&[0x82, 8][..], &number.to_be_bytes()[..]));
}
