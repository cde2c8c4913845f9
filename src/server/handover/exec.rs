//! Finding, trying out and executing the new program.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::time::timeout;

use super::{CONNECTIONS, HandoverBundle, STATE};
use crate::systemd;

/// Replaces the running program, which passes the bundle on; returns only if that fails.
pub fn execute(program: &Path, bundle: &HandoverBundle) -> io::Error {
    let mut announcement = OsString::new();
    for (name, descriptor) in [(STATE, &bundle.state), (CONNECTIONS, &bundle.connections)] {
        if let Err(error) = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())) {
            return error.into();
        }
        announcement.push(format!("{}={name},", descriptor.as_raw_fd()));
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.into());
    process::Command::new(program).arg0(name).args(arguments).env(systemd::HANDOVER, announcement).exec()
}

/// Returns the path of the program that is on the disk now, where the running one was.
fn program() -> io::Result<PathBuf> {
    let running = env::current_exe()?.into_os_string().into_vec();
    let path = running.strip_suffix(DELETED).unwrap_or(&running);
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// Runs the program that is on the disk now with `--check`, so that one that doesn't run at all, or not with this
/// configuration, is refused.
pub async fn try_out() -> Result<PathBuf, String> {
    let program = program().map_err(|error| error.to_string())?;
    let arguments = env::args_os().skip(1).filter(|argument| argument != "--inetd");
    let mut trial = tokio::process::Command::new(&program);
    trial.args(arguments).arg("--check").stdin(process::Stdio::null()).kill_on_drop(true);
    let outcome = match timeout(TRIAL, trial.output()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return Err(format!("{}: {error}", program.display())),
        Err(_) => return Err(format!("{}: its check didn't end", program.display())),
    };
    if outcome.status.success() {
        return Ok(program);
    }
    let text = String::from_utf8_lossy(&outcome.stderr);
    Err(format!("{}: {}: {}", program.display(), outcome.status, text.trim()))
}

/// Suffix that the kernel appends to the path of a running program that was replaced on the disk (proc(5)).
const DELETED: &[u8] = b" (deleted)";
/// Time that the new program may take for its check.
const TRIAL: Duration = Duration::from_secs(10);
