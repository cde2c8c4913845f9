use super::*;

fn id(name: &str) -> RegistrationId {
    RegistrationId::parse(name).unwrap()
}

fn registered(at_ms: u64, name: &str) -> Event {
    Event { at_ms, kind: EventKind::Registered { registration: id(name), kind: Kind::Lobby, terms: Terms::default() } }
}

fn joined(at_ms: u64, name: &str, member: u64) -> Event {
    let peer = Peer::inet("127.0.0.1:5000".parse().unwrap());
    Event {
        at_ms,
        kind: EventKind::Joined {
            registration: id(name),
            member: MemberId(member),
            role: Role::Peer,
            peer,
            admission: None,
        },
    }
}

fn ended(at_ms: u64, name: &str) -> Event {
    Event { at_ms, kind: EventKind::Ended { registration: id(name), reason: EndReason::Emptied, by: None } }
}

fn removed(at_ms: u64, name: &str) -> Event {
    Event { at_ms, kind: EventKind::Ended { registration: id(name), reason: EndReason::Removed, by: None } }
}

fn left(at_ms: u64, name: &str, member: u64) -> Event {
    let kind = EventKind::Left {
        registration: id(name),
        member: MemberId(member),
        role: Role::Peer,
        reason: CloseReason::Removed,
        by: None,
        code: None,
        silent_ms: 0,
        messages_in: 0,
        bytes_in: 0,
        messages_out: 0,
        bytes_out: 0,
        admission: None,
    };
    Event { at_ms, kind }
}

fn sent(at_ms: u64, name: &str, rule: &str, messages_in: u64) -> Event {
    let admission = Some(Arc::new(Admission { rule: rule.into(), token_name: None }));
    let kind = EventKind::Sent { registration: id(name), messages_in, bytes_in: 10 * messages_in, admission };
    Event { at_ms, kind }
}

fn history(events: &[Event]) -> History {
    let mut history = History::default();
    events.iter().for_each(|event| history.record(event));
    history
}

#[test]
fn a_registration_is_remembered_after_its_end_and_for_a_while() {
    let events = [registered(1, "my-device"), joined(2, "my-device", 7), ended(3, "my-device")];
    let mut history = history(&events);
    assert_eq!(history.of(&id("my-device")), Some((0, events.to_vec())));
    history.record(&registered(3 + RETENTION.as_millis() as u64, "other-device"));
    assert!(history.of(&id("my-device")).is_some());
    history.record(&registered(4 + RETENTION.as_millis() as u64, "third-device"));
    assert_eq!(history.of(&id("my-device")), None);
    assert_eq!(history.total, 2);
}

#[test]
fn reports_of_sends_are_added_up_until_something_else_happens() {
    let events = [
        registered(1, "my-device"),
        sent(2, "my-device", "home", 3),
        sent(3, "my-device", "work", 4),
        sent(4, "my-device", "home", 5),
        joined(5, "my-device", 7),
        sent(6, "my-device", "home", 6),
    ];
    let expected = [
        registered(1, "my-device"),
        sent(4, "my-device", "home", 8),
        sent(3, "my-device", "work", 4),
        joined(5, "my-device", 7),
        sent(6, "my-device", "home", 6),
    ];
    let mut history = history(&events);
    assert_eq!(history.of(&id("my-device")), Some((0, expected.to_vec())));
    assert_eq!(history.total, expected.len());
    history.record(&ended(7, "my-device"));
    history.record(&sent(8, "my-device", "home", 1));
    history.record(&sent(8, "unknown-device", "home", 1));
    let (_, events) = history.of(&id("my-device")).unwrap();
    assert_eq!((events.last(), history.total), (Some(&ended(7, "my-device")), 6));
    assert_eq!(history.of(&id("unknown-device")), None);
}

#[test]
fn only_the_last_events_of_a_registration_are_kept_and_the_others_counted() {
    let events: Vec<_> = (0..100).map(|at| joined(at, "my-device", at)).collect();
    let (forgotten, kept) = history(&events).of(&id("my-device")).unwrap();
    assert_eq!((forgotten, kept.len()), (100 - MAX_PER_REGISTRATION as u64, MAX_PER_REGISTRATION));
    assert_eq!(kept.last(), events.last());
}

#[test]
fn an_id_that_is_registered_again_keeps_its_history() {
    let later = RETENTION.as_millis() as u64 + 10;
    let mut history = history(&[registered(1, "my-device"), ended(2, "my-device"), registered(3, "my-device")]);
    history.record(&registered(later, "other-device"));
    assert_eq!(history.of(&id("my-device")).unwrap().1.len(), 3);
}

#[test]
fn registrations_that_were_removed_with_members_are_dropped_like_others() {
    let mut history = History::default();
    for number in 0..MAX_ENDED as u64 + 100 {
        let name = format!("device-{number}");
        for event in [registered(1, &name), joined(1, &name, number), removed(1, &name), left(1, &name, number)] {
            history.record(&event);
        }
    }
    assert!(history.registrations.len() <= MAX_ENDED + 1, "{}", history.registrations.len());
    // A member that leaves after its registration was dropped doesn't start a new timeline.
    history.record(&left(2, "device-0", 0));
    assert_eq!(history.of(&id("device-0")), None);
    history.record(&registered(2 + RETENTION.as_millis() as u64, "other-device"));
    assert_eq!((history.registrations.len(), history.total), (1, 1));
}

#[test]
fn the_removal_of_a_registration_is_kept_when_many_members_leave_after_it() {
    let crowd = 0..100u64;
    let mut events: Vec<_> = crowd.clone().map(|member| joined(member, "my-device", member)).collect();
    events.push(removed(100, "my-device"));
    events.extend(crowd.map(|member| left(101 + member, "my-device", member)));
    let history = history(&events);
    let (forgotten, kept) = history.of(&id("my-device")).unwrap();
    assert_eq!((forgotten, kept.len()), (201 - MAX_PER_REGISTRATION as u64, MAX_PER_REGISTRATION));
    assert_eq!((&kept[0], kept.last()), (&events[100], events.last()));
    let exported = history.export();
    assert_eq!((exported.len(), &exported[0]), (MIN_PER_REGISTRATION, &events[100]));
}

#[test]
fn a_join_after_the_end_of_an_empty_registration_belongs_to_the_next_one() {
    // Events that two threads publish at the same time may arrive in either order.
    let history = history(&[registered(2, "my-device"), ended(1, "my-device"), joined(3, "my-device", 1)]);
    assert!(history.registrations["my-device"].ended.is_none());
}

#[test]
fn ended_registrations_are_dropped_first_and_then_the_oldest_events_of_others() {
    let mut history = history(&[registered(0, "ended-device"), ended(0, "ended-device")]);
    for number in 0..MAX_TOTAL / MAX_PER_REGISTRATION + 1 {
        for member in 0..MAX_PER_REGISTRATION as u64 {
            history.record(&joined(1, &format!("device-{number}"), member));
        }
    }
    assert_eq!(history.of(&id("ended-device")), None);
    assert!(history.total <= MAX_TOTAL + MIN_PER_REGISTRATION, "{}", history.total);
    assert_eq!(history.of(&id("device-0")).unwrap().1.len(), MAX_PER_REGISTRATION);
    assert_eq!(
        history.of(&id(&format!("device-{}", MAX_TOTAL / MAX_PER_REGISTRATION))).unwrap().1.len(),
        MIN_PER_REGISTRATION
    );
}

#[test]
fn a_new_process_has_the_last_events_in_the_same_form() {
    let mut events: Vec<_> = (0..20).map(|at| joined(at, "my-device", at)).collect();
    events.push(ended(20, "my-device"));
    let exported = history(&events).export();
    assert_eq!(exported, events[events.len() - MIN_PER_REGISTRATION..]);
    let bytes = rmp_serde::to_vec_named(&exported).unwrap();
    assert_eq!(rmp_serde::from_slice::<Vec<Event>>(&bytes).unwrap(), exported);
    assert_eq!(history(&exported).of(&id("my-device")), Some((0, exported)));
}

#[test]
fn an_event_is_small() {
    assert!(size_of::<Entry>() <= 80);
}
