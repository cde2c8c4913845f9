//! A simple websocket client.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
};
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, HandshakeError, Message, WebSocket};

use super::harness::PATIENCE;

/// Stream that a client can use.
pub(crate) trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Connects, with a timeout on each read.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects with a small receive buffer, so that data that isn't read stays in the router.
pub(crate) fn connect_narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Connects to a Unix socket, with a timeout on each read.
pub(crate) fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Requests a path, and returns the status and the body.
pub(crate) fn ask(stream: impl Stream, path: &str) -> (u16, String) {
    exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n"))
}

/// Sends a request after which the connection is closed, and returns the status and the body.
pub(crate) fn exchange(mut stream: impl Stream, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Registers a lobby with this key, and returns its id.
pub(crate) fn register(stream: impl Stream, key: &str) -> String {
    let (status, id) = ask(stream, &format!("/register?key={key}&host_key={key}&reg_type=lobby"));
    assert_eq!(status, 200, "{id}");
    id
}

/// Member of a lobby.
pub(crate) struct Member<S>(WebSocket<S>);

impl<S: Stream> Member<S> {
    /// Joins a lobby, and waits for a pong. The relay thread sends it, so the member receives all messages from then on.
    pub(crate) fn join(stream: S, id: &str, key: &str) -> Self {
        let mut member = Self::join_at_once(stream, id, key);
        member.0.send(Message::Ping("there?".into())).unwrap();
        loop {
            match member.read().unwrap() {
                // A ping of the router may come first.
                Message::Ping(_) => {}
                answer => break assert_eq!(answer, Message::Pong("there?".into())),
            }
        }
        member
    }

    /// Joins a lobby, whose first message may come at once.
    pub(crate) fn join_at_once(stream: S, id: &str, key: &str) -> Self {
        Self::with(stream, &format!("id={id}&key={key}"))
    }

    /// Makes a handshake with these parameters.
    pub(crate) fn with(stream: S, query: &str) -> Self {
        let url = format!("ws://router/connect?{query}");
        Self(tungstenite::client(url, stream).unwrap_or_else(|error| panic!("join failed: {error}")).0)
    }

    /// Makes a handshake with these parameters, or returns the status with which it is rejected.
    pub(crate) fn try_with(stream: S, query: &str) -> Result<Self, u16> {
        match tungstenite::client(format!("ws://router/connect?{query}"), stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// Asserts that it has received everything that the router had for it, and that the router has read everything that it
    /// has sent.
    pub(crate) fn expect_nothing_more(&mut self) {
        self.0.send(Message::Ping("more?".into())).unwrap();
        assert_eq!(self.next(), Message::Pong("more?".into()));
    }

    /// Waits for the next message that is no ping of the router.
    pub(crate) fn next(&mut self) -> Message {
        loop {
            match self.read().unwrap() {
                Message::Ping(_) => {}
                message => return message,
            }
        }
    }

    /// Waits for the close frame, behind which nothing comes, and returns its code.
    pub(crate) fn expect_close(mut self) -> u16 {
        match self.next() {
            Message::Close(Some(CloseFrame { code, .. })) => {
                // The answer may find the connection closed.
                let _ = self.0.flush();
                code.into()
            }
            message => panic!("{message} in place of a close frame"),
        }
    }

    /// Sends a close frame, and waits for the router's; returns its code.
    pub(crate) fn leave(mut self, code: u16) -> u16 {
        self.0.close(Some(CloseFrame { code: code.into(), reason: "".into() })).unwrap();
        self.expect_close()
    }

    /// Sends a text.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// Waits for a text.
    pub(crate) fn receive(&mut self) -> String {
        self.read().unwrap().into_text().unwrap().to_string()
    }

    /// Waits for a message. A read with a timeout fails with EINTR after SIGSTOP and SIGCONT, while other reads are restarted
    /// (signal(7)).
    fn read(&mut self) -> tungstenite::Result<Message> {
        loop {
            match self.0.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Returns the connection, to write parts of frames.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// Waits for the close frame and answers it; returns its code, and the texts that came before it.
    pub(crate) fn closed_after_texts(mut self) -> (u16, Vec<String>) {
        let mut texts = Vec::new();
        loop {
            match self.next() {
                Message::Text(text) => texts.push(text.to_string()),
                Message::Close(Some(CloseFrame { code, .. })) => {
                    let _ = self.0.flush();
                    return (code.into(), texts);
                }
                message => panic!("{message} in place of a text or a close frame"),
            }
        }
    }

    /// Waits for the close frame, answers it, and returns its code and reason.
    pub(crate) fn closed(mut self) -> (u16, String) {
        loop {
            match self.read() {
                Ok(Message::Close(Some(CloseFrame { code, reason }))) => {
                    let _ = self.0.flush();
                    return (code.into(), reason.to_string());
                }
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }
}

/// Connection with TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Connects by TLS to a listener with the certificate in this file.
pub(crate) fn connect_tls(address: SocketAddr, certificate: &Path) -> TlsStream {
    connect_tls_with(address, certificate, |_| true)
}

/// Connects by TLS with one of these cipher suites.
pub(crate) fn connect_tls_with(
    address: SocketAddr,
    certificate: &Path,
    suits: impl Fn(&SupportedCipherSuite) -> bool,
) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(suits);
    let is_used = |version: &&SupportedProtocolVersion| {
        provider.cipher_suites.iter().any(|suite| suite.version().version == version.version)
    };
    let versions: Vec<_> = rustls::ALL_VERSIONS.iter().copied().filter(is_used).collect();
    let versions = ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(&versions).unwrap();
    let config = versions.with_root_certificates(roots).with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    StreamOwned::new(client, connect(address))
}
