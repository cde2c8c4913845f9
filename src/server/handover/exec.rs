//! Finding, trying out and executing the new program.
//!
//! The program is opened once and then run through this descriptor, so that the program that was tried out is the one that
//! takes over, even if the file on the disk is replaced in between.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::prctl;
use nix::sys::stat::Mode;
use nix::unistd::pipe2;
use tokio::time::timeout;

use super::{CONNECTIONS, HandoverBundle, PROGRAM, REPORT, STATE};
use crate::log;
use crate::snapshot::{DecodeError, Snapshot};
use crate::systemd::{self, Inherited};

/// An opened program that may take over.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: OwnedFd,
}

/// Error of trying out a program.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The program can't be opened or started, or no snapshot can be created for the trial.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// The program didn't exit.
    #[error("{0}: its check did not end within {time} seconds", time = TRIAL.as_secs())]
    Timeout(PathBuf),
    /// The program exited with an error.
    #[error("{0}: {1}: {2}")]
    Failed(PathBuf, ExitStatus, String),
    /// The program exited without an error, but didn't report that it can take over.
    #[error("{0}: it did not report that it can read the state of the running program; install a version that can")]
    NoReport(PathBuf),
}

impl Program {
    /// Opens the program that is on the disk now, where the running one was.
    pub fn open() -> Result<Self, TrialError> {
        let path = path().map_err(|error| TrialError::Io(PathBuf::from("ws-router"), error))?;
        match open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(TrialError::Io(path, error.into())),
        }
    }

    /// Returns the path at which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the program with `--check`, and has it decode a snapshot of the running one.
    ///
    /// Fails if the program can't be run, rejects the configuration, or can't decode the snapshot.
    pub async fn try_out(&self, snapshot: &Snapshot) -> Result<(), TrialError> {
        let failed = |error: io::Error| TrialError::Io(self.path.clone(), error);
        let state = snapshot.seal().map_err(failed)?;
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|error| failed(error.into()))?;
        let passed = [(STATE, state.as_fd()), (REPORT, theirs.as_fd()), (PROGRAM, self.file.as_fd())];
        let arguments = env::args_os().skip(1).filter(|argument| argument != "--inetd");
        let mut trial = tokio::process::Command::new(self.descriptor_path());
        trial.arg0(name(&self.path)).args(arguments).arg("--check").stdin(process::Stdio::null()).kill_on_drop(true);
        trial.env(systemd::HANDOVER, announcement(&passed)).stdout(process::Stdio::piped());
        trial.stderr(process::Stdio::piped());
        set_inheritable(&passed, true).map_err(failed)?;
        let child = trial.spawn();
        set_inheritable(&passed, false).map_err(failed)?;
        drop(theirs);
        let outcome = match timeout(TRIAL, child.map_err(failed)?.wait_with_output()).await {
            Ok(outcome) => outcome.map_err(failed)?,
            Err(_) => return Err(TrialError::Timeout(self.path.clone())),
        };
        if !outcome.status.success() {
            let text = String::from_utf8_lossy(&outcome.stderr).trim().to_owned();
            return Err(TrialError::Failed(self.path.clone(), outcome.status, text));
        }
        let mut report = [0; READABLE.len()];
        // The program has exited, so its report is completely in the pipe.
        match File::from(ours).read_exact(&mut report) {
            Ok(()) if report == READABLE => Ok(()),
            _ => Err(TrialError::NoReport(self.path.clone())),
        }
    }

    /// Replaces the running program and passes the bundle to it. Returns only on failure.
    pub fn execute(&self, bundle: &HandoverBundle) -> io::Error {
        let passed =
            [(STATE, bundle.state.as_fd()), (CONNECTIONS, bundle.connections.as_fd()), (PROGRAM, self.file.as_fd())];
        if let Err(error) = set_inheritable(&passed, true) {
            return error;
        }
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| name(&self.path).to_owned());
        let mut command = process::Command::new(self.descriptor_path());
        // No thread that writes messages outlives execve(2).
        log::flush();
        let error = command.arg0(name).args(arguments).env(systemd::HANDOVER, announcement(&passed)).exec();
        // The router continues to run. The other descriptors are closed with the bundle.
        match set_inheritable(&passed, false) {
            Ok(()) => error,
            Err(another) => another,
        }
    }

    /// Returns the path of the descriptor, at which the kernel finds the opened file.
    fn descriptor_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// Reports to the running program that this one can take over, if this process was started for a trial.
pub fn answer_trial(inherited: Vec<Inherited>) -> Result<(), DecodeError> {
    let (mut state, mut report) = (None, None);
    for one in inherited {
        match one.name.as_str() {
            STATE => state = Some(one.descriptor),
            REPORT => report = Some(one.descriptor),
            _ => {}
        }
    }
    // Without the descriptors of a trial, an administrator has started the check.
    let (Some(state), Some(report)) = (state, report) else { return Ok(()) };
    Snapshot::open(state)?;
    Ok(File::from(report).write_all(&READABLE)?)
}

/// Sets the name of this process, which is a descriptor's number when the program was executed through one.
pub fn set_process_name() {
    // Fails only for a name that can't be read.
    let _ = prctl::set_name(c"ws-router");
}

/// Returns the path of the program that is on the disk now, where the running one was.
fn path() -> io::Result<PathBuf> {
    let running = env::current_exe()?.into_os_string().into_vec();
    let path = running.strip_suffix(DELETED).unwrap_or(&running);
    Ok(PathBuf::from(OsStr::from_bytes(path)))
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(path.as_os_str())
}

/// Returns the value of the variable that announces these descriptors.
fn announcement(passed: &[(&str, BorrowedFd<'_>)]) -> OsString {
    passed.iter().map(|(name, descriptor)| format!("{}={name},", descriptor.as_raw_fd())).collect::<String>().into()
}

/// Sets whether programs that are executed from now on get these descriptors.
fn set_inheritable(passed: &[(&str, BorrowedFd<'_>)], is_inheritable: bool) -> io::Result<()> {
    let flag = if is_inheritable { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    for (_, descriptor) in passed {
        fcntl(descriptor, FcntlArg::F_SETFD(flag))?;
    }
    Ok(())
}

/// Suffix that the kernel appends to the path of a running program that was replaced on the disk (proc(5)).
const DELETED: &[u8] = b" (deleted)";
/// Time for the trial of the new program.
const TRIAL: Duration = Duration::from_secs(10);
/// Report of a program that has decoded the snapshot.
const READABLE: [u8; 12] = *b"snapshot ok\n";
