//! Forged client addresses at the real program: PROXY headers that are malformed, too long or unfinished, and forwarding
//! headers from peers that aren't trusted proxies.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::client::{connect, register};
use super::harness::{Router, Setup};
use super::scene::{LobbyPair, get, send, upgrade, wait_for_count};

const REGISTER: &str = "/register?key=key&host_key=key&reg_type=lobby";
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";

/// A router with a plain listener and one that expects PROXY headers.
struct ProxiedRouter {
    router: Router,
    plain: SocketAddr,
    proxied: SocketAddr,
    /// Members that joined through the plain listener.
    pair: LobbyPair<TcpStream>,
}

impl ProxiedRouter {
    fn start(config: &str) -> Self {
        let proxied = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\n";
        let mut router = Setup::on_loopback().config(&format!("{proxied}{config}")).start().ready();
        let (plain, proxied) = (router.tcp_address(), router.tcp_address());
        let id = register(connect(plain), "key");
        let pair = LobbyPair::join(|| connect(plain), &id, "key");
        Self { router, plain, proxied, pair }
    }

    /// Asserts that a connection that starts with these bytes and continues with a request is closed without a response and
    /// counted, and that the pair still exchanges messages.
    #[track_caller]
    fn assert_closed(&mut self, begin: &[u8], failures: u64) {
        let answer = send(&mut connect(self.proxied), &[begin, HEALTH.as_bytes()].concat());
        assert_eq!(answer.status, 0, "{answer:?} to {:?}", String::from_utf8_lossy(begin));
        wait_for_count(&self.router, "frontend", "proxy_failures", failures);
        self.pair.exchange();
    }
}

/// Returns a header of version 2: version and command, family and protocol, the length that it claims, and the rest.
fn binary(command: u8, family: u8, len: u16, rest: &[u8]) -> Vec<u8> {
    let [high, low] = len.to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family, high, low], rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x34, 0x01, 0xbb];

#[test]
fn a_connection_with_a_malformed_header_is_closed_and_counted() {
    let mut proxied = ProxiedRouter::start("[http]\ntrusted-proxies = [\"127.0.0.1\"]\n");
    let requests = proxied.router.admin("/v1/status")["frontend"]["requests"].as_u64().unwrap();
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
        // Wrong lengths: more than a header has, less than the addresses need, and zero.
        binary(0x21, 0x11, 0xffff, &[0; 300]),
        binary(0x21, 0x11, 4097, &V4),
        binary(0x21, 0x11, 11, &V4),
        binary(0x21, 0x21, 12, &V4),
        binary(0x21, 0x11, 0, &V4),
        // Versions, commands and families that don't exist.
        binary(0x11, 0x11, 12, &V4),
        binary(0x22, 0x11, 12, &V4),
        binary(0x21, 0x12, 12, &V4),
    ];
    for (header, failures) in headers.iter().zip(1..) {
        proxied.assert_closed(header, failures);
    }
    // A valid header, twice: the second one is not a request.
    let twice = binary(0x21, 0x11, 12, &V4).repeat(2);
    assert_eq!(send(&mut connect(proxied.proxied), &twice).status, 400);
    wait_for_count(&proxied.router, "frontend", "requests", requests + 1);
    let valid = [&binary(0x21, 0x11, 12, &V4)[..], HEALTH.as_bytes()].concat();
    assert_eq!(send(&mut connect(proxied.proxied), &valid).status, 200);
    wait_for_count(&proxied.router, "frontend", "proxy_failures", headers.len() as u64);
}

#[test]
fn an_unfinished_header_times_out() {
    let trusted = "[http]\ntrusted-proxies = [\"127.0.0.1\"]\nrequest-timeout = \"1s\"\n";
    let mut proxied = ProxiedRouter::start(trusted);
    let unfinished = binary(0x21, 0x11, 4096, &V4);
    let begins: [&[u8]; 4] = [b"", b"P", b"PROXY TCP4 192.0.2.1 ", &unfinished];
    let mut waiting: Vec<_> = begins.iter().map(|_| connect(proxied.proxied)).collect();
    for (stream, begin) in waiting.iter_mut().zip(begins) {
        stream.write_all(begin).unwrap();
    }
    proxied.pair.exchange();
    for stream in &mut waiting {
        assert_eq!(send(stream, b"").status, 0);
    }
    wait_for_count(&proxied.router, "frontend", "proxy_failures", 4);
    wait_for_count(&proxied.router, "", "pending", 0);
    proxied.pair.exchange();
}

#[test]
fn a_peer_that_is_not_a_trusted_proxy_is_closed_with_any_header() {
    let mut proxied = ProxiedRouter::start("[http]\ntrusted-proxies = [\"192.0.2.0/24\", \"unix\"]\n");
    proxied.assert_closed(&binary(0x21, 0x11, 12, &V4), 1);
    proxied.assert_closed(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", 2);
    proxied.assert_closed(&binary(0x20, 0, 0, b""), 3);
    proxied.router.logged(&["without a PROXY header closed", "trusted-proxies"]);
}

#[test]
fn a_header_on_a_plain_listener_is_a_malformed_request() {
    let mut proxied = ProxiedRouter::start("[http]\ntrusted-proxies = [\"127.0.0.1\"]\n");
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\r\n";
    assert_eq!(send(&mut connect(proxied.plain), &[&header[..], HEALTH.as_bytes()].concat()).status, 400);
    wait_for_count(&proxied.router, "refusals", "malformed", 1);
    proxied.pair.exchange();
}

/// Rules that admit a network that no test connects from.
const RULES: &str = "[[access]]\nnetworks = [\"192.0.2.0/24\"]\n[[access]]\nnetworks = [\"unix\"]\n";

/// Starts a router with [`RULES`], and returns its address.
fn guarded(http: &str) -> (Router, SocketAddr) {
    let mut router = Setup::on_loopback().config(&format!("{http}{RULES}")).start().ready();
    let address = router.tcp_address();
    (router, address)
}

#[test]
fn a_forwarding_header_of_an_untrusted_peer_is_ignored() {
    let (router, address) = guarded("[http]\ntrusted-proxies = [\"192.0.2.0/24\", \"unix\"]\n");
    let forged = [
        "X-Forwarded-For: 192.0.2.7\r\n",
        "X-Forwarded-For: 192.0.2.7, 192.0.2.8\r\n",
        "Forwarded: for=192.0.2.7\r\n",
        "X-Real-IP: 192.0.2.7\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\nVia: 1.1 proxy\r\n",
    ];
    for (header, count) in forged.iter().zip(1..) {
        assert_eq!(get(connect(address), REGISTER, header).status, 403, "{header}");
        assert_eq!(upgrade(connect(address), "/connect?id=anything&key=key", header).0.status, 403, "{header}");
        wait_for_count(&router, "refusals", "access", 2 * count);
    }
}

#[test]
fn forwarding_entries_before_the_proxys_own_are_ignored() {
    let (router, address) = guarded("[http]\ntrusted-proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n");
    let forged = [
        // The proxies append the address that they see, 203.0.113.9.
        "X-Forwarded-For: 192.0.2.7, 203.0.113.9\r\n",
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 203.0.113.9\r\n",
        "X-Forwarded-For: 192.0.2.7, 203.0.113.9, 10.0.0.1\r\n",
        "X-Forwarded-For: 192.0.2.7, garbage\r\n",
        // Empty entries are skipped (RFC 9110 section 5.6.1).
        "X-Forwarded-For: 192.0.2.7, , 203.0.113.9,\r\n",
        "X-Forwarded-For: 192.0.2.7, unix:, 203.0.113.9\r\n",
        // Not the header that the configuration names.
        "Forwarded: for=192.0.2.7\r\n",
        "Forwarded: for=192.0.2.7\r\nX-Forwarded-For: 203.0.113.9\r\n",
        "",
    ];
    for header in forged {
        assert_eq!(get(connect(address), REGISTER, header).status, 403, "{header}");
    }
    wait_for_count(&router, "refusals", "access", forged.len() as u64);
    for header in ["X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n", "X-Forwarded-For: 192.0.2.7,\r\n"] {
        assert_eq!(get(connect(address), REGISTER, header).status, 200, "{header}");
    }
}
