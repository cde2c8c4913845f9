//! The configuration: its types, its defaults with their reasons, and a reader that reports all mistakes at once.
//!
//! Settings that can change while the daemon runs are read through [`Live`] each time they are used. The others are
//! compared on reload, and a difference is reported as needing a restart.
//!
//! `keys` is the only list of keys. The reader, its suggestions, the comparison, the printed form and the tests of the
//! documents all use it, so that none of them can miss a key. `load` finds and parses the files, `reader` collects
//! their problems, `value` reads and writes a value of each type, and `defaults` has the values of keys that aren't set.
//! `listener`, `access`, `authorizer` and `permissions` read tables and values with a syntax of their own. `show` prints
//! and compares configurations.

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

pub use access::{Allow, ClientNames, Operation, Rule, User};
pub use authorizer::{AuthorizerAddress, AuthorizerEndpoint, AuthorizerError};
pub use keys::{Reload, names};
pub use load::{DEFAULT_PATH, Loaded, Source, load, parse};
pub use permissions::{FileMode, GroupName};
pub use reader::{PathError, Problems};
pub use show::Differences;
pub use value::ValueError;

/// Receiver of the configuration in force, which a reload replaces.
pub type Live = tokio::sync::watch::Receiver<Arc<Config>>;

/// The settings of the daemon.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Listeners for devices. If empty, the default listener is used.
    pub listeners: Vec<Listener>,
    /// Lifetime of registrations.
    pub registration: Registration,
    /// Timeouts and limits of websockets.
    pub websocket: Websocket,
    /// Relay threads.
    pub relay: Relay,
    /// Public HTTP routes.
    pub http: Http,
    /// Admin sockets.
    pub admin: Admin,
    /// Listener for monitoring.
    pub metrics: Metrics,
    /// Level and format of the log.
    pub log: Log,
    /// Limits of the resources that peers can use.
    pub limits: Limits,
    /// Lifetime of the process.
    pub service: Service,
    /// Access rules, of which the first that applies decides. If empty, everyone may register and connect.
    pub access: Vec<Rule>,
    /// Whether the file contains `access = []`, which states that it has no rules on purpose.
    pub open_access: bool,
}

/// A listener for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address on which it accepts connections.
    pub address: ListenAddress,
    /// Files for TLS; `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Whether each connection begins with a header of the PROXY protocol, which contains the client's address.
    pub proxy_protocol: bool,
    /// Permissions of the socket's file, if the address is a Unix socket.
    pub permissions: SocketPermissions,
}

impl Listener {
    /// Creates a listener that expects no PROXY header and has the default permissions.
    pub fn new(address: ListenAddress, tls: Option<Tls>) -> Self {
        Self { address, tls, proxy_protocol: false, permissions: SocketPermissions::default() }
    }
}

/// Permissions of the file of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketPermissions {
    /// Mode of the file.
    pub mode: FileMode,
    /// Group of the file; `None` for the group of the process.
    pub group: Option<GroupName>,
}

/// Paths of the PEM files of a listener with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Certificate chain, with the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// Certificate authorities for client certificates. If `None`, clients are not asked for a certificate.
    pub client_ca: Option<PathBuf>,
    /// Certificate revocation lists of these authorities.
    pub client_crl: Option<PathBuf>,
    /// Whether the kernel encrypts and decrypts after the handshake.
    pub kernel: KernelTls,
}

/// Whether the kernel encrypts and decrypts a listener's connections after their handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KernelTls {
    /// It does if it has its `tls` module; otherwise the process does.
    #[default]
    Auto,
    /// The process does.
    Off,
    /// It does. The router doesn't start without the module, and connections that the kernel can't take are closed.
    Required,
}

impl Tls {
    /// Creates the paths of a listener that doesn't ask clients for a certificate.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_crl: None,
            kernel: KernelTls::Auto,
        }
    }
}

/// Lifetime of registrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Whether a registration ends after its last member has left.
    pub auto_remove: bool,
    /// Time for which a registration is kept after its last member has left, so that a device can reconnect.
    pub linger: Duration,
    /// Time for which a registration is kept until its first member joins.
    pub unclaimed_timeout: Duration,
    /// Whether a request for an id in use (`id_req`) is rejected, instead of answered with another id.
    pub reject_taken_ids: bool,
    /// The longest time for which a device may have messages wait for a receiver; zero if none may.
    pub max_wait: Duration,
    /// Time within which a host must accept a client of a paired registration.
    pub accept_timeout: Duration,
}

/// Timeouts and limits of websockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Websocket {
    /// Maximum size of a message.
    pub max_message: ByteSize,
    /// Time without received data after which a ping is sent.
    pub ping_interval: Duration,
    /// Silence after a ping, upon which the connection is closed with 4004.
    pub pong_timeout: Duration,
    /// Maximum number of bytes waiting to be sent to a member.
    pub outbox: ByteSize,
    /// Time after which a member that receives nothing, although bytes are waiting for it, is closed.
    pub stall_timeout: Duration,
    /// Treatment of receivers that fall behind.
    pub slow_receiver: SlowReceiver,
    /// Time for a peer to answer a close frame.
    pub close_timeout: Duration,
    /// Time for which the member of a session may be without a connection; zero if there are no sessions.
    pub session_timeout: Duration,
    /// Number of bytes that were handed to the socket of a session's member and are kept, to be sent again.
    pub session_buffer: ByteSize,
}

/// Treatment of receivers that fall behind the others in their registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowReceiver {
    /// The fastest receiver sets the pace. A receiver whose outbox is full is closed with 4003.
    Close,
    /// The slowest receiver sets the pace, up to the stall timeout.
    Pace,
}

/// Relay threads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relay {
    /// Number of threads; `None` for one per core.
    pub threads: Option<std::num::NonZeroUsize>,
    /// Time for which a thread polls for work before it sleeps; zero for none.
    pub busy_poll: Duration,
}

/// Public HTTP routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Prefix that is stripped from request paths, such as `/relay`. It is empty, or starts with a slash and doesn't end
    /// with one.
    pub path_prefix: String,
    /// Whether `/stats` is served.
    pub public_stats: bool,
    /// Whether `/console` is served, a page for trying out the router in a browser.
    pub console: bool,
    /// Value of the header `Access-Control-Allow-Origin`; if empty, it isn't sent.
    pub allow_origin: String,
    /// Proxies that may state a client's address.
    pub trusted_proxies: Peers,
    /// Header in which trusted proxies state a client's address.
    pub forwarded_header: ForwardedHeader,
    /// Time limit that applies separately to a request's head, its body, a TLS handshake and a PROXY header.
    pub request_timeout: Duration,
    /// Time for which a connection is kept open after a response, until the next request begins.
    pub idle_timeout: Duration,
    /// Accepted values of a request's Host header, without ports; if empty, any is accepted.
    pub hosts: Vec<String>,
    /// Whether requests from a trusted proxy must have the forwarded header.
    pub require_forwarded: bool,
    /// Maximum size of a request's head.
    pub max_head: ByteSize,
    /// Maximum size of a form in a request's body.
    pub max_body: ByteSize,
    /// Maximum size of a message in a request's body.
    pub max_send: ByteSize,
}

/// Header in which proxies state a client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, which nearly all proxies can send.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Admin sockets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admin {
    /// Path of the admin socket; `None` for the default path ([`ws_router_admin_api::admin_socket`]).
    pub socket: Option<PathBuf>,
    /// Path of a second socket, on which only `GET` is allowed.
    pub read_only_socket: OptionalSocket,
    /// Permissions of the second socket.
    pub read_only_permissions: SocketPermissions,
}

/// Path of a Unix socket, or `None` for "off".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OptionalSocket(pub Option<PathBuf>);

impl Admin {
    /// Returns the paths at which the admin socket of a running daemon may be, in the order in which to try them.
    pub fn socket_candidates(&self) -> Vec<PathBuf> {
        match &self.socket {
            Some(path) => vec![path.clone()],
            None => SocketLocator::from_process().candidates(),
        }
    }
}

/// Listener for monitoring.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// Address of the listener; if `None`, only the admin sockets serve the metrics.
    pub listen: Option<ListenAddress>,
    /// Permissions of the socket's file, if the address is a Unix socket.
    pub permissions: SocketPermissions,
}

/// Level and format of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// Lowest level that is logged.
    pub level: LogLevel,
    /// Format of a message.
    pub format: LogFormat,
}

/// Lowest level that is logged.
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

/// Format of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// The journal's native protocol if standard error is connected to the journal, otherwise text.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// A JSON object per line.
    Json,
    /// The journal's native protocol.
    Journal,
}

/// Limits of the resources that peers can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of connections; `None` for as many as the descriptor limit allows.
    pub connections: Option<usize>,
    /// Maximum number of connections from one client network; `None` for three quarters of the connections that other
    /// networks leave free.
    pub connections_per_address: Option<usize>,
    /// Maximum number of registrations.
    pub registrations: usize,
    /// Maximum number of members of one registration.
    pub members: usize,
    /// Maximum number of connections that are not websockets yet: handshakes in progress and HTTP requests.
    pub pending: usize,
    /// Maximum number of watches of members: streams of `/members`.
    pub watchers: usize,
    /// Maximum number of clients of paired registrations that wait until a host accepts them.
    pub waiting: usize,
    /// Maximum number of members of sessions that are without a connection.
    pub away: usize,
    /// Memory for data of peers; `None` for half of the memory that the machine and the control group allow.
    pub memory: Option<ByteSize>,
    /// Rate of new connections from one client network; requests on a connection after the first count as well.
    pub connection_rate: RateLimit,
    /// Rate of requests to register from one client network.
    pub register_rate: RateLimit,
    /// Rate of requests to send a message from one client network.
    pub send_rate: RateLimit,
    /// Rate of wrong keys from one client network for one registration.
    pub wrong_key_rate: RateLimit,
}

/// Limit of a rate; `None` for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit(pub Option<Rate>);

/// Lifetime of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Time without any connection and registration after which the daemon exits; zero for never.
    pub exit_when_idle: Duration,
    /// Whether other processes of the same user may trace the process, and whether it may leave a core file.
    pub debuggable: bool,
}

#[cfg(test)]
mod tests;
