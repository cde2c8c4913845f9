//! The steps of a check: each timed, bounded in time, and told.

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::monitor::Findings;
use crate::dial::{Flaw, Outcome};
use crate::fault::Fault;

/// Why the check doesn't go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// A step failed, and that has been told.
    Failed,
    /// Nobody is there.
    Unreachable(String),
    /// Nothing can be told any more.
    Output(Fault),
}

/// A step that is over.
#[derive(Debug, Serialize)]
struct Step {
    step: String,
    passed: bool,
    elapsed_us: u64,
    detail: String,
}

/// The document for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    url: &'a str,
    passed: bool,
    certificate_days: Option<u64>,
    steps: &'a [Step],
}

/// What has been done so far.
#[derive(Debug)]
pub(super) struct Steps<'a, W> {
    out: &'a mut W,
    manner: Manner,
    patience: Duration,
    done: Vec<Step>,
    /// For how many days the certificate is still good.
    days: Option<u64>,
}

/// How the steps are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Each as it ends, for people.
    Lines,
    /// One document at the end.
    Json,
    /// One line at the end, for a monitoring system.
    Monitor,
}

impl<'a, W: Write> Steps<'a, W> {
    /// Begins a check whose steps may take `patience` each.
    pub(super) fn new(out: &'a mut W, manner: Manner, patience: Duration) -> Self {
        Self { out, manner, patience, done: Vec::new(), days: None }
    }

    /// Keeps for how many days the certificate is still good.
    pub(super) fn certificate(&mut self, days: Option<u64>) {
        self.days = days;
    }

    /// Tells how long a step may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes a step, and tells how it went.
    pub(super) async fn step<T>(&mut self, name: &str, work: impl Future<Output = Outcome<T>>) -> Result<T, Stop> {
        let begin = Instant::now();
        let ended = tokio::time::timeout(self.patience, work).await;
        let elapsed_us = begin.elapsed().as_micros() as u64;
        let (result, detail) = match ended {
            Ok(Ok((result, detail))) => (Ok(result), detail),
            Ok(Err(Flaw::Wrong(why))) => (Err(Stop::Failed), why),
            Ok(Err(Flaw::Unreachable(why))) => (Err(Stop::Unreachable(why.clone())), why),
            Err(_) => {
                let why = format!("no answer within {}", humantime::format_duration(self.patience));
                // The first step is the connection itself.
                let stop = if self.done.is_empty() { Stop::Unreachable(why.clone()) } else { Stop::Failed };
                (Err(stop), why)
            }
        };
        let step = Step { step: name.to_owned(), passed: result.is_ok(), elapsed_us, detail };
        if self.manner == Manner::Lines {
            self.tell(&step).map_err(|error| Stop::Output(error.into()))?;
        }
        self.done.push(step);
        result
    }

    /// Prints the summary, or the whole document; tells whether all steps passed.
    pub(super) fn summary(&mut self, url: &str) -> Result<bool, Fault> {
        let failed = self.done.iter().filter(|step| !step.passed).count();
        if self.manner == Manner::Json {
            let report = Report { url, passed: failed == 0, certificate_days: self.days, steps: &self.done };
            let text = serde_json::to_string(&report).map_err(|error| Fault::Software(error.to_string()))?;
            writeln!(self.out, "{text}")?;
        } else if self.manner == Manner::Lines {
            let steps = self.done.len();
            let took = millis(self.done.iter().map(|step| step.elapsed_us).sum());
            match failed {
                0 => writeln!(self.out, "passed: {steps} steps in {took} ms")?,
                _ => writeln!(self.out, "failed: {failed} of {steps} steps")?,
            }
        }
        Ok(failed == 0)
    }

    /// Sums up for a monitoring system.
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
    pub(super) fn say(&mut self, line: &str) -> Result<(), Fault> {
        Ok(writeln!(self.out, "{line}")?)
    }

    fn tell(&mut self, step: &Step) -> std::io::Result<()> {
        let mark = if step.passed { "ok" } else { "FAILED" };
        let Step { step: name, detail, .. } = step;
        let line = format!("{mark:<7} {name:<20} {:>9} ms  {detail}", millis(step.elapsed_us));
        writeln!(self.out, "{}", line.trim_end())?;
        // Whoever waits for a step sees those before it.
        self.out.flush()
    }
}

fn millis(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}
