//! One client's stream through the whole connection state machine, in any pieces, with and without successions in the
//! middle: the others receive, and the client is answered, exactly what the reference decoder says.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::kind::Role;
use ws_router_core::shard::{InMemoryLink, MemberState, Moment, Newcomer, Pipe, Rules, Shard};

use super::input::Input;
use super::reference;

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (options, pieces) = (input.byte(), input.byte());
    let max_message = if options & SMALL_MESSAGES == 0 { 1 << 20 } else { 200 };
    let stream = if options & MADE_UP == 0 {
        input.rest().to_vec()
    } else {
        let mut stream = Vec::new();
        while !input.is_empty() {
            input.frame(&mut stream);
        }
        stream
    };
    let receivers = 1 + usize::from(options & CROWD != 0);
    let mut scene = Scene::new(max_message, receivers);
    let (mut seed, mut successions) = (u32::from(pieces), 0);
    let mut rest = &stream[..];
    while !rest.is_empty() {
        let size = match pieces {
            0 => rest.len(),
            1 => 1 + rest.len() / 100,
            _ => {
                seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                1 + (seed >> 8) as usize % (usize::from(pieces) * (1 + rest.len() / 1000))
            }
        };
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        scene.send(piece, options & EARLY != 0 && rest.len() == stream.len());
        rest = behind;
        if options & SUCCESSION != 0 && successions < SUCCESSIONS {
            successions += 1;
            if !scene.restore() {
                break;
            }
        }
    }
    let meaning = reference::read(&stream, max_message);
    let talker = scene.pipes[0].borrow();
    assert_eq!(talker.left, meaning.end);
    assert!(talker.outbound == meaning.answered, "what it was answered");
    for receiver in &scene.pipes[1..] {
        assert!(receiver.borrow().outbound == meaning.received, "what the others received");
    }
    assert_eq!(scene.shard.tally().outbox_bytes, 0);
}

/// A talker, in slot 0 of the list, and its receivers.
struct Scene {
    shard: Shard<InMemoryLink>,
    rules: Rules,
    pipes: Vec<Rc<RefCell<Pipe>>>,
    talker: usize,
}

impl Scene {
    fn new(max_message: u64, receivers: usize) -> Self {
        let rules = rules(max_message);
        let mut shard = Shard::new(rules.clone());
        let pipes: Vec<_> = (0..=receivers).map(|_| Pipe::with_room(usize::MAX).shared()).collect();
        let join = |(at, pipe): (usize, &Rc<RefCell<Pipe>>)| {
            let newcomer = Newcomer {
                id: MemberId(at as u64),
                serial: Serial(1),
                role: Role::Peer,
                receives_only: false,
                counts: true,
            };
            shard.join(&newcomer, InMemoryLink(Rc::clone(pipe)), NOW)
        };
        let slots: Vec<usize> = pipes.iter().enumerate().map(join).collect();
        Self { talker: slots[0], shard, rules, pipes }
    }

    fn send(&mut self, piece: &[u8], is_early: bool) {
        if is_early {
            self.shard.arrived(self.talker, piece, NOW);
        } else {
            self.pipes[0].borrow_mut().inbound.extend(piece);
            self.shard.readable(self.talker, false, NOW);
        }
        for _ in 0..1000 {
            self.shard.resume(NOW);
            self.shard.flush(NOW);
            if !self.shard.has_work() {
                return;
            }
        }
        panic!("the shard doesn't come to rest");
    }

    /// Continues in another shard, from encoded bytes; returns whether the talker is still there.
    fn restore(&mut self) -> bool {
        let states: Vec<MemberState> = self.shard.export(NOW).map(|(_, state)| state).collect();
        let bytes = rmp_serde::to_vec_named(&states).unwrap();
        let read: Vec<MemberState> = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read, states);
        self.shard = Shard::new(self.rules.clone());
        let mut is_there = false;
        for state in read {
            let at = state.id.0 as usize;
            let slot =
                self.shard.restore(state, InMemoryLink(Rc::clone(&self.pipes[at])), InMemoryLink::unconnected, NOW);
            let slot = slot.unwrap_or_else(|_| panic!("a state of ours is refused"));
            if at == 0 {
                (self.talker, is_there) = (slot, true);
            }
        }
        let again: Vec<MemberState> = self.shard.export(NOW).map(|(_, state)| state).collect();
        assert_eq!(again, states, "a new process knows the same");
        is_there
    }
}

pub fn rules(max_message: u64) -> Rules {
    Rules {
        max_message,
        outbox: 1 << 20,
        pace: false,
        ping_interval: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(30),
        close_timeout: Duration::from_secs(5),
        session_timeout: Duration::from_secs(120),
        session_buffer: 64 << 10,
    }
}

const NOW: Moment = Moment(1_000_000);
/// A fresh shard takes long, for a fuzzer.
const SUCCESSIONS: usize = 5;
/// Bits of the first byte.
const EARLY: u8 = 1;
const SUCCESSION: u8 = 2;
const SMALL_MESSAGES: u8 = 4;
const MADE_UP: u8 = 8;
const CROWD: u8 = 16;
