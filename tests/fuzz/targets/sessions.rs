//! A history of joins, frames of any kind, slow and broken connections, removals, time and successions on one shard.
//!
//! Members that behave send numbered messages. Of those, every receiver gets a run without a gap, a double or a change of
//! order; frames arrive whole and only from who may be received; nothing follows a close frame; nobody's outbox outgrows
//! its bound; and when all has settled, nothing is queued and nothing unread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use ws_router_core::close::CloseReason;
use ws_router_core::frame::whole_frame_len;
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{InMemoryLink, MemberState, Moment, Newcomer, Pipe, Rules, Shard};

use super::frames;
use super::input::Input;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(input.byte() & 1 != 0);
    for _ in 0..ACTS {
        if input.is_empty() {
            break;
        }
        world.act(&mut input);
        world.check_bounds();
    }
    world.settle();
}

struct Device {
    slot: usize,
    room: u64,
    role: Role,
    pipe: Rc<RefCell<Pipe>>,
    /// Messages sent with numbers; `None` once it has sent anything else.
    numbered: Option<u32>,
    inbox: Vec<u8>,
    /// The number expected next of each sender.
    next: HashMap<u8, u32>,
    was_closed: bool,
}

struct World {
    shard: Shard<InMemoryLink>,
    rules: Rules,
    now: Moment,
    devices: Vec<Device>,
}

impl World {
    fn new(pace: bool) -> Self {
        let rules = Rules { pace, outbox: OUTBOX, ..frames::rules(MAX_MESSAGE) };
        Self { shard: Shard::new(rules.clone()), rules, now: Moment(1_000_000), devices: Vec::new() }
    }

    fn act(&mut self, input: &mut Input<'_>) {
        let (act, argument) = (input.byte(), input.byte());
        let who = usize::from(argument) % self.devices.len().max(1);
        match act % 16 {
            0 | 1 if self.devices.len() < MEMBERS => self.join(argument),
            2..=5 => self.say(who, usize::from(input.byte())),
            6 if who < self.devices.len() => {
                let mut frame = Vec::new();
                input.frame(&mut frame);
                let device = &mut self.devices[who];
                device.numbered = None;
                device.pipe.borrow_mut().inbound.extend(frame);
            }
            7 if who < self.devices.len() => {
                let some = input.bytes(20);
                self.devices[who].numbered = None;
                self.devices[who].pipe.borrow_mut().inbound.extend(some);
            }
            8 | 9 => self.take(who, [0, 1, 300, 70_000, 1 << 30][usize::from(input.byte()) % 5]),
            10 if who < self.devices.len() => {
                let mut pipe = self.devices[who].pipe.borrow_mut();
                if argument & 0x80 == 0 { pipe.has_ended = true } else { pipe.is_broken = true }
            }
            11 if argument & 3 == 0 => self.shard.end(Serial(u64::from(argument >> 2) % 3), REMOVED, self.now),
            11 => _ = self.shard.disconnect(MemberId(who as u64), CloseReason::ClosedByAdmin, self.now),
            12 => {
                self.now = self.now.after(Duration::from_millis(u64::from(argument) * 100));
                self.shard.sweep(self.now);
            }
            13 if argument & 7 == 0 => self.restore(),
            15 => {
                // A turn of a busy thread, which doesn't get to everybody.
                if let Some(device) = self.devices.get(who).filter(|device| Rc::strong_count(&device.pipe) > 1) {
                    self.shard.readable(device.slot, false, self.now);
                }
                self.shard.flush_some(1 + usize::from(argument >> 6), self.now);
            }
            14 if argument == 0xff => self.shard.close_all(CloseReason::Stopping, self.now),
            _ => self.round(),
        }
    }

    fn join(&mut self, argument: u8) {
        let room = u64::from(argument % 3);
        let role = if room == 0 { Role::Peer } else { [Role::Host, Role::Client][usize::from(argument >> 2 & 1)] };
        let pipe = Pipe::with_room([1 << 30, 0, 500, 100_000][usize::from(argument >> 6)]).shared();
        let id = MemberId(self.devices.len() as u64);
        let newcomer = Newcomer { id, serial: Serial(room), role, receives_only: false, counts: true };
        let slot = self.shard.join(&newcomer, InMemoryLink(Rc::clone(&pipe)), self.now);
        let device = Device {
            slot,
            room,
            role,
            pipe,
            numbered: Some(0),
            inbox: Vec::new(),
            next: HashMap::new(),
            was_closed: false,
        };
        self.devices.push(device);
    }

    /// Sends a message that contains its sender and its number.
    fn say(&mut self, who: usize, size: usize) {
        let Some(device) = self.devices.get_mut(who) else { return };
        let Some(number) = &mut device.numbered else { return };
        let mut pipe = device.pipe.borrow_mut();
        if pipe.has_ended || pipe.inbound.len() > 4 << 20 {
            return;
        }
        let size = MARK.len() + 5 + [0, 100, 5_000, 20_000, 200_000][size % 5] + size;
        let mut payload = [MARK, &[who as u8], &number.to_be_bytes()].concat();
        payload.resize(size, 0);
        pipe.inbound.extend([0x82, 0x80 | 127]);
        match size {
            0..126 => *pipe.inbound.back_mut().unwrap() = 0x80 | size as u8,
            126..=0xffff => {
                *pipe.inbound.back_mut().unwrap() = 0x80 | 126;
                pipe.inbound.extend((size as u16).to_be_bytes());
            }
            _ => pipe.inbound.extend((size as u64).to_be_bytes()),
        }
        pipe.inbound.extend([0; 4]);
        pipe.inbound.extend(payload);
        *number += 1;
    }

    /// Everybody is ready, as a loop would announce it.
    fn round(&mut self) {
        self.shard.begin_iteration(self.devices.len());
        for device in &self.devices {
            // A link that is dropped is held by the device alone.
            if Rc::strong_count(&device.pipe) > 1 {
                let (has_room, ending) = {
                    let pipe = device.pipe.borrow();
                    (pipe.room > 0 || pipe.is_broken, pipe.has_ended || pipe.is_broken)
                };
                if has_room {
                    self.shard.writable(device.slot, self.now);
                }
                if Rc::strong_count(&device.pipe) > 1 {
                    self.shard.readable(device.slot, ending, self.now);
                }
            }
        }
        self.shard.resume(self.now);
        self.shard.flush(self.now);
    }

    fn restore(&mut self) {
        self.shard.flush(self.now);
        let states: Vec<MemberState> = self.shard.export(self.now).map(|(_, state)| state).collect();
        let read: Vec<MemberState> = rmp_serde::from_slice(&rmp_serde::to_vec_named(&states).unwrap()).unwrap();
        assert_eq!(read, states);
        self.shard = Shard::new(self.rules.clone());
        for state in read {
            let device = &mut self.devices[state.id.0 as usize];
            let slot =
                self.shard.restore(state, InMemoryLink(Rc::clone(&device.pipe)), InMemoryLink::unconnected, self.now);
            device.slot = slot.unwrap_or_else(|_| panic!("a state of ours is refused"));
        }
    }

    /// The peer takes what has come, looks at it, and makes room for more.
    fn take(&mut self, who: usize, room: usize) {
        let Some(device) = self.devices.get_mut(who) else { return };
        {
            let mut pipe = device.pipe.borrow_mut();
            device.inbox.append(&mut pipe.outbound);
            pipe.room = room;
        }
        let inbox = std::mem::take(&mut device.inbox);
        let mut rest = &inbox[..];
        while let Some(len) = whole_frame_len(rest).filter(|len| *len <= rest.len()) {
            self.receive(who, &rest[..len]);
            rest = &rest[len..];
        }
        self.devices[who].inbox = rest.to_vec();
    }

    fn receive(&mut self, who: usize, frame: &[u8]) {
        assert!(!self.devices[who].was_closed, "a frame behind the close frame");
        match frame[0] {
            0x81 | 0x82 => {}
            0x88 => {
                self.devices[who].was_closed = true;
                return;
            }
            0x89 | 0x8a => return assert!(frame[1] < 126),
            other => panic!("first byte {other:x}"),
        }
        let payload = match frame[1] {
            126 => &frame[4..],
            127 => &frame[10..],
            _ => &frame[2..],
        };
        let Some([sender, number @ ..]) = payload.strip_prefix(MARK).and_then(<[u8]>::first_chunk::<5>) else { return };
        let number = u32::from_be_bytes(*number);
        let Some(from) = self.devices.get(usize::from(*sender)) else { return };
        // One that sent other things as well may have sent this one, too.
        if from.numbered.is_none() {
            return;
        }
        let to = &self.devices[who];
        assert!(from.room == to.room && receives(to.role, from.role), "{who} receives {sender}");
        let next = self.devices[who].next.insert(*sender, number + 1);
        assert!(next.is_none_or(|next| next == number), "{who} receives {number} of {sender} instead of {next:?}");
    }

    fn check_bounds(&self) {
        let tally = self.shard.tally();
        let most = self.devices.len() as u64 * (OUTBOX as u64 + SLACK);
        assert!(tally.outbox_bytes <= most, "{} bytes are queued, {most} may be", tally.outbox_bytes);
        assert!(tally.members <= self.devices.len() as u64);
    }

    /// Everybody reads, and nobody sends any more.
    fn settle(&mut self) {
        for turn in 0.. {
            for who in 0..self.devices.len() {
                self.take(who, 1 << 30);
            }
            self.round();
            let is_read = |device: &Device| {
                let pipe = device.pipe.borrow();
                pipe.left.is_some() || pipe.inbound.is_empty()
            };
            if !self.shard.has_work() && self.devices.iter().all(is_read) && self.shard.tally().outbox_bytes == 0 {
                break;
            }
            assert!(turn < 1000, "it doesn't settle");
        }
        for who in 0..self.devices.len() {
            self.take(who, 1 << 30);
            let device = &self.devices[who];
            let pipe = device.pipe.borrow();
            let is_open = pipe.left.is_none();
            assert!(!is_open || device.inbox.is_empty(), "half a frame is left");
            assert!(!is_open || Rc::strong_count(&device.pipe) == 2, "a member without a connection");
        }
        let open = self.devices.iter().filter(|device| device.pipe.borrow().left.is_none()).count();
        assert_eq!(self.shard.tally().members, open as u64);
        // Closing handshakes that the peer doesn't finish time out.
        self.now = self.now.after(Duration::from_secs(6));
        self.shard.close_all(CloseReason::Stopping, self.now);
        self.now = self.now.after(Duration::from_secs(6));
        self.shard.sweep(self.now);
        assert!(self.shard.is_empty());
        assert_eq!((self.shard.tally().members, self.shard.tally().outbox_bytes), (0, 0));
    }
}

/// The rule of delivery, said once more.
fn receives(receiver: Role, sender: Role) -> bool {
    matches!((receiver, sender), (Role::Peer, Role::Peer) | (Role::Host, Role::Client) | (Role::Client, Role::Host))
}

const MARK: &[u8] = b"numbered";
const REMOVED: CloseReason = CloseReason::Removed;
/// Acts of one history, and members in it.
const ACTS: usize = 400;
const MEMBERS: usize = 12;
const OUTBOX: usize = 64 << 10;
const MAX_MESSAGE: u64 = 300_000;
/// Bytes that may be queued for a member beyond its outbox: those of one iteration, and the high-water mark of a pair.
const SLACK: u64 = 4 << 20;
