//! Listeners and connections, TCP or Unix, plain or TLS, from the socket to the first byte of HTTP.
//!
//! A [`Listener`] is a socket that listens, with its [`Certificates`] if it speaks TLS. [`accept`] turns it into
//! [`Connection`]s, as many as the limits allow, each with its handshake done. A connection that becomes a websocket
//! leaves its event loop as a [`Socket`] and goes to a relay thread.

mod accept;
mod certificate_files;
mod certificates;
mod client_auth;
mod client_hello;
mod clients;
mod connection;
mod connection_gate;
mod handshake;
mod listener;
mod pem;
mod pending;
mod permit;
pub mod proxy;
mod socket;
mod stream;
mod unix_socket;
pub mod yield_budget;

pub use accept::accept;
pub use certificate_files::{CertificateError, CertificateProblem};
pub use certificates::{Certificates, ClientCertificate, FreshCertificates};
pub use clients::{ClientLimits, NetworkSlot, TooManyConnections};
pub use connection::Connection;
pub use connection_gate::ConnectionGate;
pub use handshake::LAST_CALL;
pub use listener::{ListenError, Listener};
pub use pending::{ActiveRequest, Activity, PendingGuard, PendingPool};
pub use permit::{ConnectionPermit, RESERVED_DESCRIPTORS, connection_limit, connections_within};
pub use socket::{Plain, Socket, Transport};
pub use stream::Stream;
pub use unix_socket::{SocketFile, UnixSocketError, bind_unix, rebind_unix};
