//! No call does unbounded work: links that only count the writes, and thousands of them.

use std::cell::Cell;

use super::*;

/// A connection whose peer takes so many bytes.
#[derive(Debug)]
struct Counted {
    inbound: Vec<u8>,
    room: usize,
    received: Rc<Cell<u64>>,
    writes: Rc<Cell<usize>>,
}

impl Link for Counted {
    fn receive(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
        let mut bytes = 0;
        for buffer in buffers {
            let part = (self.inbound.len() - bytes).min(buffer.len());
            buffer[..part].copy_from_slice(&self.inbound[bytes..bytes + part]);
            bytes += part;
        }
        self.inbound.drain(..bytes);
        if bytes == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(Received { bytes, more: true }) }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>().min(self.room);
        self.room -= bytes;
        self.writes.set(self.writes.get() + 1);
        self.received.set(self.received.get() + bytes as u64);
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn has_unread(&self) -> bool {
        false
    }

    fn finish(&mut self) {}

    fn on_close(&mut self, _: &Departure) {}
}

struct Crowd {
    shard: Shard<Counted>,
    slots: Vec<usize>,
    writes: Rc<Cell<usize>>,
    received: Rc<Cell<u64>>,
    most: usize,
}

const NOW: Moment = Moment(1_000_000);

impl Crowd {
    /// A lobby of so many, whose sockets take so many bytes.
    fn new(members: usize, room: usize) -> Self {
        let rules = Rules { max_message: 64 << 20, outbox: 64 << 20, ..rules() };
        let (writes, received) = (Rc::default(), Rc::default());
        let mut crowd = Self { shard: Shard::new(rules), slots: Vec::new(), writes, received, most: 0 };
        for _ in 0..members {
            crowd.join(room);
        }
        crowd
    }

    /// Makes a call, and notes how many writes it makes.
    fn call(&mut self, call: impl FnOnce(&mut Shard<Counted>)) {
        let before = self.writes.get();
        call(&mut self.shard);
        self.most = self.most.max(self.writes.get() - before);
    }

    fn join(&mut self, room: usize) {
        let (received, writes) = (Rc::clone(&self.received), Rc::clone(&self.writes));
        let link = Counted { inbound: Vec::new(), room, received, writes };
        let id = MemberId(self.slots.len() as u64);
        let newcomer = Newcomer { id, serial: Serial(1), role: Role::Peer, counts: true };
        let mut slot = 0;
        self.call(|shard| slot = shard.join(&newcomer, link, NOW));
        self.slots.push(slot);
    }

    fn say(&mut self, who: usize, size: usize) {
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend((size as u64).to_be_bytes());
        frame.resize(frame.len() + 4 + size, 0);
        let slot = self.slots[who];
        self.shard.link_mut(slot).unwrap().inbound.extend(frame);
        self.call(|shard| shard.readable(slot, false, NOW));
    }

    fn iterate(&mut self) {
        self.call(|shard| shard.begin_iteration(0));
        self.call(|shard| shard.resume(NOW));
        self.call(|shard| shard.flush_some(32, NOW));
    }

    fn settle(&mut self) {
        while self.shard.has_work() {
            self.iterate();
        }
    }
}

#[test]
fn a_message_above_a_mebibyte_to_a_thousand_that_do_not_read_is_sent_bit_by_bit() {
    let mut crowd = Crowd::new(1000, 64 << 10);
    crowd.say(0, (1 << 20) + 1);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 999);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn sixteen_megabytes_to_nine_thousand_are_sent_bit_by_bit_and_their_end_is() {
    let mut crowd = Crowd::new(9000, 64 << 10);
    crowd.say(0, 16 << 20);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 8999);
    crowd.call(|shard| shard.end(Serial(1), CloseReason::Removed, NOW));
    assert_eq!(crowd.shard.tally().members, 9000 - 64);
    crowd.settle();
    assert_eq!(crowd.shard.tally().members, 0);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_fan_out_goes_on_while_a_hundred_join_and_leave_and_reaches_those_who_stay() {
    let mut crowd = Crowd::new(5000, usize::MAX);
    crowd.say(0, 70_000);
    for turn in 1..=100 {
        crowd.iterate();
        let (slot, id) = (crowd.slots[turn * 49], MemberId(turn as u64 * 49));
        crowd.call(|shard| shard.close(slot, id, CloseReason::ClosedByAdmin, NOW));
        crowd.join(usize::MAX);
    }
    assert!(crowd.shard.has_work(), "it is still on its way");
    crowd.settle();
    // Those who left had what was sent to them before, and those who came had nothing.
    assert_eq!(crowd.shard.tally().deliveries, 4999);
    crowd.say(1, 70_000);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 4999 * 2);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn nine_thousand_silent_members_are_pinged_and_given_up_bit_by_bit() {
    let mut crowd = Crowd::new(9000, usize::MAX);
    let later = NOW.after(Duration::from_secs(30));
    crowd.call(|shard| shard.sweep(later));
    while crowd.shard.has_work() {
        crowd.call(|shard| shard.resume(later));
    }
    assert_eq!(crowd.writes.get(), 9000);
    let end = later.after(Duration::from_secs(20));
    crowd.call(|shard| shard.sweep(end));
    while crowd.shard.has_work() {
        crowd.call(|shard| shard.resume(end));
    }
    assert_eq!(crowd.shard.tally().closes[CloseReason::NoPong as usize], 9000);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_full_broadcast_stops_its_senders_and_is_not_hurried() {
    let mut crowd = Crowd::new(100, usize::MAX);
    for who in 0..100 {
        crowd.say(who, 200_000);
    }
    assert_eq!(crowd.writes.get(), 0, "nothing is sent in the middle of an iteration");
    assert!(crowd.shard.held() < 3 << 20, "{}", crowd.shard.held());
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 100 * 99);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_member_that_joins_while_messages_wait_receives_those_behind_it_alone() {
    let mut world = World::new(rules());
    let crowd: Vec<usize> = (0..4).map(|_| world.join(1, Role::Peer, usize::MAX / 2)).collect();
    world.work = 0;
    let mut all = crowd.clone();
    for turn in 0..5 {
        world.send(crowd[0], 100, 1);
        world.send(crowd[turn % 3], 100, 1);
        world.round();
        all.push(world.join(1, Role::Peer, usize::MAX / 2));
        let leaver = all.remove(1 + turn % 2);
        world.shard.disconnect(world.devices[leaver].id, CloseReason::Lost, world.now);
        world.note_ends();
    }
    world.work = 1;
    world.settle();
    world.check();
}
