//! One relay thread: an event loop that waits for readiness, runs the shard, handles commands and sweeps periodically.

mod commands;
mod sends;

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
use ws_router_core::shard::{DiscardReason, Moment, Rules, Shard, Shed};

use super::announcement_numbers::AnnouncementNumbers;
use super::away::AwayPool;
use super::connection::{Connection, ThreadContext};
use super::inbox::Inbox;
use super::memory_budget::MemoryBudget;
use crate::events::Events;
use crate::log::RateLimitedLog;
use crate::metrics::ThreadTotals;
use sends::WaitingSends;

/// Token of the inbox's waker. Tokens of connections are their slots, which are small numbers.
pub(super) const WAKE: Token = Token(usize::MAX);

/// State of a relay thread, on that thread's stack.
pub(super) struct Thread {
    poll: Poll,
    inbox: Arc<Inbox>,
    shard: Shard<Connection>,
    context: Rc<ThreadContext>,
    stats: Stats,
    /// Earliest time at which load may be shed again.
    next_shed: Moment,
    begin: Instant,
    now: Moment,
    busy_poll: Duration,
    /// Number of deliveries whose latency has been recorded.
    timed: u64,
    /// Whether the last iteration left commands in the inbox. The waker isn't called for these again.
    has_commands: bool,
    /// The handshakes in progress, by the number of the reservation. That is the member's own, unless the handshake resumes
    /// a session.
    handshakes: HashMap<MemberId, Handshake>,
    numbers: AnnouncementNumbers,
    /// Messages from outside whose receivers are behind.
    sends: WaitingSends,
    stop: Option<Stop>,
}

/// A member whose handshake is in progress.
#[derive(Debug, Clone, Copy)]
struct Handshake {
    slot: usize,
    member: MemberId,
    /// The client that it accepts. It counts in `limits.waiting` until the handshake is done.
    accepts: Option<MemberId>,
}

/// Counters that a thread shares with the rest of the process.
pub(super) struct Stats {
    /// Counters that only this thread writes.
    pub(super) totals: Arc<ThreadTotals>,
    /// The memory limit, which all threads share.
    pub(super) memory: Arc<MemoryBudget>,
    /// The members of all threads that are without a connection.
    pub(super) away: AwayPool,
}

/// A stop in progress.
struct Stop {
    reason: CloseReason,
    deadline: Moment,
    /// Dropped at the end of the thread, which wakes the task that waits for it.
    _done: oneshot::Sender<()>,
}

impl Thread {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        rules: Rules,
        busy_poll: Duration,
        events: Events,
        stats: Stats,
        numbers: AnnouncementNumbers,
    ) -> io::Result<Self> {
        let context = Rc::new(ThreadContext {
            events,
            closed_by: RefCell::default(),
            waiting: RefCell::default(),
            away: stats.away.clone(),
            registry: poll.registry().try_clone()?,
            ciphertext: RefCell::new(vec![0; CIPHERTEXT]),
        });
        let (shard, begin, now) = (Shard::new(rules), Instant::now(), EPOCH);
        Ok(Self {
            poll,
            inbox,
            shard,
            context,
            stats,
            next_shed: now,
            begin,
            now,
            busy_poll,
            timed: 0,
            has_commands: false,
            handshakes: HashMap::new(),
            numbers,
            sends: WaitingSends::default(),
            stop: None,
        })
    }

    /// Runs the event loop until [`Command::Stop`](super::inbox::Command::Stop); fails only if polling fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut readiness = Readiness::with_capacity(EVENTS);
        let mut commands = Vec::with_capacity(COMMANDS_PER_ITERATION);
        let (mut next_sweep, mut last_event, mut skipped) = (self.now.after(SWEEP), self.begin, 0);
        loop {
            let timeout = self.poll_timeout(next_sweep, last_event);
            match self.poll.poll(&mut readiness, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let woken = Instant::now();
            self.now = EPOCH.after(woken.duration_since(self.begin));
            if !readiness.is_empty() {
                last_event = woken;
            }
            self.shard.begin_iteration(readiness.iter().filter(|event| event.is_readable()).count());
            self.has_commands |= self.dispatch(&readiness);
            self.shard.resume(self.now);
            if self.has_commands {
                self.has_commands = self.inbox.take(COMMANDS_PER_ITERATION, &mut commands);
                for command in commands.drain(..) {
                    self.handle(command);
                }
            }
            self.shard.announce_some(&mut || self.numbers.next(), self.now);
            self.continue_sends();
            self.shard.flush_some(self.writes_per_iteration(), self.now);
            self.record_latency(woken);
            if self.now >= next_sweep {
                // After a standstill, pongs may be waiting in sockets. Read all of them before members are timed out.
                let stood_still = self.now.since(next_sweep) >= STANDSTILL;
                let is_behind = stood_still || (skipped > 0 && readiness.iter().count() == EVENTS);
                if is_behind && skipped < MAX_SKIPPED_SWEEPS {
                    skipped += 1;
                } else {
                    skipped = 0;
                    self.shard.sweep(self.now);
                }
                next_sweep = self.now.after(SWEEP);
            }
            self.publish_totals();
            self.shed_load();
            if let Some(stop) = &self.stop
                && (self.shard.is_empty() || self.now >= stop.deadline)
            {
                return Ok(());
            }
        }
    }

    /// Returns the writes at the end of an iteration.
    fn writes_per_iteration(&self) -> usize {
        if self.shard.is_shared() { WRITES_PER_ITERATION_SHARED } else { WRITES_PER_ITERATION }
    }

    /// Returns the longest time for which the thread may sleep.
    fn poll_timeout(&self, next_sweep: Moment, last_event: Instant) -> Duration {
        let is_polling = !self.busy_poll.is_zero() && last_event.elapsed() < self.busy_poll;
        if self.has_commands || self.shard.has_work() || is_polling {
            return Duration::ZERO;
        }
        let next = self.stop.as_ref().map_or(next_sweep, |stop| stop.deadline.min(next_sweep));
        let next = self.shard.next_due().map_or(next, |due| due.min(next));
        let next = self.sends.next_deadline().map_or(next, |deadline| deadline.min(next));
        next.since(self.now).max(Duration::from_millis(1))
    }

    /// Reads and writes every connection that is ready; returns whether commands wait.
    fn dispatch(&mut self, readiness: &Readiness) -> bool {
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

    /// Discards waiting messages and closes the members that hold the most memory if the limit is nearly reached.
    fn shed_load(&mut self) {
        let memory = &self.stats.memory;
        if memory.excess(self.shard.held()) == 0 || self.now < self.next_shed {
            return;
        }
        self.next_shed = self.now.after(SHED_INTERVAL);
        self.shard.measure();
        self.stats.totals.held.set(self.shard.held());
        let bytes = memory.excess(self.shard.held());
        let shed = if bytes > 0 { self.shard.shed_load(bytes, self.now) } else { Shed::default() };
        if shed.messages > 0
            && let Some(suppressed) = WAITING_SHED.should_log(Instant::now())
        {
            let messages = shed.messages;
            tracing::warn!(messages, bytes, suppressed, "waiting messages discarded for memory; see limits.memory");
        }
        if shed.members > 0 {
            let relieved = &self.stats.totals.relieved;
            relieved.set(relieved.value() + shed.members);
            if let Some(suppressed) = LOAD_SHED.should_log(Instant::now()) {
                let members = shed.members;
                tracing::warn!(members, bytes, suppressed, "members closed for memory; see limits.memory");
            }
        }
    }

    /// Records how long this iteration's deliveries took.
    fn record_latency(&mut self, woken: Instant) {
        let delivered = self.shard.tally().deliveries;
        if delivered != self.timed {
            self.stats.totals.latency.observe(woken.elapsed(), delivered - self.timed);
            self.timed = delivered;
        }
    }

    /// Copies the shard's counters to the totals, where the rest of the process reads them.
    fn publish_totals(&self) {
        let (tally, totals) = (self.shard.tally(), &self.stats.totals);
        totals.held.set(self.shard.held());
        totals.waiting_sends.set(self.sends.len() as u64);
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
        totals.waiting_messages.set(tally.waiting_messages);
        totals.waiting_bytes.set(tally.waiting_bytes);
        for &reason in DiscardReason::ALL {
            totals.set_waiting_discarded(reason, tally.waiting_discarded[reason as usize]);
        }
        totals.waiting_clients.set(tally.waiting_clients);
        totals.accepted_clients.set(tally.accepted);
        totals.rejected_clients.set(tally.rejected);
        totals.accept_timeouts.set(tally.accept_timeouts);
        totals.members_away.set(tally.sessions.away);
        totals.sessions_resumed.set(tally.sessions.resumed);
        totals.sessions_expired.set(tally.sessions.expired);
        totals.session_gaps.set(tally.sessions.gaps);
        totals.sessions_closed.set(tally.sessions.closed);
        for &reason in CloseReason::ALL {
            totals.set_closes(reason, tally.closes[reason as usize]);
        }
    }
}

/// Returns the serial of a self-test's registration. These count down from the maximum, those of the registry up from
/// one, so they never meet.
pub(super) fn self_test_serial(number: u64) -> Serial {
    Serial(u64::MAX - number)
}

/// Start of a thread's clock. It isn't zero because restored members joined before it.
const EPOCH: Moment = Moment(100 * 365 * 86_400_000);
/// Readiness events taken from the kernel at once.
const EVENTS: usize = 1024;
/// Maximum number of commands in an iteration, at a few microseconds each, so that a mass join doesn't delay messages.
const COMMANDS_PER_ITERATION: usize = 8;
/// Maximum number of writes at the end of an iteration, at a few microseconds each, so that a large fan-out doesn't delay
/// other registrations.
const WRITES_PER_ITERATION: usize = 32;
/// The same while members of other registrations are active.
const WRITES_PER_ITERATION_SHARED: usize = 8;
/// Interval at which timeouts are checked.
const SWEEP: Duration = Duration::from_millis(500);
/// Shortest interval between measurements of memory under pressure: measuring takes time, and memory can't grow by much
/// in between.
const SHED_INTERVAL: Duration = Duration::from_millis(20);
/// Rate limit for a warning that peers can trigger.
static LOAD_SHED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
/// The same for messages that wait for a receiver.
static WAITING_SHED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
/// Delay of a sweep that shows a standstill: the process was stopped, or the machine suspended.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Sweeps that may be skipped in a row. On an overloaded machine, every sweep is late.
const MAX_SKIPPED_SWEEPS: u32 = 8;
/// Bytes of TLS records read at once.
const CIPHERTEXT: usize = 256 << 10;
