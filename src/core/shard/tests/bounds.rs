//! No call does unbounded work: thousands of links that only count the writes and their bytes.

use super::*;

struct Crowd {
    shard: Shard<InMemoryLink>,
    slots: Vec<usize>,
    sent: Rc<SendCounter>,
    most: usize,
    most_bytes: u64,
}

const NOW: Moment = Moment(1_000_000);

impl Crowd {
    /// Creates a lobby whose sockets accept `room` bytes each.
    fn new(members: usize, room: usize) -> Self {
        let rules = Rules { max_message: 64 << 20, outbox: 64 << 20, ..rules() };
        let mut crowd =
            Self { shard: Shard::new(rules), slots: Vec::new(), sent: Rc::default(), most: 0, most_bytes: 0 };
        for _ in 0..members {
            crowd.join(room);
        }
        crowd
    }

    /// Makes a call, and records the number of its writes and their bytes.
    fn call(&mut self, call: impl FnOnce(&mut Shard<InMemoryLink>)) {
        let (calls, bytes) = (self.sent.calls.get(), self.sent.bytes.get());
        call(&mut self.shard);
        self.most = self.most.max(self.sent.calls.get() - calls);
        self.most_bytes = self.most_bytes.max(self.sent.bytes.get() - bytes);
    }

    fn join(&mut self, room: usize) {
        self.join_as(Serial(1), Role::Peer, room);
    }

    fn join_as(&mut self, serial: Serial, role: Role, room: usize) -> usize {
        let sent = Rc::clone(&self.sent);
        let link = InMemoryLink(Pipe { sent, discards_outbound: true, ..Pipe::with_room(room) }.shared());
        let id = MemberId(self.slots.len() as u64);
        let newcomer = Newcomer { id, serial, role, receives_only: false, counts: true };
        let mut slot = 0;
        self.call(|shard| slot = shard.join(&newcomer, link, NOW));
        self.slots.push(slot);
        self.slots.len() - 1
    }

    fn send(&mut self, index: usize, size: usize) {
        let mut frame = vec![0x82, 0x80 | 127];
        frame.extend((size as u64).to_be_bytes());
        frame.resize(frame.len() + 4 + size, 0);
        self.send_frame(index, &frame);
    }

    fn send_small(&mut self, index: usize) {
        self.send_frame(index, &client_frame(0x82, [0; 4], &[0; 10]));
    }

    fn send_frame(&mut self, index: usize, frame: &[u8]) {
        let slot = self.slots[index];
        self.shard.link_mut(slot).unwrap().0.borrow_mut().inbound.extend(frame);
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
fn a_message_above_a_mebibyte_to_a_thousand_members_that_do_not_read_is_sent_in_bounded_calls() {
    let mut crowd = Crowd::new(1000, 64 << 10);
    crowd.send(0, (1 << 20) + 1);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 999);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_call_sends_bounded_bytes_and_few_while_another_registration_is_active() {
    for with_others in [false, true] {
        let mut crowd = Crowd::new(1000, 512 << 10);
        let reader = crowd.slots[1];
        crowd.shard.link_mut(reader).unwrap().0.borrow_mut().room = usize::MAX;
        let host = crowd.join_as(Serial(2), Role::Host, usize::MAX);
        let client = crowd.join_as(Serial(2), Role::Client, usize::MAX);
        let received = |crowd: &mut Crowd| crowd.shard.link_mut(crowd.slots[client]).unwrap().0.borrow().sends;
        crowd.send_small(host);
        let mut exchanged = received(&mut crowd);
        assert_eq!(exchanged, 1);
        let now = if with_others { NOW } else { NOW.after(Duration::from_secs(2)) };
        crowd.call(|shard| shard.resume(now));
        crowd.send(0, 16 << 20);
        let mut iterations = 0;
        while crowd.shard.has_work() {
            if with_others {
                crowd.send_small(host);
                exchanged += 1;
                assert_eq!(received(&mut crowd), exchanged);
            }
            crowd.call(|shard| shard.begin_iteration(1));
            crowd.call(|shard| shard.resume(now));
            crowd.call(|shard| shard.flush_some(if with_others { 8 } else { 32 }, now));
            iterations += 1;
        }
        assert!(crowd.shard.link_mut(reader).unwrap().0.borrow().room <= usize::MAX - (16 << 20));
        assert_eq!(crowd.sent.bytes.get() - 998 * (512 << 10) - 12 * exchanged as u64, (16 << 20) + 10);
        let most = if with_others { 1 << 20 } else { 5 << 19 };
        assert!(crowd.most_bytes <= most, "{} bytes in a call", crowd.most_bytes);
        assert!(iterations > (500 << 20) / most, "{iterations} iterations");
    }
}

#[test]
fn a_member_that_reads_is_served_before_those_whose_sockets_are_full() {
    let mut crowd = Crowd::new(1000, 512 << 10);
    let reader = crowd.slots[1];
    crowd.shard.link_mut(reader).unwrap().0.borrow_mut().room = usize::MAX;
    let host = crowd.join_as(Serial(2), Role::Host, usize::MAX);
    crowd.send_small(host);
    crowd.send(0, 16 << 20);
    let received = |crowd: &mut Crowd| usize::MAX - crowd.shard.link_mut(reader).unwrap().0.borrow().room;
    let mut iterations = 0;
    while received(&mut crowd) < 16 << 20 {
        crowd.iterate();
        iterations += 1;
    }
    assert!(iterations < 1500, "{iterations} iterations");
    assert!(crowd.shard.has_work(), "all others have been served before");
}

#[test]
fn a_message_of_a_single_receiver_is_sent_in_pieces_while_another_registration_is_active() {
    let mut crowd = Crowd::new(0, 0);
    let [host, _, other, _] = [(1, Role::Host), (1, Role::Client), (2, Role::Host), (2, Role::Client)]
        .map(|(serial, role)| crowd.join_as(Serial(serial), role, usize::MAX));
    crowd.send_small(other);
    crowd.send(host, 16 << 20);
    crowd.settle();
    assert_eq!(crowd.sent.bytes.get(), 12 + (16 << 20) + 10);
    assert!(crowd.most_bytes <= 512 << 10, "{} bytes in a call", crowd.most_bytes);
}

#[test]
fn a_sweep_looks_at_some_members_in_each_call() {
    let mut crowd = Crowd::new(1000, usize::MAX);
    let later = NOW.after(Duration::from_secs(60));
    for slot in &crowd.slots {
        crowd.shard.members[*slot].pinged = NOW.into();
    }
    crowd.shard.closing.start_iteration(0);
    crowd.shard.sweep(later);
    let marked = |crowd: &Crowd| crowd.shard.members.iter().filter(|(_, member)| !member.is_present()).count();
    assert_eq!(marked(&crowd), SWEPT_PER_ITERATION);
    assert!(crowd.shard.has_work());
    while crowd.shard.has_work() {
        crowd.call(|shard| shard.resume(later));
    }
    assert_eq!(crowd.shard.tally().closes[CloseReason::NoPong as usize], 1000);
}

#[test]
fn a_large_message_to_nine_thousand_members_and_their_removal_take_bounded_calls() {
    let mut crowd = Crowd::new(9000, 64 << 10);
    crowd.send(0, 16 << 20);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 8999);
    crowd.call(|shard| shard.end(Serial(1), CloseReason::Removed, NOW));
    assert_eq!(crowd.shard.tally().members, 9000 - 64);
    crowd.settle();
    assert_eq!(crowd.shard.tally().members, 0);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_fan_out_continues_during_joins_and_departures_and_reaches_all_remaining_members() {
    let mut crowd = Crowd::new(5000, usize::MAX);
    crowd.send(0, 70_000);
    for turn in 1..=100 {
        crowd.iterate();
        let (slot, id) = (crowd.slots[turn * 49], MemberId(turn as u64 * 49));
        crowd.call(|shard| shard.close(slot, id, CloseReason::ClosedByAdmin, NOW));
        crowd.join(usize::MAX);
    }
    assert!(crowd.shard.has_work(), "the fan-out has finished already");
    crowd.settle();
    // Members that left had received it before, and new ones don't receive it.
    assert_eq!(crowd.shard.tally().deliveries, 4999);
    crowd.send(1, 70_000);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 4999 * 2);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn nine_thousand_silent_members_are_pinged_and_closed_in_bounded_calls() {
    let mut crowd = Crowd::new(9000, usize::MAX);
    let later = NOW.after(Duration::from_secs(30));
    crowd.call(|shard| shard.sweep(later));
    while crowd.shard.has_work() {
        crowd.call(|shard| shard.resume(later));
    }
    assert_eq!(crowd.sent.calls.get(), 9000);
    let end = later.after(Duration::from_secs(20));
    crowd.call(|shard| shard.sweep(end));
    while crowd.shard.has_work() {
        crowd.call(|shard| shard.resume(end));
    }
    assert_eq!(crowd.shard.tally().closes[CloseReason::NoPong as usize], 9000);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_thousand_pairs_with_more_to_read_are_read_in_bounded_calls() {
    let mut crowd = Crowd::new(0, 0);
    for pair in 1..=1000 {
        let host = crowd.join_as(Serial(pair), Role::Host, usize::MAX);
        crowd.join_as(Serial(pair), Role::Client, usize::MAX);
        let frames = client_frame(0x82, [0; 4], &[0; 1000]).repeat(1000);
        let slot = crowd.slots[host];
        crowd.shard.link_mut(slot).unwrap().0.borrow_mut().inbound.extend(frames);
        crowd.call(|shard| shard.readable(slot, false, NOW));
    }
    crowd.call(|shard| shard.begin_iteration(0));
    let before = crowd.shard.tally().messages_in;
    crowd.call(|shard| shard.resume(NOW));
    let read = crowd.shard.tally().messages_in - before;
    assert!((1..=64 * 17).contains(&read), "{read} messages in a call, about 16 for each member");
    assert!(crowd.most <= 65, "{} writes in a call", crowd.most);
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 1_000_000);
}

#[test]
fn long_outboxes_are_sent_in_bounded_calls() {
    let mut crowd = Crowd::new(200, 0);
    for _ in 0..30 {
        // More slices than one write can take for each member, by the limit of the kernel.
        for _ in 0..100 {
            crowd.send(0, 10);
            crowd.send(1, 10);
            crowd.iterate();
        }
    }
    crowd.settle();
    for at in 0..200 {
        let slot = crowd.slots[at];
        crowd.shard.link_mut(slot).unwrap().0.borrow_mut().room = usize::MAX;
        crowd.call(|shard| shard.writable(slot, NOW));
    }
    crowd.settle();
    assert_eq!(crowd.shard.tally().outbox_bytes, 0);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn the_departure_of_a_receiver_wakes_no_sender_while_others_are_as_far_behind() {
    let mut crowd = Crowd::new(0, 0);
    let stuck: Vec<_> = (0..3).map(|_| crowd.join_as(Serial(1), Role::Client, 0)).collect();
    let hosts: Vec<_> = (0..1000).map(|_| crowd.join_as(Serial(1), Role::Host, usize::MAX)).collect();
    crowd.send(hosts[0], 1 << 20);
    crowd.settle();
    for host in &hosts {
        crowd.send(*host, 100);
    }
    crowd.settle();
    let left_unread = |crowd: &mut Crowd| {
        let unread = |host: &&usize| !crowd.shard.link_mut(crowd.slots[**host]).unwrap().0.borrow().inbound.is_empty();
        hosts.iter().filter(unread).count()
    };
    assert_eq!(left_unread(&mut crowd), 1000);
    let mut leave = |index: usize| {
        let (slot, id) = (crowd.slots[index], MemberId(index as u64));
        crowd.call(|shard| shard.close(slot, id, CloseReason::Lost, NOW));
        crowd.shard.run_queue.len(Lane::Usual) + crowd.shard.run_queue.len(Lane::Closing)
    };
    // A member that leaves is itself scheduled, so that its connection ends.
    assert!(leave(stuck[0]) <= 1 && leave(stuck[1]) <= 2, "two of three leave");
    assert!(leave(stuck[2]) >= 1000, "no receiver is left, so the hosts are read");
    crowd.settle();
    assert_eq!(left_unread(&mut crowd), 0);
}

#[test]
fn a_full_broadcast_throttles_its_senders_and_is_sent_in_bounded_calls() {
    let mut crowd = Crowd::new(100, usize::MAX);
    for index in 0..100 {
        crowd.send(index, 200_000);
    }
    assert_eq!(crowd.sent.calls.get(), 0, "a message was sent in the middle of an iteration");
    assert!(crowd.shard.held() < 3 << 20, "{}", crowd.shard.held());
    crowd.settle();
    assert_eq!(crowd.shard.tally().deliveries, 100 * 99);
    assert!(crowd.most <= 256, "{} writes in a call", crowd.most);
}

#[test]
fn a_member_that_joins_while_messages_wait_receives_only_later_ones() {
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

/// Adds a lobby whose sockets accept `room` bytes each; returns the indices of its members.
fn add_lobby(crowd: &mut Crowd, serial: Serial, members: usize, room: usize) -> Vec<usize> {
    (0..members).map(|_| crowd.join_as(serial, Role::Peer, room)).collect()
}

/// Returns how often members have been written to.
fn writes(crowd: &mut Crowd, members: &[usize]) -> usize {
    let slots: Vec<_> = members.iter().map(|index| crowd.slots[*index]).collect();
    slots.into_iter().map(|slot| crowd.shard.link_mut(slot).unwrap().0.borrow().sends).sum()
}

#[test]
fn a_small_broadcast_is_sent_while_the_sockets_of_large_rooms_are_being_filled() {
    for large_rooms in 1..3 {
        let mut crowd = Crowd::new(1000, 4 << 20);
        let other = if large_rooms > 1 { add_lobby(&mut crowd, Serial(3), 1000, 4 << 20) } else { Vec::new() };
        let small = add_lobby(&mut crowd, Serial(2), 20, usize::MAX);
        crowd.send(0, 1 << 20);
        if let Some(first) = other.first() {
            crowd.send(*first, 1 << 20);
        }
        let (mut broadcasts, mut begun, mut iterations, mut most) = (0, 0, 0, 0);
        while crowd.shard.has_work() {
            if writes(&mut crowd, &small) == 19 * broadcasts {
                crowd.send_small(small[broadcasts % 20]);
                (broadcasts, begun) = (broadcasts + 1, iterations);
            }
            crowd.call(|shard| shard.begin_iteration(1));
            crowd.call(|shard| shard.resume(NOW));
            crowd.call(|shard| shard.flush_some(8, NOW));
            iterations += 1;
            most = most.max(iterations - begun);
            if iterations > 100_000 {
                break;
            }
            if crowd.sent.bytes.get() >= large_rooms as u64 * (999 << 20) {
                // All sockets have taken the large message.
                crowd.settle();
            }
        }
        assert!(iterations > 5000 && broadcasts > 100, "{broadcasts} broadcasts in {iterations} iterations");
        assert!(most <= 19 + 8 * large_rooms, "{most} iterations for a small broadcast beside {large_rooms}");
        let deliveries = 999 * large_rooms as u64 + 19 * broadcasts as u64;
        assert_eq!(crowd.shard.tally().deliveries, deliveries);
        assert!(crowd.most <= 256 && crowd.most_bytes <= 1 << 20, "{} {}", crowd.most, crowd.most_bytes);
    }
}

#[test]
fn large_broadcasts_of_several_rooms_take_turns() {
    let mut crowd = Crowd::new(1000, usize::MAX);
    let all = [(0..1000).collect(), add_lobby(&mut crowd, Serial(2), 1000, usize::MAX)];
    for members in &all {
        crowd.send_small(members[0]);
    }
    for _ in 0..50 {
        crowd.iterate();
    }
    let [one, other] = [0, 1].map(|at| writes(&mut crowd, &all[at]));
    assert!(one.abs_diff(other) <= 64 && one + other >= 50 * 32 - 2, "{one} and {other} writes");
    crowd.settle();
    assert_eq!(all.map(|members| writes(&mut crowd, &members)), [999, 999]);
}
