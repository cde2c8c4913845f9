//! The daemon: assembles all parts, and leads them through starting, ready, reloading and stopping.
//!
//! [`run`] reads from top to bottom: take over what was inherited, read the configuration, make everything that can
//! fail (so that a start either succeeds as a whole or says why not), then live until a signal or an idle time ends
//! it. It promises an exit status of sysexits.h, one clear line for each problem, and that no task or thread dies
//! unnoticed: a panic anywhere ends the process, since half a router is worse than one that is started again.

mod admin_socket;
mod certificates;
mod exit;
mod inetd;
mod keepers;
mod life;
mod listeners;
mod reload;
mod restart;
mod room;
mod settings;
mod signals;
mod start;
mod story;

use std::process::ExitCode;
use std::time::Duration;

use exit::{ExitError, Status};
use inetd::Passed;
use settings::Source;
pub use signals::block_requests;
use start::Ingredients;
use ws_router_admin_api::cli::Router;

use crate::config;
use crate::handover::{InheritedState, exec};
use crate::log::{self, Place};
use crate::sys;
use crate::systemd;

/// Runs the daemon to its end; to be called before the process has threads.
pub fn run(arguments: Router) -> ExitCode {
    match run_inner(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            fault.report();
            fault.code()
        }
    }
}

fn run_inner(arguments: Router) -> Result<(), ExitError> {
    exec::set_process_name();
    sys::map_large_buffers().map_err(|error| ExitError::new(Status::Software, error))?;
    let mut inherited = systemd::inherited().map_err(ExitError::configuration)?;
    let source = Source::new(arguments.config);
    if arguments.check {
        source.check()?;
        return exec::answer_trial(inherited).map_err(ExitError::configuration);
    }
    if arguments.print_config {
        return source.show();
    }
    let inherited_state = InheritedState::take(&mut inherited);
    // What the old process got from inetd comes from it, and descriptor 0 is nothing any more.
    let is_first = !inherited_state.exists();
    let passed = if arguments.inetd && is_first { Some(inetd::take()?) } else { None };
    // Under inetd, standard error may be the peer's socket: whatever is said goes elsewhere, mistakes in the file too.
    let early_log = arguments.inetd.then(|| start_log(&config::Log::default(), Place::System)).transpose()?;
    let (config, problems) = match source.read() {
        Ok(config) => (config, None),
        // Members that were carried over don't pay for a mistake in the file.
        Err(problems) => match inherited_state.settings() {
            Some(config) => (config, Some(problems)),
            None => return Err(problems.into()),
        },
    };
    let log = early_log.map_or_else(|| start_log(&config.log, Place::StandardError), Ok)?;
    log.set_level(config.log.level);
    exit::exit_on_panic();
    for problem in problems.iter().flat_map(|problems| &problems.0) {
        tracing::error!(
            error = problem,
            "the configuration can't be used, the settings before the restart stay in force"
        );
    }
    let idle = arguments.inetd.then_some(INETD_IDLE);
    match passed {
        Some(Passed::Connection(connection)) => return inetd::hand_over(&connection, &config.admin),
        Some(Passed::Listener(listener)) => inherited.push(listener),
        None => {}
    }
    let plan = listeners::plan(inherited, &arguments.listen, &config)?;
    start::start(Ingredients { config, source, plan, inherited_state, log, idle, config_is_stale: problems.is_some() })
}

fn start_log(settings: &config::Log, place: Place) -> Result<log::Control, ExitError> {
    log::start(settings, place).map_err(|error| ExitError::new(Status::Software, error))
}

/// How long a daemon that inetd started stays without work, unless `service.exit-when-idle` says otherwise: inetd
/// starts it again with the next connection.
const INETD_IDLE: Duration = Duration::from_secs(60);
