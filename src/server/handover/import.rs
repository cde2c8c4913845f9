//! The new process's side: listeners that kept queueing, registrations, and members in the middle of their streams.
//!
//! They come through the service manager's store after a restart, or straight from the program that replaced itself by
//! this one. Either all of it is understood, or its members are told to come back (1012) and the start goes on
//! without: a snapshot is never guessed at.

use std::collections::HashMap;
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use socket2::{SockRef, Socket};
use ws_router_core::close::CloseReason;
use ws_router_core::frame::close_frame;

use super::{COME_BACK, CONNECTIONS, INHERITED, PROGRAM, STATE};
use crate::directory::{Directory, Rules};
use crate::events::Events;
use crate::net;
use crate::relay::Relay;
use crate::snapshot::{DecodeError, DrainState, Snapshot};
use crate::sys;
use crate::systemd::{self, Giver, Inherited, Notify};

/// What the old process left.
#[derive(Debug, Default)]
pub struct InheritedState {
    state: Option<Snapshot>,
    error: Option<DecodeError>,
    listeners: HashMap<String, Vec<OwnedFd>>,
    members: Vec<OwnedFd>,
}

impl InheritedState {
    /// Takes it out of the inherited descriptors.
    ///
    /// Where no service manager passes sockets anew, because the old program replaced itself in this very process, the
    /// sockets that it was given by name are put there instead.
    pub fn take(inherited: &mut Vec<Inherited>) -> Self {
        // A script's interpreter has read it by now.
        inherited.retain(|one| one.name != PROGRAM || one.giver != Giver::OldProcess);
        let (mut left, mut states, mut sockets) = (Self::default(), Vec::new(), Vec::new());
        let in_place = inherited.iter().any(|one| one.name == STATE && one.giver == Giver::OldProcess);
        for one in inherited.extract_if(.., |one| one.name == STATE || one.name == CONNECTIONS) {
            if one.name == STATE { states.push(one.descriptor) } else { sockets.push(one.descriptor) }
        }
        let mut descriptors: Vec<_> =
            sockets.iter().filter_map(|socket| sys::recv_fds(socket).ok()).flatten().collect();
        match states.pop().map(Snapshot::open) {
            None if descriptors.is_empty() => return left,
            None => left.error = Some(DecodeError::Damaged),
            Some(Err(error)) => left.error = Some(error),
            Some(Ok(state)) if descriptors.len() != state.listeners.len() + state.members.len() => {
                left.error = Some(DecodeError::Damaged);
            }
            Some(Ok(state)) => {
                let members = descriptors.split_off(state.listeners.len());
                for (key, descriptor) in state.listeners.iter().zip(std::mem::replace(&mut descriptors, members)) {
                    left.listeners.entry(key.clone()).or_default().push(descriptor);
                }
                left.state = Some(state);
            }
        }
        if left.error.is_some() {
            // Their keys are unknown, and as long as they are open nothing else can listen in their places.
            descriptors.retain(|descriptor| !SockRef::from(descriptor).is_listener().unwrap_or(false));
        }
        left.members = descriptors;
        if in_place {
            left.lend(inherited);
        }
        left
    }

    /// Returns whether an old process left anything.
    pub fn exists(&self) -> bool {
        self.state.is_some() || self.error.is_some()
    }

    /// Takes a listening socket that the old process had under the same key.
    pub fn listener(&mut self, key: &str) -> Option<OwnedFd> {
        let same = self.listeners.get_mut(key)?;
        // In their order: two may have the same key, and differ in TLS.
        if same.is_empty() { None } else { Some(same.remove(0)) }
    }

    /// Restores the registrations and their last events; `None` without a snapshot.
    pub fn restore_directory(&self, rules: &Rules, events: &Events) -> Option<Arc<Directory>> {
        let state = self.state.as_ref()?;
        state.decode_events().iter().for_each(|event| events.history().record(event));
        let state = state.directory.clone();
        Some(Directory::succeed(state, rules.clone(), events.clone(), Instant::now()))
    }

    /// Returns how far the old process was with draining.
    pub fn drain(&self) -> Option<DrainState> {
        self.state.as_ref()?.drain
    }

    /// Restores the members, and empties the service manager's store.
    pub fn restore_members(self, directory: &Arc<Directory>, relay: &Relay, door: &net::Door) {
        if !self.exists() {
            return;
        }
        let front = &door.front;
        if let Some(error) = &self.error {
            tracing::error!(%error, "the snapshot can't be used, members are told to come back");
            front.restarts.up();
            front.lost.set(self.members.len() as u64);
            self.members.into_iter().for_each(tell_to_come_back);
        } else if let Some(state) = self.state {
            let (program, total) = (state.program, state.members.len());
            relay.skip_members(state.last_member);
            let mut carried = Vec::with_capacity(total);
            for (member, descriptor) in state.members.into_iter().zip(self.members) {
                let seat = directory.retake(member.registration.as_str(), member.member.serial, member.member.role);
                let Some(seat) = seat else {
                    tell_to_come_back(descriptor);
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
            tracing::info!(old_version = program, members = count, lost = total - count, "carried over");
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

/// Sends a close frame (1012) to a device, as well as that can be done without knowing its stream.
fn tell_to_come_back(descriptor: OwnedFd) {
    let mut socket = Socket::from(descriptor);
    // Unread bytes would turn the close into a reset, and the device might miss the frame. Errors are ignored, since
    // they mean that the device is gone.
    let _ = socket.set_nonblocking(true);
    let mut bytes = [0; 4096];
    while socket.read(&mut bytes).is_ok_and(|read| read > 0) {}
    if let Some(frame) = close_frame(CloseReason::Restarting, None) {
        let _ = socket.send(&frame);
    }
    let _ = socket.shutdown(Shutdown::Write);
}
