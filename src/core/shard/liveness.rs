//! When a silent member is sent a ping, and when it is given up.
//!
//! What the kernel has taken is not yet with the peer: over a slow line a ping can take minutes until what was sent
//! before it is through, and a socket can take nothing for as long. So a member that has owed a pong or hasn't taken its
//! outbox for a while is asked at once in each sweep how much its machine has acknowledged, and as long as that
//! grows it isn't taken for dead. The time for the pong starts when the ping itself is acknowledged: then the program has
//! it, however eager its kernel is. Only some kilobytes count as growth, so that a byte now and then keeps no seat.

use std::time::Duration;

use super::member::Member;
use super::outbox::Outbox;
use super::{Link, Moment, Rules, TcpTransit};

/// What is known of a member's life.
#[derive(Debug, Clone, Copy)]
struct Activity {
    /// When something was last received.
    last_received: Moment,
    /// When an unanswered ping was sent.
    pinged: Option<Moment>,
    /// While something waits in the outbox: when its socket last took something.
    last_taken: Option<Moment>,
}

/// What is to be done with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    SendPing,
    NoPong,
    Stalled,
    /// A message that it has started doesn't grow.
    MessageStalled,
}

/// How far a peer's machine was with what it was sent when that was last asked.
#[derive(Debug)]
pub(super) struct AckProgress {
    /// Bytes that it had acknowledged when they last grew.
    acknowledged: u64,
    /// Where in what was written its ping ends, or a little behind that.
    ping: u64,
}

impl<L: Link> Member<L> {
    /// Judges whether the member is alive; called about once a second.
    pub(super) fn check_liveness(&mut self, rules: &Rules, now: Moment) -> Verdict {
        if !self.is_read() {
            // Its pong may be there and isn't read, so its time to answer starts when it is read again.
            self.pinged = self.pinged.map(|_| now);
        }
        let is_read = self.is_read();
        if self.decoder.stalled(is_read, now.0).is_some_and(|ms| Duration::from_millis(ms) >= rules.stall_timeout) {
            return Verdict::MessageStalled;
        }
        self.note_acknowledgments(now);
        let last_taken = self.outbox.as_deref().map(Outbox::progress);
        Activity { last_received: self.last_received, pinged: self.pinged, last_taken }.judge(rules, now)
    }

    /// Notes what was acknowledged since the last sweep.
    fn note_acknowledgments(&mut self, now: Moment) {
        let outbox = self.outbox.as_deref_mut();
        if outbox.is_none() && self.pinged.is_none() {
            self.ack_progress = None;
            return;
        }
        let last_sign = outbox.as_deref().map(Outbox::progress).max(self.pinged);
        if last_sign.is_some_and(|sign| now.since(sign) < ASK_AFTER) {
            return;
        }
        let Some(TcpTransit { written, acknowledged }) = self.link.transit() else { return };
        let Some(progress) = self.ack_progress.as_deref_mut() else {
            self.ack_progress = Some(Box::new(AckProgress { acknowledged, ping: written }));
            return;
        };
        let had_ping = progress.acknowledged >= progress.ping;
        let grows = acknowledged.saturating_sub(progress.acknowledged) >= LEAST_GROWTH;
        if !grows && (had_ping || acknowledged < progress.ping) {
            return;
        }
        progress.acknowledged = acknowledged;
        match outbox {
            Some(outbox) => outbox.note_progress(now),
            None if !had_ping => self.pinged = Some(now),
            None => {}
        }
    }
}

impl Activity {
    /// Judges a member. A socket that takes bytes is a sign of life, too: a ping waits behind them.
    fn judge(self, rules: &Rules, now: Moment) -> Verdict {
        if self.last_taken.is_some_and(|taken| now.since(taken) >= rules.stall_timeout) {
            return Verdict::Stalled;
        }
        match self.pinged {
            Some(pinged) => {
                let sign = self.last_taken.map_or(pinged, |taken| taken.max(pinged));
                if now.since(sign) >= rules.pong_timeout { Verdict::NoPong } else { Verdict::Alive }
            }
            None if now.since(self.last_received) >= rules.ping_interval => Verdict::SendPing,
            None => Verdict::Alive,
        }
    }
}

/// A member may be behind for so long until the kernel is asked about it: few ever are.
const ASK_AFTER: Duration = Duration::from_millis(500);
/// Acknowledged bytes that are worth more time: a line that takes 20 seconds for them is slower than any in use.
const LEAST_GROWTH: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            max_message: 0,
            outbox: 0,
            pace: false,
            ping_interval: Duration::from_secs(30),
            pong_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(40),
            close_timeout: Duration::ZERO,
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1000)
    }

    #[test]
    fn a_silent_member_is_pinged_and_then_given_up() {
        let silent = Activity { last_received: at(100), pinged: None, last_taken: None };
        assert_eq!(silent.judge(&rules(), at(129)), Verdict::Alive);
        assert_eq!(silent.judge(&rules(), at(130)), Verdict::SendPing);
        let pinged = Activity { pinged: Some(at(130)), ..silent };
        assert_eq!(pinged.judge(&rules(), at(149)), Verdict::Alive);
        assert_eq!(pinged.judge(&rules(), at(150)), Verdict::NoPong);
    }

    #[test]
    fn a_slow_reader_that_takes_something_is_alive_and_one_that_takes_nothing_stalls() {
        let slow = Activity { last_received: at(0), pinged: Some(at(30)), last_taken: Some(at(45)) };
        assert_eq!(slow.judge(&rules(), at(60)), Verdict::Alive);
        assert_eq!(slow.judge(&rules(), at(65)), Verdict::NoPong);
        let stalled = Activity { last_received: at(90), pinged: None, last_taken: Some(at(50)) };
        assert_eq!(stalled.judge(&rules(), at(89)), Verdict::Alive);
        assert_eq!(stalled.judge(&rules(), at(90)), Verdict::Stalled);
    }
}
