//! The life cycle of the daemon: ready, reloading, restarting, stopping.
//!
//! One task handles the signals and the administrators' commands, so that a reload and a stop never run at the same time.
//! Files are read on another thread, so that a file that blocks doesn't block this task. A stop closes every member
//! (1001), waits `websocket.close-timeout` for the answers, and finishes requests meanwhile. A second TERM exits at once.

use std::process;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR2};
use signal_hook_tokio::Signals;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use ws_router_admin_api::DrainPhase;
use ws_router_core::close::CloseReason;

use crate::admin::{Command, ReloadReport};
use crate::config::Problems;
use crate::exit::ExitError;
use crate::log::{self, messages};
use crate::net::SocketFile;
use crate::reload::{AllFiles, FreshFiles, Reading, Reloader};
use crate::restart::{self, Restart};
use crate::server::DRAIN_INTERVAL;

/// A router that was started and accepts connections.
pub struct Lifecycle {
    /// The router with its front, and the parts that a restart needs.
    pub restart: Restart,
    /// Reads and applies the configuration again.
    pub reloader: Reloader,
    /// Files that are being read for a reload.
    pub reload: Reload,
    /// Commands of administrators.
    pub commands: mpsc::Receiver<Command>,
    /// Whether the daemon has been idle for long enough to exit.
    pub idle_timer: IdleTimer,
    /// Addresses of the listeners for devices, for the status line.
    pub addresses: String,
    /// Files of Unix sockets, removed at the end.
    pub socket_files: Vec<SocketFile>,
}

impl Lifecycle {
    /// Runs from readiness until the daemon has stopped.
    pub async fn run(mut self) -> Result<(), ExitError> {
        let status = self.status();
        self.restart.notify.ready(status);
        tracing::info!(message_id = messages::READY, version = env!("CARGO_PKG_VERSION"), "ready");
        let reason = self.serve().await;
        if reason == TERMINATED {
            restart::through_store(&mut self.restart).await;
        }
        self.stop(reason).await;
        Ok(())
    }

    /// Handles signals and commands until there is a reason to stop.
    async fn serve(&mut self) -> &'static str {
        let now = tokio::time::Instant::now();
        let mut status = interval_at(now + STATUS, STATUS);
        let mut certificates = interval_at(now + CERTIFICATES, CERTIFICATES);
        let mut drain = interval_at(now, DRAIN_INTERVAL);
        for ticks in [&mut status, &mut certificates, &mut drain] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                Some(signal) = self.restart.signals.next() => match signal {
                    SIGHUP => self.reload(None),
                    // A reload that was requested earlier comes first.
                    SIGUSR2 if self.reload.reading.is_some() => self.reload.then_restart = true,
                    SIGUSR2 => restart::in_place(&mut self.restart).await,
                    SIGTERM => return TERMINATED,
                    _ => return "interrupted",
                },
                Some(command) = self.commands.recv(), if self.reload.reading.is_none() => {
                    self.handle_command(command).await;
                }
                files = self.reload.finished() => {
                    self.finish_reload(files);
                    if std::mem::take(&mut self.reload.then_restart) {
                        restart::in_place(&mut self.restart).await;
                    }
                }
                _ = status.tick() => {
                    let status = self.status();
                    self.restart.notify.status(status);
                    if self.is_idle() {
                        return "idle";
                    }
                }
                _ = certificates.tick(), if self.reload.reading.is_none() => {
                    // While a file system doesn't answer, nothing can be checked.
                    self.reload.reading = self.reloader.read_changed_certificates().ok();
                }
                _ = drain.tick(), if self.restart.server.drain_phase() == DrainPhase::Draining => {
                    if self.restart.server.advance_drain() {
                        return "drained";
                    }
                }
            }
        }
    }

    /// Carries out a command. An administrator who disconnected meanwhile gets no reply.
    async fn handle_command(&mut self, command: Command) {
        let server = &self.restart.server;
        match command {
            Command::Reload(reply) => self.reload(Some(reply)),
            Command::Upgrade(reply) => match restart::try_out(&self.restart).await {
                Ok(program) => {
                    drop(reply.send(Ok(())));
                    restart::become_program(&mut self.restart, &program).await;
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Drain(over, reply) => drop(reply.send(server.drain(over))),
            Command::Undrain(reply) => drop(reply.send(server.undo_drain())),
            Command::Adopt(descriptor, reply) => drop(reply.send(self.restart.front.adopt(descriptor))),
        }
    }

    /// Starts a reload; if files are being read for another one, as soon as that has finished.
    fn reload(&mut self, reply: Option<ReloadReply>) {
        if self.reload.reading.is_some() {
            self.reload.then_reload = true;
            return;
        }
        self.restart.notify.reloading();
        self.reload.reply = reply;
        match self.reloader.read_all() {
            Ok(reading) => self.reload.reading = Some(reading),
            Err(problems) => self.apply_reload(Err(problems)),
        }
    }

    /// Applies the files that were read, if they could be read in time.
    fn finish_reload(&mut self, files: Option<FreshFiles>) {
        let reading = self.reload.reading.take();
        match (files, reading) {
            (Some(FreshFiles::All(files)), _) => self.apply_reload(*files),
            (Some(FreshFiles::Certificates(fresh)), _) => drop(self.reloader.certificates.replace(fresh)),
            (None, Some(reading)) => {
                let problems = self.reloader.give_up(reading);
                self.apply_reload(Err(problems));
            }
            (None, None) => {}
        }
        if std::mem::take(&mut self.reload.then_reload) {
            self.reload(None);
        }
    }

    fn apply_reload(&mut self, files: Result<AllFiles, Problems>) {
        let result = self.reloader.apply(files);
        if let Some(reply) = self.reload.reply.take() {
            // An administrator who has disconnected gets no reply.
            let _ = reply.send(result);
        }
        let status = self.status();
        self.restart.notify.ready(status);
    }

    async fn stop(mut self, reason: &'static str) {
        let Restart { server, front, notify, event_logger, signals, .. } = &mut self.restart;
        let close_timeout = server.config().websocket.close_timeout;
        tracing::info!(message_id = messages::STOPPING, reason, "stopping");
        let members_closed = server.shutdown(CloseReason::Stopping, close_timeout);
        notify.stopping(close_timeout + MARGIN);
        self.socket_files.clear();
        // Commands that can't be carried out any more are dropped, which their senders notice.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        let graceful = async {
            let requests = async { tokio::join!(front.close(close_timeout), front.close_admin(close_timeout)) };
            let ((), requests) = tokio::join!(members_closed, requests);
            if matches!(requests, (Err(_), _) | (_, Err(_))) {
                tracing::warn!("some requests were not finished in time");
            }
            server.events().publish_sends();
            event_logger.flush().await;
        };
        tokio::select! {
            finished = timeout(close_timeout + MARGIN, graceful) => match finished {
                Ok(()) => tracing::info!(message_id = messages::STOPPED, "stopped"),
                Err(_) => tracing::warn!(message_id = messages::STOPPED_WITHOUT_ANSWERS, "stopped; some members did not answer the close"),
            },
            () = second_stop(signals) => {
                tracing::warn!("second signal to stop; exiting at once");
                log::flush();
                process::exit(0);
            }
        }
    }

    fn is_idle(&mut self) -> bool {
        let server = &self.restart.server;
        // A drained daemon that exits would be started again by the next connection, and be in service.
        let is_draining = server.drain_phase() != DrainPhase::Serving;
        let is_busy = is_draining || server.metrics().connections.value() > 0 || server.registrations() > 0;
        let timeout = server.config().service.exit_when_idle;
        self.idle_timer.is_over(is_busy, timeout, Instant::now())
    }

    fn status(&self) -> String {
        let server = &self.restart.server;
        let (registrations, members) = (server.registrations(), server.member_count());
        let (ending, plural) = (if registrations == 1 { "" } else { "s" }, if members == 1 { "" } else { "s" });
        let state = match server.drain_phase() {
            DrainPhase::Serving => "",
            DrainPhase::Draining => "draining, ",
            DrainPhase::Drained => "drained, ",
        };
        let stale = if server.metrics().config_stale.value() > 0 { STALE } else { "" };
        format!(
            "{stale}{state}{registrations} registration{ending}, {members} member{plural}; listening on {}",
            self.addresses
        )
    }
}

/// Reload in progress.
#[derive(Debug, Default)]
pub struct Reload {
    reading: Option<Reading>,
    reply: Option<ReloadReply>,
    /// Whether another reload was requested meanwhile.
    then_reload: bool,
    /// Whether a restart was requested meanwhile.
    then_restart: bool,
}

type ReloadReply = oneshot::Sender<Result<ReloadReport, Problems>>;

impl Reload {
    /// Waits until files are read, or given up; forever if none are being read. Cancel safe.
    async fn finished(&mut self) -> Option<FreshFiles> {
        match &mut self.reading {
            Some(reading) => reading.finished().await,
            None => std::future::pending().await,
        }
    }
}

/// Waits for another TERM or INT.
async fn second_stop(signals: &mut Signals) {
    while let Some(signal) = signals.next().await {
        if signal != SIGHUP && signal != SIGUSR2 {
            return;
        }
    }
    std::future::pending().await
}

/// Time for which the daemon has been idle.
#[derive(Debug)]
pub struct IdleTimer {
    default: Option<Duration>,
    since: Option<Instant>,
}

impl IdleTimer {
    /// Starts the timer. `default` is the timeout where the configuration sets none.
    pub fn new(default: Option<Duration>) -> Self {
        Self { default, since: None }
    }

    /// Returns whether the daemon has been idle for the configured time; zero means no limit.
    fn is_over(&mut self, is_busy: bool, configured: Duration, now: Instant) -> bool {
        let timeout = Some(configured).filter(|timeout| !timeout.is_zero()).or(self.default);
        if is_busy {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        timeout.is_some_and(|timeout| !is_busy && now.duration_since(since) >= timeout)
    }
}

/// Start of the status line while the settings from before a restart are in use.
const STALE: &str = "configuration not in use, see the log; ";

/// Reason of a stop that may be the first half of a restart.
const TERMINATED: &str = "terminated";

/// Interval of the status line's updates; also the accuracy of `service.exit-when-idle`.
const STATUS: Duration = Duration::from_secs(1);

/// Interval of checks for changed certificate files. A renewal has days of time.
const CERTIFICATES: Duration = Duration::from_secs(3);

/// Maximum duration of a stop in addition to `websocket.close-timeout`.
const MARGIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
