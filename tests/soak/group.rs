//! A registration whose members all send at once, as fast as the slowest of them receives.
//!
//! A message is in flight until all its receivers have received it. The bytes in flight are limited to the size of one
//! outbox, so the members send at full rate, and none is ever too slow.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ws_router_core::frame::client_frame;

use super::device::{Device, Endpoint, Frame, Pace, join, register};
use super::error::Error;
use super::message::{LONGEST, Message, chance};
use super::progress::{Phase, Progress};

/// Kind of a group, with its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Lobby with this many members.
    Lobby(usize),
    /// Host with this many clients.
    Star(usize),
}

impl Shape {
    fn members(self) -> usize {
        match self {
            Self::Lobby(members) => members,
            Self::Star(clients) => clients + 1,
        }
    }

    /// Returns whether a member receives the messages of another.
    fn receives(self, receiver: usize, sender: usize) -> bool {
        match self {
            Self::Lobby(_) => receiver != sender,
            Self::Star(_) => (receiver == 0) != (sender == 0),
        }
    }
}

/// Behavior of a group around a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behavior {
    /// All members send and receive.
    Steady,
    /// The last member reads slowly, and not at all in the halting phase.
    Lagging,
    /// The last member stops in the middle of a frame in the halting phase.
    Halting,
}

/// Registration with its members.
pub(crate) struct Group {
    name: String,
    shape: Shape,
    behavior: Behavior,
    seed: u64,
    pub(crate) devices: Vec<Device>,
    /// State of each member, in the order of `devices`.
    members: Vec<Member>,
    /// Bytes of messages in flight.
    in_flight: usize,
    /// Member whose next message exceeds the limit of bytes in flight; no other member sends until it fits.
    held_up: Option<usize>,
    payload: Vec<u8>,
    is_leaving: bool,
}

struct Member {
    /// Number of its next message.
    next: u64,
    /// Number of the next message expected from each other member.
    expected: Vec<u64>,
    /// Its messages in flight: the length, and the number of receivers that haven't received it yet.
    undelivered: VecDeque<(usize, usize)>,
    last_pong: Option<u64>,
    last_received: Instant,
    may_read: Instant,
    has_left: bool,
}

impl Group {
    /// Registers, and joins all members.
    pub(crate) fn gather(
        endpoint: &Endpoint,
        number: usize,
        shape: Shape,
        behavior: Behavior,
        seed: u64,
    ) -> Result<Self, Error> {
        let kind = if matches!(shape, Shape::Lobby(_)) { "lobby" } else { "hostclient" };
        let id = register(endpoint, &format!("key=k&host_key=h&reg_type={kind}"), super::PATIENCE)?;
        let (mut devices, mut members) = (Vec::new(), Vec::new());
        let count = shape.members();
        for member in 0..count {
            let is_last = member + 1 == count;
            let pace = if is_last && behavior == Behavior::Lagging { Pace::Slow } else { Pace::Full };
            let role = if member == 0 { "host" } else { "client" };
            let socket = join(endpoint, &id, role, pace, super::PATIENCE)?;
            devices.push(Device::new(socket, endpoint, pace).map_err(Error::io("join"))?);
            let now = Instant::now();
            members.push(Member {
                next: 0,
                expected: vec![0; count],
                undelivered: VecDeque::new(),
                last_pong: None,
                last_received: now,
                may_read: now,
                has_left: false,
            });
        }
        let (name, seed) = (format!("{behavior:?} {shape:?} {number}"), chance(seed ^ number as u64));
        let (payload, in_flight) = (Vec::new(), 0);
        Ok(Self { name, shape, behavior, seed, devices, members, in_flight, held_up: None, payload, is_leaving: false })
    }

    /// Returns whether a member stops in the middle of a frame in the halting phase.
    pub(crate) fn has_halting(&self) -> bool {
        self.behavior == Behavior::Halting
    }

    /// Returns whether all members have left.
    pub(crate) fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.has_left)
    }

    /// Describes what the group waits for.
    pub(crate) fn state(&self) -> String {
        let waiting =
            self.members.iter().map(|member| member.undelivered.iter().map(|(_, receivers)| *receivers).sum::<usize>());
        format!(
            "{}: {} bytes in flight, outstanding deliveries by sender: {:?}",
            self.name,
            self.in_flight,
            waiting.collect::<Vec<_>>()
        )
    }

    /// Reads and writes for all members; reports whether there may be more to do at once.
    pub(crate) fn turn(&mut self, progress: &Progress) -> Result<bool, Error> {
        let phase = progress.phase();
        let mut is_busy = false;
        for index in 0..self.devices.len() {
            is_busy |= self.receive(index, progress, phase).map_err(|error| self.of_member(index, error))?;
        }
        if phase == Phase::Finishing && self.in_flight == 0 && !self.is_leaving {
            self.leave();
        }
        for index in 0..self.devices.len() {
            is_busy |= self.send(index, progress, phase).map_err(|error| self.of_member(index, error))?;
        }
        Ok(is_busy)
    }

    fn of_member(&self, index: usize, error: Error) -> Error {
        Error::Member { index, group: self.name.clone(), source: Box::new(error) }
    }

    fn receive(&mut self, index: usize, progress: &Progress, phase: Phase) -> Result<bool, Error> {
        let (device, member) = (&mut self.devices[index], &mut self.members[index]);
        if !device.is_readable() || member.has_left {
            return Ok(false);
        }
        let now = Instant::now();
        let is_slow = device.pace() == Pace::Slow && phase != Phase::Finishing;
        if is_slow && (phase == Phase::Halting || now < member.may_read) {
            return Ok(false);
        }
        member.may_read = now + SLOW_EVERY;
        let read = device.read(if is_slow { SLOW } else { READ });
        if read > 0 {
            if self.behavior == Behavior::Steady && phase != Phase::Finishing {
                progress.record_silence(member.last_received, now);
            }
            member.last_received = now;
        }
        while let Some(frame) = self.devices[index].frame()? {
            self.handle_frame(index, frame, progress)?;
        }
        if let Some(end) = self.devices[index].ended.take_if(|_| !self.members[index].has_left) {
            return Err(end);
        }
        Ok(read > 0 && !is_slow)
    }

    fn handle_frame(&mut self, index: usize, frame: Frame, progress: &Progress) -> Result<(), Error> {
        match frame {
            Frame::Text(payload) => self.handle_message(index, &payload, true, progress),
            Frame::Binary(payload) => self.handle_message(index, &payload, false, progress),
            Frame::Pong(payload) => {
                let number = payload.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| Error::DamagedPong)?;
                let member = &mut self.members[index];
                if number >= member.next || member.last_pong.is_some_and(|last| number <= last) {
                    return Err(Error::Pong { number, last: member.last_pong });
                }
                member.last_pong = Some(number);
                progress.pongs.fetch_add(1, Relaxed);
                Ok(())
            }
            Frame::Close(1000, _) if self.is_leaving => {
                self.members[index].has_left = true;
                Ok(())
            }
            Frame::Close(code, reason) => Err(Error::Closed { code, reason }),
        }
    }

    fn handle_message(
        &mut self,
        receiver: usize,
        payload: &[u8],
        is_text: bool,
        progress: &Progress,
    ) -> Result<(), Error> {
        let sender = usize::from(*payload.first().ok_or(Error::EmptyMessage)?);
        if sender >= self.members.len() || !self.shape.receives(receiver, sender) {
            return Err(Error::Sender { len: payload.len(), sender });
        }
        let number = self.members[receiver].expected[sender];
        let message = Message { sender, number, seed: self.seed };
        message.write(&mut self.payload);
        if *self.payload != *payload || message.is_text() != is_text {
            let received = Message::number_in(payload);
            let kind = match received {
                Some(received) if received > number => "lost or reordered",
                Some(received) if received < number => "duplicated or reordered",
                _ => "damaged, lost or duplicated",
            };
            return Err(Error::Message { kind, expected: message, number: received, len: payload.len() });
        }
        self.members[receiver].expected[sender] += 1;
        progress.messages.fetch_add(1, Relaxed);
        progress.bytes.fetch_add(payload.len() as u64, Relaxed);
        self.record_delivery(sender, number)
    }

    /// Records the delivery of a message to one receiver.
    fn record_delivery(&mut self, sender: usize, number: u64) -> Result<(), Error> {
        let member = &mut self.members[sender];
        let first = member.next - member.undelivered.len() as u64;
        let at = number.checked_sub(first).ok_or(Error::DeliveredTwice)?;
        let message = member.undelivered.get_mut(at as usize).ok_or(Error::NeverSent)?;
        message.1 -= 1;
        while let Some((len, 0)) = member.undelivered.front() {
            self.in_flight -= len;
            member.undelivered.pop_front();
        }
        Ok(())
    }

    fn send(&mut self, index: usize, progress: &Progress, phase: Phase) -> Result<bool, Error> {
        let halts = self.behavior == Behavior::Halting && index + 1 == self.devices.len();
        if self.devices[index].out.is_empty() && phase != Phase::Finishing {
            self.compose(index);
            let device = &mut self.devices[index];
            if halts && phase == Phase::Halting && device.out.len() > 1 {
                device.cut = Some(1 + chance(self.seed ^ self.members[index].next) as usize % (device.out.len() - 1));
            }
        }
        let device = &mut self.devices[index];
        if device.cut.is_some() && phase != Phase::Halting {
            if device.holds() {
                progress.holding.fetch_sub(1, Relaxed);
            }
            device.cut = None;
        }
        let did_hold = device.holds();
        let is_busy = device.write()?;
        if device.holds() && !did_hold {
            progress.holding.fetch_add(1, Relaxed);
        }
        Ok(is_busy)
    }

    /// Adds messages to a member's buffer, up to the limits of [`IN_FLIGHT`] and [`PIECE`].
    fn compose(&mut self, index: usize) {
        let receivers = (0..self.members.len()).filter(|receiver| self.shape.receives(*receiver, index)).count();
        while self.devices[index].out.len() < PIECE {
            let message = Message { sender: index, number: self.members[index].next, seed: self.seed };
            let len = message.len();
            if self.held_up.is_some_and(|other| other != index) {
                return;
            }
            self.held_up = (self.in_flight + len > IN_FLIGHT).then_some(index);
            if self.held_up.is_some() {
                return;
            }
            message.frames(&mut self.payload, &mut self.devices[index].out);
            self.in_flight += len;
            self.members[index].next += 1;
            self.members[index].undelivered.push_back((len, receivers));
        }
    }

    /// Sends a close frame from every member.
    fn leave(&mut self) {
        self.is_leaving = true;
        for device in &mut self.devices {
            device.out.extend(client_frame(0x88, [4, 3, 2, 1], &1000u16.to_be_bytes()));
        }
    }
}

/// Limit of the bytes in flight: half of a member's default outbox.
const IN_FLIGHT: usize = 4 * LONGEST;

/// Size up to which small messages are sent together.
const PIECE: usize = 16 << 10;

/// Number of bytes read at once.
const READ: usize = 256 << 10;

/// Number of bytes that a slow member reads at once: with [`SLOW_EVERY`], enough never to count as stalled.
const SLOW: usize = 16 << 10;

/// Time between two reads of a slow member.
const SLOW_EVERY: Duration = Duration::from_millis(5);
