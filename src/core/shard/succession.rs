//! What a successor must know of a member to go on in the middle of its stream, in both directions.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::member::MemberTally;
use super::outbox::Outbox;
use super::pace::{Pace, PaceState};
use super::{Link, Moment, Newcomer, Shard};
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
    /// As what.
    pub role: Role,
    age_ms: u64,
    silent_ms: u64,
    pinged_ms: Option<u64>,
    tally: MemberTally,
    unparsed: DecoderState,
    /// Bytes that its socket has not taken.
    #[serde(with = "serde_bytes")]
    owed: Vec<u8>,
    /// How many of them complete a frame that is on its way already.
    begun: usize,
    /// How much it may send; a predecessor that knew no rates had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<PaceState>,
}

impl<L: Link> Shard<L> {
    /// Copies all members that a successor can go on with, beside their connections. What was collected in the round
    /// has to be flushed before.
    pub fn states(&self, now: Moment) -> impl Iterator<Item = (&L, MemberState)> {
        let ago = move |moment: Moment| now.since(moment).as_millis() as u64;
        self.members.iter().filter(|(_, member)| member.is_open() && member.counts).filter_map(move |(_, member)| {
            let serial = self.rooms.get(member.room as usize)?.serial;
            let (owed, begun) = member.outbox.as_deref().map(Outbox::state).unwrap_or_default();
            let state = MemberState {
                id: member.id,
                serial,
                role: member.role,
                age_ms: ago(member.joined),
                silent_ms: ago(member.heard),
                pinged_ms: member.pinged.map(ago),
                tally: member.tally,
                unparsed: member.decoder.state(),
                owed,
                begun,
                pace: member.pace.as_deref().map(|pace| pace.state(now)),
            };
            Some((&member.link, state))
        })
    }

    /// Goes on with a predecessor's member; gives the connection back if its state can't be.
    pub fn succeed(&mut self, state: MemberState, link: L, now: Moment) -> Result<usize, L> {
        let Some(decoder) = Decoder::resume(state.unparsed, self.rules.max_message.max(LENIENT)) else {
            return Err(link);
        };
        if state.begun > state.owed.len() {
            return Err(link);
        }
        let newcomer = Newcomer { id: state.id, serial: state.serial, role: state.role, counts: true };
        let slot = self.join(&newcomer, link, now);
        let before = |ago_ms: u64| Moment(now.0.saturating_sub(ago_ms));
        let member = &mut self.members[slot];
        (member.joined, member.heard) = (before(state.age_ms), before(state.silent_ms));
        member.pinged = state.pinged_ms.map(before);
        (member.tally, member.decoder) = (state.tally, decoder);
        member.pace = state.pace.map(|pace| Box::new(Pace::resume(&pace, now)));
        if !state.owed.is_empty() {
            let (len, mut outbox) = (state.owed.len(), Outbox::new(now));
            outbox.push(Rc::new(state.owed), 0..len, state.begun);
            member.outbox = Some(Box::new(outbox));
            self.tally.outbox_bytes += len as u64;
            self.note_level(slot);
        }
        self.recount(slot);
        Ok(slot)
    }
}

/// A message that was begun under a larger limit is let through.
const LENIENT: u64 = 1 << 30;
