//! Making place for a successor: the same program, or a newer one, that goes on where this one stops.
//!
//! Two ways lead there. [`Life::replace`] tries out the program that is on the disk now, and becomes it in this very
//! process; if that can't be, all goes on as if nothing had happened. [`Life::leave_to_successor`] leaves everything
//! in the service manager's store. In both, the listeners keep queueing callers and the members' bytes wait in the
//! kernel meanwhile. Members with TLS can't move, since their keys are in this process's memory: they are told to come
//! back (1012) beforehand, spread over some time so that they don't all come at once.

use std::env;
use std::ffi::OsString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, raise};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::time::{interval, timeout};
use ws_router_core::close::CloseReason;

use super::heritage::{COME_BACK, CONNECTIONS, STATE};
use super::life::Life;
use super::reload;
use super::signals;
use super::start;
use crate::net;
use crate::relay::Frozen;
use crate::snapshot::{RestartCounts, Snapshot};
use crate::sys;
use crate::systemd::{self, Job, Notify};

/// A listening socket, kept so that it can be handed over, and accepted on again if the hand-over fails.
#[derive(Debug)]
pub(super) struct Kept {
    /// What it is, the same in predecessor and successor.
    pub(super) key: String,
    /// The socket.
    pub(super) descriptor: OwnedFd,
    /// For whom.
    pub(super) audience: Audience,
}

/// Whom a listening socket is for.
#[derive(Debug)]
pub(super) enum Audience {
    /// Devices.
    Devices {
        /// Through TLS, or not.
        tls: Option<Arc<net::Certificates>>,
        /// Whether each connection begins with a PROXY header.
        proxy_protocol: bool,
    },
    /// Administrators.
    Administrators,
    /// Monitoring.
    Monitoring,
}

/// All that a successor gets. While it lives, no relay thread moves.
struct Package {
    state: OwnedFd,
    parcel: OwnedFd,
    members: usize,
    _frozen: Frozen,
}

impl Life {
    /// Becomes the program that is on the disk now; returns only if that can't be.
    pub(super) async fn replace(&mut self) {
        match try_out().await {
            Ok(program) => self.become_program(&program).await,
            Err(error) => tracing::error!(error, "the new program can't take over"),
        }
    }

    /// Becomes a program that was tried out; returns only if that can't be.
    pub(super) async fn become_program(&mut self, program: &Path) {
        tracing::info!(program = %program.display(), "making place for a successor");
        let error = match self.package().await {
            Ok(package) => match self.hold_signals() {
                Ok(()) => become_successor(program, &package),
                Err(error) => error,
            },
            Err(error) => error,
        };
        signals::receive();
        self.resume();
        tracing::error!(%error, program = %program.display(), "the new program can't take over");
    }

    /// Leaves the signals that come from now on to the successor; fails if one to stop has come already.
    fn hold_signals(&mut self) -> io::Result<()> {
        signals::block()?;
        while let Some(Some(signal)) = self.signals.next().now_or_never() {
            // A reload is what the successor begins with, and another replacement is none.
            if signal == SIGTERM || signal == SIGINT {
                raise(Signal::try_from(signal)?)?;
                return Err(io::Error::other("told to stop meanwhile"));
            }
        }
        Ok(())
    }

    /// Leaves everything in the service manager's store and ends the process, if this is a restart; returns otherwise,
    /// or if it can't be done.
    pub(super) async fn leave_to_successor(&mut self) {
        if !systemd::is_managed() {
            return;
        }
        match systemd::job().await {
            Some(Job::Stop) => return,
            Some(Job::Restart) => {}
            None if systemd::is_systemd() => {
                tracing::warn!("whether this is a stop or a restart can't be known; members are carried over");
            }
            None => return,
        }
        tracing::info!("leaving everything to the successor");
        let goodbyes = self.service.live.borrow().websocket.close_timeout;
        self.notify.stopping(REQUESTS + SPREAD + goodbyes + STORED);
        let stored = match self.package().await {
            Ok(package) => package.store().map(|()| package),
            Err(error) => Err(error),
        };
        match stored {
            Ok(package) => {
                tracing::info!(members = package.members, "left to the successor");
                // Without any destructor: connections stay open, files stay, and no relay thread moves again.
                process::exit(0);
            }
            Err(error) => tracing::error!(%error, "nothing can be left to the successor, so members are closed"),
        }
    }

    /// Stops accepting, lets go who can't move, and wraps up the rest.
    async fn package(&mut self) -> io::Result<Package> {
        systemd::alive();
        self.stop.cancel();
        self.tasks.close();
        if timeout(REQUESTS, self.tasks.wait()).await.is_err() {
            tracing::warn!("some requests were not finished in time");
        }
        self.release().await;
        let carried = self.context.events.history().carried();
        let history = Snapshot::encode_events(&carried);
        let mut frozen = self.service.relay.freeze().await;
        self.story.catch_up().await;
        let (members, descriptors): (Vec<_>, Vec<RawFd>) = mem::take(&mut frozen.members).into_iter().unzip();
        let count = members.len();
        let state = Snapshot {
            program: env!("CARGO_PKG_VERSION").into(),
            directory: self.service.directory.state(Instant::now()),
            last_member: self.service.relay.last_member(),
            listeners: self.kept.iter().map(|kept| kept.key.clone()).collect(),
            members,
            drain: self.drain.state(Instant::now()),
            restarts: self.restarts(),
            history,
        };
        let listeners = self.kept.iter().map(|kept| kept.descriptor.as_raw_fd());
        let descriptors: Vec<RawFd> = listeners.chain(descriptors).collect();
        Ok(Package { state: state.seal()?, parcel: sys::send_fds(&descriptors)?, members: count, _frozen: frozen })
    }

    fn restarts(&self) -> RestartCounts {
        let front = &self.service.front;
        RestartCounts { count: front.restarts.value(), carried: front.carried.value(), lost: front.lost.value() }
    }

    /// Tells the members that can't move to come back, not all at once; their registrations wait for them.
    async fn release(&self) {
        let mut rules = reload::rules(&self.service.live.borrow());
        rules.linger = rules.linger.max(COME_BACK);
        self.service.directory.set_rules(rules);
        let relay = &self.service.relay;
        let total = relay.release(0, CloseReason::Restarting).await;
        let spread = Duration::from_millis(total as u64).min(SPREAD);
        let patience = self.service.live.borrow().websocket.close_timeout;
        let steps = (spread.as_millis() / STEP.as_millis()).max(1) as usize;
        let at_once = total.div_ceil(steps);
        let all = async {
            let mut ticks = interval(STEP);
            while relay.release(at_once, CloseReason::Restarting).await > 0 {
                ticks.tick().await;
            }
        };
        if total > 0 && timeout(spread + patience, all).await.is_err() {
            tracing::warn!("not all members that can't be carried over have answered");
        }
    }

    /// Goes on as if nothing had happened.
    fn resume(&mut self) {
        self.service.directory.set_rules(reload::rules(&self.service.live.borrow()));
        self.stop = tokio_util::sync::CancellationToken::new();
        self.tasks.reopen();
        if let Err(fault) = start::open(self) {
            // Members are still served; new ones can't come, and the administrator has to know.
            tracing::error!(error = ?fault, "a listener can't be opened again");
        }
    }
}

impl Package {
    /// Puts all into the service manager's store, and waits until it is there.
    fn store(&self) -> io::Result<()> {
        Notify::store(STATE, self.state.as_fd())?;
        Notify::store(CONNECTIONS, self.parcel.as_fd())?;
        Notify::barrier(STORED)
    }
}

/// Replaces the running program; returns only when that fails.
fn become_successor(program: &Path, package: &Package) -> io::Error {
    let mut announcement = OsString::new();
    for (name, descriptor) in [(STATE, &package.state), (CONNECTIONS, &package.parcel)] {
        if let Err(error) = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty())) {
            return error.into();
        }
        announcement.push(format!("{}={name},", descriptor.as_raw_fd()));
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.into());
    process::Command::new(program).arg0(name).args(arguments).env(systemd::HANDOVER, announcement).exec()
}

/// Finds the program that is on the disk now, where the running one was.
fn program() -> io::Result<PathBuf> {
    let running = env::current_exe()?.into_os_string().into_vec();
    let path = running.strip_suffix(DELETED).unwrap_or(&running);
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}

/// Has the program that is on the disk now check the configuration, so that one that doesn't run at all, or not with
/// this file, is found out.
pub(super) async fn try_out() -> Result<PathBuf, String> {
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

/// What the kernel appends to the path of a running program that was replaced on the disk (proc(5)).
const DELETED: &[u8] = b" (deleted)";
/// How long requests in progress may take to be finished.
const REQUESTS: Duration = Duration::from_secs(2);
/// Over how long members that can't move are told to come back: a thousand a second, but no longer than this.
const SPREAD: Duration = Duration::from_secs(10);
/// How often some of them are.
const STEP: Duration = Duration::from_millis(20);
/// How long the service manager may take to store the state.
const STORED: Duration = Duration::from_secs(5);
/// How long the new program may take for its check.
const TRIAL: Duration = Duration::from_secs(10);
