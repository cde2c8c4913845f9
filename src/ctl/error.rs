//! Errors of the commands, and their exit statuses by sysexits.h.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::dial::{DialError, SetupError};
use super::tls::TlsSetupError;

/// Reason for which a command failed.
#[derive(Debug, Error)]
pub(super) enum Error {
    /// The reader of standard output has seen enough, which is no failure.
    #[error("standard output was closed")]
    OutputClosed,
    /// Something that was named doesn't exist, or a check found a fault. Everything has been printed already.
    #[error("failed")]
    Reported,
    /// State for a monitoring system, which has been printed already: 1 warning, 2 critical, 3 unknown.
    #[error("failed with state {0}")]
    Monitored(u8),
    /// The daemon uses the settings from before a restart, which has been printed already.
    #[error("the configuration has a mistake")]
    StaleConfiguration,
    /// The arguments don't fit the circumstances.
    #[error("{0}")]
    Usage(String),
    #[error("no daemon at {}; start ws-router, or name its socket with --socket", .0.display())]
    NoDaemon(PathBuf),
    #[error("{}: accepts connections but does not answer; see systemctl status ws-router", .0.display())]
    Unresponsive(PathBuf),
    #[error(
        "{}: permission denied; join the group ws-router (usermod -aG ws-router USER, then log in again)",
        .0.display()
    )]
    PermissionDenied(PathBuf),
    #[error("{}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("signal to process {process}")]
    Signal { process: u32, source: io::Error },
    #[error("the connection to the daemon broke")]
    ConnectionLost(#[from] hyper::Error),
    #[error("the daemon stopped")]
    Stopped,
    #[error("the daemon was put back into service")]
    DrainUndone,
    #[error("the daemon stopped before the last member had left; it resumes after a restart, see ws-routerctl status")]
    DrainInterrupted,
    /// The daemon can't do it now.
    #[error("{0}")]
    Unavailable(String),
    /// Mistakes in the configuration, or output of a new program that doesn't run.
    #[error("{0}")]
    Rejected(String),
    #[error("unexpected answer from the daemon: {0}")]
    UnexpectedAnswer(String),
    #[error("invalid answer from the daemon")]
    InvalidAnswer(#[from] serde_json::Error),
    #[error("invalid request")]
    InvalidRequest(#[from] http::Error),
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    #[error("random numbers")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl Error {
    /// Returns the line for standard error, causes included, unless everything has been printed already.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::OutputClosed | Self::Reported | Self::Monitored(_) | Self::StaleConfiguration => None,
            error => Some(with_causes(error)),
        }
    }

    /// Returns the exit status.
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Reported => 1,
            Self::Monitored(state) => *state,
            Self::Usage(_)
            | Self::Setup(SetupError::CertificateWithoutTls | SetupError::Tls(TlsSetupError::ServerName { .. })) => {
                EX_USAGE
            }
            Self::NoDaemon(_)
            | Self::Unresponsive(_)
            | Self::Connect { .. }
            | Self::ConnectionLost(_)
            | Self::Stopped
            | Self::DrainUndone
            | Self::DrainInterrupted
            | Self::Unavailable(_)
            | Self::Setup(SetupError::Tls(TlsSetupError::NoAuthorities(_))) => EX_UNAVAILABLE,
            Self::Dial(error) => {
                if error.is_unreachable() {
                    EX_UNAVAILABLE
                } else {
                    1
                }
            }
            Self::Signal { source, .. } if source.kind() != io::ErrorKind::PermissionDenied => EX_UNAVAILABLE,
            Self::PermissionDenied(_) | Self::Signal { .. } => EX_NOPERM,
            Self::Rejected(_) | Self::StaleConfiguration => EX_CONFIG,
            Self::UnexpectedAnswer(_)
            | Self::InvalidAnswer(_)
            | Self::InvalidRequest(_)
            | Self::System(..)
            | Self::Random(_)
            | Self::Setup(_) => EX_SOFTWARE,
        }
    }
}

/// Converts errors of writing to standard output.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::System("standard output", error),
        }
    }
}

/// Returns an error's text and those of its causes, separated by colons. Some libraries repeat the cause in their own
/// text; it isn't repeated here.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text += &format!(": {message}");
        }
        cause = error.source();
    }
    text
}

/// Statuses of sysexits.h.
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_SOFTWARE: u8 = 70;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_shown_once() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::Connect { socket: "/run/x.sock".into(), source: refused };
        assert_eq!(error.message().unwrap(), "/run/x.sock: connection refused");
        let broken = Error::Setup(SetupError::File {
            what: "token",
            path: "/a".into(),
            source: io::Error::other("no such file"),
        });
        assert_eq!(broken.message().unwrap(), "token file /a: no such file");
    }
}
