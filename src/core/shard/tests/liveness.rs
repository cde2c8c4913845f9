//! Members that are closed as dead, stalled or too slow, and members that are not.

use super::*;

#[test]
fn a_silent_member_is_pinged_and_closed_without_a_pong() {
    let mut world = World::new(rules());
    let quiet = world.join(1, Role::Peer, 1 << 20);
    world.now = world.now.after(Duration::from_secs(30));
    world.shard.sweep(world.now);
    world.take(quiet, 1 << 20);
    world.raw(quiet, 0x8a, b"");
    world.round();
    world.now = world.now.after(Duration::from_secs(29));
    world.shard.sweep(world.now);
    assert_eq!(world.devices[quiet].pipe.borrow().sends, 1, "one ping so far");
    world.now = world.now.after(Duration::from_secs(1));
    world.shard.sweep(world.now);
    world.now = world.now.after(Duration::from_secs(20));
    world.shard.sweep(world.now);
    world.take(quiet, 1 << 20);
    assert_eq!(world.devices[quiet].close_code, Some(4004));
    assert_eq!(world.shard.tally().closes[CloseReason::NoPong as usize], 1);
}

#[test]
fn a_member_throttled_by_a_slow_receiver_is_not_closed_for_its_unread_pongs() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1000));
    for _ in 0..40 {
        world.send(host, 64 << 10, 1);
    }
    world.round();
    // Its pongs are behind its messages, which aren't read now.
    for _ in 0..100 {
        world.take(client, 1000);
        world.round();
        world.now = world.now.after(Duration::from_secs(1));
        world.shard.sweep(world.now);
    }
    assert_eq!(world.devices[host].pipe.borrow().left, None);
    world.raw(host, 0x8a, b"");
    world.settle();
    world.check();
    // From then on it has to answer like every other member.
    for _ in 0..2 {
        world.now = world.now.after(Duration::from_secs(30));
        world.shard.sweep(world.now);
    }
    assert_eq!(world.devices[host].pipe.borrow().left, Some(CloseReason::NoPong));
}

#[test]
fn the_pong_timeout_starts_when_the_outbox_before_the_ping_is_sent() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1000));
    world.send(host, 64 << 10, 1);
    for _ in 0..60 {
        world.round();
        world.take(client, 1000);
        world.now = world.now.after(Duration::from_secs(1));
        world.shard.sweep(world.now);
    }
    world.take(client, 1 << 20);
    world.round();
    assert_eq!(world.shard.tally().outbox_bytes, 0);
    world.now = world.now.after(Duration::from_secs(19));
    world.shard.sweep(world.now);
    assert_eq!(world.devices[client].pipe.borrow().left, None);
    world.now = world.now.after(Duration::from_secs(1));
    world.shard.sweep(world.now);
    assert_eq!(world.devices[client].pipe.borrow().left, Some(CloseReason::NoPong));
}

#[test]
fn a_member_that_receives_nothing_for_the_stall_timeout_is_closed_below_its_outbox_limit() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 0));
    world.send(host, 1000, 1);
    world.round();
    world.now = world.now.after(Duration::from_secs(29));
    world.shard.sweep(world.now);
    assert_eq!(world.devices[client].pipe.borrow().left, None);
    world.now = world.now.after(Duration::from_secs(1));
    world.shard.sweep(world.now);
    assert_eq!(world.devices[client].pipe.borrow().left, Some(CloseReason::TooSlow));
}

#[test]
fn buffered_tiny_messages_count_with_their_overhead() {
    let mut world = World::new(rules());
    let talker = world.join(1, Role::Peer, usize::MAX / 2);
    let (stuck, receiver) = (world.join(1, Role::Peer, 0), world.join(1, Role::Peer, usize::MAX / 2));
    let mut sent = 0;
    while world.devices[stuck].pipe.borrow().left.is_none() {
        world.send(talker, 16, 1);
        world.round();
        sent += 1;
        assert!(sent < 10_000, "not closed after 10,000 messages of more than a hundred bytes with their overhead");
    }
    assert_eq!(world.devices[stuck].pipe.borrow().left, Some(CloseReason::TooSlow));
    world.settle();
    assert_eq!(world.devices[receiver].received[&talker].len(), sent);
}

/// Returns a member that receives 1000 bytes a second, with 100,000 in transit.
fn on_a_slow_line(world: &mut World) -> usize {
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1 << 20));
    world.send(host, 100_000, 1);
    world.round();
    assert_eq!(world.shard.tally().outbox_bytes, 0);
    client
}

/// Lets a second pass in which the peer's kernel acknowledges this many bytes; returns how the member was closed.
fn a_second(world: &mut World, index: usize, bytes: u64) -> Option<CloseReason> {
    if let Some(transit) = &mut world.devices[index].pipe.borrow_mut().transit {
        transit.acknowledged = transit.written.min(transit.acknowledged + bytes);
    }
    world.now = world.now.after(Duration::from_secs(1));
    world.shard.sweep(world.now);
    world.devices[index].pipe.borrow().left
}

/// Asserts that a member is closed at the pong timeout if its kernel acknowledges this many bytes a second.
fn assert_closed_in_time(world: &mut World, index: usize, bytes: u64) {
    let seconds = (1..).find(|_| a_second(world, index, bytes).is_some()).unwrap();
    assert_eq!(world.devices[index].pipe.borrow().left, Some(CloseReason::NoPong));
    // The bytes of the seconds before may have been too few to count as progress.
    assert!((20 - 16..=20).contains(&seconds), "after {seconds} s");
}

#[test]
fn the_pong_timeout_starts_when_the_kernel_has_sent_everything_before_the_ping() {
    let mut world = World::new(rules());
    let client = on_a_slow_line(&mut world);
    for _ in 0..101 {
        assert_eq!(a_second(&mut world, client, 1000), None);
    }
    // Everything is acknowledged, and the last sweep has noticed that.
    for _ in 0..19 {
        assert_eq!(a_second(&mut world, client, 0), None);
    }
    assert_eq!(a_second(&mut world, client, 0), Some(CloseReason::NoPong));
}

#[test]
fn a_member_whose_kernel_acknowledges_next_to_nothing_is_closed() {
    for trickle in [0, 100] {
        let mut world = World::new(rules());
        let client = on_a_slow_line(&mut world);
        for _ in 0..60 {
            assert_eq!(a_second(&mut world, client, 1000), None);
        }
        assert_closed_in_time(&mut world, client, trickle);
    }
}

#[test]
fn a_member_whose_kernel_acknowledges_everything_but_whose_program_hangs_is_closed_in_time() {
    let mut world = World::new(rules());
    let client = on_a_slow_line(&mut world);
    let host = 0;
    let mut seconds = 0;
    while a_second(&mut world, client, 1_000_000).is_none() {
        seconds += 1;
        // Something is always in transit, and arrives.
        world.send(host, 1000, 1);
        world.round();
        world.take(client, 1 << 20);
    }
    assert_eq!(world.devices[client].pipe.borrow().left, Some(CloseReason::NoPong));
    assert!(seconds <= 30 + 20 + 2, "pinged after 30 s, and closed only after {seconds} s");
}

#[test]
fn a_full_socket_is_no_stall_while_the_peer_acknowledges() {
    let mut world = World::new(rules());
    let client = on_a_slow_line(&mut world);
    world.devices[client].pipe.borrow_mut().room = 0;
    world.send(0, 1000, 1);
    world.round();
    assert!(world.shard.tally().outbox_bytes > 0);
    for _ in 0..90 {
        assert_eq!(a_second(&mut world, client, 1000), None);
    }
    // It was pinged meanwhile, and the pong timeout is the shorter one.
    assert_closed_in_time(&mut world, client, 0);
}

/// Lets a minute pass, calling `send` each second; returns how the member was closed.
fn minute(world: &mut World, index: usize, mut send: impl FnMut(&mut World, u64)) -> Option<CloseReason> {
    for second in 0..60 {
        send(world, second);
        world.round();
        world.now = world.now.after(Duration::from_secs(1));
        world.shard.sweep(world.now);
    }
    world.devices[index].pipe.borrow().left
}

#[test]
fn a_member_with_an_unfinished_message_that_does_not_grow_is_closed_although_it_answers_pings() {
    for begun in [&[0x02, 0x85, 0, 0, 0, 0, 1, 2][..], &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7]] {
        let mut world = World::new(rules());
        let one = world.join(1, Role::Peer, usize::MAX / 2);
        world.devices[one].pipe.borrow_mut().inbound.extend(begun);
        let end = minute(&mut world, one, |_, _| {});
        assert_eq!(end, Some(CloseReason::TooSlow));
        assert_eq!(world.shard.tally().stalled_messages, 1);
    }
    let mut world = World::new(rules());
    let one = world.join(1, Role::Peer, usize::MAX / 2);
    world.raw(one, 0x02, b"a fragment");
    let end = minute(&mut world, one, |world, _| world.raw(one, 0x8a, b""));
    assert_eq!((end, world.shard.tally().stalled_messages), (Some(CloseReason::TooSlow), 1));
}

#[test]
fn a_member_whose_messages_grow_or_follow_each_other_is_not_closed() {
    let mut world = World::new(rules());
    let (one, other) = (world.join(1, Role::Peer, usize::MAX / 2), world.join(1, Role::Peer, usize::MAX / 2));
    world.raw(one, 0x02, b"a fragment");
    let end = minute(&mut world, one, |world, second| {
        if second % 20 == 0 {
            world.raw(one, 0x00, b"another");
        } else {
            world.raw(one, 0x8a, b"");
        }
        // Each sweep finds the same number of bytes of this member, but of another message.
        let inbound = &mut world.devices[other].pipe.borrow_mut().inbound;
        if second > 0 {
            inbound.extend([3, 4, 5]);
        }
        inbound.extend([0x82, 0x85, 0, 0, 0, 0, 1, 2]);
    });
    assert_eq!((end, world.devices[other].pipe.borrow().left), (None, None));
}

#[test]
fn time_in_which_a_member_is_throttled_is_no_stall() {
    let mut world = World::new(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1000));
    for _ in 0..20 {
        world.send(host, 64 << 10, 1);
    }
    world.raw(host, 0x02, b"a fragment");
    let end = minute(&mut world, host, |world, _| world.take(client, 1000));
    assert_eq!(end, None);
    assert!(!world.devices[host].pipe.borrow().inbound.is_empty());
}
