//! What the threads of a run share: how far it is, what was counted, and the first thing that went wrong.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Talk.
    Running,
    /// Talk, but some stop in the middle of a frame, and some stop reading.
    Halting,
    /// Nothing new is said; all that was is heard.
    Finishing,
}

/// A run.
pub(crate) struct Course {
    start: Instant,
    phase: AtomicU8,
    /// Devices that stand in the middle of a frame.
    pub(crate) holding: AtomicUsize,
    /// Messages heard, and their bytes.
    pub(crate) messages: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Pings answered.
    pub(crate) pongs: AtomicU64,
    /// Short visits by other devices, and the longest in microseconds.
    pub(crate) visits: AtomicU64,
    pub(crate) longest_visit: AtomicU64,
    /// The last restart, in microseconds of the run.
    began: AtomicU64,
    ended: AtomicU64,
    /// The longest silences, in microseconds: around a restart, and otherwise.
    pub(crate) longest_pause: AtomicU64,
    pub(crate) longest_silence: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Course {
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

    /// Notes that a device heard nothing from then until now.
    pub(crate) fn silence(&self, from: Instant, until: Instant) {
        let micros = |instant: Instant| instant.duration_since(self.start).as_micros() as u64;
        let (from, until) = (micros(from), micros(until));
        let is_pause = until >= self.began.load(Relaxed) && from <= self.ended.load(Relaxed);
        let longest = if is_pause { &self.longest_pause } else { &self.longest_silence };
        longest.fetch_max(until - from, Relaxed);
    }

    /// Does a restart, and gives how long it took.
    pub(crate) fn during(&self, restart: impl FnOnce()) -> Duration {
        let now = || self.start.elapsed().as_micros() as u64;
        let began = now();
        self.ended.store(u64::MAX, Relaxed);
        self.began.store(began, Relaxed);
        restart();
        self.ended.store(now(), Relaxed);
        Duration::from_micros(now() - began)
    }

    /// Notes what went wrong, if it is the first.
    pub(crate) fn fail(&self, text: String) {
        self.failure.lock().unwrap().get_or_insert(text);
    }

    /// Whether something went wrong.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap().is_some()
    }

    /// Waits until something has come true. Fails with what went wrong, or if nothing is heard any more.
    pub(crate) fn until(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let (mut heard, mut since) = (self.messages.load(Relaxed), Instant::now());
        while !is_true() {
            let failure = self.failure.lock().unwrap().clone();
            if let Some(failure) = failure {
                panic!("{failure}");
            }
            let now = self.messages.load(Relaxed);
            if now != heard {
                (heard, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < super::PATIENCE, "nothing is heard any more while waiting until {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
