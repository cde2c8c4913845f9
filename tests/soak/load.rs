//! The devices of a run: groups of all shapes and behaviors, driven by a few threads, and short-lived visitors.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::device::Endpoint;
use super::error::Error;
use super::group::{Behavior, Group, Shape};
use super::progress::{Phase, Progress};
use super::visit;

/// Running devices.
pub(crate) struct Load {
    pub(crate) progress: Arc<Progress>,
    pub(crate) members: usize,
    halting: usize,
    threads: Vec<JoinHandle<()>>,
    visitor: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    /// Joins at least `members` members, and starts their traffic.
    pub(crate) fn start(endpoints: &[Endpoint], members: usize, seed: u64) -> Self {
        let progress = Arc::new(Progress::new());
        let workers = thread::available_parallelism().map_or(2, |count| count.get().min(4));
        let mut hands: Vec<Vec<Group>> = (0..workers).map(|_| Vec::new()).collect();
        let (mut joined, mut halting, mut number) = (0, 0, 0);
        while joined < members {
            let (shape, behavior) = (SHAPES[number % SHAPES.len()], BEHAVIORS[number % BEHAVIORS.len()]);
            let endpoint = &endpoints[number % endpoints.len()];
            let group =
                Group::gather(endpoint, number, shape, behavior, seed).unwrap_or_else(|error| panic!("{error}"));
            joined += group.devices.len();
            halting += usize::from(group.has_halting());
            hands[number / BEHAVIORS.len() % workers].push(group);
            number += 1;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let visitor = {
            let (progress, is_over, endpoints) = (Arc::clone(&progress), Arc::clone(&is_over), endpoints.to_vec());
            thread::spawn(move || visit::until(&endpoints, &progress, &is_over))
        };
        let threads = hands.into_iter().map(|groups| {
            let progress = Arc::clone(&progress);
            thread::spawn(move || work(groups, &progress).unwrap_or_else(|error| progress.fail(error)))
        });
        Self { progress: Arc::clone(&progress), members: joined, halting, threads: threads.collect(), visitor, is_over }
    }

    /// Waits until this many more messages have been received.
    pub(crate) fn wait_for(&self, messages: u64) {
        let wanted = self.progress.messages.load(Relaxed) + messages;
        self.progress.until("enough messages are received", || self.progress.messages.load(Relaxed) >= wanted);
    }

    /// Makes some members stop in the middle of a frame, and others stop reading.
    pub(crate) fn halt(&self) {
        self.progress.enter(Phase::Halting);
        self.progress.until("all halting members have stopped in a frame", || {
            self.progress.holding.load(Relaxed) == self.halting
        });
    }

    /// Makes all members continue.
    pub(crate) fn resume(&self) {
        self.progress.enter(Phase::Running);
        self.progress.until("no member is stopped in a frame", || self.progress.holding.load(Relaxed) == 0);
    }

    /// Waits until every message is received and every member has left with a close frame.
    pub(crate) fn finish(self) -> Arc<Progress> {
        self.is_over.store(true, Relaxed);
        self.progress.enter(Phase::Finishing);
        self.progress.until("all members have left", || self.threads.iter().all(JoinHandle::is_finished));
        self.progress.until("the visitor has left", || self.visitor.is_finished());
        assert!(!self.progress.has_failed());
        self.progress
    }
}

/// Drives groups until all their members have left.
fn work(mut groups: Vec<Group>, progress: &Progress) -> Result<(), Error> {
    let context = Error::io("poll");
    let mut poll = Poll::new().map_err(context)?;
    let mut events = Events::with_capacity(1024);
    let mut tokens = Vec::new();
    for (number, group) in groups.iter_mut().enumerate() {
        for (index, device) in group.devices.iter_mut().enumerate() {
            device.register(poll.registry(), Token(tokens.len())).map_err(context)?;
            tokens.push((number, index));
        }
    }
    let (mut is_busy, mut since) = (true, Instant::now());
    while !groups.iter().all(Group::is_over) && !progress.has_failed() {
        poll.poll(&mut events, Some(if is_busy { Duration::ZERO } else { NAP })).map_err(context)?;
        for event in &events {
            let (number, index) = tokens[event.token().0];
            groups[number].devices[index].event(event);
        }
        is_busy = false;
        for group in &mut groups {
            is_busy |= group.turn(progress)?;
        }
        if is_busy {
            since = Instant::now();
        } else if since.elapsed() > super::PATIENCE {
            let states: Vec<_> = groups.iter().filter(|group| !group.is_over()).map(Group::state).collect();
            return Err(Error::NoProgress(states));
        }
    }
    Ok(())
}

/// Shapes of the groups: pairs, lobbies, and hosts with several clients.
const SHAPES: [Shape; 9] = [
    Shape::Lobby(5),
    Shape::Star(1),
    Shape::Star(1),
    Shape::Lobby(3),
    Shape::Star(1),
    Shape::Star(3),
    Shape::Lobby(12),
    Shape::Star(1),
    Shape::Star(1),
];

/// Behaviors of the groups. Their number has no divisor in common with that of the shapes, so every combination occurs.
const BEHAVIORS: [Behavior; 4] = [Behavior::Steady, Behavior::Lagging, Behavior::Steady, Behavior::Halting];

/// Longest wait for an event, since slow members read by time.
const NAP: Duration = Duration::from_millis(2);
