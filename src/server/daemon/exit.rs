//! The ends of the daemon other than a stop: errors with their exit statuses (sysexits.h), and panics.
//!
//! A panic anywhere ends the process with a line in the log, since half a router is worse than one that the service
//! manager starts again.

use std::fmt;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};
use std::thread;

use crate::config::Problems;

/// Error that ends the daemon.
#[derive(Debug)]
pub(super) struct ExitError {
    status: Status,
    problems: Vec<String>,
}

/// Exit status that scripts and service managers understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// EX_USAGE: the arguments make no sense.
    Usage = 64,
    /// EX_UNAVAILABLE: an address is taken, or no daemon runs.
    Unavailable = 69,
    /// EX_SOFTWARE: a mistake in this program.
    Software = 70,
    /// EX_NOPERM: the user may not do that.
    NoPermission = 77,
    /// EX_CONFIG: the configuration is wrong.
    Configuration = 78,
}

impl ExitError {
    /// Makes an error of one problem.
    pub(super) fn new(status: Status, problem: impl fmt::Display) -> Self {
        Self { status, problems: vec![problem.to_string()] }
    }

    /// Makes an error of a mistake in the configuration or in what the service manager passes.
    pub(super) fn configuration(problem: impl fmt::Display) -> Self {
        Self::new(Status::Configuration, problem)
    }

    /// Makes an error of something that the system refuses to do.
    pub(super) fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => Status::NoPermission,
            _ => Status::Unavailable,
        };
        Self::new(status, format_args!("{what}: {error}"))
    }

    /// Reports all problems, once: in the log if there is one, else on standard error.
    pub(super) fn report(&self) {
        let logs = tracing::dispatcher::has_been_set();
        for problem in &self.problems {
            if logs {
                tracing::error!(error = %problem, "the router can't go on");
            } else {
                // With standard error closed, the exit status has to do.
                let _ = writeln!(io::stderr(), "ws-router: {problem}");
            }
        }
    }

    /// Returns the status to exit with.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl From<Problems> for ExitError {
    fn from(problems: Problems) -> Self {
        Self { status: Status::Configuration, problems: problems.0 }
    }
}

/// Makes a panic in any thread or task end the process.
pub(super) fn exit_on_panic() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        tracing::error!(place, thread, error = text(info), "a mistake in the program, the router ends");
        process::exit(Status::Software as i32);
    }));
}

/// Returns a fixed text. One that was composed may quote what a peer sent, and stays out of the log.
fn text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("panic")
}

#[cfg(test)]
mod tests;
