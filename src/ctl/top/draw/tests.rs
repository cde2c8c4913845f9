use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};
use ws_router_admin_api::{self as wire, Drain, DrainPhase};
use ws_router_core::kind::{Kind, Role};

use super::super::columns::Column;
use super::super::keys::Command;
use super::super::listing::Step;
use super::super::tests::{SECOND, known, member, opened, sample, watched};
use super::*;

fn theme(variables: &'static [(&str, &str)]) -> Theme {
    Theme::new(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
}

const UNICODE: &[(&str, &str)] = &[("LANG", "C.UTF-8")];

/// Draws in a terminal of this size.
fn drawn(state: &mut State, (width, height): (u16, u16), theme: &Theme, now: Instant) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let draw = |frame: &mut Frame<'_>| {
        fit(state, frame.area(), now);
        super::draw(frame, state, theme, now);
    };
    terminal.draw(draw).unwrap();
    terminal.backend().buffer().clone()
}

/// Returns the visible text, line by line.
fn read(buffer: &Buffer) -> Vec<String> {
    let lines = buffer.content().chunks(usize::from(buffer.area.width.max(1)));
    lines.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
}

fn screen(state: &mut State, size: (u16, u16), now: Instant) -> Vec<String> {
    read(&drawn(state, size, &theme(UNICODE), now))
}

#[test]
fn eighty_by_twenty_four_shows_totals_and_registrations() {
    let begin = Instant::now();
    let lines = screen(&mut watched(begin, 4), (80, 24), begin);
    assert_eq!(lines[0], "ws-router 0.1.0, up 1m 43s, in service                                  every 1s");
    assert_eq!(lines[1], "connections 8   registrations 2   members 7   outboxes 1.5 KiB   memory 34 MiB");
    assert_eq!(lines[2], "buffered 4.0 KiB of 1.0 GiB   descriptors 30 of 1024");
    assert!(lines[3].starts_with("in      10 messages/s ") && lines[3].contains("███   1000 B/s "), "{}", lines[3]);
    assert!(lines[4].starts_with("out     10 messages/s ") && lines[4].ends_with("███"), "{}", lines[4]);
    assert_eq!(lines[6], "Registrations 1-2 of 2 by messages/s, most first");
    let table = [
        "  ID                                    MEMBERS  MSG/S  BYTES/S   OUTBOX     AGE",
        "> living-room                                 2     20  2.0 KiB      0 B  1m 30s",
        "  kitchen                                     5      0      0 B      0 B  1m 30s",
    ];
    assert_eq!(lines[7..10], table);
    assert_eq!(lines[23], "q quit  ? help  Enter open  x remove  / filter  t b m o a i w c sort  r reverse");
}

#[test]
fn members_are_shown_with_the_kernels_numbers() {
    let begin = Instant::now();
    let lines = screen(&mut opened(begin), (80, 24), begin);
    assert_eq!(lines[6], "living-room: lobby, 2 members, 1m 30s old");
    assert_eq!(lines[7], "in 10 messages/s, 1000 B/s; out 10 messages/s, 1000 B/s; outbox 0 B");
    assert!(lines[8].starts_with("both    20 messages/s ") && lines[8].ends_with("██"), "{}", lines[8]);
    assert_eq!(lines[9], "Members 1-2 of 2 by number, earliest first");
    let table = [
        "       N ROLE   ADDRESS                     RTT RESENT   UNSENT   OUTBOX  SILENT",
        ">      1 host   192.0.2.7:50001          1.50ms      1    512 B  4.0 KiB      3s",
        "       2 client 192.0.2.7:50002          3.00ms      2  1.0 KiB  8.0 KiB      3s",
    ];
    assert_eq!(lines[10..13], table);
    assert!(lines[23].starts_with("q quit  ? help  Esc back  d disconnect  x remove"), "{}", lines[23]);
}

#[test]
fn a_small_terminal_keeps_the_rates_the_important_columns_and_the_way_out() {
    let begin = Instant::now();
    let lines = screen(&mut watched(begin, 4), (40, 10), begin);
    let expected = [
        "ws-router 0.1.0, up 1m 43s, in service",
        "in      10 messages/s    1000 B/s",
        "out     10 messages/s    1000 B/s",
        "Registrations 1-2 of 2 by messages/s, mo",
        "  ID             MEMBERS  MSG/S  BYTES/S",
        "> living-room          2     20  2.0 KiB",
        "  kitchen              5      0      0 B",
        "",
        "",
        "q quit  ? help  Enter open  x remove",
    ];
    assert_eq!(lines, expected);
    let lines = screen(&mut opened(begin), (40, 10), begin);
    assert_eq!(lines[3], "living-room: lobby, 2 members, 1m 30s ol");
    assert_eq!(lines[5], "       N ROLE   ADDRESS              RTT");
    assert_eq!(lines[6], ">      1 host   192.0.2.7:50001   1.50ms");
}

#[test]
fn a_large_terminal_shows_every_column_and_both_directions() {
    let begin = Instant::now();
    let lines = screen(&mut watched(begin, 4), (200, 50), begin);
    assert!(lines[1].ends_with("memory 34 MiB   buffered 4.0 KiB of 1.0 GiB   descriptors 30 of 1024"), "{}", lines[1]);
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let headings = "ID KIND MEMBERS MSG/S IN/S OUT/S BYTES/S IN B/S OUT B/S OUTBOX AGE ENDS IN WAITING RULE";
    assert_eq!(words(&lines[6]), headings);
    assert_eq!(words(&lines[7]), "> living-room lobby 2 20 10 10 2.0 KiB 1000 B 1000 B 0 B 1m 30s - 0 B -");
    let lines = screen(&mut opened(begin), (120, 40), begin);
    assert!(lines.iter().any(|line| line.contains("TLS  MSG/S  BYTES/S      RTT RESENT")), "{lines:#?}");
}

#[test]
fn the_terms_of_the_open_registration_and_what_waits_in_it_are_shown() {
    let begin = Instant::now();
    let mut state = opened(begin);
    let registration = wire::Registration {
        client_key: true,
        wait_ms: Some(60_000),
        waiting_messages: 3,
        waiting_bytes: 12 << 10,
        waiting_for: vec![Role::Host],
        waiting_left_ms: Some(40_000),
        ..known("living-room", 2, 40)
    };
    let mut next = sample(begin, SECOND * 105, vec![registration.clone()]);
    let members = vec![member(2, Role::Client)];
    next.detail = Some(("living-room".into(), Some(wire::RegistrationDetail { registration, members })));
    state.sample(next);
    let lines = screen(&mut state, (160, 40), begin);
    let about = "2 members, 1m 30s old, client_key, messages wait 1m, waiting: 12.0 KiB for a host, 40s left";
    assert!(lines.iter().any(|line| line.contains(about)), "{lines:#?}");
}

#[test]
fn a_paired_registration_is_shown_with_its_pairs_and_its_waiting_clients() {
    let begin = Instant::now();
    let mut state = opened(begin);
    let registration = wire::Registration {
        kind: Kind::Paired,
        pairs: Some(1),
        waiting_clients: Some(3),
        ..known("living-room", 6, 40)
    };
    let mut next = sample(begin, SECOND * 105, vec![registration.clone(), known("kitchen", 1, 0)]);
    next.status.relay.waiting_clients = 3;
    next.status.relay.waiting_bytes = 2048;
    let part =
        |id, role, pairing, paired_with| wire::Member { pairing: Some(pairing), paired_with, ..member(id, role) };
    let members = vec![
        part(1, Role::Host, wire::Pairing::Listening, None),
        part(2, Role::Client, wire::Pairing::Paired, Some(3)),
        part(3, Role::Host, wire::Pairing::Paired, Some(2)),
        part(4, Role::Client, wire::Pairing::Waiting, None),
        part(5, Role::Client, wire::Pairing::Paired, None),
    ];
    next.detail = Some(("living-room".into(), Some(wire::RegistrationDetail { registration, members })));
    state.sample(next);
    let lines = screen(&mut state, (80, 24), begin);
    assert!(lines[1].ends_with("outboxes 1.5 KiB   waiting 2.0 KiB"), "{}", lines[1]);
    assert!(lines[2].starts_with("waiting clients 3   memory 34 MiB"), "{}", lines[2]);
    let at = lines.iter().position(|line| line.starts_with("       N ROLE   PAIR    ADDRESS ")).unwrap();
    assert!(
        lines[at - 4].starts_with("living-room: paired, 6 members, 1 pair, 1m 30s old, waiting: 3 clients for a h")
    );
    let parts: Vec<_> = lines[at + 1..at + 6].iter().map(|line| line[16..24].trim()).collect();
    assert_eq!(parts, ["listens", "3", "2", "waits", "ending"]);
    state.apply(Command::Back);
    let lines = screen(&mut state, (130, 24), begin);
    let heading = lines.iter().find_map(|line| line.find(" PAIRS  QUEUE")).unwrap();
    let row = |id: &str| lines.iter().find(|line| line.contains(id)).unwrap();
    let of = |id: &str| row(id)[heading..heading + 13].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!((of("living-room"), of("kitchen")), ("1 3".into(), "- -".into()));
}

#[test]
fn any_size_can_be_drawn() {
    let begin = Instant::now();
    for (width, height) in [(0, 0), (1, 1), (2, 30), (300, 2), (12, 5), (79, 9), (80, 14), (80, 17), (80, 18)] {
        for state in [&mut watched(begin, 4), &mut opened(begin)] {
            screen(state, (width, height), begin);
            state.apply(Command::Remove);
            screen(state, (width, height), begin);
            state.apply(Command::No);
            state.apply(Command::Help);
            screen(state, (width, height), begin);
        }
    }
}

#[test]
fn a_screenful_of_many_registrations_includes_the_selected_one() {
    let begin = Instant::now();
    let many = || (0..20_000).map(|number| known(&format!("device-{number:05}"), 1, number)).collect::<Vec<_>>();
    let mut state = State::new(sample(begin, SECOND, many()), SECOND);
    state.sample(sample(begin, SECOND * 2, many()));
    state.apply(Command::SortBy(Column::Id));
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[6], "Registrations 1-15 of 20000 by id, a to z");
    assert!(lines[8].starts_with("> device-00000") && lines[22].starts_with("  device-00014"), "{lines:#?}");
    state.apply(Command::Step(Step::Last));
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[6], "Registrations 19986-20000 of 20000 by id, a to z");
    assert!(lines[22].starts_with("> device-19999"), "{lines:#?}");
}

#[test]
fn a_question_names_its_subject_and_wraps() {
    let begin = Instant::now();
    let mut state = opened(begin);
    state.apply(Command::Disconnect);
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[22..], ["disconnect host 1 from 192.0.2.7:50001 (close code 4002)? y/n", "y yes  n no"]);
    let lines = screen(&mut state, (40, 10), begin);
    assert_eq!(lines[7..], ["disconnect host 1 from 192.0.2.7:50001", "(close code 4002)? y/n", "y yes  n no"]);
    state.apply(Command::No);
    state.apply(Command::Remove);
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[22], "remove living-room and close its 2 members (close code 4001)? y/n");
}

#[test]
fn a_filter_is_shown_with_the_number_of_matching_rows() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    state.apply(Command::Filter);
    "kit".chars().for_each(|letter| drop(state.apply(Command::Type(letter))));
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[6], "Registrations 1-1 of 1 with \"kit\" (of 2) by messages/s, most first");
    assert_eq!(lines[22..], ["filter: kit_", "Enter keep  Esc cancel"]);
    state.apply(Command::Type('!'));
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[6], "None of 2 registrations has \"kit!\"");
}

#[test]
fn a_daemon_that_is_away_or_drains_is_shown_in_words() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    state.lost("no daemon at /run/ws-router/admin.sock".into(), begin);
    let lines = screen(&mut state, (80, 24), begin + SECOND * 5);
    assert!(lines[0].starts_with("ws-router 0.1.0, up 1m 41s, AWAY"), "{}", lines[0]);
    let note = lines[21..23].join(" ");
    assert_eq!(note, "no answer from the daemon for 5s (no daemon at /run/ws-router/admin.sock); retrying");
    let mut drains = sample(begin, SECOND * 110, vec![known("kitchen", 12, 0)]);
    drains.status.drain =
        Drain { state: DrainPhase::Draining, members: 12, members_before: 40, left_ms: 23_000, ..Drain::default() };
    state.sample(drains);
    let lines = screen(&mut state, (80, 24), begin + SECOND * 200);
    assert!(lines[0].starts_with("ws-router 0.1.0, up 1m 50s, DRAINING, 12 of 40 members left, 23s"), "{}", lines[0]);
}

#[test]
fn an_old_sample_is_shown_with_its_age() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    let title = |state: &mut State, at: u32| screen(state, (80, 24), begin + SECOND * at)[0].clone();
    assert!(title(&mut state, 104).ends_with("in service                                  every 1s"));
    assert!(title(&mut state, 106).ends_with("in service                              as of 5s ago"));
}

#[test]
fn an_ended_registration_is_shown_with_the_way_back() {
    let begin = Instant::now();
    let mut state = opened(begin);
    let mut next = sample(begin, SECOND * 110, Vec::new());
    next.detail = Some(("living-room".into(), None));
    state.sample(next);
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[6], "living-room has ended; ws-routerctl why shows the reason");
    assert_eq!(lines[9], "Esc goes back");
    state.apply(Command::Back);
    assert_eq!(screen(&mut state, (80, 24), begin)[6], "No registrations");
}

#[test]
fn the_help_fits_eighty_by_twenty_four_and_names_every_sort_key() {
    let begin = Instant::now();
    let mut state = watched(begin, 2);
    state.apply(Command::Help);
    let lines = screen(&mut state, (80, 24), begin);
    assert_eq!(lines[23], "Esc back");
    let sorts = |title: &str, until: &str| {
        let from = lines.iter().position(|line| line == title).unwrap();
        lines[from + 1..].iter().take_while(|line| !line.starts_with(until)).cloned().collect::<Vec<_>>().join("  ")
    };
    use super::super::columns::{MEMBERS, REGISTRATIONS};
    let tables =
        [(REGISTRATIONS, sorts("Sort registrations by", "Sort")), (MEMBERS, sorts("Sort members by", "Columns"))];
    for (columns, help) in tables {
        for spec in columns.specs {
            let Some(key) = spec.key else { continue };
            let wanted = format!("{key} {}", spec.column.description().0);
            assert!(help.contains(&wanted), "{wanted} is missing in {help}");
        }
    }
    state.apply(Command::Step(Step::Last));
    let lines = screen(&mut state, (80, 10), begin);
    assert!(lines[8].contains("isn't known") && lines[9].starts_with("Up Down scroll"), "{lines:#?}");
}

#[test]
fn without_colors_nothing_is_colored_and_nothing_is_lost() {
    let begin = Instant::now();
    let states: [fn(Instant) -> State; 2] = [|begin| watched(begin, 4), opened];
    for state in states {
        let mut state = state(begin);
        state.apply(Command::Remove);
        let plain = drawn(&mut state, (80, 24), &theme(&[("LANG", "C.UTF-8"), ("NO_COLOR", "1")]), begin);
        assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        let colored = drawn(&mut state, (80, 24), &theme(UNICODE), begin);
        assert!(colored.content().iter().any(|cell| cell.fg != Color::Reset));
        assert_eq!(read(&plain), read(&colored));
        // The selected row and the question are still highlighted, and the mark is shown.
        assert!(plain.content().iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    }
}

#[test]
fn a_terminal_without_block_characters_shows_ascii() {
    let begin = Instant::now();
    let lines = read(&drawn(&mut watched(begin, 4), (80, 24), &theme(&[("LANG", "C")]), begin));
    assert!(lines.concat().is_ascii(), "{lines:#?}");
    assert!(lines[3].contains("@@@"), "{}", lines[3]);
}

#[test]
fn a_text_is_wrapped_between_words() {
    for (text, width, lines) in
        [("", 10, 1), ("one two", 7, 1), ("one two", 6, 2), ("a verylongword", 4, 4), ("xy", 0, 2)]
    {
        assert_eq!(lines_of(text, width), lines, "{text:?} in {width}");
    }
}
