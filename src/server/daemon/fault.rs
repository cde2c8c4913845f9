//! What ends the daemon, with the exit status that goes with it (sysexits.h).

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::Problems;

/// Why the daemon can't start or go on.
#[derive(Debug)]
pub(super) struct Fault {
    status: Status,
    problems: Vec<String>,
}

/// An exit status that scripts and service managers understand.
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

impl Fault {
    /// Makes a fault of one problem.
    pub(super) fn new(status: Status, problem: impl fmt::Display) -> Self {
        Self { status, problems: vec![problem.to_string()] }
    }

    /// Makes a fault of a mistake in the configuration or in what the service manager passes.
    pub(super) fn configuration(problem: impl fmt::Display) -> Self {
        Self::new(Status::Configuration, problem)
    }

    /// Makes a fault of something that the system refuses to do.
    pub(super) fn system(what: impl fmt::Display, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => Status::NoPermission,
            _ => Status::Unavailable,
        };
        Self::new(status, format_args!("{what}: {error}"))
    }

    /// Says all problems, once: in the log if there is one, else on standard error.
    pub(super) fn report(&self) {
        let logs = tracing::dispatcher::has_been_set();
        for problem in &self.problems {
            if logs {
                tracing::error!(error = %problem, "the router can't go on");
            } else {
                // Nobody is left to be told that standard error is closed.
                let _ = writeln!(io::stderr(), "ws-router: {problem}");
            }
        }
    }

    /// The status to exit with.
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl From<Problems> for Fault {
    fn from(problems: Problems) -> Self {
        Self { status: Status::Configuration, problems: problems.0 }
    }
}
