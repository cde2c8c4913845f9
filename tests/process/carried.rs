//! What a successor goes on with: the program that replaces itself and the one that the service manager restarts.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::{Member, ask, connect, connect_narrow, connect_tls, register};
use super::harness::{PATIENCE, Router, Setup, certificate};
use super::scene::upgrade;

/// Does the same with both ways to a successor.
pub(crate) fn each_way(test: impl Fn(&dyn Fn(&mut Router))) {
    println!("replacing itself");
    test(&Router::replace);
    println!("restarted by the service manager");
    test(&Router::restart);
}

/// Waits until something has come true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A registration as administrators see it, without what time changes.
fn shown(router: &Router, id: &str) -> Value {
    let mut shown = router.admin(&format!("/v1/registrations/{id}"));
    let members = shown["members"].as_array_mut().unwrap();
    for one in members.iter_mut() {
        // Without the time between predecessor and successor.
        for field in ["age_ms", "since_ms", "silent_ms", "round_trip_us", "retransmits", "unsent_bytes"] {
            one.as_object_mut().unwrap().remove(field).unwrap();
        }
    }
    shown.as_object_mut().unwrap().remove("age_ms").unwrap();
    shown
}

fn highest_member(shown: &Value) -> u64 {
    shown["members"].as_array().unwrap().iter().map(|member| member["id"].as_u64().unwrap()).max().unwrap()
}

#[test]
fn members_go_on_talking_through_the_same_connections() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        for text in ["first", "second", "third"] {
            one.say(text);
            renew(&mut router);
            assert_eq!(other.receive(), text);
            other.say("and back");
            assert_eq!(one.receive(), "and back");
        }
    });
}

#[test]
fn a_replaced_program_is_the_same_process_and_a_restarted_one_is_not() {
    let mut router = Setup::on_loopback().start().ready();
    let pid = router.admin("/v1/status")["pid"].clone();
    router.replace();
    assert_eq!(router.admin("/v1/status")["pid"], pid);
    router.restart();
    assert_ne!(router.admin("/v1/status")["pid"], pid);
}

#[test]
fn registrations_without_members_keep_their_ids_and_keys() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let wish = |keys: &str| ask(connect(address), &format!("/register?{keys}&reg_type=lobby&id_req=my-own-id"));
        assert_eq!(wish("key=k&host_key=h"), (200, "my-own-id".into()));
        let before = shown(&router, "my-own-id");
        renew(&mut router);
        assert_eq!(wish("key=k&host_key=h"), (200, "my-own-id".into()));
        assert_ne!(wish("key=k&host_key=other").1, "my-own-id");
        assert_eq!(shown(&router, "my-own-id")["since_ms"], before["since_ms"]);
        assert_eq!(ask(connect(address), "/remove?id=my-own-id&key=other&host_key=h").0, 403);
        assert_eq!(ask(connect(address), "/remove?id=my-own-id&key=k&host_key=h").0, 200);
    });
}

#[test]
fn a_deadline_goes_on() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().config("[registration]\nlinger = \"5s\"\n").start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        drop(Member::join(connect(address), &id, "key"));
        let left = |router: &Router| router.admin(&format!("/v1/registrations/{id}"))["expires_in_ms"].as_u64();
        until("the member has left", || left(&router).is_some_and(|left| left <= 5000));
        let begun = Instant::now();
        let before = left(&router).unwrap();
        renew(&mut router);
        let after = left(&router).unwrap();
        let passed = begun.elapsed().as_millis() as u64;
        assert!(after <= before && after + passed + 100 >= before, "{before} ms, {passed} ms later {after} ms");
        router.notified("STATUS=0 registrations, 0 members");
    });
}

#[test]
fn a_registration_ends_with_its_last_member_as_before() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let one = Member::join(connect(address), &id, "key");
        renew(&mut router);
        // A successor's relay threads tell what they have taken over a moment later.
        until("the member is there", || router.admin("/v1/status")["members"] == 1);
        drop(one);
        until("the registration has gone", || router.admin("/v1/status")["registrations"] == 0);
    });
}

#[test]
fn numbers_and_counters_of_members_go_on() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        one.say("hello");
        assert_eq!(other.receive(), "hello");
        let left = Member::join(connect(address), &id, "key");
        let last = highest_member(&shown(&router, &id));
        drop(left);
        until("one has left", || shown(&router, &id)["members"].as_array().unwrap().len() == 2);
        let before = shown(&router, &id);
        renew(&mut router);
        assert_eq!(shown(&router, &id), before);
        one.say("hello again");
        assert_eq!(other.receive(), "hello again");
        let _new = Member::join(connect(address), &id, "key");
        assert_eq!(shown(&router, &id)["members"][0]["messages_in"], 2);
        assert!(highest_member(&shown(&router, &id)) > last);
    });
}

#[test]
fn a_frame_that_was_half_sent_is_finished_afterwards() {
    // A text in two fragments; the cut goes through a header, a length, a mask, a character of two bytes, a payload.
    let mut frames = vec![0x01, 0x80 | 4, 0, 0, 0, 0];
    frames.extend("abc\u{e9}".as_bytes()[..4].to_vec());
    frames.extend([0x80, 0x80 | 126, 0, 200, 0, 0, 0, 0]);
    frames.extend(&"abc\u{e9}".as_bytes()[4..]);
    frames.extend([b'x'; 199]);
    let whole = format!("abc\u{e9}{}", "x".repeat(199));
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut other = Member::join(connect(address), &id, "key");
        let cuts = [1, 4, 9, 10, 12, 13, 15, 18, 19, 100];
        let mut senders: Vec<_> = cuts.iter().map(|_| Member::join(connect(address), &id, "key")).collect();
        for (sender, cut) in senders.iter_mut().zip(cuts) {
            sender.stream().write_all(&frames[..cut]).unwrap();
        }
        renew(&mut router);
        for (sender, cut) in senders.iter_mut().zip(cuts) {
            sender.stream().write_all(&frames[cut..]).unwrap();
            assert_eq!(other.receive(), whole, "cut at {cut}");
        }
    });
}

#[test]
fn what_a_device_had_not_taken_comes_afterwards() {
    const MESSAGES: usize = 96;
    let text = |number: usize| format!("{number:04}").repeat(32 << 10);
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut sleeper = Member::join(connect_narrow(address), &id, "key");
        let mut sender = Member::join(connect(address), &id, "key");
        // Is held up as soon as too much waits, and says the rest meanwhile and afterwards.
        let talk = thread::spawn(move || (0..MESSAGES).for_each(|number| sender.say(&text(number))));
        let owed = |router: &Router| router.admin("/v1/status")["relay"]["outbox_bytes"].as_u64().unwrap();
        until("much waits in the router", || owed(&router) > 64 << 10);
        for _ in 0..2 {
            renew(&mut router);
            // A thread tells its numbers at the end of its first round.
            until("much still waits", || owed(&router) > 32 << 10);
        }
        for number in 0..MESSAGES {
            assert!(sleeper.receive() == text(number), "message {number}");
        }
        talk.join().unwrap();
    });
}

#[test]
fn another_number_of_relay_threads_takes_all_members_over() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().config("[relay]\nthreads = 1\n").start().ready();
        let address = router.address();
        let mut pairs: Vec<_> = (0..20)
            .map(|_| {
                let id = register(connect(address), "key");
                (Member::join(connect(address), &id, "key"), Member::join(connect(address), &id, "key"))
            })
            .collect();
        let file = std::fs::read_to_string(router.setup.file()).unwrap();
        for threads in [3, 2] {
            std::fs::write(router.setup.file(), file.replace("threads = 1", &format!("threads = {threads}"))).unwrap();
            renew(&mut router);
            assert_eq!(router.admin("/v1/status")["relay"]["threads"], threads);
            // A thread tells its numbers at the end of its first round.
            until("all are members again", || router.admin("/v1/status")["members"] == 40);
            for (number, (one, other)) in pairs.iter_mut().enumerate() {
                one.say(&format!("{number}"));
                assert_eq!(other.receive(), format!("{number}"));
            }
        }
    });
}

#[test]
fn members_through_tls_are_closed_with_1012_and_the_others_stay() {
    each_way(|renew| {
        let setup = Setup::on_loopback();
        certificate(setup.folder.path(), "own");
        let crt = setup.folder.path().join("own.crt");
        let mut router = setup.tls("own.crt", "own.key").start();
        let both = [router.logged(&["\"listening\""]), router.logged(&["\"listening\""])];
        router.notified("READY=1");
        let place = |is_tls: bool| {
            let line = both.iter().find(|line| line["tls"].as_bool().unwrap_or(false) == is_tls).unwrap();
            line["listener"].as_str().unwrap().parse().unwrap()
        };
        let (plain, secure) = (place(false), place(true));
        let id = register(connect(plain), "key");
        let mut one = Member::join(connect(plain), &id, "key");
        let mut other = Member::join(connect(plain), &id, "key");
        let secured: Vec<_> = (0..5).map(|_| Member::join(connect_tls(secure, &crt), &id, "key")).collect();
        let ends = thread::spawn(move || secured.into_iter().map(Member::closed).collect::<Vec<_>>());
        renew(&mut router);
        for (code, reason) in ends.join().unwrap() {
            assert_eq!(code, 1012, "{reason}");
            assert_ne!(reason, "");
        }
        let mut back = Member::join(connect_tls(secure, &crt), &id, "key");
        one.say("hello");
        assert_eq!((other.receive(), back.receive()), ("hello".into(), "hello".into()));
        drop((one, other, back));
        let log = router.stopped().log;
        let left = log.iter().filter(|line| line.contains("\"member left\"") && line.contains("\"restarting\""));
        assert_eq!(left.count(), 5, "{log:#?}");
    });
}

#[test]
fn the_patience_for_a_pong_goes_on() {
    each_way(|renew| {
        let limits = "[websocket]\nping-interval = \"2s\"\npong-timeout = \"3s\"\n";
        let mut router = Setup::on_loopback().config(limits).start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let silent = Member::join(connect(address), &id, "key");
        renew(&mut router);
        until("it is closed", || router.admin("/v1/status")["closes"]["no-pong"] == 1);
        // By the router's own clock, which a busy machine doesn't hold up between the two.
        let history = router.admin(&format!("/v1/registrations/{id}/history"));
        let left = history["events"].as_array().unwrap().iter().find(|event| event["event"] == "left").unwrap();
        let silence = left["silent_ms"].as_u64().unwrap();
        assert!((5000..7500).contains(&silence), "{silence} ms");
        assert_eq!(silent.closed().0, 4004);
    });
}

#[test]
fn nothing_is_left_open_however_often_it_is_renewed() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        let open = |router: &Router| router.admin("/v1/status")["descriptors"]["open"].as_u64().unwrap();
        renew(&mut router);
        let before = open(&router);
        (0..3).for_each(|_| renew(&mut router));
        // A question that was answered a moment ago may still have its own.
        until("there are no more descriptors than before", || open(&router) <= before);
        one.say("hello");
        assert_eq!(other.receive(), "hello");
    });
}

#[test]
fn signals_that_come_meanwhile_do_no_harm() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        router.signal(Signal::SIGUSR2);
        router.signal(Signal::SIGHUP);
        thread::sleep(Duration::from_millis(1));
    }
    one.say("hello");
    assert_eq!(other.receive(), "hello");
    assert_eq!(router.stopped().status.code(), Some(0));
}

#[test]
fn joins_during_restarts_are_answered_with_exactly_connection_upgrade() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut member = Member::join(connect(address), &id, "key");
        let (path, is_over) = (format!("/connect?id={id}&key=key"), AtomicBool::new(false));
        let join = || {
            let mut joined = 0;
            while !is_over.load(Ordering::Relaxed) {
                let (answer, _stream) = upgrade(connect(address), &path, "");
                match answer.status {
                    101 => {
                        assert_eq!(answer.headers("connection").collect::<Vec<_>>(), ["Upgrade"], "{answer:?}");
                        joined += 1;
                    }
                    // At the last moment of a process, or before the next one is ready.
                    status => assert!([0, 503].contains(&status), "{answer:?}"),
                }
            }
            joined
        };
        let joined: usize = thread::scope(|scope| {
            let joining = [scope.spawn(join), scope.spawn(join)];
            (0..3).for_each(|_| renew(&mut router));
            is_over.store(true, Ordering::Relaxed);
            joining.map(|one| one.join().unwrap()).iter().sum()
        });
        assert!(joined > 0);
        let mut other = Member::join(connect(address), &id, "key");
        other.say("hello");
        assert_eq!(member.receive(), "hello");
    });
}

#[test]
fn the_watchdog_is_fed_by_the_successor_too() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "400000").start().ready();
        renew(&mut router);
        for _ in 0..3 {
            router.notified("WATCHDOG=1");
        }
    });
}

#[test]
fn what_is_remembered_of_a_registration_goes_over_too() {
    each_way(|renew| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let (gone, kept) = (register(connect(address), "key"), register(connect(address), "key"));
        let _member = Member::join(connect(address), &kept, "key");
        drop(Member::join(connect(address), &gone, "key"));
        until("one has ended", || router.admin("/v1/status")["registrations"] == 1);
        let history = |router: &Router, id: &str| router.admin(&format!("/v1/registrations/{id}/history"));
        let before = (history(&router, &gone), history(&router, &kept));
        renew(&mut router);
        assert_eq!((history(&router, &gone), history(&router, &kept)), before);
        assert_eq!(before.0["events"][3]["event"], "ended");
    });
}
