//! State shared by the threads of a run: its phase, its counters, and its first failure.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::error::Error;

/// Phase of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Members send and receive.
    Running,
    /// Members send and receive, but some stop in the middle of a frame, and some stop reading.
    Halting,
    /// Members send nothing new, and receive everything sent so far.
    Finishing,
}

/// Progress of a run.
pub(crate) struct Progress {
    start: Instant,
    phase: AtomicU8,
    /// Number of devices that have stopped in the middle of a frame.
    pub(crate) holding: AtomicUsize,
    /// Messages received.
    pub(crate) messages: AtomicU64,
    /// Payload bytes of the messages received.
    pub(crate) bytes: AtomicU64,
    /// Pongs received.
    pub(crate) pongs: AtomicU64,
    /// Short visits by other devices.
    pub(crate) visits: AtomicU64,
    /// Longest visit in microseconds.
    pub(crate) longest_visit: AtomicU64,
    /// Start of the last restart, in microseconds since the start of the run.
    began: AtomicU64,
    /// End of the last restart, in microseconds since the start of the run.
    ended: AtomicU64,
    /// Longest time in microseconds in which a device received nothing, around a restart.
    pub(crate) longest_pause: AtomicU64,
    /// Longest time in microseconds in which a device received nothing, without a restart.
    pub(crate) longest_silence: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            start: Instant::now(),
            phase: AtomicU8::new(0),
            holding: AtomicUsize::new(0),
            messages: zero(),
            bytes: zero(),
            pongs: zero(),
            visits: zero(),
            longest_visit: zero(),
            began: AtomicU64::new(u64::MAX),
            ended: zero(),
            longest_pause: zero(),
            longest_silence: zero(),
            failure: Mutex::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Running,
            1 => Phase::Halting,
            _ => Phase::Finishing,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Records that a device received nothing in a span of time.
    pub(crate) fn record_silence(&self, from: Instant, until: Instant) {
        let micros = |instant: Instant| instant.duration_since(self.start).as_micros() as u64;
        let (from, until) = (micros(from), micros(until));
        let is_pause = until >= self.began.load(Relaxed) && from <= self.ended.load(Relaxed);
        let longest = if is_pause { &self.longest_pause } else { &self.longest_silence };
        longest.fetch_max(until - from, Relaxed);
    }

    /// Runs a restart, and returns its duration.
    pub(crate) fn during(&self, restart: impl FnOnce()) -> Duration {
        let now = || self.start.elapsed().as_micros() as u64;
        let began = now();
        self.ended.store(u64::MAX, Relaxed);
        self.began.store(began, Relaxed);
        restart();
        self.ended.store(now(), Relaxed);
        Duration::from_micros(now() - began)
    }

    /// Records a failure; only the first one counts.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.lock().unwrap().get_or_insert(error);
    }

    /// Returns whether the run has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap().is_some()
    }

    /// Waits until a condition is true. Fails with the run's failure, or if no message arrives for [`super::PATIENCE`].
    pub(crate) fn until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let (mut received, mut since) = (self.messages.load(Relaxed), Instant::now());
        while !is_true() {
            let failure = self.failure.lock().unwrap().as_ref().map(Error::to_string);
            if let Some(failure) = failure {
                panic!("{failure}");
            }
            let now = self.messages.load(Relaxed);
            if now != received {
                (received, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < super::PATIENCE, "no message arrives while waiting until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
