//! A connection on its way from the front to a relay thread: a plain socket, or one with the TLS session above it.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use socket2::{Domain, SockRef};

use super::{Door, Place};
use crate::metrics::Front;
use crate::peer::Peer;

/// A connection without its event loop.
#[derive(Debug)]
pub struct Socket {
    /// How bytes get to the peer.
    pub transport: Transport,
    /// Who the peer is.
    pub peer: Peer,
    /// Counts the connection as long as it lives.
    pub permit: Permit,
}

impl Socket {
    /// Takes over a connection that a predecessor served, without TLS.
    pub fn carried(descriptor: OwnedFd, peer: Peer, door: &Door) -> Self {
        // Behind a proxy on a Unix socket, the peer is an address all the same.
        let is_unix = SockRef::from(&descriptor).domain().is_ok_and(|domain| domain == Domain::UNIX);
        let plain =
            if is_unix { Plain::Unix(UnixStream::from(descriptor)) } else { Plain::Tcp(TcpStream::from(descriptor)) };
        let mut permit = Permit::unlimited(&door.front);
        permit.keep(door.clients.hold_carried(&peer, &door.live.borrow()));
        Self { transport: Transport::Plain(plain), peer, permit }
    }
}

/// How bytes get to a peer.
#[derive(Debug)]
pub enum Transport {
    /// Without TLS.
    Plain(Plain),
    /// Through a TLS session whose handshake is done; it may hold decrypted bytes that nobody has read yet.
    Tls(Plain, Box<rustls::ServerConnection>),
}

/// A non-blocking stream socket.
#[derive(Debug)]
pub enum Plain {
    /// Over the internet protocol.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

/// Counts an open connection in [`Front::connections`]; the end of its life is the end of the connection.
#[derive(Debug)]
pub struct Permit {
    front: Arc<Front>,
    more: Option<Box<More>>,
}

/// What not every connection has.
#[derive(Debug, Default)]
struct More {
    /// Its place among those of its client's network.
    place: Option<Place>,
    /// Whether it counts as a TLS session.
    is_sealed: bool,
}

impl Permit {
    /// Counts one more connection, unless there are `limit` already.
    pub fn take(front: &Arc<Front>, limit: usize) -> Option<Self> {
        let permit = Self::unlimited(front);
        (front.connections.value() <= limit as u64).then_some(permit)
    }

    /// Counts one more connection that no limit applies to, such as one that was handed over.
    pub fn unlimited(front: &Arc<Front>) -> Self {
        front.connections.up();
        Self { front: Arc::clone(front), more: None }
    }

    /// Counts the connection's TLS session, too.
    pub(super) fn seal(&mut self) {
        if !std::mem::replace(&mut self.more.get_or_insert_default().is_sealed, true) {
            self.front.tls_sessions.up();
        }
    }

    /// Keeps the connection's place among those of its client's network, too.
    pub fn keep(&mut self, place: Option<Place>) {
        if place.is_some() {
            self.more.get_or_insert_default().place = place;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.front.connections.down();
        if self.more.as_ref().is_some_and(|more| more.is_sealed) {
            self.front.tls_sessions.down();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carried_connection_is_of_its_sockets_kind_whatever_its_peer_is_called() {
        let (unix, _other) = UnixStream::pair().unwrap();
        let peer = Peer::Inet("192.0.2.1:0".parse().unwrap());
        let (_publish, live) = tokio::sync::watch::channel(Arc::default());
        let door = Door { live, front: Arc::default(), clients: Arc::default() };
        let socket = Socket::carried(unix.into(), peer, &door);
        assert!(matches!(socket.transport, Transport::Plain(Plain::Unix(_))), "{socket:?}");
        assert_eq!(socket.peer, peer);
        let network = crate::peer::Network::of("192.0.2.1".parse().unwrap());
        assert_eq!((door.front.connections.value(), door.clients.open(network)), (1, 1));
        drop(socket);
        assert_eq!((door.front.connections.value(), door.clients.open(network)), (0, 0));
    }
}
