//! The load generator: an event loop on one core that keeps a number of messages in flight in each of many lobbies.
//!
//! It is a closed loop, measured at the receivers: a message is finished when every receiver has it, and only then its
//! sender sends another. A server thus never gets more than it delivers, nothing is dropped, and the rate is the server's
//! own. Each receiver has to receive its messages complete, in order and unchanged.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::flight::Sender;
use crate::frames::{HELLO, PONG, Reader, Seen, Shape, Tape, wrong};
use crate::histogram::Histogram;
use crate::link::{Line, Link, Target};
use crate::plan::{Plan, Talkers};
use crate::servers::Groups;

/// Time without a message after which one must have been lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number that a sender expects from itself: none.
const NEVER: u32 = u32::MAX;
const READ: usize = 256 * 1024;
/// Time without progress after which a sender is stalled.
const STALLED: Duration = Duration::from_millis(200);

struct Member {
    link: Link,
    reader: Reader,
    lobby: usize,
    /// Number of the next message expected from each sender of the lobby.
    expected: Vec<u32>,
    greeted: bool,
    waits_to_write: bool,
    talks: Option<usize>,
}

/// Running load.
pub(crate) struct Generator {
    plan: Plan,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    members: Vec<Member>,
    senders: Vec<Sender>,
    /// Senders that can send.
    due: Vec<usize>,
    quota: u32,
    stalled: Vec<Link>,
    /// The registrations' hosts that listen, with their ids.
    hosts: Vec<(String, Line)>,
    /// Number of messages delivered.
    pub(crate) deliveries: u64,
    /// Latency from sending to the last receiver; with [`Talkers::Turns`] the round trip.
    pub(crate) latency: Histogram,
}

impl Generator {
    /// Registers and joins; returns when a message of each lobby's first sender has reached all of its receivers.
    pub(crate) fn open(target: &Target, plan: Plan) -> io::Result<Self> {
        let mut generator = Self {
            plan,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; READ],
            members: Vec::new(),
            senders: Vec::new(),
            due: Vec::new(),
            quota: u32::MAX,
            stalled: Vec::new(),
            hosts: Vec::new(),
            deliveries: 0,
            latency: Histogram::new(),
        };
        match target.groups {
            Groups::Lobbies => generator.join_lobbies(target)?,
            Groups::Paired => generator.connect_pairs(target, plan.lobbies)?,
            Groups::OnePaired => generator.connect_pairs(target, 1)?,
        }
        generator.greet()?;
        Ok(generator)
    }

    fn join_lobbies(&mut self, target: &Target) -> io::Result<()> {
        for (lobby, id) in target.register(self.plan.lobbies)?.iter().enumerate() {
            if lobby == 0 {
                self.stalled = (0..self.plan.stalled).map(|_| target.join(id)).collect::<io::Result<_>>()?;
            }
            for seat in 0..self.plan.members {
                self.seat(lobby, seat, target.join(id)?)?;
            }
        }
        Ok(())
    }

    /// Connects the pairs through so many registrations.
    fn connect_pairs(&mut self, target: &Target, registrations: usize) -> io::Result<()> {
        for id in target.register(registrations)? {
            let host = target.listen(&id)?;
            self.hosts.push((id, host));
        }
        for lobby in 0..self.plan.lobbies {
            let (id, host) = &mut self.hosts[lobby % registrations];
            let ends = target.pair(id, host)?;
            for (seat, link) in ends.into_iter().enumerate() {
                self.seat(lobby, seat, link)?;
            }
        }
        Ok(())
    }

    /// Adds a pair to the first registration, whose client has sent as much as the server and the kernel take, and whose
    /// other end never reads.
    pub(crate) fn stall_a_pair(&mut self, target: &Target) -> io::Result<()> {
        let Some((id, host)) = self.hosts.first_mut() else { return Err(wrong("there is no paired registration")) };
        let [mut client, end] = target.pair(id, host)?;
        let mut tape = Tape::new(0, Shape { size: 64 * 1024, ..self.plan.shape }, 1);
        let mut last = Instant::now();
        while last.elapsed() < STALLED {
            if tape.unsent().is_empty() {
                tape.load(0, 1);
            }
            match client.write(tape.unsent()) {
                Ok(count) => {
                    tape.wrote(count);
                    last = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(STALLED / 100),
                Err(error) => return Err(error),
            }
        }
        self.stalled.extend([client, end]);
        Ok(())
    }

    fn senders_of_a_lobby(&self) -> usize {
        match self.plan.talkers {
            Talkers::One => 1,
            Talkers::All => self.plan.members,
            Talkers::Turns => 2,
        }
    }

    fn seat(&mut self, lobby: usize, seat: usize, mut link: Link) -> io::Result<()> {
        let token = Token(self.members.len());
        self.poll.registry().register(&mut link.stream, token, Interest::READABLE)?;
        let talks = seat < self.senders_of_a_lobby();
        if talks {
            self.senders.push(Sender::new(self.senders.len() as u32, token.0, self.plan));
        }
        let mut expected = vec![0; self.senders_of_a_lobby()];
        if let Some(own) = expected.get_mut(seat) {
            *own = NEVER;
        }
        self.members.push(Member {
            link,
            reader: Reader::new(self.plan.shape),
            lobby,
            expected,
            greeted: seat == 0,
            waits_to_write: false,
            talks: talks.then(|| self.senders.len() - 1),
        });
        Ok(())
    }

    /// Sends a message until all members have received it: a member joins its lobby a little after its handshake.
    fn greet(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let per_lobby = self.senders_of_a_lobby();
        loop {
            let mut waiting: Vec<_> = self.members.iter().filter(|member| !member.greeted).map(|m| m.lobby).collect();
            waiting.dedup();
            if waiting.is_empty() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(wrong(format_args!("members of {} lobbies hear nothing", waiting.len())));
            }
            for lobby in waiting {
                let sender = &mut self.senders[lobby * per_lobby];
                if sender.tape.unsent().is_empty() {
                    sender.tape.load(HELLO, 1);
                    self.write(lobby * per_lobby)?;
                }
            }
            self.round(Duration::from_millis(20))?;
        }
    }

    /// Runs the load for a time; returns the number of deliveries.
    pub(crate) fn run_for(&mut self, time: Duration) -> io::Result<u64> {
        let (start, before) = (Instant::now(), self.deliveries);
        self.set_off()?;
        while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            self.round(left)?;
        }
        Ok(self.deliveries - before)
    }

    /// Returns the number of payload bytes that each receiver of the first sender has received.
    pub(crate) fn bytes_each(&self) -> u64 {
        self.senders.first().map_or(0, |sender| u64::from(sender.done) * self.plan.shape.size as u64)
    }

    /// Sends `quota` messages of each sender, and waits until all have arrived.
    pub(crate) fn run_messages(&mut self, count: u32) -> io::Result<()> {
        self.quota = count;
        self.set_off()?;
        while self.senders.iter().any(|sender| sender.done < count) {
            let before = self.deliveries;
            self.round(PATIENCE)?;
            if self.deliveries == before && self.due.is_empty() && self.events.is_empty() {
                return Err(wrong(format_args!("nothing came for {PATIENCE:?}, and not all has been delivered")));
            }
        }
        // A message that arrives now is a duplicate, which the check of the order reports.
        self.round(Duration::from_millis(10))?;
        let expected = u64::from(count) * self.senders.len() as u64 * (self.plan.members as u64 - 1);
        if self.deliveries != expected {
            return Err(wrong(format_args!("{} of {expected} messages were delivered", self.deliveries)));
        }
        Ok(())
    }

    fn set_off(&mut self) -> io::Result<()> {
        let step = if self.plan.talkers == Talkers::Turns { 2 } else { 1 };
        for index in (0..self.senders.len()).step_by(step) {
            if self.senders[index].next == 0 {
                self.list(index);
            }
        }
        self.send_due()
    }

    /// Waits for events, reads, and sends the messages that have become due.
    fn round(&mut self, patience: Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let member = event.token().0;
            if event.is_writable() && self.members[member].waits_to_write {
                self.unblock(member)?;
            }
            self.read(member)?;
        }
        self.events = events;
        self.send_due()
    }

    fn read(&mut self, index: usize) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            let link = &mut self.members[index].link;
            match link.read(&mut buffer) {
                Ok(0) => break Err(wrong("the server hung up")),
                Ok(count) => {
                    let drained = count < buffer.len() && link.is_drained_by_a_short_read();
                    if let Err(error) = self.received(index, &buffer[..count]) {
                        break Err(error);
                    }
                    if drained {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.buffer = buffer;
        result
    }

    fn received(&mut self, index: usize, bytes: &[u8]) -> io::Result<()> {
        let Self { plan, members, senders, due, deliveries, latency, quota, .. } = self;
        let member = &mut members[index];
        let per_lobby = member.expected.len();
        let first = member.lobby * per_lobby;
        let mut now = None;
        let Member { reader, expected, greeted, link, .. } = member;
        reader.feed(bytes, |seen| match seen {
            Seen::Message { number: HELLO, .. } => {
                *greeted = true;
                Ok(())
            }
            Seen::Message { sender, number } => {
                let seat = (sender as usize).wrapping_sub(first);
                let next = expected.get_mut(seat).ok_or_else(|| wrong("a message came out of another lobby"))?;
                if *next == NEVER {
                    return Err(wrong(format_args!("message {number} of sender {sender} came back to it")));
                }
                if number != *next {
                    return Err(wrong(format_args!("message {number} of sender {sender} came in place of {next}")));
                }
                *next += 1;
                *deliveries += 1;
                let Some(sent) = senders[first + seat].landed(number) else { return Ok(()) };
                let now = *now.get_or_insert_with(Instant::now);
                let next = match plan.talkers {
                    Talkers::Turns if seat == 0 => first + 1,
                    Talkers::Turns => {
                        latency.record(now - senders[first].last_sent());
                        first
                    }
                    Talkers::One | Talkers::All => {
                        latency.record(now - sent);
                        first + seat
                    }
                };
                if senders[next].next < *quota && !std::mem::replace(&mut senders[next].is_listed, true) {
                    due.push(next);
                }
                Ok(())
            }
            // Sent outside the tape, which may be half way through a frame only while the kernel takes nothing.
            Seen::Ping => link.write(&PONG).map(drop),
            Seen::Close(code) => Err(wrong(format_args!("the server closed with {code}"))),
        })
    }

    fn list(&mut self, index: usize) {
        if !std::mem::replace(&mut self.senders[index].is_listed, true) {
            self.due.push(index);
        }
    }

    fn send_due(&mut self) -> io::Result<()> {
        let due = std::mem::take(&mut self.due);
        for &index in &due {
            self.senders[index].is_listed = false;
            while self.senders[index].load(self.quota) {
                self.write(index)?;
            }
        }
        // Nothing is listed while sending, so that the allocation can be kept.
        self.due = due;
        self.due.clear();
        Ok(())
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let sender = &mut self.senders[index];
        let member = &mut self.members[sender.member];
        let result = loop {
            if sender.tape.unsent().is_empty() {
                break member.link.flush();
            }
            match member.link.write(sender.tape.unsent()) {
                Ok(count) => sender.tape.wrote(count),
                Err(error) => break Err(error),
            }
        };
        let blocked = match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            other => other.map(|()| false)?,
        };
        if blocked != member.waits_to_write {
            member.waits_to_write = blocked;
            let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.poll.registry().reregister(&mut member.link.stream, Token(sender.member), interest)?;
        }
        Ok(())
    }

    /// Continues writing, then sends the messages that have become due meanwhile.
    fn unblock(&mut self, member: usize) -> io::Result<()> {
        if let Some(sender) = self.members[member].talks {
            self.write(sender)?;
            if self.senders[sender].tape.unsent().is_empty() && self.plan.talkers != Talkers::Turns {
                self.list(sender);
            }
        }
        Ok(())
    }
}
