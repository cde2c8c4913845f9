//! Handlers of the commands that a relay thread receives through its inbox.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::Token;
use uuid::Uuid;
use ws_router_admin_api::event::EventKind;
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::{Kind, Role};
use ws_router_core::shard::{Arrival, MemberSummary, Newcomer};

use super::super::MemberView;
use super::super::connection::{Connection, INTERESTS};
use super::super::inbox::{
    Command, FrozenThread, RestoredConnection, RestoredMember, Resume, TrafficPart, WaitingClient,
};
use super::{Handshake, Stop, Thread};
use crate::net::Socket;
use crate::peer::Peer;
use crate::registry::{Registration, Seat};
use crate::snapshot::{MemberSnapshot, WaitingSnapshot};

impl Thread {
    /// Handles a command.
    pub(super) fn handle(&mut self, command: Command) {
        // Sending an answer fails only if the task that sent the command has been dropped.
        match command {
            Command::Reserve { id, seat, peer, rates, waiting, session, done } => {
                let slot = self.reserve(id, *seat, peer, waiting);
                if let Some(claim) = session {
                    self.shard.begin_session(slot, *claim, self.now);
                }
                if let Some(rates) = rates {
                    self.shard.set_rates(slot, &rates);
                }
                let _ = done.send(());
            }
            Command::Accept { id, number, seat, peer, rates, session, done } => {
                let slot = self.accept(id, number, *seat, peer);
                if let (Some(slot), Some(claim)) = (slot, session) {
                    self.shard.begin_session(slot, *claim, self.now);
                }
                if let (Some(slot), Some(rates)) = (slot, rates) {
                    self.shard.set_rates(slot, &rates);
                }
                let _ = done.send(slot.is_some());
            }
            Command::Resume(resume) => self.resume(*resume),
            Command::Suspend(claim, answer) => {
                let suspended = self.shard.suspend_session(&claim, self.now).map(|(member, counts)| {
                    // A connection whose handshake is in progress is an old one, too.
                    self.handshakes.retain(|_, handshake| handshake.member != member);
                    counts
                });
                let _ = answer.send(suspended);
            }
            Command::EndSession(claim, answer) => {
                let _ = answer.send(self.shard.end_session(&claim, self.now));
            }
            Command::Attach { id, socket, early } => self.attach(id, *socket, &early),
            Command::Abandon(id) => self.abandon(id),
            Command::SelfTest { ids, serial, ends } => {
                for (id, end) in ids.into_iter().zip(*ends) {
                    let newcomer = Newcomer { id, serial, role: Role::Peer, receives_only: false, counts: false };
                    let slot = self.shard.join(&newcomer, Connection::self_test(end, &self.context), self.now);
                    self.watch(slot, id);
                }
            }
            Command::Send(send, patience) => self.send(*send, self.now.after(patience)),
            Command::End(serial, reason) => self.shard.end(serial, reason, self.now),
            Command::Members(serial, answer) => {
                let views = self.shard.members_of(serial).enumerate();
                let views = views.filter_map(|(at, summary)| self.view(&summary, at < MAX_TCP_QUERIES)).collect();
                let _ = answer.send(views);
            }
            Command::Traffic { from, answer } => {
                let mut of = Vec::new();
                let next = self.shard.traffic(from, TRAFFIC_PER_COMMAND, self.now, |serial, traffic| {
                    of.push((serial, traffic));
                });
                let _ = answer.send(TrafficPart { of, next });
            }
            Command::TrafficOf(serial, answer) => {
                let _ = answer.send(self.shard.traffic_of(serial, self.now));
            }
            Command::Find(id, answer) => {
                let _ = answer.send(self.shard.find(id).and_then(|(_, summary)| self.view(&summary, true)));
            }
            Command::Disconnect(id, by, answer) => {
                let _ = answer.send(self.disconnect(id, by));
            }
            Command::Restore(members, waiting) => {
                let arrived: Vec<_> = members.into_iter().filter_map(|member| self.restore(member)).collect();
                for (hold, wait, state) in waiting {
                    let hold = Cell::new(Some(hold));
                    self.shard.restore_waiting(state, wait, || hold.take(), self.now);
                }
                for (slot, id) in arrived {
                    self.watch(slot, id);
                }
                self.shard.finish_restore(self.now);
            }
            Command::Release { reason, at_most, left } => {
                let _ = left.send(self.shard.close_some(Connection::is_immovable, at_most, reason, self.now));
            }
            Command::Freeze { copies, thaw } => {
                self.shard.flush(self.now);
                let copy = self.export();
                if copies.send(copy).is_ok() {
                    // Returns when the sender is dropped. Bytes that arrive until then wait in the kernel.
                    let _ = thaw.recv();
                }
            }
            Command::Reconfigure(rules, busy_poll) => {
                self.shard.set_rules(*rules);
                self.busy_poll = busy_poll;
            }
            Command::Stop(reason, patience, done) => {
                self.shard.close_all(reason, self.now);
                self.stop = Some(Stop { reason, deadline: self.now.after(patience), _done: done });
            }
        }
    }

    fn reserve(&mut self, id: MemberId, mut seat: Seat, peer: Peer, waiting: Option<Box<WaitingClient>>) -> usize {
        seat.activate();
        let registration = Arc::clone(&seat.registration);
        let newcomer = Newcomer {
            id,
            serial: registration.serial,
            role: seat.role,
            receives_only: seat.receives_only,
            counts: true,
        };
        let role = newcomer.role;
        self.context.events.publish(EventKind::Joined {
            registration: registration.id.clone(),
            member: id,
            role,
            peer,
            admission: seat.admission.clone(),
        });
        let connection = Connection::away(seat, peer, &self.context);
        let (deadline, numbers) = (self.now.after(HANDSHAKE), &mut || self.numbers.next());
        let slot = match (registration.kind, waiting) {
            (Kind::Paired, Some(waiting)) => {
                let WaitingClient { hello, accept_timeout, share } = *waiting;
                self.context.waiting.borrow_mut().insert(id, share);
                let end = Connection::without_seat(peer, &self.context);
                let arrival = Arrival { hello, accept_by: self.now.after(accept_timeout), end };
                self.shard.join_waiting(&newcomer, connection, arrival, deadline, numbers, self.now)
            }
            (Kind::Paired, None) => self.shard.join_listening(&newcomer, connection, deadline, self.now),
            _ => self.shard.join_away(&newcomer, connection, deadline, self.now),
        };
        self.on_reserved(id, Handshake { slot, member: id, accepts: None }, &registration);
        slot
    }

    /// Accepts a client for a host; returns the slot of the host's end, or `None` if no client waits that has this number.
    fn accept(&mut self, id: MemberId, number: u128, seat: Seat, peer: Peer) -> Option<usize> {
        let registration = Arc::clone(&seat.registration);
        let admission = seat.admission.clone();
        let (connection, deadline) = (Connection::away(seat, peer, &self.context), self.now.after(HANDSHAKE));
        let accepted = self.shard.accept(registration.serial, number, id, connection, deadline, self.now);
        let (slot, client) = accepted.ok()?;
        if let Some(seat) = self.shard.link_of(slot, id).and_then(|connection| connection.seat.as_mut()) {
            seat.activate();
        }
        self.context.events.publish(EventKind::Joined {
            registration: registration.id.clone(),
            member: id,
            role: Role::Host,
            peer,
            admission,
        });
        self.on_reserved(id, Handshake { slot, member: id, accepts: Some(client) }, &registration);
        Some(slot)
    }

    /// Closes a member that has just joined at once if its registration has ended in the meantime.
    fn on_reserved(&mut self, id: MemberId, handshake: Handshake, registration: &Registration) {
        let slot = handshake.slot;
        self.handshakes.insert(id, handshake);
        let end = registration.end().map(ws_router_admin_api::event::EndReason::close_reason);
        if let Some(reason) = end.or(self.stop.as_ref().map(|stop| stop.reason)) {
            self.shard.close(slot, id, reason, self.now);
        }
    }

    /// Takes the member of a session over for a device. An earlier handshake for it comes too late.
    fn resume(&mut self, resume: Resume) {
        let Resume { id, claim, received, peer, admission, rates, answer } = resume;
        let resumed = self.shard.resume_session(&claim, received, self.now).map(|(slot, member)| {
            if let Some(connection) = self.shard.link_of(slot, member) {
                connection.take_over(peer, admission);
            }
            if let Some(rates) = rates {
                self.shard.set_rates(slot, &rates);
            }
            self.handshakes.retain(|_, other| other.member != member);
            self.handshakes.insert(id, Handshake { slot, member, accepts: None });
        });
        let _ = answer.send(resumed);
    }

    fn attach(&mut self, id: MemberId, socket: Socket, early: &Bytes) {
        let Some(Handshake { slot, member, accepts }) = self.handshakes.remove(&id) else { return };
        let session_buffer = self.shard.session_buffer_of(slot);
        // The member may have been removed, and its slot reused by another one.
        let Some(connection) = self.shard.link_of(slot, member) else { return };
        connection.attach(socket);
        if let Some(bytes) = session_buffer {
            connection.limit_unsent(bytes);
        }
        if let Some(client) = accepts {
            self.context.waiting.borrow_mut().remove(&client);
        }
        self.watch(slot, member);
        let Some(back) = self.shard.arrived(slot, early, self.now) else { return };
        let Some(connection) = self.shard.link_of(slot, member) else { return };
        let Some(seat) = &connection.seat else { return };
        self.context.events.publish(EventKind::Returned {
            registration: seat.registration.id.clone(),
            member,
            role: seat.role,
            peer: connection.peer,
            away_ms: back.away.as_millis() as u64,
            again: back.again,
        });
    }

    fn disconnect(&mut self, id: MemberId, by: Peer) -> bool {
        self.context.closed_by.borrow_mut().insert(id, by);
        let was_there = self.shard.disconnect(id, CloseReason::ClosedByAdmin, self.now);
        if !was_there {
            self.context.closed_by.borrow_mut().remove(&id);
        }
        was_there
    }

    fn abandon(&mut self, id: MemberId) {
        if let Some(Handshake { slot, member, .. }) = self.handshakes.remove(&id) {
            self.shard.abandon(slot, member, self.now);
        }
    }

    /// Restores a member of the old process, or a connection that is only closing. If a member's state is invalid, closes
    /// it so that it reconnects.
    fn restore(&mut self, member: RestoredMember) -> Option<(usize, MemberId)> {
        let RestoredMember { seat, state, connection: restored, share } = member;
        let (id, peer) = (state.id, restored.peer());
        let newcomer = seat.as_ref().map(|seat| {
            let (serial, role, receives_only) = (seat.registration.serial, seat.role, seat.receives_only);
            Newcomer { id, serial, role, receives_only, counts: true }
        });
        let mut connection = match seat {
            Some(seat) => Connection::away(seat, peer, &self.context),
            None => Connection::without_seat(peer, &self.context),
        };
        match restored {
            RestoredConnection::Socket(socket) => connection.attach(socket),
            RestoredConnection::Away(_, hold) => connection.hold_away(hold),
        }
        if let Some(share) = share {
            self.context.waiting.borrow_mut().insert(id, share);
        }
        let context = Rc::clone(&self.context);
        let end = || Connection::without_seat(peer, &context);
        let slot = match self.shard.restore(state, connection, end, self.now) {
            Ok(slot) => slot,
            Err(connection) => {
                let slot = self.shard.join(&newcomer?, connection, self.now);
                self.shard.close(slot, id, CloseReason::Restarting, self.now);
                slot
            }
        };
        Some((slot, id))
    }

    /// Copies all members and closing connections that can move to a new process, members that are away, and what waits.
    fn export(&self) -> FrozenThread {
        let mut frozen = FrozenThread { waiting: self.export_waiting(), ..FrozenThread::default() };
        for (connection, member) in self.shard.export(self.now) {
            let (registration, admission) = match &connection.seat {
                Some(seat) => (seat.registration.id.clone(), seat.admission.clone()),
                // A connection that is closing belongs to no registration any more.
                None => (RegistrationId::from_uuid(Uuid::nil()), None),
            };
            let (peer, sealed) = (connection.peer, connection.sealed());
            let member = MemberSnapshot { registration, member, peer, admission, sealed };
            match connection.movable() {
                _ if member.member.is_away() => frozen.away.push(member),
                Some(descriptor) => frozen.members.push((member, descriptor)),
                None => {}
            }
        }
        frozen
    }

    /// Copies everything that waits for a receiver.
    fn export_waiting(&self) -> Vec<WaitingSnapshot> {
        let all = self.shard.export_waiting(self.now);
        all.map(|(hold, waiting)| WaitingSnapshot { registration: hold.registration.id.clone(), waiting }).collect()
    }

    /// Registers a connection with the event loop.
    fn watch(&mut self, slot: usize, id: MemberId) {
        let Some(source) = self.shard.link_mut(slot).and_then(Connection::source) else { return };
        if let Err(error) = self.poll.registry().register(source, Token(slot), INTERESTS) {
            tracing::warn!(%error, member = %id, "cannot register a connection with the event loop");
            self.shard.close(slot, id, CloseReason::Lost, self.now);
        }
    }

    /// Describes a member for administrators, with the kernel's TCP_INFO if `with_tcp`; `None` for those of a self-test.
    fn view(&self, summary: &MemberSummary<'_, Connection>, with_tcp: bool) -> Option<MemberView> {
        let seat = summary.link.seat.as_ref()?;
        Some(MemberView {
            id: summary.id,
            registration: seat.registration.id.clone(),
            admission: seat.admission.clone(),
            role: summary.role,
            receives_only: summary.receives_only,
            pairing: summary.pairing,
            peer: summary.link.peer,
            tls: summary.link.tls(),
            age: self.now.since(summary.joined),
            silent: self.now.since(summary.last_received),
            messages_in: summary.tally.messages_in,
            bytes_in: summary.tally.bytes_in,
            messages_out: summary.tally.messages_out,
            bytes_out: summary.tally.bytes_out,
            outbox: summary.outbox as u64,
            has_session: summary.has_session,
            away: summary.away_since.map(|since| self.now.since(since)),
            tcp: if with_tcp { summary.link.tcp() } else { None },
        })
    }
}

/// Time after which a member whose connection hasn't been attached is removed.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Maximum number of TCP_INFO queries of one command, which take a few hundred microseconds.
const MAX_TCP_QUERIES: usize = 500;
/// Registrations and members whose traffic one command sums up, which takes some ten microseconds.
const TRAFFIC_PER_COMMAND: usize = 1000;
