//! Paired registrations, against a small reference: who waits, who is a pair, which hosts are notified, and what arrives.

use std::collections::HashSet;

use super::super::member::HIGH_WATER;
use super::*;
use crate::frame::whole_frame_len;
use crate::secret::{Key, KeyHasher};

const SERIAL: Serial = Serial(7);
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE: Duration = Duration::from_secs(60);

/// An end of a connection to the shard.
struct End {
    slot: usize,
    id: MemberId,
    pipe: Rc<RefCell<Pipe>>,
    inbox: Vec<u8>,
    texts: Vec<String>,
    closed: Option<(u16, String)>,
}

impl End {
    fn send(&mut self, first: u8, payload: &[u8]) {
        self.pipe.borrow_mut().inbound.extend(client_frame(first, [1, 2, 3, 4], payload));
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.send(0x88, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    }

    /// Reads what the shard has sent.
    fn take(&mut self) {
        self.inbox.append(&mut self.pipe.borrow_mut().outbound);
        while let Some(len) = whole_frame_len(&self.inbox).filter(|len| *len <= self.inbox.len()) {
            let frame: Vec<u8> = self.inbox.drain(..len).collect();
            assert_eq!(self.closed, None, "a frame after the close frame");
            let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
            let payload = if frame[1] == 126 { &frame[4..] } else { &frame[2..] };
            match frame[0] {
                0x81 => self.texts.push(text(payload)),
                0x88 => self.closed = Some((u16::from_be_bytes([payload[0], payload[1]]), text(&payload[2..]))),
                other => panic!("first byte {other:x}"),
            }
        }
    }
}

/// Rules with which no end is pinged, since none answers.
fn without_pings() -> Rules {
    Rules { ping_interval: Duration::from_secs(86_400), ..rules() }
}

struct Scene {
    shard: Shard<InMemoryLink>,
    now: Moment,
    ends: Vec<End>,
    next_id: u64,
    next_number: u128,
}

impl Scene {
    fn new() -> Self {
        let shard = Shard::new(without_pings());
        Self { shard, now: Moment(1000), ends: Vec::new(), next_id: 0, next_number: 0 }
    }

    fn join(
        &mut self,
        role: Role,
        room: usize,
        join: impl FnOnce(&mut Self, &Newcomer, InMemoryLink) -> Option<usize>,
    ) -> Option<usize> {
        self.next_id += 1;
        let id = MemberId(self.next_id);
        let pipe = Pipe::with_room(room).shared();
        let newcomer = Newcomer { id, serial: SERIAL, role, receives_only: false, counts: true };
        let slot = join(self, &newcomer, InMemoryLink(Rc::clone(&pipe)))?;
        self.ends.push(End { slot, id, pipe, inbox: Vec::new(), texts: Vec::new(), closed: None });
        self.shard.arrived(slot, &[], self.now);
        self.shard.writable(slot, self.now);
        Some(self.ends.len() - 1)
    }

    fn host(&mut self) -> usize {
        let join = |scene: &mut Self, newcomer: &Newcomer, link| {
            Some(scene.shard.join_listening(newcomer, link, scene.now.after(ACCEPT_TIMEOUT), scene.now))
        };
        self.join(Role::Host, usize::MAX, join).unwrap()
    }

    fn announce_some(&mut self) {
        let numbers = &mut || {
            self.next_number += 1;
            self.next_number
        };
        self.shard.announce_some(numbers, self.now);
    }

    fn client(&mut self, hello: &str) -> usize {
        let join = |scene: &mut Self, newcomer: &Newcomer, link| {
            let (deadline, numbers) = (scene.now.after(ACCEPT_TIMEOUT), &mut scene.next_number);
            let numbers = &mut || {
                *numbers += 1;
                *numbers
            };
            let (hello, end) = (hello.into(), InMemoryLink::unconnected());
            let arrival = Arrival { hello, accept_by: scene.now.after(ACCEPT_TIMEOUT), end };
            Some(scene.shard.join_waiting(newcomer, link, arrival, deadline, numbers, scene.now))
        };
        self.join(Role::Client, usize::MAX, join).unwrap()
    }

    fn accept(&mut self, number: u128) -> Option<usize> {
        self.join(Role::Host, usize::MAX, |scene, newcomer, link| {
            let deadline = scene.now.after(ACCEPT_TIMEOUT);
            Some(scene.shard.accept(SERIAL, number, newcomer.id, link, deadline, scene.now).ok()?.0)
        })
    }

    /// Accepts a client without a connection.
    fn begin_accept(&mut self, number: u128) -> Option<(usize, MemberId)> {
        self.next_id += 1;
        let (id, link) = (MemberId(self.next_id), InMemoryLink::unconnected());
        let accepted = self.shard.accept(SERIAL, number, id, link, self.now.after(HANDSHAKE), self.now);
        accepted.ok().map(|(slot, _)| (slot, id))
    }

    /// Reads and writes everything.
    fn settle(&mut self) {
        self.settle_without_reading();
        self.ends.iter_mut().for_each(End::take);
    }

    fn settle_without_reading(&mut self) {
        for _ in 0..8 {
            self.shard.begin_iteration(0);
            for end in &self.ends {
                if end.pipe.borrow().is_dropped {
                    continue;
                }
                self.shard.writable(end.slot, self.now);
                let has_ended = end.pipe.borrow().has_ended;
                self.shard.readable(end.slot, has_ended, self.now);
            }
            self.shard.resume(self.now);
            self.announce_some();
            self.shard.flush_some(usize::MAX, self.now);
            self.shard.assert_counted();
        }
    }

    /// Hands everything over to a new shard.
    fn restart(&mut self) {
        self.shard.flush(self.now);
        let states: Vec<MemberState> = self.shard.export(self.now).map(|(_, state)| state).collect();
        let read: Vec<MemberState> = rmp_serde::from_slice(&rmp_serde::to_vec_named(&states).unwrap()).unwrap();
        assert_eq!(read, states);
        self.shard = Shard::new(without_pings());
        for state in read {
            let end = self.ends.iter_mut().find(|end| end.id == state.id).unwrap();
            end.pipe.borrow_mut().is_dropped = false;
            let link = InMemoryLink(Rc::clone(&end.pipe));
            end.slot = self.shard.restore(state, link, InMemoryLink::unconnected, self.now).unwrap();
        }
        self.shard.finish_restore(self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.shard.sweep(self.now);
    }
}

fn incoming(number: u128, hello: &str) -> String {
    format!(r#"{{"incoming":"{number:032x}","hello":"{hello}"}}"#)
}

fn gone(number: u128) -> String {
    format!(r#"{{"gone":"{number:032x}"}}"#)
}

fn not_accepted() -> Option<(u16, String)> {
    Some((4006, "not accepted".into()))
}

#[test]
fn what_a_waiting_client_sends_is_buffered_up_to_the_high_water_mark_and_arrives_once_it_is_accepted() {
    for restarts in [false, true] {
        let mut scene = Scene::new();
        let (host, client) = (scene.host(), scene.client("me"));
        scene.settle();
        assert_eq!(scene.ends[host].texts, [incoming(1, "me")]);
        for count in 0..1000 {
            scene.ends[client].send(0x81, format!("{count:01000}").as_bytes());
        }
        scene.settle();
        let read = scene.ends[client].pipe.borrow().received;
        assert!((HIGH_WATER..HIGH_WATER + 2 * READ).contains(&read), "{read}");
        assert!(scene.shard.held() < 2 * (HIGH_WATER + READ) as u64);
        assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 1, pairs: 0, waiting: 1 });
        if restarts {
            scene.restart();
            scene.settle();
            assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 1, pairs: 0, waiting: 1 });
            assert_eq!(scene.ends[client].pipe.borrow().received, read, "it is still paced");
        }
        let end = scene.accept(1).unwrap();
        assert!(scene.accept(1).is_none());
        (0..20).for_each(|_| scene.settle());
        let expected: Vec<_> = (0..1000).map(|count| format!("{count:01000}")).collect();
        assert!(scene.ends[end].texts == expected);
        assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 1, pairs: 1, waiting: 0 });
        if restarts {
            scene.restart();
        }
        scene.ends[end].send(0x81, b"welcome");
        scene.settle();
        assert_eq!(scene.ends[client].texts, ["welcome"]);
        assert_eq!(scene.ends[host].texts, [incoming(1, "me")], "the host that accepted hears nothing more");
        assert_eq!(scene.shard.members_of(SERIAL).count(), 3);
        assert_eq!(scene.shard.tally().members, 3);
    }
}

#[test]
fn a_client_whose_accept_breaks_off_waits_again_until_its_original_deadline() {
    for (way, restarts) in [("abandoned", false), ("abandoned", true), ("timed out", false), ("restarted", true)] {
        let mut scene = Scene::new();
        let (host, other, client) = (scene.host(), scene.host(), scene.client("me"));
        scene.ends[client].send(0x81, b"early");
        scene.settle();
        let (slot, id) = scene.begin_accept(1).unwrap();
        assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 2, pairs: 1, waiting: 0 });
        assert_eq!(scene.shard.tally().members, 4);
        assert!(scene.begin_accept(1).is_none() && scene.begin_accept(2).is_none(), "one accept at a time");
        scene.ends[host].send(0x81, format!(r#"{{"reject":"{:032x}"}}"#, 1).as_bytes());
        let late = scene.host();
        scene.ends[client].send(0x81, b"meanwhile");
        scene.settle();
        match way {
            "abandoned" => scene.shard.abandon(slot, id, scene.now),
            // The deadline of the handshake is behind that of the accept.
            "timed out" => scene.pass(HANDSHAKE),
            _ => {}
        }
        if restarts {
            scene.restart();
        }
        assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 3, pairs: 0, waiting: 1 });
        assert_eq!((scene.shard.tally().members, scene.shard.tally().waiting_clients), (4, 1));
        scene.settle();
        assert_eq!(scene.ends[client].closed, None);
        assert_eq!([1, 1, 1], [host, other, late].map(|host| scene.ends[host].texts.len()), "nobody hears of it");
        if way == "timed out" {
            scene.pass(Duration::ZERO);
            scene.settle();
            assert_eq!(scene.ends[client].closed, not_accepted());
            assert_eq!(scene.ends[other].texts, [incoming(2, "me"), gone(2)]);
            continue;
        }
        let end = scene.accept(2).unwrap();
        scene.settle();
        assert_eq!(scene.ends[end].texts, ["early", "meanwhile"]);
        assert_eq!(scene.ends[host].texts, [incoming(1, "me"), gone(1)]);
        assert_eq!(scene.ends[other].texts, [incoming(2, "me")]);
        assert_eq!(scene.ends[late].texts, [incoming(3, "me"), gone(3)]);
        assert_eq!((scene.shard.tally().accepted, scene.shard.tally().deliveries), (1, 7 - 3 * u64::from(restarts)));
    }
}

#[test]
fn a_client_that_leaves_while_it_is_accepted_closes_the_host_s_end() {
    let mut scene = Scene::new();
    let (host, other, client) = (scene.host(), scene.host(), scene.client(""));
    scene.ends[client].send(0x81, b"early");
    scene.settle();
    let (slot, _) = scene.begin_accept(1).unwrap();
    scene.ends[client].close(3001, "done");
    scene.settle();
    assert_eq!(scene.ends[other].texts, [incoming(2, ""), gone(2)]);
    assert_eq!(scene.ends[host].texts, [incoming(1, "")]);
    let pipe = Pipe::with_room(1 << 20).shared();
    *scene.shard.link_mut(slot).unwrap() = InMemoryLink(Rc::clone(&pipe));
    scene.shard.arrived(slot, &[], scene.now);
    scene.shard.writable(slot, scene.now);
    assert_eq!(pipe.borrow().outbound, b"\x81\x05early\x88\x06\x0b\xb9done");
    assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 2, pairs: 0, waiting: 0 });
}

#[test]
fn clients_that_wait_are_announced_to_a_new_host_some_at_a_time_each_once_and_in_order() {
    for restarts in [false, true] {
        let mut scene = Scene::new();
        let long = "x".repeat(1024);
        let clients: Vec<usize> = (0..1000).map(|at| scene.client(if at < 500 { &long } else { "" })).collect();
        let (host, other) = (scene.host(), scene.host());
        let sent = |scene: &Scene| {
            let sent = Rc::clone(&scene.ends[host].pipe.borrow().sent);
            (sent.calls.get(), sent.bytes.get())
        };
        let (mut newcomers, mut iterations) = (Vec::new(), 0);
        while scene.shard.has_work() {
            let before = sent(&scene);
            scene.shard.begin_iteration(0);
            scene.shard.resume(scene.now);
            scene.announce_some();
            scene.shard.flush_some(32, scene.now);
            let after = sent(&scene);
            assert!(after.0 - before.0 <= 1 && after.1 - before.1 < (32 << 10) + 1200);
            iterations += 1;
            if iterations == 10 {
                // One that was announced, one that wasn't, and two that come.
                for at in [0, 999] {
                    scene.shard.disconnect(scene.ends[clients[at]].id, CloseReason::ClosedByAdmin, scene.now);
                }
                newcomers.extend([scene.client("new"), scene.client("newer")]);
                if restarts {
                    scene.restart();
                }
            }
        }
        assert!(iterations > 2 * 1000 / 64, "{iterations}");
        for host in [host, other] {
            scene.ends[host].take();
            let mut texts = std::mem::take(&mut scene.ends[host].texts);
            let gone: Vec<_> = texts.extract_if(.., |text| text.starts_with("{\"gone")).collect();
            let number = |text: &str| u128::from_str_radix(&text[13..45], 16).unwrap();
            assert_eq!(gone, [self::gone(number(&texts[0]))]);
            let hellos: Vec<_> = texts.iter().map(|text| text[56..].trim_end_matches("\"}").to_owned()).collect();
            let mut expected: Vec<_> = (0..999).map(|at| if at < 500 { long.clone() } else { String::new() }).collect();
            expected.extend(["new".to_owned(), "newer".to_owned()]);
            assert!(hellos == expected, "{}", hellos.len());
            assert!(texts.iter().map(|text| number(text)).collect::<HashSet<_>>().len() == texts.len());
        }
        // From here on, newcomers are announced at once.
        scene.client("last");
        scene.ends[host].take();
        assert_eq!(scene.ends[host].texts.len(), 1);
        assert!(!scene.shard.has_work());
        assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 2, pairs: 0, waiting: 1001 });
    }
}

/// Sends a message of so many bytes a piece at a time, and returns what the other end has received of it: the first bytes
/// and the payloads of its frames.
fn send_in_pieces(scene: &mut Scene, from: usize, to: usize, frame: &[u8], restarts: bool) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    for piece in frame.chunks(200_000) {
        scene.ends[from].pipe.borrow_mut().inbound.extend(piece);
        scene.settle_without_reading();
        assert!(scene.shard.held() < 3 << 20, "the message isn't held whole: {}", scene.shard.held());
        bytes.append(&mut scene.ends[to].pipe.borrow_mut().outbound);
        if restarts {
            scene.restart();
        }
    }
    frames_of(&bytes)
}

#[test]
fn a_large_message_is_passed_on_as_fragments_while_it_arrives_also_before_the_accept_and_over_restarts() {
    let payload: Vec<u8> = "äöü€".bytes().cycle().take(9 * 400_000).collect();
    for (first, restarts) in [(0x81, false), (0x81, true), (0x82, false)] {
        let mut scene = Scene::new();
        let (host, client) = (scene.host(), scene.client(""));
        scene.settle();
        // Until it is accepted, no more than the high-water mark and some reads are taken from the client.
        let frame = client_frame(first, [1, 2, 3, 4], &payload);
        scene.ends[client].pipe.borrow_mut().inbound.extend(&frame);
        scene.settle();
        assert!(scene.ends[client].pipe.borrow().received <= 2 * HIGH_WATER + 2 * READ);
        let end = scene.accept(1).unwrap();
        (0..20).for_each(|_| scene.settle_without_reading());
        scene.ends[end].pipe.borrow_mut().outbound.clear();
        let frames = send_in_pieces(&mut scene, client, end, &frame, restarts);
        let (fin, opcodes): (Vec<u8>, Vec<u8>) = frames.iter().map(|(first, _)| (first & 0x80, first & 0x0f)).unzip();
        assert!(frames.len() > 5, "{} frames", frames.len());
        assert!(fin[..fin.len() - 1].iter().all(|fin| *fin == 0) && fin[fin.len() - 1] == 0x80);
        assert!(opcodes[0] == first & 0x0f && opcodes[1..].iter().all(|opcode| *opcode == 0));
        assert!(frames.into_iter().flat_map(|(_, payload)| payload).eq(payload.iter().copied()));
        // The sums of messages and bytes are those of whole messages.
        assert_eq!(scene.shard.traffic_of(SERIAL, scene.now).tally.bytes_in, 2 * payload.len() as u64);
        scene.ends[client].send(0x81, b"and after it");
        scene.settle();
        assert_eq!(scene.ends[end].texts, ["and after it"]);
        assert_eq!(scene.ends[host].texts.len(), 1);
    }
}

#[test]
fn a_message_that_breaks_off_after_a_part_was_passed_on_closes_the_other_end_with_4007() {
    let close = client_frame(0x88, [0; 4], &[&3000u16.to_be_bytes(), &b"bye"[..]].concat());
    let bad = client_frame(0x80, [0; 4], b"\xff");
    for end_of_it in [Some(close), Some(bad), None] {
        let mut scene = Scene::new();
        scene.host();
        let client = scene.client("");
        let end = scene.accept(1).unwrap();
        let frame = client_frame(0x01, [0; 4], &vec![b'x'; 1 << 20]);
        let frames = send_in_pieces(&mut scene, client, end, &frame, false);
        assert!(frames.iter().all(|(first, _)| first & 0x80 == 0) && !frames.is_empty());
        match end_of_it {
            Some(bytes) => scene.ends[client].pipe.borrow_mut().inbound.extend(bytes),
            None => scene.ends[client].pipe.borrow_mut().has_ended = true,
        }
        scene.settle_without_reading();
        let mut rest = std::mem::take(&mut scene.ends[end].pipe.borrow_mut().outbound);
        while rest[0] & 0x08 == 0 {
            let len = whole_frame_len(&rest).unwrap();
            rest.drain(..len);
        }
        scene.ends[end].inbox = rest;
        scene.ends[end].take();
        assert_eq!(scene.ends[end].closed, Some((4007, "peer disconnected".into())));
    }
}

#[test]
fn a_pair_whose_other_end_is_not_handed_over_ends() {
    let mut scene = Scene::new();
    scene.host();
    let client = scene.client("");
    let end = scene.accept(1).unwrap();
    scene.settle();
    let states: Vec<MemberState> = scene.shard.export(scene.now).map(|(_, state)| state).collect();
    scene.shard = Shard::new(without_pings());
    let state = states.into_iter().find(|state| state.id == scene.ends[client].id).unwrap();
    let link = InMemoryLink(Rc::clone(&scene.ends[client].pipe));
    scene.ends[client].slot = scene.shard.restore(state, link, InMemoryLink::unconnected, scene.now).unwrap();
    scene.ends.remove(end);
    scene.shard.finish_restore(scene.now);
    scene.settle();
    assert_eq!(scene.ends[client].closed, Some((4007, "peer disconnected".into())));
}

#[test]
fn an_end_that_reads_slowly_receives_all_that_was_queued_before_the_close() {
    let mut scene = Scene::new();
    scene.host();
    let client = scene.client("");
    let end = scene.accept(1).unwrap();
    scene.settle();
    scene.ends[end].pipe.borrow_mut().room = 0;
    for _ in 0..100 {
        scene.ends[client].send(0x81, &[b'x'; 1000]);
    }
    scene.ends[client].close(3001, "done");
    scene.settle();
    assert!(scene.ends[client].closed.is_some());
    // It takes ten times the close timeout.
    for _ in 0..60 {
        scene.ends[end].pipe.borrow_mut().room = 2000;
        scene.pass(Duration::from_secs(1));
        scene.settle();
    }
    assert_eq!(scene.ends[end].texts.len(), 100);
    assert_eq!(scene.ends[end].closed, Some((3001, "done".into())));
    scene.pass(Duration::from_secs(1));
    scene.pass(Duration::from_secs(10));
    scene.pass(Duration::from_secs(10));
    scene.settle();
    assert!(scene.ends[end].pipe.borrow().is_dropped, "it doesn't answer");
}

#[test]
fn an_end_that_is_still_to_receive_what_was_queued_is_handed_over() {
    let mut scene = Scene::new();
    let host = scene.host();
    let client = scene.client("");
    let end = scene.accept(1).unwrap();
    scene.settle();
    scene.ends[end].pipe.borrow_mut().room = 0;
    // It is in the middle of a message of its own, which is discarded from then on.
    let message = client_frame(0x82, [1, 2, 3, 4], &[b'y'; 100_000]);
    scene.ends[end].pipe.borrow_mut().inbound.extend(&message[..50_000]);
    for _ in 0..100 {
        scene.ends[client].send(0x81, &[b'x'; 1000]);
    }
    scene.ends[client].close(3001, "done");
    scene.settle();
    for at in 0..60 {
        if at % 20 == 3 {
            scene.restart();
            assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 1, pairs: 0, waiting: 0 });
            assert_eq!(scene.shard.tally().members, 1);
        }
        scene.ends[end].pipe.borrow_mut().inbound.extend(&message[50_000 + 500 * at..50_500 + 500 * at]);
        scene.ends[end].pipe.borrow_mut().room = 2000;
        scene.pass(Duration::from_secs(1));
        scene.settle();
    }
    assert!(scene.ends[end].texts == vec!["x".repeat(1000); 100]);
    assert_eq!(scene.ends[end].closed, Some((3001, "done".into())));
    scene.restart();
    scene.ends[end].pipe.borrow_mut().inbound.extend(&message[80_000..]);
    scene.ends[end].close(3001, "");
    scene.settle();
    assert!(scene.ends[end].pipe.borrow().is_finished, "its close frame behind the rest of the message is read");
    assert!(!scene.ends[host].pipe.borrow().is_dropped);
    // One that receives nothing is dropped after the stall timeout, as without a restart.
    let client = scene.client("");
    let end = scene.accept(2).unwrap();
    scene.settle();
    scene.ends[end].pipe.borrow_mut().room = 0;
    scene.ends[client].send(0x81, b"never received");
    scene.ends[client].close(1000, "");
    scene.settle();
    scene.restart();
    (0..29).for_each(|_| scene.pass(Duration::from_secs(1)));
    assert!(!scene.ends[end].pipe.borrow().is_dropped);
    (0..3).for_each(|_| scene.pass(Duration::from_secs(1)));
    assert!(scene.ends[end].pipe.borrow().is_dropped);
    assert_eq!(scene.shard.tally().outbox_bytes, 0);
}

#[test]
fn an_end_that_reads_nothing_after_the_other_has_left_is_dropped_after_the_stall_timeout() {
    let mut scene = Scene::new();
    scene.host();
    let client = scene.client("");
    let end = scene.accept(1).unwrap();
    scene.settle();
    scene.ends[end].pipe.borrow_mut().room = 0;
    scene.ends[client].send(0x81, &[b'x'; 1000]);
    scene.ends[client].close(1000, "");
    scene.settle();
    for _ in 0..29 {
        scene.pass(Duration::from_secs(1));
    }
    assert!(!scene.ends[end].pipe.borrow().is_dropped);
    (0..3).for_each(|_| scene.pass(Duration::from_secs(1)));
    scene.settle();
    assert!(scene.ends[end].pipe.borrow().is_dropped);
    assert_eq!(scene.shard.tally().close_timeouts, 1);
}

#[test]
fn the_traffic_of_pairs_stays_in_the_sums_of_the_registration_when_they_end() {
    let mut scene = Scene::new();
    scene.host();
    for number in 1..=3 {
        let client = scene.client("");
        let end = scene.accept(number).unwrap();
        scene.ends[client].send(0x81, b"12345");
        scene.ends[end].send(0x81, b"123");
        scene.settle();
        scene.ends[client].close(1000, "");
        scene.settle();
        scene.ends[end].close(1000, "");
        scene.settle();
        let sums = scene.shard.traffic_of(SERIAL, scene.now);
        assert_eq!((sums.tally.messages_in, sums.tally.bytes_in), (2 * number as u64, 8 * number as u64));
        let mut all = Traffic::default();
        scene.shard.traffic(0, 100, scene.now, |serial, traffic| {
            assert_eq!(serial, SERIAL);
            all.add(&traffic);
        });
        assert_eq!(all, sums);
    }
    assert_eq!(scene.shard.presence(SERIAL), Presence { hosts: 1, pairs: 0, waiting: 0 });
}

/// A step of a history. Indices select one of those that there are.
#[derive(Debug, Clone)]
enum Step {
    Host,
    Client,
    HostLeaves(usize),
    Accept(usize),
    AcceptTwice(usize),
    /// Accepts a client while a rejection of it is under way.
    AcceptRejected(usize, usize),
    /// Accepts a client whose connection has just been lost.
    AcceptLost(usize),
    AcceptBreaks(usize),
    Reject(usize, usize, Option<u16>),
    Say(usize),
    /// Sends so many bytes of a message before a restart, and the rest after it.
    SayOverRestart(usize, usize),
    Leave(usize, Option<u16>),
    /// The connection breaks after so many bytes of a message.
    Break(usize, usize),
    Pass(u64),
    Restart,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    let at = 0..1000usize;
    let code = prop_oneof![Just(None), Just(Some(3000)), Just(Some(4006)), Just(Some(4404)), Just(Some(4500))];
    prop_oneof![
        2 => Just(Step::Host),
        6 => Just(Step::Client),
        1 => at.clone().prop_map(Step::HostLeaves),
        5 => at.clone().prop_map(Step::Accept),
        2 => at.clone().prop_map(Step::AcceptTwice),
        1 => (at.clone(), at.clone()).prop_map(|(host, at)| Step::AcceptRejected(host, at)),
        1 => at.clone().prop_map(Step::AcceptLost),
        2 => at.clone().prop_map(Step::AcceptBreaks),
        2 => (at.clone(), at.clone(), code.clone()).prop_map(|(host, at, code)| Step::Reject(host, at, code)),
        8 => at.clone().prop_map(Step::Say),
        2 => (at.clone(), 0..40usize).prop_map(|(at, cut)| Step::SayOverRestart(at, cut)),
        2 => (at.clone(), 0..40usize).prop_map(|(at, cut)| Step::Break(at, cut)),
        4 => (at, code).prop_map(|(at, code)| Step::Leave(at, code)),
        3 => (0..6u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

/// A client in the reference: when it came, its announcements, and its host's end once it is accepted.
#[derive(Default)]
struct Caller {
    end: usize,
    came: Moment,
    /// Number and host of each announcement.
    announced: Vec<(u128, usize)>,
    pair: Option<usize>,
    closed: bool,
}

/// The reference: what each end is expected to have received.
#[derive(Default)]
struct Reference {
    hosts: Vec<usize>,
    callers: Vec<Caller>,
    /// The highest number of an announcement.
    numbers: u128,
    seen: HashSet<u128>,
    texts: HashMap<usize, Vec<String>>,
    closed: HashMap<usize, (u16, String)>,
}

impl Reference {
    fn hear(&mut self, end: usize, text: String) {
        self.texts.entry(end).or_default().push(text);
    }

    /// Expects the announcement of a client to a host, whose number is a new one.
    fn announce(&mut self, scene: &Scene, caller: usize, host: usize) {
        let hello = format!("client {}", self.callers[caller].end);
        let announced = scene.ends[host].texts.iter().filter(|text| text.ends_with(&format!(r#""{hello}"}}"#)));
        let [text] = announced.collect::<Vec<_>>()[..] else { panic!("{hello} isn't announced once to {host}") };
        let number = parse_number(&text[13..45]).unwrap();
        assert!(self.seen.insert(number));
        self.numbers = self.numbers.max(number);
        self.callers[caller].announced.push((number, host));
        self.hear(host, incoming(number, &hello));
    }

    /// The client no longer waits; all hosts but one hear that.
    fn withdraw(&mut self, caller: usize, except: Option<usize>) {
        for (number, host) in std::mem::take(&mut self.callers[caller].announced) {
            if self.hosts.contains(&host) && except != Some(host) {
                self.hear(host, gone(number));
            }
        }
    }

    fn caller_of(&self, number: u128) -> Option<usize> {
        self.callers.iter().position(|caller| caller.announced.iter().any(|(known, _)| *known == number))
    }

    /// The client with this number, if there is one, becomes a pair with the end that was accepted.
    fn accept(&mut self, number: u128, accepted: Option<usize>) {
        let Some(caller) = self.caller_of(number) else { return assert!(accepted.is_none()) };
        let end = accepted.unwrap();
        let announced = &self.callers[caller].announced;
        let host = announced.iter().find(|(known, _)| *known == number).map(|(_, host)| *host);
        self.withdraw(caller, host);
        self.callers[caller].pair = Some(end);
        let client = self.callers[caller].end;
        // What it has sent meanwhile arrives first.
        let early = self.texts.remove(&(usize::MAX - client)).unwrap_or_default();
        self.texts.insert(end, early);
    }

    /// Returns the end of a client's connection, or of its pair, that is selected, and where its messages arrive.
    fn path(&self, caller: usize, at: usize) -> (usize, usize) {
        let Caller { end: client, pair, .. } = self.callers[caller];
        match pair {
            Some(end) if at.is_multiple_of(2) => (end, client),
            Some(end) => (client, end),
            None => (client, usize::MAX - client),
        }
    }

    /// One end leaves or is lost, and the other one, if there is one, is closed with its code.
    fn leave(&mut self, caller: usize, leaving: usize, code: Option<u16>) {
        let Caller { end: client, pair, .. } = self.callers[caller];
        if let Some(other) = [Some(client), pair].into_iter().flatten().find(|end| pair.is_some() && *end != leaving) {
            self.closed.insert(other, passed_on(code, None));
        }
        self.withdraw(caller, None);
        self.callers[caller].closed = true;
    }
}

/// Returns the text message that rejects a client.
fn reject(number: u128, more: &str) -> String {
    format!(r#"{{"reject":"{number:032x}"{more}}}"#)
}

fn passed_on(code: Option<u16>, otherwise: Option<(u16, String)>) -> (u16, String) {
    match code {
        Some(code @ (3000 | 4500)) => (code, "bye".into()),
        _ => otherwise.unwrap_or((4007, "peer disconnected".into())),
    }
}

fn run(steps: Vec<Step>) {
    let (mut scene, mut reference) = (Scene::new(), Reference::default());
    for step in steps.into_iter().chain([Step::End]) {
        match step {
            Step::Host => {
                let host = scene.host();
                reference.hosts.push(host);
                scene.settle();
                for caller in 0..reference.callers.len() {
                    if reference.callers[caller].pair.is_none() && !reference.callers[caller].closed {
                        reference.announce(&scene, caller, host);
                    }
                }
            }
            Step::Client => {
                let end = scene.client(&format!("client {}", scene.ends.len()));
                reference.callers.push(Caller { end, came: scene.now, ..Caller::default() });
                scene.settle();
                for host in reference.hosts.clone() {
                    reference.announce(&scene, reference.callers.len() - 1, host);
                }
            }
            Step::HostLeaves(at) if !reference.hosts.is_empty() => {
                let host = reference.hosts.remove(at % reference.hosts.len());
                scene.ends[host].close(1000, "");
                reference.closed.insert(host, (1000, "closed".into()));
            }
            Step::Accept(at) | Step::AcceptTwice(at) if reference.numbers > 0 => {
                let number = at as u128 % (reference.numbers + 1) + 1;
                let accepted = scene.accept(number);
                reference.accept(number, accepted);
                if matches!(step, Step::AcceptTwice(_)) {
                    assert!(scene.accept(number).is_none());
                }
            }
            Step::AcceptRejected(host, at) if !reference.hosts.is_empty() && reference.numbers > 0 => {
                let host = reference.hosts[host % reference.hosts.len()];
                let number = at as u128 % reference.numbers + 1;
                scene.ends[host].send(0x81, reject(number, "").as_bytes());
                let accepted = scene.accept(number);
                reference.accept(number, accepted);
            }
            Step::AcceptLost(at) if reference.numbers > 0 => {
                let number = at as u128 % reference.numbers + 1;
                if let Some(caller) = reference.caller_of(number) {
                    let client = reference.callers[caller].end;
                    scene.ends[client].pipe.borrow_mut().has_ended = true;
                    let accepted = scene.accept(number);
                    reference.accept(number, accepted);
                    reference.leave(caller, client, None);
                }
            }
            Step::AcceptBreaks(at) if reference.numbers > 0 => {
                let number = at as u128 % (reference.numbers + 1) + 1;
                let accepted = scene.begin_accept(number);
                assert_eq!(accepted.is_some(), reference.caller_of(number).is_some());
                if let Some((slot, id)) = accepted {
                    scene.settle();
                    assert!(scene.accept(number).is_none());
                    scene.shard.abandon(slot, id, scene.now);
                }
            }
            Step::Reject(host, at, code) if !reference.hosts.is_empty() && reference.numbers > 0 => {
                let host = reference.hosts[host % reference.hosts.len()];
                let number = at as u128 % reference.numbers + 1;
                let code_text = code.map(|code| format!(r#","code":{code},"reason":"bye""#)).unwrap_or_default();
                scene.ends[host].send(0x81, reject(number, &code_text).as_bytes());
                if let Some(caller) = reference.caller_of(number) {
                    reference.withdraw(caller, None);
                    reference.callers[caller].closed = true;
                    reference.closed.insert(reference.callers[caller].end, passed_on(code, not_accepted()));
                }
            }
            Step::Say(at) if !reference.callers.is_empty() => {
                let caller = at % reference.callers.len();
                if !reference.callers[caller].closed {
                    let (from, to) = reference.path(caller, at);
                    let text = format!("{at} from {from}");
                    scene.ends[from].send(0x81, text.as_bytes());
                    reference.hear(to, text);
                }
            }
            Step::SayOverRestart(at, cut) if !reference.callers.is_empty() => {
                let caller = at % reference.callers.len();
                if !reference.callers[caller].closed {
                    let (from, to) = reference.path(caller, at);
                    let text = format!("{at} from {from} in two parts");
                    let frame = client_frame(0x81, [1, 2, 3, 4], text.as_bytes());
                    let (part, rest) = frame.split_at(cut % frame.len());
                    scene.ends[from].pipe.borrow_mut().inbound.extend(part);
                    scene.settle();
                    scene.restart();
                    scene.settle();
                    scene.ends[from].pipe.borrow_mut().inbound.extend(rest);
                    reference.hear(to, text);
                }
            }
            Step::Break(at, cut) if !reference.callers.is_empty() => {
                let caller = at % reference.callers.len();
                if !reference.callers[caller].closed {
                    let (from, _) = reference.path(caller, at);
                    let frame = client_frame(0x81, [1, 2, 3, 4], b"this is never received as a whole");
                    let mut pipe = scene.ends[from].pipe.borrow_mut();
                    pipe.inbound.extend(&frame[..cut % frame.len()]);
                    pipe.has_ended = true;
                    reference.leave(caller, from, None);
                }
            }
            Step::Leave(at, code) if !reference.callers.is_empty() => {
                let caller = at % reference.callers.len();
                if !reference.callers[caller].closed {
                    let (leaving, _) = reference.path(caller, at);
                    match code {
                        Some(code) => {
                            scene.ends[leaving].close(code, "bye");
                            reference.closed.insert(leaving, (code, "closed".into()));
                        }
                        None => scene.ends[leaving].pipe.borrow_mut().has_ended = true,
                    }
                    reference.leave(caller, leaving, code);
                }
            }
            Step::Pass(seconds) => {
                scene.pass(Duration::from_secs(seconds));
                let mut late: Vec<_> = (0..reference.callers.len()).collect();
                late.retain(|at| {
                    let caller = &reference.callers[*at];
                    let waits = caller.pair.is_none() && !caller.closed;
                    waits && scene.now >= caller.came.after(ACCEPT_TIMEOUT)
                });
                for caller in late {
                    reference.withdraw(caller, None);
                    reference.callers[caller].closed = true;
                    reference.closed.insert(reference.callers[caller].end, (4006, "not accepted".into()));
                }
            }
            Step::Restart => scene.restart(),
            Step::End => {
                scene.shard.end(SERIAL, CloseReason::Removed, scene.now);
                let pairs = reference.callers.iter().filter(|caller| !caller.closed);
                let ends: Vec<_> = pairs.flat_map(|caller| [Some(caller.end), caller.pair]).flatten().collect();
                for end in ends.into_iter().chain(std::mem::take(&mut reference.hosts)) {
                    reference.closed.insert(end, (4000, "registration removed".into()));
                }
                reference.callers.clear();
            }
            _ => {}
        }
        scene.settle();
        for (at, end) in scene.ends.iter().enumerate() {
            let (mut texts, mut expected) = (end.texts.clone(), reference.texts.get(&at).cloned().unwrap_or_default());
            // Clients that time out in the same sweep are reported in any order.
            texts.sort();
            expected.sort();
            assert_eq!(texts, expected, "received by {at}");
            let is_lost = end.pipe.borrow().has_ended;
            assert_eq!(end.closed, reference.closed.get(&at).cloned().filter(|_| !is_lost), "close of {at}");
        }
        let open = |caller: &&Caller| !caller.closed;
        let pairs = reference.callers.iter().filter(open).filter(|caller| caller.pair.is_some()).count();
        let waiting = reference.callers.iter().filter(open).count() - pairs;
        let expected = Presence { hosts: reference.hosts.len(), pairs, waiting };
        assert_eq!(scene.shard.presence(SERIAL), expected);
        assert_eq!(scene.shard.tally().waiting_clients, waiting as u64);
        assert_eq!(scene.shard.members_of(SERIAL).count(), expected.hosts + 2 * pairs + waiting);
        assert_eq!(scene.shard.tally().members, (expected.hosts + 2 * pairs + waiting) as u64);
    }
    assert!(scene.shard.rooms.is_empty() && scene.shard.by_serial.is_empty() && scene.shard.listening.is_empty());
    assert!(scene.shard.custom_closes.is_empty());
    scene.pass(Duration::from_secs(60));
    scene.pass(Duration::from_secs(60));
    scene.settle();
    assert!(scene.shard.is_empty() && scene.shard.held() == 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_host_sends_is_a_rejection_or_closes_its_connection(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        texts in proptest::collection::vec("\\PC{0,60}|\\{\"reject\":\"[0-9a-f]{31,33}\"(,\"code\":[0-9]{0,6})?\\}", 0..5),
        cut in 1..50usize,
    ) {
        let mut scene = Scene::new();
        let (host, client) = (scene.host(), scene.client("x"));
        scene.settle();
        for text in &texts {
            scene.ends[host].send(0x81, text.as_bytes());
        }
        scene.ends[host].pipe.borrow_mut().inbound.extend(&bytes);
        scene.ends[host].pipe.borrow_mut().read_limit = cut;
        (0..100).for_each(|_| scene.settle_without_reading());
        let is_rejection = |text: &String| {
            let digits = text.get(11..43).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            digits && (text.get(43..) == Some("\"}") || text.starts_with("{\"reject\":\"") && text.contains("\"code\":"))
        };
        let left = scene.ends[host].pipe.borrow().left;
        if !texts.iter().all(is_rejection) {
            prop_assert_eq!(left, Some(CloseReason::NotPermitted));
        }
        prop_assert_eq!(scene.ends[client].pipe.borrow().left, None);
    }

    #[test]
    fn histories_of_hosts_and_clients_agree_with_the_reference(steps in proptest::collection::vec(step(), 1..60)) {
        run(steps);
    }
}

fn claim(owner: SessionOwner) -> SessionClaim {
    let secret = KeyHasher::new([7; 32]).hash(&Key::new("the secret of one".into()));
    SessionClaim { serial: SERIAL, secret, owner, role: None }
}

/// Attaches a new connection to a member, and returns it.
fn attach(scene: &mut Scene, slot: usize) -> Rc<RefCell<Pipe>> {
    let pipe = Pipe::with_room(usize::MAX).shared();
    *scene.shard.link_mut(slot).unwrap() = InMemoryLink(Rc::clone(&pipe));
    scene.shard.arrived(slot, &[], scene.now);
    scene.shard.writable(slot, scene.now);
    pipe
}

/// Returns the first bytes and the payloads of frames, which are whole.
fn frames_of(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    assert_eq!(whole_frames(bytes).map(<[u8]>::len).sum::<usize>(), bytes.len(), "a frame in part");
    whole_frames(bytes).map(|frame| (frame[0], payload_of(frame).unwrap().to_vec())).collect()
}

/// Takes what was sent over a connection, and returns its frames.
fn data_frames(pipe: &Rc<RefCell<Pipe>>) -> Vec<(u8, Vec<u8>)> {
    frames_of(&std::mem::take(&mut pipe.borrow_mut().outbound))
}

#[test]
fn an_accepted_end_that_is_lost_within_fragments_is_sent_the_message_from_its_start() {
    for restarts in [false, true] {
        let mut scene = Scene::new();
        scene.host();
        let client = scene.client("");
        scene.settle();
        let (slot, id) = scene.begin_accept(1).unwrap();
        let owner = SessionOwner::accept(1);
        scene.shard.begin_session(slot, claim(owner), scene.now);
        let lost = attach(&mut scene, slot);
        let message = vec![b'x'; 400_000];
        let frame = client_frame(0x82, [1, 2, 3, 4], &message);
        scene.ends[client].send(0x81, b"before");
        scene.ends[client].pipe.borrow_mut().inbound.extend(&frame[..300_000]);
        scene.settle_without_reading();
        let begun = data_frames(&lost);
        assert_eq!((begun[0].clone(), begun[1].0), ((0x81, b"before".to_vec()), 0x02));
        lost.borrow_mut().is_broken = true;
        scene.shard.readable(slot, true, scene.now);
        scene.ends[client].pipe.borrow_mut().inbound.extend(&frame[300_000..]);
        scene.settle_without_reading();
        if restarts {
            let (link, at) = (Pipe::with_room(0).shared(), scene.ends.len());
            scene.ends.push(End { slot, id, pipe: link, inbox: Vec::new(), texts: Vec::new(), closed: None });
            scene.restart();
            scene.ends.remove(at);
        }
        let (slot, _) = scene.shard.resume_session(&claim(owner), 1, scene.now).unwrap();
        let frames = data_frames(&attach(&mut scene, slot));
        assert_eq!(frames[0].0, 0x02);
        assert!(frames[1..].iter().all(|(first, _)| first & 0x0f == 0));
        assert_eq!(frames.last().unwrap().0, 0x80);
        assert!(frames.into_iter().flat_map(|(_, payload)| payload).eq(message));
    }
}

#[test]
fn a_pair_ends_if_an_end_with_a_session_is_lost_within_a_message_of_which_a_part_was_passed_on() {
    let mut scene = Scene::new();
    scene.host();
    let client = scene.client("");
    let end = scene.accept(1).unwrap();
    let slot = scene.ends[client].slot;
    scene.shard.begin_session(slot, claim(SessionOwner::Key), scene.now);
    let pipe = attach(&mut scene, slot);
    let frame = client_frame(0x82, [0; 4], &vec![b'x'; 400_000]);
    pipe.borrow_mut().inbound.extend(&frame[..300_000]);
    scene.ends[client].pipe = Rc::clone(&pipe);
    scene.settle_without_reading();
    assert_eq!(data_frames(&scene.ends[end].pipe)[0].0, 0x02);
    let resumed = scene.shard.suspend_session(&claim(SessionOwner::Key), scene.now);
    assert_eq!(resumed, Err(SessionError::Gap));
    scene.settle();
    assert_eq!(scene.ends[end].closed, Some((4007, "peer disconnected".into())));
    let counts = scene.shard.tally().sessions;
    assert_eq!(counts, SessionTally { gaps: 1, ..SessionTally::default() });
}
