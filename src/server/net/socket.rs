//! A connection on its way from the frontend to a relay thread: a plain socket, or a socket with its TLS session.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use socket2::{Domain, SockRef};

use super::{ConnectionGate, ConnectionPermit};
use crate::peer::Peer;

/// A connection that is not registered with any event loop.
#[derive(Debug)]
pub struct Socket {
    /// The byte stream to the peer.
    pub transport: Transport,
    /// The other end.
    pub peer: Peer,
    /// Permit that counts the connection until it is closed.
    pub permit: ConnectionPermit,
}

impl Socket {
    /// Takes over a connection without TLS that the old process served.
    pub fn handed_over(descriptor: OwnedFd, peer: Peer, gate: &ConnectionGate) -> Self {
        // The peer's address doesn't determine the kind of the socket: behind a proxy on a Unix socket, the peer is an IP address.
        let is_unix = SockRef::from(&descriptor).domain().is_ok_and(|domain| domain == Domain::UNIX);
        let plain =
            if is_unix { Plain::Unix(UnixStream::from(descriptor)) } else { Plain::Tcp(TcpStream::from(descriptor)) };
        let mut permit = ConnectionPermit::unlimited(&gate.metrics);
        permit.hold(gate.clients.hold_handed_over(&peer, &gate.config.borrow()));
        Self { transport: Transport::Plain(plain), peer, permit }
    }
}

/// The byte stream to a peer.
#[derive(Debug)]
pub enum Transport {
    /// Without TLS.
    Plain(Plain),
    /// With a TLS session whose handshake is done, and which may hold decrypted bytes that were not read yet.
    Tls(Plain, Box<rustls::ServerConnection>),
}

/// A non-blocking stream socket.
#[derive(Debug)]
pub enum Plain {
    /// A TCP connection.
    Tcp(TcpStream),
    /// A connection to a Unix socket.
    Unix(UnixStream),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_handed_over_connection_has_the_family_of_its_socket() {
        let (unix, _other) = UnixStream::pair().unwrap();
        let peer = Peer::Inet("192.0.2.1:0".parse().unwrap());
        let (_publish, config) = tokio::sync::watch::channel(Arc::default());
        let gate = ConnectionGate {
            config,
            metrics: Arc::default(),
            clients: Arc::default(),
            pending: Arc::new(crate::net::PendingPool::new(Arc::default())),
        };
        let socket = Socket::handed_over(unix.into(), peer, &gate);
        assert!(matches!(socket.transport, Transport::Plain(Plain::Unix(_))), "{socket:?}");
        assert_eq!(socket.peer, peer);
        let network = crate::peer::Network::of("192.0.2.1".parse().unwrap());
        assert_eq!((gate.metrics.connections.value(), gate.clients.open_connections(network)), (1, 1));
        drop(socket);
        assert_eq!((gate.metrics.connections.value(), gate.clients.open_connections(network)), (0, 0));
    }
}
