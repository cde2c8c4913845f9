//! Whoever lies to the real program about where he comes from: PROXY headers that are wrong, too long or without an end,
//! and the word of those who are no proxies.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::client::{connect, register};
use super::harness::{Router, Setup};
use super::scene::{Guests, counted, get, send, upgrade};

const REGISTER: &str = "/register?key=key&host_key=key&reg_type=lobby";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";

/// A router with a plain listener, where the guests are, and one behind the PROXY protocol.
struct House {
    router: Router,
    plain: SocketAddr,
    proxied: SocketAddr,
    guests: Guests<TcpStream>,
}

impl House {
    fn open(config: &str) -> Self {
        let proxied = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\n";
        let mut router = Setup::on_loopback().config(&format!("{proxied}{config}")).start().ready();
        let (plain, proxied) = (router.tcp_address(), router.tcp_address());
        let id = register(connect(plain), "key");
        let guests = Guests::join(|| connect(plain), &id, "key");
        Self { router, plain, proxied, guests }
    }

    /// What begins so and goes on with a request is closed without a word, and counted; the guests go on.
    #[track_caller]
    fn closes(&mut self, begin: &[u8], failures: u64) {
        let answer = send(&mut connect(self.proxied), &[begin, HEALTH.as_bytes()].concat());
        assert_eq!(answer.status, 0, "{answer:?} to {:?}", String::from_utf8_lossy(begin));
        counted(&self.router, "front", "proxy_failures", failures);
        self.guests.talk();
    }
}

/// A header of version 2: version and command, family and protocol, the length that it claims, and what follows.
fn binary(command: u8, family: u8, len: u16, rest: &[u8]) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family, high, low], rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0x01, 0xbb];

#[test]
fn a_header_that_is_none_is_closed_and_counted() {
    let mut house = House::open("[http]\ntrusted-proxies = [\"127.0.0.1\"]\n");
    let requests = house.router.admin("/v1/status")["front"]["requests"].as_u64().unwrap();
    let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 4000]].concat();
    let text = |rest: &str| format!("PROXY {rest}\r\n").into_bytes();
    let headers = [
        // No header at all, and garbage in the place of one.
        Vec::new(),
        vec![0; 200],
        b"PROXYTCP4 192.0.2.1 198.51.100.1 1 2\r\n".to_vec(),
        text("TCP4 192.0.2.1"),
        text("TCP4 300.0.2.1 198.51.100.1 1 2"),
        text("TCP4 192.0.2.1 198.51.100.1 1 65536"),
        text("TCP6 192.0.2.1 198.51.100.1 1 2"),
        text("TCP4 192.0.2.1 198.51.100.1 1 2 \u{e9}"),
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n".to_vec(),
        long,
        // Lengths that are lies: more than a header has, less than the addresses need, and none.
        binary(0x21, 0x11, 0xffff, &[0; 300]),
        binary(0x21, 0x11, 4097, &V4),
        binary(0x21, 0x11, 11, &V4),
        binary(0x21, 0x21, 12, &V4),
        binary(0x21, 0x11, 0, &V4),
        // Versions, commands and families that there aren't.
        binary(0x11, 0x11, 12, &V4),
        binary(0x22, 0x11, 12, &V4),
        binary(0x21, 0x12, 12, &V4),
    ];
    for (header, failures) in headers.iter().zip(1..) {
        house.closes(header, failures);
    }
    // The right one, twice: the second is no request.
    let twice = binary(0x21, 0x11, 12, &V4).repeat(2);
    assert_eq!(send(&mut connect(house.proxied), &twice).status, 400);
    counted(&house.router, "front", "requests", requests + 1);
    let right = [&binary(0x21, 0x11, 12, &V4)[..], HEALTH.as_bytes()].concat();
    assert_eq!(send(&mut connect(house.proxied), &right).status, 200);
    counted(&house.router, "front", "proxy_failures", headers.len() as u64);
}

#[test]
fn a_header_without_an_end_is_not_waited_for() {
    let trusted = "[http]\ntrusted-proxies = [\"127.0.0.1\"]\nrequest-timeout = \"1s\"\n";
    let mut house = House::open(trusted);
    let promise = binary(0x21, 0x11, 4096, &V4);
    let begins: [&[u8]; 4] = [b"", b"P", b"PROXY TCP4 192.0.2.1 ", &promise];
    let mut waiting: Vec<_> = begins.iter().map(|_| connect(house.proxied)).collect();
    for (stream, begin) in waiting.iter_mut().zip(begins) {
        stream.write_all(begin).unwrap();
    }
    house.guests.talk();
    for stream in &mut waiting {
        assert_eq!(send(stream, b"").status, 0);
    }
    counted(&house.router, "front", "proxy_failures", 4);
    counted(&house.router, "", "pending", 0);
    house.guests.talk();
}

#[test]
fn whoever_is_no_proxy_of_ours_is_closed_whatever_header_he_sends() {
    let mut house = House::open("[http]\ntrusted-proxies = [\"192.0.2.0/24\", \"unix\"]\n");
    house.closes(&binary(0x21, 0x11, 12, &V4), 1);
    house.closes(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 2);
    house.closes(&binary(0x20, 0, 0, b""), 3);
    house.router.logged(&["without a PROXY header closed", "trusted-proxies"]);
}

#[test]
fn a_header_where_none_is_asked_for_is_no_request() {
    let mut house = House::open("[http]\ntrusted-proxies = [\"127.0.0.1\"]\n");
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n";
    assert_eq!(send(&mut connect(house.plain), &[&header[..], HEALTH.as_bytes()].concat()).status, 400);
    counted(&house.router, "refusals", "malformed", 1);
    house.guests.talk();
}

const NEAR: &str = "[[access]]\nnetworks = [\"192.0.2.0/24\"]\n[[access]]\nnetworks = [\"unix\"]\n";

/// A router that lets a network in that is elsewhere; gives its address.
fn guarded(http: &str) -> (Router, SocketAddr) {
    let mut router = Setup::on_loopback().config(&format!("{http}{NEAR}")).start().ready();
    let address = router.tcp_address();
    (router, address)
}

#[test]
fn the_word_of_whoever_is_no_proxy_of_ours_is_not_believed() {
    let (router, address) = guarded("[http]\ntrusted-proxies = [\"192.0.2.0/24\", \"unix\"]\n");
    let lies = [
        "X-Forwarded-For: 192.0.2.7\r\n",
        "X-Forwarded-For: 192.0.2.7, 192.0.2.8\r\n",
        "Forwarded: for=192.0.2.7\r\n",
        "X-Real-IP: 192.0.2.7\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\nVia: 1.1 proxy\r\n",
    ];
    for (lie, count) in lies.iter().zip(1..) {
        assert_eq!(get(connect(address), REGISTER, lie).status, 403, "{lie}");
        assert_eq!(upgrade(connect(address), "/connect?id=anything&key=key", lie).0.status, 403, "{lie}");
        counted(&router, "refusals", "access", 2 * count);
    }
}

#[test]
fn what_a_client_writes_before_the_proxys_own_word_is_not_believed() {
    let (router, address) = guarded("[http]\ntrusted-proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n");
    let lies = [
        // The proxies append the address that they see, 203.0.113.9.
        "X-Forwarded-For: 192.0.2.7, 203.0.113.9\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.9\r\n",
        "X-Forwarded-For: 192.0.2.7, 203.0.113.9, 10.0.0.1\r\n",
        "X-Forwarded-For: 192.0.2.7, rubbish\r\n",
        "X-Forwarded-For: 192.0.2.7, , 203.0.113.9,\r\n",
        "X-Forwarded-For: 192.0.2.7, unix:, 203.0.113.9\r\n",
        // Not the header that the configuration names.
        "Forwarded: for=192.0.2.7\r\n",
        "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 203.0.113.9\r\n",
        "",
    ];
    for lie in lies {
        assert_eq!(get(connect(address), REGISTER, lie).status, 403, "{lie}");
    }
    counted(&router, "refusals", "access", lies.len() as u64);
    assert_eq!(get(connect(address), REGISTER, "X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n").status, 200);
}
