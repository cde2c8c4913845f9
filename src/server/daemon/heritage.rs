//! What a predecessor left: listeners that kept queueing, registrations, and members in the middle of their streams.
//!
//! It comes through the service manager's store after a restart, or straight from the program that replaced itself by
//! this one. Either all of it is understood, or its members are told to come back (1012) and the start goes on
//! without: a state is never guessed at.

use std::collections::HashMap;
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket};
use ws_router_core::close::CloseReason;
use ws_router_core::frame::close_frame;

use crate::directory::{Directory, Rules};
use crate::events::Events;
use crate::net;
use crate::relay::Relay;
use crate::snapshot::{DecodeError, DrainState, Snapshot};
use crate::sys;
use crate::systemd::{self, Giver, Inherited, Notify};

/// What a predecessor left.
#[derive(Debug, Default)]
pub(super) struct Heritage {
    state: Option<Snapshot>,
    trouble: Option<DecodeError>,
    listeners: HashMap<String, Vec<OwnedFd>>,
    members: Vec<OwnedFd>,
}

impl Heritage {
    /// Takes it out of what was inherited. Where no service manager passes sockets anew, because a predecessor replaced
    /// itself in this very process, those that it was given by name are put there instead.
    pub(super) fn take(inherited: &mut Vec<Inherited>) -> Self {
        let (mut heritage, mut states, mut parcels) = (Self::default(), Vec::new(), Vec::new());
        let in_place = inherited.iter().any(|one| one.name == STATE && one.giver == Giver::OldProcess);
        for one in inherited.extract_if(.., |one| one.name == STATE || one.name == CONNECTIONS) {
            if one.name == STATE { states.push(one.descriptor) } else { parcels.push(one.descriptor) }
        }
        let mut descriptors: Vec<_> =
            parcels.iter().filter_map(|parcel| sys::recv_fds(parcel).ok()).flatten().collect();
        match states.pop().map(Snapshot::open) {
            None if descriptors.is_empty() => return heritage,
            None => heritage.trouble = Some(DecodeError::Damaged),
            Some(Err(trouble)) => heritage.trouble = Some(trouble),
            Some(Ok(state)) if descriptors.len() != state.listeners.len() + state.members.len() => {
                heritage.trouble = Some(DecodeError::Damaged);
            }
            Some(Ok(state)) => {
                let members = descriptors.split_off(state.listeners.len());
                for (key, descriptor) in state.listeners.iter().zip(std::mem::replace(&mut descriptors, members)) {
                    heritage.listeners.entry(key.clone()).or_default().push(descriptor);
                }
                heritage.state = Some(state);
            }
        }
        if heritage.trouble.is_some() {
            // Whose they were can't be told, and as long as they are open nobody can listen in their places.
            descriptors.retain(|descriptor| !SockRef::from(descriptor).is_listener().unwrap_or(false));
        }
        heritage.members = descriptors;
        if in_place {
            heritage.lend(inherited);
        }
        heritage
    }

    /// Tells whether there is any.
    pub(super) fn is_some(&self) -> bool {
        self.state.is_some() || self.trouble.is_some()
    }

    /// Takes a listening socket that a predecessor had under the same key.
    pub(super) fn listener(&mut self, key: &str) -> Option<OwnedFd> {
        let same = self.listeners.get_mut(key)?;
        // In their order: two may have the same key, and differ in TLS.
        if same.is_empty() { None } else { Some(same.remove(0)) }
    }

    /// Takes the registrations, and what was to be remembered of them.
    pub(super) fn directory(&self, rules: &Rules, events: &Events) -> Option<Arc<Directory>> {
        let state = self.state.as_ref()?;
        state.decode_events().iter().for_each(|event| events.history().record(event));
        let state = state.directory.clone();
        Some(Directory::succeed(state, rules.clone(), events.clone(), Instant::now()))
    }

    /// Tells how far the predecessor was with being taken out of service.
    pub(super) fn drain(&self) -> Option<DrainState> {
        self.state.as_ref()?.drain
    }

    /// Lets the members in again, and empties the service manager's store.
    pub(super) fn settle(self, directory: &Arc<Directory>, relay: &Relay, door: &net::Door) {
        if !self.is_some() {
            return;
        }
        let front = &door.front;
        if let Some(trouble) = &self.trouble {
            tracing::error!(error = %trouble, "the predecessor's members are told to come back");
            front.restarts.up();
            front.lost.set(self.members.len() as u64);
            self.members.into_iter().for_each(turn_away);
        } else if let Some(state) = self.state {
            let (program, total) = (state.program, state.members.len());
            relay.skip_members(state.last_member);
            let mut carried = Vec::with_capacity(total);
            for (member, descriptor) in state.members.into_iter().zip(self.members) {
                let seat = directory.retake(member.registration.as_str(), member.member.serial, member.member.role);
                let Some(seat) = seat else {
                    turn_away(descriptor);
                    continue;
                };
                carried.push((seat, member.member, net::Socket::carried(descriptor, member.peer, door)));
            }
            let count = carried.len();
            front.restarts.set(state.restarts.count + 1);
            front.carried.set(state.restarts.carried + count as u64);
            front.lost.set(state.restarts.lost + (total - count) as u64);
            relay.succeed(carried);
            directory.settle(COME_BACK, Instant::now());
            tracing::info!(predecessor = program, members = count, lost = total - count, "carried over");
        }
        if systemd::is_managed() {
            Notify::unstore(STATE);
            Notify::unstore(CONNECTIONS);
        }
    }

    /// Puts sockets of units back under their names.
    fn lend(&mut self, inherited: &mut Vec<Inherited>) {
        for (key, descriptors) in &mut self.listeners {
            let Some(name) = key.strip_prefix(INHERITED) else { continue };
            if inherited.iter().all(|one| one.name != name) {
                let lent = descriptors.drain(..).map(|descriptor| Inherited {
                    name: name.to_owned(),
                    descriptor,
                    giver: Giver::OldProcess,
                });
                inherited.extend(lent);
            }
        }
    }
}

/// Tells a device to come back, as well as that can be done without knowing its stream.
fn turn_away(descriptor: OwnedFd) {
    let mut socket = Socket::from(descriptor);
    // Unread bytes would turn the close into a reset, and the device might miss the frame. All this is as good as it
    // goes: a device that is gone needn't be told.
    let _ = socket.set_nonblocking(true);
    let mut bytes = [0; 4096];
    while socket.read(&mut bytes).is_ok_and(|read| read > 0) {}
    if let Some(frame) = close_frame(CloseReason::Restarting, None) {
        let _ = socket.send(&frame);
    }
    let _ = socket.shutdown(Shutdown::Write);
}

/// The names in the service manager's store.
pub(super) const STATE: &str = "state";
/// The descriptors beside the state.
pub(super) const CONNECTIONS: &str = "connections";
/// The key of a socket that was passed by name begins so.
pub(super) const INHERITED: &str = "inherited:";
/// How long a registration waits at least for members that were told to come back.
pub(super) const COME_BACK: Duration = Duration::from_secs(60);
