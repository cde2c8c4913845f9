use super::*;

impl Shard<InMemoryLink> {
    /// Asserts that the memory counted is the memory held, and never less.
    pub(super) fn assert_counted(&self) {
        let (mut sum, mut shares) = (0, 0);
        for (_, member) in &self.members {
            sum += member.held() as u64;
            shares += member.share();
        }
        let waiting = self.waiting.memory();
        (sum, shares) = (sum + waiting, shares + waiting);
        assert_eq!(self.memory.sum, sum);
        let pending = self.rooms.iter().flat_map(|(_, room)| &room.sides).filter_map(|side| side.pending.as_deref());
        let current = self.fan_out.in_progress().map(|current| &*current.broadcast);
        let broadcasts: u64 = pending.chain(current).map(|broadcast| broadcast.memory() as u64).sum();
        assert_eq!(self.memory.broadcasts, broadcasts);
        assert!(self.held() >= shares + broadcasts, "{} is less than {shares} and {broadcasts}", self.held());
        let queued: usize = self.members.iter().map(|(_, member)| member.queued()).sum();
        assert_eq!(self.tally.outbox_bytes, queued as u64);
    }
}

fn hogs() -> World {
    let mut world = World::new(Rules { outbox: 8 << 20, ..rules() });
    for room in 0..4 {
        world.join(room, Role::Host, 1 << 30);
        world.join(room, Role::Client, 0);
    }
    world
}

#[test]
fn outboxes_and_unfinished_messages_count_until_they_are_gone() {
    let mut world = hogs();
    world.send(0, 1 << 20, 1);
    world.rounds(40);
    assert!((1 << 20..2 << 20).contains(&world.shard.held()), "{}", world.shard.held());
    world.raw(2, 0x02, &vec![0; 100 << 10]);
    world.rounds(10);
    let both = world.shard.held();
    assert!(both >= (1 << 20) + (100 << 10), "{both}");
    world.take(1, 1 << 30);
    world.round();
    world.raw(2, 0x80, b"end");
    world.take(3, 1 << 30);
    world.rounds(40);
    assert_eq!(world.shard.held(), 0);
}

#[test]
fn a_measurement_counts_shared_messages_once() {
    let mut world = World::new(rules());
    let sender = world.join(1, Role::Host, 0);
    for _ in 0..50 {
        world.join(1, Role::Client, 0);
    }
    // A receiver that reads everything keeps the sender from being throttled.
    world.join(1, Role::Client, 1 << 30);
    world.send(sender, 500 << 10, 1);
    world.round();
    world.round();
    assert!(world.shard.held() >= 50 * (500 << 10));
    world.shard.measure();
    assert!((500 << 10..1 << 20).contains(&world.shard.held()), "{}", world.shard.held());
    world.send(sender, 100 << 10, 1);
    world.round();
    world.shard.assert_counted();
}

#[test]
fn shedding_load_closes_only_the_members_that_hold_most() {
    let mut world = hogs();
    for (sender, size) in [(0, 1 << 20), (2, 3 << 20), (4, 2 << 20), (6, 1 << 10)] {
        world.send(sender, size, 1);
    }
    world.rounds(300);
    let before = world.shard.held();
    assert_eq!(world.shard.shed_load(4 << 20, world.now).members, 2);
    let closed: Vec<_> = world.devices.iter().map(|device| device.pipe.borrow().left).collect();
    let slow = Some(CloseReason::TooSlow);
    assert_eq!(closed, [None, None, None, slow, None, slow, None, None]);
    assert!(world.shard.held() <= before - (4 << 20));
    world.shard.assert_counted();
    assert_eq!(world.shard.shed_load(u64::MAX, world.now).members, 1);
    assert_eq!(world.devices[7].pipe.borrow().left, None, "a member that holds next to nothing was closed");
}

#[test]
fn members_of_the_network_that_holds_most_in_sum_are_closed_first() {
    let mut world = World::new(Rules { outbox: 8 << 20, ..rules() });
    let mut pair = |room: u64, network: u64, size: usize| {
        let host = world.join(room, Role::Host, 1 << 30);
        let client = world.join(room, Role::Client, 0);
        world.devices[client].pipe.borrow_mut().network = Some(network);
        world.send(host, size, 1);
        client
    };
    let innocent = pair(0, 1, 200 << 10);
    let crowd: Vec<_> = (1..=20).map(|room| pair(room, 2, 50 << 10)).collect();
    world.rounds(300);
    assert_eq!(world.shard.shed_load(500 << 10, world.now).members, 10);
    world.rounds(1);
    let closed = |index: usize| world.devices[index].pipe.borrow().left == Some(CloseReason::TooSlow);
    assert_eq!(crowd.iter().filter(|index| closed(**index)).count(), 10);
    assert!(!closed(innocent));
    world.shard.assert_counted();
}

#[test]
fn an_unfinished_message_counts_and_its_sender_is_closed() {
    let mut world = hogs();
    for _ in 0..20 {
        world.raw(0, if world.devices[0].stream == 0 { 0x02 } else { 0x00 }, &vec![0; 100 << 10]);
        world.round();
    }
    assert!(world.shard.held() >= 2_000 << 10);
    assert_eq!(world.shard.shed_load(1, world.now).members, 1);
    assert_eq!(world.devices[0].pipe.borrow().left, Some(CloseReason::TooSlow));
    assert_eq!(world.shard.held(), 0);
}

#[test]
fn reserved_buffer_space_counts() {
    let mut world = hogs();
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((4u64 << 20).to_be_bytes());
    frame.extend([0; 4]);
    // Nearly as much as fits the buffer, so that the read after it grows the buffer without reading anything.
    frame.resize(frame.len() + (500 << 10), 0);
    world.devices[0].pipe.borrow_mut().inbound.extend(frame);
    for _ in 0..4 {
        world.round();
    }
}

/// Returns rooms with one sender and ten receivers each, and their senders; an iteration does little work.
fn broadcasting_rooms(rooms: u64) -> (World, Vec<usize>) {
    let mut world = World::new(rules());
    world.work = 3;
    let senders = (0..rooms).map(|room| {
        for _ in 0..10 {
            world.join(room, Role::Client, usize::MAX / 2);
        }
        world.join(room, Role::Host, 0)
    });
    let senders = senders.collect();
    (world, senders)
}

#[test]
fn a_pending_broadcast_counts_until_it_is_sent() {
    let (mut world, senders) = broadcasting_rooms(5);
    for sender in &senders {
        world.send(*sender, 100 << 10, 1);
    }
    world.round();
    let all = world.shard.held();
    assert!((500 << 10..2 << 20).contains(&all), "{all}");
    world.rounds(12);
    // What waits for several members is counted once.
    world.shard.measure();
    let rest = world.shard.held();
    assert!(world.shard.has_work() && (100 << 10..all - (100 << 10)).contains(&rest), "{rest} of {all}");
    world.settle();
    assert_eq!(world.shard.held(), 0);
    world.check();
}

#[test]
fn pending_broadcasts_are_sent_before_a_member_is_closed_for_them() {
    let (mut world, senders) = broadcasting_rooms(3);
    let stuck = world.join(0, Role::Client, 0);
    for sender in &senders {
        world.send(*sender, 300 << 10, 1);
    }
    world.round();
    assert!(world.shard.held() >= 900 << 10, "{}", world.shard.held());
    assert_eq!(world.shard.shed_load(300 << 10, world.now).members, 0);
    while world.shard.has_work() {
        world.round();
    }
    // Messages that a member didn't receive count for that member.
    assert!((300 << 10..600 << 10).contains(&world.shard.held()), "{}", world.shard.held());
    assert_eq!(world.shard.shed_load(1, world.now).members, 1);
    assert_eq!(world.devices[stuck].pipe.borrow().left, Some(CloseReason::TooSlow));
    assert!(world.shard.held() < 1 << 10, "more than its close frame: {}", world.shard.held());
}

#[test]
fn a_pending_broadcast_ends_with_its_room() {
    let (mut world, senders) = broadcasting_rooms(2);
    for sender in &senders {
        world.send(*sender, 100 << 10, 1);
    }
    world.round();
    assert!(world.shard.held() > 0);
    for device in &world.devices {
        device.pipe.borrow_mut().has_ended = true;
    }
    for _ in 0..10 {
        world.round();
    }
    assert_eq!(world.shard.held(), 0);
}

#[test]
fn large_announced_lengths_reserve_next_to_nothing() {
    let mut world = World::new(Rules { max_message: 64 << 20, ..rules() });
    for room in 0..239 {
        let index = world.join(room, Role::Host, 1 << 20);
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend((10u64 << 20).to_be_bytes());
        frame.extend([0; 4]);
        world.devices[index].pipe.borrow_mut().inbound.extend(frame);
    }
    world.round();
    assert!(world.shard.held() < 239 * (17 << 10), "{}", world.shard.held());
    // Members that send more may use what they send, and twice as much.
    for index in 0..239 {
        world.devices[index].pipe.borrow_mut().inbound.extend(vec![0; 50 << 10]);
    }
    world.rounds(500);
    assert!((239 * (50 << 10)..239 * (150 << 10)).contains(&world.shard.held()), "{}", world.shard.held());
}

#[test]
fn the_registration_that_holds_most_in_sum_loses_its_members_first() {
    let mut world = World::new(Rules { max_message: 64 << 20, ..rules() });
    let many: Vec<usize> = (0..30).map(|_| world.join(1, Role::Host, 1 << 20)).collect();
    let one = world.join(2, Role::Host, 1 << 20);
    for (index, size) in many.iter().map(|index| (*index, 50 << 10)).chain([(one, 500 << 10)]) {
        world.raw(index, 0x02, &vec![0; size]);
    }
    for _ in 0..10 {
        world.round();
    }
    let closed = world.shard.shed_load(1 << 20, world.now).members;
    assert!((10..=21).contains(&closed), "{closed}");
    assert_eq!(world.devices[one].pipe.borrow().left, None);
    world.shard.assert_counted();
}
