//! The state of a member that a new process needs to continue in the middle of its stream, in both directions.

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::member::{Member, MemberTally, Phase};
use super::outbox::Outbox;
use super::rate::{RateLimiter, RateState};
use super::sessions::SessionState;
use super::{Moment, Rules};
use crate::frame::{Decoder, DecoderState};
use crate::ids::{MemberId, Serial};
use crate::kind::Role;

/// A member without its connection. Times are relative to the moment of the copy, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberState {
    /// The member's number.
    pub id: MemberId,
    /// Its registration.
    pub serial: Serial,
    /// Its role.
    pub role: Role,
    /// Whether it may only receive; missing in snapshots of versions without receive keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub receives_only: bool,
    age_ms: u64,
    silent_ms: u64,
    pinged_ms: Option<u64>,
    tally: MemberTally,
    unparsed: DecoderState,
    /// Bytes that its socket hasn't taken.
    #[serde(rename = "owed", with = "serde_bytes")]
    queued: Vec<u8>,
    /// Number of these that complete a frame of which a part has been sent.
    begun: usize,
    /// Rates at which it may send; missing in snapshots of versions without rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<RateState>,
    /// Its session; missing in snapshots of versions without these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<Box<SessionState>>,
    /// Its place in a paired registration; missing in snapshots of versions without these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) paired: Option<Box<PairedState>>,
    /// Set if it is no longer a member, and only closing; missing in snapshots of versions that dropped such connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) closing: Option<ClosingState>,
}

impl MemberState {
    /// Returns whether it is the host's end of a pair, which takes no seat.
    pub fn is_accepted_end(&self) -> bool {
        self.role == Role::Host && matches!(self.paired.as_deref(), Some(PairedState::Pair(_)))
    }

    /// Returns whether it is without a connection, because it has a session and has lost it.
    pub fn is_away(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_away())
    }

    /// Returns whether it is a client that waits for a host.
    pub fn is_waiting(&self) -> bool {
        matches!(self.paired.as_deref(), Some(PairedState::Waiting(_)))
    }

    /// Returns whether it is no longer a member, and only closing.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Copies a connection that is only closing, until a deadline. It belongs to no registration any more.
    pub(super) fn export_closing<L>(member: &Member<L>, deadline: Moment, now: Moment) -> Self {
        let closing = ClosingState {
            within_ms: deadline.since(now).as_millis() as u64,
            delivers_all: member.flags.delivers_all,
            peer_closed: member.flags.peer_closed,
            is_undecodable: member.flags.is_undecodable,
        };
        Self { closing: Some(closing), ..Self::export(member, NO_REGISTRATION, now) }
    }

    /// Copies a member of a registration.
    pub(super) fn export<L>(member: &Member<L>, serial: Serial, now: Moment) -> Self {
        let ago = |moment: Moment| now.since(moment).as_millis() as u64;
        let (queued, begun) = member.outbox.as_deref().map(Outbox::state).unwrap_or_default();
        Self {
            id: member.id,
            serial,
            role: member.role,
            receives_only: member.receives_only && member.role != Role::Host,
            age_ms: ago(member.joined),
            silent_ms: ago(member.last_received),
            pinged_ms: member.pinged.get().map(ago),
            tally: member.tally,
            unparsed: member.decoder.state(),
            queued,
            begun,
            pace: member.rate.as_deref().map(|rate| rate.state(now)),
            session: None,
            paired: None,
            closing: None,
        }
    }

    /// Restores the stream; `None` if it can't be continued.
    pub(super) fn restore(mut self, rules: &Rules, now: Moment) -> Option<Restored> {
        let max_message = rules.max_message;
        let decoder = Decoder::resume(self.unparsed, max_message.max(LENIENT))?;
        if self.begun > self.queued.len() {
            return None;
        }
        let before = |ago_ms: u64| Moment(now.0.saturating_sub(ago_ms));
        let outbox = match self.session.as_deref_mut() {
            Some(session) => Some(session.outbox(&self.queued, rules.session_buffer, now)?),
            None => restored_outbox(self.queued, self.begun, now),
        };
        Some(Restored {
            joined: before(self.age_ms),
            last_received: before(self.silent_ms),
            pinged: self.pinged_ms.map(before),
            tally: self.tally,
            decoder,
            outbox,
            rate: self.pace.map(|pace| Box::new(RateLimiter::resume(&pace, now))),
            session: self.session,
        })
    }
}

/// A connection that is only closing: what is queued for it, with the close frame at the end, is still to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct ClosingState {
    /// Time until the connection is dropped.
    within_ms: u64,
    /// Whether it isn't dropped as long as it takes what is queued.
    delivers_all: bool,
    peer_closed: bool,
    is_undecodable: bool,
}

impl ClosingState {
    /// Puts a restored connection into the state.
    pub(super) fn put_into<L>(self, member: &mut Member<L>, rules: &Rules, now: Moment) {
        let within = Duration::from_millis(self.within_ms).min(rules.close_timeout);
        member.phase = Phase::Closing(now.after(within));
        member.flags.delivers_all = self.delivers_all;
        member.flags.peer_closed = self.peer_closed;
        member.flags.is_undecodable = self.is_undecodable;
    }
}

/// A member's place in a paired registration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PairedState {
    /// A host that listens.
    Listening,
    /// A client that waits.
    Waiting(UnacceptedState),
    /// An end of the pair that has this number.
    Pair(u32),
}

/// A client that waits, and what it has sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct UnacceptedState {
    pub(super) hello: Box<str>,
    /// The upper and lower half of each announcement's number, and its host.
    pub(super) announcements: Vec<(u64, u64, MemberId)>,
    pub(super) accept_within_ms: u64,
    #[serde(with = "serde_bytes")]
    pub(super) queued: Vec<u8>,
    /// Traffic of the host's end.
    pub(super) tally: MemberTally,
}

/// Returns an outbox with bytes of which the first `begun` complete a frame; `None` if there are none.
pub(super) fn restored_outbox(queued: Vec<u8>, begun: usize, now: Moment) -> Option<Box<Outbox>> {
    let (len, mut outbox) = (queued.len(), Outbox::new(now));
    outbox.push(Rc::new(queued), 0..len, begun);
    (len > 0).then(|| Box::new(outbox))
}

/// The restored parts of a member.
pub(super) struct Restored {
    joined: Moment,
    last_received: Moment,
    pinged: Option<Moment>,
    tally: MemberTally,
    decoder: Decoder,
    outbox: Option<Box<Outbox>>,
    rate: Option<Box<RateLimiter>>,
    session: Option<Box<SessionState>>,
}

impl Restored {
    /// Moves the parts into a member that has just joined; returns its session.
    pub(super) fn put_into<L>(self, member: &mut Member<L>) -> Option<Box<SessionState>> {
        (member.joined, member.last_received, member.pinged) = (self.joined, self.last_received, self.pinged.into());
        (member.tally, member.decoder) = (self.tally, self.decoder);
        (member.outbox, member.rate) = (self.outbox, self.rate);
        self.session
    }
}

/// Serial number of a connection that belongs to no registration any more. No registration has it.
const NO_REGISTRATION: Serial = Serial(0);
/// Largest message accepted if it was started before the restart, whatever the limit is now.
const LENIENT: u64 = 1 << 30;
