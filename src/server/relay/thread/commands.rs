//! What a relay thread does when it is asked: lets members in, takes them over, closes and shows them, and holds still.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Interest, Token};
use ws_router_admin_api::event::EventKind;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::MemberId;
use ws_router_core::kind::Role;
use ws_router_core::shard::{MemberState, MemberSummary, Newcomer};

use super::super::MemberView;
use super::super::inbox::{Command, Successor, TrafficPart};
use super::super::wire::Wire;
use super::{Stop, Thread};
use crate::net::Socket;
use crate::peer::Peer;
use crate::registry::Seat;
use crate::snapshot::MemberSnapshot;

impl Thread {
    /// Does what the front asks for.
    pub(super) fn obey(&mut self, command: Command) {
        // Whoever asked may have gone away meanwhile; then the answer is for nobody.
        match command {
            Command::Reserve { id, seat, peer, rates, done } => {
                let slot = self.reserve(id, *seat, peer);
                if let Some(rates) = rates {
                    self.shard.set_rates(slot, &rates);
                }
                let _ = done.send(());
            }
            Command::Attach { id, socket, early } => self.attach(id, *socket, &early),
            Command::Abandon(id) => self.abandon(id),
            Command::Probe { ids, serial, ends } => {
                for (id, end) in ids.into_iter().zip(*ends) {
                    let newcomer = Newcomer { id, serial, role: Role::Peer, counts: false };
                    let slot = self.shard.join(&newcomer, Wire::probe(id, end, &self.common), self.now);
                    self.watch(slot, id);
                }
            }
            Command::End(serial, reason) => self.shard.end(serial, reason, self.now),
            Command::Members(serial, answer) => {
                let views = self.shard.members_of(serial).enumerate();
                let views = views.filter_map(|(at, summary)| self.view(&summary, at < ASKED)).collect();
                let _ = answer.send(views);
            }
            Command::Traffic { from, answer } => {
                let mut of = Vec::new();
                let next = self.shard.traffic(from, SUMMED, |serial, traffic| of.push((serial, traffic)));
                let _ = answer.send(TrafficPart { of, next });
            }
            Command::TrafficOf(serial, answer) => {
                let _ = answer.send(self.shard.traffic_of(serial));
            }
            Command::Find(id, answer) => {
                let _ = answer.send(self.shard.find(id).and_then(|(_, summary)| self.view(&summary, true)));
            }
            Command::Disconnect(id, reason, answer) => {
                let _ = answer.send(self.shard.disconnect(id, reason, self.now));
            }
            Command::Succeed(members) => {
                let arrived: Vec<_> = members.into_iter().map(|member| self.succeed(member)).collect();
                for (slot, id) in arrived {
                    self.watch(slot, id);
                }
            }
            Command::Release { reason, at_most, left } => {
                let _ = left.send(self.shard.close_some(Wire::is_tls, at_most, reason, self.now));
            }
            Command::Freeze { copies, thaw } => {
                self.shard.flush(self.now);
                if copies.send(self.copies()).is_ok() {
                    // Woken or broken, it goes on: what came meanwhile waits in the kernel.
                    let _ = thaw.recv();
                }
            }
            Command::Reconfigure(rules, busy_poll) => {
                self.shard.set_rules(*rules);
                self.busy_poll = busy_poll;
            }
            Command::Stop(reason, patience, done) => {
                self.shard.close_all(reason, self.now);
                self.stop = Some(Stop { reason, deadline: self.now.after(patience), _told_when_done: done });
            }
        }
    }

    fn reserve(&mut self, id: MemberId, mut seat: Seat, peer: Peer) -> usize {
        seat.activate();
        let registration = Arc::clone(&seat.registration);
        let newcomer = Newcomer { id, serial: registration.serial, role: seat.role, counts: true };
        let role = newcomer.role;
        self.common.events.publish(EventKind::Joined { registration: registration.id.clone(), member: id, role, peer });
        let wire = Wire::awaited(id, seat, peer, &self.common);
        let slot = self.shard.join_away(&newcomer, wire, self.now.after(HANDSHAKE), self.now);
        self.awaited.insert(id, slot);
        let end = registration.end().map(ws_router_admin_api::event::EndReason::close_reason);
        if let Some(reason) = end.or(self.stop.as_ref().map(|stop| stop.reason)) {
            self.shard.close(slot, id, reason, self.now);
        }
        slot
    }

    fn attach(&mut self, id: MemberId, socket: Socket, early: &Bytes) {
        let Some(slot) = self.awaited.remove(&id) else { return };
        // It may have been closed meanwhile, and its time may be over; then the slot can be another's.
        let Some(wire) = self.shard.link_mut(slot).filter(|wire| wire.id == id) else { return };
        wire.attach(socket);
        self.watch(slot, id);
        self.shard.arrived(slot, early, self.now);
    }

    fn abandon(&mut self, id: MemberId) {
        if let Some(slot) = self.awaited.remove(&id) {
            self.shard.close(slot, id, CloseReason::Lost, self.now);
        }
    }

    /// Goes on with a predecessor's member, or tells it to come back if that can't be.
    fn succeed(&mut self, member: Successor) -> (usize, MemberId) {
        let Successor { seat, state, socket } = member;
        let (id, serial, role) = (state.id, seat.registration.serial, seat.role);
        let mut wire = Wire::awaited(id, seat, socket.peer, &self.common);
        wire.attach(socket);
        let slot = self.shard.restore(state, wire, self.now).unwrap_or_else(|wire| {
            let newcomer = Newcomer { id, serial, role, counts: true };
            let slot = self.shard.join(&newcomer, wire, self.now);
            self.shard.close(slot, id, CloseReason::Restarting, self.now);
            slot
        });
        (slot, id)
    }

    /// Copies all members that can move.
    fn copies(&self) -> Vec<(MemberSnapshot, RawFd)> {
        let carry = |(wire, member): (&Wire, MemberState)| {
            let registration = wire.seat.as_ref()?.registration.id.clone();
            Some((MemberSnapshot { registration, member, peer: wire.peer }, wire.movable()?))
        };
        self.shard.export(self.now).filter_map(carry).collect()
    }

    /// Has the event loop announce when a connection is ready.
    fn watch(&mut self, slot: usize, id: MemberId) {
        let Some(source) = self.shard.link_mut(slot).and_then(Wire::source) else { return };
        let interests = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(source, Token(slot), interests) {
            tracing::warn!(%error, member = %id, "a connection can't be watched");
            self.shard.close(slot, id, CloseReason::Lost, self.now);
        }
    }

    fn view(&self, summary: &MemberSummary<'_, Wire>, with_tcp: bool) -> Option<MemberView> {
        Some(MemberView {
            id: summary.id,
            registration: summary.link.seat.as_ref()?.registration.id.clone(),
            role: summary.role,
            peer: summary.link.peer,
            tls: summary.link.is_tls(),
            age: self.now.since(summary.joined),
            silent: self.now.since(summary.last_received),
            messages_in: summary.tally.messages_in,
            bytes_in: summary.tally.bytes_in,
            messages_out: summary.tally.messages_out,
            bytes_out: summary.tally.bytes_out,
            outbox: summary.outbox as u64,
            tcp: if with_tcp { summary.link.tcp() } else { None },
        })
    }
}

/// How long a member's handshake may take before its place is given up.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Members of one registration of which the kernel is asked for an administrator: some hundred microseconds.
const ASKED: usize = 500;
/// Registrations and members whose numbers are summed up in a round for an administrator: some ten microseconds.
const SUMMED: usize = 1000;
