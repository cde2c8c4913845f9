//! Messages that wait for a receiver: who gets them, for how long they wait, and what they cost.

use super::injection::{OUTSIDE, outside};
use super::*;
use crate::frame::{Opcode, ServerHeader};
use crate::shard::injection::Outcome;

const WAIT: Duration = Duration::from_secs(60);

/// A world of registrations in which messages wait.
fn waiting_world(rules: Rules) -> World {
    World { wait: Some((WAIT, Rc::new(()))), ..World::new(rules) }
}

/// Rules by which nobody is closed for being silent.
fn patient() -> Rules {
    Rules { ping_interval: Duration::from_secs(86_400), ..rules() }
}

impl World {
    fn join_listener(&mut self, room: u64, role: Role) -> usize {
        self.join_with(room, role, 1 << 30, |shard, newcomer, link, now| {
            shard.join(&Newcomer { receives_only: true, ..*newcomer }, link, now)
        })
    }

    /// Returns the number of rooms in which something waits.
    fn holds(&self) -> usize {
        let hold = self.wait.as_ref().unwrap();
        let pipes = self.devices.iter().filter(|device| device.pipe.borrow().wait.is_some()).count();
        Rc::strong_count(&hold.1) - 1 - pipes
    }

    fn leave(&mut self, index: usize) {
        self.raw(index, 0x88, &1000u16.to_be_bytes());
        self.devices[index].pipe.borrow_mut().has_ended = true;
        self.settle();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.shard.sweep(self.now);
        self.round();
    }

    fn waiting(&self, room: u64) -> WaitingTotals {
        self.shard.traffic_of(Serial(room), self.now).waiting
    }

    fn discarded(&self, reason: DiscardReason) -> u64 {
        self.shard.tally().waiting_discarded[reason as usize]
    }

    fn assert_nothing_waits(&self) {
        let tally = self.shard.tally();
        assert_eq!((tally.waiting_messages, tally.waiting_bytes, self.holds()), (0, 0, 0));
        assert!(self.shard.waiting.is_empty());
        self.shard.assert_counted();
    }
}

#[test]
fn the_next_member_receives_all_that_waits_in_order_and_before_what_is_sent_later() {
    for (sender, receiver) in [(Role::Host, Role::Client), (Role::Client, Role::Host), (Role::Peer, Role::Peer)] {
        let mut world = waiting_world(rules());
        let talker = world.join(1, sender, 1 << 30);
        for size in [100, 5000, 70_000] {
            world.send(talker, size, 2);
            world.settle();
        }
        assert_eq!((world.waiting(1).messages, world.holds()), (3, 1));
        let late = world.join_away(1, receiver, Duration::from_secs(60));
        world.send(talker, 100, 1);
        world.settle();
        world.shard.arrived(world.devices[late].slot, &[], world.now);
        world.settle();
        assert_eq!(world.devices[late].order, [(talker, 0), (talker, 1), (talker, 2), (talker, 3)]);
        assert!(world.devices[talker].order.is_empty(), "nobody receives its own messages");
        assert_eq!(world.shard.tally().undelivered, 0);
        world.assert_nothing_waits();
        assert_eq!(world.shard.held(), 0);
    }
}

#[test]
fn in_a_group_the_first_to_join_receives_what_waits() {
    let mut world = waiting_world(rules());
    let host = world.join(1, Role::Host, 1 << 30);
    world.send(host, 100, 1);
    world.settle();
    let clients = [world.join(1, Role::Client, 1 << 30), world.join(1, Role::Client, 1 << 30)];
    world.send(host, 100, 1);
    world.settle();
    assert_eq!(world.devices[clients[0]].order, [(host, 0), (host, 1)]);
    assert_eq!(world.devices[clients[1]].order, [(host, 1)]);
}

#[test]
fn messages_of_several_senders_wait_in_the_order_of_their_arrival() {
    let mut world = waiting_world(rules());
    let clients = [world.join(1, Role::Client, 1 << 30), world.join(1, Role::Client, 1 << 30)];
    for turn in 0..6 {
        world.send(clients[turn % 2], 100, 1);
        world.settle();
    }
    world.leave(clients[0]);
    let host = world.join(1, Role::Host, 1 << 30);
    world.settle();
    let expected: Vec<_> = (0..6).map(|turn| (clients[turn % 2], turn / 2)).collect();
    assert_eq!(world.devices[host].order, expected);
}

#[test]
fn a_message_waits_for_its_time_and_no_longer() {
    let mut world = waiting_world(patient());
    let host = world.join(1, Role::Host, 1 << 30);
    world.send(host, 100, 1);
    world.settle();
    world.pass(WAIT / 2);
    world.send(host, 100, 1);
    world.settle();
    assert_eq!(world.waiting(1).left, Some(WAIT / 2));
    world.pass(WAIT / 2 - Duration::from_millis(1));
    assert_eq!((world.waiting(1).messages, world.discarded(DiscardReason::Expired)), (2, 0));
    world.pass(Duration::from_millis(1));
    assert_eq!((world.waiting(1).messages, world.discarded(DiscardReason::Expired)), (1, 1));
    assert_eq!(world.waiting(1).left, Some(WAIT / 2));
    // Without a sweep in between.
    world.now = world.now.after(WAIT / 2);
    let client = world.join(1, Role::Client, 1 << 30);
    world.settle();
    assert!(world.devices[client].order.is_empty());
    assert_eq!(world.discarded(DiscardReason::Expired), 2);
    world.assert_nothing_waits();
}

#[test]
fn what_waits_outlives_its_sender_and_holds_the_registration_as_long() {
    let mut world = waiting_world(patient());
    let client = world.join(1, Role::Client, 1 << 30);
    world.send(client, 100, 1);
    world.settle();
    world.leave(client);
    world.pass(WAIT / 2);
    assert_eq!((world.holds(), world.waiting(1).bytes), (1, 102));
    let second = world.join(1, Role::Client, 1 << 30);
    world.send(second, 100, 1);
    world.settle();
    world.leave(second);
    world.pass(WAIT / 2);
    assert_eq!((world.holds(), world.waiting(1).messages), (1, 1));
    world.pass(WAIT / 2);
    world.assert_nothing_waits();
    assert!(world.shard.rooms.is_empty() && world.shard.by_serial.is_empty());
}

#[test]
fn the_sender_is_paused_at_the_high_water_mark_and_resumed_when_messages_expire() {
    for role in [Role::Host, Role::Peer] {
        let mut world = waiting_world(patient());
        let talker = world.join(1, role, 1 << 30);
        for _ in 0..60 {
            world.send(talker, 50_000, 1);
        }
        world.rounds(200);
        let waiting = world.waiting(1);
        let most = (member::HIGH_WATER + READ + 50_000) as u64;
        assert!((member::HIGH_WATER as u64..most).contains(&waiting.bytes), "{waiting:?}");
        assert!(!world.devices[talker].pipe.borrow().inbound.is_empty());
        world.pass(WAIT);
        world.rounds(200);
        let expired = world.discarded(DiscardReason::Expired);
        assert_eq!(expired, waiting.messages);
        assert!(world.waiting(1).bytes > member::HIGH_WATER as u64, "the sender has gone on");
        let late = world.join(1, if role == Role::Peer { role } else { Role::Client }, 1 << 30);
        world.settle();
        let expected: Vec<_> = (expired as usize..60).collect();
        assert_eq!(world.devices[late].received[&talker], expected);
        world.assert_nothing_waits();
    }
}

#[test]
fn tiny_messages_count_with_what_they_cost() {
    let mut world = waiting_world(patient());
    let host = world.join(1, Role::Host, 1 << 30);
    for _ in 0..10_000 {
        world.send(host, 16, 1);
        world.now = world.now.after(Duration::from_millis(1));
        world.round();
    }
    assert!(world.waiting(1).messages < 3000, "{:?}", world.waiting(1));
    assert!(world.shard.held() < 1 << 20);
}

#[test]
fn a_member_that_only_receives_gets_messages_at_once_and_they_wait_all_the_same() {
    for (sender, receiver) in [(Role::Host, Role::Client), (Role::Peer, Role::Peer)] {
        let mut world = waiting_world(rules());
        let talker = world.join(1, sender, 1 << 30);
        world.send(talker, 100, 1);
        world.settle();
        let listeners = [world.join_listener(1, receiver), world.join_listener(1, receiver)];
        world.send(talker, 100, 1);
        world.settle();
        world.leave(listeners[1]);
        world.send(talker, 100_000, 1);
        world.settle();
        assert_eq!(world.devices[listeners[0]].order, [(talker, 1), (talker, 2)]);
        assert_eq!(world.devices[listeners[1]].order, [(talker, 1)]);
        assert_eq!((world.waiting(1).messages, world.shard.tally().undelivered), (3, 0));
        let late = world.join(1, receiver, 1 << 30);
        world.send(talker, 100, 1);
        world.settle();
        assert_eq!(world.devices[late].order, [(talker, 0), (talker, 1), (talker, 2), (talker, 3)]);
        assert_eq!(world.devices[listeners[0]].order, [(talker, 1), (talker, 2), (talker, 3)]);
        world.assert_nothing_waits();
    }
}

#[test]
fn an_away_member_counts_as_present() {
    let mut world = waiting_world(rules());
    let host = world.join(1, Role::Host, 1 << 30);
    let away = world.join_away(1, Role::Client, Duration::from_secs(60));
    world.send(host, 100, 1);
    world.settle();
    assert_eq!((world.waiting(1), world.holds()), (WaitingTotals::default(), 0));
    world.shard.arrived(world.devices[away].slot, &[], world.now);
    world.settle();
    assert_eq!(world.devices[away].order, [(host, 0)]);
}

/// Joins a member whose handshake is in progress, and which takes over what waits.
fn join_in_handshake(world: &mut World, role: Role) -> usize {
    let away = world.join_away(1, role, Duration::from_secs(30));
    world.round();
    away
}

#[test]
fn what_a_member_has_taken_over_waits_again_if_its_handshake_fails() {
    for (sender, receiver) in [(Role::Host, Role::Client), (Role::Peer, Role::Peer)] {
        let mut world = waiting_world(patient());
        let talker = world.join(1, sender, 1 << 30);
        world.send(talker, 100, 1);
        world.settle();
        world.pass(WAIT / 2);
        let failing = join_in_handshake(&mut world, receiver);
        assert_eq!((world.waiting(1).messages, world.holds()), (0, 1));
        for _ in 0..2 {
            world.send(talker, 100, 1);
            world.settle();
        }
        if sender == Role::Host {
            world.leave(talker);
        }
        world.shard.close(world.devices[failing].slot, world.devices[failing].id, CloseReason::Lost, world.now);
        world.round();
        assert_eq!((world.waiting(1).messages, world.waiting(1).left, world.holds()), (3, Some(WAIT / 2), 1));
        world.pass(WAIT / 2);
        assert_eq!(world.waiting(1).messages, 2);
        let next = join_in_handshake(&mut world, receiver);
        world.shard.arrived(world.devices[next].slot, &[], world.now);
        world.settle();
        assert_eq!(world.devices[next].order, [(talker, 1), (talker, 2)]);
        world.assert_nothing_waits();
        // It is the member's now.
        world.devices[next].pipe.borrow_mut().is_broken = true;
        world.settle();
        world.assert_nothing_waits();
    }
}

#[test]
fn what_was_sent_while_a_failed_member_was_marked_waits_behind_what_it_had_taken_over() {
    let mut world = waiting_world(patient());
    let talker = world.join(1, Role::Host, 1 << 30);
    world.send(talker, 100, 1);
    world.settle();
    let failing = join_in_handshake(&mut world, Role::Client);
    world.shard.closing.start_iteration(0);
    world.shard.close(world.devices[failing].slot, world.devices[failing].id, CloseReason::Lost, world.now);
    world.send(talker, 100, 1);
    world.shard.readable(world.devices[talker].slot, false, world.now);
    assert_eq!(world.waiting(1).messages, 1, "the newer one waits, since the member is marked");
    world.settle();
    assert_eq!((world.waiting(1).messages, world.holds()), (2, 1));
    let next = join_in_handshake(&mut world, Role::Client);
    world.shard.arrived(world.devices[next].slot, &[], world.now);
    world.settle();
    assert_eq!(world.devices[next].order, [(talker, 0), (talker, 1)]);
    world.assert_nothing_waits();
}

#[test]
fn the_deadline_of_a_handshake_gives_back_what_waits() {
    let mut world = waiting_world(patient());
    let host = world.join(1, Role::Host, 1 << 30);
    for _ in 0..60 {
        world.send(host, 50_000, 1);
    }
    world.rounds(100);
    let waiting = world.waiting(1);
    join_in_handshake(&mut world, Role::Client);
    world.pass(Duration::from_secs(31));
    world.rounds(100);
    assert_eq!(world.waiting(1), WaitingTotals { left: Some(WAIT - Duration::from_secs(31)), ..waiting });
    assert!(!world.devices[host].pipe.borrow().inbound.is_empty(), "the host is paused");
    let next = world.join(1, Role::Client, 1 << 30);
    world.settle();
    assert_eq!(world.devices[next].received[&host], (0..60).collect::<Vec<_>>());
    world.assert_nothing_waits();
}

#[test]
fn what_was_taken_over_is_not_given_back_to_the_disadvantage_of_others() {
    let mut world = waiting_world(patient());
    let host = world.join(1, Role::Host, 1 << 30);
    world.send(host, 100, 1);
    world.settle();
    let failing = join_in_handshake(&mut world, Role::Client);
    let other = world.join(1, Role::Client, 1 << 30);
    world.shard.close(world.devices[failing].slot, world.devices[failing].id, CloseReason::Lost, world.now);
    world.send(host, 100, 1);
    world.settle();
    assert_eq!(world.devices[other].order, [(host, 1)]);
    world.leave(other);
    world.assert_nothing_waits();
    // Nor if the registration ends.
    world.send(host, 100, 1);
    world.settle();
    join_in_handshake(&mut world, Role::Client);
    world.shard.end(Serial(1), CloseReason::Removed, world.now);
    world.settle();
    world.assert_nothing_waits();
}

#[test]
fn what_a_member_in_its_handshake_has_taken_over_waits_in_a_new_process() {
    let mut world = waiting_world(patient());
    let client = world.join(1, Role::Client, 1 << 30);
    world.send(client, 100, 1);
    world.settle();
    world.pass(WAIT / 2);
    join_in_handshake(&mut world, Role::Host);
    world.send(client, 100, 1);
    world.settle();
    world.restore();
    world.devices.retain(|device| device.role == Role::Client);
    assert_eq!((world.waiting(1).messages, world.waiting(1).left), (2, Some(WAIT / 2)));
    let host = world.join(1, Role::Host, 1 << 30);
    world.settle();
    assert_eq!(world.devices[host].order, [(client, 0), (client, 1)]);
    world.assert_nothing_waits();
}

#[test]
fn messages_for_a_receiver_that_is_marked_for_closing_wait() {
    let mut world = waiting_world(rules());
    let (host, client) = (world.join(1, Role::Host, 1 << 30), world.join(1, Role::Client, 1 << 30));
    world.devices[client].pipe.borrow_mut().is_broken = true;
    world.send(host, 100, 1);
    world.send(host, 100, 1);
    world.devices[host].pipe.borrow_mut().read_limit = 120;
    world.settle();
    let next = world.join(1, Role::Client, 1 << 30);
    world.settle();
    assert_eq!(world.devices[next].order, [(host, 1)], "the first was lost with the connection");
}

#[test]
fn without_the_term_nothing_waits() {
    let mut world = World::new(rules());
    let host = world.join(1, Role::Host, 1 << 30);
    world.send(host, 100, 1);
    world.settle();
    assert_eq!(world.shard.tally().undelivered, 1);
    assert!(world.shard.waiting.is_empty());
}

#[test]
fn the_end_of_the_registration_discards_what_waits() {
    for is_present in [true, false] {
        let mut world = waiting_world(rules());
        let host = world.join(1, Role::Host, 1 << 30);
        let other = world.join(2, Role::Peer, 1 << 30);
        for talker in [host, other] {
            world.send(talker, 100, 1);
            world.settle();
        }
        if !is_present {
            world.leave(host);
        }
        world.shard.end(Serial(1), CloseReason::Removed, world.now);
        assert_eq!((world.holds(), world.discarded(DiscardReason::Ended)), (1, 1));
        assert_eq!(world.shard.traffic_of(Serial(1), world.now), Traffic::default());
        world.shard.close_all(CloseReason::Stopping, world.now);
        assert_eq!(world.discarded(DiscardReason::Ended), 2);
        world.assert_nothing_waits();
        world.settle();
        assert!(world.shard.rooms.is_empty());
    }
}

#[test]
fn what_waits_is_given_up_for_memory_before_members_the_largest_first() {
    let mut world = waiting_world(Rules { outbox: 8 << 20, ..rules() });
    for (room, size) in [(1, 40_000), (2, 200_000), (3, 100_000)] {
        let talker = world.join(room, Role::Peer, 1 << 30);
        world.send(talker, size, 1);
    }
    let (host, _stuck) = (world.join(4, Role::Host, 1 << 30), world.join(4, Role::Client, 0));
    world.send(host, 200_000, 1);
    world.rounds(50);
    assert_eq!(world.shard.shed_load(150_000, world.now), Shed { members: 0, messages: 1 });
    assert_eq!([1, 2, 3].map(|room| world.waiting(room).messages), [1, 0, 1]);
    assert_eq!(world.shard.shed_load(300_000, world.now), Shed { members: 1, messages: 2 });
    assert_eq!(world.discarded(DiscardReason::Memory), 3);
    world.assert_nothing_waits();
    assert_eq!(world.devices.iter().filter(|device| device.pipe.borrow().left.is_some()).count(), 1);
}

#[test]
fn a_new_process_continues_with_what_waits_and_its_times() {
    let mut world = waiting_world(patient());
    let peer = world.join(1, Role::Peer, 1 << 30);
    let client = world.join(2, Role::Client, 1 << 30);
    for talker in [peer, client] {
        world.send(talker, 100, 1);
        world.settle();
        world.pass(WAIT / 4);
        world.send(talker, 70_000, 1);
        world.settle();
    }
    world.leave(client);
    world.restore();
    world.shard.assert_counted();
    assert_eq!((world.holds(), world.waiting(1).messages, world.waiting(2).messages), (2, 2, 2));
    assert!(world.devices[peer].order.is_empty());
    world.pass(WAIT / 2);
    assert_eq!((world.waiting(1).messages, world.waiting(2).messages), (1, 2));
    let (next, host) = (world.join(1, Role::Peer, 1 << 30), world.join(2, Role::Host, 1 << 30));
    world.settle();
    assert_eq!(world.devices[next].order, [(peer, 1)]);
    assert_eq!(world.devices[host].order, [(client, 0), (client, 1)]);
    world.assert_nothing_waits();
}

#[test]
fn a_damaged_state_is_not_continued() {
    let mut world = waiting_world(rules());
    let host = world.join(1, Role::Host, 1 << 30);
    world.send(host, 100, 1);
    world.settle();
    let state = world.shard.export_waiting(world.now).next().unwrap().1;
    world.shard.discard_all_waiting(DiscardReason::Ended);
    let damages: [fn(&mut serde_json::Value); 3] = [
        |queue| queue["side"] = 2.into(),
        |queue| queue["arrivals"][0]["bytes"] = 101.into(),
        |queue| queue["arrivals"] = serde_json::json!([]),
    ];
    for damage in damages {
        let mut json = serde_json::to_value(&state).unwrap();
        damage(&mut json["queues"][0]);
        world.shard.restore_waiting(serde_json::from_value(json).unwrap(), WAIT, || Some(Rc::new(())), world.now);
        world.assert_nothing_waits();
    }
}

#[test]
fn a_message_from_outside_waits_until_what_waits_is_above_the_high_water_mark() {
    let mut world = waiting_world(rules());
    let frame = |payload: &[u8]| [ServerHeader::new(Opcode::Binary, payload.len()).as_bytes(), payload].concat();
    let hold = Rc::clone(&world.wait.as_ref().unwrap().1);
    let wait = |world: &mut World, number: u64, size: usize| {
        let mut payload = vec![0; size];
        payload[..8].copy_from_slice(&99u64.to_be_bytes());
        payload[8..16].copy_from_slice(&number.to_be_bytes());
        let hold = || Some((WAIT, Rc::clone(&hold)));
        world.shard.wait_for_receiver(Serial(1), Role::Client, frame(&payload), hold, world.now)
    };
    assert!(!world.shard.has_receiver(Serial(1), Role::Client));
    assert!((0..6).all(|number| wait(&mut world, number, 50_000)));
    assert!(!wait(&mut world, 6, 16), "it is full");
    world.shard.assert_counted();
    let client = world.join(1, Role::Client, 1 << 30);
    world.send(client, 100, 1);
    world.rounds(10);
    assert_eq!(world.waiting(1).messages, 6, "members are paused as well");
    let host = world.join(1, Role::Host, 1 << 30);
    assert!(world.shard.has_receiver(Serial(1), Role::Client));
    world.settle();
    let expected: Vec<_> = (0..6).map(|number| (99, number)).chain([(client, 0)]).collect();
    assert_eq!(world.devices[host].order, expected);
    drop(hold);
    world.assert_nothing_waits();
    let without = world.shard.wait_for_receiver(Serial(5), Role::Peer, frame(&[0; 16]), || None, world.now);
    assert!(!without && world.shard.traffic_of(Serial(5), world.now) == Traffic::default());
    assert_eq!(world.shard.by_serial.len(), 1, "no room is left behind");
}

/// What one registration does, in the model.
#[derive(Default)]
struct Model {
    /// Members: device, side, and whether it only receives.
    members: Vec<(usize, usize, bool)>,
    queues: [Vec<(Moment, (usize, usize))>; 2],
    received: HashMap<usize, Vec<(usize, usize)>>,
    sent: HashMap<usize, usize>,
    expired: u64,
}

impl Model {
    fn join(&mut self, device: usize, role: Role, receives_only: bool, now: Moment) {
        let side = room::side_of(role);
        self.members.push((device, side, receives_only));
        if !receives_only {
            self.expire(now);
            let given = self.queues[side].drain(..).map(|(_, message)| message);
            self.received.entry(device).or_default().extend(given);
        }
    }

    /// Sends a message; returns the number of its receivers. A device from outside is no member.
    fn send(&mut self, device: usize, role: Role, now: Moment) -> usize {
        let number = self.sent.entry(device).or_default();
        let message = (device, *number);
        *number += 1;
        let target = receivers_of(role);
        let all = self.members.iter().filter(|(other, side, _)| *other != device && *side == target);
        let (mut waits, mut receivers) = (true, 0);
        for (other, _, receives_only) in all {
            (waits, receivers) = (waits && *receives_only, receivers + 1);
            self.received.entry(*other).or_default().push(message);
        }
        if waits {
            self.queues[target].push((now, message));
        }
        receivers
    }

    /// Joins, and returns the queue that it has taken over.
    fn start_handshake(&mut self, device: usize, role: Role, now: Moment) -> Vec<(Moment, (usize, usize))> {
        self.expire(now);
        let taken = self.queues[room::side_of(role)].clone();
        self.join(device, role, false, now);
        taken
    }

    /// Leaves again. What was taken over waits again with what was sent meanwhile, unless others would receive it.
    fn fail_handshake(&mut self, device: usize, role: Role, taken: Vec<(Moment, (usize, usize))>, now: Moment) {
        let side = room::side_of(role);
        self.members.retain(|(other, ..)| *other != device);
        let received = self.received.remove(&device).unwrap_or_default();
        let others = self.members.iter().filter(|(_, other, listens)| *other == side && !listens).count();
        if !taken.is_empty() && others <= usize::from(receivers_of(role) == side) {
            let since = received[taken.len()..].iter().map(|message| (now, *message));
            self.queues[side] = taken.iter().copied().chain(since).collect();
        }
    }

    fn expire(&mut self, now: Moment) {
        for queue in &mut self.queues {
            let before = queue.len();
            queue.retain(|(at, _)| at.after(WAIT) > now);
            self.expired += (before - queue.len()) as u64;
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u8, bool),
    Send(usize, usize),
    /// A message from outside, in a role.
    Outside(u8, usize),
    Leave(usize),
    /// Joins by a handshake during which members send, and which fails or not.
    Handshake(u8, usize, bool),
    Pass(u64),
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..2, prop::bool::weighted(0.3)).prop_map(|(role, receives_only)| Step::Join(role, receives_only)),
        8 => (any::<usize>(), 16usize..1500).prop_map(|(index, size)| Step::Send(index, size)),
        4 => (0u8..2, 16usize..1500).prop_map(|(role, size)| Step::Outside(role, size)),
        3 => any::<usize>().prop_map(Step::Leave),
        3 => (0u8..2, any::<usize>(), any::<bool>()).prop_map(|(role, index, fails)| Step::Handshake(role, index, fails)),
        3 => (1u64..40).prop_map(Step::Pass),
        1 => Just(Step::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn in_any_history_messages_wait_for_the_member_that_the_model_says(
        steps in prop::collection::vec(step(), 1..60),
        is_lobby: bool,
    ) {
        let mut world = waiting_world(patient());
        let mut model = Model::default();
        let pick = |model: &Model, index: usize| model.members.get(index % model.members.len().max(1)).copied();
        for step in steps {
            match step {
                Step::Join(role, receives_only) => {
                    let role = if is_lobby { Role::Peer } else { [Role::Host, Role::Client][usize::from(role)] };
                    let receives_only = receives_only && role != Role::Host;
                    let device = match receives_only {
                        true => world.join_listener(1, role),
                        false => world.join(1, role, 1 << 30),
                    };
                    model.join(device, role, receives_only, world.now);
                }
                Step::Send(index, size) => {
                    if let Some((device, _, false)) = pick(&model, index) {
                        world.send(device, size, 1);
                        model.send(device, world.devices[device].role, world.now);
                    }
                }
                Step::Outside(role, size) => {
                    let role = if is_lobby { Role::Peer } else { [Role::Host, Role::Client][usize::from(role)] };
                    let number = model.sent.get(&OUTSIDE).copied().unwrap_or(0);
                    let hold = || world.wait.clone();
                    let message = outside(number, size);
                    let outcome = world.shard.send_from_outside(Serial(1), role, message, hold, world.now);
                    match model.send(OUTSIDE, role, world.now) {
                        0 => prop_assert!(matches!(outcome, Outcome::Waiting), "{:?}", outcome),
                        expected => prop_assert!(matches!(outcome, Outcome::Sent(receivers) if receivers == expected)),
                    }
                }
                Step::Leave(index) => {
                    if let Some((device, ..)) = pick(&model, index) {
                        world.leave(device);
                        model.members.retain(|(other, ..)| *other != device);
                    }
                }
                Step::Handshake(role, index, fails) => {
                    let role = if is_lobby { Role::Peer } else { [Role::Host, Role::Client][usize::from(role)] };
                    let device = world.join_away(1, role, Duration::from_secs(1000));
                    let before = model.start_handshake(device, role, world.now);
                    if let Some((sender, _, false)) = pick(&model, index).filter(|(sender, ..)| *sender != device) {
                        world.send(sender, 100, 1);
                        model.send(sender, world.devices[sender].role, world.now);
                        world.round();
                    }
                    if fails {
                        let (slot, id) = (world.devices[device].slot, world.devices[device].id);
                        world.shard.close(slot, id, CloseReason::Lost, world.now);
                        model.fail_handshake(device, role, before, world.now);
                    } else {
                        world.shard.arrived(world.devices[device].slot, &[], world.now);
                    }
                }
                Step::Pass(seconds) => {
                    world.pass(Duration::from_secs(seconds));
                    model.expire(world.now);
                }
                Step::Restore => world.restore(),
            }
            world.rounds(3);
            (0..world.devices.len()).for_each(|index| world.take(index, 1 << 30));
            let waiting: usize = model.queues.iter().map(Vec::len).sum();
            prop_assert_eq!(world.waiting(1).messages, waiting as u64);
            prop_assert_eq!(world.holds(), usize::from(waiting > 0));
        }
        world.settle();
        for (index, device) in world.devices.iter().enumerate() {
            prop_assert_eq!(device.order.clone(), model.received.get(&index).cloned().unwrap_or_default(), "{}", index);
        }
        world.pass(WAIT);
        world.assert_nothing_waits();
        model.expire(world.now);
        prop_assert_eq!(world.shard.tally().undelivered, 0);
    }

    #[test]
    fn in_any_history_no_message_waits_for_ever_or_arrives_twice_or_late(
        acts in prop::collection::vec(act(), 1..120),
        pace: bool,
        work in prop_oneof![Just(usize::MAX), 1usize..4],
    ) {
        let mut world = waiting_world(Rules { pace, ..rules() });
        world.work = work;
        for act in acts {
            perform(&mut world, act);
        }
        world.settle();
        for device in &world.devices {
            for numbers in device.received.values() {
                prop_assert!(numbers.is_sorted_by(|one, next| one < next), "{:?}", numbers);
            }
        }
        prop_assert_eq!(world.shard.tally().outbox_bytes, 0);
        for _ in 0..20 {
            world.pass(WAIT);
        }
        world.assert_nothing_waits();
    }
}
