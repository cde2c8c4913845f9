//! The registry by itself: concurrent registrations, joins, leaves, removals and expiry.

use std::time::{Duration, Instant};

use shuttle::thread;
use ws_router_admin_api::event::EndReason;
use ws_router_core::ids::RegistrationId;
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::{Key, KeyHasher};

use super::config::Config;
use super::events::Events;
use super::registry::{RegisterError, Registry, Request, Rules, Seat, SeatError};
use super::sync::Arc;

pub(super) const ALL: &[(&str, fn())] = &[
    ("of_racing_requests_exactly_one_gets_the_id", one_gets_the_id),
    ("an_empty_registration_ends", an_empty_registration_ends),
    ("a_seat_belongs_to_a_registration_or_its_end_is_marked", a_seat_knows_its_end),
    ("a_device_that_returns_while_the_last_member_leaves_has_its_registration", coming_back),
    ("a_late_leave_does_not_touch_the_next_registration", a_late_leave),
    ("a_hold_that_ends_while_a_device_joins_ends_no_life_of_a_member", a_hold_ends),
    ("a_snapshot_is_complete", a_snapshot_is_complete),
    ("limits_hold_in_any_race", limits_hold),
];

fn rules(linger: Duration) -> Rules {
    Rules { linger, max_registrations: 3, max_members: 2, ..Rules::of(&Config::default()) }
}

pub(super) fn registry(linger: Duration) -> Arc<Registry> {
    Registry::new(KeyHasher::new([7; 32]), rules(linger), Events::new())
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text.into())
}

pub(super) fn request(key_text: &str) -> Request {
    Request {
        kind: Kind::Lobby,
        key: key(key_text),
        host_key: key("h"),
        wanted: Some(RegistrationId::parse(ID).unwrap()),
        reject_taken: true,
        rule: None,
        terms: Default::default(),
    }
}

/// Checks that registrations without members end in time, and that the registry counts as many members as there are.
pub(super) fn is_sound(registry: &Registry, seats: usize) {
    let all = registry.list();
    assert!(all.iter().all(|one| one.seats > 0 || one.expires.is_some()), "one is empty and stays for ever");
    assert!(all.iter().all(|one| one.seats == 0 || one.expires.is_none()), "one has members and will expire");
    assert!(all.iter().all(|one| one.registration.end().is_none()), "one has ended and is still there");
    assert_eq!(all.iter().map(|one| one.seats).sum::<usize>(), seats);
    registry.sweep(Instant::now() + Duration::from_secs(1 << 20));
    assert_eq!(registry.len(), all.iter().filter(|one| one.seats > 0).count());
}

/// Takes a seat and becomes a member on it.
fn join(registry: &Arc<Registry>, with: &str) -> Result<Seat, SeatError> {
    registry.seat(ID, &key(with), None).map(|mut seat| {
        seat.activate();
        seat
    })
}

fn one_gets_the_id() {
    let registry = registry(Duration::ZERO);
    let race = |name: &'static str| {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.register(&request(name), Instant::now()))
    };
    let racers = ["a", "b", "c"].map(race);
    let results = racers.map(|racer| racer.join().unwrap());
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| result.is_ok() || *result == Err(RegisterError::Taken)));
    is_sound(&registry, 0);
}

fn an_empty_registration_ends() {
    let registry = registry(Duration::from_secs(300));
    let now = Instant::now();
    registry.register(&request("k"), now).unwrap();
    let visit = || {
        let registry = Arc::clone(&registry);
        thread::spawn(move || drop(join(&registry, "k")))
    };
    let sweep = |at: Instant| {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.sweep(at))
    };
    let again = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || _ = registry.register(&request("k"), now))
    };
    for thread in [visit(), visit(), sweep(now + Duration::from_secs(601)), again] {
        thread.join().unwrap();
    }
    is_sound(&registry, 0);
}

fn a_seat_knows_its_end() {
    let registry = registry(Duration::ZERO);
    let now = Instant::now();
    registry.register(&request("k"), now).unwrap();
    let sweeper = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.sweep(now + Duration::from_secs(600)))
    };
    let remover = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || registry.remove(ID, &key("k"), &key("h")).is_ok())
    };
    let seat = registry.seat(ID, &key("k"), None);
    sweeper.join().unwrap();
    let was_removed = remover.join().unwrap();
    match &seat {
        Ok(seat) if was_removed => assert_eq!(seat.registration.end(), Some(EndReason::Removed)),
        Ok(seat) => assert_eq!(seat.registration.end(), None, "it would have expired under its member"),
        Err(error) => assert_eq!(*error, SeatError::Unknown),
    }
    let seats = usize::from(seat.is_ok() && !was_removed);
    is_sound(&registry, seats);
}

fn coming_back() {
    let registry = registry(Duration::ZERO);
    registry.register(&request("k"), Instant::now()).unwrap();
    let seat = join(&registry, "k").unwrap();
    let leaver = thread::spawn(move || drop(seat));
    let again = registry.register(&request("k"), Instant::now());
    assert_eq!(again.unwrap().as_str(), ID, "it is free, or it is its own");
    let seat = registry.seat(ID, &key("k"), None);
    leaver.join().unwrap();
    // The last leave may end the life that was just taken over, but never the one of a member.
    assert!(seat.as_ref().is_err_and(|error| *error == SeatError::Unknown) || seat.as_ref().is_ok());
    if let Ok(seat) = &seat {
        assert_eq!(seat.registration.end(), None);
    }
    is_sound(&registry, usize::from(seat.is_ok()));
}

fn a_late_leave() {
    let registry = registry(Duration::ZERO);
    registry.register(&request("k"), Instant::now()).unwrap();
    let old = join(&registry, "k").unwrap();
    let leaver = thread::spawn(move || drop(old));
    let next = {
        let registry = Arc::clone(&registry);
        thread::spawn(move || {
            registry.force_remove(ID, ws_router_admin_api::peer::Peer::Unix { uid: 0, pid: 1 });
            registry.register(&request("other"), Instant::now()).unwrap();
            join(&registry, "other").unwrap()
        })
    };
    leaver.join().unwrap();
    let seat = next.join().unwrap();
    assert_eq!(seat.registration.end(), None);
    is_sound(&registry, 1);
    drop(seat);
    assert!(registry.is_empty());
}

fn a_hold_ends() {
    let registry = registry(Duration::ZERO);
    registry.register(&request("k"), Instant::now()).unwrap();
    let seat = join(&registry, "k").unwrap();
    let hold = registry.hold(&seat.registration).unwrap();
    let leaver = thread::spawn(move || drop(seat));
    let expiry = thread::spawn(move || drop(hold));
    let seat = join(&registry, "k");
    leaver.join().unwrap();
    expiry.join().unwrap();
    match &seat {
        Ok(seat) => assert_eq!(seat.registration.end(), None),
        Err(error) => assert_eq!(*error, SeatError::Unknown),
    }
    is_sound(&registry, usize::from(seat.is_ok()));
    drop(seat);
    assert!(registry.is_empty(), "the last that ends ends it");
}

fn a_snapshot_is_complete() {
    let old = registry(Duration::ZERO);
    let now = Instant::now();
    old.register(&request("k"), now).unwrap();
    let come_and_go = {
        let registry = Arc::clone(&old);
        thread::spawn(move || {
            drop(join(&registry, "k"));
            _ = registry.register(&request("k"), now);
        })
    };
    let copy = old.snapshot(now);
    come_and_go.join().unwrap();
    let new = Registry::restore(copy, rules(Duration::ZERO), Events::new(), now);
    new.finish_restore(Duration::from_secs(60), now);
    let serials: Vec<_> = new.list().iter().map(|one| one.registration.serial).collect();
    is_sound(&new, 0);
    let id = new.register(&request("k"), now).unwrap();
    let serial = new.find(id.as_str()).unwrap().registration.serial;
    assert!(serials.iter().all(|old| *old < serial), "a serial is given twice");
    assert!(new.restore_seat(ID, serial, Role::Peer, false).is_some());
}

fn limits_hold() {
    let registry = registry(Duration::ZERO);
    let take = |number: usize| {
        let registry = Arc::clone(&registry);
        thread::spawn(move || {
            let mine = Request { wanted: None, ..request(["a", "b", "c", "d"][number]) };
            let id = registry.register(&mine, Instant::now());
            id.ok().map(|id| (0..3).filter_map(|_| registry.seat(id.as_str(), &mine.key, None).ok()).collect())
        })
    };
    let taken = [0, 1, 2, 3].map(take).map(|thread| thread.join().unwrap());
    let seats: Vec<Vec<_>> = taken.into_iter().flatten().collect();
    assert_eq!(seats.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    is_sound(&registry, 6);
}

const ID: &str = "my-device";
