//! The defaults, with their reasons.
//!
//! They serve a router on a small server that its owner never configures: thousands of devices, none of them trusted,
//! and no single one able to take the machine's memory. `etc/ws-router/ws-router.toml` gives administrators the same
//! values, and a test holds the two together. Sections whose defaults are all off, empty or the first choice derive
//! `Default` in the module above; a key whose default is `None` gets its value from the machine, where it is used
//! (`limits.memory` and `relay.threads` in [`crate::server`], `limits.connections` in [`crate::net`]).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use ws_router_admin_api::ListenAddress;
use ws_router_core::rate::Rate;

use super::{Config, ForwardedHeader, Http, Limits, Listener, RateLimit, Registration, SlowReceiver, Websocket};
use crate::peer::Peers;

impl Config {
    /// Names the listeners to serve: those of the file, or the default one if it has none.
    pub fn effective_listeners(&self) -> Vec<Listener> {
        if self.listeners.is_empty() { vec![Listener::default()] } else { self.listeners.clone() }
    }
}

impl Default for Listener {
    /// Plain HTTP on port 8741 of every address, IPv4 and IPv6.
    fn default() -> Self {
        Self::new(ListenAddress::Inet(SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT))), None)
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            auto_remove: true,
            // The last one to leave ends a registration; a device that means to come back needs a linger.
            linger: Duration::ZERO,
            // Long enough to read an id out over the telephone and type it in.
            unclaimed_timeout: Duration::from_secs(600),
            // Devices of today take whatever id they get, and know no refusal.
            reject_taken_ids: false,
        }
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            // Photographs and short films whole; what is longer, devices send in pieces anyway.
            max_message: ByteSize::mib(64),
            // Below the minute after which home routers and proxies forget a silent connection.
            ping_interval: Duration::from_secs(30),
            // A telephone that changes from one network to another needs some seconds.
            pong_timeout: Duration::from_secs(20),
            // Some seconds of a slow line. Those who lag in one registration share the bytes that they wait for.
            outbox: ByteSize::mib(8),
            // As patient as the heartbeat.
            stall_timeout: Duration::from_secs(30),
            // One slow device costs its own seat and not everybody's time.
            slow_receiver: SlowReceiver::Close,
            // A round trip over the worst line; nobody waits for it but the router itself.
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            // Statistics show ids, which not everybody ought to see.
            public_stats: false,
            // A page for people is one more thing that anybody can open.
            console: false,
            // Pages from anywhere may use the router: what protects a registration is its key.
            allow_origin: "*".into(),
            // Whoever could say what he likes about his address would have no limits.
            trusted_proxies: Peers::default(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            // What existing clients wait at most.
            request_timeout: Duration::from_secs(10),
            // Longer than the 60 seconds for which nginx and most load balancers keep a connection for reuse, so that they
            // never send a request on one that is just being closed.
            idle_timeout: Duration::from_secs(75),
            // The name under which devices reach the router is theirs to know.
            hosts: Vec::new(),
            // A proxy's own requests, such as health checks, carry no client's address.
            require_forwarded: false,
            // An id and two keys fit many times over, with a browser's cookies beside them.
            max_head: ByteSize::kib(16),
            max_body: ByteSize::kib(16),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            // As many as a school has, and yet some are left for everybody else.
            connections_per_address: None,
            // Some tens of megabytes when they are all taken.
            registrations: 100_000,
            // A lobby that large is a broadcast; each message costs that many writes.
            members: 20_000,
            // A mass reconnect goes through in waves of so many.
            pending: 4_096,
            // The other half is for the sockets' buffers in the kernel, which count in the unit's limit, too.
            memory: None,
            // A school behind one address: 30,000 devices that come back at once, each with two or three connections. A
            // flood costs a fraction of a processor beyond that.
            connection_rate: RateLimit(Some(Rate::per_second(1_000, 90_000))),
            // The same school, and yet one network can't fill the registrations alone with such as nobody joins: within
            // their ten minutes it gets 90,000.
            register_rate: RateLimit(Some(Rate::per_second(100, 30_000))),
            // Some devices with an old key may try it all the time; a million weak keys take two days all the same.
            wrong_key_rate: RateLimit(Some(Rate::per_second(5, 100))),
        }
    }
}

const DEFAULT_PORT: u16 = 8741;
