//! Sessions: members whose connection may be lost and replaced without a message being lost.
//!
//! A device that wants one draws a secret and counts the messages that it receives. When its connection is lost, the
//! member stays where it is without one (*away*): what it would receive waits in its outbox. A new connection with the
//! same secret takes the member over, and is sent again what the device hasn't received ([`super::sent`]). A gap is
//! reported, never silent.
//!
//! All bookkeeping is in the outbox and in a table of its own, so that a member without a session costs nothing more.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listening::NOBODY;
use super::member::{Cause, Member, OptionalMoment, Phase};
use super::outbox::Outbox;
use super::sent::Sent;
use super::{Absence, Link, Moment, NO_ROOM, Newcomer, Shard};
use crate::close::CloseReason;
use crate::frame::{Decoder, close_frame};
use crate::ids::{MemberId, Serial};
use crate::kind::Role;
use crate::secret::KeyHash;

/// What a device presents to resume a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaim {
    /// The registration.
    pub serial: Serial,
    /// Hash of the secret that the device has drawn.
    pub secret: KeyHash,
    /// By what it joined. A session belongs to that.
    pub owner: SessionOwner,
    /// The role as which it joined, if the device says that.
    pub role: Option<Role>,
}

/// By what the member of a session has joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionOwner {
    /// By the registration's key.
    Key,
    /// By the clients' key.
    ClientKey,
    /// By the receivers' key.
    ReceiveKey,
    /// By the number of the announcement of the client that it accepted: its upper and lower half.
    Accept(u64, u64),
}

impl SessionOwner {
    /// Returns the owner that has accepted the client with a number.
    pub fn accept(number: u128) -> Self {
        Self::Accept((number >> 64) as u64, number as u64)
    }
}

/// Numbers of a session's messages, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCounts {
    /// Messages received from the device as a whole.
    pub received: u64,
    /// Messages that were sent to it or wait to be.
    pub sent: u64,
}

/// Reason why a session can't be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionError {
    /// There is none with this secret in the registration.
    Unknown,
    /// It belongs to another key or role.
    Forbidden,
    /// Messages that the device hasn't received aren't kept any more, or it claims to have received more than it was
    /// sent. The session is over.
    Gap,
    /// No further member may be away. The session goes on.
    TooManyAway,
}

/// A member that is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Return {
    /// Time for which it was away.
    pub away: Duration,
    /// Number of messages that are sent again.
    pub again: u64,
}

/// Counters of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionTally {
    /// Members that are away now.
    pub away: u64,
    /// Sessions that were resumed.
    pub resumed: u64,
    /// Sessions that ended because the device wasn't back in time.
    pub expired: u64,
    /// Sessions that ended because what the device had missed wasn't kept any more.
    pub gaps: u64,
    /// Sessions that ended in another way.
    pub closed: u64,
}

/// The sessions of a shard.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slots: HashMap<(Serial, KeyHash), u32>,
    by_slot: HashMap<u32, Session>,
}

#[derive(Debug)]
struct Session {
    serial: Serial,
    secret: KeyHash,
    owner: SessionOwner,
    /// Whether its first connection has been attached.
    has_arrived: bool,
    /// Since when the member is away, if it is.
    away_since: Option<Moment>,
    /// Number of messages that are sent again over a connection whose handshake is in progress.
    again: u64,
    /// Whether it ends because messages that the device has missed aren't kept any more.
    has_gap: bool,
}

impl Session {
    fn new(claim: SessionClaim) -> Self {
        let SessionClaim { serial, secret, owner, .. } = claim;
        Self { serial, secret, owner, has_arrived: false, away_since: None, again: 0, has_gap: false }
    }
}

/// A session without its member, for a new process. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SessionState {
    secret: KeyHash,
    owner: SessionOwner,
    /// Time for which the member has been away, and time that it has left to come back.
    away_ms: Option<(u64, u64)>,
    before: u64,
    starts_within_message: bool,
    #[serde(with = "serde_bytes")]
    sent: Vec<u8>,
}

impl SessionState {
    /// Returns whether the member is away, so that it has no connection to hand over.
    pub(super) fn is_away(&self) -> bool {
        self.away_ms.is_some()
    }

    /// Returns the outbox with what was sent, and `queued`, which follows it.
    pub(super) fn outbox(&mut self, queued: &[u8], at_most: usize, now: Moment) -> Option<Box<Outbox>> {
        let sent = Sent::restored(self.before, self.starts_within_message, at_most);
        Outbox::of_session(sent, &std::mem::take(&mut self.sent), queued, now).map(Box::new)
    }
}

impl Sessions {
    fn insert(&mut self, slot: usize, session: Session) {
        self.slots.insert((session.serial, session.secret.clone()), slot as u32);
        self.by_slot.insert(slot as u32, session);
    }

    fn remove(&mut self, slot: usize) -> Option<Session> {
        let session = self.by_slot.remove(&(slot as u32))?;
        let key = (session.serial, session.secret.clone());
        if self.slots.get(&key) == Some(&(slot as u32)) {
            self.slots.remove(&key);
        }
        Some(session)
    }

    fn get(&self, slot: usize) -> Option<&Session> {
        self.by_slot.get(&(slot as u32))
    }

    fn get_mut(&mut self, slot: usize) -> Option<&mut Session> {
        self.by_slot.get_mut(&(slot as u32))
    }

    fn find(&self, claim: &SessionClaim) -> Option<(usize, &Session)> {
        let slot = self.slots.get(&(claim.serial, claim.secret.clone()))?;
        Some((*slot as usize, self.by_slot.get(slot)?))
    }
}

impl<L: Link> Shard<L> {
    /// Begins a session for a member that has just joined. Where sessions are turned off, it does nothing.
    pub fn begin_session(&mut self, slot: usize, claim: SessionClaim, now: Moment) {
        let is_present = self.members.get(slot).is_some_and(Member::is_present);
        if self.rules.session_timeout.is_zero() || !is_present {
            return;
        }
        self.sessions.insert(slot, Session::new(claim));
        let member = &mut self.members[slot];
        member.flags.has_session = true;
        let outbox = member.outbox.get_or_insert_with(|| self.pools.take_outbox(now));
        outbox.keep_sent(self.rules.session_buffer);
        self.account(slot);
    }

    fn find_session(&self, claim: &SessionClaim) -> Result<usize, SessionError> {
        let (slot, session) = self.sessions.find(claim).ok_or(SessionError::Unknown)?;
        let is_same_role = claim.role.is_none_or(|role| role == self.members[slot].role);
        if session.owner == claim.owner && is_same_role { Ok(slot) } else { Err(SessionError::Forbidden) }
    }

    /// Ends a session, and closes its member, if there is one.
    pub fn end_session(&mut self, claim: &SessionClaim, now: Moment) -> Result<(), SessionError> {
        match self.find_session(claim) {
            Ok(slot) => self.end_session_of(slot, CloseReason::TakenOver, now),
            Err(SessionError::Unknown) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end_session_of(&mut self, slot: usize, reason: CloseReason, now: Moment) {
        if let Some(session) = self.sessions.get_mut(slot) {
            // So the member can't be away.
            session.has_arrived = false;
            session.has_gap = reason == CloseReason::SessionLost;
        }
        self.mark(slot, reason);
        self.reap(now);
    }

    /// Closes the connection of a session's member, from which nothing more is read, and returns how many messages have
    /// been received and sent. The member is away from then on.
    pub fn suspend_session(
        &mut self,
        claim: &SessionClaim,
        now: Moment,
    ) -> Result<(MemberId, SessionCounts), SessionError> {
        let slot = self.find_session(claim)?;
        self.detach(slot, false, now)?;
        let Member { id, tally, .. } = &self.members[slot];
        Ok((*id, SessionCounts { received: tally.messages_in, sent: tally.messages_out }))
    }

    /// Takes the member of a session over for a device that has received so many of its messages. Its connection
    /// follows, as with [`Shard::join_away`]; until then the member is away. Returns its slot and id.
    pub fn resume_session(
        &mut self,
        claim: &SessionClaim,
        received: u64,
        now: Moment,
    ) -> Result<(usize, MemberId), SessionError> {
        let slot = self.find_session(claim)?;
        self.detach(slot, true, now)?;
        let member = &mut self.members[slot];
        let rewound = member.outbox.as_deref_mut().map(|outbox| outbox.rewind(received, &mut self.buffers));
        let Some(Ok(again)) = rewound else {
            self.end_session_of(slot, CloseReason::SessionLost, now);
            return Err(SessionError::Gap);
        };
        member.phase = Phase::Away(now.after(self.rules.session_timeout));
        let id = member.id;
        if let Some(session) = self.sessions.get_mut(slot) {
            session.again = again;
        }
        self.account(slot);
        Ok((slot, id))
    }

    /// Makes the member of a session away, unless it is so already.
    fn detach(&mut self, slot: usize, must: bool, now: Moment) -> Result<(), SessionError> {
        let cause = match self.members[slot].phase {
            Phase::Away(_) => return Ok(()),
            Phase::Open => CloseReason::TakenOver.into(),
            Phase::Leaving(cause) if keeps_session(&cause) => cause,
            _ => return Err(SessionError::Unknown),
        };
        if self.go_away(slot, cause, must, now) {
            return Ok(());
        }
        // A part of a message has been passed on, and the rest can't follow.
        if self.members[slot].decoder.has_passed_part() {
            self.end_session_of(slot, CloseReason::SessionLost, now);
            return Err(SessionError::Gap);
        }
        Err(SessionError::TooManyAway)
    }

    /// Lets the member of a session be without a connection, if what has happened to its connection allows that; returns
    /// whether it does. The old connection is closed on its own. `must` says that another one follows at once.
    pub(super) fn go_away(&mut self, slot: usize, cause: Cause, must: bool, now: Moment) -> bool {
        let Some(session) = self.sessions.get_mut(slot) else { return false };
        let member = &mut self.members[slot];
        let is_over = !session.has_arrived || session.away_since.is_some() || self.rules.session_timeout.is_zero();
        if is_over || !keeps_session(&cause) || member.decoder.has_passed_part() {
            return false;
        }
        let absence = Absence { member: member.id, reason: cause.reason, silent: now.since(member.last_received) };
        let Some(link) = member.link.go_away(&absence, must) else { return false };
        session.away_since = Some(now);
        member.phase = Phase::Away(now.after(self.rules.session_timeout));
        member.pinged = OptionalMoment::NONE;
        member.ack_progress = None;
        (member.flags.is_ending, member.flags.write_pending) = (false, false);
        if let Some(outbox) = &mut member.outbox {
            outbox.set_blocked(false);
        }
        self.tally.sessions.away += 1;
        let decoder = std::mem::take(&mut member.decoder);
        self.account(slot);
        self.close_detached(slot, link, decoder, cause, now);
        true
    }

    /// Closes the connection that the member of a session has lost.
    fn close_detached(&mut self, slot: usize, mut link: L, mut decoder: Decoder, cause: Cause, now: Moment) {
        let frame = close_frame(cause.reason, cause.received);
        let Some(frame) = frame else {
            link.finish();
            return decoder.abandon(&mut self.buffers);
        };
        let rest = self.members[slot].outbox.as_deref().and_then(Outbox::rest_of_begun);
        let former = &self.members[slot];
        let newcomer =
            Newcomer { id: NOBODY, serial: Serial(0), role: former.role, receives_only: false, counts: false };
        let mut closing = Member::new(&newcomer, link, now);
        closing.room = NO_ROOM;
        closing.phase = Phase::Closing(now.after(self.rules.close_timeout));
        closing.flags.peer_closed = cause.received.is_some();
        decoder.start_discarding(&mut self.buffers);
        closing.decoder = decoder;
        if let Some((chunk, range)) = rest {
            let (mut outbox, len) = (self.pools.take_outbox(now), range.len());
            outbox.push(chunk, range, len);
            closing.outbox = Some(outbox);
        }
        let at = self.members.insert(closing);
        self.members[at].link.moved_to(at);
        self.account(at);
        self.start_closing(at, &frame, now);
    }

    /// Records that a session's member has a connection; returns how long it was away, if it is back.
    pub(super) fn on_session_arrived(&mut self, slot: usize, now: Moment) -> Option<Return> {
        let session = self.sessions.get_mut(slot)?;
        session.has_arrived = true;
        let away = now.since(session.away_since.take()?);
        self.tally.sessions.away -= 1;
        self.tally.sessions.resumed += 1;
        Some(Return { away, again: std::mem::take(&mut session.again) })
    }

    /// Ends the session of a member that leaves; returns whether the member was away.
    pub(super) fn leave_session(&mut self, slot: usize, reason: CloseReason) -> bool {
        let Some(session) = self.sessions.remove(slot) else { return false };
        let member = &mut self.members[slot];
        member.flags.has_session = false;
        if let Some(outbox) = &mut member.outbox {
            outbox.stop_keeping(&mut self.buffers);
        }
        if let Some(outbox) = member.outbox.take_if(|outbox| outbox.queued() == 0) {
            self.pools.give_outbox(outbox, &mut self.buffers);
        }
        let was_away = session.away_since.is_some();
        self.tally.sessions.away -= u64::from(was_away);
        let counter = match reason {
            _ if session.has_gap => &mut self.tally.sessions.gaps,
            CloseReason::Lost if was_away => &mut self.tally.sessions.expired,
            _ => &mut self.tally.sessions.closed,
        };
        *counter += 1;
        was_away
    }

    /// Returns how much of what is sent to a member is kept, in bytes; `None` if it has no session.
    pub fn session_buffer_of(&self, slot: usize) -> Option<usize> {
        let member = self.members.get(slot)?;
        member.flags.has_session.then_some(self.rules.session_buffer)
    }

    /// Returns since when a member is away; `None` if it isn't.
    pub(super) fn away_since(&self, slot: usize) -> Option<Moment> {
        self.sessions.get(slot)?.away_since
    }

    /// Returns whether a member can be away, because it has a session that had begun.
    pub(super) fn has_begun_session(&self, slot: usize) -> bool {
        self.sessions.get(slot).is_some_and(|session| session.has_arrived)
    }

    /// Discards what is kept of what was sent to members, the largest amounts first, until so many bytes are free; returns
    /// how many that were. A device that comes back and has missed some of it finds its session lost.
    pub(super) fn shed_sent(&mut self, bytes: u64) -> u64 {
        let kept = |slot: &u32| {
            let outbox = self.members.get(*slot as usize)?.outbox.as_deref()?;
            Some((outbox.sent()?.kept(), *slot as usize))
        };
        let mut all: Vec<_> = self.sessions.by_slot.keys().filter_map(kept).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        let mut freed = 0;
        for (_, slot) in all {
            if freed >= bytes {
                break;
            }
            if let Some(outbox) = &mut self.members[slot].outbox {
                freed += outbox.forget_sent(&mut self.buffers) as u64;
            }
            self.account(slot);
        }
        freed
    }
}

/// The hand-over to a new process.
impl<L: Link> Shard<L> {
    /// Copies the session of a member.
    pub(super) fn export_session(&self, slot: usize, now: Moment) -> Option<Box<SessionState>> {
        let (session, member) = (self.sessions.get(slot)?, self.members.get(slot)?);
        let outbox = member.outbox.as_deref()?;
        let sent = outbox.sent()?;
        let away_ms = session.away_since.map(|since| {
            let left = if let Phase::Away(deadline) = member.phase { deadline.since(now) } else { Duration::ZERO };
            (now.since(since).as_millis() as u64, left.as_millis() as u64)
        });
        Some(Box::new(SessionState {
            secret: session.secret.clone(),
            owner: session.owner,
            away_ms,
            before: sent.before,
            starts_within_message: sent.starts_within_message(),
            sent: outbox.sent_state(),
        }))
    }

    /// Continues the session of a member that was restored with its outbox.
    pub(super) fn restore_session(&mut self, slot: usize, serial: Serial, state: SessionState, now: Moment) {
        let SessionState { secret, owner, away_ms, .. } = state;
        let away_since = away_ms.map(|(away, _)| Moment(now.0.saturating_sub(away)));
        let claim = SessionClaim { serial, secret, owner, role: None };
        self.sessions.insert(slot, Session { has_arrived: true, away_since, ..Session::new(claim) });
        let member = &mut self.members[slot];
        member.flags.has_session = true;
        if let Some((_, left)) = away_ms {
            member.phase = Phase::Away(Moment(now.0.saturating_add(left)));
            self.tally.sessions.away += 1;
        }
    }
}

/// Returns whether a session outlives what has happened to the connection: a device that closes it ends the session,
/// unless it goes away (code 1001) or misses a pong (1011), and so does the router for most reasons.
pub(super) fn keeps_session(cause: &Cause) -> bool {
    if cause.frees_memory {
        return false;
    }
    match cause.reason {
        CloseReason::Lost
        | CloseReason::NoPong
        | CloseReason::Restarting
        | CloseReason::TlsEnded
        | CloseReason::TakenOver => true,
        CloseReason::Left => {
            let code = cause.received.and_then(|received| received.code);
            code.is_some_and(|code| [GOING_AWAY, INTERNAL_ERROR].contains(&code))
        }
        CloseReason::Stopping
        | CloseReason::Protocol
        | CloseReason::InvalidUtf8
        | CloseReason::TooBig
        | CloseReason::Draining
        | CloseReason::Removed
        | CloseReason::RemovedByAdmin
        | CloseReason::ClosedByAdmin
        | CloseReason::TooSlow
        | CloseReason::NotPermitted
        | CloseReason::NotAccepted
        | CloseReason::PeerDisconnected
        | CloseReason::SessionLost => false,
    }
}

/// Close code of an endpoint that goes away, such as a page that is left (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;
/// Close code of a library that has received no pong, such as Python's websockets.
const INTERNAL_ERROR: u16 = 1011;

#[cfg(test)]
impl SessionState {
    /// Replaces the bytes that were sent and are kept.
    pub(super) fn set_sent(&mut self, sent: Vec<u8>) {
        self.sent = sent;
    }
}
