//! Listeners and connections: bound or inherited, TCP or Unix, plain or TLS, up to the point where HTTP begins.
//!
//! A [`Listener`] is a socket that listens, with its [`Certificates`] if it speaks TLS. [`accept`] turns it into
//! [`Connection`]s, as many as the limits allow, each with its handshake done. A connection that becomes a websocket
//! leaves its event loop as a [`Socket`] and goes to a relay thread.

mod accept;
mod authorities;
mod certificates;
mod certified;
mod clients;
mod connection;
mod door;
mod greeting;
mod listener;
mod permit;
pub mod proxy;
mod socket;
mod stream;
pub mod turns;
mod unix_socket;

pub use accept::accept;
pub use certificates::{CertificateError, Certificates};
pub use clients::{Clients, Crowded, Place};
pub use connection::Connection;
pub use door::Door;
pub use greeting::LAST_CALL;
pub use listener::{ListenError, Listener};
pub use permit::{RESERVE, connection_limit};
pub use socket::{Permit, Plain, Socket, Transport};
pub use stream::Stream;
pub use unix_socket::{SocketFile, UnixSocketError, bind_unix, rebind_unix};
