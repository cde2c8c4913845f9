use super::*;

#[test]
fn who_leaves_while_a_round_goes_out_takes_nothing_from_the_others() {
    for reason in [CloseReason::ClosedByAdmin, CloseReason::Lost] {
        let mut world = World::new(rules());
        let crowd: Vec<usize> = (0..9).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
        world.work = 2;
        world.send(crowd[0], 100, 1);
        world.round();
        assert!(world.shard.has_work());
        // One who had it, one who is next, and the sender; a newcomer gets the slot of one of them.
        for who in [1, 2, 0] {
            world.shard.disconnect(world.devices[who].id, reason, world.now);
            world.note_ends();
        }
        let newcomer = world.join(1, Role::Peer, usize::MAX / 2);
        world.send(newcomer, 100, 1);
        world.settle();
        world.check();
        assert_eq!(world.devices[crowd[8]].heard[&crowd[0]], [0]);
    }
}

#[test]
fn who_is_lost_in_the_middle_of_its_own_turn_is_answered_no_more() {
    let mut world = World::new(rules());
    let (other, one) = (world.join(1, Role::Peer, usize::MAX / 2), world.join(1, Role::Peer, usize::MAX / 2));
    world.join(1, Role::Peer, usize::MAX / 2);
    // More than a room collects, so that it goes out in the middle of the round, to its sender what came before.
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
    assert_eq!(world.devices[other].heard[&one], [0]);
}

#[test]
fn those_who_are_lost_while_others_are_asked_for_a_sign_of_life_are_not_asked() {
    let mut world = World::new(rules());
    let speaker = world.join(1, Role::Host, usize::MAX / 2);
    let crowd: Vec<usize> = (0..9).map(|_| world.join(1, Role::Client, usize::MAX / 2)).collect();
    world.work = 2;
    world.send(speaker, 100, 1);
    world.round();
    assert!(world.shard.has_work(), "some have it, the others are next");
    for who in &crowd {
        world.devices[*who].pipe.borrow_mut().is_broken = true;
    }
    world.now = world.now.after(world.shard.rules.ping_interval);
    world.shard.sweep(world.now);
    world.note_ends();
    for who in &crowd {
        assert_eq!(world.devices[*who].pipe.borrow().left, Some(CloseReason::Lost));
    }
    assert_eq!(world.shard.tally().members, 1);
    world.settle();
    world.check();
}

#[test]
fn one_polite_leave_ends_that_member_alone() {
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
    assert_eq!(world.devices[three].heard[&one], [0], "what it sent before is heard");
    world.send(two, 100, 1);
    world.settle();
    world.check();
    assert_eq!(world.devices[three].heard[&two], [0, 1]);
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
    assert_eq!(world.devices[also].heard[&mine], [0]);
    assert_eq!(world.devices[other].close_code, None);
    // Peers that never end their connections are dropped when their time is over.
    assert!(!world.devices[mine].pipe.borrow().is_dropped);
    world.now = world.now.after(Duration::from_secs(5));
    world.shard.sweep(world.now);
    assert!(world.devices[mine].pipe.borrow().is_dropped);
    assert_eq!(world.shard.members_of(Serial(1)).count(), 0);
}

#[test]
fn who_comes_or_ends_elsewhere_hurries_no_round() {
    let mut world = World::new(rules());
    let crowd: Vec<usize> = (0..100).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    world.join(2, Role::Host, 1 << 20);
    world.work = 10;
    world.send(crowd[0], 100, 1);
    world.round();
    let served = |world: &World| crowd.iter().filter(|who| world.devices[**who].pipe.borrow().sends > 0).count();
    let before = served(&world);
    let newcomer = world.join(2, Role::Client, 1 << 20);
    world.join(3, Role::Peer, 1 << 20);
    world.shard.end(Serial(2), CloseReason::Removed, world.now);
    world.note_ends();
    assert_eq!(served(&world), before);
    assert_eq!(world.devices[newcomer].pipe.borrow().left, Some(CloseReason::Removed));
    world.join(1, Role::Peer, 1 << 20);
    assert_eq!(served(&world), before, "not even for one who joins the room itself");
    world.settle();
    world.check();
}

#[test]
fn who_has_the_slot_of_one_whose_round_still_waits_does_not_hear_itself() {
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
    assert_eq!(world.devices[others[0]].heard[&newcomer], [0]);
    assert_eq!(world.devices[crowd[1]].heard[&crowd[0]], [0], "what it had said is heard");
}
