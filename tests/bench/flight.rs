//! A sender and its messages in flight: which receivers lack which message, and what can be sent next.

use std::time::Instant;

use crate::frames::Tape;
use crate::plan::Plan;

/// Member that sends.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Number of the member.
    pub(crate) member: usize,
    /// Frames to send.
    pub(crate) tape: Tape,
    /// Number of its next message.
    pub(crate) next: u32,
    /// Number of its messages that all receivers have.
    pub(crate) done: u32,
    /// Whether it is listed among the senders that can send.
    pub(crate) is_listed: bool,
    receivers: u32,
    burst: u32,
    /// For each message in flight, the time at which it was sent, and the number of receivers that lack it.
    flights: Vec<(Instant, u32)>,
}

impl Sender {
    /// Creates a sender that has sent nothing.
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

    /// Records that one more receiver has a message; if it is the last one, returns the time at which the message was sent.
    pub(crate) fn landed(&mut self, number: u32) -> Option<Instant> {
        let slot = number as usize % self.flights.len();
        let (sent, missing) = &mut self.flights[slot];
        *missing -= 1;
        (*missing == 0).then(|| {
            self.done += 1;
            *sent
        })
    }

    /// Returns the time at which the last message was sent.
    pub(crate) fn last_sent(&self) -> Instant {
        self.flights[self.next.wrapping_sub(1) as usize % self.flights.len()].0
    }

    /// Puts as many messages on the tape as the window, the quota and the burst allow; reports whether there is any.
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
