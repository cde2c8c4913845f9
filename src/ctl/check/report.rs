//! Report of a check: a line for each step, a JSON document, or the line that a monitoring system reads.
//!
//! That line follows the Monitoring Plugins' guidelines, which Nagios, Icinga, Zabbix and others read:
//! `WS-ROUTER OK - text | label=value;warning;critical;least`. Every failed step is critical; otherwise the certificate's
//! remaining days and the time of a message are compared with thresholds.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;
use ws_router_admin_api::cli::Thresholds;

use crate::dial::DialError;
use crate::error::{Error, with_causes};
use crate::output::Colors;

/// Reason for which a check ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// A step failed, and has been reported.
    Failed,
    /// Nothing answers.
    Unreachable(DialError),
    /// The report can't be written.
    Output(Error),
}

/// A completed step.
#[derive(Debug, Serialize)]
struct Step {
    step: String,
    passed: bool,
    elapsed_us: u64,
    detail: String,
}

/// JSON document of a check.
#[derive(Debug, Serialize)]
struct Document<'a> {
    url: &'a str,
    passed: bool,
    certificate_days: Option<u64>,
    steps: &'a [Step],
}

/// Form of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for each step as it ends.
    Lines(Colors),
    /// One document at the end.
    Json,
    /// One line at the end, for a monitoring system.
    Monitor,
}

/// Runs steps, each with a time limit, and reports them.
#[derive(Debug)]
pub(super) struct Steps<'a, W> {
    out: &'a mut W,
    form: Form,
    limit: Duration,
    done: Vec<Step>,
    days: Option<u64>,
}

impl<'a, W: Write> Steps<'a, W> {
    /// Starts a check whose steps may take up to `limit` each.
    pub(super) fn new(out: &'a mut W, form: Form, limit: Duration) -> Self {
        Self { out, form, limit, done: Vec::new(), days: None }
    }

    /// Records the days until the certificate expires.
    pub(super) fn set_certificate_days(&mut self, days: Option<u64>) {
        self.days = days;
    }

    /// Returns how long a step may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Runs a step, whose result comes with a detail worth showing, and reports it.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), DialError>>,
    ) -> Result<T, Stop> {
        let begin = Instant::now();
        let ended = tokio::time::timeout(self.limit, work).await;
        let elapsed_us = begin.elapsed().as_micros() as u64;
        // The first step is the connection itself.
        let late = if self.done.is_empty() { DialError::NoConnection } else { DialError::Timeout };
        let (result, detail) = match ended.unwrap_or_else(|_| Err(late(self.limit))) {
            Ok((result, detail)) => (Ok(result), detail),
            Err(error) => {
                let detail = with_causes(&error);
                (Err(if error.is_unreachable() { Stop::Unreachable(error) } else { Stop::Failed }), detail)
            }
        };
        let step = Step { step: name.to_owned(), passed: result.is_ok(), elapsed_us, detail };
        if let Form::Lines(colors) = self.form {
            self.print(&step, colors).map_err(|error| Stop::Output(error.into()))?;
        }
        self.done.push(step);
        result
    }

    /// Prints the summary, or the whole document, and returns whether all steps passed.
    pub(super) fn summary(&mut self, url: &str) -> Result<bool, Error> {
        let failed = self.done.iter().filter(|step| !step.passed).count();
        match self.form {
            Form::Json => {
                let document = Document { url, passed: failed == 0, certificate_days: self.days, steps: &self.done };
                writeln!(self.out, "{}", serde_json::to_string(&document)?)?;
            }
            Form::Lines(colors) => {
                let steps = self.done.len();
                let took = millis(Duration::from_micros(self.done.iter().map(|step| step.elapsed_us).sum()));
                match failed {
                    0 => writeln!(self.out, "{} {steps} steps in {took} ms", colors.good("passed:"))?,
                    _ => writeln!(self.out, "{} {failed} of {steps} steps", colors.bad("failed:"))?,
                }
            }
            Form::Monitor => {}
        }
        Ok(failed == 0)
    }

    /// Summarizes the check for a monitoring system.
    pub(super) fn findings(&self) -> Findings {
        let of = |step: &Step| Duration::from_micros(step.elapsed_us);
        let named = |name: &str| self.done.iter().find(|step| step.step == name).map(of);
        let failed = self.done.iter().find(|step| !step.passed);
        Findings {
            steps: self.done.len(),
            failed: failed.map(|step| (step.step.clone(), step.detail.clone())),
            total: self.done.iter().map(of).sum(),
            connect: named("connect"),
            handshake: named("tls handshake"),
            rtt: self.done.iter().filter(|step| step.passed && step.step.contains(" to ")).map(of).max(),
            days: self.days,
        }
    }

    /// Prints a line for a monitoring system.
    pub(super) fn print_line(&mut self, line: &str) -> Result<(), Error> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn print(&mut self, step: &Step, colors: Colors) -> std::io::Result<()> {
        let Step { step: name, detail, passed, elapsed_us } = step;
        let mark = if *passed { colors.good("ok     ") } else { colors.bad("FAILED ") };
        let took = millis(Duration::from_micros(*elapsed_us));
        let line = format!("{mark} {name:<20} {took:>10} ms  {detail}");
        writeln!(self.out, "{}", line.trim_end())?;
        // The next step may take a while.
        self.out.flush()
    }
}

/// State that a monitoring system shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// Results of a check.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    /// Number of steps.
    pub(super) steps: usize,
    /// First step that failed, and the reason.
    pub(super) failed: Option<(String, String)>,
    /// Time of all steps together.
    pub(super) total: Duration,
    /// Time of connecting.
    pub(super) connect: Option<Duration>,
    /// Time of the TLS handshake.
    pub(super) handshake: Option<Duration>,
    /// Time of the slowest message from one member to the other.
    pub(super) rtt: Option<Duration>,
    /// Days until the certificate expires.
    pub(super) days: Option<u64>,
}

/// Thresholds of the states.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) warning: Thresholds,
    pub(super) critical: Thresholds,
}

impl State {
    /// Returns the exit status.
    pub(super) fn exit_status(self) -> u8 {
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

/// Returns the line for a check that can't be run at all.
pub(super) fn unknown(why: &str) -> String {
    line(State::Unknown, why)
}

impl Limits {
    /// Compares the results with the thresholds.
    pub(super) fn state(&self, found: &Findings) -> State {
        if found.failed.is_some() || exceeds(found, &self.critical) {
            State::Critical
        } else if exceeds(found, &self.warning) {
            State::Warning
        } else {
            State::Ok
        }
    }

    /// Returns the line, with figures for a graph.
    pub(super) fn line(&self, found: &Findings) -> String {
        let text = match &found.failed {
            Some((step, why)) => format!("{step}: {why}"),
            None => {
                let mut text = format!("{} steps in {} ms", found.steps, millis(found.total));
                if let Some(rtt) = found.rtt {
                    text += &format!(", a message takes {} ms", millis(rtt));
                }
                if let Some(days) = found.days {
                    text += &format!(", certificate expires in {days} days");
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
                // Writing to a string never fails.
                let _ = write!(figures, " {label}={value};{warning};{critical};0");
            }
        };
        let time = |time: Option<Duration>| time.map(|time| format!("{}ms", millis(time)));
        let most = |limits: &Thresholds| limits.rtt.map(millis);
        // "14:" is a range that begins at 14.
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
    // A bar separates the figures, and there is one line only.
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
    fn the_worst_figure_determines_the_state() {
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
        assert_eq!([State::Ok, State::Warning, State::Critical, State::Unknown].map(State::exit_status), [0, 1, 2, 3]);
    }

    #[test]
    fn the_line_has_the_form_that_monitoring_systems_read() {
        assert_eq!(
            limits().line(&found(60, 2)),
            "WS-ROUTER OK - 19 steps in 40.000 ms, a message takes 2.000 ms, certificate expires in 60 days \
             | rtt=2.000ms;500.000;2000.000;0 total=40.000ms;;;0 days=60;14:;3:;0"
        );
        let failed = Findings { failed: Some(("health".into(), "503: a|b\n".into())), ..found(60, 2) };
        assert!(limits().line(&failed).starts_with("WS-ROUTER CRITICAL - health: 503: a b  | rtt="));
        assert_eq!(unknown("no token"), "WS-ROUTER UNKNOWN - no token");
    }
}
