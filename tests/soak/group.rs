//! One registration with its members, who all talk at once, as fast as the last of them hears.
//!
//! A message is in flight from when it is composed until everybody entitled has heard it. So much may be in flight at a
//! time as fits any one member's outbox in the router: full rate, and nobody is ever too slow.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use ws_router_core::frame::client_frame;

use super::course::{Course, Phase};
use super::device::{Device, Frame, Pace, Place, ask, join};
use super::message::{LONGEST, Message, chance};

/// Who is in a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Lobby(usize),
    /// A host, and so many clients.
    Star(usize),
}

impl Shape {
    fn members(self) -> usize {
        match self {
            Self::Lobby(members) => members,
            Self::Star(clients) => clients + 1,
        }
    }

    fn hears(self, hearer: usize, sender: usize) -> bool {
        match self {
            Self::Lobby(_) => hearer != sender,
            Self::Star(_) => (hearer == 0) != (sender == 0),
        }
    }
}

/// How a group behaves around a restart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    /// Its members only talk and listen.
    Steady,
    /// Its last member reads slowly, and not at all while others halt.
    Lagging,
    /// Its last member halts in the middle of a frame.
    Halting,
}

/// A registration and its members.
pub(crate) struct Group {
    name: String,
    shape: Shape,
    manner: Manner,
    seed: u64,
    pub(crate) devices: Vec<Device>,
    /// Each member's, in their order.
    members: Vec<Member>,
    in_flight: usize,
    /// Whose message doesn't fit beside what is in flight: nobody else says more until it does.
    held_up: Option<usize>,
    payload: Vec<u8>,
    is_leaving: bool,
}

struct Member {
    /// The number of its next message.
    next: u64,
    /// The numbers of the next messages to be heard from each other member.
    expected: Vec<u64>,
    /// Its messages that not everybody has heard: the length, and how many have yet to.
    flights: VecDeque<(usize, usize)>,
    last_pong: Option<u64>,
    heard: Instant,
    may_read: Instant,
    has_left: bool,
}

impl Group {
    /// Registers, and brings all members together.
    pub(crate) fn gather(
        place: &Place,
        number: usize,
        shape: Shape,
        manner: Manner,
        seed: u64,
    ) -> Result<Self, String> {
        let kind = if matches!(shape, Shape::Lobby(_)) { "lobby" } else { "hostclient" };
        let (status, id) = ask(place, &format!("/register?key=k&host_key=h&reg_type={kind}"), super::PATIENCE)?;
        if status != 200 {
            return Err(format!("register: {status} {id}"));
        }
        let (mut devices, mut members) = (Vec::new(), Vec::new());
        let count = shape.members();
        for member in 0..count {
            let is_last = member + 1 == count;
            let pace = if is_last && manner == Manner::Lagging { Pace::Slow } else { Pace::Full };
            let role = if member == 0 { "host" } else { "client" };
            let socket = join(place, &id, role, pace, super::PATIENCE)?;
            devices.push(Device::new(socket, place, pace).map_err(|error| error.to_string())?);
            let now = Instant::now();
            members.push(Member {
                next: 0,
                expected: vec![0; count],
                flights: VecDeque::new(),
                last_pong: None,
                heard: now,
                may_read: now,
                has_left: false,
            });
        }
        let (name, seed) = (format!("{manner:?} {shape:?} {number}"), chance(seed ^ number as u64));
        let (payload, in_flight) = (Vec::new(), 0);
        Ok(Self { name, shape, manner, seed, devices, members, in_flight, held_up: None, payload, is_leaving: false })
    }

    /// Whether a member halts in the middle of a frame when the course says so.
    pub(crate) fn has_halting(&self) -> bool {
        self.manner == Manner::Halting
    }

    /// Whether all have left.
    pub(crate) fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.has_left)
    }

    /// What it waits for.
    pub(crate) fn standing(&self) -> String {
        let waiting =
            self.members.iter().map(|member| member.flights.iter().map(|(_, hearers)| *hearers).sum::<usize>());
        format!(
            "{}: {} bytes in flight, hearings due by sender: {:?}",
            self.name,
            self.in_flight,
            waiting.collect::<Vec<_>>()
        )
    }

    /// Lets everybody read and write what can be; tells whether there is more to do at once.
    pub(crate) fn turn(&mut self, course: &Course) -> Result<bool, String> {
        let phase = course.phase();
        let mut is_busy = false;
        for index in 0..self.devices.len() {
            is_busy |= self.listen(index, course, phase).map_err(|error| self.told(index, &error))?;
        }
        if phase == Phase::Finishing && self.in_flight == 0 && !self.is_leaving {
            self.leave();
        }
        for index in 0..self.devices.len() {
            is_busy |= self.talk(index, course, phase).map_err(|error| self.told(index, &error))?;
        }
        Ok(is_busy)
    }

    fn told(&self, index: usize, error: &str) -> String {
        format!("member {index} of {}: {error}", self.name)
    }

    fn listen(&mut self, index: usize, course: &Course, phase: Phase) -> Result<bool, String> {
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
            if self.manner == Manner::Steady && phase != Phase::Finishing {
                course.silence(member.heard, now);
            }
            member.heard = now;
        }
        while let Some(frame) = self.devices[index].frame()? {
            self.take(index, frame, course)?;
        }
        if let Some(end) = self.devices[index].ended.take_if(|_| !self.members[index].has_left) {
            return Err(end);
        }
        Ok(read > 0 && !is_slow)
    }

    fn take(&mut self, index: usize, frame: Frame, course: &Course) -> Result<(), String> {
        match frame {
            Frame::Text(payload) => self.hear(index, &payload, true, course),
            Frame::Binary(payload) => self.hear(index, &payload, false, course),
            Frame::Pong(payload) => {
                let number = payload.as_slice().try_into().map(u64::from_be_bytes).map_err(|_| "a damaged pong")?;
                let member = &mut self.members[index];
                if number >= member.next || member.last_pong.is_some_and(|last| number <= last) {
                    return Err(format!("pong {number} after {:?}", member.last_pong));
                }
                member.last_pong = Some(number);
                course.pongs.fetch_add(1, Relaxed);
                Ok(())
            }
            Frame::Close(1000, _) if self.is_leaving => {
                self.members[index].has_left = true;
                Ok(())
            }
            Frame::Close(code, reason) => Err(format!("closed with {code} {reason:?}")),
        }
    }

    fn hear(&mut self, hearer: usize, payload: &[u8], is_text: bool, course: &Course) -> Result<(), String> {
        let sender = usize::from(*payload.first().ok_or("an empty message")?);
        if sender >= self.members.len() || !self.shape.hears(hearer, sender) {
            return Err(format!("a message of {} bytes from member {sender}", payload.len()));
        }
        let number = self.members[hearer].expected[sender];
        let message = Message { sender, number, seed: self.seed };
        message.write(&mut self.payload);
        if *self.payload != *payload || message.is_text() != is_text {
            let came = Message::number_in(payload);
            let kind = match came {
                Some(came) if came > number => "lost or reordered",
                Some(came) if came < number => "doubled or reordered",
                _ => "damaged, lost or doubled",
            };
            return Err(format!(
                "{kind}: expected {message:?} of {} bytes, got {came:?} of {}",
                message.len(),
                payload.len()
            ));
        }
        self.members[hearer].expected[sender] += 1;
        course.messages.fetch_add(1, Relaxed);
        course.bytes.fetch_add(payload.len() as u64, Relaxed);
        self.land(sender, number)
    }

    /// Notes that one more has heard a message.
    fn land(&mut self, sender: usize, number: u64) -> Result<(), String> {
        let member = &mut self.members[sender];
        let first = member.next - member.flights.len() as u64;
        let at = number.checked_sub(first).ok_or("a message that all had heard")?;
        let flight = member.flights.get_mut(at as usize).ok_or("a message that nobody has sent")?;
        flight.1 -= 1;
        while let Some((len, 0)) = member.flights.front() {
            self.in_flight -= len;
            member.flights.pop_front();
        }
        Ok(())
    }

    fn talk(&mut self, index: usize, course: &Course, phase: Phase) -> Result<bool, String> {
        let halts = self.manner == Manner::Halting && index + 1 == self.devices.len();
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
                course.holding.fetch_sub(1, Relaxed);
            }
            device.cut = None;
        }
        let did_hold = device.holds();
        let is_busy = device.write()?;
        if device.holds() && !did_hold {
            course.holding.fetch_add(1, Relaxed);
        }
        Ok(is_busy)
    }

    /// Puts as many messages into a member's buffer as may be in flight and go out in one piece.
    fn compose(&mut self, index: usize) {
        let hearers = (0..self.members.len()).filter(|hearer| self.shape.hears(*hearer, index)).count();
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
            self.members[index].flights.push_back((len, hearers));
        }
    }

    /// Says goodbye for everybody.
    fn leave(&mut self) {
        self.is_leaving = true;
        for device in &mut self.devices {
            device.out.extend(client_frame(0x88, [4, 3, 2, 1], &1000u16.to_be_bytes()));
        }
    }
}

/// Half of the outbox that a member has by default.
const IN_FLIGHT: usize = 4 * LONGEST;

/// Small messages go out together, as much as this.
const PIECE: usize = 16 << 10;

/// How much is read at once.
const READ: usize = 256 << 10;

/// How much a slow member reads, and how often: enough never to count as stalled.
const SLOW: usize = 16 << 10;
const SLOW_EVERY: Duration = Duration::from_millis(5);
