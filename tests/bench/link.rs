//! A connection of the generator, plain or by TLS, and the requests that upgrade it to a websocket.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::frames::wrong;
use crate::servers::{Groups, Running, Setup};

/// Longest wait for a response while a scenario is set up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Address of a server, with its TLS configuration.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Address of its listener.
    pub(crate) address: SocketAddr,
    /// Configuration of TLS; `None` for a plain connection.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Registrations that members join.
    pub(crate) groups: Groups,
    /// Whether members have sessions.
    pub(crate) sessions: bool,
}

impl Target {
    /// Returns the target of a server that has just been started.
    pub(crate) fn of(server: &Running) -> io::Result<Self> {
        let tls = match &server.certificate {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_file(path).map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
                Some(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
            }
            None => None,
        };
        let Setup { groups, sessions, .. } = server.setup;
        Ok(Self { address: server.address, tls, groups, sessions })
    }

    /// Makes registrations over one connection, and returns their ids.
    pub(crate) fn register(&self, count: usize) -> io::Result<Vec<String>> {
        let mut line = self.open()?;
        let request = registration(self.address, if self.groups == Groups::Lobbies { "lobby" } else { "paired" });
        (0..count)
            .map(|_| {
                line.write_all(request.as_bytes())?;
                let reply = line.reply()?;
                if reply.status != 200 {
                    return Err(wrong(format_args!("/register was answered with {}: {}", reply.status, reply.body)));
                }
                Ok(reply.body)
            })
            .collect()
    }

    /// Joins a lobby.
    pub(crate) fn join(&self, id: &str) -> io::Result<Link> {
        self.connect(&(lobby(id) + &self.session()))?.into_link()
    }

    /// Connects a host that listens to a paired registration.
    pub(crate) fn listen(&self, id: &str) -> io::Result<Line> {
        self.connect(&format!("id={id}&key=k&sock_type=host"))
    }

    /// Connects a client to a paired registration and accepts it as the only host that listens; returns both ends.
    pub(crate) fn pair(&self, id: &str, host: &mut Line) -> io::Result<[Link; 2]> {
        let client = self.connect(&(waiting_client(id) + &self.session()))?;
        let accepted = self.connect(&format!("id={id}&accept={}{}", host.announced()?, self.session()))?;
        Ok([client.into_link()?, accepted.into_link()?])
    }

    /// Returns the parameter of a session of a member's own, if members have sessions.
    fn session(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if !self.sessions {
            return String::new();
        }
        format!("&session={:020}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Opens a websocket with the parameters in `query`.
    fn connect(&self, query: &str) -> io::Result<Line> {
        let mut line = self.open()?;
        line.write_all(upgrade(self.address, query).as_bytes())?;
        let reply = line.reply()?;
        if reply.status != 101 {
            return Err(wrong(format_args!("/connect was answered with {}: {}", reply.status, reply.body)));
        }
        Ok(line)
    }

    fn open(&self) -> io::Result<Line> {
        let stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let tls = match &self.tls {
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Some(Box::new(ClientConnection::new(config.clone(), name).map_err(io::Error::other)?))
            }
            None => None,
        };
        Ok(Line { stream, tls })
    }
}

/// Returns the request for a new registration of a kind.
pub(crate) fn registration(address: SocketAddr, kind: &str) -> String {
    format!("GET /register?key=k&host_key=h&reg_type={kind} HTTP/1.1\r\nHost: {address}\r\n\r\n")
}

/// Returns the parameters with which a lobby is joined.
pub(crate) fn lobby(id: &str) -> String {
    format!("id={id}&key=k")
}

/// Returns the parameters with which a client of a paired registration connects.
pub(crate) fn waiting_client(id: &str) -> String {
    format!("id={id}&key=k&sock_type=client")
}

/// Returns the request for a message by `POST /send`.
pub(crate) fn send(address: SocketAddr, id: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /send?id={id}&key=k HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Returns the request for a stream of the members of a registration. By HTTP/1.0 it comes without chunks.
pub(crate) fn watch(id: &str) -> String {
    format!("GET /members?id={id}&key=k HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
}

/// Returns the request for a websocket with the parameters in `query`.
pub(crate) fn upgrade(address: SocketAddr, query: &str) -> String {
    format!(
        "GET /connect?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Response to a request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status code.
    pub(crate) status: u16,
    /// Body of the response.
    pub(crate) body: String,
    /// Length of the whole response.
    pub(crate) len: usize,
}

/// Parses a response; returns `None` if it is incomplete.
pub(crate) fn reply(bytes: &[u8]) -> io::Result<Option<Reply>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| wrong("an answer has no status"))?;
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let len = end + 4 + length;
    let body = bytes.get(end + 4..len).map(|body| String::from_utf8_lossy(body).into_owned());
    Ok(body.map(|body| Reply { status, body, len }))
}

/// Connection before its upgrade, which waits for each response.
pub(crate) struct Line {
    stream: std::net::TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Line {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(&mut **tls, &mut self.stream);
                stream.write_all(bytes)?;
                stream.flush()
            }
            None => self.stream.write_all(bytes),
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(piece),
            None => self.stream.read(piece),
        }
    }

    /// Waits for the announcement of a client, and returns its number.
    fn announced(&mut self) -> io::Result<String> {
        let (mut bytes, mut piece) = (Vec::new(), [0; 256]);
        loop {
            let count = self.read(&mut piece)?;
            if count == 0 {
                return Err(wrong("the server hung up instead of announcing a client"));
            }
            bytes.extend_from_slice(&piece[..count]);
            // A frame with a short text has two bytes of header.
            if let [_, length, text @ ..] = &bytes[..]
                && text.len() >= usize::from(*length)
            {
                let text = String::from_utf8_lossy(text);
                let number = text.strip_prefix(r#"{"incoming":""#).and_then(|rest| rest.get(..32));
                return number.map(str::to_owned).ok_or_else(|| wrong(format_args!("a host was sent {text}")));
            }
        }
    }

    fn into_link(self) -> io::Result<Link> {
        self.stream.set_nonblocking(true)?;
        Ok(Link { stream: TcpStream::from_std(self.stream), tls: self.tls })
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = self.read(&mut piece)?;
            if count == 0 {
                return Err(wrong("the server hung up instead of answering"));
            }
            bytes.extend_from_slice(&piece[..count]);
            if let Some(reply) = reply(&bytes)? {
                return if reply.len == bytes.len() { Ok(reply) } else { Err(wrong("bytes follow an answer")) };
            }
        }
    }
}

/// Websocket of a member.
#[derive(Debug)]
pub(crate) struct Link {
    /// Returns the socket, for the event loop.
    pub(crate) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// Makes a link of a connection without TLS.
    pub(crate) fn plain(stream: std::net::TcpStream) -> io::Result<Self> {
        Line { stream, tls: None }.into_link()
    }

    /// Reads what is available; zero means the end of the stream.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            tls.read_tls(&mut self.stream)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Returns whether a read that didn't fill its buffer has read everything available.
    pub(crate) fn is_drained_by_a_short_read(&self) -> bool {
        self.tls.is_none()
    }

    /// Writes as much as the kernel accepts.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => Ok(taken),
            Err(error) => Err(error),
            Ok(()) if taken == 0 && !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            Ok(()) => Ok(taken),
        }
    }

    /// Writes sealed records that are left over.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.stream)?;
            }
        }
        Ok(())
    }
}
