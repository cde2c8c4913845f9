//! Decides when a silent member is sent a ping, and when its connection is closed.
//!
//! Bytes that the kernel has taken haven't reached the peer yet: over a slow line it can take minutes until a ping has
//! passed everything sent before it, and a socket may take nothing for as long. So once a pong or an outbox has been
//! overdue for some time, each sweep queries how much the peer's machine has acknowledged, and as long as that grows
//! the connection isn't closed. The time for the pong starts when the ping itself is acknowledged: from then on the
//! program can answer it. Only some kilobytes count as growth, so that a byte now and then doesn't keep a dead
//! connection open.

use std::time::Duration;

use super::{Moment, Rules, TcpTransit};

/// Signs of life of a member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activity {
    /// Time at which its last bytes were received.
    pub(super) last_received: Moment,
    /// Time of the last ping, while it is unanswered.
    pub(super) pinged: Option<Moment>,
    /// Time at which its socket last took something; `None` while the outbox is empty.
    pub(super) last_taken: Option<Moment>,
}

/// Action that a member's liveness calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    SendPing,
    NoPong,
    Stalled,
    /// A message that it has started hasn't grown for the stall timeout.
    MessageStalled,
}

/// Bytes that the peer's machine has acknowledged since the previous query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// More of what precedes the ping, or the ping itself.
    TowardsPing,
    /// More of what follows it.
    Further,
}

/// Acknowledgments of the peer's machine at the last query.
#[derive(Debug)]
pub(super) struct AckProgress {
    /// Bytes acknowledged when that last grew.
    acknowledged: u64,
    /// Position in the stream at which the ping ends, or a little after it.
    ping: u64,
}

impl AckProgress {
    /// Starts with the kernel's first report about the connection.
    pub(super) fn new(transit: TcpTransit) -> Self {
        Self { acknowledged: transit.acknowledged, ping: transit.written }
    }

    /// Updates the state by a later report; returns the growth, if there is enough of it.
    pub(super) fn update(&mut self, transit: TcpTransit) -> Option<Growth> {
        let had_ping = self.acknowledged >= self.ping;
        let grows = transit.acknowledged.saturating_sub(self.acknowledged) >= LEAST_GROWTH;
        if !grows && (had_ping || transit.acknowledged < self.ping) {
            return None;
        }
        self.acknowledged = transit.acknowledged;
        Some(if had_ping { Growth::Further } else { Growth::TowardsPing })
    }
}

impl Activity {
    /// Judges a member. A socket that takes bytes is a sign of life, too: a ping waits behind them.
    pub(super) fn judge(self, rules: &Rules, now: Moment) -> Verdict {
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

/// Time for which a pong or an outbox must be overdue before the kernel is queried. Few ever are.
pub(super) const ASK_AFTER: Duration = Duration::from_millis(500);
/// Acknowledged bytes that count as progress: a line that takes 20 seconds for them is slower than any in use.
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
            session_timeout: Duration::from_secs(120),
            session_buffer: 512 << 10,
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
