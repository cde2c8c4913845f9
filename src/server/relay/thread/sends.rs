//! Messages from outside that wait until a receiver has room.
//!
//! They are sent in the order of their arrival, those of each registration and role on their own. One that isn't sent
//! by its deadline is dropped, and its task notified. Their number is bounded by that of pending connections, and their
//! memory by [`crate::net::SendBuffers`].

use std::collections::{BTreeMap, HashMap, VecDeque};

use ws_router_core::ids::Serial;
use ws_router_core::kind::Role;
use ws_router_core::shard::{Moment, Outcome};

use super::super::SendOutcome;
use super::super::inbox::Send;
use super::Thread;

/// Messages that wait, by the registration and the role as which they are sent.
#[derive(Debug, Default)]
pub(super) struct WaitingSends {
    queues: HashMap<(Serial, Role), VecDeque<WaitingSend>>,
    /// Their deadlines, with a number that distinguishes equal ones.
    deadlines: BTreeMap<(Moment, u64), (Serial, Role)>,
    last_number: u64,
}

/// A message that waits.
#[derive(Debug)]
struct WaitingSend {
    send: Send,
    deadline: (Moment, u64),
}

impl WaitingSends {
    /// Returns the number of messages.
    pub(super) fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// Returns whether other messages for the same receivers wait.
    fn has(&self, target: (Serial, Role)) -> bool {
        self.queues.contains_key(&target)
    }

    fn push(&mut self, send: Send, deadline: Moment) {
        self.last_number += 1;
        let (target, deadline) = (target(&send), (deadline, self.last_number));
        self.deadlines.insert(deadline, target);
        self.queues.entry(target).or_default().push_back(WaitingSend { send, deadline });
    }

    /// Removes the message that has waited longest for some receivers.
    fn pop(&mut self, target: (Serial, Role)) -> Option<WaitingSend> {
        self.remove(target, |queue| queue.pop_front())
    }

    /// Puts a message back that could not be sent.
    fn put_back(&mut self, waiting: WaitingSend) {
        let target = target(&waiting.send);
        self.deadlines.insert(waiting.deadline, target);
        self.queues.entry(target).or_default().push_front(waiting);
    }

    /// Removes a message whose deadline has passed.
    fn pop_expired(&mut self, now: Moment) -> Option<WaitingSend> {
        let (deadline, target) = self.deadlines.first_key_value().filter(|((when, _), _)| *when <= now)?;
        let (deadline, target) = (*deadline, *target);
        self.remove(target, |queue| {
            queue.iter().position(|waiting| waiting.deadline == deadline).and_then(|at| queue.remove(at))
        })
    }

    fn remove(
        &mut self,
        target: (Serial, Role),
        take: impl FnOnce(&mut VecDeque<WaitingSend>) -> Option<WaitingSend>,
    ) -> Option<WaitingSend> {
        let queue = self.queues.get_mut(&target)?;
        let waiting = take(queue);
        if queue.is_empty() {
            self.queues.remove(&target);
        }
        if let Some(waiting) = &waiting {
            self.deadlines.remove(&waiting.deadline);
        }
        waiting
    }

    /// Returns the first deadline.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.first_key_value().map(|((deadline, _), _)| *deadline)
    }
}

impl Thread {
    /// Sends a message from outside, or lets it wait behind others until the deadline.
    pub(super) fn send(&mut self, send: Send, deadline: Moment) {
        if send.answer.is_closed() {
            // The request was given up, and answered with that nothing was sent.
            return;
        }
        let rejected = if self.sends.has(target(&send)) { Some(send) } else { self.try_send(send) };
        if let Some(send) = rejected {
            self.sends.push(send, deadline);
        }
    }

    /// Sends the messages whose receivers have room again, and drops those whose deadline has passed.
    pub(super) fn continue_sends(&mut self) {
        for _ in 0..READY_PER_ITERATION {
            let Some(serial) = self.shard.take_ready() else { break };
            for role in [Role::Host, Role::Client, Role::Peer] {
                self.send_waiting((serial, role));
            }
        }
        while let Some(waiting) = self.sends.pop_expired(self.now) {
            let _ = waiting.send.answer.send(SendOutcome::TooSlow);
        }
    }

    /// Sends messages for some receivers, until these are behind again.
    fn send_waiting(&mut self, target: (Serial, Role)) {
        while let Some(WaitingSend { send, deadline }) = self.sends.pop(target) {
            if send.answer.is_closed() {
                continue;
            }
            if let Some(send) = self.try_send(send) {
                return self.sends.put_back(WaitingSend { send, deadline });
            }
        }
    }

    /// Sends a message and answers, or returns it if all receivers are behind.
    fn try_send(&mut self, send: Send) -> Option<Send> {
        let Send { sender, message, answer } = send;
        let (serial, role) = (sender.registration.serial, sender.role);
        let outcome = match self.shard.send_from_outside(serial, role, message, || sender.hold(), self.now) {
            Outcome::Sent(receivers) => SendOutcome::Sent(receivers),
            Outcome::Waiting => SendOutcome::Waiting,
            Outcome::NoReceiver => SendOutcome::NoReceiver,
            Outcome::Behind(message) => return Some(Send { sender, message, answer }),
        };
        // Sending an answer fails only if the request's client is gone.
        let _ = answer.send(outcome);
        None
    }
}

/// Returns the registration to which a message is sent, and the role as which it is.
fn target(send: &Send) -> (Serial, Role) {
    (send.sender.registration.serial, send.sender.role)
}

/// Registrations whose waiting messages are sent in an iteration. What is sent to one is bounded by the high-water mark of
/// its receivers.
const READY_PER_ITERATION: usize = 4;
