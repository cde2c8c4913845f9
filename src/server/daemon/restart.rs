//! Restarts that carry connections over, as steps of the life cycle; [`crate::handover`] does each of them.

use std::io;
use std::process;

use futures_util::{FutureExt, StreamExt};
use nix::sys::signal::{Signal, raise};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::life::Life;
use super::signals;
use super::start;
use crate::handover::exec::{Program, TrialError};
use crate::handover::export;
use crate::handover::{HandoverBundle, HandoverPhase};
use crate::systemd::{self, Job};

/// Becomes the program that is on the disk now; returns only if that fails.
pub(super) async fn in_place(life: &mut Life) {
    match try_out(life).await {
        Ok(program) => become_program(life, &program).await,
        Err(error) => tracing::error!(%error, "the new program can't take over"),
    }
}

/// Opens the program that is on the disk now, and tries it out.
pub(super) async fn try_out(life: &Life) -> Result<Program, TrialError> {
    life.phases.enter(HandoverPhase::Trying);
    let tried = async {
        let program = Program::open()?;
        program.try_out(&export::rehearse(&life.server, &life.listeners).await).await?;
        Ok(program)
    };
    let tried = tried.await;
    if tried.is_err() {
        life.phases.enter(HandoverPhase::Serving);
    }
    tried
}

/// Becomes a program that was tried out; returns only if that fails.
pub(super) async fn become_program(life: &mut Life, program: &Program) {
    let path = program.path().display();
    tracing::info!(program = %path, "handing over to the new program");
    let error = match export(life).await {
        Ok(bundle) => match hold_signals(life) {
            Ok(()) => {
                life.phases.enter(HandoverPhase::Executing);
                program.execute(&bundle)
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    signals::receive();
    resume(life);
    tracing::error!(%error, program = %path, "the new program can't take over");
}

/// Puts everything into the service manager's store and ends the process, if this is a restart; returns otherwise, or if
/// that fails.
pub(super) async fn through_store(life: &mut Life) {
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
    tracing::info!("handing over to the next process");
    let close_timeout = life.server.config().websocket.close_timeout;
    life.notify.stopping(export::patience(close_timeout));
    let stored = match export(life).await {
        Ok(bundle) => {
            life.phases.enter(HandoverPhase::Storing);
            bundle.store().map(|()| bundle)
        }
        Err(error) => Err(error),
    };
    match stored {
        Ok(bundle) => {
            tracing::info!(members = bundle.members(), "handed over to the next process");
            // Without any destructor: connections stay open, files stay, and no relay thread moves again.
            process::exit(0);
        }
        Err(error) => tracing::error!(%error, "the hand-over failed, members are closed"),
    }
}

/// Stops accepting, closes members that can't move, and bundles up the rest.
async fn export(life: &mut Life) -> io::Result<HandoverBundle> {
    systemd::alive();
    life.phases.enter(HandoverPhase::FinishingRequests);
    life.stop.cancel();
    life.tasks.close();
    if timeout(export::REQUESTS, life.tasks.wait()).await.is_err() {
        tracing::warn!("some requests were not finished in time");
    }
    life.phases.enter(HandoverPhase::ReleasingMembers);
    life.server.release_immovable().await;
    life.admin_stop.cancel();
    life.admin_tasks.close();
    if timeout(export::REQUESTS, life.admin_tasks.wait()).await.is_err() {
        tracing::warn!("some requests of administrators were not finished in time");
    }
    life.phases.enter(HandoverPhase::Exporting);
    let frozen = life.server.snapshot().await;
    life.story.catch_up().await;
    HandoverBundle::seal(frozen, &life.listeners)
}

/// Leaves the signals that come from now on to the new program; fails if one to stop has come already.
fn hold_signals(life: &mut Life) -> io::Result<()> {
    signals::block()?;
    while let Some(Some(signal)) = life.signals.next().now_or_never() {
        // The new program reads the configuration anyway, and another replacement would change nothing.
        if signal == SIGTERM || signal == SIGINT {
            raise(Signal::try_from(signal)?)?;
            return Err(io::Error::other("told to stop meanwhile"));
        }
    }
    Ok(())
}

/// Goes on as if nothing had happened.
fn resume(life: &mut Life) {
    life.phases.enter(HandoverPhase::Resuming);
    life.server.cancel_release();
    (life.stop, life.admin_stop) = (CancellationToken::new(), CancellationToken::new());
    life.tasks.reopen();
    life.admin_tasks.reopen();
    if let Err(fault) = start::open(life) {
        // Members are still served; new ones can't come, and the administrator has to know.
        tracing::error!(error = ?fault, "a listener can't be opened again");
    }
    life.phases.enter(HandoverPhase::Serving);
}
