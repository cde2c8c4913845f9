//! Sessions, against devices that count what they receive, and lose their connections at any byte of either direction.

use std::collections::VecDeque;

use super::super::sessions::SessionState;
use super::*;
use crate::secret::{Key, KeyHash, KeyHasher};

/// A device with a session.
struct Caller {
    serial: Serial,
    role: Role,
    secret: &'static str,
    slot: usize,
    pipe: Rc<RefCell<Pipe>>,
    /// Messages that it has sent so far, also those that were lost on the way.
    sent: Vec<Vec<u8>>,
    /// Bytes of a frame that has arrived in part.
    inbox: Vec<u8>,
    /// Payloads of the fragments of a message that has arrived in part.
    part: Vec<u8>,
    received: Vec<Vec<u8>>,
    /// Whether its connection is lost, so that nothing it sends arrives.
    is_lost: bool,
    /// Its earlier connections.
    earlier: Vec<Rc<RefCell<Pipe>>>,
}

struct Scene {
    shard: Shard<InMemoryLink>,
    now: Moment,
    callers: Vec<Caller>,
    /// Bytes that each connection takes before it would block.
    socket: usize,
}

fn secret(text: &str) -> KeyHash {
    KeyHasher::new([7; 32]).hash(&Key::new(text.into()))
}

impl Scene {
    fn new(rules: Rules, socket: usize) -> Self {
        Self { shard: Shard::new(rules), now: Moment(1000), callers: Vec::new(), socket }
    }

    fn claim(&self, caller: usize) -> SessionClaim {
        let Caller { serial, role, secret: text, .. } = &self.callers[caller];
        SessionClaim { serial: *serial, secret: secret(text), owner: SessionOwner::Key, role: Some(*role) }
    }

    /// Joins, with the session of a secret, or without one if that is empty.
    fn join(&mut self, room: u64, role: Role, secret: &'static str) -> usize {
        let (id, serial) = (MemberId(self.callers.len() as u64 + 1), Serial(room));
        let pipe = Pipe::with_room(self.socket).shared();
        let newcomer = Newcomer { id, serial, role, receives_only: false, counts: true };
        let link = InMemoryLink(Rc::clone(&pipe));
        let slot = self.shard.join_away(&newcomer, link, self.now.after(Duration::from_secs(60)), self.now);
        self.callers.push(Caller {
            serial,
            role,
            secret,
            slot,
            pipe,
            sent: Vec::new(),
            inbox: Vec::new(),
            part: Vec::new(),
            received: Vec::new(),
            is_lost: false,
            earlier: Vec::new(),
        });
        let caller = self.callers.len() - 1;
        if !secret.is_empty() {
            self.shard.begin_session(slot, self.claim(caller), self.now);
        }
        assert_eq!(self.shard.arrived(slot, &[], self.now), None);
        caller
    }

    /// Sends a message of a size, which contains its number.
    fn send(&mut self, caller: usize, size: usize) {
        let number = self.callers[caller].sent.len() as u64;
        let mut payload = vec![caller as u8; size.max(9)];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        self.callers[caller].sent.push(payload.clone());
        self.put(caller, &payload);
    }

    fn put(&mut self, caller: usize, payload: &[u8]) {
        let Caller { pipe, is_lost, .. } = &self.callers[caller];
        if !is_lost {
            pipe.borrow_mut().inbound.extend(client_frame(0x82, [1, 2, 3, 4], payload));
        }
    }

    /// Takes up to so many bytes that have arrived, and makes room for as many.
    fn take(&mut self, caller: usize, at_most: usize) {
        let Caller { pipe, inbox, part, received, .. } = &mut self.callers[caller];
        let mut pipe = pipe.borrow_mut();
        let taken = at_most.min(pipe.outbound.len());
        inbox.extend(pipe.outbound.drain(..taken));
        pipe.room += taken;
        while let Some(len) = crate::frame::whole_frame_len(inbox).filter(|len| *len <= inbox.len()) {
            let frame: Vec<u8> = inbox.drain(..len).collect();
            let payload = payload_of(&frame).unwrap();
            if frame[0] & 0x08 == 0 {
                assert_eq!(frame[0] & 0x0f == 0, !part.is_empty(), "a message begins within another");
                part.extend_from_slice(payload);
                if frame[0] & 0x80 != 0 {
                    received.push(std::mem::take(part));
                }
            }
        }
    }

    fn round(&mut self) {
        self.shard.begin_iteration(0);
        for Caller { pipe, slot, .. } in &self.callers {
            let (is_dropped, is_broken, has_room) = {
                let pipe = pipe.borrow();
                (pipe.is_dropped, pipe.is_broken, pipe.room > 0)
            };
            if is_dropped {
                continue;
            }
            if has_room {
                self.shard.writable(*slot, self.now);
            }
            self.shard.readable(*slot, is_broken, self.now);
        }
        self.shard.resume(self.now);
        self.shard.flush_some(usize::MAX, self.now);
        self.shard.assert_counted();
    }

    /// Loses a connection. So many bytes of what is on the way arrive in each direction; the shard notices it at once
    /// if it `is_noticed`.
    fn lose(&mut self, caller: usize, (from_it, to_it): (usize, usize), is_noticed: bool) {
        self.take(caller, to_it);
        let it = &mut self.callers[caller];
        let mut pipe = it.pipe.borrow_mut();
        pipe.inbound.truncate(from_it);
        pipe.outbound.clear();
        pipe.is_broken = is_noticed;
        drop(pipe);
        // A part of a message or frame that the device has received is worth nothing to it.
        (it.inbox, it.part, it.is_lost) = (Vec::new(), Vec::new(), true);
        if !is_noticed {
            // Nothing else arrives.
            it.pipe.borrow_mut().room = 0;
        }
        self.round();
    }

    /// Comes back: asks how much has arrived, connects, and sends the rest again.
    fn come_back(&mut self, caller: usize) -> Result<Return, SessionError> {
        let (_, counts) = self.shard.suspend_session(&self.claim(caller), self.now)?;
        let back = self.reconnect(caller)?;
        let rest = self.callers[caller].sent[counts.received as usize..].to_vec();
        rest.iter().for_each(|payload| self.put(caller, payload));
        Ok(back)
    }

    fn reconnect(&mut self, caller: usize) -> Result<Return, SessionError> {
        let received = self.callers[caller].received.len() as u64;
        let (slot, _) = self.shard.resume_session(&self.claim(caller), received, self.now)?;
        let pipe = Pipe::with_room(self.socket).shared();
        let earlier = std::mem::replace(&mut self.callers[caller].pipe, Rc::clone(&pipe));
        self.callers[caller].earlier.push(earlier);
        let it = &mut self.callers[caller];
        (it.slot, it.inbox, it.part, it.is_lost) = (slot, Vec::new(), Vec::new(), false);
        *self.shard.link_mut(slot).unwrap() = InMemoryLink(pipe);
        Ok(self.shard.arrived(slot, &[], self.now).unwrap())
    }

    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            for caller in 0..self.callers.len() {
                self.take(caller, usize::MAX);
            }
            self.round();
            let is_quiet = |caller: &Caller| {
                let pipe = caller.pipe.borrow();
                pipe.is_dropped || (pipe.inbound.is_empty() && pipe.outbound.is_empty())
            };
            if self.callers.iter().all(is_quiet) && !self.shard.has_work() {
                return;
            }
        }
        panic!("it doesn't settle");
    }

    /// Continues in a new shard, as after a restart; members with a TLS connection, which can't be handed over, lose it.
    fn restart(&mut self, has_tls: impl Fn(usize) -> bool) {
        for caller in 0..self.callers.len() {
            let (slot, id) = (self.callers[caller].slot, MemberId(caller as u64 + 1));
            if has_tls(caller) && self.shard.away_since(slot).is_none() {
                self.shard.close(slot, id, CloseReason::Restarting, self.now);
            }
        }
        self.shard.flush(self.now);
        let states: Vec<MemberState> = self.shard.export(self.now).map(|(_, state)| state).collect();
        let bytes = rmp_serde::to_vec_named(&states).unwrap();
        let read: Vec<MemberState> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, states);
        let rules = self.shard.rules.clone();
        self.shard = Shard::new(rules);
        for state in read {
            let caller = &mut self.callers[state.id.0 as usize - 1];
            let link = if state.is_away() {
                InMemoryLink::unconnected()
            } else {
                caller.pipe.borrow_mut().is_dropped = false;
                InMemoryLink(Rc::clone(&caller.pipe))
            };
            caller.slot = self.shard.restore(state, link, InMemoryLink::unconnected, self.now).unwrap();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.shard.sweep(self.now);
        self.round();
    }

    fn assert_received(&self, from: usize, by: usize) {
        let sent = &self.callers[from].sent;
        let received: Vec<_> = self.callers[by].received.iter().filter(|it| it[8] == from as u8).cloned().collect();
        assert!(received == *sent, "{} of {} messages, or others", received.len(), sent.len());
    }
}

fn quiet() -> Rules {
    Rules { ping_interval: Duration::from_secs(86_400), ..rules() }
}

#[test]
fn a_break_at_any_byte_of_either_direction_loses_and_repeats_nothing() {
    for room in [1, 2] {
        // Two small messages on the way in each direction, and one that is large enough for a longer header.
        let sizes = [20, 200, 9];
        let total: usize = sizes.iter().map(|size| size + 8).sum();
        for at in 0..=total {
            for is_noticed in [true, false] {
                let mut scene = Scene::new(quiet(), usize::MAX / 2);
                let host = scene.join(room, if room == 1 { Role::Peer } else { Role::Host }, "the secret of one");
                let client = scene.join(room, if room == 1 { Role::Peer } else { Role::Client }, "");
                scene.settle();
                scene.send(host, 30);
                scene.send(client, 30);
                scene.settle();
                for size in sizes {
                    scene.send(client, size);
                }
                scene.round();
                for size in sizes {
                    scene.send(host, size);
                }
                scene.lose(host, (at, at), is_noticed);
                // Sent while nobody is there, or while nobody knows that.
                scene.send(client, 40);
                scene.round();
                scene.pass(Duration::from_secs(7));
                let back = scene.come_back(host).unwrap();
                assert_eq!(back.away, Duration::from_secs(if is_noticed { 7 } else { 0 }));
                scene.send(host, 50);
                scene.send(client, 50);
                scene.settle();
                scene.assert_received(host, client);
                scene.assert_received(client, host);
                assert_eq!(scene.shard.tally().members, 2);
                assert_eq!(scene.shard.tally().sessions, SessionTally { resumed: 1, ..SessionTally::default() });
            }
        }
    }
}

#[test]
fn the_senders_of_an_away_member_of_a_pair_are_paced_and_lose_nothing_however_much_it_is() {
    let mut scene = Scene::new(quiet(), 64 << 10);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    scene.lose(one, (0, 0), true);
    for _ in 0..200 {
        scene.send(other, 50_000);
        scene.round();
    }
    let unread = scene.callers[other].pipe.borrow().inbound.len();
    assert!(unread > 9_000_000 - (512 << 10), "{unread} of ten million bytes unread");
    scene.pass(Duration::from_secs(100));
    scene.come_back(one).unwrap();
    scene.settle();
    scene.assert_received(other, one);
}

#[test]
fn in_a_group_an_away_member_is_a_slow_one_whose_session_ends_while_the_others_notice_nothing() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let away = scene.join(1, Role::Peer, "the secret of one");
    let (one, other) = (scene.join(1, Role::Peer, ""), scene.join(1, Role::Peer, "another secret"));
    scene.lose(away, (0, 0), true);
    for _ in 0..100 {
        scene.send(one, 50_000);
        scene.settle();
    }
    scene.assert_received(one, other);
    assert_eq!(scene.come_back(away), Err(SessionError::Unknown));
    assert_eq!(scene.shard.tally().closes[CloseReason::TooSlow as usize], 1);
    assert_eq!(scene.shard.tally().sessions, SessionTally { closed: 1, ..SessionTally::default() });
}

#[test]
fn what_is_no_longer_kept_is_reported_as_a_gap_and_ends_the_session() {
    let mut scene = Scene::new(Rules { session_buffer: 10_000, ..quiet() }, usize::MAX / 2);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    for _ in 0..12 {
        scene.send(other, 1000);
    }
    scene.round();
    scene.lose(one, (0, 0), true);
    assert_eq!(scene.come_back(one), Err(SessionError::Gap));
    scene.round();
    assert_eq!(scene.shard.tally().sessions, SessionTally { gaps: 1, ..SessionTally::default() });
    assert_eq!(scene.shard.tally().members, 1);
    assert_eq!(scene.come_back(one), Err(SessionError::Unknown));
}

#[test]
fn a_device_that_claims_more_than_it_was_sent_is_refused() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    scene.send(other, 100);
    scene.settle();
    let claim = scene.claim(one);
    assert_eq!(scene.shard.resume_session(&claim, 2, scene.now), Err(SessionError::Gap));
}

#[test]
fn a_session_belongs_to_the_key_and_role_that_began_it() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let host = scene.join(1, Role::Host, "the secret of one");
    let claim = scene.claim(host);
    for (owner, role) in [
        (SessionOwner::Key, Some(Role::Client)),
        (SessionOwner::ClientKey, None),
        (SessionOwner::ReceiveKey, Some(Role::Host)),
        (SessionOwner::accept(1), None),
    ] {
        let claim = SessionClaim { owner, role, ..claim.clone() };
        assert_eq!(scene.shard.suspend_session(&claim, scene.now), Err(SessionError::Forbidden));
        assert_eq!(scene.shard.resume_session(&claim, 0, scene.now), Err(SessionError::Forbidden));
        assert_eq!(scene.shard.end_session(&claim, scene.now), Err(SessionError::Forbidden));
    }
    let elsewhere = SessionClaim { serial: Serial(2), ..claim.clone() };
    assert_eq!(scene.shard.resume_session(&elsewhere, 0, scene.now), Err(SessionError::Unknown));
    let another = SessionClaim { secret: secret("no such secret"), ..claim };
    assert_eq!(scene.shard.resume_session(&another, 0, scene.now), Err(SessionError::Unknown));
    assert_eq!(scene.callers[host].pipe.borrow().left, None);
}

#[test]
fn a_ghost_is_closed_with_4008_and_nothing_of_it_is_read_any_more() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    scene.send(one, 20);
    scene.settle();
    scene.callers[one].pipe.borrow_mut().inbound.extend(client_frame(0x82, [0; 4], b"too late!"));
    scene.come_back(one).unwrap();
    scene.send(one, 30);
    scene.settle();
    scene.assert_received(one, other);
    let ghost = Rc::clone(&scene.callers[one].earlier[0]);
    assert_eq!(ghost.borrow().outbound, close_frame(CloseReason::TakenOver, None).unwrap());
    assert!(!ghost.borrow().is_finished, "the peer's close frame hasn't come");
    scene.pass(Duration::from_secs(6));
    scene.round();
    assert!(ghost.borrow().is_dropped);
}

#[test]
fn a_device_that_closes_ends_its_session_unless_it_goes_away() {
    for (code, is_over) in
        [(Some(1000), true), (None, true), (Some(4000), true), (Some(1001), false), (Some(1011), false)]
    {
        let mut scene = Scene::new(quiet(), usize::MAX / 2);
        let one = scene.join(1, Role::Peer, "the secret of one");
        let code = code.map(u16::to_be_bytes).unwrap_or_default();
        let payload = if code == [0, 0] { &[][..] } else { &code[..] };
        scene.callers[one].pipe.borrow_mut().inbound.extend(client_frame(0x88, [0; 4], payload));
        scene.round();
        let back = scene.come_back(one);
        assert_eq!(back.err(), is_over.then_some(SessionError::Unknown), "{code:?}");
    }
}

#[test]
fn a_session_ends_when_its_device_is_not_back_in_time() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let one = scene.join(1, Role::Peer, "the secret of one");
    scene.lose(one, (0, 0), true);
    scene.pass(Duration::from_secs(119));
    assert_eq!(scene.shard.tally().sessions.away, 1);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.shard.tally().sessions, SessionTally { expired: 1, ..SessionTally::default() });
    assert_eq!(scene.come_back(one), Err(SessionError::Unknown));
    assert!(scene.shard.is_empty());
}

#[test]
fn an_away_member_that_sets_the_pace_is_given_up_after_the_stall_timeout() {
    for pace in [false, true] {
        let mut scene = Scene::new(Rules { pace, ..quiet() }, usize::MAX / 2);
        let one = scene.join(1, Role::Peer, "the secret of one");
        let (other, third) = (scene.join(1, Role::Peer, ""), scene.join(1, Role::Peer, ""));
        scene.lose(one, (0, 0), true);
        for _ in 0..8 {
            scene.send(other, 50_000);
            scene.settle_without(one);
        }
        scene.pass(Duration::from_secs(31));
        scene.settle_without(one);
        let left = scene.shard.tally().sessions.away;
        assert_eq!(left, u64::from(!pace));
        scene.assert_received(other, third);
    }
}

impl Scene {
    fn settle_without(&mut self, away: usize) {
        for _ in 0..100 {
            for caller in (0..self.callers.len()).filter(|caller| *caller != away) {
                self.take(caller, usize::MAX);
            }
            self.round();
        }
    }
}

#[test]
fn memory_that_is_short_takes_what_is_kept_before_it_takes_members() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    for _ in 0..20 {
        scene.send(other, 20_000);
        scene.settle();
    }
    let held = scene.shard.held();
    assert!(held > 300_000, "{held}");
    let shed = scene.shard.shed_load(100_000, scene.now);
    assert_eq!(shed.members, 0);
    scene.shard.measure();
    assert!(scene.shard.held() < 100_000, "{}", scene.shard.held());
    // All that was sent has arrived, so nothing is missing.
    scene.lose(one, (0, 0), true);
    scene.come_back(one).unwrap();
    scene.send(other, 20);
    scene.settle();
    scene.assert_received(other, one);
}

#[test]
fn small_messages_are_kept_in_little_more_than_their_length() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let (_, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    for _ in 0..50_000 {
        scene.send(other, 20);
        scene.round();
    }
    scene.shard.measure();
    let held = scene.shard.held();
    assert!(held < (512 << 10) + (40 << 10), "{held}");
}

#[test]
fn each_message_is_written_in_one_call_as_without_a_session() {
    for secret in ["", "the secret of one"] {
        let mut scene = Scene::new(quiet(), usize::MAX / 2);
        let (one, other) = (scene.join(1, Role::Peer, secret), scene.join(1, Role::Peer, ""));
        for _ in 0..100 {
            scene.send(other, 64);
            scene.round();
        }
        assert_eq!(scene.callers[one].pipe.borrow().sends, 100);
    }
}

#[test]
fn a_state_whose_bytes_are_not_frames_is_refused() {
    let state = |kept: &[u8], queued: &[u8]| {
        let mut scene = Scene::new(quiet(), usize::MAX / 2);
        let one = scene.join(1, Role::Peer, "the secret of one");
        let mut state: SessionState = *scene.shard.export_session(scene.callers[one].slot, scene.now).unwrap();
        state.set_sent(kept.to_vec());
        state.outbox(queued, 1000, scene.now).is_some()
    };
    assert!(state(&[], &[]));
    assert!(state(&[0x82, 1, 0], &[]));
    assert!(state(&[0x82, 1, 0, 0x82, 1], &[0]));
    assert!(!state(&[0x82, 1, 0, 0x82, 1], &[]));
}

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Send(usize, usize),
    Take(usize, usize),
    Lose { who: usize, from_it: usize, to_it: usize, is_noticed: bool },
    ComeBack(usize),
    Restart(usize),
    Rounds,
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3_usize;
    prop_oneof![
        5 => (who.clone(), prop_oneof![0..100_usize, 100..4000_usize]).prop_map(|(who, size)| Step::Send(who, size)),
        2 => (who.clone(), 0..9000_usize).prop_map(|(who, bytes)| Step::Take(who, bytes)),
        2 => (who.clone(), 0..6000_usize, 0..6000_usize, any::<bool>()).prop_map(|(who, from_it, to_it, is_noticed)| {
            Step::Lose { who, from_it, to_it, is_noticed }
        }),
        2 => who.clone().prop_map(Step::ComeBack),
        1 => (0..8_usize).prop_map(Step::Restart),
        3 => Just(Step::Rounds),
        1 => Just(Step::Pass),
    ]
}

/// Runs a history in a lobby of two or of three, in which the sockets hold less than what is kept, so that no gap is
/// possible.
fn run(members: usize, steps: Vec<Step>) {
    let rules = Rules { session_buffer: 24 << 10, outbox: 64 << 20, ..quiet() };
    let mut scene = Scene::new(rules, 16 << 10);
    let secrets = ["the secret of one", "the secret of two", "the secret of three"];
    for secret in &secrets[..members] {
        scene.join(1, Role::Peer, secret);
    }
    for step in steps {
        match step {
            Step::Send(who, size) => scene.send(who % members, size),
            Step::Take(who, bytes) => {
                if !scene.callers[who % members].is_lost {
                    scene.take(who % members, bytes);
                }
            }
            Step::Lose { who, from_it, to_it, is_noticed } => {
                let who = who % members;
                if !scene.callers[who].is_lost {
                    scene.lose(who, (from_it, to_it), is_noticed);
                }
            }
            Step::ComeBack(who) => {
                scene.come_back(who % members).unwrap();
            }
            Step::Restart(with_tls) => {
                let has_tls = |caller: usize| with_tls & 1 << caller != 0;
                scene.restart(has_tls);
                for caller in (0..members).filter(|caller| has_tls(*caller)) {
                    if !scene.callers[caller].is_lost {
                        scene.take(caller, usize::MAX);
                        let it = &mut scene.callers[caller];
                        (it.inbox, it.part, it.is_lost) = (Vec::new(), Vec::new(), true);
                    }
                }
            }
            Step::Rounds => scene.round(),
            Step::Pass => scene.pass(Duration::from_secs(2)),
        }
    }
    let mut lost: VecDeque<usize> = (0..members).collect();
    while let Some(caller) = lost.pop_front() {
        scene.come_back(caller).unwrap();
    }
    scene.settle();
    for from in 0..members {
        for by in (0..members).filter(|by| *by != from) {
            scene.assert_received(from, by);
        }
    }
    assert_eq!(scene.shard.tally().members, members as u64);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_message_arrives_once_and_in_order_whatever_happens_to_the_connections(
        members in 2..4_usize,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        run(members, steps);
    }
}

impl Scene {
    /// Has the shard notice that connections are lost, more of them than it handles in one iteration.
    fn lose_at_once(&mut self, callers: impl Iterator<Item = usize>) {
        self.shard.begin_iteration(0);
        for caller in callers {
            self.callers[caller].pipe.borrow_mut().is_broken = true;
            self.shard.readable(self.callers[caller].slot, true, self.now);
        }
    }

    /// Runs as many iterations as it takes to handle them.
    fn handle_losses(&mut self) {
        for _ in 0..20 {
            self.shard.begin_iteration(0);
            self.shard.resume(self.now);
        }
    }
}

#[test]
fn a_claim_of_too_much_while_many_connections_are_lost_at_once_ends_one_session_only() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    for room in 0..200 {
        scene.join(room, Role::Peer, "the secret of one");
    }
    scene.lose_at_once(0..200);
    let claim = scene.claim(199);
    assert_eq!(scene.shard.resume_session(&claim, 1_000_000, scene.now), Err(SessionError::Gap));
    scene.handle_losses();
    assert_eq!(scene.shard.tally().sessions, SessionTally { away: 199, gaps: 1, ..SessionTally::default() });
}

#[test]
fn what_is_sent_to_a_member_whose_loss_is_noticed_but_not_handled_yet_waits() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    let (one, other) = (scene.join(1, Role::Peer, "the secret of one"), scene.join(1, Role::Peer, ""));
    for room in 2..200 {
        scene.join(room, Role::Peer, "");
    }
    scene.lose_at_once((2..200).chain([one]));
    scene.send(other, 20);
    scene.shard.readable(scene.callers[other].slot, false, scene.now);
    scene.callers[one].is_lost = true;
    scene.handle_losses();
    scene.come_back(one).unwrap();
    scene.settle();
    scene.assert_received(other, one);
}

#[test]
fn an_end_of_the_registration_counts_although_the_loss_of_the_connection_came_first() {
    let mut scene = Scene::new(quiet(), usize::MAX / 2);
    for room in 0..200 {
        scene.join(room, Role::Peer, "the secret of one");
    }
    scene.lose_at_once(0..200);
    scene.shard.end(Serial(199), CloseReason::Removed, scene.now);
    scene.handle_losses();
    assert_eq!(scene.shard.tally().sessions, SessionTally { away: 199, closed: 1, ..SessionTally::default() });
}
