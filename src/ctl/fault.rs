//! Why a command failed, with the exit status of sysexits.h that belongs to it.

use std::io;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// Standard output was closed: the reader has seen enough, which is no failure.
    Closed,
    /// Something that was named isn't there, or a check found a fault; all is said already.
    Failed,
    /// Something is missing that the arguments alone don't show.
    Usage(String),
    /// What a monitoring system is to be told, which is said already: 1 warning, 2 critical, 3 unknown.
    State(u8),
    /// The daemon, or the deployment, can't be reached.
    Unavailable(String),
    /// The daemon said something unexpected, or the system denies the ordinary.
    Software(String),
    /// The admin socket is not for this user.
    Permission(String),
    /// The daemon can't use its configuration.
    Configuration(String),
}

impl Fault {
    /// What to say on standard error, if anything is left to say.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Closed | Self::Failed | Self::State(_) => None,
            Self::Usage(text)
            | Self::Unavailable(text)
            | Self::Software(text)
            | Self::Permission(text)
            | Self::Configuration(text) => Some(text),
        }
    }

    /// The exit status.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed => 1,
            Self::State(status) => *status,
            Self::Usage(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Software(_) => 70,
            Self::Permission(_) => 77,
            Self::Configuration(_) => 78,
        }
    }
}

/// A failed write to standard output.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Software(format!("standard output: {error}")),
        }
    }
}
