//! Signs of life of one on a slow line: what its machine acknowledges of that which was sent before.
//!
//! What the kernel has taken is not yet with the peer. Over a slow line a ping can take minutes until what was sent
//! before it is through, and a socket can take nothing for as long. So whoever has owed an answer or bytes for a while
//! is looked at once in a sweep, and as long as more and more is acknowledged it isn't taken for dead. That ends when
//! the ping itself is acknowledged: then the program has it, and has to answer in time, however eager its kernel is. It
//! takes some kilobytes to count, so that nobody keeps a seat, and what waits for it, with a byte now and then.

use std::time::Duration;

use super::TcpTransit;
use super::member::Member;
use super::outbox::Outbox;
use super::{Link, Moment};

/// Where one who owes something was at the last look.
#[derive(Debug)]
pub(super) struct Watch {
    /// Bytes that its machine had acknowledged when it last got on.
    acknowledged: u64,
    /// Where in what was written its ping ends, or a little behind that.
    ping: u64,
}

impl<L: Link> Member<L> {
    /// Takes note of what was acknowledged since the last look.
    pub(super) fn watch(&mut self, now: Moment) {
        let outbox = self.outbox.as_deref_mut();
        if outbox.is_none() && self.pinged.is_none() {
            self.watch = None;
            return;
        }
        let last_sign = outbox.as_deref().map(Outbox::progress).max(self.pinged);
        if last_sign.is_some_and(|sign| now.since(sign) < LOOK_AFTER) {
            return;
        }
        let Some(TcpTransit { written, acknowledged }) = self.link.transit() else { return };
        let Some(watch) = self.watch.as_deref_mut() else {
            self.watch = Some(Box::new(Watch { acknowledged, ping: written }));
            return;
        };
        let had_ping = watch.acknowledged >= watch.ping;
        let has_come =
            acknowledged.saturating_sub(watch.acknowledged) >= LEAST || (acknowledged >= watch.ping && !had_ping);
        if !has_come {
            return;
        }
        watch.acknowledged = acknowledged;
        match outbox {
            Some(outbox) => outbox.note_progress(now),
            None if !had_ping => self.pinged = Some(now),
            None => {}
        }
    }
}

/// How long one may owe something until the kernel is asked about it: few ever do.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// Bytes that are worth more time: a line that takes 20 seconds for them is slower than any in use.
const LEAST: u64 = 16 << 10;
