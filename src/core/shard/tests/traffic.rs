use super::*;

/// Returns the sums of all rooms, requested in steps of `at_most`, and the number of steps.
fn traffic(world: &World, at_most: usize) -> (HashMap<Serial, Traffic>, usize) {
    let (mut all, mut next, mut steps) = (HashMap::new(), Some(0), 0);
    while let Some(from) = next {
        next = world.shard.traffic(from, at_most, world.now, |serial, traffic| {
            assert_eq!(all.insert(serial, traffic), None, "{serial:?} is reported twice");
        });
        steps += 1;
    }
    (all, steps)
}

#[test]
fn the_traffic_of_a_registration_is_the_sum_of_its_members() {
    let mut world = World::new(rules());
    let members: Vec<usize> = (0..3).map(|_| world.join(1, Role::Peer, 1 << 20)).collect();
    world.join(2, Role::Peer, 1 << 20);
    world.send(members[0], 100, 1);
    world.send(members[1], 100, 1);
    world.round();
    let (all, _) = traffic(&world, usize::MAX);
    let tally = all[&Serial(1)].tally;
    assert_eq!((tally.messages_in, tally.messages_out), (2, 4));
    assert_eq!((tally.bytes_in, tally.bytes_out), (200, 408));
    assert_eq!(all[&Serial(2)], Traffic::default());
    assert_eq!(
        (all[&Serial(1)], Traffic::default()),
        (world.shard.traffic_of(Serial(1), world.now), world.shard.traffic_of(Serial(3), world.now))
    );
}

#[test]
fn the_traffic_of_a_member_that_left_counts_until_the_room_is_empty() {
    let mut world = World::new(rules());
    let (one, other) = (world.join(1, Role::Host, 1 << 20), world.join(1, Role::Client, 1 << 20));
    world.send(one, 100, 1);
    world.round();
    let before = world.shard.traffic_of(Serial(1), world.now).tally;
    assert_eq!((before.messages_in, before.messages_out), (1, 1));
    world.devices[one].pipe.borrow_mut().has_ended = true;
    world.round();
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).tally, before);
    world.devices[other].pipe.borrow_mut().has_ended = true;
    world.round();
    world.join(1, Role::Host, 1 << 20);
    assert_eq!(world.shard.traffic_of(Serial(1), world.now), Traffic::default());
}

#[test]
fn the_outboxes_of_the_members_are_summed_up() {
    let mut world = World::new(rules());
    let (one, _) = (world.join(1, Role::Peer, 1 << 20), world.join(1, Role::Peer, 0));
    world.send(one, 1000, 1);
    world.round();
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).outbox, 1004);
}

#[test]
fn many_registrations_are_reported_once_each_in_bounded_steps() {
    let mut world = World::new(rules());
    for room in 0..50 {
        world.join(room, Role::Peer, 1 << 20);
    }
    // A step visits rooms and their members, and ends after ten.
    let (all, steps) = traffic(&world, 10);
    assert_eq!((all.len(), steps >= 10), (50, true), "{steps}");
    assert_eq!(traffic(&World::new(rules()), 10).0.len(), 0);
}
