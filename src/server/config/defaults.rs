//! The defaults, with their reasons.
//!
//! They fit a router on a small server that is never configured: thousands of devices, none of them trusted, and none able
//! to exhaust the machine's memory. `etc/ws-router/ws-router.toml` gives administrators the same values, and a test
//! compares the two. Sections whose defaults are all off, empty or the first variant derive `Default` in the parent module.
//! A key whose default is `None` gets its value from the machine, where it is used (`limits.memory` and `relay.threads` in
//! [`crate::server`], `limits.connections` in [`crate::net`]).

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use ws_router_admin_api::ListenAddress;
use ws_router_core::rate::Rate;

use super::{Config, ForwardedHeader, Http, Limits, Listener, RateLimit, Registration, SlowReceiver, Websocket};
use crate::peer::Peers;

impl Config {
    /// Returns the configured listeners, or the default one if there are none.
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
            // A registration ends when its last member leaves, unless the administrator gives devices time to reconnect.
            linger: Duration::ZERO,
            // Long enough to read out an id over the telephone and to type it in.
            unclaimed_timeout: Duration::from_secs(600),
            // Existing devices accept any id, and don't handle a rejection.
            reject_taken_ids: false,
            // Long enough for a phone that changes its network, and short enough that nobody takes it for a mailbox.
            max_wait: Duration::from_secs(120),
            // A host that has lost its network comes back within this time, and people wait no longer.
            accept_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Websocket {
    fn default() -> Self {
        Self {
            // Photographs and short videos in one message. Longer data is sent in several messages anyway.
            max_message: ByteSize::mib(64),
            // Home routers and proxies drop connections that are silent for a minute.
            ping_interval: Duration::from_secs(30),
            // A telephone that switches between networks needs some seconds.
            pong_timeout: Duration::from_secs(20),
            // Some seconds of a slow line. Receivers of the same messages share the buffered bytes.
            outbox: ByteSize::mib(8),
            // As long as the interval of pings.
            stall_timeout: Duration::from_secs(30),
            // A slow device loses its own connection, and doesn't delay the others.
            slow_receiver: SlowReceiver::Close,
            // A round trip over a very slow line. Only the router waits for it.
            close_timeout: Duration::from_secs(5),
            session_timeout: Duration::from_secs(120),
            session_buffer: ByteSize::kib(512),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            // Statistics contain ids, which not everyone should see.
            public_stats: false,
            // Public pages are served only if the administrator wants them.
            console: false,
            // Web pages of any origin may use the router, since registrations are protected by their keys.
            allow_origin: "*".into(),
            // A peer that can state any client address could evade all limits per network.
            trusted_proxies: Peers::default(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            // Existing clients give up after this time.
            request_timeout: Duration::from_secs(10),
            // Longer than the 60 seconds for which nginx and most load balancers keep a connection for reuse, so that they
            // never send a request on one that is just being closed.
            idle_timeout: Duration::from_secs(75),
            // The router doesn't know the names under which devices reach it.
            hosts: Vec::new(),
            // A proxy's own requests, such as health checks, have no client address.
            require_forwarded: false,
            // Many times the length of an id and two keys, even with a browser's cookies.
            max_head: ByteSize::kib(16),
            max_body: ByteSize::kib(16),
            // A webhook's event with a photograph's thumbnail. Larger messages are better sent over a websocket.
            max_send: ByteSize::kib(256),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            // Three quarters of the free connections admit a large school, and leave some for other networks.
            connections_per_address: None,
            // This many registrations take a few tens of megabytes.
            registrations: 100_000,
            // Each message to a lobby of this size costs as many writes.
            members: 20_000,
            // In a mass reconnect, this many handshakes run at the same time.
            pending: 4_096,
            // Ten events a second to each take a tenth of a processor.
            watchers: 1_000,
            // All clients of a large registration, as when its host restarts. Each may have sent 256 KiB.
            waiting: 4_096,
            away: 16_384,
            // The other half is for socket buffers in the kernel, which count towards the unit's limit, too.
            memory: None,
            // A school behind one address: 30,000 devices that reconnect at once, each with two or three connections. A
            // flood at this rate costs a fraction of a processor.
            connection_rate: RateLimit(Some(Rate::per_second(1_000, 90_000))),
            // The same school. One network still can't use up `registrations`: it can create 90,000 in the ten minutes
            // for which unclaimed ones are kept.
            register_rate: RateLimit(Some(Rate::per_second(100, 30_000))),
            // A few hundred sensors behind one address, and a webhook that delivers a backlog at once.
            send_rate: RateLimit(Some(Rate::per_second(200, 5_000))),
            // Some devices may keep trying an old key, and trying a million weak keys still takes two days.
            wrong_key_rate: RateLimit(Some(Rate::per_second(5, 100))),
        }
    }
}

const DEFAULT_PORT: u16 = 8741;
