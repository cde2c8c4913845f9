use std::time::Duration;

use super::*;

mod histories;

fn rules() -> Rules {
    Rules {
        auto_remove: true,
        linger: Duration::ZERO,
        unclaimed_timeout: Duration::from_secs(600),
        max_registrations: 3,
        max_members: 2,
        quotas: Default::default(),
    }
}

fn registry(rules: Rules) -> Arc<Registry> {
    Registry::new(KeyHasher::new([7; 32]), rules, Events::new())
}

fn key(text: &str) -> Key {
    Key::new(text.into())
}

fn request(wanted: Option<&str>) -> Request {
    Request {
        kind: Kind::Lobby,
        key: key("k"),
        host_key: key("h"),
        wanted: wanted.map(|id| RegistrationId::parse(id).unwrap()),
        reject_taken: false,
        rule: None,
        terms: Terms::default(),
    }
}

impl Registry {
    /// Releases a member's seat at a time of the test's.
    fn release_at(&self, seat: Seat, now: Instant) {
        let (registration, role) = (Arc::clone(&seat.registration), seat.role);
        std::mem::forget(seat);
        self.release(&registration, role, true, now);
    }
}

/// Takes a seat and becomes a member on it.
fn join(registry: &Arc<Registry>, id: &str, role: Option<Role>) -> Seat {
    let mut seat = registry.seat(id, &key("k"), role).unwrap();
    seat.activate();
    seat
}

#[test]
fn a_free_wanted_id_is_given_and_a_taken_one_is_not() {
    let registry = registry(rules());
    let now = Instant::now();
    assert_eq!(registry.register(&request(Some("my-device")), now).unwrap().as_str(), "my-device");
    let other = Request { key: key("other"), ..request(Some("my-device")) };
    assert_ne!(registry.register(&other, now).unwrap().as_str(), "my-device");
    let strict = Request { reject_taken: true, ..other };
    assert_eq!(registry.register(&strict, now), Err(RegisterError::Taken));
}

#[test]
fn the_same_device_takes_its_registration_over_and_its_members_stay() {
    let registry = registry(rules());
    let now = Instant::now();
    let id = registry.register(&request(Some("my-device")), now).unwrap();
    let seat = registry.seat(id.as_str(), &key("k"), None).unwrap();
    assert_eq!(registry.register(&request(Some("my-device")), now).unwrap(), id);
    assert_eq!(registry.find(id.as_str()).unwrap().seats, 1);
    assert_eq!(registry.find(id.as_str()).unwrap().registration.serial, seat.registration.serial);
    let as_hostclient = Request { kind: Kind::HostClient, ..request(Some("my-device")) };
    assert_ne!(registry.register(&as_hostclient, now).unwrap(), id);
}

#[test]
fn of_many_racing_requests_exactly_one_gets_the_id() {
    let registry = registry(Rules { max_registrations: 100, ..rules() });
    let winners: usize = std::thread::scope(|scope| {
        let race = |n: usize| {
            let registry = &registry;
            scope.spawn(move || {
                let mine = Request { key: key(&n.to_string()), ..request(Some("contested")) };
                usize::from(registry.register(&mine, Instant::now()).unwrap().as_str() == "contested")
            })
        };
        let racers: Vec<_> = (0..16).map(race).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
    assert_eq!(registry.len(), 16);
}

#[test]
fn a_seat_wants_the_key_and_the_role_and_room() {
    let registry = registry(rules());
    let pair = Request { kind: Kind::HostClient, ..request(None) };
    let id = registry.register(&pair, Instant::now()).unwrap();
    let seat = |id: &str, key_text: &str, role| registry.seat(id, &key(key_text), role);
    assert_eq!(seat("no-such-id", "k", Some(Role::Host)).unwrap_err(), SeatError::Unknown);
    assert_eq!(seat(id.as_str(), "h", Some(Role::Host)).unwrap_err(), SeatError::WrongKey);
    assert_eq!(seat(id.as_str(), "k", None).unwrap_err(), SeatError::RoleRequired);
    let host = join(&registry, id.as_str(), Some(Role::Host));
    let client = join(&registry, id.as_str(), Some(Role::Client));
    assert_eq!(seat(id.as_str(), "k", Some(Role::Client)).unwrap_err(), SeatError::Full);
    drop(client);
    assert_eq!(seat(id.as_str(), "k", Some(Role::Client)).unwrap().role, Role::Client);
    drop(host);
    assert!(registry.is_empty());
}

#[test]
fn an_emptied_registration_lingers_and_its_device_can_come_back() {
    let registry = registry(Rules { linger: Duration::from_secs(300), ..rules() });
    let id = registry.register(&request(None), Instant::now()).unwrap();
    drop(join(&registry, id.as_str(), None));
    registry.sweep(Instant::now() + Duration::from_secs(299));
    let seat = join(&registry, id.as_str(), None);
    registry.sweep(Instant::now() + Duration::from_secs(9999));
    assert_eq!(registry.len(), 1);
    let registration = Arc::clone(&seat.registration);
    drop(seat);
    registry.sweep(Instant::now() + Duration::from_secs(301));
    assert!(registry.is_empty());
    assert_eq!(registration.end(), Some(EndReason::Lingered));
}

fn with_terms(kind: Kind, wanted: Option<&str>, terms: Terms) -> Request {
    Request { kind, terms, ..request(wanted) }
}

#[test]
fn a_client_key_admits_clients_only_and_the_key_everybody() {
    let registry = registry(Rules { max_members: 9, ..rules() });
    let terms = Terms { client_key: Some(key("c")), ..Terms::default() };
    let id = registry.register(&with_terms(Kind::HostClient, None, terms), Instant::now()).unwrap();
    let join = |credential: Credential<'_>, role| registry.seat(id.as_str(), credential, Some(role));
    let (key, client_key) = (key("k"), key("c"));
    assert_eq!(join(Credential::ClientKey(&client_key), Role::Host).unwrap_err(), SeatError::Forbidden);
    assert_eq!(join(Credential::ClientKey(&key), Role::Client).unwrap_err(), SeatError::WrongKey);
    assert_eq!(join(Credential::Key(&client_key), Role::Client).unwrap_err(), SeatError::WrongKey);
    let seats = [
        join(Credential::ClientKey(&client_key), Role::Client),
        join(Credential::Key(&key), Role::Client),
        join(Credential::Key(&key), Role::Host),
    ];
    assert!(seats.iter().all(Result::is_ok));
}

#[test]
fn a_receive_key_admits_peers_and_clients_that_only_receive() {
    let registry = registry(Rules { max_members: 9, ..rules() });
    for (kind, role, other) in [(Kind::Lobby, Role::Peer, None), (Kind::HostClient, Role::Client, Some(Role::Host))] {
        let terms = Terms { receive_key: Some(key("r")), ..Terms::default() };
        let id = registry.register(&with_terms(kind, None, terms), Instant::now()).unwrap();
        let receive_key = key("r");
        let join = |role| registry.seat(id.as_str(), Credential::ReceiveKey(&receive_key), Some(role));
        let seat = join(role).unwrap();
        assert!(seat.receives_only && seat.role == role);
        if let Some(host) = other {
            assert_eq!(join(host).unwrap_err(), SeatError::Forbidden);
        }
        assert!(!registry.seat(id.as_str(), &key("k"), Some(role)).unwrap().receives_only);
    }
}

#[test]
fn a_registration_without_a_client_key_has_none_that_fits() {
    let registry = registry(rules());
    let id = registry.register(&with_terms(Kind::HostClient, None, Terms::default()), Instant::now()).unwrap();
    let taken = registry.seat(id.as_str(), Credential::ClientKey(&key("k")), Some(Role::Client));
    assert_eq!(taken.unwrap_err(), SeatError::WrongKey);
}

#[test]
fn a_limit_of_members_keeps_a_seat_for_a_host() {
    let registry = registry(Rules { max_members: 9, ..rules() });
    let terms = Terms { max_members: Some(2), ..Terms::default() };
    let id = registry.register(&with_terms(Kind::HostClient, None, terms), Instant::now()).unwrap();
    let seat = |role| registry.seat(id.as_str(), &key("k"), Some(role));
    let client = seat(Role::Client).unwrap();
    assert_eq!(seat(Role::Client).unwrap_err(), SeatError::Full);
    let host = seat(Role::Host).unwrap();
    assert_eq!(seat(Role::Host).unwrap_err(), SeatError::Full);
    drop(client);
    let client = seat(Role::Client).unwrap();
    drop((host, client));
    // The router's own limit holds as well.
    registry.set_rules(Rules { max_members: 1, ..rules() });
    let _host = seat(Role::Host).unwrap();
    assert_eq!(seat(Role::Client).unwrap_err(), SeatError::Full);
}

#[test]
fn a_device_finds_its_registration_only_with_the_same_terms_but_another_expiry() {
    let registry = registry(rules());
    let now = Instant::now();
    let limited = |most, expires_in| {
        let terms = Terms { max_members: Some(most), expires_in, ..Terms::default() };
        registry.register(&with_terms(Kind::Lobby, Some("my-device"), terms), now).unwrap()
    };
    let ends_at = || registry.find("my-device").unwrap().expires_at;
    assert_eq!(limited(2, None).as_str(), "my-device");
    assert_ne!(limited(1, None).as_str(), "my-device");
    assert_eq!(ends_at(), None);
    assert_eq!(limited(2, Some(Duration::from_secs(60))).as_str(), "my-device");
    let first = ends_at().unwrap();
    assert_eq!(limited(2, None).as_str(), "my-device");
    assert_eq!(ends_at(), Some(first), "without a new one the old one stays");
    limited(2, Some(Duration::from_secs(3600)));
    assert!(ends_at().unwrap() > first + Duration::from_secs(3000));
}

#[test]
fn a_registration_ends_at_its_own_time_with_its_members_and_after_a_restart() {
    let old = registry(rules());
    let (now, wall) = (Instant::now(), SystemTime::now());
    let terms = || Terms { expires_in: Some(Duration::from_secs(60)), ..Terms::default() };
    let id = old.register(&with_terms(Kind::Lobby, None, terms()), now).unwrap();
    let removed = old.register(&with_terms(Kind::Lobby, Some("my-device"), terms()), now).unwrap();
    old.force_remove(removed.as_str(), Peer::Unix { uid: 0, pid: 1 }).unwrap();
    let bytes = rmp_serde::to_vec_named(&old.snapshot(now)).unwrap();
    let new = Registry::restore(rmp_serde::from_slice(&bytes).unwrap(), rules(), Events::new(), now);
    for registry in [old, new] {
        let seat = join(&registry, id.as_str(), None);
        assert!(registry.expire(wall + Duration::from_secs(59)).is_empty());
        let expired = registry.expire(wall + Duration::from_secs(61));
        assert_eq!(expired.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
        assert_eq!(seat.registration.end(), Some(EndReason::Expired));
        assert!(registry.is_empty() && registry.lock().expiries.is_empty());
    }
}

#[test]
fn a_new_process_knows_the_terms() {
    let (old, now) = (registry(rules()), Instant::now());
    let terms = || Terms {
        client_key: Some(key("c")),
        receive_key: Some(key("r")),
        max_members: Some(2),
        subprotocol: Some("mqtt".into()),
        expires_in: None,
        wait_s: NonZeroU32::new(60),
    };
    let id = old.register(&with_terms(Kind::HostClient, Some("my-device"), terms()), now).unwrap();
    let serial = old.find(id.as_str()).unwrap().registration.serial;
    let bytes = rmp_serde::to_vec_named(&old.snapshot(now)).unwrap();
    let new = Registry::restore(rmp_serde::from_slice(&bytes).unwrap(), rules(), Events::new(), now);
    let host = new.restore_seat(id.as_str(), serial, Role::Host, false).unwrap();
    let client = new.seat(id.as_str(), Credential::ClientKey(&key("c")), Some(Role::Client)).unwrap();
    assert_eq!(new.seat(id.as_str(), &key("k"), Some(Role::Client)).unwrap_err(), SeatError::Full);
    assert_eq!(new.find(id.as_str()).unwrap().registration.subprotocol.as_deref(), Some("mqtt"));
    assert_eq!(new.register(&with_terms(Kind::HostClient, Some("my-device"), terms()), now), Ok(id));
    drop((host, client));
}

#[test]
fn a_registration_waits_for_a_device_that_registered_again_before_its_old_connection_was_lost() {
    let (registry, now) = (registry(rules()), Instant::now());
    let id = registry.register(&request(Some("my-device")), now).unwrap();
    let old = join(&registry, id.as_str(), None);
    assert_eq!(registry.register(&request(Some("my-device")), now).as_ref(), Ok(&id));
    drop(old);
    registry.sweep(now + Duration::from_secs(599));
    let bytes = rmp_serde::to_vec_named(&registry.snapshot(now)).unwrap();
    let next = Registry::restore(rmp_serde::from_slice(&bytes).unwrap(), rules(), Events::new(), now);
    next.finish_restore(Duration::ZERO, now);
    for registry in [registry, next] {
        // Even if another member comes and goes in the meantime.
        drop(join(&registry, id.as_str(), None));
        assert_eq!(registry.register(&request(Some("my-device")), now).as_ref(), Ok(&id));
        let seat = join(&registry, id.as_str(), None);
        registry.sweep(now + Duration::from_secs(9999));
        assert_eq!(seat.registration.end(), None);
        registry.release_at(seat, now + Duration::from_secs(600));
        assert!(registry.is_empty(), "from then on the rules are as ever");
    }
}

#[test]
fn a_seat_that_nobody_became_a_member_on_leaves_its_registration_as_it_was() {
    let registry = registry(Rules { linger: Duration::from_secs(300), ..rules() });
    let now = Instant::now();
    let fresh = registry.register(&request(None), now).unwrap();
    let emptied = registry.register(&request(None), now).unwrap();
    drop(join(&registry, emptied.as_str(), None));
    registry.set_rules(rules());
    drop(registry.seat(fresh.as_str(), &key("k"), None).unwrap());
    assert_eq!(registry.len(), 2, "as when a thread is too busy, and the device is asked to try again");
    registry.sweep(now + Duration::from_secs(599));
    assert!(registry.find(fresh.as_str()).is_some() && registry.find(emptied.as_str()).is_none());
    registry.sweep(Instant::now() + Duration::from_secs(600));
    let ended: Vec<_> = registry.ended().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ended, [(EndReason::Lingered, 1), (EndReason::Unclaimed, 1)]);
}

#[test]
fn a_registration_that_nobody_joins_ends() {
    let registry = registry(rules());
    let now = Instant::now();
    let id = registry.register(&request(None), now).unwrap();
    let registration = registry.find(id.as_str()).unwrap().registration;
    registry.sweep(now + Duration::from_secs(599));
    assert_eq!(registration.end(), None);
    registry.sweep(now + Duration::from_secs(600));
    assert_eq!(registration.end(), Some(EndReason::Unclaimed));
    assert!(registry.is_empty());
    let ended: Vec<_> = registry.ended().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ended, [(EndReason::Unclaimed, 1)]);
}

#[test]
fn without_auto_removal_an_emptied_registration_stays() {
    let registry = registry(Rules { auto_remove: false, ..rules() });
    let id = registry.register(&request(None), Instant::now()).unwrap();
    drop(join(&registry, id.as_str(), None));
    registry.sweep(Instant::now() + Duration::from_secs(1 << 20));
    assert_eq!(registry.len(), 1);
}

#[test]
fn removal_wants_both_keys_and_is_seen_by_who_holds_a_seat() {
    let registry = registry(rules());
    let id = registry.register(&request(None), Instant::now()).unwrap();
    let seat = registry.seat(id.as_str(), &key("k"), None).unwrap();
    let remove = |key_text: &str, host_key: &str| registry.remove(id.as_str(), &key(key_text), &key(host_key));
    assert_eq!(remove("k", "k").unwrap_err(), RemoveError::WrongKey);
    assert_eq!(remove("h", "h").unwrap_err(), RemoveError::WrongKey);
    assert_eq!(seat.registration.end(), None);
    remove("k", "h").unwrap();
    assert_eq!(seat.registration.end(), Some(EndReason::Removed));
    assert_eq!(remove("k", "h").unwrap_err(), RemoveError::Unknown);
}

#[test]
fn a_late_leave_does_not_touch_the_next_life_of_an_id() {
    let registry = registry(rules());
    let id = registry.register(&request(Some("my-device")), Instant::now()).unwrap();
    let old = registry.seat(id.as_str(), &key("k"), None).unwrap();
    registry.force_remove(id.as_str(), Peer::Unix { uid: 0, pid: 1 }).unwrap();
    registry.register(&request(Some("my-device")), Instant::now()).unwrap();
    let new = join(&registry, id.as_str(), None);
    drop(old);
    assert_eq!(registry.find(id.as_str()).unwrap().seats, 1);
    drop(new);
    assert!(registry.is_empty());
}

#[test]
fn the_number_of_registrations_is_limited() {
    let registry = registry(rules());
    for _ in 0..3 {
        registry.register(&request(None), Instant::now()).unwrap();
    }
    assert_eq!(registry.register(&request(None), Instant::now()), Err(RegisterError::Full));
}

#[test]
fn a_new_process_has_the_same_registrations_keys_and_deadlines() {
    let lasting = Rules { linger: Duration::from_secs(300), ..rules() };
    let old = registry(lasting.clone());
    let now = Instant::now();
    let joined = old.register(&request(Some("with-a-member")), now).unwrap();
    let fresh = old.register(&request(Some("never-joined")), now).unwrap();
    let seat = old.seat(joined.as_str(), &key("k"), None).unwrap();
    let bytes = rmp_serde::to_vec_named(&old.snapshot(now + Duration::from_secs(60))).unwrap();
    let state = rmp_serde::from_slice(&bytes).unwrap();
    let later = now + Duration::from_secs(1000);
    let new = Registry::restore(state, lasting, Events::new(), later);
    assert!(new.restore_seat(joined.as_str(), Serial(99), Role::Peer, false).is_none());
    let again = new.restore_seat(joined.as_str(), seat.registration.serial, Role::Peer, false).unwrap();
    new.finish_restore(Duration::from_secs(60), later);
    assert_eq!(new.seat(joined.as_str(), &key("wrong"), None).unwrap_err(), SeatError::WrongKey);
    drop(new.seat(joined.as_str(), &key("k"), None).unwrap());
    new.sweep(later + Duration::from_secs(539));
    assert_eq!(new.len(), 2);
    new.sweep(later + Duration::from_secs(540));
    assert!(new.find(fresh.as_str()).is_none(), "its ten minutes are over");
    assert!(new.remove(joined.as_str(), &key("k"), &key("h")).is_ok());
    drop(again);
    let next = new.register(&request(None), later).unwrap();
    assert!(new.find(next.as_str()).unwrap().registration.serial > seat.registration.serial);
}

#[test]
fn a_registration_whose_members_are_told_to_come_back_waits_for_them() {
    let old = registry(rules());
    let now = Instant::now();
    let id = old.register(&request(None), now).unwrap();
    let _seat = old.seat(id.as_str(), &key("k"), None).unwrap();
    let new = Registry::restore(old.snapshot(now), rules(), Events::new(), now);
    new.finish_restore(Duration::from_secs(60), now);
    new.sweep(now + Duration::from_secs(59));
    drop(join(&new, id.as_str(), None));
    assert!(new.is_empty(), "from then on the rules are as ever");
}

#[test]
fn a_rule_bounds_the_registrations_made_under_it_and_their_members() {
    let quota = Quota { registrations: Some(1), members: Some(1) };
    let bounded = Rules { quotas: [("phones".into(), quota)].into(), max_registrations: 10, ..rules() };
    let registry = registry(bounded.clone());
    let now = Instant::now();
    let under = |rule: Option<&str>, wanted| Request { rule: rule.map(Arc::from), ..request(wanted) };
    let id = registry.register(&under(Some("phones"), Some("my-device")), now).unwrap();
    assert_eq!(registry.register(&under(Some("phones"), None), now), Err(RegisterError::Quota));
    assert_eq!(registry.register(&under(Some("phones"), Some("my-device")), now).as_ref(), Ok(&id), "its own");
    registry.register(&under(Some("others"), None), now).unwrap();
    registry.register(&under(None, None), now).unwrap();
    let seat = join(&registry, id.as_str(), None);
    assert_eq!(registry.seat(id.as_str(), &key("k"), None).unwrap_err(), SeatError::Full);
    // The count continues in a new process, and over a change of the rules.
    let bytes = rmp_serde::to_vec_named(&registry.snapshot(now)).unwrap();
    let next = Registry::restore(rmp_serde::from_slice(&bytes).unwrap(), bounded, Events::new(), now);
    assert_eq!(next.register(&under(Some("phones"), None), now), Err(RegisterError::Quota));
    next.set_rules(Rules { max_registrations: 10, ..rules() });
    next.register(&under(Some("phones"), None), now).unwrap();
    // The end of a registration frees its place.
    registry.release_at(seat, now + rules().unclaimed_timeout);
    registry.register(&under(Some("phones"), None), now).unwrap();
}

#[test]
fn a_state_that_names_an_id_or_a_serial_twice_is_taken_once() {
    let old = registry(rules());
    let now = Instant::now();
    for name in ["my-device", "my-other"] {
        old.register(&request(Some(name)), now).unwrap();
    }
    let mut state = serde_json::to_value(old.snapshot(now)).unwrap();
    let all = state["registrations"].as_array_mut().unwrap();
    let (mut same_id, mut same_serial) = (all[0].clone(), all[0].clone());
    (same_id["serial"], same_id["ends_in_ms"]) = (99.into(), 5.into());
    same_serial["id"] = "my-third".into();
    all.extend([same_id, same_serial]);
    let new = Registry::restore(serde_json::from_value(state).unwrap(), rules(), Events::new(), now);
    assert_eq!(new.len(), 2);
    new.sweep(now + Duration::from_secs(601));
    assert!(new.is_empty());
}

#[test]
fn a_hold_keeps_an_emptied_registration_and_its_end_is_as_the_last_members_leave() {
    let (registry, now) = (registry(rules()), Instant::now());
    let terms = || Terms { wait_s: NonZeroU32::new(60), ..Terms::default() };
    let id = registry.register(&with_terms(Kind::Lobby, Some("my-device"), terms()), now).unwrap();
    let seat = join(&registry, id.as_str(), None);
    let (wait, hold) = seat.hold().unwrap();
    assert_eq!(wait, Duration::from_secs(60));
    drop(seat);
    registry.sweep(now + Duration::from_secs(1 << 20));
    assert_eq!(registry.find(id.as_str()).unwrap().expires, None);
    // A member that comes and goes changes nothing.
    drop(join(&registry, id.as_str(), None));
    let second = registry.hold(&hold.registration).unwrap();
    drop(hold);
    assert_eq!(registry.len(), 1);
    drop(second);
    assert!(registry.is_empty());
    let ended: Vec<_> = registry.ended().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ended, [(EndReason::Emptied, 1)]);
}

#[test]
fn a_hold_without_a_member_follows_the_rules_when_it_ends() {
    for (auto_remove, linger, is_kept) in [(true, 300, true), (false, 0, false)] {
        let linger = Duration::from_secs(linger);
        let registry = registry(Rules { auto_remove, linger, ..rules() });
        let id = registry.register(&request(None), Instant::now()).unwrap();
        let registration = registry.find(id.as_str()).unwrap().registration;
        drop(join(&registry, id.as_str(), None));
        drop(registry.hold(&registration).unwrap());
        assert_eq!(registry.find(id.as_str()).unwrap().expires.is_some(), is_kept);
        // Before any member has joined, the registration goes on to wait for one.
        let fresh = registry.register(&request(None), Instant::now()).unwrap();
        let registration = registry.find(fresh.as_str()).unwrap().registration;
        let hold = registry.hold(&registration).unwrap();
        assert_eq!(registry.find(fresh.as_str()).unwrap().expires, None);
        drop(hold);
        assert!(registry.find(fresh.as_str()).unwrap().expires.is_some());
    }
}

#[test]
fn a_hold_outlives_no_removal_and_touches_no_later_registration() {
    let (registry, now) = (registry(rules()), Instant::now());
    let id = registry.register(&request(Some("my-device")), now).unwrap();
    let registration = registry.find(id.as_str()).unwrap().registration;
    let hold = registry.hold(&registration).unwrap();
    registry.remove(id.as_str(), &key("k"), &key("h")).unwrap();
    assert!(registry.hold(&registration).is_none());
    registry.register(&request(Some("my-device")), now).unwrap();
    drop(join(&registry, id.as_str(), None));
    assert!(registry.is_empty(), "the hold was the earlier registration's");
    drop(hold);
}

#[test]
fn a_new_process_holds_the_registrations_in_which_messages_wait() {
    let (old, now) = (registry(rules()), Instant::now());
    let terms = || Terms { wait_s: NonZeroU32::new(60), ..Terms::default() };
    let id = old.register(&with_terms(Kind::Lobby, Some("my-device"), terms()), now).unwrap();
    let other = old.register(&with_terms(Kind::Lobby, Some("my-other"), terms()), now).unwrap();
    let (serial, mut holds) = (old.find(id.as_str()).unwrap().registration.serial, Vec::new());
    for id in [&id, &other] {
        let seat = join(&old, id.as_str(), None);
        holds.extend(seat.hold());
    }
    let bytes = rmp_serde::to_vec_named(&old.snapshot(now)).unwrap();
    let new = Registry::restore(rmp_serde::from_slice(&bytes).unwrap(), rules(), Events::new(), now);
    assert!(new.restore_hold(id.as_str(), Serial(99)).is_none());
    let (wait, hold) = new.restore_hold(id.as_str(), serial).unwrap();
    assert_eq!(wait, Duration::from_secs(60));
    assert_eq!(hold.registration.wait(), Some(Duration::from_secs(60)));
    new.finish_restore(Duration::from_secs(60), now);
    assert!(new.find(id.as_str()).unwrap().expires.is_none());
    assert!(new.find(other.as_str()).unwrap().expires.is_some(), "what waited there wasn't handed over");
    drop(hold);
    assert!(new.find(id.as_str()).is_none());
}
