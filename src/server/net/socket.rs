//! A connection on its way from the frontend to a relay thread: a plain socket, one whose TLS is in the kernel, or one
//! with its TLS session.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use socket2::{Domain, SockRef};

use super::{ConnectionGate, ConnectionPermit};
use crate::peer::Peer;
use crate::sys::kernel_tls;

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
    /// Takes over a connection that the old process served, without TLS or with TLS in the kernel. Of the latter, `sealed`
    /// is what its keys have protected so far.
    pub fn handed_over(descriptor: OwnedFd, peer: Peer, sealed: Option<u64>, gate: &ConnectionGate) -> Self {
        // The peer's address doesn't determine the kind of the socket: behind a proxy on a Unix socket, the peer is an IP address.
        let is_unix = SockRef::from(&descriptor).domain().is_ok_and(|domain| domain == Domain::UNIX);
        let mut permit = ConnectionPermit::unlimited(&gate.metrics);
        let transport = if is_unix {
            Transport::Plain(Plain::Unix(UnixStream::from(descriptor)))
        } else if kernel_tls::is_attached(descriptor.as_fd()) {
            permit.count_kernel_tls();
            Transport::Kernel(TcpStream::from(descriptor), sealed)
        } else {
            Transport::Plain(Plain::Tcp(TcpStream::from(descriptor)))
        };
        permit.hold(gate.clients.hold_handed_over(&peer, &gate.config.borrow()));
        Self { transport, peer, permit }
    }
}

/// The byte stream to a peer.
#[derive(Debug)]
pub enum Transport {
    /// Without TLS.
    Plain(Plain),
    /// With TLS in the kernel. The number is what its keys have protected so far, in blocks of 16 bytes, if that is limited.
    Kernel(TcpStream, Option<u64>),
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
        let socket = Socket::handed_over(unix.into(), peer, None, &gate);
        assert!(matches!(socket.transport, Transport::Plain(Plain::Unix(_))), "{socket:?}");
        assert_eq!(socket.peer, peer);
        let network = crate::peer::Network::of("192.0.2.1".parse().unwrap());
        assert_eq!((gate.metrics.connections.value(), gate.clients.open_connections(network)), (1, 1));
        drop(socket);
        assert_eq!((gate.metrics.connections.value(), gate.clients.open_connections(network)), (0, 0));
    }
}
