//! Snapshots: any bytes are rejected or decoded; decoding never takes much more memory than there are bytes; encoding
//! gives the same bytes again; and a registry and a shard continue with the result.
//!
//! The two are put together here, and not by `Server`, which would start threads and open sockets for each of thousands
//! of inputs a second. The order of the steps is that of `Server::restore`.

use std::time::{Duration, Instant};

use ws_router_core::shard::{InMemoryLink, Moment, Pipe, Shard};
use ws_router_server::events::Events;
use ws_router_server::registry::{Registry, Rules};
use ws_router_server::snapshot::Snapshot;

use super::frames;

pub fn run(body: &[u8]) {
    // As it comes: nothing but the head is looked at.
    let _ = Snapshot::from_bytes(body);
    let mut bytes = b"ws-router state\n\0\0\0\x01".to_vec();
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend(blake3::hash(body).as_bytes());
    bytes.extend(body);
    let mut read = None;
    let cost = allocation_counter::measure(|| read = Snapshot::from_bytes(&bytes).ok());
    assert!(cost.bytes_max <= 64 * body.len() as u64 + (4 << 20), "{} bytes for {}", cost.bytes_max, body.len());
    let Some(state) = read else { return };
    let written = state.to_bytes().unwrap();
    let again = Snapshot::from_bytes(&written).unwrap();
    assert_eq!(again.members, state.members);
    assert!(again.to_bytes().unwrap() == written, "state, bytes and state again are not the same");
    continue_from(state);
}

fn continue_from(state: Snapshot) {
    let (now, rules) = (Instant::now(), rules());
    let registry = Registry::restore(state.registry, rules.clone(), Events::new(), now);
    let mut shard = Shard::new(frames::rules(1 << 20));
    let mut seats = Vec::new();
    for snapshot in state.members {
        let (id, member) = (snapshot.registration.as_str(), &snapshot.member);
        let seat = registry.restore_seat(id, member.serial, member.role, member.receives_only);
        if seat.is_none() && !member.is_closing() {
            continue;
        }
        let pipe = Pipe::with_room(1 << 30).shared();
        pipe.borrow_mut().inbound.extend([0x82, 0x81, 1, 2, 3, 4, 5, 0x80, 0x80, 1, 2, 3, 4, 0x88, 0x80, 1, 2, 3, 4]);
        if let Ok(slot) = shard.restore(snapshot.member, InMemoryLink(pipe), InMemoryLink::unconnected, NOW) {
            seats.push((slot, seat));
        }
    }
    registry.finish_restore(Duration::from_secs(60), now);
    for (slot, _) in &seats {
        shard.writable(*slot, NOW);
        shard.readable(*slot, false, NOW);
    }
    for _ in 0..100 {
        shard.resume(NOW);
        shard.flush(NOW);
    }
    shard.sweep(NOW.after(Duration::from_secs(3600)));
    shard.close_all(ws_router_core::close::CloseReason::Stopping, NOW);
    shard.sweep(NOW.after(Duration::from_secs(7200)));
    assert!(shard.is_empty());
    assert_eq!(shard.tally().outbox_bytes, 0);
    drop(seats);
    let known = registry.snapshot(now);
    let again = Registry::restore(known, rules, Events::new(), now);
    assert_eq!(again.len(), registry.len());
    registry.sweep(now + Duration::from_secs(200 * 365 * 86_400));
    assert!(registry.is_empty());
}

fn rules() -> Rules {
    Rules {
        auto_remove: true,
        linger: Duration::from_secs(5),
        unclaimed_timeout: Duration::from_secs(60),
        max_registrations: 100,
        max_members: 100,
        quotas: Default::default(),
    }
}

const NOW: Moment = Moment(1 << 50);
