//! Many connections, nearly all of them silent, and one pair that is timed while they all move.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;
use ws_router_core::frame::client_frame;

use super::descriptors::Descriptors;
use super::device::{Pace, Place, ask, join};
use super::restart::{Managed, Restart};
use super::{PATIENCE, alone, setting};

#[test]
fn a_crowd_moves_and_a_pair_in_it_hardly_notices() {
    let _alone = alone();
    if super::Elsewhere::from_environment().is_some() {
        return;
    }
    let Some(descriptors) = Descriptors::at_least(1000) else { return };
    // The router keeps 256 for other things.
    let connections = (setting("CONNECTIONS", 1000) as usize).min(descriptors.limit - 300);
    for (way, mut router) in [("replacing itself", Managed::by_itself()), ("restarted", Managed::by_the_manager())] {
        let place = router.places().remove(0);
        let mut pairs: Vec<_> = (0..connections / 2 - 1).map(|_| pair(&place)).collect();
        let mut watched = pair(&place);
        let (pause, usual) = timed(&mut watched, || router.restart(1));
        println!("{connections} connections, {way}: {pause:?} at most from message to answer, {usual:?} before");
        assert_eq!(router.router().admin("/v1/status")["members"], connections as u64 / 2 * 2);
        for (number, (host, client)) in pairs.iter_mut().enumerate() {
            say(host, number as u64);
            hear(client, number as u64);
            say(client, number as u64);
            hear(host, number as u64);
        }
    }
}

/// Sends messages to and fro before, during and after; gives the longest round during it, and the longest before.
fn timed((host, client): &mut (Socket, Socket), restart: impl FnOnce()) -> (Duration, Duration) {
    let (is_over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let longest = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let begun = Instant::now();
                let number = rounds.load(Relaxed);
                say(host, number);
                hear(client, number);
                say(client, number);
                hear(host, number);
                longest.fetch_max(begun.elapsed().as_micros() as u64, Relaxed);
                rounds.fetch_add(1, Relaxed);
            }
        });
        let more = |count| {
            let (wanted, begun) = (rounds.load(Relaxed) + count, Instant::now());
            while rounds.load(Relaxed) < wanted && begun.elapsed() < PATIENCE {
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

fn pair(place: &Place) -> (Socket, Socket) {
    let (status, id) = ask(place, "/register?key=k&host_key=h&reg_type=hostclient", PATIENCE).unwrap();
    assert_eq!(status, 200, "{id}");
    let member = |role| join(place, &id, role, Pace::Full, PATIENCE).unwrap();
    (member("host"), member("client"))
}

fn say(socket: &mut Socket, number: u64) {
    let mut out = Vec::new();
    out.extend(client_frame(0x82, [7; 4], &number.to_be_bytes()));
    socket.write_all(&out).unwrap();
}

fn hear(socket: &mut Socket, number: u64) {
    let mut heard = [0; 10];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!((&heard[..2], &heard[2..]), (&[0x82, 8][..], &number.to_be_bytes()[..]));
}
