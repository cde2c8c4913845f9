//! A sender and its messages in flight: which receivers still miss which message, and what may be sent next.

use std::time::Instant;

use crate::frames::Tape;
use crate::plan::Plan;

/// A member who sends.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Which member it is.
    pub(crate) member: usize,
    /// Its frames.
    pub(crate) tape: Tape,
    /// The number of its next message.
    pub(crate) next: u32,
    /// Its messages that all receivers have.
    pub(crate) done: u32,
    /// Whether it is already among those who may send.
    pub(crate) is_listed: bool,
    receivers: u32,
    burst: u32,
    /// By message in flight: when it was sent, and how many receivers miss it.
    flights: Vec<(Instant, u32)>,
}

impl Sender {
    /// Begins with nothing sent.
    pub(crate) fn new(number: u32, member: usize, plan: Plan) -> Self {
        Self {
            member,
            tape: Tape::new(number, plan.shape, plan.window),
            next: 0,
            done: 0,
            is_listed: false,
            receivers: plan.members as u32 - 1,
            burst: plan.burst,
            flights: vec![(Instant::now(), 0); plan.window as usize],
        }
    }

    /// Takes note that one more receiver has a message; when it was the last one, tells when the message was sent.
    pub(crate) fn landed(&mut self, number: u32) -> Option<Instant> {
        let slot = number as usize % self.flights.len();
        let (sent, missing) = &mut self.flights[slot];
        *missing -= 1;
        (*missing == 0).then(|| {
            self.done += 1;
            *sent
        })
    }

    /// When the last message was sent.
    pub(crate) fn last_sent(&self) -> Instant {
        self.flights[self.next.wrapping_sub(1) as usize % self.flights.len()].0
    }

    /// Puts as many messages on the tape as the window, the quota and the burst allow; tells whether there is one to write.
    pub(crate) fn load(&mut self, quota: u32) -> bool {
        let window = self.flights.len() as u32;
        let count = (window - (self.next - self.done)).min(quota - self.next).min(self.burst);
        if count == 0 || !self.tape.unsent().is_empty() {
            return false;
        }
        let now = Instant::now();
        for number in self.next..self.next + count {
            self.flights[(number % window) as usize] = (now, self.receivers);
        }
        self.tape.load(self.next, count);
        self.next += count;
        true
    }
}
