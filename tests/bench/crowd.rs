//! Many joins and requests at once: the load of a mass reconnect or a busy day on the front of a server.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::frames::wrong;
use crate::link::{lobby, reply, upgrade};

/// Number of handshakes in progress at a time.
const AT_ONCE: usize = 64;
/// Keep-alive connections that make requests, and requests in flight on each.
const REQUESTERS: usize = 8;
const PIPELINED: usize = 16;
/// Number of connections from one loopback address: with more, the kernel searches long for a free port.
const FROM_AN_ADDRESS: usize = 4_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Joins each of these lobbies once, many at a time; returns the websockets.
pub(crate) fn join_all<'a>(address: SocketAddr, ids: impl Iterator<Item = &'a str>) -> io::Result<Vec<TcpStream>> {
    connect_all(address, ids.map(lobby))
}

/// Opens a websocket with each of these parameters, many at a time.
pub(crate) fn connect_all(address: SocketAddr, queries: impl Iterator<Item = String>) -> io::Result<Vec<TcpStream>> {
    let mut requests = queries.map(|query| upgrade(address, &query));
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(AT_ONCE));
    let mut joining: Slab<(TcpStream, Option<String>)> = Slab::new();
    let mut joined = Vec::new();
    loop {
        while joining.len() < AT_ONCE {
            let Some(request) = requests.next() else { break };
            let mut stream = connect(address, joined.len() / FROM_AN_ADDRESS)?;
            let token = Token(joining.vacant_key());
            poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            joining.insert((stream, Some(request)));
        }
        if joining.is_empty() {
            return Ok(joined);
        }
        poll.poll(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            return Err(wrong(format_args!("{} joins wait without an answer", joining.len())));
        }
        for event in &events {
            let index = event.token().0;
            let Some((stream, request)) = joining.get_mut(index) else { continue };
            if event.is_writable()
                && let Some(request) = request.take()
            {
                stream.set_nodelay(true)?;
                stream.write_all(request.as_bytes())?;
            }
            if event.is_readable() && is_joined(stream)? {
                let (mut stream, _) = joining.remove(index);
                poll.registry().deregister(&mut stream)?;
                joined.push(stream);
            }
        }
    }
}

/// Starts to connect from the loopback address of this number.
fn connect(address: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // The port is chosen by connect, which needs it to be free only towards this server.
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    let source = u32::from(Ipv4Addr::LOCALHOST) + number as u32;
    socket.bind(&SocketAddr::from((Ipv4Addr::from(source), 0)).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

fn is_joined(stream: &mut TcpStream) -> io::Result<bool> {
    let mut bytes = [0; 1024];
    match stream.read(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
        // The answer is small and written at once.
        Ok(count) => match reply(&bytes[..count])? {
            Some(reply) if reply.status == 101 => Ok(true),
            Some(reply) => Err(wrong(format_args!("/connect was answered with {}: {}", reply.status, reply.body))),
            None => Err(wrong("a join was answered with half a head")),
        },
    }
}

/// Connections that make the same request without a pause, each answered with 200.
pub(crate) struct Requesters {
    poll: Poll,
    lines: Vec<(TcpStream, Vec<u8>)>,
    request: String,
    is_set_off: bool,
}

impl Requesters {
    /// Opens the connections.
    pub(crate) fn open(address: SocketAddr, request: String) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut lines = Vec::new();
        for token in 0..REQUESTERS {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(token), Interest::READABLE)?;
            lines.push((stream, Vec::new()));
        }
        Ok(Self { poll, lines, request, is_set_off: false })
    }

    /// Makes requests for a time; returns the number of answers.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<u64> {
        let start = Instant::now();
        let mut events = Events::with_capacity(REQUESTERS);
        if !std::mem::replace(&mut self.is_set_off, true) {
            for (stream, _) in &mut self.lines {
                stream.write_all(self.request.repeat(PIPELINED).as_bytes())?;
            }
        }
        let mut count = 0;
        while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            self.poll.poll(&mut events, Some(left))?;
            for event in &events {
                let (stream, bytes) = &mut self.lines[event.token().0];
                let answered = answers(stream, bytes)?;
                stream.write_all(self.request.repeat(answered).as_bytes())?;
                count += answered as u64;
            }
        }
        Ok(count)
    }
}

fn answers(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 16 * 1024];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Err(wrong("the server hung up on a request")),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let (mut count, mut taken) = (0, 0);
    while let Some(reply) = reply(&bytes[taken..])? {
        if reply.status != 200 {
            return Err(wrong(format_args!("a request was answered with {}: {}", reply.status, reply.body)));
        }
        taken += reply.len;
        count += 1;
    }
    bytes.drain(..taken);
    Ok(count)
}
