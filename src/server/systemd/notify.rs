//! What the service manager is told (sd_notify(3)): ready, reloading, stopping, a line of status, signs of life.
//!
//! Without a service manager nothing is sent. A message that can't be sent is logged and otherwise ignored: the
//! devices are served all the same, and the manager draws its own conclusions from silence.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use sd_notify::NotifyState;

/// The way to the service manager.
#[derive(Debug, Default)]
pub struct Notify {
    status: String,
}

impl Notify {
    /// Says that everything listens, at the start or after a reload, and what there is to know.
    pub fn ready(&mut self, status: String) {
        self.status = status;
        send(&[NotifyState::Ready, NotifyState::Status(&self.status)]);
    }

    /// Says that the configuration is read again; [`Notify::ready`] ends it.
    pub fn reloading(&mut self) {
        self.status = "reloading".into();
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now, NotifyState::Status(&self.status)]),
            Err(error) => tracing::warn!(%error, "no monotonic time for the service manager"),
        }
    }

    /// Says that it stops, and how long that may take.
    pub fn stopping(&mut self, patience: Duration) {
        self.status = "stopping".into();
        let extension = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
        let states =
            [NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(extension), NotifyState::Status(&self.status)];
        send(&states);
    }

    /// Tells a new line of status; one that was told already isn't repeated.
    pub fn status(&mut self, status: String) {
        if self.status != status {
            self.status = status;
            send(&[NotifyState::Status(&self.status)]);
        }
    }

    /// Gives descriptors into the service manager's store under a name, where they outlive this process; the manager is
    /// told not to look at what they are ready for, since a parcel's other end is closed.
    pub fn store(name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        let states = [NotifyState::FdStore, NotifyState::FdName(name), NotifyState::Custom("FDPOLL=0")];
        sd_notify::notify_with_fds(&states, &[descriptor])
    }

    /// Waits until the service manager has read all that was told before (sd_notify_barrier(3)), but not for ever.
    pub fn barrier(patience: Duration) -> io::Result<()> {
        let (far, near) = pipe2(OFlag::O_CLOEXEC)?;
        sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[near.as_fd()])?;
        drop(near);
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut hangup = [PollFd::new(far.as_fd(), PollFlags::empty())];
        match poll(&mut hangup, patience)? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the service manager doesn't answer")),
            _ => Ok(()),
        }
    }

    /// Takes what stands under a name out of the store.
    pub fn unstore(name: &str) {
        send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }
}

/// Tells whether there is a service manager to be told.
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// Gives the watchdog its sign of life.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Tells how often the watchdog wants a sign of life at least, if it watches this process.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
