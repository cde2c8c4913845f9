//! Messages from outside: who receives them, in which order, and when they wait.

use super::*;
use crate::shard::injection::{Outcome, OutsideMessage};

/// Index under which devices receive messages from outside.
pub(super) const OUTSIDE: usize = 9999;

/// Returns a message of some size with a number.
pub(super) fn outside(number: usize, size: usize) -> OutsideMessage {
    let mut payload = vec![0; size.max(16)];
    payload[..8].copy_from_slice(&(OUTSIDE as u64).to_be_bytes());
    payload[8..16].copy_from_slice(&(number as u64).to_be_bytes());
    OutsideMessage::binary(&payload)
}

/// Sends a message of some size as `role` to a registration in which nothing waits.
fn inject(world: &mut World, room: u64, role: Role, number: usize, size: usize) -> Outcome {
    world.shard.send_from_outside(Serial(room), role, outside(number, size), || None, world.now)
}

fn received(world: &World, index: usize) -> Vec<usize> {
    world.devices[index].received.get(&OUTSIDE).cloned().unwrap_or_default()
}

#[test]
fn those_receive_it_who_receive_from_its_role_and_all_peers_of_a_lobby() {
    let mut world = World::new(rules());
    let (host, client, other) = (
        world.join(1, Role::Host, 1 << 20),
        world.join(1, Role::Client, 1 << 20),
        world.join(1, Role::Client, 1 << 20),
    );
    let peers: Vec<usize> = (0..3).map(|_| world.join(2, Role::Peer, 1 << 20)).collect();
    let alone = world.join(3, Role::Peer, 1 << 20);
    assert!(matches!(inject(&mut world, 1, Role::Client, 0, 10), Outcome::Sent(1)));
    assert!(matches!(inject(&mut world, 1, Role::Host, 1, 10), Outcome::Sent(2)));
    assert!(matches!(inject(&mut world, 2, Role::Peer, 2, 10), Outcome::Sent(3)));
    assert!(matches!(inject(&mut world, 3, Role::Peer, 3, 10), Outcome::Sent(1)));
    assert!(matches!(inject(&mut world, 4, Role::Peer, 4, 10), Outcome::NoReceiver));
    world.settle();
    assert_eq!([host, client, other].map(|index| received(&world, index)), [vec![0], vec![1], vec![1]]);
    assert!(peers.iter().all(|index| received(&world, *index) == [2]));
    assert_eq!(received(&world, alone), [3]);
    world.shard.assert_counted();
}

#[test]
fn without_a_member_on_the_receiving_side_there_is_no_receiver() {
    let mut world = World::new(rules());
    let host = world.join(1, Role::Host, 1 << 20);
    assert!(matches!(inject(&mut world, 1, Role::Host, 0, 10), Outcome::NoReceiver));
    let away = world.join_away(1, Role::Client, Duration::from_secs(10));
    assert!(matches!(inject(&mut world, 1, Role::Host, 1, 10), Outcome::Sent(1)), "an away member is present");
    world.shard.arrived(world.devices[away].slot, b"", world.now);
    world.settle();
    assert_eq!(received(&world, away), [1]);
    world.shard.disconnect(world.devices[host].id, CloseReason::Lost, world.now);
    assert!(matches!(inject(&mut world, 1, Role::Client, 2, 10), Outcome::NoReceiver));
    assert_eq!(world.shard.tally().messages_in, 1);
}

#[test]
fn it_stays_in_order_with_what_members_send_before_and_after_it() {
    let mut world = World::new(rules());
    world.work = 2;
    let peers: Vec<usize> = (0..10).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    for number in 0..20 {
        world.send(peers[0], 100, 1);
        world.round();
        assert!(matches!(inject(&mut world, 1, Role::Peer, number, 100), Outcome::Sent(10)));
    }
    world.settle();
    world.check();
    for index in &peers {
        assert_eq!(received(&world, *index), (0..20).collect::<Vec<_>>());
    }
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).tally.messages_in, 40);
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).tally.messages_out, 20 * 9 + 20 * 10);
}

#[test]
fn it_is_not_accepted_while_every_receiver_is_behind_and_its_registration_is_reported_when_one_has_caught_up() {
    for crowd in [1, 3] {
        let mut world = World::new(rules());
        let clients: Vec<usize> = (0..crowd).map(|_| world.join(1, Role::Client, 0)).collect();
        let mut sent = 0;
        let rejected = loop {
            let outcome = inject(&mut world, 1, Role::Host, sent, 100 << 10);
            world.round();
            match outcome {
                Outcome::Behind(message) => break message,
                outcome => assert!(matches!(outcome, Outcome::Sent(receivers) if receivers == crowd)),
            }
            sent += 1;
            assert!(sent < 10, "nothing bounds it");
        };
        assert_eq!(world.shard.take_ready(), None);
        assert!(clients.iter().all(|index| world.devices[*index].pipe.borrow().left.is_none()));
        world.take(clients[0], 1 << 30);
        world.rounds(3);
        assert_eq!(world.shard.take_ready(), Some(Serial(1)));
        assert_eq!(world.shard.take_ready(), None);
        let outcome = world.shard.send_from_outside(Serial(1), Role::Host, rejected, || None, world.now);
        assert!(matches!(outcome, Outcome::Sent(_)));
        world.settle();
        assert_eq!(received(&world, clients[0]), (0..=sent).collect::<Vec<_>>());
        world.shard.assert_counted();
    }
}

#[test]
fn a_registration_whose_receivers_leave_or_that_ends_is_reported() {
    for ends in [false, true] {
        let mut world = World::new(rules());
        let client = world.join(1, Role::Client, 0);
        let _host = world.join(1, Role::Host, 1 << 20);
        while matches!(inject(&mut world, 1, Role::Host, 0, 300 << 10), Outcome::Sent(_)) {}
        assert_eq!((world.shard.take_ready(), world.shard.has_work()), (None, false));
        match ends {
            true => world.shard.end(Serial(1), CloseReason::Removed, world.now),
            false => _ = world.shard.disconnect(world.devices[client].id, CloseReason::Lost, world.now),
        }
        assert!(world.shard.has_work());
        assert_eq!(world.shard.take_ready(), Some(Serial(1)));
        assert!(matches!(inject(&mut world, 1, Role::Host, 0, 10), Outcome::NoReceiver));
    }
}

#[test]
fn members_that_only_receive_do_not_hold_it_up_and_take_over_when_the_others_leave() {
    let mut world = World::new(rules());
    let stuck = world.join(1, Role::Peer, 0);
    let listener = world.join_with(1, Role::Peer, 1 << 30, |shard, newcomer, link, now| {
        shard.join(&Newcomer { receives_only: true, ..*newcomer }, link, now)
    });
    while !matches!(inject(&mut world, 1, Role::Peer, 0, 100 << 10), Outcome::Behind(_)) {
        world.round();
    }
    world.shard.disconnect(world.devices[stuck].id, CloseReason::Lost, world.now);
    assert_eq!(world.shard.take_ready(), Some(Serial(1)));
    assert!(matches!(inject(&mut world, 1, Role::Peer, 1, 10), Outcome::Sent(1)));
    world.settle();
    assert_eq!(received(&world, listener).last(), Some(&1));
}

#[test]
fn a_text_is_sent_as_text_and_counted_by_its_payload() {
    let mut world = World::new(rules());
    let peer = world.join(1, Role::Peer, 1 << 20);
    let text = "x".repeat(200);
    assert!(matches!(
        world.shard.send_from_outside(Serial(1), Role::Peer, OutsideMessage::text(&text), || None, world.now),
        Outcome::Sent(1)
    ));
    assert!(matches!(
        world.shard.send_from_outside(Serial(1), Role::Peer, OutsideMessage::binary(b""), || None, world.now),
        Outcome::Sent(1)
    ));
    let expected = [&[0x81, 126, 0, 200], text.as_bytes(), &[0x82, 0]].concat();
    // A single receiver gets it at once.
    assert_eq!(world.devices[peer].pipe.borrow().outbound, expected);
    let traffic = world.shard.traffic_of(Serial(1), world.now).tally;
    assert_eq!((traffic.messages_in, traffic.bytes_in, traffic.messages_out), (2, 200, 2));
}

#[test]
fn without_a_receiver_it_waits_for_one_where_messages_wait_and_keeps_its_order() {
    let (hold, wait) = (Rc::new(()), Duration::from_secs(60));
    let mut world = World { wait: Some((wait, Rc::clone(&hold))), ..World::new(rules()) };
    let send = |world: &mut World, number: usize| {
        let message = outside(number, 100);
        let hold = || Some((wait, Rc::clone(&hold)));
        world.shard.send_from_outside(Serial(1), Role::Client, message, hold, world.now)
    };
    // Nobody is there at all, and then somebody who can't receive it.
    assert!(matches!(send(&mut world, 0), Outcome::Waiting));
    let client = world.join(1, Role::Client, 1 << 30);
    world.send(client, 100, 1);
    world.settle();
    assert!(matches!(send(&mut world, 1), Outcome::Waiting));
    let waiting = world.shard.traffic_of(Serial(1), world.now);
    assert_eq!((waiting.waiting.messages, waiting.tally.messages_in), (3, 3));
    let host = world.join(1, Role::Host, 1 << 30);
    assert!(matches!(send(&mut world, 2), Outcome::Sent(1)));
    world.settle();
    assert_eq!(world.devices[host].order, [(OUTSIDE, 0), (client, 0), (OUTSIDE, 1), (OUTSIDE, 2)]);
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).waiting, WaitingTotals::default());
    world.shard.assert_counted();
}

#[test]
fn it_is_not_accepted_while_what_waits_is_above_the_high_water_mark() {
    let (hold, wait) = (Rc::new(()), Duration::from_secs(60));
    let mut world = World { wait: Some((wait, Rc::clone(&hold))), ..World::new(rules()) };
    let send = |world: &mut World, number: usize| {
        let hold = || Some((wait, Rc::clone(&hold)));
        world.shard.send_from_outside(Serial(1), Role::Host, outside(number, 100 << 10), hold, world.now)
    };
    let mut sent = 0;
    while matches!(send(&mut world, sent), Outcome::Waiting) {
        sent += 1;
        assert!(sent < 10, "nothing bounds it");
    }
    assert!(sent > 1 && world.shard.take_ready().is_none());
    // It is worth trying again when a receiver joins, and when what waits is too old.
    let client = world.join(1, Role::Client, 1 << 30);
    assert_eq!(world.shard.take_ready(), Some(Serial(1)));
    world.settle();
    assert_eq!(received(&world, client), (0..sent).collect::<Vec<_>>());
    world.shard.disconnect(world.devices[client].id, CloseReason::Lost, world.now);
    world.settle();
    while matches!(send(&mut world, 0), Outcome::Waiting) {}
    assert_eq!(world.shard.take_ready(), None);
    world.now = world.now.after(wait);
    world.shard.sweep(world.now);
    assert_eq!(world.shard.take_ready(), Some(Serial(1)));
    assert!(matches!(send(&mut world, 0), Outcome::Waiting));
}

#[test]
fn members_that_only_receive_get_it_at_once_and_the_next_other_one_when_it_joins() {
    let (hold, wait) = (Rc::new(()), Duration::from_secs(60));
    let mut world = World { wait: Some((wait, Rc::clone(&hold))), ..World::new(rules()) };
    let listener = world.join_with(1, Role::Client, 1 << 30, |shard, newcomer, link, now| {
        shard.join(&Newcomer { receives_only: true, ..*newcomer }, link, now)
    });
    let outcome =
        world.shard.send_from_outside(Serial(1), Role::Host, outside(7, 100), || Some((wait, hold)), world.now);
    assert!(matches!(outcome, Outcome::Sent(1)));
    let client = world.join(1, Role::Client, 1 << 30);
    world.settle();
    assert_eq!((received(&world, listener), received(&world, client)), (vec![7], vec![7]));
    assert_eq!(world.shard.traffic_of(Serial(1), world.now).tally.messages_in, 1);
}
