//! Simulation of the shard: links are queues in memory, and time is a number.
//!
//! The messages received are compared with a small model: a receiver gets each sender's messages in order, from its join to
//! its departure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use proptest::prelude::*;
use strum::EnumCount;

use super::TcpTransit;
use super::*;
use crate::frame::{client_frame, payload_of, whole_frames};
use crate::kind::Role;

mod bounds;
mod closing;
mod injection;
mod liveness;
mod memory;
mod paired;
mod rates;
mod receive_only;
mod sessions;
mod traffic;
mod waiting;

/// Device with its end of a connection, and the messages that it has sent and received.
struct Device {
    slot: usize,
    id: MemberId,
    room: u64,
    role: Role,
    pipe: Rc<RefCell<Pipe>>,
    /// End of each message sent, as a position in its stream.
    ends: Vec<usize>,
    stream: usize,
    /// Number of messages received from each other device when this one joined.
    from: HashMap<usize, usize>,
    /// The same when it left.
    until: Option<HashMap<usize, usize>>,
    inbox: Vec<u8>,
    received: HashMap<usize, Vec<usize>>,
    /// Senders and numbers of the messages received, in order.
    order: Vec<(usize, usize)>,
    pongs: usize,
    close_code: Option<u16>,
}

struct World {
    shard: Shard<InMemoryLink>,
    now: Moment,
    devices: Vec<Device>,
    ids: u64,
    /// Bound of the work at the end of an iteration.
    work: usize,
    /// Number of other ready links in each iteration.
    ready: usize,
    /// How long messages wait for a receiver, and the hold of which a clone exists for each room in which some do.
    wait: Option<(Duration, Rc<()>)>,
}

fn rules() -> Rules {
    Rules {
        max_message: 4 << 20,
        outbox: 1 << 20,
        pace: false,
        ping_interval: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(5),
        session_timeout: Duration::from_secs(120),
        session_buffer: 512 << 10,
    }
}

impl World {
    fn new(rules: Rules) -> Self {
        let (shard, devices) = (Shard::new(rules), Vec::new());
        Self { shard, now: Moment(1000), devices, ids: 0, work: usize::MAX, ready: 0, wait: None }
    }

    fn join(&mut self, room: u64, role: Role, socket: usize) -> usize {
        self.join_with(room, role, socket, |shard, newcomer, link, now| shard.join(newcomer, link, now))
    }

    /// Joins a member whose connection isn't there yet; its socket then accepts everything.
    fn join_away(&mut self, room: u64, role: Role, patience: Duration) -> usize {
        self.join_with(room, role, usize::MAX / 2, |shard, newcomer, link, now| {
            shard.join_away(newcomer, link, now.after(patience), now)
        })
    }

    fn join_with(
        &mut self,
        room: u64,
        role: Role,
        socket: usize,
        join: impl FnOnce(&mut Shard<InMemoryLink>, &Newcomer, InMemoryLink, Moment) -> usize,
    ) -> usize {
        self.ids += 1;
        let transit = self.ids.is_multiple_of(2).then(TcpTransit::default);
        let pipe = Pipe { transit, wait: self.wait.clone(), ..Pipe::with_room(socket) }.shared();
        let id = MemberId(self.ids);
        let newcomer = Newcomer { id, serial: Serial(room), role, receives_only: false, counts: true };
        let from = self.received();
        let slot = join(&mut self.shard, &newcomer, InMemoryLink(Rc::clone(&pipe)), self.now);
        self.devices.push(Device {
            slot,
            id,
            room,
            role,
            pipe,
            ends: Vec::new(),
            stream: 0,
            from,
            until: None,
            inbox: Vec::new(),
            received: HashMap::new(),
            order: Vec::new(),
            pongs: 0,
            close_code: None,
        });
        self.devices.len() - 1
    }

    /// Returns the number of complete messages that the shard has received from each device while it was a member.
    fn received(&self) -> HashMap<usize, usize> {
        let count = |device: &Device| {
            let pipe = device.pipe.borrow();
            let received = pipe.received_when_left.unwrap_or(pipe.received);
            device.ends.iter().take_while(|end| **end <= received).count()
        };
        self.devices.iter().map(count).enumerate().collect()
    }

    fn send(&mut self, index: usize, size: usize, fragments: usize) {
        let device = &mut self.devices[index];
        let mut payload = vec![0; size.max(16)];
        payload[..8].copy_from_slice(&(index as u64).to_be_bytes());
        payload[8..16].copy_from_slice(&(device.ends.len() as u64).to_be_bytes());
        let len = payload.len();
        let piece = len.div_ceil(fragments);
        for (at, part) in payload.chunks(piece).enumerate() {
            let opcode = if at == 0 { 2 } else { 0 };
            let last = if (at + 1) * piece >= len { 0x80 } else { 0 };
            self.raw(index, opcode | last, part);
        }
        let device = &mut self.devices[index];
        device.ends.push(device.stream);
    }

    fn raw(&mut self, index: usize, first: u8, payload: &[u8]) {
        let frame = client_frame(first, [0; 4], payload);
        self.devices[index].stream += frame.len();
        self.devices[index].pipe.borrow_mut().inbound.extend(frame);
    }

    /// Runs one iteration of the loop with every link ready.
    fn round(&mut self) {
        self.shard.begin_iteration(self.ready);
        for index in 0..self.devices.len() {
            let device = &self.devices[index];
            if device.pipe.borrow().is_dropped {
                continue;
            }
            let (slot, ending) = (device.slot, device.pipe.borrow().has_ended);
            if device.pipe.borrow().room > 0 {
                self.shard.writable(slot, self.now);
            }
            self.shard.readable(slot, ending, self.now);
        }
        self.shard.resume(self.now);
        self.shard.flush_some(self.work, self.now);
        self.shard.assert_counted();
        self.note_ends();
    }

    /// Runs several iterations.
    fn rounds(&mut self, count: usize) {
        (0..count).for_each(|_| self.round());
    }

    /// Restores the shard from its serialized state with the same connections, as after a restart.
    fn restore(&mut self) {
        self.shard.flush(self.now);
        self.note_ends();
        let states: Vec<MemberState> = self.shard.export(self.now).map(|(_, state)| state).collect();
        let bytes = rmp_serde::to_vec_named(&states).unwrap();
        let read: Vec<MemberState> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, states);
        let waiting: Vec<WaitingState> = self.shard.export_waiting(self.now).map(|(_, state)| state).collect();
        let bytes = rmp_serde::to_vec_named(&waiting).unwrap();
        assert_eq!(rmp_serde::from_slice::<Vec<WaitingState>>(&bytes).unwrap(), waiting);
        let rules = self.shard.rules.clone();
        self.shard = Shard::new(rules);
        for state in read {
            let device = self.devices.iter_mut().find(|device| device.id == state.id).unwrap();
            device.pipe.borrow_mut().is_dropped = false;
            let link = InMemoryLink(Rc::clone(&device.pipe));
            device.slot = self.shard.restore(state, link, InMemoryLink::unconnected, self.now).unwrap();
        }
        for state in waiting {
            let (wait, hold) = self.wait.clone().unwrap();
            self.shard.restore_waiting(state, wait, || Some(Rc::clone(&hold)), self.now);
        }
    }

    fn note_ends(&mut self) {
        let received = self.received();
        for device in &mut self.devices {
            if device.until.is_none() && device.pipe.borrow().left.is_some() {
                device.until = Some(received.clone());
            }
        }
    }

    /// Reads everything that has arrived at a device, and makes room for more.
    fn take(&mut self, index: usize, room: usize) {
        let device = &mut self.devices[index];
        let mut pipe = device.pipe.borrow_mut();
        device.inbox.append(&mut pipe.outbound);
        pipe.room = room;
        if let Some(transit) = &mut pipe.transit {
            transit.acknowledged = transit.written;
        }
        drop(pipe);
        while let Some(len) = crate::frame::whole_frame_len(&device.inbox).filter(|len| *len <= device.inbox.len()) {
            let frame: Vec<u8> = device.inbox.drain(..len).collect();
            assert_eq!(device.close_code, None, "a frame after the close frame");
            let payload = payload_of(&frame).unwrap();
            match frame[0] {
                0x82 => {
                    let number = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap()) as usize;
                    device.received.entry(number(0)).or_default().push(number(8));
                    device.order.push((number(0), number(8)));
                }
                0x88 => device.close_code = Some(u16::from_be_bytes([payload[0], payload[1]])),
                0x8a => device.pongs += 1,
                0x89 => {}
                other => panic!("first byte {other:x}"),
            }
        }
    }

    /// Runs iterations with all devices reading, until nothing is left to be read or sent.
    fn settle(&mut self) {
        for turn in 0..ROUNDS {
            for index in 0..self.devices.len() {
                self.take(index, usize::MAX / 2);
            }
            self.round();
            let is_read = |device: &Device| {
                let pipe = device.pipe.borrow();
                pipe.left.is_some() || pipe.inbound.is_empty()
            };
            if turn >= 200 && self.devices.iter().all(is_read) && !self.shard.has_work() {
                break;
            }
        }
        for index in 0..self.devices.len() {
            self.take(index, usize::MAX / 2);
        }
    }

    /// Asserts that every device has received all messages meant for it, in order, from its join to its departure.
    fn check(&self) {
        let received = self.received();
        for (index, device) in self.devices.iter().enumerate() {
            let until = device.until.as_ref().unwrap_or(&received);
            for (other, sender) in self.devices.iter().enumerate() {
                let received = device.received.get(&other).map_or(&[][..], Vec::as_slice);
                let receives = device.room == sender.room && receives(device.role, sender.role) && index != other;
                let from = device.from.get(&other).copied().unwrap_or(0);
                let to = if receives { until.get(&other).copied().unwrap_or(0) } else { from };
                let expected: Vec<usize> = (from..to.max(from)).collect();
                if device.until.is_none() {
                    assert_eq!(received, expected, "{index} of {other}");
                } else {
                    assert!(
                        expected.starts_with(received),
                        "{index} of {other}: {received:?} is not a prefix of {expected:?}"
                    );
                }
            }
        }
    }
}

/// Limit of iterations: enough to read everything in the smallest pieces.
const ROUNDS: usize = 10_000;

/// Reports whether a role receives the messages of another; a second implementation of the rule.
fn receives(receiver: Role, sender: Role) -> bool {
    matches!((receiver, sender), (Role::Peer, Role::Peer) | (Role::Host, Role::Client) | (Role::Client, Role::Host))
}

#[test]
fn an_iteration_writes_once_to_each_receiver() {
    let mut world = World::new(rules());
    let members: Vec<usize> = (0..20).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    for index in &members {
        for _ in 0..16 {
            world.send(*index, 128, 1);
        }
    }
    world.round();
    assert!(members.iter().all(|index| world.devices[*index].pipe.borrow().sends == 1));
    assert_eq!(world.shard.tally().deliveries, 20 * 19 * 16);
    world.settle();
    world.check();
}

#[test]
fn busy_senders_are_read_once_an_iteration_and_delay_no_other_pair() {
    let mut world = World::new(rules());
    world.ready = 5;
    let busy: Vec<usize> = (0..3).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    let (host, client) = (world.join(2, Role::Host, 1 << 20), world.join(2, Role::Client, 1 << 20));
    for index in &busy {
        for _ in 0..50 {
            world.send(*index, 100_000, 1);
        }
    }
    let received = |world: &World| busy.iter().map(|index| world.devices[*index].pipe.borrow().received).sum::<usize>();
    for turn in 1..=4 {
        world.send(host, 100, 1);
        world.round();
        // One read for the readiness and one since there was more, each of the rest of a message and the scratch buffer.
        assert!(received(&world) <= turn * 2 * 2 * READ);
        world.take(client, 1 << 20);
        assert_eq!(world.devices[client].received[&host].len(), turn);
    }
    world.settle();
    world.check();
}

#[test]
fn a_broadcast_to_many_takes_several_iterations_and_delays_no_other_pair() {
    let mut world = World::new(rules());
    let crowd: Vec<usize> = (0..100).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    let (host, client) = (world.join(2, Role::Host, 1 << 20), world.join(2, Role::Client, 1 << 20));
    world.work = 10;
    world.send(crowd[0], 100, 1);
    for turn in 1..=10 {
        world.send(host, 100, 1);
        world.send(crowd[0], 100, 1);
        world.round();
        world.take(client, 1 << 20);
        assert_eq!(world.devices[client].received[&host].len(), turn);
        let served = crowd.iter().filter(|index| !world.devices[**index].pipe.borrow().outbound.is_empty()).count();
        // The first member of the broadcast is the sender itself.
        assert_eq!(served, turn * 10 - 1);
    }
    assert_eq!(world.devices[crowd[99]].pipe.borrow().sends, 1);
    world.settle();
    world.check();
    assert_eq!(world.devices[crowd[99]].pipe.borrow().sends, 2, "messages received meanwhile are sent together");
}

#[test]
fn one_call_sends_a_bounded_part_of_a_long_outbox() {
    let mut world = World::new(rules());
    let (talker, late) = (world.join(1, Role::Peer, usize::MAX / 2), world.join(1, Role::Peer, 0));
    world.join(1, Role::Peer, usize::MAX / 2);
    for _ in 0..3000 {
        world.send(talker, 16, 1);
        world.round();
    }
    world.take(late, usize::MAX / 2);
    world.shard.writable(world.devices[late].slot, world.now);
    assert!(world.devices[late].pipe.borrow().sends <= 17, "16 writes, and the one that failed");
    assert!(world.shard.tally().outbox_bytes > 0);
    world.settle();
    world.check();
}

#[test]
fn a_stream_to_one_slow_receiver_is_throttled_and_buffers_little() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 0), world.join(1, Role::Client, 1000));
    for _ in 0..400 {
        world.send(host, 64 << 10, 1);
    }
    for _ in 0..2000 {
        world.round();
        assert!(world.shard.tally().outbox_bytes <= (member::HIGH_WATER + READ + (64 << 10)) as u64);
        world.take(client, 20_000);
    }
    assert!(world.devices[host].pipe.borrow().inbound.is_empty(), "something is still unread");
    world.settle();
    world.check();
    assert_eq!(world.shard.tally().closes, [0; CloseReason::COUNT]);
}

#[test]
fn a_stuck_member_is_closed_and_the_others_lose_nothing() {
    let mut world = World::new(rules());
    let talker = world.join(1, Role::Peer, usize::MAX / 2);
    let stuck = world.join(1, Role::Peer, 100_000);
    for _ in 0..48 {
        world.join(1, Role::Peer, usize::MAX / 2);
    }
    for _ in 0..100 {
        world.send(talker, 50_000, 1);
        world.round();
        assert!(world.shard.tally().outbox_bytes <= 3 << 20);
    }
    assert_eq!(world.devices[stuck].pipe.borrow().left, Some(CloseReason::TooSlow));
    assert_eq!(world.shard.tally().closes[CloseReason::TooSlow as usize], 1);
    world.settle();
    world.check();
    // Messages that it had not begun to receive are dropped; the frame in transit is completed before the close frame.
    assert_eq!(world.devices[stuck].close_code, Some(4003));
    assert!(world.devices[stuck].received[&talker].len() <= 3);
}

#[test]
fn with_pace_the_slowest_receiver_throttles_the_sender_and_stays() {
    let mut world = World::new(Rules { pace: true, ..rules() });
    let talker = world.join(1, Role::Peer, 1 << 20);
    let slow = world.join(1, Role::Peer, 1000);
    world.join(1, Role::Peer, usize::MAX / 2);
    for _ in 0..200 {
        world.send(talker, 50_000, 1);
    }
    for _ in 0..2000 {
        world.round();
        world.take(slow, 20_000);
    }
    assert!(world.shard.tally().outbox_bytes <= 2 << 20);
    world.settle();
    world.check();
    assert_eq!(world.devices[slow].received[&talker].len(), 200);
}

#[test]
fn a_ping_flood_from_a_peer_that_reads_nothing_costs_one_pong() {
    let mut world = World::new(rules());
    let flooder = world.join(1, Role::Peer, 2);
    for _ in 0..1000 {
        world.raw(flooder, 0x89, b"flood");
        world.round();
    }
    assert!(world.shard.tally().outbox_bytes < 100);
    world.settle();
    assert!(world.devices[flooder].pongs >= 2);
    // Many pings in one read; the socket accepts one and a half pongs.
    world.take(flooder, 10);
    for _ in 0..1000 {
        world.raw(flooder, 0x89, b"flood");
    }
    world.round();
    assert!(world.shard.tally().outbox_bytes < 100);
    world.settle();
    assert_eq!(world.shard.tally().outbox_bytes, 0);
}

#[test]
fn messages_without_a_receiver_are_counted_and_dropped() {
    let mut world = World::new(rules());
    let alone = world.join(1, Role::Host, 1 << 20);
    for _ in 0..100 {
        world.send(alone, 100_000, 2);
    }
    world.settle();
    assert_eq!(world.shard.tally().undelivered, 100);
    assert_eq!(world.devices[alone].pipe.borrow().inbound.len(), 0);
}

#[test]
fn a_restored_shard_exports_the_same_state() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 5000));
    world.send(host, 200_000, 3);
    world.send(host, 100, 1);
    world.raw(host, 0x01, "half a t\u{fc}".as_bytes().split_last().unwrap().1);
    world.round();
    world.now = world.now.after(Duration::from_secs(7));
    let before: Vec<MemberState> = world.shard.export(world.now).map(|(_, state)| state).collect();
    world.restore();
    let after: Vec<MemberState> = world.shard.export(world.now).map(|(_, state)| state).collect();
    assert_eq!(before, after);
    assert!(world.shard.tally().outbox_bytes > 100_000);
    world.raw(host, 0x80, "\u{fc}".as_bytes().split_first().unwrap().1);
    world.devices[client].pipe.borrow_mut().room = 1 << 20;
    world.shard.writable(world.devices[client].slot, world.now);
    assert_eq!(world.shard.tally().outbox_bytes, 0);
}

#[derive(Debug, Clone)]
enum Act {
    Join(u64, u8, usize),
    Send(usize, usize, usize),
    Ping(usize),
    Take(usize, usize),
    Leave(usize),
    Vanish(usize),
    Break(usize),
    Wait(u64),
    Remove(u64),
    Disconnect(usize),
    Restore,
    Round,
}

fn act() -> impl Strategy<Value = Act> {
    let socket = prop_oneof![Just(0usize), 1usize..300, Just(70_000), Just(1 << 30)];
    prop_oneof![
        4 => (1u64..4, 0u8..2, socket.clone()).prop_map(|(room, role, socket)| Act::Join(room, role, socket)),
        12 => (any::<usize>(), prop_oneof![16usize..200, 4000usize..5000, 20_000usize..400_000], 1usize..4)
            .prop_map(|(index, size, fragments)| Act::Send(index, size, fragments)),
        1 => any::<usize>().prop_map(Act::Ping),
        6 => (any::<usize>(), socket).prop_map(|(index, room)| Act::Take(index, room)),
        1 => any::<usize>().prop_map(Act::Leave),
        1 => any::<usize>().prop_map(Act::Vanish),
        1 => any::<usize>().prop_map(Act::Break),
        1 => (1u64..40).prop_map(Act::Wait),
        1 => (1u64..4).prop_map(Act::Remove),
        1 => any::<usize>().prop_map(Act::Disconnect),
        1 => Just(Act::Restore),
        8 => Just(Act::Round),
    ]
}

fn perform(world: &mut World, act: Act) {
    let pick = |world: &World, index: usize| {
        let open = |device: &Device| !device.pipe.borrow().has_ended && device.pipe.borrow().left.is_none();
        let all: Vec<usize> = (0..world.devices.len()).filter(|index| open(&world.devices[*index])).collect();
        all.get(index % all.len().max(1)).copied()
    };
    match act {
        Act::Join(room, role, socket) => {
            // The third room is a lobby; the others are hostclient registrations.
            let role = if room == 3 { Role::Peer } else { [Role::Host, Role::Client][usize::from(role)] };
            world.join(room, role, socket);
        }
        Act::Send(index, size, fragments) => {
            if let Some(index) = pick(world, index) {
                world.send(index, size, fragments);
            }
        }
        Act::Ping(index) => {
            if let Some(index) = pick(world, index) {
                world.raw(index, 0x89, b"?");
            }
        }
        Act::Take(index, room) => {
            if let Some(index) = pick(world, index) {
                world.take(index, room);
            }
        }
        Act::Leave(index) => {
            if let Some(index) = pick(world, index) {
                world.raw(index, 0x88, &1000u16.to_be_bytes());
                world.devices[index].pipe.borrow_mut().has_ended = true;
            }
        }
        Act::Vanish(index) => {
            if let Some(index) = pick(world, index) {
                world.devices[index].pipe.borrow_mut().has_ended = true;
            }
        }
        Act::Break(index) => {
            if let Some(index) = pick(world, index) {
                world.devices[index].pipe.borrow_mut().is_broken = true;
            }
        }
        Act::Wait(seconds) => {
            world.now = world.now.after(Duration::from_secs(seconds));
            world.shard.sweep(world.now);
            world.note_ends();
        }
        Act::Remove(room) => {
            world.shard.end(Serial(room), CloseReason::Removed, world.now);
            world.note_ends();
        }
        Act::Disconnect(index) => {
            if let Some(index) = pick(world, index) {
                // It may be marked already, since only some are closed in an iteration.
                world.shard.disconnect(world.devices[index].id, CloseReason::ClosedByAdmin, world.now);
                world.note_ends();
            }
        }
        Act::Restore => world.restore(),
        Act::Round => world.round(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_every_member_receives_its_messages(
        acts in prop::collection::vec(act(), 1..120),
        pace: bool,
        work in prop_oneof![Just(usize::MAX), 1usize..4],
        ready in 0usize..20,
    ) {
        let mut world = World::new(Rules { pace, ..rules() });
        (world.work, world.ready) = (work, ready);
        for act in acts {
            perform(&mut world, act);
        }
        world.settle();
        world.check();
        for device in &world.devices {
            let pipe = device.pipe.borrow();
            // Everything that an open member sent was read, and everything sent to it was received.
            prop_assert!(pipe.left.is_some() || pipe.inbound.is_empty());
            prop_assert!(pipe.is_dropped || device.inbox.is_empty());
        }
        prop_assert_eq!(world.shard.tally().outbox_bytes, 0);
        let open = world.devices.iter().filter(|device| device.pipe.borrow().left.is_none()).count();
        prop_assert_eq!(world.shard.tally().members, open as u64);
    }
}
