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

fn directory(rules: Rules) -> Arc<Directory> {
    Directory::new(KeyHasher::new([7; 32]), rules, Events::new())
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
    }
}

/// Takes a seat and becomes a member on it.
fn join(directory: &Arc<Directory>, id: &str, role: Option<Role>) -> Seat {
    let mut seat = directory.seat(id, &key("k"), role).unwrap();
    seat.occupy();
    seat
}

#[test]
fn a_free_wanted_id_is_given_and_a_taken_one_is_not() {
    let directory = directory(rules());
    let now = Instant::now();
    assert_eq!(directory.register(&request(Some("my-device")), now).unwrap().as_str(), "my-device");
    let other = Request { key: key("other"), ..request(Some("my-device")) };
    assert_ne!(directory.register(&other, now).unwrap().as_str(), "my-device");
    let strict = Request { reject_taken: true, ..other };
    assert_eq!(directory.register(&strict, now), Err(RegisterError::Taken));
}

#[test]
fn the_same_device_takes_its_registration_over_and_its_members_stay() {
    let directory = directory(rules());
    let now = Instant::now();
    let id = directory.register(&request(Some("my-device")), now).unwrap();
    let seat = directory.seat(id.as_str(), &key("k"), None).unwrap();
    assert_eq!(directory.register(&request(Some("my-device")), now).unwrap(), id);
    assert_eq!(directory.find(id.as_str()).unwrap().seats, 1);
    assert_eq!(directory.find(id.as_str()).unwrap().registration.serial, seat.registration.serial);
    let as_hostclient = Request { kind: Kind::HostClient, ..request(Some("my-device")) };
    assert_ne!(directory.register(&as_hostclient, now).unwrap(), id);
}

#[test]
fn of_many_racing_requests_exactly_one_gets_the_id() {
    let directory = directory(Rules { max_registrations: 100, ..rules() });
    let winners: usize = std::thread::scope(|scope| {
        let race = |n: usize| {
            let directory = &directory;
            scope.spawn(move || {
                let mine = Request { key: key(&n.to_string()), ..request(Some("contested")) };
                usize::from(directory.register(&mine, Instant::now()).unwrap().as_str() == "contested")
            })
        };
        let racers: Vec<_> = (0..16).map(race).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
    assert_eq!(directory.len(), 16);
}

#[test]
fn a_seat_wants_the_key_and_the_role_and_room() {
    let directory = directory(rules());
    let pair = Request { kind: Kind::HostClient, ..request(None) };
    let id = directory.register(&pair, Instant::now()).unwrap();
    let seat = |id: &str, key_text: &str, role| directory.seat(id, &key(key_text), role);
    assert_eq!(seat("no-such-id", "k", Some(Role::Host)).unwrap_err(), SeatError::Unknown);
    assert_eq!(seat(id.as_str(), "h", Some(Role::Host)).unwrap_err(), SeatError::WrongKey);
    assert_eq!(seat(id.as_str(), "k", None).unwrap_err(), SeatError::RoleRequired);
    let host = join(&directory, id.as_str(), Some(Role::Host));
    let client = join(&directory, id.as_str(), Some(Role::Client));
    assert_eq!(seat(id.as_str(), "k", Some(Role::Client)).unwrap_err(), SeatError::Full);
    drop(client);
    assert_eq!(seat(id.as_str(), "k", Some(Role::Client)).unwrap().role, Role::Client);
    drop(host);
    assert!(directory.is_empty());
}

#[test]
fn an_emptied_registration_lingers_and_its_device_can_come_back() {
    let directory = directory(Rules { linger: Duration::from_secs(300), ..rules() });
    let id = directory.register(&request(None), Instant::now()).unwrap();
    drop(join(&directory, id.as_str(), None));
    directory.sweep(Instant::now() + Duration::from_secs(299));
    let seat = join(&directory, id.as_str(), None);
    directory.sweep(Instant::now() + Duration::from_secs(9999));
    assert_eq!(directory.len(), 1);
    let registration = Arc::clone(&seat.registration);
    drop(seat);
    directory.sweep(Instant::now() + Duration::from_secs(301));
    assert!(directory.is_empty());
    assert_eq!(registration.end(), Some(EndReason::Lingered));
}

#[test]
fn a_seat_that_nobody_became_a_member_on_leaves_its_registration_as_it_was() {
    let directory = directory(Rules { linger: Duration::from_secs(300), ..rules() });
    let now = Instant::now();
    let fresh = directory.register(&request(None), now).unwrap();
    let emptied = directory.register(&request(None), now).unwrap();
    drop(join(&directory, emptied.as_str(), None));
    directory.set_rules(rules());
    drop(directory.seat(fresh.as_str(), &key("k"), None).unwrap());
    assert_eq!(directory.len(), 2, "as when a thread is too busy, and the device is told to try again");
    directory.sweep(now + Duration::from_secs(599));
    assert!(directory.find(fresh.as_str()).is_some() && directory.find(emptied.as_str()).is_none());
    directory.sweep(Instant::now() + Duration::from_secs(600));
    let ended: Vec<_> = directory.ended().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ended, [(EndReason::Lingered, 1), (EndReason::Unclaimed, 1)]);
}

#[test]
fn a_registration_that_nobody_joins_ends() {
    let directory = directory(rules());
    let now = Instant::now();
    let id = directory.register(&request(None), now).unwrap();
    let registration = directory.find(id.as_str()).unwrap().registration;
    directory.sweep(now + Duration::from_secs(599));
    assert_eq!(registration.end(), None);
    directory.sweep(now + Duration::from_secs(600));
    assert_eq!(registration.end(), Some(EndReason::Unclaimed));
    assert!(directory.is_empty());
    let ended: Vec<_> = directory.ended().filter(|(_, count)| *count > 0).collect();
    assert_eq!(ended, [(EndReason::Unclaimed, 1)]);
}

#[test]
fn without_auto_removal_an_emptied_registration_stays() {
    let directory = directory(Rules { auto_remove: false, ..rules() });
    let id = directory.register(&request(None), Instant::now()).unwrap();
    drop(join(&directory, id.as_str(), None));
    directory.sweep(Instant::now() + Duration::from_secs(1 << 20));
    assert_eq!(directory.len(), 1);
}

#[test]
fn removal_wants_both_keys_and_is_seen_by_who_holds_a_seat() {
    let directory = directory(rules());
    let id = directory.register(&request(None), Instant::now()).unwrap();
    let seat = directory.seat(id.as_str(), &key("k"), None).unwrap();
    let remove = |key_text: &str, host_key: &str| directory.remove(id.as_str(), &key(key_text), &key(host_key));
    assert_eq!(remove("k", "k").unwrap_err(), RemoveError::WrongKey);
    assert_eq!(remove("h", "h").unwrap_err(), RemoveError::WrongKey);
    assert_eq!(seat.registration.end(), None);
    remove("k", "h").unwrap();
    assert_eq!(seat.registration.end(), Some(EndReason::Removed));
    assert_eq!(remove("k", "h").unwrap_err(), RemoveError::Unknown);
}

#[test]
fn a_late_leave_does_not_touch_the_next_life_of_an_id() {
    let directory = directory(rules());
    let id = directory.register(&request(Some("my-device")), Instant::now()).unwrap();
    let old = directory.seat(id.as_str(), &key("k"), None).unwrap();
    directory.force_remove(id.as_str(), Peer::Unix { uid: 0, pid: 1 }).unwrap();
    directory.register(&request(Some("my-device")), Instant::now()).unwrap();
    let new = join(&directory, id.as_str(), None);
    drop(old);
    assert_eq!(directory.find(id.as_str()).unwrap().seats, 1);
    drop(new);
    assert!(directory.is_empty());
}

#[test]
fn the_number_of_registrations_is_limited() {
    let directory = directory(rules());
    for _ in 0..3 {
        directory.register(&request(None), Instant::now()).unwrap();
    }
    assert_eq!(directory.register(&request(None), Instant::now()), Err(RegisterError::Full));
}

#[test]
fn a_successor_knows_the_same_registrations_keys_and_deadlines() {
    let lasting = Rules { linger: Duration::from_secs(300), ..rules() };
    let old = directory(lasting.clone());
    let now = Instant::now();
    let joined = old.register(&request(Some("with-a-member")), now).unwrap();
    let fresh = old.register(&request(Some("never-joined")), now).unwrap();
    let seat = old.seat(joined.as_str(), &key("k"), None).unwrap();
    let bytes = rmp_serde::to_vec_named(&old.state(now + Duration::from_secs(60))).unwrap();
    let state = rmp_serde::from_slice(&bytes).unwrap();
    let later = now + Duration::from_secs(1000);
    let new = Directory::succeed(state, lasting, Events::new(), later);
    assert!(new.retake(joined.as_str(), Serial(99), Role::Peer).is_none());
    let again = new.retake(joined.as_str(), seat.registration.serial, Role::Peer).unwrap();
    new.settle(Duration::from_secs(60), later);
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
    let old = directory(rules());
    let now = Instant::now();
    let id = old.register(&request(None), now).unwrap();
    let _seat = old.seat(id.as_str(), &key("k"), None).unwrap();
    let new = Directory::succeed(old.state(now), rules(), Events::new(), now);
    new.settle(Duration::from_secs(60), now);
    new.sweep(now + Duration::from_secs(59));
    drop(join(&new, id.as_str(), None));
    assert!(new.is_empty(), "from then on the rules are as ever");
}

#[test]
fn a_rule_bounds_the_registrations_made_under_it_and_their_members() {
    let quota = Quota { registrations: Some(1), members: Some(1) };
    let bounded = Rules { quotas: [("phones".into(), quota)].into(), max_registrations: 10, ..rules() };
    let directory = directory(bounded.clone());
    let now = Instant::now();
    let under = |rule: Option<&str>, wanted| Request { rule: rule.map(Arc::from), ..request(wanted) };
    let id = directory.register(&under(Some("phones"), Some("my-device")), now).unwrap();
    assert_eq!(directory.register(&under(Some("phones"), None), now), Err(RegisterError::Quota));
    assert_eq!(directory.register(&under(Some("phones"), Some("my-device")), now).as_ref(), Ok(&id), "its own");
    directory.register(&under(Some("others"), None), now).unwrap();
    directory.register(&under(None, None), now).unwrap();
    let seat = join(&directory, id.as_str(), None);
    assert_eq!(directory.seat(id.as_str(), &key("k"), None).unwrap_err(), SeatError::Full);
    // A successor counts on, and so it is when the rules change.
    let bytes = rmp_serde::to_vec_named(&directory.state(now)).unwrap();
    let next = Directory::succeed(rmp_serde::from_slice(&bytes).unwrap(), bounded, Events::new(), now);
    assert_eq!(next.register(&under(Some("phones"), None), now), Err(RegisterError::Quota));
    next.set_rules(Rules { max_registrations: 10, ..rules() });
    next.register(&under(Some("phones"), None), now).unwrap();
    // Whatever ends frees its place.
    drop(seat);
    directory.register(&under(Some("phones"), None), now).unwrap();
}

#[test]
fn a_state_that_names_an_id_or_a_serial_twice_is_taken_once() {
    let old = directory(rules());
    let now = Instant::now();
    for name in ["my-device", "my-other"] {
        old.register(&request(Some(name)), now).unwrap();
    }
    let mut state = serde_json::to_value(old.state(now)).unwrap();
    let all = state["registrations"].as_array_mut().unwrap();
    let (mut same_id, mut same_serial) = (all[0].clone(), all[0].clone());
    (same_id["serial"], same_id["ends_in_ms"]) = (99.into(), 5.into());
    same_serial["id"] = "my-third".into();
    all.extend([same_id, same_serial]);
    let new = Directory::succeed(serde_json::from_value(state).unwrap(), rules(), Events::new(), now);
    assert_eq!(new.len(), 2);
    new.sweep(now + Duration::from_secs(601));
    assert!(new.is_empty());
}
