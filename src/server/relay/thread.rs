//! One relay thread: wait for readiness, let the shard do its round, take commands, sweep now and then.

mod commands;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events as Readiness, Poll, Token};
use tokio::sync::oneshot;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, Serial};
use ws_router_core::shard::{Moment, Rules, Shard};

use super::budget::Budget;
use super::inbox::Inbox;
use super::wire::{Common, Wire};
use crate::events::Events;
use crate::log::RateLimitedLog;
use crate::metrics::ThreadTotals;

/// The token of the inbox's waker; slots are small numbers.
pub(super) const WAKE: Token = Token(usize::MAX);

/// A relay thread's state; lives on its stack.
pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    shard: Shard<Wire>,
    common: Rc<Common>,
    ledger: Ledger,
    /// When memory may be looked at closely again.
    next_relief: Moment,
    begin: Instant,
    now: Moment,
    busy_poll: Duration,
    /// Deliveries whose time has been counted.
    timed: u64,
    /// Commands wait that nobody wakes it for.
    has_commands: bool,
    /// Members whose connections are on their way, with their slots.
    awaited: HashMap<MemberId, usize>,
    stop: Option<Stop>,
}

/// Where a thread writes what it does, and reads how much memory there is.
pub(super) struct Ledger {
    /// Its own numbers.
    pub(super) totals: Arc<ThreadTotals>,
    /// What all threads share.
    pub(super) budget: Arc<Budget>,
}

/// How the thread ends.
struct Stop {
    reason: CloseReason,
    deadline: Moment,
    _told_when_done: oneshot::Sender<()>,
}

impl Thread {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        rules: Rules,
        busy_poll: Duration,
        events: Events,
        ledger: Ledger,
    ) -> Self {
        let common = Rc::new(Common { events, sealed: RefCell::new(vec![0; SEALED]) });
        let (shard, begin, now) = (Shard::new(rules), Instant::now(), BEGIN);
        Self {
            poll,
            inbox,
            shard,
            common,
            ledger,
            next_relief: now,
            begin,
            now,
            busy_poll,
            timed: 0,
            has_commands: false,
            awaited: HashMap::new(),
            stop: None,
        }
    }

    /// Runs until it is told to stop; fails when the kernel's event queue does.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut readiness = Readiness::with_capacity(EVENTS);
        let mut commands = Vec::with_capacity(COMMANDS_A_ROUND);
        let (mut next_sweep, mut last_event, mut put_off) = (self.now.after(SWEEP), self.begin, 0);
        loop {
            let timeout = self.patience(next_sweep, last_event);
            match self.poll.poll(&mut readiness, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let woken = Instant::now();
            self.now = BEGIN.after(woken.duration_since(self.begin));
            if !readiness.is_empty() {
                last_event = woken;
            }
            self.shard.begin_iteration(readiness.iter().filter(|event| event.is_readable()).count());
            self.has_commands |= self.serve(&readiness);
            self.shard.resume(self.now);
            if self.has_commands {
                self.has_commands = self.inbox.take(COMMANDS_A_ROUND, &mut commands);
                for command in commands.drain(..) {
                    self.obey(command);
                }
            }
            self.shard.flush_some(WRITES_A_ROUND, self.now);
            self.time(woken);
            if self.now >= next_sweep {
                // After a standstill, signs of life may be there that nobody has read yet, until a round takes in all.
                let stood_still = self.now.since(next_sweep) >= STANDSTILL;
                let is_behind = stood_still || (put_off > 0 && readiness.iter().count() == EVENTS);
                if is_behind && put_off < MOST_PUT_OFF {
                    put_off += 1;
                } else {
                    put_off = 0;
                    self.shard.sweep(self.now);
                }
                next_sweep = self.now.after(SWEEP);
            }
            self.publish();
            self.relieve();
            if let Some(stop) = &self.stop
                && (self.shard.is_empty() || self.now >= stop.deadline)
            {
                return Ok(());
            }
        }
    }

    /// How long to sleep at most.
    fn patience(&self, next_sweep: Moment, last_event: Instant) -> Duration {
        let is_looking = !self.busy_poll.is_zero() && last_event.elapsed() < self.busy_poll;
        if self.has_commands || self.shard.has_work() || is_looking {
            return Duration::ZERO;
        }
        let next = self.stop.as_ref().map_or(next_sweep, |stop| stop.deadline.min(next_sweep));
        let next = self.shard.next_due().map_or(next, |due| due.min(next));
        next.since(self.now).max(Duration::from_millis(1))
    }

    /// Lets every connection that is ready have its turn; tells whether commands wait.
    fn serve(&mut self, readiness: &Readiness) -> bool {
        let mut has_commands = false;
        for event in readiness {
            if event.token() == WAKE {
                has_commands = true;
                continue;
            }
            let slot = event.token().0;
            if event.is_writable() {
                self.shard.writable(slot, self.now);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.shard.readable(slot, event.is_read_closed() || event.is_error(), self.now);
            }
        }
        has_commands
    }

    /// Closes those who hold most when all peers together hold more than the budget.
    fn relieve(&mut self) {
        let budget = &self.ledger.budget;
        if budget.to_free(self.shard.held()) == 0 || self.now < self.next_relief {
            return;
        }
        self.next_relief = self.now.after(RELIEF);
        self.shard.measure();
        self.ledger.totals.held.set(self.shard.held());
        let bytes = budget.to_free(self.shard.held());
        let closed = if bytes > 0 { self.shard.shed_load(bytes, self.now) } else { 0 };
        if closed > 0 {
            let relieved = &self.ledger.totals.relieved;
            relieved.set(relieved.value() + closed);
            if let Some(suppressed) = RELIEVED.should_log(Instant::now()) {
                tracing::warn!(members = closed, bytes, suppressed, "members closed for memory; see limits.memory");
            }
        }
    }

    /// Counts how long the round's messages took.
    fn time(&mut self, woken: Instant) {
        let delivered = self.shard.tally().deliveries;
        if delivered != self.timed {
            self.ledger.totals.latency.observe(woken.elapsed(), delivered - self.timed);
            self.timed = delivered;
        }
    }

    fn publish(&self) {
        let (tally, totals) = (self.shard.tally(), &self.ledger.totals);
        totals.held.set(self.shard.held());
        totals.members.set(tally.members);
        totals.messages_in.set(tally.messages_in);
        totals.bytes_in.set(tally.bytes_in);
        totals.deliveries.set(tally.deliveries);
        totals.bytes_out.set(tally.bytes_out);
        totals.messages_undelivered.set(tally.undelivered);
        totals.reads_throttled.set(tally.reads_throttled);
        totals.stalled_messages.set(tally.stalled_messages);
        totals.close_timeouts.set(tally.close_timeouts);
        totals.outbox_bytes.set(tally.outbox_bytes);
        for reason in CloseReason::ALL {
            totals.set_closes(reason, tally.closes[reason as usize]);
        }
    }
}

/// A probe's registration; the registry's serials count from one and won't get here.
pub(super) fn probe_serial(number: u64) -> Serial {
    Serial(u64::MAX - number)
}

/// The first moment of a thread: late enough that a predecessor's members can have come before it.
const BEGIN: Moment = Moment(100 * 365 * 86_400_000);
/// Readiness taken at once.
const EVENTS: usize = 1024;
/// Commands obeyed in a round, a few microseconds each: a mass join is let in by and by, beside those who talk.
const COMMANDS_A_ROUND: usize = 32;
/// Writes at the end of a round, some microseconds each: a pair doesn't wait until a thousand have had their message.
const WRITES_A_ROUND: usize = 32;
/// How often the silent, the stalled and the overdue are looked for.
const SWEEP: Duration = Duration::from_millis(500);
/// How often memory is looked at closely: it can't grow by much meanwhile, and the look takes a while itself.
const RELIEF: Duration = Duration::from_millis(20);
/// Peers can cause the warning at will.
static RELIEVED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
/// A sweep that is so late comes after a time in which the process didn't run: stopped, or its machine suspended.
const STANDSTILL: Duration = Duration::from_secs(1);
/// On a machine that is overloaded for good, sweeps come late all the time, and one of so many is made.
const MOST_PUT_OFF: u32 = 8;
/// Sealed bytes read at once.
const SEALED: usize = 256 << 10;
