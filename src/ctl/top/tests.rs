//! Samples for the tests of this module's parts, and tests of the state.

use std::time::{Duration, Instant};

use serde_json::json;
use ws_router_admin_api as wire;
use ws_router_core::kind::{Kind, Role};

use super::columns::Column;
use super::keys::{Command, Mode};
use super::listing::Step;
use super::rates::Counts;
use super::rows::{Pace, RegistrationRow};
use super::state::{Action, Dialog, Effect, Sample, State};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Returns the row of a registration without traffic.
pub(super) fn registration(id: &str, seats: u64) -> RegistrationRow {
    RegistrationRow { known: known(id, seats, 0), pace: Pace::default() }
}

/// Returns a registration that has received this many messages of 100 bytes, each delivered to one member.
pub(super) fn known(id: &str, seats: u64, messages: u64) -> wire::Registration {
    wire::Registration {
        id: id.into(),
        kind: Kind::Lobby,
        seats,
        since_ms: 0,
        age_ms: 90_000,
        expires_in_ms: None,
        ends_in_ms: None,
        max_members: None,
        client_key: false,
        receive_key: false,
        subprotocol: None,
        rule: None,
        messages_in: messages,
        bytes_in: messages * 100,
        messages_out: messages,
        bytes_out: messages * 100,
        outbox_bytes: 0,
        wait_ms: None,
        waiting_messages: 0,
        waiting_bytes: 0,
        waiting_left_ms: None,
        waiting_for: Vec::new(),
        pairs: None,
        waiting_clients: None,
    }
}

/// Returns a member over TCP.
pub(super) fn member(id: u64, role: Role) -> wire::Member {
    wire::Member {
        id,
        registration: "living-room".into(),
        role,
        receives_only: false,
        admission: None,
        pairing: None,
        paired_with: None,
        address: format!("192.0.2.7:{}", 50_000 + id),
        tls: id.is_multiple_of(2),
        tls_in_kernel: false,
        since_ms: 0,
        age_ms: 61_000,
        silent_ms: 3_000,
        messages_in: 10 * id,
        bytes_in: 1000 * id,
        messages_out: 20 * id,
        bytes_out: 2000 * id,
        outbox_bytes: 4096 * id,
        session: false,
        away_ms: None,
        round_trip_us: Some(1500 * id),
        retransmits: Some(id),
        unsent_bytes: Some(512 * id),
    }
}

/// Returns the status of a daemon with this uptime, whose totals are those of these registrations.
pub(super) fn status(uptime: Duration, registrations: &[wire::Registration]) -> wire::Status {
    let sum = |of: fn(&wire::Registration) -> u64| registrations.iter().map(of).sum::<u64>();
    let counts = json!({ "accepted": 0, "accept_errors": 0, "tls_handshakes": 0, "tls_failures": 0,
        "requests": 0, "registered": 0, "reloads": 0, "failed_reloads": 0 });
    let status = json!({
        "version": "0.1.0", "pid": 1, "uptime_ms": uptime.as_millis() as u64, "listeners": ["[::]:8741"],
        "registrations": registrations.len(), "members": sum(|one| one.seats), "connections": sum(|one| one.seats) + 1,
        "pending": 1, "frontend": counts, "refusals": {}, "closes": {},
        "relay": { "threads": 2, "messages_in": sum(|one| one.messages_in), "bytes_in": sum(|one| one.bytes_in),
            "messages_out": sum(|one| one.messages_out), "bytes_out": sum(|one| one.bytes_out), "messages_undelivered": 0,
            "outbox_bytes": 1536, "buffered_bytes": 4096, "buffered_limit_bytes": 1 << 30 },
        "memory": { "resident_bytes": 34 << 20, "peak_bytes": 40 << 20 },
        "descriptors": { "open": 30, "limit": 1024 },
    });
    serde_json::from_value(status).unwrap()
}

/// Returns a sample of a daemon that started at `begin`, taken `after` later.
pub(super) fn sample(begin: Instant, after: Duration, registrations: Vec<wire::Registration>) -> Sample {
    Sample { at: begin + after, status: status(after, &registrations), registrations, detail: None }
}

/// Returns the state after this many samples of two registrations, one of which relays 10 messages a second.
pub(super) fn watched(begin: Instant, samples: u32) -> State {
    let at = |number: u32| {
        let talked = known("living-room", 2, 10 * u64::from(number));
        sample(begin, SECOND * (100 + number), vec![known("kitchen", 5, 3), talked])
    };
    let mut state = State::new(at(0), SECOND);
    (1..samples).for_each(|number| state.sample(at(number)));
    state
}

/// Returns the same state with the busy registration open, and its members known.
pub(super) fn opened(begin: Instant) -> State {
    let mut state = watched(begin, 2);
    assert_eq!(state.apply(Command::Open), Some(Effect::Watch(Some("living-room".into()))));
    for number in 2..4 {
        let registration = known("living-room", 2, 10 * number);
        let members = vec![member(1, Role::Host), member(2, Role::Client)];
        let mut next =
            sample(begin, SECOND * (100 + number as u32), vec![known("kitchen", 5, 3), registration.clone()]);
        next.detail = Some(("living-room".into(), Some(wire::RegistrationDetail { registration, members })));
        state.sample(next);
    }
    state
}

fn ids(state: &State) -> Vec<&str> {
    state.registrations.rows().iter().map(|row| row.known.id.as_str()).collect()
}

#[test]
fn rates_are_the_difference_of_two_samples() {
    let begin = Instant::now();
    let state = watched(begin, 1);
    assert_eq!((state.totals.latest(), state.registrations.rows()[0].pace.rates), (None, None));
    let state = watched(begin, 2);
    let totals = state.totals.latest().unwrap();
    assert_eq!((totals.messages_in, totals.bytes_in, totals.messages_out), (10.0, 1000.0, 10.0));
    // The busiest first.
    assert_eq!(ids(&state), ["living-room", "kitchen"]);
    let rates = state.registrations.rows().iter().map(|row| row.pace.rates.unwrap().messages());
    assert_eq!(rates.collect::<Vec<_>>(), [20.0, 0.0]);
}

#[test]
fn a_registration_made_between_two_samples_has_rates_at_once() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    state.sample(sample(begin, SECOND * 103, vec![known("garden", 2, 8), known("kitchen", 5, 3)]));
    let garden = state.registrations.rows().iter().find(|row| row.known.id == "garden").unwrap();
    // Two seconds after the last sample.
    assert_eq!(garden.pace.rates.unwrap().messages_in, 4.0);
}

#[test]
fn a_registration_whose_counters_restarted_has_no_rates_for_one_sample() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    let anew = |number: u32| sample(begin, SECOND * (101 + number), vec![known("living-room", 1, number.into())]);
    state.sample(anew(1));
    assert_eq!(state.registrations.rows()[0].pace.rates, None);
    state.sample(anew(2));
    assert_eq!(state.registrations.rows()[0].pace.rates.unwrap().messages_in, 1.0);
}

#[test]
fn a_sample_right_after_another_keeps_the_rates() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    let (before, drawn) = (state.totals.latest(), state.registrations.rows()[0].pace.rates);
    let soon = SECOND * 101 + SECOND / 10;
    state.sample(sample(begin, soon, vec![known("living-room", 3, 110)]));
    assert_eq!((state.totals.latest(), state.registrations.rows()[0].pace.rates), (before, drawn));
    assert_eq!(state.registrations.rows()[0].known.seats, 3);
    // The next sample is compared with the one before: 100 in a second, after 10 in the second before.
    state.sample(sample(begin, SECOND * 102, vec![known("living-room", 3, 110)]));
    assert_eq!(state.registrations.rows()[0].pace.rates.unwrap().messages_in, 55.0);
}

#[test]
fn a_daemon_that_does_not_answer_and_its_return_are_noted() {
    let begin = Instant::now();
    let (mut state, at) = (watched(begin, 2), |seconds: u32| begin + SECOND * seconds);
    assert_eq!(state.note(at(101)), None);
    state.lost("no daemon at /x".into(), at(102));
    state.lost("no daemon at /x".into(), at(103));
    let away = "no answer from the daemon for 3s (no daemon at /x); retrying";
    assert_eq!(state.note(at(105)).as_deref(), Some(away));
    // The last sample stays on the screen.
    assert_eq!(ids(&state).len(), 2);
    let mut back = sample(begin, SECOND * 106, vec![known("living-room", 2, 5)]);
    back.status.uptime_ms = 1000;
    state.sample(back);
    assert_eq!(state.note(at(107)).as_deref(), Some("the daemon is back after 4s, and was restarted"));
    // The totals have restarted.
    assert_eq!(state.totals.latest(), None);
    assert_eq!(state.note(at(120)), None);
}

#[test]
fn a_restart_between_two_samples_is_noted() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    let mut next = sample(begin, SECOND * 102, vec![known("living-room", 2, 500)]);
    next.status.uptime_ms = 200;
    state.sample(next);
    assert_eq!(state.note(begin + SECOND * 102).as_deref(), Some("the daemon was restarted"));
    // The counters of members survive a restart, 10 and 490 messages; the totals don't.
    assert_eq!(state.totals.latest(), None);
    assert_eq!(state.registrations.rows()[0].pace.rates.unwrap().messages_in, 250.0);
}

#[test]
fn a_registration_is_opened_into_its_members_and_closed_again() {
    let begin = Instant::now();
    let mut state = opened(begin);
    assert_eq!(state.mode(), Mode::Members);
    let rows = &state.detail.as_ref().unwrap().members;
    assert_eq!(rows.rows().iter().map(|row| row.known.id).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rows.rows()[0].pace.rates.unwrap().messages(), 0.0);
    assert_eq!(state.detail.as_ref().unwrap().rates.latest().unwrap().messages_in, 10.0);
    // Enter has nothing more to open.
    assert_eq!(state.apply(Command::Open), None);
    assert_eq!(state.apply(Command::Back), Some(Effect::Watch(None)));
    assert_eq!((state.mode(), state.apply(Command::Back)), (Mode::Registrations, None));
}

#[test]
fn an_answer_about_a_registration_that_is_closed_again_changes_nothing() {
    let begin = Instant::now();
    let mut state = opened(begin);
    state.apply(Command::Back);
    state.apply(Command::Step(Step::Last));
    assert_eq!(state.apply(Command::Open), Some(Effect::Watch(Some("kitchen".into()))));
    let mut late = sample(begin, SECOND * 105, Vec::new());
    late.detail = Some(("living-room".into(), None));
    state.sample(late);
    assert!(!state.detail.as_ref().unwrap().has_ended);
}

#[test]
fn a_registration_that_ends_while_it_is_open_can_not_be_removed() {
    let begin = Instant::now();
    let mut state = opened(begin);
    let mut next = sample(begin, SECOND * 105, Vec::new());
    next.detail = Some(("living-room".into(), None));
    state.sample(next);
    let open = state.detail.as_ref().unwrap();
    assert_eq!((open.has_ended, open.members.rows().len()), (true, 0));
    state.apply(Command::Remove);
    state.apply(Command::Disconnect);
    assert_eq!(state.dialog, Dialog::None);
}

#[test]
fn a_question_keeps_its_subject_while_the_order_changes() {
    let begin = Instant::now();
    let mut state = opened(begin);
    state.apply(Command::Step(Step::Down));
    state.apply(Command::Disconnect);
    let action = Action::Disconnect(2, "client 2 from 192.0.2.7:50002".into());
    assert_eq!((state.mode(), &state.dialog), (Mode::Question, &Dialog::Question(action.clone())));
    state.apply(Command::SortBy(Column::RoundTrip));
    assert_eq!(state.apply(Command::Yes), Some(Effect::Do(action)));
    assert_eq!(state.mode(), Mode::Members);
    state.apply(Command::Remove);
    assert_eq!(state.dialog, Dialog::Question(Action::Remove("living-room".into(), 2)));
    assert_eq!((state.apply(Command::No), state.mode()), (None, Mode::Members));
}

#[test]
fn no_question_is_asked_without_a_selected_row() {
    let begin = Instant::now();
    let mut state = State::new(sample(begin, SECOND, Vec::new()), SECOND);
    for action in [Command::Open, Command::Remove, Command::Disconnect, Command::Step(Step::Down)] {
        assert_eq!((state.apply(action), state.mode()), (None, Mode::Registrations), "{action:?}");
    }
}

#[test]
fn a_filter_is_typed_kept_canceled_and_cleared() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    let typed =
        |state: &mut State, text: &str| text.chars().for_each(|letter| drop(state.apply(Command::Type(letter))));
    state.apply(Command::Filter);
    typed(&mut state, "kitx");
    state.apply(Command::Erase);
    assert_eq!((state.mode(), state.filter(), state.registrations.len()), (Mode::Filter, "kit", 1));
    state.apply(Command::Yes);
    assert_eq!((state.mode(), state.filter()), (Mode::Registrations, "kit"));
    state.apply(Command::Filter);
    typed(&mut state, "!!");
    state.apply(Command::No);
    assert_eq!(state.filter(), "kit");
    // Members have a filter of their own.
    state.apply(Command::Open);
    assert_eq!(state.filter(), "");
    state.apply(Command::Back);
    assert_eq!((state.apply(Command::Back), state.filter()), (None, ""));
}

#[test]
fn the_help_scrolls_to_its_end() {
    let mut state = watched(Instant::now(), 2);
    state.apply(Command::Help);
    state.apply(Command::Step(Step::Last));
    state.fit(10, 7);
    assert_eq!((state.mode(), &state.dialog), (Mode::Help, &Dialog::Help(7)));
    state.apply(Command::Step(Step::Up));
    assert_eq!(state.dialog, Dialog::Help(6));
    assert_eq!((state.apply(Command::Back), state.mode()), (None, Mode::Registrations));
}

#[test]
fn the_keys_that_leave_the_screen_work_everywhere() {
    let mut state = opened(Instant::now());
    state.apply(Command::Remove);
    let effects = [Command::Quit, Command::Suspend, Command::Redraw].map(|action| state.apply(action));
    assert_eq!(effects, [Some(Effect::Quit), Some(Effect::Suspend), Some(Effect::Redraw)]);
}

#[test]
fn counters_are_read_from_each_document() {
    let counts = Counts { messages_in: 7, bytes_in: 700, messages_out: 7, bytes_out: 700 };
    let registration = known("living-room", 2, 7);
    assert_eq!((Counts::from(&registration), Counts::from(&status(SECOND, &[registration]).relay)), (counts, counts));
    let of_member = Counts { messages_in: 10, bytes_in: 1000, messages_out: 20, bytes_out: 2000 };
    assert_eq!(Counts::from(&member(1, Role::Host)), of_member);
}
