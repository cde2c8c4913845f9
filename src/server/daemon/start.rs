//! Makes every part of the router, in the order in which one needs the other, and starts its life.
//!
//! Everything that can fail happens here, before readiness is told.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook_tokio::Signals;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ws_router_core::secret::KeyHasher;

use super::admin_socket::AdminSocket;
use super::certificates::Certificates;
use super::drain::Drain;
use super::exit::ExitError;
use super::keepers;
use super::life::{Idleness, Life};
use super::listeners::Plan;
use super::reload::{self, Reload};
use super::room;
use super::settings::Source;
use super::signals;
use super::story::Story;
use crate::access::Access;
use crate::admin;
use crate::config::Config;
use crate::directory::Directory;
use crate::events::Events;
use crate::handover::{HandoverPhase, INHERITED, InheritedState, ListenerHandle, ListenerKind, Phases};
use crate::http;
use crate::log;
use crate::metrics::Front;
use crate::net;
use crate::net::Clients;
use crate::relay::Relay;
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
    let Ingredients { config, source, plan, mut inherited_state, log, idle } = ingredients;
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
    let core = Core::start(config, &inherited_state)?;
    let (drained, phases) = (inherited_state.drain(), Phases::default());
    let is_restart = inherited_state.exists();
    if is_restart {
        phases.enter(HandoverPhase::Importing);
    }
    inherited_state.restore_members(&core.directory, &core.relay, &core.door());
    let (life, commands) = mpsc::channel(COMMANDS);
    let (mut drain, story) = (core.drain(&kept), Story::begin(&core.events));
    if let Some(state) = drained {
        drain.resume(state, Instant::now());
    }
    let mut life = Life {
        service: core.service(Arc::clone(&drain.flag)),
        context: core.context(addresses.iter().cloned().collect(), &certificates, &drain, &phases, life),
        drain,
        reload: core.reload(source, log, certificates),
        notify: Notify::default(),
        story,
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
                accept(listener.with_proxy_protocol(*proxy_protocol), life);
            }
            ListenerKind::Admin => serve_admin(UnixListener::from(descriptor), life)?,
            ListenerKind::Metrics => {
                let listener =
                    net::Listener::inherited(descriptor, &kept.key, None).map_err(ExitError::configuration)?;
                life.tasks.spawn(admin::serve_metrics(listener, life.context.clone(), life.stop.clone()));
            }
        }
    }
    let (directory, relay) = (Arc::clone(&life.service.directory), life.service.relay.clone());
    let front = || Arc::clone(&life.service.front);
    life.tasks.spawn(keepers::sweep(directory, front(), life.stop.clone()));
    life.tasks.spawn(keepers::tidy(front(), life.stop.clone()));
    life.tasks.spawn(keepers::watchdog(relay, life.stop.clone()));
    Ok(())
}

/// What devices, administrators and reloads all work with.
struct Core {
    publish: watch::Sender<Arc<Config>>,
    access: watch::Sender<Arc<Access>>,
    directory: Arc<Directory>,
    relay: Relay,
    front: Arc<Front>,
    clients: Arc<Clients>,
    events: Events,
}

impl Core {
    fn start(config: Config, inherited_state: &InheritedState) -> Result<Self, ExitError> {
        let events = Events::new();
        let directory = match inherited_state.restore_directory(&reload::rules(&config), &events) {
            Some(directory) => directory,
            None => {
                let hasher =
                    KeyHasher::new(random_secret().map_err(|error| ExitError::system("random numbers", &error))?);
                Directory::new(hasher, reload::rules(&config), events.clone())
            }
        };
        let threads = config.relay.threads.or_else(|| thread::available_parallelism().ok());
        let threads = threads.map_or(1, NonZeroUsize::get);
        let front = Arc::default();
        let relay = Relay::start(threads, &config.websocket, config.relay.busy_poll, events.clone(), &front)
            .map_err(|error| ExitError::system("relay threads", &error))?;
        relay.budget().set_limit(room::memory(&config.limits));
        let access = watch::Sender::new(Arc::new(Access::load(&config.access)?));
        let publish = watch::Sender::new(Arc::new(config));
        let clients = Arc::default();
        Ok(Self { publish, access, directory, relay, front, clients, events })
    }

    fn drain(&self, kept: &[ListenerHandle]) -> Drain {
        let is_lent = |kept: &ListenerHandle| {
            matches!(kept.kind, ListenerKind::Devices { .. }) && kept.key.starts_with(INHERITED)
        };
        Drain {
            flag: Arc::default(),
            relay: self.relay.clone(),
            directory: Arc::clone(&self.directory),
            events: self.events.clone(),
            publish: watch::Sender::default(),
            stays: kept.iter().any(is_lent),
            plan: None,
        }
    }

    fn door(&self) -> net::Door {
        let (front, clients) = (Arc::clone(&self.front), Arc::clone(&self.clients));
        net::Door { live: self.publish.subscribe(), front, clients }
    }

    fn service(&self, draining: Arc<AtomicBool>) -> http::Service {
        http::Service {
            directory: Arc::clone(&self.directory),
            relay: self.relay.clone(),
            live: self.publish.subscribe(),
            access: self.access.subscribe(),
            front: Arc::clone(&self.front),
            clients: Arc::clone(&self.clients),
            draining,
        }
    }

    fn context(
        &self,
        listeners: Vec<String>,
        certificates: &Certificates,
        drain: &Drain,
        phases: &Phases,
        life: mpsc::Sender<admin::Command>,
    ) -> admin::Context {
        admin::Context {
            directory: Arc::clone(&self.directory),
            relay: self.relay.clone(),
            live: self.publish.subscribe(),
            front: Arc::clone(&self.front),
            certificates: certificates.in_use(),
            events: self.events.clone(),
            started: Instant::now(),
            listeners,
            drain: drain.publish.subscribe(),
            handover: phases.subscribe(),
            life,
        }
    }

    fn reload(self, source: Source, log: log::Control, certificates: Certificates) -> Reload {
        let started = Arc::clone(&self.publish.borrow());
        let Self { publish, access, directory, relay, front, events, .. } = self;
        Reload { source, started, publish, access, log, certificates, directory, relay, front, events }
    }
}

fn admin_sockets(
    inherited: Vec<OwnedFd>,
    config: &Config,
    inherited_state: &mut InheritedState,
) -> Result<Vec<AdminSocket>, ExitError> {
    if !inherited.is_empty() {
        return inherited.into_iter().map(AdminSocket::inherited).collect();
    }
    let bound = AdminSocket::bind(&config.admin, inherited_state)?;
    if bound.is_none() {
        tracing::warn!("no admin socket: XDG_RUNTIME_DIR isn't set, and neither is admin.socket");
    }
    Ok(bound.into_iter().collect())
}

fn accept(listener: net::Listener, life: &Life) {
    let (service, stop, tasks) = (life.service.clone(), life.stop.clone(), life.tasks.clone());
    let cancelled = stop.clone();
    let door = service.door();
    life.tasks.spawn(net::accept(listener, door, tasks, stop, move |connection| {
        let (service, cancelled) = (service.clone(), cancelled.clone());
        async move { service.serve(connection, cancelled).await }
    }));
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

/// Draws the secret of this process; fails where the kernel has no randomness to give.
fn random_secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(secret)
}
