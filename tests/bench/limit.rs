//! The limit L: a bare event loop that makes only the system calls of a relay, and unmasks.
//!
//! It has no limits, no checks, no heartbeat and no clean end, so it shows about what the kernel allows one thread.
//! There are two ways of batching, since neither is better everywhere: one write per receiver and *read*, or one per receiver
//! and *iteration* of the event loop. Large frames are passed through in pieces.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::handshake::{Request, registered, request};
use crate::unmask::{Out, Unmasker};

const READ: usize = 256 * 1024;
const LISTENER: Token = Token(usize::MAX);

/// Time at which receivers are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batching {
    /// After each read from a sender.
    Read,
    /// Once in each iteration of the event loop.
    Round,
}

struct Connection {
    stream: TcpStream,
    lobby: Option<u32>,
    /// Start of an incomplete request or small frame.
    tail: Vec<u8>,
    unmasker: Unmasker,
    /// Bytes that the kernel hasn't accepted, from `written` on.
    backlog: Vec<u8>,
    written: usize,
    /// Whether it isn't read from because its only receiver has a backlog.
    is_paused: bool,
    /// Whether it is read from in the next iteration without an event.
    is_listed: bool,
    /// Iteration in which it was last read from; it is read at most once in each.
    round: u32,
}

#[derive(Default)]
struct Lobby {
    members: Vec<usize>,
    out: Out,
    /// End of each sender's part of `out`.
    ends: Vec<(usize, usize)>,
}

struct Relay {
    batching: Batching,
    poll: Poll,
    listener: TcpListener,
    connections: Slab<Connection>,
    lobbies: Slab<Lobby>,
    by_id: HashMap<u64, u32>,
    buffer: Vec<u8>,
    again: Vec<usize>,
    dirty: Vec<u32>,
    registrations: u64,
    round: u32,
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr, batching: Batching) -> io::Result<()> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    let mut relay = Relay {
        batching,
        poll: Poll::new()?,
        listener: TcpListener::from_std(socket.into()),
        connections: Slab::new(),
        lobbies: Slab::new(),
        by_id: HashMap::new(),
        buffer: vec![0; READ],
        again: Vec::new(),
        dirty: Vec::new(),
        registrations: 0,
        round: 0,
    };
    relay.poll.registry().register(&mut relay.listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    loop {
        relay.round(&mut events)?;
    }
}

impl Relay {
    fn round(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = if self.again.is_empty() { None } else { Some(std::time::Duration::ZERO) };
        match self.poll.poll(events, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        self.round = self.round.wrapping_add(1);
        let again = std::mem::take(&mut self.again);
        for &index in &again {
            self.connections[index].is_listed = false;
        }
        for index in again {
            self.readable(index);
        }
        for event in events.iter() {
            if event.token() == LISTENER {
                self.accept()?;
                continue;
            }
            let index = event.token().0;
            if event.is_writable() {
                self.writable(index);
            }
            if event.is_readable() {
                self.readable(index);
            }
        }
        for lobby in std::mem::take(&mut self.dirty) {
            self.flush(lobby);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (mut stream, _) = match self.listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                other => other?,
            };
            stream.set_nodelay(true)?;
            let token = Token(self.connections.vacant_key());
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            self.connections.insert(Connection {
                stream,
                lobby: None,
                tail: Vec::new(),
                unmasker: Unmasker::default(),
                backlog: Vec::new(),
                written: 0,
                is_paused: false,
                is_listed: false,
                round: 0,
            });
        }
    }

    /// Reads once, and handles the frames; a member that filled the buffer is read again in the next iteration.
    fn readable(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.is_paused || connection.is_listed {
            return;
        }
        if connection.round == self.round {
            connection.is_listed = true;
            self.again.push(index);
            return;
        }
        connection.round = self.round;
        let kept = connection.tail.len();
        self.buffer[..kept].copy_from_slice(&connection.tail);
        let result = match connection.stream.read(&mut self.buffer[kept..]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => Err(error),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                connection.tail.clear();
                if kept + count == self.buffer.len() {
                    connection.is_listed = true;
                    self.again.push(index);
                }
                let buffer = std::mem::take(&mut self.buffer);
                let result = self.received(index, &buffer[..kept + count]);
                self.buffer = buffer;
                result
            }
        };
        if result.is_err() {
            self.leave(index);
        }
    }

    fn received(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(number) = connection.lobby else { return self.requested(index, bytes) };
        let lobby = &mut self.lobbies[number as usize];
        if lobby.ends.is_empty() {
            self.dirty.push(number);
        }
        let kept = connection.unmasker.convert(bytes, &mut lobby.out)?;
        connection.tail.extend_from_slice(&bytes[bytes.len() - kept..]);
        lobby.ends.push((index, lobby.out.len()));
        if self.batching == Batching::Read {
            self.dirty.clear();
            self.flush(number);
        }
        Ok(())
    }

    fn requested(&mut self, index: usize, mut bytes: &[u8]) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let mut replies = String::new();
        while let Some((request, len)) = request(bytes)? {
            bytes = &bytes[len..];
            match request {
                Request::Register => {
                    replies.push_str(&registered(self.registrations));
                    self.registrations += 1;
                }
                Request::Connect { id, reply } => {
                    let lobbies = &mut self.lobbies;
                    let number = *self.by_id.entry(id).or_insert_with(|| lobbies.insert(Lobby::default()) as u32);
                    self.lobbies[number as usize].members.push(index);
                    connection.lobby = Some(number);
                    connection.tail = Vec::new();
                    return connection.stream.write_all(reply.as_bytes());
                }
            }
        }
        connection.tail.extend_from_slice(bytes);
        connection.stream.write_all(replies.as_bytes())
    }

    /// Sends every member the messages of the others.
    fn flush(&mut self, number: u32) {
        let Self { lobbies, connections, poll, .. } = self;
        let Lobby { members, out, ends } = &mut lobbies[number as usize];
        for &receiver in members.iter() {
            let mut begin = 0;
            let mut parts = [out.bytes(), &[]];
            for &(owner, end) in ends.iter() {
                if owner == receiver {
                    parts = [&out.bytes()[..begin], &out.bytes()[end..]];
                }
                begin = end;
            }
            let connection = &mut connections[receiver];
            if write(connection, parts) {
                let (token, both) = (Token(receiver), Interest::READABLE | Interest::WRITABLE);
                // If the event can't be registered, the backlog waits for the next write.
                let _ = poll.registry().reregister(&mut connection.stream, token, both);
            }
            if let ([one, other], false) = (&members[..], connection.backlog.is_empty()) {
                let sender = if *one == receiver { *other } else { *one };
                connections[sender].is_paused = true;
            }
        }
        out.clear();
        ends.clear();
    }

    fn writable(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.backlog.is_empty() {
            return;
        }
        while let Ok(count @ 1..) = connection.stream.write(&connection.backlog[connection.written..]) {
            connection.written += count;
        }
        if connection.written < connection.backlog.len() {
            return;
        }
        connection.backlog.clear();
        connection.written = 0;
        let _ = self.poll.registry().reregister(&mut connection.stream, Token(index), Interest::READABLE);
        let Some(lobby) = connection.lobby else { return };
        for &member in &self.lobbies[lobby as usize].members {
            let member_of_it = &mut self.connections[member];
            if std::mem::take(&mut member_of_it.is_paused) && !std::mem::replace(&mut member_of_it.is_listed, true) {
                self.again.push(member);
            }
        }
    }

    fn leave(&mut self, index: usize) {
        let Some(mut connection) = self.connections.try_remove(index) else { return };
        self.again.retain(|listed| *listed != index);
        let _ = self.poll.registry().deregister(&mut connection.stream);
        if let Some(lobby) = connection.lobby {
            self.lobbies[lobby as usize].members.retain(|member| *member != index);
        }
    }
}

/// Writes what the kernel accepts, and keeps the rest; reports whether it has just started to keep something.
fn write(connection: &mut Connection, mut parts: [&[u8]; 2]) -> bool {
    let begins = connection.backlog.is_empty();
    if begins {
        let taken = match parts {
            [[], []] => Ok(0),
            [one, []] | [[], one] => connection.stream.write(one),
            both => connection.stream.write_vectored(&both.map(IoSlice::new)),
        };
        let mut taken = taken.unwrap_or(0);
        for part in &mut parts {
            let count = taken.min(part.len());
            *part = &part[count..];
            taken -= count;
        }
    }
    for part in parts {
        connection.backlog.extend_from_slice(part);
    }
    begins && !connection.backlog.is_empty()
}
