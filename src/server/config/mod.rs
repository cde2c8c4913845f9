//! The configuration: its shape, its defaults with their reasons, and the reader that finds all mistakes at once.
//!
//! Other modules take the few values that they need. What can change while the daemon runs is read through
//! [`Live`] each time it is used; the rest is compared on reload, and a difference is reported as needing a restart.
//!
//! The list in `keys` is the one place that knows which keys there are: the reader, its suggestions, the comparison,
//! the printed form and the tests of the documents all go by it, so that none of them can forget a key. `load` finds the
//! file and walks through it, `reader` collects its problems, `value` reads and writes a value of each type, `listener`,
//! `access`, `authorizer` and `permissions` read the tables that have a form of their own, `defaults` has the values of
//! keys that aren't set, and `show` prints and compares configurations.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use ws_router_admin_api::ListenAddress;
use ws_router_admin_api::admin_socket::SocketLocator;
use ws_router_core::rate::Rate;

use crate::peer::Peers;

mod access;
mod authorizer;
mod defaults;
mod keys;
mod listener;
mod load;
mod permissions;
mod reader;
mod show;
mod value;

pub use access::{Allow, ClientNames, Rule, User};
pub use authorizer::{AuthorizerAddress, AuthorizerEndpoint, AuthorizerError};
pub use keys::{Reload, names};
pub use load::{DEFAULT_PATH, Loaded, Source, load, parse};
pub use permissions::{FileMode, GroupName};
pub use reader::{PathError, Problems};
pub use show::Differences;
pub use value::ValueError;

/// The running configuration; a reload publishes a new one.
pub type Live = tokio::sync::watch::Receiver<Arc<Config>>;

/// Everything that the file can say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Where devices are listened for; empty means the default listener.
    pub listeners: Vec<Listener>,
    /// How registrations live and end.
    pub registration: Registration,
    /// What a websocket may do.
    pub websocket: Websocket,
    /// The relay threads.
    pub relay: Relay,
    /// The public HTTP routes.
    pub http: Http,
    /// The admin socket.
    pub admin: Admin,
    /// Where monitoring reads the numbers.
    pub metrics: Metrics,
    /// What is logged, and how.
    pub log: Log,
    /// What peers can make the daemon hold.
    pub limits: Limits,
    /// The life of the process.
    pub service: Service,
    /// Access rules, of which the first that applies decides; if empty, everyone may register and connect.
    pub access: Vec<Rule>,
    /// Whether `access = []` is written: there are no rules on purpose.
    pub open_access: bool,
}

/// One place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: ListenAddress,
    /// TLS, or plain.
    pub tls: Option<Tls>,
    /// Whether each connection begins with the PROXY protocol's header, which tells the client's address.
    pub proxy_protocol: bool,
    /// Who may connect, if the address is a Unix socket.
    pub permissions: SocketPermissions,
}

impl Listener {
    /// Listens at a place, through TLS or not, for clients themselves.
    pub fn new(address: ListenAddress, tls: Option<Tls>) -> Self {
        Self { address, tls, proxy_protocol: false, permissions: SocketPermissions::default() }
    }
}

/// Who may connect to a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketPermissions {
    /// The mode of the socket's file.
    pub mode: FileMode,
    /// The group of the socket's file; `None` is the group of the process.
    pub group: Option<GroupName>,
}

/// A certificate chain and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// The authorities whose certificates clients may show; without it none is asked for.
    pub client_ca: Option<PathBuf>,
    /// The lists of certificates that they have taken back.
    pub client_crl: Option<PathBuf>,
}

impl Tls {
    /// Names a certificate and its key, for a listener that asks clients for none.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None, client_crl: None }
    }
}

/// How registrations live and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whether a registration ends when its last member has left.
    pub auto_remove: bool,
    /// How long an emptied registration is kept for a device that comes back.
    pub linger: Duration,
    /// How long a registration that nobody joined is kept.
    pub unclaimed_timeout: Duration,
    /// Whether a taken `id_req` is refused instead of answered with a fresh id.
    pub reject_taken_ids: bool,
}

/// What a websocket may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Websocket {
    /// The largest message.
    pub max_message: ByteSize,
    /// Silence after which a ping is sent.
    pub ping_interval: Duration,
    /// Silence after a ping that ends the connection with 4004.
    pub pong_timeout: Duration,
    /// Bytes that a receiver may be behind.
    pub outbox: ByteSize,
    /// How long a receiver may take nothing while something waits for it.
    pub stall_timeout: Duration,
    /// What is done about a receiver that falls behind.
    pub slow_receiver: SlowReceiver,
    /// How long a peer has to answer a close.
    pub close_timeout: Duration,
}

/// What is done about a receiver that falls behind in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowReceiver {
    /// The fastest receiver sets the pace; who falls behind by more than the outbox is closed with 4003.
    Close,
    /// The slowest receiver sets the pace, up to the stall timeout.
    Pace,
}

/// The relay threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relay {
    /// How many; `None` is one a core.
    pub threads: Option<std::num::NonZeroUsize>,
    /// How long a thread looks for work before it sleeps; zero is not at all.
    pub busy_poll: Duration,
}

/// The public HTTP routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// A path that is stripped from requests, such as `/relay`; empty or beginning with a slash, not ending with one.
    pub path_prefix: String,
    /// Whether `/stats` answers.
    pub public_stats: bool,
    /// Whether `/console` answers with a page to try the router on.
    pub console: bool,
    /// `Access-Control-Allow-Origin`; empty sends none.
    pub allow_origin: String,
    /// Whose word about a client's address is believed.
    pub trusted_proxies: Peers,
    /// The header in which they tell it.
    pub forwarded_header: ForwardedHeader,
    /// Time for a request's head, for its body, for a TLS handshake and for a PROXY header, each.
    pub request_timeout: Duration,
    /// Time for which a connection is kept open after a response, until the next request begins.
    pub idle_timeout: Duration,
    /// Names of this router, without ports, that a request's Host may have; empty accepts any.
    pub hosts: Vec<String>,
    /// Whether a trusted proxy's request must have the forwarded header.
    pub require_forwarded: bool,
    /// Largest request head.
    pub max_head: ByteSize,
    /// Largest form body.
    pub max_body: ByteSize,
}

/// The header in which proxies tell a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly all of them write.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The admin socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Its path; `None` is the usual one ([`ws_router_admin_api::admin_socket`]).
    pub socket: Option<PathBuf>,
    /// Path of a second socket, on which only `GET` is allowed.
    pub read_only_socket: OptionalSocket,
    /// Permissions of that socket.
    pub read_only_permissions: SocketPermissions,
}

/// Path of a Unix socket, or `None` for "off".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionalSocket(pub Option<PathBuf>);

impl Admin {
    /// Returns the paths at which a running daemon's admin socket may be, the likeliest first.
    pub fn socket_candidates(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(path) => vec![path.clone()],
            None => SocketLocator::from_process().candidates(),
        }
    }
}

/// Where monitoring reads the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// A listener of their own; without one they are on the admin socket alone.
    pub listen: Option<ListenAddress>,
    /// Who may connect to it, if it is a Unix socket.
    pub permissions: SocketPermissions,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// The least level that is logged.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// The least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// The journal's own protocol when the service manager connected it, else text.
    #[default]
    Auto,
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
    /// The journal's own protocol.
    Journal,
}

/// What peers can make the daemon hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all; `None` is what the descriptor limit allows.
    pub connections: Option<usize>,
    /// Connections of one client network; `None` is three quarters of all.
    pub connections_per_address: Option<usize>,
    /// Registrations in all.
    pub registrations: usize,
    /// Members of one registration.
    pub members: usize,
    /// Connections that are not websockets yet: handshakes in progress and HTTP requests.
    pub pending: usize,
    /// Memory for all that peers can make the daemon hold; `None` is half of what the machine and the unit allow.
    pub memory: Option<ByteSize>,
    /// New connections of one client network, and requests on a connection beyond its first.
    pub connection_rate: RateLimit,
    /// Requests for a registration by one client network.
    pub register_rate: RateLimit,
    /// Wrong keys of one client network for one registration.
    pub wrong_key_rate: RateLimit,
}

/// How often something may happen; `None` is as often as one likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// The life of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Exits after so long without a connection and a registration; zero is never.
    pub exit_when_idle: Duration,
    /// Whether other processes of the same user may trace the process, and whether it may leave a core file.
    pub debuggable: bool,
}

#[cfg(test)]
mod tests;
