//! Once warm, the shard relays messages without a single allocation. They are counted by an allocator, with links in
//! memory that allocate nothing themselves.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ws_router_core::frame::client_frame;
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{InMemoryLink, Moment, Newcomer, Pipe, Rules, Shard};

/// A device: its end of the connection, and the message that it sends again and again, as frames.
#[derive(Debug)]
struct Device {
    slot: usize,
    pipe: Rc<RefCell<Pipe>>,
    message: Vec<u8>,
}

struct World {
    shard: Shard<InMemoryLink>,
    devices: Vec<Device>,
}

const NOW: Moment = Moment(1000);
const TURNS: u64 = 24;

impl World {
    fn new() -> Self {
        let rules = Rules {
            max_message: 4 << 20,
            outbox: 4 << 20,
            pace: false,
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            session_timeout: Duration::from_secs(120),
            session_buffer: 512 << 10,
        };
        Self { shard: Shard::new(rules), devices: Vec::new() }
    }

    /// Adds a member that sends `message`, of which the shard receives at most `read_limit` bytes in a call.
    fn join(&mut self, role: Role, message: Vec<u8>, read_limit: usize) -> usize {
        let pipe = Pipe { read_limit, discards_outbound: true, ..Pipe::with_room(usize::MAX / 2) }.shared();
        let id = MemberId(self.devices.len() as u64 + 1);
        let newcomer = Newcomer { id, serial: Serial(1), role, receives_only: false, counts: true };
        let slot = self.shard.join(&newcomer, InMemoryLink(Rc::clone(&pipe)), NOW);
        self.devices.push(Device { slot, pipe, message });
        self.devices.len() - 1
    }

    fn say(&self, who: usize, messages: usize) {
        let Device { pipe, message, .. } = &self.devices[who];
        (0..messages).for_each(|_| pipe.borrow_mut().inbound.extend(message));
    }

    /// Runs the loop until nothing more moves.
    fn run(&mut self) {
        self.shard.begin_iteration(1);
        for Device { slot, .. } in &self.devices {
            self.shard.readable(*slot, false, NOW);
        }
        self.shard.flush_some(usize::MAX, NOW);
        while self.shard.has_work() {
            self.shard.begin_iteration(1);
            self.shard.resume(NOW);
            self.shard.flush_some(usize::MAX, NOW);
        }
    }

    /// Has a device that lags take so much more.
    fn take(&mut self, who: usize, bytes: usize) {
        let Device { slot, pipe, .. } = &self.devices[who];
        pipe.borrow_mut().room = bytes;
        self.shard.writable(*slot, NOW);
    }

    /// Does the same until all is warm, and then counts allocations while it is done again and again.
    fn allocations(&mut self, mut turn: impl FnMut(&mut Self)) -> u64 {
        for _ in 0..TURNS {
            turn(self);
        }
        let before = self.shard.tally().deliveries;
        let counted = allocation_counter::measure(|| {
            for _ in 0..TURNS {
                turn(self);
            }
        });
        let messages = self.shard.tally().deliveries - before;
        assert!(messages >= TURNS, "{messages} messages were delivered");
        assert!(self.devices.iter().all(|device| device.pipe.borrow().left.is_none()));
        counted.count_total
    }
}

/// A message in frames as a client sends them.
fn message(opcode: u8, size: usize, fragments: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    let part = size.div_ceil(fragments);
    for fragment in 0..fragments {
        let is_final = if fragment + 1 == fragments { 0x80 } else { 0 };
        let len = part.min(size - part * fragment);
        let first = is_final | if fragment == 0 { opcode } else { 0 };
        frames.extend(client_frame(first, [1, 2, 3, 4], &vec![b'x'; len]));
    }
    frames
}

/// Sizes of messages, from those that lie in the read buffer by the thousand to those of several reads.
const SIZES: [usize; 5] = [64, 5 << 10, 20 << 10, 64 << 10, 1 << 20];
/// How much of a stream is there at a time: all, and pieces that end in the middle of headers and payloads.
const CUTS: [usize; 3] = [usize::MAX, 70_001, 1_009];

fn streams() -> impl Iterator<Item = (usize, usize)> {
    // A megabyte in a thousand pieces takes long and shows nothing else.
    SIZES.into_iter().flat_map(|size| CUTS.map(|cut| (size, cut))).filter(|(size, cut)| size / cut < 1000)
}

/// Runs all cases, and shows those that allocated.
fn assert_none<T: Copy + std::fmt::Debug>(cases: impl IntoIterator<Item = T>, run: impl Fn(T) -> u64) {
    let counted = cases.into_iter().map(|case| (case, run(case)));
    let allocating: Vec<_> = counted.filter(|(_, allocations)| *allocations > 0).collect();
    assert!(allocating.is_empty(), "allocations: {allocating:?}");
}

#[test]
fn a_stream_between_two_allocates_nothing() {
    assert_none(streams().flat_map(|stream| [(2, 1), (1, 1), (2, 3)].map(|kind| (stream, kind))), |case| {
        let ((size, cut), (opcode, fragments)) = case;
        let mut world = World::new();
        let host = world.join(Role::Host, message(opcode, size, fragments), cut);
        world.join(Role::Client, Vec::new(), 0);
        world.allocations(|world| {
            world.say(host, 6);
            world.run();
        })
    });
}

#[test]
fn a_stream_to_one_that_lags_allocates_nothing() {
    assert_none(streams().filter(|(size, _)| *size > 1024), |(size, cut)| {
        let mut world = World::new();
        let host = world.join(Role::Host, message(2, size, 1), cut);
        let client = world.join(Role::Client, Vec::new(), 0);
        world.allocations(|world| {
            world.take(client, size / 3);
            world.say(host, 4);
            world.run();
            for _ in 0..4 {
                world.take(client, size + size / 3);
                world.run();
            }
        })
    });
}

#[test]
fn a_receiver_that_lags_by_less_than_a_kilobyte_costs_one_allocation_per_iteration() {
    let mut world = World::new();
    let host = world.join(Role::Host, message(2, 64, 1), usize::MAX);
    let client = world.join(Role::Client, Vec::new(), 0);
    let allocations = world.allocations(|world| {
        world.take(client, 30);
        world.say(host, 4);
        world.run();
        world.take(client, 1_000);
    });
    assert_eq!(allocations, TURNS);
}

#[test]
fn a_lobby_of_20_talkers_allocates_nothing() {
    // Twenty megabytes in progress at a time would be more than is kept for the next message.
    assert_none(streams().filter(|(size, _)| *size < 1 << 20), |(size, cut)| {
        let mut world = World::new();
        let members: Vec<_> = (0..20).map(|_| world.join(Role::Peer, message(2, size, 1), cut)).collect();
        world.allocations(|world| {
            for who in &members {
                world.say(*who, 4);
            }
            world.run();
        })
    });
}

#[test]
fn a_fan_out_to_100_of_whom_some_lag_allocates_nothing() {
    let cases = [(128, 0), (4 << 10, 10), (4 << 10, 60), (64 << 10, 10), (64 << 10, 100), (1 << 20, 10)];
    assert_none(cases, |(size, laggards)| {
        let mut world = World::new();
        let talker = world.join(Role::Peer, message(2, size, 1), usize::MAX);
        for _ in 0..100 {
            world.join(Role::Peer, Vec::new(), 0);
        }
        world.allocations(|world| {
            for who in 1..=laggards {
                world.take(who, size * who / 50);
            }
            for _ in 0..3 {
                world.say(talker, 1);
                world.run();
            }
            for who in 1..=laggards {
                world.take(who, usize::MAX / 2);
            }
            // One call sends only a part of a long outbox.
            world.run();
        })
    });
}

#[test]
fn pings_between_messages_allocate_nothing() {
    assert_none([()], |()| {
        let mut world = World::new();
        let mut frames = message(2, 64, 1);
        frames.extend([0x89, 0x82, 0, 0, 0, 0, b'h', b'i']);
        let host = world.join(Role::Host, frames, 1_009);
        world.join(Role::Client, Vec::new(), 0);
        world.allocations(|world| {
            world.say(host, 100);
            world.run();
        })
    });
}
