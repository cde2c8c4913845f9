//! A mass event: nearly all devices drop and reconnect at once, while some stay and exchange messages.
//!
//! Each wave of returning devices is as large as the accept queue, so connections are always waiting, and a rejected device
//! tries again at once. The latency of the others is measured and printed, not asserted: on a busy machine it says more
//! about the machine. The test asserts that every device gets back and that no message is lost.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use crate::descriptors::Descriptors;
use crate::device::Device;
use crate::router::Router;
use crate::{NO_PINGS, PATIENCE, expect, payload};

/// Number of members in a registration.
const GROUP: usize = 100;
/// Number of pairs that stay.
const STAYING: usize = 8;
/// Number of threads that reconnect the others.
const THREADS: usize = 4;
/// Number of connections that a thread opens at a time.
const WAVE: usize = 1000;

/// Latencies of the messages between the staying devices in a phase.
struct Phase {
    name: &'static str,
    times: Vec<Duration>,
}

impl Phase {
    fn summary(mut self) -> String {
        self.times.sort();
        let at = |share: usize| self.times[(self.times.len() - 1) * share / 1000].as_secs_f64() * 1e3;
        format!("{} p99 {:.1} ms, longest {:.1} ms", self.name, at(990), at(1000))
    }
}

#[test]
fn a_crowd_that_drops_at_once_reconnects_and_the_staying_devices_lose_nothing() {
    let Some(descriptors) = Descriptors::at_least(1000 + GROUP) else { return };
    let wanted: usize = std::env::var("WS_ROUTER_CROWD").map_or(2000, |text| text.parse().unwrap());
    let crowd = wanted.min(descriptors.limit - 1000) / GROUP * GROUP;
    let router = Router::start(&format!("{NO_PINGS}[registration]\nlinger = \"5m\"\n"));
    let mut staying: Vec<(Device, Device)> = (0..STAYING)
        .map(|_| {
            let id = router.register("hostclient");
            (router.join(&id, "host"), router.join(&id, "client"))
        })
        .collect();
    let ids: Vec<String> = (0..crowd / GROUP).map(|_| router.register("lobby")).collect();
    let (members, _) = connect_all(router.address, &ids, 2);
    assert_eq!(members.len(), crowd);

    let mut phases = vec![exchange_during(&mut staying, "at rest", || thread::sleep(Duration::from_secs(1)))];
    phases.push(exchange_during(&mut staying, "dropping", || drop_all(&router, members)));
    let (mut back, mut tries, began) = (Vec::new(), 0, Instant::now());
    phases.push(exchange_during(&mut staying, "returning", || (back, tries) = connect_all(router.address, &ids, 3)));
    let took = began.elapsed().as_secs_f64();
    assert_eq!(back.len(), crowd);
    until(&router, crowd + 2 * STAYING);
    println!("{crowd} devices reconnected within {took:.1} s, with {} more attempts than devices", tries - crowd);
    println!(
        "messages between the staying devices: {}",
        phases.into_iter().map(Phase::summary).collect::<Vec<_>>().join("; ")
    );
}

/// Exchanges messages of the staying devices all the time while `happens` runs.
fn exchange_during(staying: &mut [(Device, Device)], name: &'static str, happens: impl FnOnce() + Send) -> Phase {
    thread::scope(|scope| {
        let happening = scope.spawn(happens);
        let mut times = Vec::new();
        while !happening.is_finished() {
            for (host, client) in &mut *staying {
                let (number, began) = (times.len(), Instant::now());
                host.send(&payload(number, 100));
                expect(client, number, 100);
                times.push(began.elapsed());
            }
            // Leaves the machine to the others in between.
            thread::sleep(Duration::from_millis(1));
        }
        Phase { name, times }
    })
}

/// Closes all connections at once, half of them by a reset, and waits until they are gone.
fn drop_all(router: &Router, members: Vec<TcpStream>) {
    for (number, member) in members.iter().enumerate() {
        if number % 2 == 0 {
            socket2::SockRef::from(member).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    drop(members);
    until(router, 2 * STAYING);
}

/// Joins [`GROUP`] devices to each registration; returns their connections, and the number of attempts.
fn connect_all(router: SocketAddr, ids: &[String], from: u8) -> (Vec<TcpStream>, usize) {
    let tries = AtomicUsize::new(0);
    let per_thread = ids.len().div_ceil(THREADS);
    let deadline = Instant::now() + 5 * PATIENCE;
    let connect = |ids: &[String]| {
        let mut missing: Vec<&String> = ids.iter().flat_map(|id| std::iter::repeat_n(id, GROUP)).collect();
        let mut there = Vec::new();
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "{} devices are still rejected", missing.len());
            let wave = missing.split_off(missing.len().saturating_sub(WAVE));
            tries.fetch_add(wave.len(), Ordering::Relaxed);
            let requested: Vec<_> = wave.into_iter().map(|id| (id, request(router, from, id))).collect();
            for (id, requested) in requested {
                match requested.and_then(read_response) {
                    Ok(stream) => there.push(stream),
                    Err(_) => missing.push(id),
                }
            }
        }
        there
    };
    let there = thread::scope(|scope| {
        let threads: Vec<_> = ids.chunks(per_thread).map(|ids| scope.spawn(move || connect(ids))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    (there, tries.into_inner())
}

/// Connects from a loopback address (each has ports of its own), and requests the upgrade.
fn request(router: SocketAddr, from: u8, id: &str) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // The port is chosen at the connect: ports that are bound are lost to the connections of other tests.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0)).into())?;
    socket.connect(&router.into())?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!(
        "GET /connect?id={id}&key=k HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Reads the response, which nothing follows.
fn read_response(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    let (mut answer, mut read) = ([0; 512], 0);
    while !answer[..read].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => read += bytes,
        }
    }
    if answer.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err(std::io::ErrorKind::Other.into()) }
}

/// Waits until there are this many members.
fn until(router: &Router, members: usize) {
    let (wanted, deadline) = (format!("\"members\":{members},"), Instant::now() + PATIENCE);
    while !router.ask("/v1/status").contains(&wanted) {
        assert!(Instant::now() < deadline, "never {members} members: {}", router.ask("/v1/status"));
        thread::sleep(Duration::from_millis(5));
    }
}
