use super::*;

#[test]
fn a_departure_during_a_broadcast_takes_nothing_from_the_others() {
    for reason in [CloseReason::ClosedByAdmin, CloseReason::Lost] {
        let mut world = World::new(rules());
        let crowd: Vec<usize> = (0..9).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
        world.work = 2;
        world.send(crowd[0], 100, 1);
        world.round();
        assert!(world.shard.has_work());
        // A member that has received it, the next one, and the sender; a new member gets the slot of one of them.
        for index in [1, 2, 0] {
            world.shard.disconnect(world.devices[index].id, reason, world.now);
            world.note_ends();
        }
        let newcomer = world.join(1, Role::Peer, usize::MAX / 2);
        world.send(newcomer, 100, 1);
        world.settle();
        world.check();
        assert_eq!(world.devices[crowd[8]].received[&crowd[0]], [0]);
    }
}

#[test]
fn a_member_lost_while_it_is_read_is_not_written_to() {
    let mut world = World::new(rules());
    let (other, one) = (world.join(1, Role::Peer, usize::MAX / 2), world.join(1, Role::Peer, usize::MAX / 2));
    world.join(1, Role::Peer, usize::MAX / 2);
    // More than a broadcast holds, so that it is sent in the middle of the iteration, and earlier messages to its sender.
    world.send(one, 2 << 20, 1);
    world.raw(one, 0x89, b"still there?");
    while world.devices[one].pipe.borrow().inbound.len() > READ {
        world.round();
    }
    world.devices[one].pipe.borrow_mut().is_broken = true;
    world.send(other, 100, 1);
    world.round();
    assert_eq!(world.devices[one].pipe.borrow().left, Some(CloseReason::Lost));
    world.settle();
    world.check();
    assert_eq!(world.devices[other].received[&one], [0]);
}

#[test]
fn members_lost_during_a_sweep_are_not_pinged() {
    let mut world = World::new(rules());
    let sender = world.join(1, Role::Host, usize::MAX / 2);
    let crowd: Vec<usize> = (0..9).map(|_| world.join(1, Role::Client, usize::MAX / 2)).collect();
    world.work = 2;
    world.send(sender, 100, 1);
    world.round();
    assert!(world.shard.has_work(), "the broadcast has finished already");
    for index in &crowd {
        world.devices[*index].pipe.borrow_mut().is_broken = true;
    }
    world.now = world.now.after(world.shard.rules.ping_interval);
    world.shard.sweep(world.now);
    world.note_ends();
    for index in &crowd {
        assert_eq!(world.devices[*index].pipe.borrow().left, Some(CloseReason::Lost));
    }
    assert_eq!(world.shard.tally().members, 1);
    world.settle();
    world.check();
}

#[test]
fn a_close_frame_ends_that_member_alone() {
    let mut world = World::new(rules());
    let (one, two, three) = (world.join(1, Role::Peer, 1 << 20), world.join(1, Role::Peer, 1 << 20), 2);
    world.join(1, Role::Peer, 1 << 20);
    world.send(one, 100, 1);
    world.raw(one, 0x88, &1000u16.to_be_bytes());
    world.raw(one, 0x89, b"too late");
    world.send(two, 100, 3);
    world.settle();
    assert_eq!(world.devices[one].close_code, Some(1000));
    assert!(world.devices[one].pipe.borrow().is_finished);
    assert_eq!(world.devices[three].received[&one], [0], "messages sent before the close frame are delivered");
    world.send(two, 100, 1);
    world.settle();
    world.check();
    assert_eq!(world.devices[three].received[&two], [0, 1]);
    assert!(world.devices[one].pipe.borrow().is_dropped);
}

#[test]
fn a_removed_registration_closes_all_its_members_and_no_other() {
    let mut world = World::new(rules());
    let (mine, also, other) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1 << 20), 2);
    world.join(2, Role::Peer, 1 << 20);
    world.send(mine, 100, 1);
    world.round();
    world.shard.end(Serial(1), CloseReason::Removed, world.now);
    world.settle();
    assert_eq!((world.devices[mine].close_code, world.devices[also].close_code), (Some(4000), Some(4000)));
    assert_eq!(world.devices[also].received[&mine], [0]);
    assert_eq!(world.devices[other].close_code, None);
    // Peers that never end their connections are dropped at the close timeout.
    assert!(!world.devices[mine].pipe.borrow().is_dropped);
    world.now = world.now.after(Duration::from_secs(5));
    world.shard.sweep(world.now);
    assert!(world.devices[mine].pipe.borrow().is_dropped);
    assert_eq!(world.shard.members_of(Serial(1)).count(), 0);
}

#[test]
fn joins_and_departures_do_not_hurry_a_broadcast() {
    let mut world = World::new(rules());
    let crowd: Vec<usize> = (0..100).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    world.join(2, Role::Host, 1 << 20);
    world.work = 10;
    world.send(crowd[0], 100, 1);
    world.round();
    let served = |world: &World| crowd.iter().filter(|index| world.devices[**index].pipe.borrow().sends > 0).count();
    let before = served(&world);
    let newcomer = world.join(2, Role::Client, 1 << 20);
    world.join(3, Role::Peer, 1 << 20);
    world.shard.end(Serial(2), CloseReason::Removed, world.now);
    world.note_ends();
    assert_eq!(served(&world), before);
    assert_eq!(world.devices[newcomer].pipe.borrow().left, Some(CloseReason::Removed));
    world.join(1, Role::Peer, 1 << 20);
    assert_eq!(served(&world), before, "a join to the same room");
    world.settle();
    world.check();
}

#[test]
fn a_new_member_in_the_slot_of_a_departed_sender_does_not_receive_its_own_messages() {
    let mut world = World::new(rules());
    let crowd: Vec<usize> = (0..3).map(|_| world.join(1, Role::Peer, 1 << 20)).collect();
    let others = [0, 1].map(|_| world.join(2, Role::Peer, 1 << 20));
    world.work = 0;
    world.send(crowd[0], 100, 1);
    world.round();
    world.shard.disconnect(world.devices[crowd[0]].id, CloseReason::Lost, world.now);
    world.note_ends();
    let newcomer = world.join(2, Role::Peer, 1 << 20);
    assert_eq!(world.devices[newcomer].slot, world.devices[crowd[0]].slot);
    world.send(newcomer, 100, 1);
    world.round();
    world.work = usize::MAX;
    world.settle();
    world.check();
    assert_eq!(world.devices[others[0]].received[&newcomer], [0]);
    assert_eq!(world.devices[crowd[1]].received[&crowd[0]], [0], "its messages are still delivered");
}

/// Returns a lobby of two members, the first of which has been closed for this reason.
fn closed_with(reason: CloseReason) -> World {
    let mut world = World::new(rules());
    let (one, _) = (world.join(1, Role::Peer, 1 << 20), world.join(1, Role::Peer, 1 << 20));
    match reason {
        CloseReason::Protocol => world.raw(one, 0x83, b"?"),
        CloseReason::InvalidUtf8 => world.raw(one, 0x81, &[0xff]),
        CloseReason::TooBig => world.raw(one, 0x82, &vec![0; 5 << 20]),
        reason => assert!(world.shard.disconnect(world.devices[one].id, reason, world.now)),
    }
    for _ in 0..100 {
        world.round();
    }
    world.take(one, 1 << 20);
    assert_eq!(world.devices[one].close_code, reason.code());
    assert!(!world.devices[one].pipe.borrow().is_finished, "{reason:?}: the router's side stays open");
    world
}

#[test]
fn after_its_close_frame_the_router_waits_for_the_peers() {
    for reason in [CloseReason::Removed, CloseReason::Draining, CloseReason::TooSlow, CloseReason::NoPong] {
        let mut world = closed_with(reason);
        // Frames that it sends before its close frame are discarded, large or small.
        world.raw(0, 0x82, &vec![0; 300_000]);
        world.raw(0, 0x89, b"?");
        for _ in 0..10 {
            world.round();
            assert!(!world.devices[0].pipe.borrow().is_finished);
        }
        world.raw(0, 0x88, &1000u16.to_be_bytes());
        for _ in 0..3 {
            world.round();
        }
        let pipe = world.devices[0].pipe.borrow();
        assert!(pipe.is_finished && pipe.is_dropped, "{reason:?}");
        assert_eq!((world.shard.tally().close_timeouts, world.shard.tally().messages_in), (0, 0));
    }
}

#[test]
fn after_a_violation_the_router_waits_for_the_end_of_the_stream_or_the_close_timeout() {
    for reason in [CloseReason::Protocol, CloseReason::InvalidUtf8, CloseReason::TooBig] {
        let mut world = closed_with(reason);
        world.raw(0, 0x88, &1000u16.to_be_bytes());
        for _ in 0..3 {
            world.round();
        }
        assert!(!world.devices[0].pipe.borrow().is_dropped, "{reason:?}");
        world.devices[0].pipe.borrow_mut().has_ended = true;
        world.round();
        assert!(world.devices[0].pipe.borrow().is_dropped && world.shard.tally().close_timeouts == 0, "{reason:?}");

        let mut world = closed_with(reason);
        world.now = world.now.after(Duration::from_secs(5));
        world.shard.sweep(world.now);
        assert!(world.devices[0].pipe.borrow().is_dropped && world.shard.tally().close_timeouts == 1, "{reason:?}");
    }
}

/// Joins a sender, and a receiver whose connection isn't there yet.
fn with_one_away(world: &mut World) -> (usize, usize) {
    let sender = world.join(1, Role::Host, 1 << 20);
    (sender, world.join_away(1, Role::Client, Duration::from_secs(60)))
}

#[test]
fn messages_to_a_member_that_is_away_wait_for_its_connection() {
    let mut world = World::new(rules());
    let (sender, away) = with_one_away(&mut world);
    world.send(sender, 1000, 1);
    world.round();
    for _ in 0..50 {
        world.now = world.now.after(Duration::from_secs(1));
        world.shard.sweep(world.now);
        world.raw(sender, 0x8a, b"");
        world.round();
    }
    assert_eq!(world.devices[away].pipe.borrow().sends, 0, "a message or a ping was sent");
    assert_eq!(world.shard.tally().outbox_bytes, 1004);
    world.shard.arrived(world.devices[away].slot, b"", world.now);
    world.settle();
    world.check();
    assert_eq!(world.devices[away].received[&sender], [0]);
}

#[test]
fn a_member_whose_connection_does_not_arrive_is_closed_at_the_deadline() {
    let mut world = World::new(rules());
    let (sender, away) = with_one_away(&mut world);
    world.send(sender, 1000, 1);
    world.round();
    world.now = world.now.after(Duration::from_secs(60));
    world.raw(sender, 0x8a, b"");
    world.round();
    world.shard.sweep(world.now);
    assert_eq!(world.devices[away].pipe.borrow().left, Some(CloseReason::Lost));
    assert!(world.devices[away].pipe.borrow().is_dropped);
    // Its connection arrives too late.
    world.shard.arrived(world.devices[away].slot, b"too late", world.now);
    assert_eq!((world.shard.tally().members, world.shard.tally().outbox_bytes), (1, 0));
}
