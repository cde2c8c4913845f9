//! The devices of a run: groups of all shapes and manners, driven by a few threads, and visitors beside them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::course::{Course, Phase};
use super::device::Place;
use super::group::{Group, Manner, Shape};
use super::visit;

/// Devices at work.
pub(crate) struct Load {
    pub(crate) course: Arc<Course>,
    pub(crate) members: usize,
    halting: usize,
    threads: Vec<JoinHandle<()>>,
    visitor: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    /// Brings at least so many members together, and lets them talk.
    pub(crate) fn start(places: &[Place], members: usize, seed: u64) -> Self {
        let course = Arc::new(Course::new());
        let workers = thread::available_parallelism().map_or(2, |count| count.get().min(4));
        let mut hands: Vec<Vec<Group>> = (0..workers).map(|_| Vec::new()).collect();
        let (mut joined, mut halting, mut number) = (0, 0, 0);
        while joined < members {
            let (shape, manner) = (SHAPES[number % SHAPES.len()], MANNERS[number % MANNERS.len()]);
            let place = &places[number % places.len()];
            let group = Group::gather(place, number, shape, manner, seed).unwrap_or_else(|error| panic!("{error}"));
            joined += group.devices.len();
            halting += usize::from(group.has_halting());
            hands[number / MANNERS.len() % workers].push(group);
            number += 1;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let visitor = {
            let (course, is_over, places) = (Arc::clone(&course), Arc::clone(&is_over), places.to_vec());
            thread::spawn(move || visit::until(&places, &course, &is_over))
        };
        let threads = hands.into_iter().map(|groups| {
            let course = Arc::clone(&course);
            thread::spawn(move || work(groups, &course).unwrap_or_else(|error| course.fail(error)))
        });
        Self { course: Arc::clone(&course), members: joined, halting, threads: threads.collect(), visitor, is_over }
    }

    /// Waits until so many messages more have been heard.
    pub(crate) fn hear(&self, messages: u64) {
        let wanted = self.course.messages.load(Relaxed) + messages;
        self.course.until("enough is heard", || self.course.messages.load(Relaxed) >= wanted);
    }

    /// Makes some stop in the middle of a frame, and others stop reading.
    pub(crate) fn halt(&self) {
        self.course.enter(Phase::Halting);
        self.course.until("all who should stand in a frame", || self.course.holding.load(Relaxed) == self.halting);
    }

    /// Lets everybody go on.
    pub(crate) fn go_on(&self) {
        self.course.enter(Phase::Running);
        self.course.until("nobody stands in a frame", || self.course.holding.load(Relaxed) == 0);
    }

    /// Waits until all that was said is heard, and all have left with a goodbye.
    pub(crate) fn finish(self) -> Arc<Course> {
        self.is_over.store(true, Relaxed);
        self.course.enter(Phase::Finishing);
        self.course.until("all have left", || self.threads.iter().all(JoinHandle::is_finished));
        self.course.until("the visitor has left", || self.visitor.is_finished());
        self.course.until("nothing went wrong", || true);
        self.course
    }
}

/// Drives some groups to their end.
fn work(mut groups: Vec<Group>, course: &Course) -> Result<(), String> {
    let told = |error: std::io::Error| format!("poll: {error}");
    let mut poll = Poll::new().map_err(told)?;
    let mut events = Events::with_capacity(1024);
    let mut tokens = Vec::new();
    for (number, group) in groups.iter_mut().enumerate() {
        for (index, device) in group.devices.iter_mut().enumerate() {
            device.register(poll.registry(), Token(tokens.len())).map_err(told)?;
            tokens.push((number, index));
        }
    }
    let (mut is_busy, mut since) = (true, Instant::now());
    while !groups.iter().all(Group::is_over) && !course.has_failed() {
        poll.poll(&mut events, Some(if is_busy { Duration::ZERO } else { NAP })).map_err(told)?;
        for event in &events {
            let (number, index) = tokens[event.token().0];
            groups[number].devices[index].event(event);
        }
        is_busy = false;
        for group in &mut groups {
            is_busy |= group.turn(course)?;
        }
        if is_busy {
            since = Instant::now();
        } else if since.elapsed() > super::PATIENCE {
            let standing: Vec<_> = groups.iter().filter(|group| !group.is_over()).map(Group::standing).collect();
            return Err(format!("nothing moves any more: {standing:#?}"));
        }
    }
    Ok(())
}

/// Pairs, lobbies, and hosts with several clients.
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

/// Half are steady. As many as have no divisor in common with the shapes, so that each shape comes in each manner.
const MANNERS: [Manner; 4] = [Manner::Steady, Manner::Lagging, Manner::Steady, Manner::Halting];

/// How long to wait for an event while slow members wait for their time.
const NAP: Duration = Duration::from_millis(2);
