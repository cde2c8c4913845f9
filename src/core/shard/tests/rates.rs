//! A member that exceeds its rate is throttled and loses nothing, and no other member is affected.

use super::*;
use crate::rate::Rate;

fn messages(rate: &str) -> Rates {
    Rates { messages: Some(rate.parse().unwrap()), bytes: None }
}

fn bytes(rate: &str) -> Rates {
    Rates { messages: None, bytes: Some(rate.parse().unwrap()) }
}

impl World {
    /// Creates a lobby of a sender with these rates and a receiver.
    fn rate_limited(rates: &Rates) -> (Self, usize) {
        let mut world = Self::new(rules());
        let sender = world.join(1, Role::Peer, usize::MAX / 2);
        world.join(1, Role::Peer, usize::MAX / 2);
        world.shard.set_rates(world.devices[sender].slot, rates);
        (world, sender)
    }

    /// Lets a second pass, with iterations as in the event loop; returns how many bytes were read from a device.
    fn second(&mut self, index: usize) -> usize {
        let before = self.devices[index].pipe.borrow().received;
        for _ in 0..20 {
            self.now = self.now.after(Duration::from_millis(50));
            // Readiness isn't reported twice.
            while self.shard.has_work() || self.shard.next_due().is_some_and(|due| due <= self.now) {
                self.shard.resume(self.now);
            }
            self.shard.flush(self.now);
        }
        self.note_ends();
        self.devices[index].pipe.borrow().received - before
    }
}

#[test]
fn a_member_above_its_message_rate_is_throttled_and_loses_nothing() {
    let (mut world, sender) = World::rate_limited(&messages("100/s"));
    for _ in 0..3000 {
        world.send(sender, 16, 1);
    }
    world.round();
    // It is read in small pieces, so it is never far ahead.
    assert!(world.shard.tally().messages_in < 200);
    for second in 1..=20 {
        world.second(sender);
        assert!(world.shard.tally().messages_in <= 100 * (second + 1) + 200, "{second}");
    }
    assert!(world.shard.tally().messages_in >= 1900 && world.shard.tally().reads_throttled >= 10);
    for _ in 0..12 {
        world.second(sender);
    }
    world.take(1, usize::MAX / 2);
    assert_eq!(world.devices[1].received[&sender], (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_member_above_its_byte_rate_is_throttled_within_a_message() {
    let (mut world, sender) = World::rate_limited(&bytes("100000/s burst 50000"));
    world.send(sender, 1 << 20, 3);
    world.round();
    assert!(world.devices[sender].pipe.borrow().received <= 60_000);
    for _ in 0..9 {
        let read = world.second(sender);
        assert!((80_000..=110_000).contains(&read), "{read}");
    }
    world.second(sender);
    world.second(sender);
    world.take(1, usize::MAX / 2);
    assert_eq!(world.devices[1].received[&sender], [0]);
    world.check();
}

#[test]
fn a_member_below_its_rate_is_never_throttled() {
    let rates = Rates { messages: Some(Rate::per_second(100, 100)), bytes: Some(Rate::per_second(1 << 20, 1 << 20)) };
    let (mut world, sender) = World::rate_limited(&rates);
    for _ in 0..50 {
        for _ in 0..50 {
            world.send(sender, 1000, 1);
        }
        world.round();
        world.second(sender);
    }
    assert_eq!((world.shard.tally().reads_throttled, world.shard.tally().messages_in), (0, 2500));
}

#[test]
fn a_throttled_member_receives_messages_and_is_not_closed() {
    let (mut world, sender) = World::rate_limited(&messages("1/h"));
    world.send(sender, 16, 1);
    world.send(sender, 16, 1);
    world.round();
    for _ in 0..300 {
        world.second(sender);
        world.raw(1, 0x8a, b"");
        world.round();
        world.shard.sweep(world.now);
    }
    assert_eq!(world.devices[sender].pipe.borrow().left, None);
    world.send(1, 16, 1);
    world.round();
    world.take(sender, usize::MAX / 2);
    assert_eq!(world.devices[sender].received[&1], [0]);
}

#[test]
fn a_throttled_member_can_be_closed_and_its_end_is_noticed() {
    let (mut world, sender) = World::rate_limited(&messages("1/h"));
    world.send(sender, 16, 1);
    world.send(sender, 16, 1);
    world.round();
    world.shard.disconnect(world.devices[sender].id, CloseReason::ClosedByAdmin, world.now);
    world.devices[sender].pipe.borrow_mut().has_ended = true;
    world.second(sender);
    assert!(world.devices[sender].pipe.borrow().is_dropped);
    assert_eq!(world.shard.next_due(), None, "a wake-up is left behind");
    // The next member in this slot isn't woken for it.
    let next = world.join(1, Role::Peer, usize::MAX / 2);
    world.send(next, 16, 1);
    world.second(next);
    world.round();
    world.take(1, usize::MAX / 2);
    assert_eq!(world.devices[1].received[&next], [0]);
}

#[test]
fn rates_and_their_levels_survive_a_restart() {
    let (mut world, sender) = World::rate_limited(&bytes("100000/s"));
    world.send(sender, 1 << 20, 1);
    world.round();
    for _ in 0..4 {
        world.second(sender);
    }
    world.restore();
    let before = world.devices[sender].pipe.borrow().received;
    world.round();
    assert!(world.devices[sender].pipe.borrow().received - before <= 110_000);
    for _ in 0..3 {
        assert!(world.second(sender) <= 110_000);
    }
    for _ in 0..6 {
        world.second(sender);
    }
    world.take(1, usize::MAX / 2);
    assert_eq!(world.devices[1].received[&sender], [0]);
}
