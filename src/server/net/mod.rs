//! Listeners and connections, TCP or Unix, plain or TLS, from the socket to the first byte of HTTP.
//!
//! A [`Listener`] is a listening socket, with its [`Certificates`] if it uses TLS. [`accept()`] takes [`Connection`]s from
//! it, as many as the limits allow, and runs their handshake. A connection that becomes a websocket is detached from
//! tokio's event loop as a [`Socket`], and moves to a relay thread. After a TLS handshake, the kernel encrypts and decrypts
//! if it can (`kernel_tls`), and the connection is as good as a plain one.

mod accept;
mod certificate_files;
mod certificates;
mod client_auth;
mod client_hello;
mod clients;
mod connection;
mod connection_gate;
mod handshake;
mod kernel_tls;
mod listener;
mod pem;
mod pending;
mod permit;
pub mod proxy;
mod send_buffers;
mod socket;
mod stream;
mod unix_socket;
pub mod yield_budget;

pub use accept::accept;
pub use certificate_files::{CertificateError, CertificateProblem};
pub use certificates::{Certificates, ClientCertificate, FreshCertificates};
pub use clients::{ClientLimits, NetworkSlot, TooManyConnections};
pub use connection::Connection;
pub use connection_gate::{AdoptError, ConnectionGate, Rejected};
pub use handshake::LAST_CALL;
pub use listener::{DescriptorError, ListenError, Listener};
pub use pending::{ActiveRequest, Activity, PendingGuard, PendingPool};
pub use permit::{ConnectionPermit, RESERVED_DESCRIPTORS, connection_limit, connections_within};
pub use send_buffers::{SendBuffer, SendBuffers, SendBuffersFull};
pub use socket::{Plain, Socket, Transport};
pub use stream::{NotAConnection, Stream};
pub use unix_socket::{SocketFile, UnixSocketError, bind_unix, rebind_unix};
