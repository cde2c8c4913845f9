//! Notifications to the service manager (sd_notify(3)): ready, reloading, stopping, status, watchdog.
//!
//! Without a service manager nothing is sent. Failures are only logged, since devices can still be served.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use sd_notify::NotifyState;

/// Notifications to the service manager, and the last status.
#[derive(Debug, Default)]
pub struct Notify {
    status: String,
}

impl Notify {
    /// Reports readiness, after the start or a reload, with a status line.
    pub fn ready(&mut self, status: String) {
        self.status = status;
        send(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
    }

    /// Reports the start of a reload; [`Notify::ready`] reports its end.
    pub fn reloading(&mut self) {
        self.status = "reloading".into();
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now, NotifyState::Status(&self.status)]),
            Err(error) => tracing::warn!(%error, "monotonic clock can't be read"),
        }
    }

    /// Reports the start of a stop that takes at most `timeout`.
    pub fn stopping(&mut self, timeout: Duration) {
        self.status = "stopping".into();
        let extension = u32::try_from(timeout.as_micros()).unwrap_or(u32::MAX);
        let states =
            [NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(extension), NotifyState::Status(&self.status)];
        send(&states);
    }

    /// Reports a status line, if it differs from the last one.
    pub fn status(&mut self, status: String) {
        if self.status != status {
            self.status = status;
            send(&[NotifyState::Status(&self.status)]);
        }
    }

    /// Stores descriptors under a name in the service manager, where they remain after this process has ended. The manager
    /// must not poll them (FDPOLL=0), since it would remove a socket whose other end is closed.
    pub fn store(name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let states = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&states, &[descriptor])
    }

    /// Waits until the service manager has read all earlier notifications (sd_notify_barrier(3)), or `timeout` is over.
    pub fn barrier(timeout: Duration) -> io::Result<()> {
        let (far, near) = pipe2(OFlag::O_CLOEXEC)?;
        sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[near.as_fd()])?;
        drop(near);
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut hangup = [PollFd::new(far.as_fd(), PollFlags::empty())];
        match poll(&mut hangup, timeout)? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the service manager doesn't answer")),
            _ => Ok(()),
        }
    }

    /// Removes the descriptors with a name from the store.
    pub fn unstore(name: &str) {
        send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}

/// Returns whether a service manager expects notifications.
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// Notifies the watchdog.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Returns the timeout of the watchdog, if it watches this process.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "service manager can't be notified");
    }
}
