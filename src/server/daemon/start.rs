//! Makes every part of the router, in the order in which one needs the other, and starts its life.
//!
//! Everything that can fail happens here, before readiness is told.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_tokio::Signals;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin_socket::AdminSocket;
use super::certificates::Certificates;
use super::exit::ExitError;
use super::keepers;
use super::life::{Idleness, Life};
use super::listeners::Plan;
use super::reload::Reload;
use super::settings::Source;
use super::signals;
use super::story::Story;
use crate::admin;
use crate::config::Config;
use crate::handover::{HandoverPhase, INHERITED, InheritedState, ListenerHandle, ListenerKind, Phases};
use crate::http;
use crate::log;
use crate::net;
use crate::server::{Server, StartError};
use crate::systemd::Notify;

/// What a start needs.
#[derive(Debug)]
pub(super) struct Ingredients {
    /// The configuration as it was read.
    pub(super) config: Config,
    /// Where to read it again.
    pub(super) source: Source,
    /// Where to listen.
    pub(super) plan: Plan,
    /// What the old process left.
    pub(super) inherited_state: InheritedState,
    /// The log's level.
    pub(super) log: log::Control,
    /// How long to stay without work where the configuration doesn't say.
    pub(super) idle: Option<Duration>,
    /// Whether the configuration is the old process's, because the file has a mistake.
    pub(super) config_is_stale: bool,
}

/// Starts the router and lives until its end.
pub(super) fn start(ingredients: Ingredients) -> Result<(), ExitError> {
    raise_descriptor_limit();
    signals::block().map_err(|error| ExitError::system("signals", &error))?;
    let runtime = runtime().map_err(|error| ExitError::system("threads of the front", &error))?;
    let result = runtime.block_on(async { assemble(ingredients)?.live().await });
    // Whatever still reads a file needn't be waited for.
    runtime.shutdown_background();
    result
}

fn assemble(ingredients: Ingredients) -> Result<Life, ExitError> {
    let Ingredients { config, source, plan, mut inherited_state, log, idle, config_is_stale } = ingredients;
    let signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(|error| ExitError::system("signals", &error))?;
    let mut certificates = Certificates::default();
    let (mut kept, mut addresses, mut socket_files) = (Vec::new(), BTreeSet::new(), Vec::new());
    for public in plan.public {
        let key = public.key();
        let mut listener = public.open(&mut certificates, &mut inherited_state)?;
        socket_files.extend(listener.take_file());
        let descriptor = listener.descriptor().map_err(|error| ExitError::system("listener", &error))?;
        tracing::info!(listener = listener.address(), tls = listener.certificates().is_some(), "listening");
        addresses.insert(listener.address());
        let (tls, proxy_protocol) = (listener.certificates().cloned(), listener.proxy_protocol());
        kept.push(ListenerHandle { key, descriptor, kind: ListenerKind::Devices { tls, proxy_protocol } });
    }
    for metrics in plan.metrics {
        let key = metrics.key();
        let mut listener = metrics.open(&mut certificates, &mut inherited_state)?;
        socket_files.extend(listener.take_file());
        let descriptor = listener.descriptor().map_err(|error| ExitError::system("listener", &error))?;
        tracing::info!(listener = listener.address(), "monitoring is answered");
        kept.push(ListenerHandle { key, descriptor, kind: ListenerKind::Metrics });
    }
    for AdminSocket { key, listener, file } in admin_sockets(plan.admin, &config, &mut inherited_state)? {
        let place = file.as_ref().map_or("inherited".into(), |file| file.path().display().to_string());
        tracing::info!(listener = place, "administrators are served");
        socket_files.extend(file);
        kept.push(ListenerHandle { key, descriptor: listener.into(), kind: ListenerKind::Admin });
    }
    let (phases, is_restart) = (Phases::default(), inherited_state.exists());
    if is_restart {
        phases.enter(HandoverPhase::Importing);
    }
    let server = start_server(config, inherited_state)?;
    server.metrics().config_stale.set(config_is_stale.into());
    // The next caller would have a daemon whose sockets the service manager holds started again, and in service.
    if kept.iter().any(|kept| matches!(kept.kind, ListenerKind::Devices { .. }) && kept.key.starts_with(INHERITED)) {
        server.stay_when_drained();
    }
    let (life, commands) = mpsc::channel(COMMANDS);
    let mut life = Life {
        story: Story::begin(server.events()),
        context: admin::Context {
            server: Arc::clone(&server),
            certificates: certificates.in_use(),
            listeners: addresses.iter().cloned().collect(),
            drain: server.watch_drain(),
            handover: phases.subscribe(),
            life,
        },
        reload: Reload { source, log, certificates, server: Arc::clone(&server) },
        server,
        notify: Notify::default(),
        signals,
        commands,
        idleness: Idleness::new(idle),
        addresses: addresses.into_iter().collect::<Vec<_>>().join(", "),
        listeners: kept,
        socket_files,
        phases,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        admin_tasks: TaskTracker::new(),
        admin_stop: CancellationToken::new(),
    };
    open(&mut life)?;
    if is_restart {
        life.phases.enter(HandoverPhase::Serving);
    }
    // All other threads were started with the signals held back, so this one gets them.
    signals::receive();
    Ok(life)
}

/// Accepts on all listening sockets, and has done what is to be done again and again.
pub(super) fn open(life: &mut Life) -> Result<(), ExitError> {
    for kept in &life.listeners {
        let descriptor = kept.descriptor.try_clone().map_err(|error| ExitError::system("listener", &error))?;
        match &kept.kind {
            ListenerKind::Devices { tls, proxy_protocol } => {
                let listener = net::Listener::inherited(descriptor, &kept.key, tls.clone());
                let listener = listener.map_err(ExitError::configuration)?;
                let listener = listener.with_proxy_protocol(*proxy_protocol);
                let (server, tasks) = (Arc::clone(&life.server), life.tasks.clone());
                life.tasks.spawn(http::serve(server, listener, tasks, life.stop.clone()));
            }
            ListenerKind::Admin => serve_admin(UnixListener::from(descriptor), life)?,
            ListenerKind::Metrics => {
                let listener =
                    net::Listener::inherited(descriptor, &kept.key, None).map_err(ExitError::configuration)?;
                life.tasks.spawn(admin::serve_metrics(listener, life.context.clone(), life.stop.clone()));
            }
        }
    }
    let server = || Arc::clone(&life.server);
    life.tasks.spawn(keepers::sweep(server(), life.stop.clone()));
    life.tasks.spawn(keepers::tidy(server(), life.stop.clone()));
    life.tasks.spawn(keepers::watchdog(server(), life.stop.clone()));
    Ok(())
}

/// Starts the router with what the old process handed over.
fn start_server(config: Config, inherited: InheritedState) -> Result<Arc<Server>, ExitError> {
    inherited.restore(|inherited| Server::start(config, inherited)).map_err(|error| match error {
        StartError::Randomness(error) => ExitError::system("random numbers", &error),
        StartError::Threads(error) => ExitError::system("relay threads", &error),
        StartError::Access(problems) => problems.into(),
    })
}

fn admin_sockets(
    inherited: Vec<OwnedFd>,
    config: &Config,
    inherited_state: &mut InheritedState,
) -> Result<Vec<AdminSocket>, ExitError> {
    if !inherited.is_empty() {
        return inherited.into_iter().map(AdminSocket::inherited).collect();
    }
    Ok(AdminSocket::bind(&config.admin, inherited_state)?.into_iter().collect())
}

fn serve_admin(listener: UnixListener, life: &Life) -> Result<(), ExitError> {
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixListener::from_std(listener))
        .map_err(|error| ExitError::system("admin socket", &error))?;
    life.admin_tasks.spawn(admin::serve(listener, life.context.clone(), life.admin_stop.clone()));
    Ok(())
}

/// Takes as many descriptors as the administrator allows at most: a member is one.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(limit) => tracing::debug!(limit, "descriptors"),
        Err(error) => tracing::warn!(%error, "the limit of open descriptors stays as it is"),
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().thread_name("front").enable_all().build()
}

/// Requests of administrators that may wait for the life cycle: each connection has one at most, and they are few.
const COMMANDS: usize = 16;
