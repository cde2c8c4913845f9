//! Start of the daemon: [`run`] reads from top to bottom.
//!
//! Inherited descriptors are taken, the configuration is read, and everything that can fail is created before readiness is
//! reported, so that a start either succeeds completely or fails with a reason. Then the life cycle runs until a signal, a
//! drain or an idle timeout ends it. The exit status is one of sysexits.h.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_tokio::Signals;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use ws_router_admin_api::ListenAddress;
use ws_router_admin_api::cli::Router;
use ws_router_admin_api::finding::{Finding, Severity};

use crate::admin;
use crate::certificate_store::CertificateStore;
use crate::check;
use crate::config::{self, Config, Source};
use crate::diagnostics::{self, Capacity, Listening};
use crate::event_log::EventLogger;
use crate::exit::{self, ExitError, Status};
use crate::files::Accept;
use crate::front::Front;
use crate::handover::{HandoverPhase, INHERITED, InheritedState, ListenerHandle, ListenerKind, Phases, exec};
use crate::inetd::{self, PassedSocket};
use crate::lifecycle::{IdleTimer, Lifecycle, Reload};
use crate::listeners::{self, AdminSocket, ListenPlan};
use crate::log::messages;
use crate::log::{self, LogTarget};
use crate::net::{Certificates, SocketFile};
use crate::reload::Reloader;
use crate::restart::Restart;
use crate::server::{Server, StartError};
use crate::signals;
use crate::sys;
use crate::systemd::{self, Notify};

/// Runs the daemon until its end. Call it before the process has other threads.
pub fn run(arguments: Router) -> ExitCode {
    let status = match run_inner(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            error.code()
        }
    };
    log::flush();
    status
}

fn run_inner(arguments: Router) -> Result<(), ExitError> {
    // This precedes the reading of secrets. It is repeated at each start, since execve(2) resets it.
    sys::set_debuggable(false);
    exec::set_process_name();
    sys::map_large_buffers().map_err(|error| ExitError::new(Status::Software, error))?;
    let mut inherited = systemd::inherited().map_err(ExitError::configuration)?;
    let source = Source::new(arguments.config);
    if arguments.check {
        check::check(&source, &check::Options { user: arguments.check_as, json: arguments.json })?;
        return exec::answer_trial(inherited).map_err(ExitError::configuration);
    }
    if arguments.print_config {
        return check::print_config(&source);
    }
    let inherited_state = InheritedState::take(&mut inherited);
    // After a restart, inetd's socket comes from the old process, and descriptor 0 is `/dev/null`.
    let is_restart = inherited_state.exists();
    let passed = if arguments.inetd && !is_restart { Some(inetd::take_socket()?) } else { None };
    // Under inetd, standard error may be the peer's socket, so even problems of the configuration must go elsewhere.
    let early_log = arguments.inetd.then(|| start_log(&config::Log::default(), LogTarget::System)).transpose()?;
    let read = source.read(Accept::Any).and_then(|config| match inherited_state.config() {
        Some(before) => check::keep_access_closed(&source, &before, config),
        None => Ok(config),
    });
    let (config, problems) = match read {
        Ok(config) => (config, None),
        // Members that were handed over must not lose their connections to a mistake in the file.
        Err(problems) => match inherited_state.settings() {
            Some(config) => (config, Some(problems)),
            None => return Err(problems.into()),
        },
    };
    let log = early_log.map_or_else(|| start_log(&config.log, LogTarget::StandardError), Ok)?;
    log.set_level(config.log.level);
    sys::set_debuggable(config.service.debuggable);
    exit::exit_on_panic();
    for problem in problems.iter().flat_map(|problems| &problems.0) {
        tracing::error!(
            message_id = messages::CONFIGURATION_STALE,
            error = problem,
            "configuration can't be used; the settings from before the restart remain in use"
        );
    }
    let idle_timeout = arguments.inetd.then_some(INETD_IDLE);
    match passed {
        Some(PassedSocket::Connection(connection)) => return inetd::hand_over(&connection, &config.admin),
        Some(PassedSocket::Listener(listener)) => inherited.push(listener),
        None => {}
    }
    let plan = listeners::plan(inherited, &arguments.listen, &config)?;
    let config_is_stale = problems.is_some();
    Startup { config, source, plan, inherited_state, log, idle_timeout, config_is_stale }.run()
}

fn start_log(settings: &config::Log, target: LogTarget) -> Result<log::Control, ExitError> {
    log::start(settings, target).map_err(|error| ExitError::new(Status::Software, error))
}

/// Inputs of a start.
#[derive(Debug)]
struct Startup {
    /// The configuration as it was read.
    config: Config,
    /// Origin of the configuration, for reloads.
    source: Source,
    /// Sockets to listen on.
    plan: ListenPlan,
    /// State of the old process.
    inherited_state: InheritedState,
    /// The log's level.
    log: log::Control,
    /// Idle timeout where the configuration sets none.
    idle_timeout: Option<Duration>,
    /// Whether the configuration is that of the old process, because the file has a mistake.
    config_is_stale: bool,
}

/// Sockets that were opened.
#[derive(Debug, Default)]
struct OpenSockets {
    listeners: Vec<ListenerHandle>,
    /// Addresses for devices.
    addresses: BTreeSet<String>,
    /// The same for the diagnostics.
    listening: Vec<Listening>,
    files: Vec<SocketFile>,
}

impl Startup {
    /// Starts the router, and runs its life cycle.
    fn run(self) -> Result<(), ExitError> {
        raise_descriptor_limit();
        signals::block().map_err(|error| ExitError::system("signals", &error))?;
        let runtime = runtime().map_err(|error| ExitError::system("threads of the frontend", &error))?;
        let result = runtime.block_on(async { self.assemble()?.run().await });
        // A task that still reads a file isn't waited for.
        runtime.shutdown_background();
        result
    }

    fn assemble(self) -> Result<Lifecycle, ExitError> {
        let Self { config, source, plan, mut inherited_state, log, idle_timeout, config_is_stale } = self;
        let signals =
            Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(|error| ExitError::system("signals", &error))?;
        let mut certificates = CertificateStore::default();
        let sockets = OpenSockets::open(plan, &config, &mut certificates, &mut inherited_state)?;
        let (phases, is_restart) = (Phases::default(), inherited_state.exists());
        if is_restart {
            phases.enter(HandoverPhase::Importing);
        }
        let server = start_server(config, inherited_state)?;
        log_findings(&server, &sockets.listening, &certificates.in_use());
        server.metrics().config_stale.set(config_is_stale.into());
        // The next connection to a socket of the service manager would start an exited daemon again.
        if sockets.has_inherited() {
            server.stay_when_drained();
        }
        let (lifecycle, commands) = mpsc::channel(COMMANDS);
        let context = admin::Context {
            server: Arc::clone(&server),
            certificates: certificates.in_use(),
            listeners: sockets.addresses.iter().cloned().collect(),
            listening: sockets.listening,
            drain: server.watch_drain(),
            handover: phases.subscribe(),
            lifecycle,
        };
        // Before the front opens, so that no event is missed.
        let event_logger = EventLogger::start(server.events());
        let front = Front::new(Arc::clone(&server), context, sockets.listeners);
        front.open()?;
        if is_restart {
            phases.enter(HandoverPhase::Serving);
        }
        // All other threads were started with the signals blocked, so this one receives them.
        signals::unblock();
        Ok(Lifecycle {
            reloader: Reloader { source, log, certificates, server: Arc::clone(&server), stuck: None },
            reload: Reload::default(),
            restart: Restart { server, front, phases, notify: Notify::default(), event_logger, signals },
            commands,
            idle_timer: IdleTimer::new(idle_timeout),
            addresses: sockets.addresses.into_iter().collect::<Vec<_>>().join(", "),
            socket_files: sockets.files,
        })
    }
}

impl OpenSockets {
    fn open(
        plan: ListenPlan,
        config: &Config,
        certificates: &mut CertificateStore,
        inherited_state: &mut InheritedState,
    ) -> Result<Self, ExitError> {
        let mut sockets = Self::default();
        for planned in plan.devices {
            let key = planned.key();
            let mut listener = planned.open(certificates, inherited_state)?;
            tracing::info!(
                message_id = messages::LISTENING,
                listener = listener.address(),
                tls = listener.certificates().is_some(),
                "listening"
            );
            sockets.files.extend(listener.take_file());
            sockets.addresses.insert(listener.address());
            let address = listener.address().parse().unwrap_or(ListenAddress::Inherited(key.clone()));
            sockets.listening.push(Listening { address, is_encrypted: listener.certificates().is_some() });
            let descriptor = listener.descriptor().map_err(|error| ExitError::system("listener", &error))?;
            let (tls, proxy_protocol) = (listener.certificates().cloned(), listener.proxy_protocol());
            let kind = ListenerKind::Devices { tls, proxy_protocol };
            sockets.listeners.push(ListenerHandle { key, descriptor, kind });
        }
        for planned in plan.metrics {
            let key = planned.key();
            let mut listener = planned.open(certificates, inherited_state)?;
            tracing::info!(message_id = messages::SERVING_METRICS, listener = listener.address(), "serving metrics");
            sockets.files.extend(listener.take_file());
            let descriptor = listener.descriptor().map_err(|error| ExitError::system("listener", &error))?;
            sockets.listeners.push(ListenerHandle { key, descriptor, kind: ListenerKind::Metrics });
        }
        let mut admin = AdminSocket::open(plan.admin, &config.admin, inherited_state)?;
        admin.extend(AdminSocket::open_read_only(plan.admin_read_only, &config.admin, inherited_state)?);
        for AdminSocket { key, listener, file, is_read_only } in admin {
            let address = file.as_ref().map_or("inherited".into(), |file| file.path().display().to_string());
            tracing::info!(
                message_id = messages::SERVING_ADMINISTRATORS,
                listener = address,
                is_read_only,
                "serving administrators"
            );
            sockets.files.extend(file);
            sockets.listeners.push(ListenerHandle {
                key,
                descriptor: listener.into(),
                kind: ListenerKind::Admin { is_read_only },
            });
        }
        Ok(sockets)
    }

    /// Returns whether the service manager holds a socket for devices.
    fn has_inherited(&self) -> bool {
        let mut devices = self.listeners.iter().filter(|one| matches!(one.kind, ListenerKind::Devices { .. }));
        devices.any(|one| one.key.starts_with(INHERITED))
    }
}

/// Logs what should be changed about the configuration, its files and the limits.
fn log_findings(server: &Server, listening: &[Listening], certificates: &[Arc<Certificates>]) {
    for Finding { severity, area, text, fix } in
        diagnostics::of_configuration(&server.config(), listening, certificates, Capacity::of_process(), None)
    {
        let (area, finding) = (area.label(), text);
        match severity {
            Severity::Notice => {
                tracing::info!(message_id = messages::FINDING, area, finding, fix, "setting to be aware of");
            }
            Severity::Error | Severity::Warning => {
                tracing::warn!(message_id = messages::FINDING, area, finding, fix, "setting that should be changed");
            }
        }
    }
}

/// Starts the router with the state that the old process handed over.
fn start_server(config: Config, inherited: InheritedState) -> Result<Arc<Server>, ExitError> {
    inherited.restore(|inherited| Server::start(config, inherited)).map_err(|error| match error {
        StartError::Randomness(error) => ExitError::system("random numbers", &error),
        StartError::Threads(error) => ExitError::system("relay threads", &error),
        StartError::Access(problems) => problems.into(),
    })
}

/// Raises the limit of open descriptors to the hard limit, since each member needs one.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "descriptor limit raised"),
        Err(error) => tracing::warn!(%error, "descriptor limit can't be raised"),
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("front").enable_all().build()
}

/// Maximum number of administrators' commands that wait for the life cycle: each admin connection has at most one.
const COMMANDS: usize = 16;

/// Idle timeout of a daemon that inetd started, unless `service.exit-when-idle` is set: inetd starts it again with the
/// next connection.
const INETD_IDLE: Duration = Duration::from_secs(60);
