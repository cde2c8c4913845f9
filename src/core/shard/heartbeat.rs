//! When a silent member is asked for a sign of life, and when it is given up.

use std::time::Duration;

use super::Moment;

/// The times of the heartbeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    /// Silence after which a ping is sent.
    pub(super) ping_interval: Duration,
    /// Silence after a ping that ends the connection.
    pub(super) pong_timeout: Duration,
    /// How long a member may take nothing while something waits for it.
    pub(super) stall_timeout: Duration,
}

/// What is known of a member's life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signs {
    /// When something was last received.
    pub(super) heard: Moment,
    /// When an unanswered ping was sent.
    pub(super) pinged: Option<Moment>,
    /// While something waits in the outbox: when its socket last took something.
    pub(super) owed_since: Option<Moment>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Alive,
    Ask,
    NoPong,
    Stalled,
}

impl Heartbeat {
    /// Judges a member. A socket that takes bytes is a sign of life, too: a ping waits behind them.
    pub(super) fn judge(&self, signs: Signs, now: Moment) -> Verdict {
        if signs.owed_since.is_some_and(|since| now.since(since) >= self.stall_timeout) {
            return Verdict::Stalled;
        }
        match signs.pinged {
            Some(pinged) => {
                let sign = signs.owed_since.map_or(pinged, |progress| progress.max(pinged));
                if now.since(sign) >= self.pong_timeout { Verdict::NoPong } else { Verdict::Alive }
            }
            None if now.since(signs.heard) >= self.ping_interval => Verdict::Ask,
            None => Verdict::Alive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Heartbeat = Heartbeat {
        ping_interval: Duration::from_secs(30),
        pong_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(40),
    };

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1000)
    }

    #[test]
    fn silence_is_asked_about_and_then_given_up() {
        let signs = Signs { heard: at(100), pinged: None, owed_since: None };
        assert_eq!(RULES.judge(signs, at(129)), Verdict::Alive);
        assert_eq!(RULES.judge(signs, at(130)), Verdict::Ask);
        let asked = Signs { pinged: Some(at(130)), ..signs };
        assert_eq!(RULES.judge(asked, at(149)), Verdict::Alive);
        assert_eq!(RULES.judge(asked, at(150)), Verdict::NoPong);
    }

    #[test]
    fn a_slow_reader_that_takes_something_is_alive_and_one_that_takes_nothing_stalls() {
        let signs = Signs { heard: at(0), pinged: Some(at(30)), owed_since: Some(at(45)) };
        assert_eq!(RULES.judge(signs, at(60)), Verdict::Alive);
        assert_eq!(RULES.judge(signs, at(65)), Verdict::NoPong);
        let owing = Signs { heard: at(90), pinged: None, owed_since: Some(at(50)) };
        assert_eq!(RULES.judge(owing, at(89)), Verdict::Alive);
        assert_eq!(RULES.judge(owing, at(90)), Verdict::Stalled);
    }
}
