//! The check as a monitoring system's probe: one line with its state and its figures, and the exit status that goes with
//! the state.
//!
//! The form is that of the Monitoring Plugins' guidelines, which Nagios, Icinga, Zabbix and others read:
//! `WS-ROUTER OK - text | label=value;warning;critical;least`. Whatever fails is critical; beyond that, how long the
//! certificate lasts and how long a message takes are held against thresholds.

use std::fmt::Write;
use std::time::Duration;

use ws_router_admin_api::cli::Thresholds;

/// What a monitoring system is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// What the check has found out.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// How many steps there were.
    pub(super) steps: usize,
    /// The first step that failed, and why.
    pub(super) failed: Option<(String, String)>,
    /// All steps together.
    pub(super) total: Duration,
    /// The connection, and the TLS handshake.
    pub(super) connect: Option<Duration>,
    pub(super) handshake: Option<Duration>,
    /// The slowest message, from one member through the router to the other.
    pub(super) rtt: Option<Duration>,
    /// For how long the certificate is still good.
    pub(super) days: Option<u64>,
}

/// What is still well, and what isn't quite.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) warning: Thresholds,
    pub(super) critical: Thresholds,
}

impl State {
    /// The exit status.
    pub(super) fn status(self) -> u8 {
        self as u8
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Makes the line for a check that couldn't be done at all.
pub(super) fn unknown(why: &str) -> String {
    line(State::Unknown, why)
}

impl Limits {
    /// Judges what was found.
    pub(super) fn state(&self, found: &Findings) -> State {
        if found.failed.is_some() || exceeds(found, &self.critical) {
            State::Critical
        } else if exceeds(found, &self.warning) {
            State::Warning
        } else {
            State::Ok
        }
    }

    /// Makes the line, with figures for a graph.
    pub(super) fn line(&self, found: &Findings) -> String {
        let text = match &found.failed {
            Some((step, why)) => format!("{step}: {why}"),
            None => {
                let mut text = format!("{} steps in {} ms", found.steps, millis(found.total));
                if let Some(rtt) = found.rtt {
                    text += &format!(", a message takes {} ms", millis(rtt));
                }
                if let Some(days) = found.days {
                    text += &format!(", certificate good for {days} days");
                }
                text
            }
        };
        line(self.state(found), &text) + &self.figures(found)
    }

    fn figures(&self, found: &Findings) -> String {
        let mut figures = String::from(" |");
        let mut add = |label: &str, value: Option<String>, warning: Option<String>, critical: Option<String>| {
            if let Some(value) = value {
                let (warning, critical) = (warning.unwrap_or_default(), critical.unwrap_or_default());
                // A string takes whatever is written to it.
                let _ = write!(figures, " {label}={value};{warning};{critical};0");
            }
        };
        let time = |time: Option<Duration>| time.map(|time| format!("{}ms", millis(time)));
        let most = |limits: &Thresholds| limits.rtt.map(millis);
        // "14:" is a range: below it is an alert.
        let least = |limits: &Thresholds| limits.days.map(|days| format!("{days}:"));
        add("rtt", time(found.rtt), most(&self.warning), most(&self.critical));
        add("connect", time(found.connect), None, None);
        add("tls", time(found.handshake), None, None);
        add("total", time(Some(found.total)), None, None);
        let days = found.days.map(|days| days.to_string());
        add("days", days, least(&self.warning), least(&self.critical));
        figures
    }
}

fn exceeds(found: &Findings, limits: &Thresholds) -> bool {
    let is_late = found.days.zip(limits.days).is_some_and(|(days, least)| days < least);
    let is_slow = found.rtt.zip(limits.rtt).is_some_and(|(rtt, most)| rtt > most);
    is_late || is_slow
}

fn line(state: State, text: &str) -> String {
    // The bar begins the figures, and a line is one.
    let text: String = text.chars().map(|c| if c == '|' || c.is_control() { ' ' } else { c }).collect();
    format!("WS-ROUTER {} - {text}", state.word())
}

fn millis(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let limits = |days, millis| Thresholds { days: Some(days), rtt: Some(Duration::from_millis(millis)) };
        Limits { warning: limits(14, 500), critical: limits(3, 2000) }
    }

    fn found(days: u64, rtt: u64) -> Findings {
        let (total, rtt) = (Duration::from_millis(40), Some(Duration::from_millis(rtt)));
        Findings { steps: 19, total, rtt, days: Some(days), ..Findings::default() }
    }

    #[test]
    fn the_worst_figure_makes_the_state() {
        let cases = [
            ((14, 500), State::Ok),
            ((13, 1), State::Warning),
            ((90, 501), State::Warning),
            ((2, 501), State::Critical),
            ((13, 2001), State::Critical),
        ];
        for ((days, rtt), state) in cases {
            assert_eq!(limits().state(&found(days, rtt)), state, "{days} {rtt}");
        }
        assert_eq!(Limits::default().state(&found(0, 99_999)), State::Ok);
        assert_eq!([State::Ok, State::Warning, State::Critical, State::Unknown].map(State::status), [0, 1, 2, 3]);
    }

    #[test]
    fn the_line_is_what_monitoring_systems_read() {
        assert_eq!(
            limits().line(&found(60, 2)),
            "WS-ROUTER OK - 19 steps in 40.000 ms, a message takes 2.000 ms, certificate good for 60 days \
             | rtt=2.000ms;500.000;2000.000;0 total=40.000ms;;;0 days=60;14:;3:;0"
        );
        let failed = Findings { failed: Some(("health".into(), "503: a|b\n".into())), ..found(60, 2) };
        assert!(limits().line(&failed).starts_with("WS-ROUTER CRITICAL - health: 503: a b  | rtt="));
        assert_eq!(unknown("no token"), "WS-ROUTER UNKNOWN - no token");
    }
}
