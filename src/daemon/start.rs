//! Makes every part of the router, in the order in which one needs the other, and starts its life.
//!
//! Everything that can fail happens here, before readiness is told.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
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

use super::admin_socket::{AdminSocket, SocketFile};
use super::certificates::Certificates;
use super::fault::Fault;
use super::keepers;
use super::life::{Idleness, Life};
use super::listeners::Plan;
use super::reload::{self, Reload};
use super::settings::Source;
use crate::config::Config;
use crate::directory::Directory;
use crate::events::Events;
use crate::metrics::Front;
use crate::relay::Relay;
use crate::secret::KeyHasher;
use crate::supervise::Notify;
use crate::{admin, http, log, net};

/// What a start needs.
#[derive(Debug)]
pub(super) struct Ingredients {
    /// The configuration as it was read.
    pub(super) config: Config,
    /// Where to read it again.
    pub(super) source: Source,
    /// Where to listen.
    pub(super) plan: Plan,
    /// The log's level.
    pub(super) log: log::Control,
    /// How long to stay without work where the configuration doesn't say.
    pub(super) idle: Option<Duration>,
}

/// Starts the router and lives until its end.
pub(super) fn start(ingredients: Ingredients) -> Result<(), Fault> {
    raise_descriptor_limit();
    let runtime = runtime().map_err(|error| Fault::system("threads of the front", &error))?;
    let result = runtime.block_on(async { assemble(ingredients)?.live().await });
    // Whatever still reads a file needn't be waited for.
    runtime.shutdown_background();
    result
}

fn assemble(ingredients: Ingredients) -> Result<Life, Fault> {
    let Ingredients { config, source, plan, log, idle } = ingredients;
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).map_err(|error| Fault::system("signals", &error))?;
    let mut certificates = Certificates::default();
    let mut listeners = Vec::new();
    for public in plan.public {
        listeners.push(public.open(&mut certificates)?);
    }
    let addresses: BTreeSet<_> = listeners.iter().map(net::Listener::address).collect();
    let admin_sockets = admin_sockets(plan.admin, &config)?;
    let core = Core::start(config)?;
    let (life, commands) = mpsc::channel(COMMANDS);
    let (service, context) = (core.service(), core.context(addresses.iter().cloned().collect(), life));
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    accept(listeners, &service, &tasks, &stop);
    let socket_files = serve_admin(admin_sockets, &context, &tasks, &stop)?;
    tasks.spawn(keepers::sweep(Arc::clone(&core.directory), stop.clone()));
    tasks.spawn(keepers::tidy(Arc::clone(&core.front), stop.clone()));
    tasks.spawn(keepers::watchdog(core.relay.clone(), stop.clone()));
    Ok(Life {
        service,
        reload: core.reload(source, log, certificates),
        notify: Notify::default(),
        signals,
        commands,
        idleness: Idleness::new(idle),
        addresses: addresses.into_iter().collect::<Vec<_>>().join(", "),
        socket_files,
        tasks,
        stop,
    })
}

/// What devices, administrators and reloads all work with.
struct Core {
    publish: watch::Sender<Arc<Config>>,
    directory: Arc<Directory>,
    relay: Relay,
    front: Arc<Front>,
    events: Events,
}

impl Core {
    fn start(config: Config) -> Result<Self, Fault> {
        let events = Events::new();
        let hasher = KeyHasher::random().map_err(|error| Fault::system("random numbers", &error))?;
        let directory = Directory::new(hasher, reload::rules(&config), events.clone());
        let threads = config.relay.threads.or_else(|| thread::available_parallelism().ok());
        let threads = threads.map_or(1, NonZeroUsize::get);
        let relay = Relay::start(threads, &config.websocket, config.relay.busy_poll, events.clone())
            .map_err(|error| Fault::system("relay threads", &error))?;
        let publish = watch::Sender::new(Arc::new(config));
        Ok(Self { publish, directory, relay, front: Arc::default(), events })
    }

    fn service(&self) -> http::Service {
        http::Service {
            directory: Arc::clone(&self.directory),
            relay: self.relay.clone(),
            live: self.publish.subscribe(),
            front: Arc::clone(&self.front),
            draining: Arc::new(AtomicBool::new(false)),
        }
    }

    fn context(&self, listeners: Vec<String>, life: mpsc::Sender<admin::Command>) -> admin::Context {
        admin::Context {
            directory: Arc::clone(&self.directory),
            relay: self.relay.clone(),
            live: self.publish.subscribe(),
            front: Arc::clone(&self.front),
            events: self.events.clone(),
            started: Instant::now(),
            listeners,
            life,
        }
    }

    fn reload(self, source: Source, log: log::Control, certificates: Certificates) -> Reload {
        let started = Arc::clone(&self.publish.borrow());
        let Self { publish, directory, relay, front, events } = self;
        Reload { source, started, publish, log, certificates, directory, relay, front, events }
    }
}

fn admin_sockets(inherited: Vec<OwnedFd>, config: &Config) -> Result<Vec<AdminSocket>, Fault> {
    if !inherited.is_empty() {
        return inherited.into_iter().map(AdminSocket::inherited).collect();
    }
    let bound = AdminSocket::bind(&config.admin)?;
    if bound.is_none() {
        tracing::warn!("no admin socket: XDG_RUNTIME_DIR isn't set, and neither is admin.socket");
    }
    Ok(bound.into_iter().collect())
}

fn accept(listeners: Vec<net::Listener>, service: &http::Service, tasks: &TaskTracker, stop: &CancellationToken) {
    for listener in listeners {
        tracing::info!(listener = listener.address(), tls = listener.certificates().is_some(), "listening");
        let (service, cancelled) = (service.clone(), stop.clone());
        let (live, front) = (service.live.clone(), Arc::clone(&service.front));
        tasks.spawn(net::accept(listener, live, front, tasks.clone(), stop.clone(), move |connection| {
            let (service, cancelled) = (service.clone(), cancelled.clone());
            async move { service.serve(connection, cancelled).await }
        }));
    }
}

fn serve_admin(
    sockets: Vec<AdminSocket>,
    context: &admin::Context,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Vec<SocketFile>, Fault> {
    let mut files = Vec::new();
    for AdminSocket { listener, file } in sockets {
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::UnixListener::from_std(listener))
            .map_err(|error| Fault::system("admin socket", &error))?;
        match &file {
            Some(file) => tracing::info!(listener = %file.path().display(), "administrators are served"),
            None => tracing::info!(listener = "inherited", "administrators are served"),
        }
        tasks.spawn(admin::serve(listener, context.clone(), stop.clone()));
        files.extend(file);
    }
    Ok(files)
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
