//! The router: registrations, their members on the relay threads, and the rules and limits for both.
//!
//! A [`Server`] owns everything that makes up a router except its listeners. The public routes ([`crate::http`]), the
//! admin interface, the daemon's life cycle, the tests and the fuzz targets all use its operations. Steps that must be in
//! a certain order are here: a seat is taken before a member is reserved on its thread, a registration ends in the
//! registry before its members are closed, and a new configuration takes effect with its rules first and access last.

mod cached;
mod drain;
mod restore;
mod send;
mod sessions;
mod watches;

use std::collections::HashMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;
use ws_router_admin_api::event::{Admission, EventKind};
use ws_router_admin_api::{self as wire, ReloadReport};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId, Serial};
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::{Key, KeyHasher};
use ws_router_core::shard::{Rates, SessionError, Traffic};

use crate::access::Access;
use crate::config::{Config, Limits, Problems};
use crate::events::Events;
use crate::files::Accept;
use crate::metrics::{FrontendMetrics, Rejection, ThreadTotals};
use crate::net::{ClientLimits, ConnectionGate, NetworkSlot, PendingPool, SendBuffers, Socket};
use crate::peer::{Network, Peer, Shares};
use crate::registry::{self, Credential, KeyError, MemberCounts, Registration, Registry, Request, SeatError, Summary};
use crate::relay::{self, AwayPool, MemberView, MemoryBudget, Relay, WaitingClient};
use crate::sys;
pub use cached::Cached;
use drain::Drain;
pub use drain::STEP as DRAIN_INTERVAL;

pub use restore::{FrozenServer, Inherited, RELEASE_TIME, ask_to_reconnect};
pub use send::{SendError, SendRequest, Sent};
use sessions::Prepared;
pub use sessions::{JoinedBy, SessionQuery, SessionQueryError, SessionRequest};
pub use watches::{MembersWatch, WatchEnd, WatchError};

/// A running router.
#[derive(Debug)]
pub struct Server {
    registry: Arc<Registry>,
    relay: Relay,
    access: watch::Sender<Arc<Access>>,
    config: watch::Sender<Arc<Config>>,
    /// The configuration at the start. Reloads compare with it to report changes that need a restart.
    initial: Arc<Config>,
    clients: Arc<ClientLimits>,
    pending: Arc<PendingPool>,
    waiting: Shares,
    away: AwayPool,
    send_buffers: Arc<SendBuffers>,
    metrics: Arc<FrontendMetrics>,
    events: Events,
    drain: Drain,
    stats: Cached<Bytes>,
    /// Units of `limits.watchers`.
    watchers: Shares,
    /// Reason for which all watches of members end, while there is one.
    interruption: watch::Sender<Option<WatchEnd>>,
    started: Instant,
}

impl Server {
    /// Starts the relay threads, and restores what an old process handed over.
    pub fn start(config: Config, inherited: Option<Inherited>) -> Result<Arc<Self>, StartError> {
        let access = Access::load(&config.access, Accept::Any).map_err(StartError::Access)?;
        let (events, metrics, rules) = (Events::new(), Arc::<FrontendMetrics>::default(), registry::Rules::of(&config));
        let registry = match &inherited {
            Some(inherited) => inherited.registry(rules, &events),
            None => Registry::new(KeyHasher::new(random_secret()?), rules, events.clone()),
        };
        let threads = config.relay.threads.or_else(|| thread::available_parallelism().ok());
        let threads = threads.map_or(1, NonZeroUsize::get);
        let away = AwayPool::new(config.limits.away);
        let relay = Relay::start(threads, &config.websocket, config.relay.busy_poll, events.clone(), &metrics, &away)
            .map_err(StartError::Threads)?;
        relay.memory().set_limit(memory_limit(&config.limits));
        let config = Arc::new(config);
        let server = Arc::new(Self {
            drain: Drain::new(Arc::clone(&registry), relay.clone(), events.clone()),
            registry,
            relay,
            access: watch::Sender::new(Arc::new(access)),
            config: watch::Sender::new(Arc::clone(&config)),
            initial: config,
            clients: Arc::default(),
            pending: Arc::new(PendingPool::new(Arc::clone(&metrics))),
            waiting: Shares::default(),
            away,
            send_buffers: Arc::new(SendBuffers::new(Arc::clone(&metrics))),
            metrics,
            events,
            stats: Cached::every(STATS_INTERVAL),
            watchers: Shares::default(),
            interruption: watch::Sender::default(),
            started: Instant::now(),
        });
        if let Some(inherited) = inherited {
            server.restore(inherited);
        }
        Ok(server)
    }

    /// Creates a registration, or returns the id of the one that the same device has created before.
    pub async fn register(&self, request: &Request, client: &Peer) -> Result<RegistrationId, RegisterError> {
        self.check_available()?;
        if let Some(wanted) = &request.wanted {
            self.check_key_attempts(client, wanted.as_str()).map_err(RegisterError::TooManyWrongKeys)?;
        }
        let registered = self.registry.register(request, Instant::now());
        // A request for an id in use with other keys may be an attempt to guess its keys.
        if let Some(wanted) = &request.wanted
            && registered.as_ref().map_or_else(|error| *error == registry::RegisterError::Taken, |id| id != wanted)
        {
            self.record_failed_key(client, wanted.as_str());
        }
        let id = registered?;
        self.metrics.registered.increment();
        Ok(id)
    }

    /// Takes a seat in a registration. The member receives all messages that are sent from now on, as soon as
    /// [`Reservation::attach`] has passed its connection.
    pub async fn join(&self, request: Join<'_>) -> Result<Reservation, JoinError> {
        self.check_available()?;
        self.check_key_attempts(&request.client, request.id).map_err(JoinError::TooManyWrongKeys)?;
        let slot = if request.is_forwarded { self.network_slot(&request.client)? } else { None };
        let (session, _hold) = match request.session {
            Some(session) => match self.prepare_session(&request, session).await? {
                Prepared::Resumed(reservation) => return Ok(Reservation { slot, ..reservation }),
                Prepared::New(claim, hold) => (Some(claim), hold),
            },
            None => (None, None),
        };
        let Join { id, credential, role, hello, client, admission, rates, .. } = request;
        let mut seat = self.registry.seat(id, credential, role).inspect_err(|error| {
            if *error == SeatError::WrongKey {
                self.record_failed_key(&client, id);
            }
        })?;
        let registration = Arc::clone(&seat.registration);
        seat.admission = admission;
        let waits = registration.kind == Kind::Paired && seat.role == Role::Client;
        let waiting = if waits { Some(Box::new(self.waiting_client(hello, &client)?)) } else { None };
        let member =
            self.relay.reserve(seat, client, rates, waiting, session).await.map_err(|relay::Busy| JoinError::Busy)?;
        Ok(Reservation { registration, member, slot })
    }

    /// Accepts a client of a paired registration for a host. The two are a pair as soon as [`Reservation::attach`] has
    /// passed the connection.
    pub async fn accept(&self, request: AcceptClient<'_>) -> Result<Reservation, JoinError> {
        self.check_available()?;
        let slot = if request.is_forwarded { self.network_slot(&request.client)? } else { None };
        let mut seat = self.registry.accept(request.id).ok_or(JoinError::NotWaiting)?;
        let session = match request.session {
            Some(session) => match self.prepare_accepted_session(&request, session, &seat).await? {
                Prepared::Resumed(reservation) => return Ok(Reservation { slot, ..reservation }),
                Prepared::New(claim, _) => Some(claim),
            },
            None => None,
        };
        let AcceptClient { number, client, admission, rates, .. } = request;
        let registration = Arc::clone(&seat.registration);
        seat.admission = admission;
        let accepted =
            self.relay.accept(number, seat, client, rates, session).await.map_err(|relay::Busy| JoinError::Busy)?;
        let member = accepted.ok_or(JoinError::NotWaiting)?;
        Ok(Reservation { registration, member, slot })
    }

    /// Finds a registration for a device that has one of its keys, and returns its numbers of members.
    pub fn count_members(
        &self,
        id: &str,
        credential: Credential<'_>,
        client: &Peer,
    ) -> Result<(Arc<Registration>, MemberCounts), MembersError> {
        self.check_key_attempts(client, id).map_err(MembersError::TooManyWrongKeys)?;
        Ok(self.registry.members(id, credential).inspect_err(|error| {
            if *error == KeyError::WrongKey {
                self.record_failed_key(client, id);
            }
        })?)
    }

    /// Watches the members of a registration that [`Server::count_members`] has found.
    pub fn watch_members(&self, registration: Arc<Registration>, client: &Peer) -> Result<MembersWatch, WatchError> {
        self.check_available()?;
        let config = self.config.borrow();
        let share = self.watchers.take(ClientLimits::network_of(client, &config.http), config.limits.watchers);
        let share = share.map_err(|_| WatchError::TooManyWatchers)?;
        Ok(MembersWatch::new(self.registry.watch(registration), self.interruption.subscribe(), share))
    }

    /// Ends all watches of members, before a restart or a stop closes the front.
    pub fn interrupt_watches(&self, reason: WatchEnd) {
        self.interruption.send_replace(Some(reason));
    }

    /// Ends a registration for a device that has both keys. The id is free at once, and the members are closed.
    pub async fn remove(&self, id: &str, key: &Key, host_key: &Key, client: &Peer) -> Result<(), RemoveError> {
        self.check_key_attempts(client, id).map_err(RemoveError::TooManyWrongKeys)?;
        let ended = self.registry.remove(id, key, host_key).map_err(|error| match error {
            registry::RemoveError::Unknown => RemoveError::Unknown,
            registry::RemoveError::WrongKey => {
                self.record_failed_key(client, id);
                RemoveError::WrongKey
            }
        })?;
        self.relay.end(&ended, CloseReason::Removed);
        Ok(())
    }

    /// Ends a registration for an administrator; returns whether there was one.
    pub async fn force_remove(&self, id: &RegistrationId, by: Peer) -> bool {
        let Some(ended) = self.registry.force_remove(id.as_str(), by) else { return false };
        self.relay.end(&ended, CloseReason::RemovedByAdmin);
        true
    }

    /// Closes a member's connection for an administrator; returns whether there was one.
    pub async fn disconnect(&self, member: MemberId, by: Peer) -> bool {
        self.relay.disconnect(member, by).await
    }

    /// Lists all registrations, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        self.registry.list()
    }

    /// Finds a registration.
    pub fn find(&self, id: &str) -> Option<Summary> {
        self.registry.find(id)
    }

    /// Applies a new configuration and its access rules. Devices remain connected.
    pub fn apply(&self, config: Config, access: Access) -> ReloadReport {
        let mut changed = self.config.borrow().differences(&config).live;
        let need_restart = self.initial.differences(&config).need_restart;
        self.registry.set_rules(registry::Rules::of(&config));
        self.relay.reconfigure(&config.websocket, config.relay.busy_poll);
        self.relay.memory().set_limit(memory_limit(&config.limits));
        self.away.set_limit(config.limits.away);
        self.config.send_replace(Arc::new(config));
        let before = self.access.send_replace(Arc::new(access));
        let files = self.access.borrow().changed_files(&before);
        changed.extend(files.iter().map(|file| format!("tokens {}", file.display())));
        self.metrics.reloads.increment();
        self.events.publish(EventKind::Reloaded);
        ReloadReport { changed, need_restart }
    }

    /// Rejects newcomers from now on, and closes the members evenly over the given time. A further call sets another time
    /// for the remaining members.
    pub fn drain(&self, over: Duration) -> wire::Drain {
        self.interrupt_watches(WatchEnd::Drain);
        self.drain.begin(over, Instant::now())
    }

    /// Ends a drain, and admits newcomers again.
    pub fn undo_drain(&self) -> wire::Drain {
        self.interruption.send_replace(None);
        self.drain.undo(Instant::now())
    }

    /// Copies everything that a new process needs, and stops the relay threads until the copy is dropped.
    pub async fn snapshot(&self) -> FrozenServer {
        self.take_snapshot().await
    }

    /// Rejects newcomers at once. The returned future closes every member, and waits until all have answered or `patience`
    /// is over.
    pub fn shutdown(&self, reason: CloseReason, patience: Duration) -> impl Future<Output = ()> {
        self.drain.close();
        self.interrupt_watches(WatchEnd::Stopped);
        let relay = self.relay.clone();
        async move { relay.stop(reason, patience).await }
    }
}

/// Queries about the state of the router.
impl Server {
    /// Lists the members of a registration.
    pub async fn members(&self, registration: &Registration) -> Vec<MemberView> {
        self.relay.members(registration).await
    }

    /// Finds a member.
    pub async fn member(&self, id: MemberId) -> Option<MemberView> {
        self.relay.member(id).await
    }

    /// Returns the traffic of each registration that has members.
    pub async fn traffic(&self) -> HashMap<Serial, Traffic> {
        self.relay.traffic().await
    }

    /// Returns the traffic of a registration.
    pub async fn traffic_of(&self, registration: &Registration) -> Traffic {
        self.relay.traffic_of(registration).await
    }

    /// Returns the number of registrations.
    pub fn registrations(&self) -> usize {
        self.registry.len()
    }

    /// Returns the number of registrations that have ended, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (wire::event::EndReason, u64)> {
        self.registry.ended()
    }

    /// Returns the number of members.
    pub fn member_count(&self) -> u64 {
        self.relay.totals().iter().map(|thread| thread.members.value()).sum()
    }

    /// Returns the number of watches of members.
    pub fn watchers(&self) -> usize {
        self.watchers.held()
    }

    /// Returns the counters of each relay thread.
    pub fn thread_totals(&self) -> Vec<Arc<ThreadTotals>> {
        self.relay.totals()
    }

    /// Returns the budget of memory for peers.
    pub fn memory(&self) -> &MemoryBudget {
        self.relay.memory()
    }

    /// The public statistics, which all readers share.
    pub fn stats(&self) -> &Cached<Bytes> {
        &self.stats
    }

    /// The counters of everything outside the relay threads.
    pub fn metrics(&self) -> &Arc<FrontendMetrics> {
        &self.metrics
    }

    /// The stream of events, and the history of each registration.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Returns the configuration in use.
    pub fn config(&self) -> Arc<Config> {
        self.config.borrow().clone()
    }

    /// Returns the access rules in use.
    pub fn access(&self) -> Arc<Access> {
        self.access.borrow().clone()
    }

    /// The limits of client networks.
    pub fn clients(&self) -> &Arc<ClientLimits> {
        &self.clients
    }

    /// Returns the gate that checks the limits of new connections.
    pub fn connection_gate(&self) -> ConnectionGate {
        let (metrics, clients) = (Arc::clone(&self.metrics), Arc::clone(&self.clients));
        ConnectionGate { config: self.config.subscribe(), metrics, clients, pending: Arc::clone(&self.pending) }
    }

    /// Returns how long ago the router was started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns whether newcomers are rejected because the router is draining or stopping.
    pub fn is_draining(&self) -> bool {
        self.drain.is_closed()
    }

    /// Returns the progress of a drain.
    pub fn drain_phase(&self) -> wire::DrainPhase {
        self.drain.phase()
    }

    /// Subscribes to the progress of a drain.
    pub fn watch_drain(&self) -> watch::Receiver<wire::Drain> {
        self.drain.watch()
    }
}

/// Periodic work.
impl Server {
    /// Ends the registrations whose deadline has passed, by `now` or by the wall clock, and reports what clients have sent
    /// without joining.
    pub fn sweep(&self, now: Instant) {
        self.registry.sweep(now);
        self.events.publish_due_sends(now);
        for expired in self.registry.expire(SystemTime::now()) {
            self.relay.end(&expired, CloseReason::Removed);
        }
        self.metrics.registrations.set(self.registry.len() as u64);
    }

    /// Closes the members that are due in a drain, and returns whether the process should exit. To be called every
    /// [`DRAIN_INTERVAL`] while draining.
    pub fn advance_drain(&self) -> bool {
        self.drain.step(Instant::now())
    }

    /// Keeps the process running after a drain, still rejecting newcomers. For sockets of the service manager, which would
    /// start the process again upon the next connection.
    pub fn stay_when_drained(&self) {
        self.drain.set_stays();
    }

    /// Sends a message through each relay thread; returns whether all arrived in time.
    pub async fn self_test(&self, patience: Duration) -> bool {
        self.relay.self_test(patience).await
    }
}

/// Limits for newcomers.
impl Server {
    /// Checks that newcomers are admitted at all.
    pub fn check_available(&self) -> Result<(), Unavailable> {
        if self.is_draining() {
            return Err(Unavailable::Draining);
        }
        if self.relay.memory().is_tight() {
            self.metrics.out_of_memory.increment();
            return Err(Unavailable::OutOfMemory);
        }
        Ok(())
    }

    /// Fails with the time to wait if the client's network has tried too many wrong keys for this id.
    fn check_key_attempts(&self, client: &Peer, id: &str) -> Result<(), Duration> {
        self.clients.check_key_attempts(client, id, &self.config.borrow().limits.wrong_key_rate)
    }

    /// Counts a client that waits for a host, unless too many do.
    fn waiting_client(&self, hello: Option<&str>, client: &Peer) -> Result<WaitingClient, JoinError> {
        let (limit, accept_timeout) = {
            let config = self.config.borrow();
            (config.limits.waiting, config.registration.accept_timeout)
        };
        let share = self.waiting.take(self.network_of(client), limit).map_err(|_| JoinError::TooManyWaiting)?;
        Ok(WaitingClient { hello: hello.unwrap_or_default().into(), accept_timeout, share })
    }

    /// Returns the network whose limits apply to a peer.
    fn network_of(&self, peer: &Peer) -> Option<Network> {
        ClientLimits::network_of(peer, &self.config.borrow().http)
    }

    fn record_failed_key(&self, client: &Peer, id: &str) {
        self.clients.record_failed_key(client, id, &self.config.borrow().limits.wrong_key_rate);
    }

    /// Counts the connection of a client behind a proxy for the client's network. Other connections were counted when they
    /// were accepted.
    fn network_slot(&self, client: &Peer) -> Result<Option<NetworkSlot>, JoinError> {
        self.clients.hold(client, &self.config.borrow()).map_err(|_| {
            self.metrics.rejected(Rejection::PerAddress);
            JoinError::TooManyConnections
        })
    }
}

/// A request to join a registration.
#[derive(Debug)]
pub struct Join<'a> {
    /// The registration's id.
    pub id: &'a str,
    /// The key that the device presents.
    pub credential: Credential<'a>,
    /// The role that the device asks for; ignored in a lobby.
    pub role: Option<Role>,
    /// Text that a client of a paired registration has for the hosts.
    pub hello: Option<&'a str>,
    /// The device's address.
    pub client: Peer,
    /// Whether a trusted proxy reported the address, so that the connection isn't counted for its network yet.
    pub is_forwarded: bool,
    /// The access rule and token that admit the device; `None` without access rules.
    pub admission: Option<Arc<Admission>>,
    /// Rates of the messages and bytes that the device may send.
    pub rates: Option<Box<Rates>>,
    /// The session that the device begins or resumes, if it has one.
    pub session: Option<SessionRequest<'a>>,
}

/// A request to accept a client of a paired registration.
#[derive(Debug)]
pub struct AcceptClient<'a> {
    /// The registration's id.
    pub id: &'a str,
    /// The number with which the client was announced.
    pub number: u128,
    /// The host's address.
    pub client: Peer,
    /// Whether a trusted proxy reported the address, so that the connection isn't counted for its network yet.
    pub is_forwarded: bool,
    /// The access rule and token that admit the host; `None` without access rules.
    pub admission: Option<Arc<Admission>>,
    /// Rates of the messages and bytes that the host may send.
    pub rates: Option<Box<Rates>>,
    /// The session that the host begins or resumes for this connection, if it has one.
    pub session: Option<SessionRequest<'a>>,
}

/// A member whose connection has not been attached yet. If this is dropped before, the member leaves again.
#[derive(Debug)]
pub struct Reservation {
    /// The registration that the member has joined.
    pub registration: Arc<Registration>,
    member: relay::Reservation,
    slot: Option<NetworkSlot>,
}

impl Reservation {
    /// Passes the connection to the relay thread, with the bytes that were received after its handshake.
    pub fn attach(self, mut socket: Socket, early: Bytes) {
        socket.permit.hold(self.slot);
        self.member.attach(socket, early);
    }
}

/// Reason why a router can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel provides no random numbers.
    #[error("random numbers: {0}")]
    Randomness(#[source] io::Error),
    /// The relay threads can't be started.
    #[error("relay threads: {0}")]
    Threads(#[source] io::Error),
    /// A file that the access rules name can't be used.
    #[error(transparent)]
    Access(Problems),
}

/// Reason why no newcomers are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The router is draining or stopping.
    #[error("the router is draining")]
    Draining,
    /// Memory use is near `limits.memory`.
    #[error("the router is near limits.memory")]
    OutOfMemory,
}

/// Reason why a registration isn't created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// No newcomers are admitted.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The client's network has tried too many wrong keys for the wanted id.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// The registry rejects the request.
    #[error(transparent)]
    Rejected(#[from] registry::RegisterError),
}

/// Reason why a device can't join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No newcomers are admitted.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The client's network has tried too many wrong keys for this registration.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// The client's network has reached its limit of connections.
    #[error("the client's network has too many connections")]
    TooManyConnections,
    /// The registry rejects the member.
    #[error(transparent)]
    Rejected(#[from] SeatError),
    /// `limits.waiting` clients wait, or the client's network has its share of them.
    #[error("limits.waiting has been reached")]
    TooManyWaiting,
    /// A host that listens can't have a session.
    #[error("a host that listens has no session")]
    NoSession,
    /// The session can't be resumed.
    #[error("the session can't be resumed: {0:?}")]
    Session(SessionError),
    /// No client waits that was announced with the number.
    #[error("no client waits with this number")]
    NotWaiting,
    /// The relay thread's inbox is full.
    #[error("the relay thread is busy")]
    Busy,
}

/// Reason why a device isn't told the number of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// The client's network has tried too many wrong keys for this registration.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// The registry finds no registration with this id and key.
    #[error(transparent)]
    Rejected(#[from] KeyError),
}

/// Reason why a registration isn't removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// The client's network has tried too many wrong keys for this registration.
    #[error("too many wrong keys; wait {0:?}")]
    TooManyWrongKeys(Duration),
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// One of the keys isn't the registration's.
    #[error("wrong key")]
    WrongKey,
}

/// Time for which the same public statistics are served, since creating them takes time: they list every registration.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

/// Returns the limit of memory for peers, in bytes: `limits.memory`, or half of the available memory.
pub fn memory_limit(limits: &Limits) -> u64 {
    limits.memory.map_or_else(|| sys::memory_limit() / 2, |memory| memory.as_u64())
}

/// Returns a hasher with a random secret, with which this process hashes keys.
fn random_secret() -> Result<[u8; 32], StartError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| StartError::Randomness(io::Error::other(error.to_string())))?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;

    #[test]
    fn half_of_the_memory_is_for_peers_unless_the_configuration_sets_it() {
        let limits = Limits { memory: Some(ByteSize::mib(64)), ..Limits::default() };
        assert_eq!(memory_limit(&limits), 64 << 20);
        assert_eq!(memory_limit(&Limits::default()), sys::memory_limit() / 2);
    }
}
