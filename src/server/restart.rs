//! The steps of restarts that hand over connections; [`crate::handover`] implements each step.

use std::io;
use std::process;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use nix::sys::signal::{Signal, raise};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;

use crate::event_log::EventLogger;
use crate::front::Front;
use crate::handover::exec::{Program, TrialError};
use crate::handover::{HandoverBundle, HandoverPhase, Phases, export};
use crate::log::{self, messages};
use crate::server::{Server, WatchEnd};
use crate::signals;
use crate::systemd::{self, Job, Notify};

/// The parts of the daemon that a restart stops, and starts again if it fails.
pub struct Restart {
    /// The router.
    pub server: Arc<Server>,
    /// Tasks that accept and answer connections.
    pub front: Front,
    /// Phase of the restart.
    pub phases: Phases,
    /// Notifications to the service manager.
    pub notify: Notify,
    /// Log of registrations and members.
    pub event_logger: EventLogger,
    /// Incoming process signals.
    pub signals: Signals,
}

/// Executes the program that is on the disk now. Returns only on failure.
pub async fn in_place(parts: &mut Restart) {
    match try_out(parts).await {
        Ok(program) => become_program(parts, &program).await,
        Err(error) => {
            tracing::error!(message_id = messages::EXECUTION_FAILED, %error, "the new program can't take over")
        }
    }
}

/// Opens the program that is on the disk now, and tries it out.
pub async fn try_out(parts: &Restart) -> Result<Program, TrialError> {
    parts.phases.enter(HandoverPhase::Trying);
    let tried = async {
        let program = Program::open()?;
        program.try_out(&export::trial_snapshot(&parts.server, parts.front.listeners()).await).await?;
        Ok(program)
    };
    let tried = tried.await;
    if tried.is_err() {
        parts.phases.enter(HandoverPhase::Serving);
    }
    tried
}

/// Executes a program that was tried out. Returns only on failure.
pub async fn become_program(parts: &mut Restart, program: &Program) {
    let path = program.path().display();
    tracing::info!(message_id = messages::EXECUTING, program = %path, "handing over to the new program");
    let error = match export(parts).await {
        Ok(bundle) => match hold_signals(&mut parts.signals) {
            Ok(()) => {
                parts.phases.enter(HandoverPhase::Executing);
                program.execute(&bundle)
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    signals::unblock();
    resume(parts);
    tracing::error!(message_id = messages::EXECUTION_FAILED, %error, program = %path, "the new program can't take over");
}

/// If this stop is part of a restart, hands over to the next process through the service manager's store and exits.
/// Returns if it isn't, and on failure.
pub async fn through_store(parts: &mut Restart) {
    if !systemd::is_managed() {
        return;
    }
    match systemd::job().await {
        Some(Job::Stop) => return,
        Some(Job::Restart) => {}
        None if systemd::is_systemd() => {
            tracing::warn!(
                message_id = messages::RESTART_UNKNOWN,
                "unknown whether this is a stop or a restart; members are handed over"
            );
        }
        None => return,
    }
    tracing::info!(message_id = messages::HANDING_OVER, "handing over to the next process");
    let close_timeout = parts.server.config().websocket.close_timeout;
    parts.notify.stopping(export::max_duration(close_timeout));
    let stored = match export(parts).await {
        Ok(bundle) => {
            parts.phases.enter(HandoverPhase::Storing);
            bundle.store().map(|()| bundle)
        }
        Err(error) => Err(error),
    };
    match stored {
        Ok(bundle) => {
            tracing::info!(
                message_id = messages::HANDED_OVER,
                members = bundle.members(),
                "handed over to the next process"
            );
            // No destructor runs: connections remain open, socket files remain, and no relay thread runs again.
            log::flush();
            process::exit(0);
        }
        Err(error) => {
            tracing::error!(message_id = messages::HANDOVER_FAILED, %error, "hand-over failed; members are closed")
        }
    }
}

/// Stops accepting, closes members that can't be handed over, and bundles the others.
async fn export(parts: &mut Restart) -> io::Result<HandoverBundle> {
    systemd::alive();
    parts.phases.enter(HandoverPhase::FinishingRequests);
    parts.server.interrupt_watches(WatchEnd::Restart);
    if parts.front.close(export::REQUESTS_TIME).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
    parts.phases.enter(HandoverPhase::ReleasingMembers);
    parts.server.release_immovable().await;
    if parts.front.close_admin(export::REQUESTS_TIME).await.is_err() {
        tracing::warn!("some requests of administrators were not finished in time");
    }
    parts.phases.enter(HandoverPhase::Exporting);
    let frozen = parts.server.snapshot().await;
    parts.event_logger.flush().await;
    HandoverBundle::seal(frozen, parts.front.listeners())
}

/// Blocks signals, so that later ones reach the new program; fails if a signal to stop has arrived already.
fn hold_signals(signals: &mut Signals) -> io::Result<()> {
    signals::block()?;
    while let Some(Some(signal)) = signals.next().now_or_never() {
        // The new program reads the configuration anyway, and a second restart would have no effect.
        if signal == SIGTERM || signal == SIGINT {
            raise(Signal::try_from(signal)?)?;
            return Err(io::Error::other("a signal to stop arrived"));
        }
    }
    Ok(())
}

/// Continues to serve after a hand-over that failed.
fn resume(parts: &mut Restart) {
    parts.phases.enter(HandoverPhase::Resuming);
    parts.server.cancel_release();
    if let Err(error) = parts.front.reopen() {
        // Members are still served, but new ones can't connect.
        tracing::error!(message_id = messages::LISTENER_LOST, %error, "a listener can't be opened again");
    }
    parts.phases.enter(HandoverPhase::Serving);
}
