//! Members that only receive: they may not send, and nobody waits for them while others receive.

use super::*;

fn receive_only(world: &mut World, room: u64, role: Role, socket: usize) -> usize {
    world.join_with(room, role, socket, |shard, newcomer, link, now| {
        shard.join(&Newcomer { receives_only: true, ..*newcomer }, link, now)
    })
}

#[test]
fn a_member_that_only_receives_is_closed_for_its_first_message_and_nothing_of_it_is_delivered() {
    for begin in [&client_frame(0x82, [1, 2, 3, 4], b"whole")[..], &client_frame(0x01, [0; 4], b"part"), &[0x81]] {
        let mut world = World::new(rules());
        let talker = world.join(1, Role::Peer, 1 << 30);
        let listener = receive_only(&mut world, 1, Role::Peer, 1 << 30);
        world.send(talker, 100, 1);
        world.settle();
        assert_eq!(world.devices[listener].received[&talker], [0]);
        let ping = client_frame(0x89, [0; 4], b"");
        world.devices[listener].pipe.borrow_mut().inbound.extend(ping);
        world.settle();
        assert_eq!(world.devices[listener].pongs, 1, "control frames are no messages");
        world.restore();
        world.devices[listener].pipe.borrow_mut().inbound.extend(begin);
        world.settle();
        assert_eq!(world.devices[listener].pipe.borrow().left, Some(CloseReason::NotPermitted), "{begin:?}");
        assert_eq!(world.devices[listener].close_code, Some(4005));
        assert!(world.devices[talker].inbox.is_empty() && world.devices[talker].received.is_empty());
        assert_eq!(world.shard.tally().messages_in, 0, "nothing of it is counted since the restart");
        world.shard.assert_counted();
    }
}

#[test]
fn a_member_that_only_receives_does_not_set_the_pace_while_others_receive() {
    for pace in [false, true] {
        let mut world = World::new(Rules { pace, ..rules() });
        let host = world.join(1, Role::Host, 1 << 30);
        let client = world.join(1, Role::Client, 1 << 30);
        let stuck = receive_only(&mut world, 1, Role::Client, 0);
        for _ in 0..20 {
            world.send(host, 100 << 10, 1);
            world.round();
        }
        world.round();
        world.take(client, 1 << 30);
        assert_eq!(world.devices[client].received[&host].len(), 20, "pace: {pace}");
        assert_eq!(world.devices[stuck].pipe.borrow().left, Some(CloseReason::TooSlow), "pace: {pace}");
        world.shard.assert_counted();
    }
}

#[test]
fn members_that_only_receive_set_the_pace_among_themselves() {
    let mut world = World::new(rules());
    let host = world.join(1, Role::Host, 1 << 30);
    let stuck = receive_only(&mut world, 1, Role::Client, 0);
    for _ in 0..20 {
        world.send(host, 100 << 10, 1);
        world.round();
    }
    assert!(!world.devices[host].pipe.borrow().inbound.is_empty(), "the host waits");
    assert_eq!(world.devices[stuck].pipe.borrow().left, None);
    // Another receiver that leaves again wakes the host for a while, and then it waits again.
    let client = world.join(1, Role::Client, 1 << 30);
    world.round();
    world.shard.disconnect(world.devices[client].id, CloseReason::Lost, world.now);
    world.take(stuck, 1 << 30);
    world.settle();
    assert!(world.devices[host].pipe.borrow().inbound.is_empty());
    assert_eq!(world.devices[stuck].received[&host].len(), 20);
}
