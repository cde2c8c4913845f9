//! The scenarios by name; the names are stable, so that figures of different days can be compared.

use crate::frames::Shape;
use crate::plan::{Plan, Talkers};
use crate::servers::{Groups, Setup};

/// Scenario of the benchmark.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Name on the command line and in the table.
    pub(crate) name: &'static str,
    /// Operation that is measured.
    pub(crate) work: Work,
    /// Mode in which the servers are started.
    pub(crate) setup: Setup,
}

/// Operation on a server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    /// Messages are sent; measures deliveries per second, or the median round trip of a ping-pong.
    Traffic(Plan),
    /// Connections are idle; measures the memory of the process per connection.
    Idle {
        /// Number of connections.
        connections: usize,
        /// Number of connections in a lobby.
        in_a_lobby: usize,
    },
    /// Websockets are opened, many at a time; measures joins per second.
    Joins {
        /// Number of connections.
        connections: usize,
    },
    /// Registrations are made over keep-alive connections; measures registrations per second.
    Registrations,
    /// Messages are sent by `POST /send` over keep-alive connections; measures messages per second.
    Sends,
    /// Clients of one paired registration wait for a host; measures the memory of the process per client.
    Waiting {
        /// Number of clients.
        clients: usize,
    },
    /// Messages are sent, first alone and then beside a pair of the same registration whose receiver reads nothing;
    /// measures deliveries per second beside it.
    BesideStalled(Plan),
    /// A ping-pong runs beside another load; measures its 99th percentile.
    Beside(Load),
}

/// Load beside a ping-pong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Registrations, as fast as the server responds.
    Registrations,
    /// Joins and departures, as fast as the server responds.
    Joins,
    /// A lobby with one sender and a thousand receivers.
    Fan,
    /// Messages by `POST /send`, as fast as the server responds.
    Sends,
    /// A lobby that ten thousand join and leave, five hundred at a time, with a thousand streams of `GET /members`.
    Watchers,
}

/// Unit of a scenario's main figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Messages that a receiver has received.
    Deliveries,
    /// Completed joins.
    Joins,
    /// Completed registrations.
    Registrations,
    /// Messages sent by requests.
    Sends,
    /// Latency in microseconds.
    Micros,
    /// Bytes per connection.
    Bytes,
}

impl Unit {
    /// Returns the name of the unit.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries/s",
            Self::Joins => "joins/s",
            Self::Registrations => "registrations/s",
            Self::Sends => "sends/s",
            Self::Micros => "us",
            Self::Bytes => "B/connection",
        }
    }

    /// Returns whether more is better.
    pub(crate) fn is_rate(self) -> bool {
        !matches!(self, Self::Micros | Self::Bytes)
    }
}

impl Scenario {
    /// Returns whether only ws-router can serve it.
    pub(crate) fn needs_router(&self) -> bool {
        let has_route = matches!(self.work, Work::Sends | Work::Beside(Load::Sends | Load::Watchers));
        has_route || self.setup.sessions || self.setup.groups != Groups::Lobbies
    }

    /// Returns the unit of its main figure.
    pub(crate) fn unit(&self) -> Unit {
        match self.work {
            Work::Traffic(Plan { talkers: Talkers::Turns, .. }) | Work::Beside(_) => Unit::Micros,
            Work::Traffic(_) | Work::BesideStalled(_) => Unit::Deliveries,
            Work::Idle { .. } | Work::Waiting { .. } => Unit::Bytes,
            Work::Sends => Unit::Sends,
            Work::Joins { .. } => Unit::Joins,
            Work::Registrations => Unit::Registrations,
        }
    }
}

/// Returns all scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    const KIB: usize = 1024;
    let lobby_of_50 = fan(49, 128, 16);
    let stalled = Plan { stalled: 1, ..lobby_of_50 };
    let text = Plan { shape: Shape { text: true, ..pairs(1, 64 * KIB, 16).shape }, ..pairs(1, 64 * KIB, 16) };
    vec![
        plain("pair-ping-pong", Work::Traffic(PING_PONG)),
        with("pair-ping-pong-busy", Setup { busy_poll: true, ..PLAIN }, Work::Traffic(PING_PONG)),
        plain("pair-64", Work::Traffic(stream(64, 64))),
        plain("pair-1k", Work::Traffic(stream(KIB, 64))),
        plain("pair-64k", Work::Traffic(pairs(1, 64 * KIB, 16))),
        plain("pair-64k-text", Work::Traffic(text)),
        plain("pair-1m", Work::Traffic(pairs(1, KIB * KIB, 4))),
        plain("pairs-500-w1", Work::Traffic(pairs(500, 128, 1))),
        plain("pairs-500-w16", Work::Traffic(pairs(500, 128, 16))),
        with("paired-500-w16", PAIRED, Work::Traffic(pairs(500, 128, 16))),
        with("paired-64k", PAIRED, Work::Traffic(pairs(1, 64 * KIB, 16))),
        with("paired-1m", PAIRED, Work::Traffic(pairs(1, KIB * KIB, 4))),
        with("stalled-pair", ONE_PAIRED, Work::BesideStalled(pairs(100, 128, 16))),
        with("pair-64-session", SESSIONS, Work::Traffic(stream(64, 64))),
        with("pair-64k-session", SESSIONS, Work::Traffic(pairs(1, 64 * KIB, 16))),
        plain("fan-100-128-w1", Work::Traffic(fan(100, 128, 1))),
        plain("fan-100-128-w16", Work::Traffic(fan(100, 128, 16))),
        plain("fan-100-1k-w1", Work::Traffic(fan(100, KIB, 1))),
        plain("fan-100-1k-w16", Work::Traffic(fan(100, KIB, 16))),
        plain("fan-1000-128-w1", Work::Traffic(fan(1000, 128, 1))),
        plain("fan-1000-128-w16", Work::Traffic(fan(1000, 128, 16))),
        plain("fan-1000-1k-w1", Work::Traffic(fan(1000, KIB, 1))),
        plain("fan-1000-1k-w16", Work::Traffic(fan(1000, KIB, 16))),
        plain("talkers-20-w1", Work::Traffic(talkers(1))),
        plain("talkers-20-w16", Work::Traffic(talkers(16))),
        plain("lobby-50", Work::Traffic(lobby_of_50)),
        plain("lobby-50-stalled", Work::Traffic(stalled)),
        plain("idle-pairs-10k", Work::Idle { connections: 10_000, in_a_lobby: 2 }),
        plain("idle-lobby-10k", Work::Idle { connections: 10_000, in_a_lobby: 10_000 }),
        plain("idle-pairs-19k", Work::Idle { connections: 19_000, in_a_lobby: 2 }),
        plain("idle-lobby-19k", Work::Idle { connections: 19_000, in_a_lobby: 19_000 }),
        with("idle-waiting-10k", ONE_PAIRED, Work::Waiting { clients: 10_000 }),
        plain("joins", Work::Joins { connections: 5_000 }),
        plain("registrations", Work::Registrations),
        plain("sends", Work::Sends),
        plain("beside-registrations", Work::Beside(Load::Registrations)),
        plain("beside-joins", Work::Beside(Load::Joins)),
        plain("beside-fan-1000", Work::Beside(Load::Fan)),
        plain("beside-sends", Work::Beside(Load::Sends)),
        plain("beside-watchers-1000", Work::Beside(Load::Watchers)),
        with("tls-pair-64", TLS, Work::Traffic(stream(64, 64))),
        with("tls-pair-64k", TLS, Work::Traffic(pairs(1, 64 * KIB, 16))),
        with("tls-pairs-500-w1", TLS, Work::Traffic(pairs(500, 128, 1))),
        with("tls-pairs-500-w16", TLS, Work::Traffic(pairs(500, 128, 16))),
        with("tls-fan-100-128-w1", TLS, Work::Traffic(fan(100, 128, 1))),
        with("tls-fan-100-128-w16", TLS, Work::Traffic(fan(100, 128, 16))),
        with("tls-fan-1000-128-w16", TLS, Work::Traffic(fan(1000, 128, 16))),
        with("tls-idle-pairs-2k", TLS, Work::Idle { connections: 2_000, in_a_lobby: 2 }),
        with("threads-2-pairs-500-w1", Setup { threads: 2, ..PLAIN }, Work::Traffic(pairs(500, 128, 1))),
        with("threads-2-pairs-500-w16", Setup { threads: 2, ..PLAIN }, Work::Traffic(pairs(500, 128, 16))),
    ]
}

/// Returns the traffic of the quick check, in which every byte is compared.
pub(crate) fn quick() -> Vec<Scenario> {
    let thorough = |plan: Plan| Work::Traffic(Plan { shape: Shape { thorough: true, ..plan.shape }, ..plan });
    let text = |plan: Plan| Plan { shape: Shape { text: true, ..plan.shape }, ..plan };
    vec![
        plain("pair-ping-pong", thorough(PING_PONG)),
        with("pair-ping-pong-busy", Setup { busy_poll: true, ..PLAIN }, thorough(PING_PONG)),
        plain("pair-64", thorough(stream(64, 64))),
        plain("pair-1k-text", thorough(text(pairs(1, 1024, 64)))),
        plain("pair-64k-text", thorough(text(pairs(1, 64 * 1024, 16)))),
        plain("pair-1m", thorough(pairs(1, 1024 * 1024, 4))),
        plain("pairs-50-w16", thorough(pairs(50, 128, 16))),
        with("paired-50-w16", PAIRED, thorough(pairs(50, 128, 16))),
        with("paired-64k", PAIRED, thorough(pairs(1, 64 * 1024, 16))),
        with("paired-1m", PAIRED, thorough(pairs(1, 1024 * 1024, 4))),
        with("paired-1m-text", PAIRED, thorough(text(pairs(1, 1024 * 1024, 4)))),
        with("one-paired-50-w16", ONE_PAIRED, thorough(pairs(50, 128, 16))),
        with("pair-64-session", SESSIONS, thorough(stream(64, 64))),
        with("pair-64k-session", SESSIONS, thorough(pairs(1, 64 * 1024, 16))),
        plain("fan-100-1k-w16", thorough(fan(100, 1024, 16))),
        plain("talkers-20-w16", thorough(talkers(16))),
        plain("lobby-50-stalled", thorough(Plan { stalled: 1, ..fan(49, 128, 16) })),
        with("tls-pair-64k", TLS, thorough(pairs(1, 64 * 1024, 16))),
        with("tls-talkers-20-w16", TLS, thorough(talkers(16))),
        with("threads-2-pairs-50-w16", Setup { threads: 2, ..PLAIN }, thorough(pairs(50, 128, 16))),
    ]
}

const PLAIN: Setup = Setup { tls: false, busy_poll: false, threads: 1, groups: Groups::Lobbies, sessions: false };
const PAIRED: Setup = Setup { groups: Groups::Paired, ..PLAIN };
const ONE_PAIRED: Setup = Setup { groups: Groups::OnePaired, ..PLAIN };
const SESSIONS: Setup = Setup { sessions: true, ..PLAIN };
const TLS: Setup = Setup { tls: true, ..PLAIN };
/// Traffic of two members that answer each other with 64 bytes.
pub(crate) const PING_PONG: Plan = Plan { talkers: Talkers::Turns, ..pairs(1, 64, 1) };

/// Returns a lobby with one sender, as in [`Load::Fan`].
pub(crate) const fn fan(receivers: usize, size: usize, window: u32) -> Plan {
    Plan { members: receivers + 1, ..pairs(1, size, window) }
}

const fn pairs(lobbies: usize, size: usize, window: u32) -> Plan {
    let shape = Shape { size, text: false, thorough: false };
    Plan { lobbies, members: 2, talkers: Talkers::One, window, burst: window, shape, stalled: 0 }
}

/// Returns a pair whose window is written in quarters.
const fn stream(size: usize, window: u32) -> Plan {
    Plan { burst: window / 4, ..pairs(1, size, window) }
}

const fn talkers(window: u32) -> Plan {
    Plan { members: 20, talkers: Talkers::All, ..pairs(1, 128, window) }
}

fn plain(name: &'static str, work: Work) -> Scenario {
    Scenario { name, work, setup: PLAIN }
}

fn with(name: &'static str, setup: Setup, work: Work) -> Scenario {
    Scenario { name, work, setup }
}
