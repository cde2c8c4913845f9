//! Failures that end the daemon: errors with their exit statuses (sysexits.h), and panics.
//!
//! A panic in any thread ends the process with a log message, so that the service manager starts it again. Otherwise the
//! router would continue without the thread.

use std::fmt;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::{self, ExitCode};
use std::thread;

use crate::config::Problems;
use crate::log::{self, messages};

/// Error that ends the daemon.
#[derive(Debug)]
pub struct ExitError {
    status: Status,
    problems: Vec<String>,
}

/// Exit status for scripts and service managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// EX_USAGE: the arguments are wrong.
    Usage = 64,
    /// EX_UNAVAILABLE: an address is in use, or no daemon runs.
    Unavailable = 69,
    /// EX_SOFTWARE: a bug in this program.
    Software = 70,
    /// EX_NOPERM: the user lacks a permission.
    NoPermission = 77,
    /// EX_CONFIG: the configuration is wrong.
    Configuration = 78,
}

impl ExitError {
    /// Creates an error from one problem.
    pub fn new(status: Status, problem: impl fmt::Display) -> Self {
        Self { status, problems: vec![problem.to_string()] }
    }

    /// Creates an error from a problem of the configuration or the inherited descriptors.
    pub fn configuration(problem: impl fmt::Display) -> Self {
        Self::new(Status::Configuration, problem)
    }

    /// Creates an error from a failed system call on `subject`.
    pub fn system(subject: impl fmt::Display, error: &io::Error) -> Self {
        let status = match error.kind() {
            io::ErrorKind::PermissionDenied => Status::NoPermission,
            _ => Status::Unavailable,
        };
        Self::new(status, format_args!("{subject}: {error}"))
    }

    /// Reports all problems in the log, or on standard error if the log has not been started.
    pub fn report(&self) {
        let has_log = tracing::dispatcher::has_been_set();
        for problem in &self.problems {
            if has_log {
                tracing::error!(message_id = messages::FATAL_ERROR, error = %problem, "fatal error");
            } else {
                // If standard error is closed, the exit status remains.
                let _ = writeln!(io::stderr(), "ws-router: {problem}");
            }
        }
    }

    /// Returns the exit status.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.status as u8)
    }
}

impl fmt::Display for ExitError {
    /// Writes all problems in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for ExitError {}

impl From<Problems> for ExitError {
    fn from(problems: Problems) -> Self {
        Self { status: Status::Configuration, problems: problems.0 }
    }
}

/// Makes a panic in any thread or task end the process.
pub fn exit_on_panic() {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let current = thread::current();
        let thread = current.name().unwrap_or("unnamed");
        tracing::error!(
            message_id = messages::INTERNAL_ERROR,
            location,
            thread,
            error = text(info),
            "internal error; exiting"
        );
        log::flush();
        process::exit(Status::Software as i32);
    }));
}

/// Returns the message of a panic if it is a fixed string. A formatted message may contain a peer's data, and is not
/// logged.
fn text<'a>(info: &'a PanicHookInfo<'_>) -> &'a str {
    info.payload().downcast_ref::<&'static str>().copied().unwrap_or("panic")
}

#[cfg(test)]
mod tests;
