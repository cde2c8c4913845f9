//! Descriptors that the service manager passed, with their names (sd_listen_fds(3)).
//!
//! They are taken once, before any thread starts, since the variables that announce them are then removed from the
//! environment: programs started later must not use them.

use std::env;
use std::io::{self, ErrorKind};
use std::os::fd::{OwnedFd, RawFd};
use std::process;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::{self, OtherThreads};

/// A descriptor with the name that the service manager gave it (`FileDescriptorName=`).
#[derive(Debug)]
pub struct Inherited {
    /// The name; `unknown` if there was none.
    pub name: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
    /// Origin of the descriptor, which determines whether it is passed again at the next start.
    pub giver: Giver,
}

/// Origin of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Giver {
    /// The service manager or inetd, which pass it at each start.
    Supervisor,
    /// The program that ran in this process before this one.
    OldProcess,
}

/// Reason why inherited descriptors can't be taken over.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// The descriptors have been taken before.
    #[error("inherited descriptors: taken over twice")]
    Taken,
    /// Other threads run, so the environment can't be changed.
    #[error("inherited descriptors: {0}")]
    Threads(#[from] OtherThreads),
    /// The variables contradict each other, or a descriptor isn't open.
    #[error("inherited descriptors: {0}; look at LISTEN_FDS and LISTEN_FDNAMES")]
    Announcement(io::Error),
}

/// Takes all descriptors that were passed to this process (`LISTEN_PID`), in their order.
pub fn inherited() -> Result<Vec<Inherited>, InheritError> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(InheritError::Taken);
    }
    let variable = |name: &str| env::var(name).ok();
    let mut announced = announced(variable, process::id()).map_err(InheritError::Announcement)?;
    announced.extend(left_by_old_process(variable).map_err(InheritError::Announcement)?);
    if VARIABLES.iter().any(|name| env::var_os(name).is_some()) {
        sys::remove_variables(&VARIABLES)?;
    }
    let owned = announced
        .into_iter()
        .map(|(number, name, giver)| Ok(Inherited { name, descriptor: sys::take_inherited_fd(number)?, giver }));
    owned.collect::<io::Result<_>>().map_err(InheritError::Announcement)
}

/// Parses the descriptors that a service manager announces in `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` (sd_listen_fds(3)).
fn announced(variable: impl Fn(&str) -> Option<String>, process: u32) -> io::Result<Vec<(RawFd, String, Giver)>> {
    let (Some(meant), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else { return Ok(Vec::new()) };
    if number::<u32>("LISTEN_PID", &meant)? != process {
        return Ok(Vec::new());
    }
    let count = usize::from(number::<u16>("LISTEN_FDS", &count)?);
    let names: Vec<String> = match variable("LISTEN_FDNAMES") {
        Some(names) if count > 0 => names.split(':').map(str::to_owned).collect(),
        _ => vec!["unknown".into(); count],
    };
    if names.len() != count {
        return Err(invalid(format!("{count} descriptors and {} names", names.len())));
    }
    Ok((FIRST..).zip(names).map(|(number, name)| (number, name, Giver::Supervisor)).collect())
}

/// Parses the descriptors that the previous program left open in this process ([`HANDOVER`]).
fn left_by_old_process(variable: impl Fn(&str) -> Option<String>) -> io::Result<Vec<(RawFd, String, Giver)>> {
    let text = variable(HANDOVER).unwrap_or_default();
    let parts = text.split(',').filter(|part| !part.is_empty());
    let parse = |part: &str| {
        let (text, name) = part.split_once('=').ok_or_else(|| invalid(format!("{HANDOVER}: {part:?}")))?;
        Ok((number(HANDOVER, text)?, name.to_owned(), Giver::OldProcess))
    };
    parts.map(parse).collect()
}

fn number<T: FromStr>(variable: &str, text: &str) -> io::Result<T> {
    text.parse().map_err(|_| invalid(format!("{variable}: {text:?} is not a valid number")))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Variable in which a program announces descriptors to the program that it executes: `NUMBER=NAME,…`.
pub const HANDOVER: &str = "WS_ROUTER_HANDOVER";

const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", HANDOVER];

/// The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks variables up in a list instead of the environment.
    fn with<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<'a> {
        |name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    }

    fn names(variables: &[(&str, &str)]) -> io::Result<Vec<(RawFd, String)>> {
        let announced = announced(with(variables), 7)?;
        Ok(announced.into_iter().map(|(number, name, _)| (number, name)).collect())
    }

    #[test]
    fn descriptors_are_taken_over_once() {
        assert!(inherited().unwrap().is_empty());
        assert!(matches!(inherited(), Err(InheritError::Taken)));
    }

    #[test]
    fn announced_descriptors_begin_at_three_and_have_their_names() {
        let all = [("LISTEN_PID", "7"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "http:admin")];
        assert_eq!(names(&all).unwrap(), [(3, "http".into()), (4, "admin".into())]);
        assert_eq!(names(&all[..2]).unwrap(), [(3, "unknown".into()), (4, "unknown".into())]);
    }

    #[test]
    fn descriptors_of_another_process_are_not_ours() {
        assert_eq!(names(&[("LISTEN_PID", "8"), ("LISTEN_FDS", "2")]).unwrap(), []);
        assert_eq!(names(&[("LISTEN_FDS", "2")]).unwrap(), []);
    }

    #[test]
    fn contradictions_are_errors() {
        let names = |count, text| names(&[("LISTEN_PID", "7"), ("LISTEN_FDS", count), ("LISTEN_FDNAMES", text)]);
        assert!(names("3", "http:admin").is_err());
        assert!(names("-1", "").is_err());
        assert!(names("many", "").is_err());
        assert!(left_by_old_process(with(&[(HANDOVER, "state")])).is_err());
        assert!(left_by_old_process(with(&[(HANDOVER, "x=state")])).is_err());
    }

    #[test]
    fn descriptors_of_the_old_process_have_names() {
        let left = left_by_old_process(with(&[(HANDOVER, "9=state,10=connections,")])).unwrap();
        let expected = [(9, "state".into(), Giver::OldProcess), (10, "connections".into(), Giver::OldProcess)];
        assert_eq!(left, expected);
    }
}
