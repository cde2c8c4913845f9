//! The life cycle: ready, reloading, stopping; what signals and administrators ask of the daemon as a whole.
//!
//! One task, so that a reload and a stop never run side by side. It has the main thread for itself, and may therefore
//! read files without holding anybody up. Stopping tells every member (1001) and gives them
//! `websocket.close-timeout` to answer; requests in progress are finished meanwhile. A second TERM doesn't wait.

use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR2};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ws_router_admin_api::DrainPhase;
use ws_router_core::close::CloseReason;

use super::exit::ExitError;
use super::reload::Reload;
use super::restart;
use super::story::Story;
use crate::admin::{self, Command, ReloadReport};
use crate::handover::{ListenerHandle, Phases};
use crate::http;
use crate::server::{DRAIN_INTERVAL, Server};
use crate::systemd::Notify;

/// A router that is assembled and accepts.
pub(super) struct Life {
    /// The router.
    pub(super) server: Arc<Server>,
    /// Serves administrators.
    pub(super) context: admin::Context,
    /// Reads the configuration again.
    pub(super) reload: Reload,
    /// Tells the service manager.
    pub(super) notify: Notify,
    /// Tells whoever reads the log.
    pub(super) story: Story,
    /// Tells us.
    pub(super) signals: Signals,
    /// What administrators ask for.
    pub(super) commands: mpsc::Receiver<Command>,
    /// When nobody needs us any more.
    pub(super) idleness: Idleness,
    /// Where devices find us.
    pub(super) addresses: String,
    /// All listening sockets.
    pub(super) listeners: Vec<ListenerHandle>,
    /// Files to be removed at the end.
    pub(super) socket_files: Vec<crate::net::SocketFile>,
    /// Everything that runs on the front.
    pub(super) tasks: TaskTracker,
    /// Ends it.
    pub(super) stop: CancellationToken,
    /// Connections of administrators, which a restart ends last.
    pub(super) admin_tasks: TaskTracker,
    /// Ends them.
    pub(super) admin_stop: CancellationToken,
    /// Phase of a restart.
    pub(super) phases: Phases,
}

impl Life {
    /// Lives from readiness to the end.
    pub(super) async fn live(mut self) -> Result<(), ExitError> {
        self.notify.ready(self.status());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "ready");
        let reason = self.serve().await;
        if reason == TERMINATED {
            restart::through_store(&mut self).await;
        }
        self.stop(reason).await;
        Ok(())
    }

    /// Does what is asked until there is a reason to stop.
    async fn serve(&mut self) -> &'static str {
        // Both are as of now, so they are due after their time for the first time.
        let now = tokio::time::Instant::now();
        let mut status = interval_at(now + STATUS, STATUS);
        let mut certificates = interval_at(now + CERTIFICATES, CERTIFICATES);
        let mut drain = interval_at(now, DRAIN_INTERVAL);
        for ticks in [&mut status, &mut certificates, &mut drain] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                Some(signal) = self.signals.next() => match signal {
                    SIGHUP => drop(self.reload()),
                    SIGUSR2 => restart::in_place(self).await,
                    SIGTERM => return TERMINATED,
                    _ => return "interrupted",
                },
                Some(command) = self.commands.recv() => self.obey(command).await,
                _ = status.tick() => {
                    self.notify.status(self.status());
                    if self.is_idle() {
                        return "idle";
                    }
                }
                _ = certificates.tick() => self.reload.refresh_certificates(),
                _ = drain.tick(), if self.server.drain_phase() == DrainPhase::Draining => {
                    if self.server.advance_drain() {
                        return "drained";
                    }
                }
            }
        }
    }

    /// Answers an administrator; who went away meanwhile needs no answer.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reload(reply) => drop(reply.send(self.reload())),
            Command::Upgrade(reply) => match restart::try_out(self).await {
                Ok(program) => {
                    drop(reply.send(Ok(())));
                    restart::become_program(self, &program).await;
                }
                Err(error) => drop(reply.send(Err(error.to_string()))),
            },
            Command::Drain(over, reply) => drop(reply.send(self.server.drain(over))),
            Command::Undrain(reply) => drop(reply.send(self.server.undo_drain())),
            Command::Adopt(descriptor, reply) => drop(reply.send(self.adopt(descriptor))),
        }
    }

    fn reload(&mut self) -> Result<ReloadReport, String> {
        self.notify.reloading();
        let result = self.reload.run();
        self.notify.ready(self.status());
        result.map_err(|problems| problems.to_string())
    }

    fn adopt(&self, descriptor: OwnedFd) -> Result<(), String> {
        let connection = self.server.connection_gate().adopt(descriptor).map_err(|error| error.to_string())?;
        let (server, stop) = (Arc::clone(&self.server), self.stop.clone());
        self.tasks.spawn(async move { http::serve_connection(&server, connection, stop).await });
        Ok(())
    }

    async fn stop(mut self, reason: &'static str) {
        let patience = self.server.config().websocket.close_timeout;
        tracing::info!(reason, "stopping");
        let closed = self.server.shutdown(CloseReason::Stopping, patience);
        self.notify.stopping(patience + MARGIN);
        for (stop, tasks) in [(&self.stop, &self.tasks), (&self.admin_stop, &self.admin_tasks)] {
            stop.cancel();
            tasks.close();
        }
        self.socket_files.clear();
        // Who asked for something that can't be done any more is told so by the end of the channel.
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        let peaceful = async {
            let requests = async { tokio::join!(self.tasks.wait(), self.admin_tasks.wait()) };
            let ((), front) = tokio::join!(closed, timeout(patience, requests));
            if front.is_err() {
                tracing::warn!("some requests were not finished in time");
            }
            self.story.catch_up().await;
        };
        tokio::select! {
            over = timeout(patience + MARGIN, peaceful) => match over {
                Ok(()) => tracing::info!("stopped"),
                Err(_) => tracing::warn!("stopped, though not all members were heard of"),
            },
            () = again(&mut self.signals) => {
                tracing::warn!("told again to stop, so without waiting for anybody");
                process::exit(0);
            }
        }
    }

    fn is_idle(&mut self) -> bool {
        // One that stays out of service would be in it when the next caller has it started again.
        let is_wanted = self.server.drain_phase() != DrainPhase::Serving;
        let busy = is_wanted || self.server.metrics().connections.value() > 0 || self.server.registrations() > 0;
        let wanted = self.server.config().service.exit_when_idle;
        self.idleness.is_over(busy, wanted, Instant::now())
    }

    fn status(&self) -> String {
        let registrations = self.server.registrations();
        let members = self.server.member_count();
        let (ending, plural) = (if registrations == 1 { "" } else { "s" }, if members == 1 { "" } else { "s" });
        let state = match self.server.drain_phase() {
            DrainPhase::Serving => "",
            DrainPhase::Draining => "draining, ",
            DrainPhase::Drained => "drained, ",
        };
        let stale = if self.server.metrics().config_stale.value() > 0 { STALE } else { "" };
        format!(
            "{stale}{state}{registrations} registration{ending}, {members} member{plural}; listening on {}",
            self.addresses
        )
    }
}

/// Waits for another signal to stop.
async fn again(signals: &mut Signals) {
    while let Some(signal) = signals.next().await {
        if signal != SIGHUP && signal != SIGUSR2 {
            return;
        }
    }
    std::future::pending().await
}

/// How long there has been nothing to do.
#[derive(Debug)]
pub(super) struct Idleness {
    otherwise: Option<Duration>,
    since: Option<Instant>,
}

impl Idleness {
    /// Starts to watch; `otherwise` is the patience where the configuration has none.
    pub(super) fn new(otherwise: Option<Duration>) -> Self {
        Self { otherwise, since: None }
    }

    /// Tells whether there has been nothing to do for as long as `wanted`; zero is for ever.
    fn is_over(&mut self, busy: bool, wanted: Duration, now: Instant) -> bool {
        let patience = Some(wanted).filter(|wanted| !wanted.is_zero()).or(self.otherwise);
        if busy {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        patience.is_some_and(|patience| !busy && now.duration_since(since) >= patience)
    }
}

/// Begins the line of status while the settings from before a restart are in force.
const STALE: &str = "configuration not in force, see the log; ";

/// The reason for a stop that may be the first half of a restart.
const TERMINATED: &str = "terminated";

/// How often the line of status is looked at; also how exact `service.exit-when-idle` is.
const STATUS: Duration = Duration::from_secs(1);

/// How often certificates' files are looked at: a renewal has days of time.
const CERTIFICATES: Duration = Duration::from_secs(3);

/// What a stop may take beyond the time that members have to answer.
const MARGIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
