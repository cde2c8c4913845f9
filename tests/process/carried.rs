//! State that survives a restart, both of a program that replaces itself and of one that the service manager restarts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use ws_router_core::secret::Token;
use ws_router_server::log::messages;

use super::client::{Member, Stream, ask, connect, connect_narrow, connect_tls, register};
use super::harness::{PATIENCE, Router, Setup, certificate};
use super::scene::upgrade;

/// Runs a test with each kind of restart.
pub(crate) fn each_way(test: impl Fn(&dyn Fn(&mut Router))) {
    println!("replacing itself");
    test(&Router::replace);
    println!("restarted by the service manager");
    test(&Router::restart);
}

/// Waits until a condition is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns a registration as administrators see it, without the fields that change with time.
fn shown(router: &Router, id: &str) -> Value {
    let mut shown = router.admin(&format!("/v1/registrations/{id}"));
    let members = shown["members"].as_array_mut().unwrap();
    for one in members.iter_mut() {
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
fn members_exchange_messages_through_the_same_connections() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        for text in ["first", "second", "third"] {
            one.send_text(text);
            restart(&mut router);
            assert_eq!(other.receive(), text);
            other.send_text("reply");
            assert_eq!(one.receive(), "reply");
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
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let request = |keys: &str| ask(connect(address), &format!("/register?{keys}&reg_type=lobby&id_req=my-own-id"));
        assert_eq!(request("key=k&host_key=h"), (200, "my-own-id".into()));
        let before = shown(&router, "my-own-id");
        restart(&mut router);
        assert_eq!(request("key=k&host_key=h"), (200, "my-own-id".into()));
        assert_ne!(request("key=k&host_key=other").1, "my-own-id");
        assert_eq!(shown(&router, "my-own-id")["since_ms"], before["since_ms"]);
        assert_eq!(ask(connect(address), "/remove?id=my-own-id&key=other&host_key=h").0, 403);
        assert_eq!(ask(connect(address), "/remove?id=my-own-id&key=k&host_key=h").0, 200);
    });
}

#[test]
fn a_deadline_survives() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().config("[registration]\nlinger = \"5s\"\n").start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        drop(Member::join(connect(address), &id, "key"));
        let left = |router: &Router| router.admin(&format!("/v1/registrations/{id}"))["expires_in_ms"].as_u64();
        until("the member has left", || left(&router).is_some_and(|left| left <= 5000));
        let begun = Instant::now();
        let before = left(&router).unwrap();
        restart(&mut router);
        let after = left(&router).unwrap();
        let passed = begun.elapsed().as_millis() as u64;
        assert!(
            after <= before && after + passed + 100 >= before,
            "{before} ms left, and {after} ms left after {passed} ms"
        );
        router.notified("STATUS=0 registrations, 0 members");
    });
}

#[test]
fn a_registration_ends_with_its_last_member() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let one = Member::join(connect(address), &id, "key");
        restart(&mut router);
        // The relay threads of the new process publish their counts a moment later.
        until("the member is counted", || router.admin("/v1/status")["members"] == 1);
        drop(one);
        until("the registration has ended", || router.admin("/v1/status")["registrations"] == 0);
    });
}

#[test]
fn hosts_that_listen_pairs_and_waiting_clients_survive() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let (status, id) = ask(connect(address), "/register?key=k&host_key=h&reg_type=paired&client_key=c");
        assert_eq!(status, 200, "{id}");
        let join = |query: &str| Member::with(connect(address), &format!("id={id}&{query}"));
        let number = |host: &mut Member<TcpStream>, hello: &str| {
            let announced: Value = serde_json::from_str(&host.receive()).unwrap();
            assert_eq!(announced["hello"], hello);
            announced["incoming"].as_str().unwrap().to_owned()
        };
        let count = || ask(connect(address), &format!("/members?id={id}&key=k")).1;
        let mut host = join("key=k&sock_type=host");
        let mut paired = join("client_key=c&sock_type=client&hello=pair");
        let mut end = join(&format!("accept={}", number(&mut host, "pair")));
        let mut waiting = join("client_key=c&sock_type=client&hello=waiting");
        let waiting_number = number(&mut host, "waiting");
        for text in ["early", "words"] {
            waiting.send_text(text);
        }
        let outbox = || router.admin(&format!("/v1/registrations/{id}"))["outbox_bytes"].as_u64();
        until("the early words are buffered", || outbox() == Some("early".len() as u64 + "words".len() as u64 + 4));
        paired.send_text("before");
        restart(&mut router);
        assert_eq!(count(), r#"{"hosts":1,"pairs":1,"waiting":1}"#);
        assert_eq!(end.receive(), "before");
        end.send_text("after");
        assert_eq!(paired.receive(), "after");
        let mut accepted = join(&format!("accept={waiting_number}"));
        assert_eq!([accepted.receive(), accepted.receive()], ["early", "words"]);
        restart(&mut router);
        let rejected = join("client_key=c&sock_type=client&hello=later");
        let later = number(&mut host, "later");
        host.send_text(&format!(r#"{{"reject":"{later}","code":3999,"reason":"no"}}"#));
        assert_eq!(rejected.closed(), (3999, "no".into()));
        drop(accepted);
        assert_eq!(waiting.closed(), (4007, "peer disconnected".into()));
        drop((host, paired, end));
        until("the registration has ended", || router.admin("/v1/status")["registrations"] == 0);
    });
}

#[test]
fn the_rest_of_a_pair_whose_other_end_has_left_is_delivered_afterwards() {
    let text = |number: usize| format!("{number:04}").repeat(4 << 10);
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let (status, id) = ask(connect(address), "/register?key=k&host_key=h&reg_type=paired&client_key=c");
        assert_eq!(status, 200, "{id}");
        let mut host = Member::with(connect(address), &format!("id={id}&key=k&sock_type=host"));
        let mut client = Member::with(connect(address), &format!("id={id}&client_key=c&sock_type=client"));
        let announced: Value = serde_json::from_str(&host.receive()).unwrap();
        let accept = format!("id={id}&accept={}", announced["incoming"].as_str().unwrap());
        let mut end = Member::with(connect_narrow(address), &accept);
        let outbox = |router: &Router| router.admin("/v1/status")["relay"]["outbox_bytes"].as_u64().unwrap();
        let mut sent = 0;
        while outbox(&router) < 64 << 10 {
            client.send_text(&text(sent));
            sent += 1;
        }
        // A close frame with the code 3001 and a mask of zeros.
        client.stream().write_all(&[0x88, 0x86, 0, 0, 0, 0, 0x0b, 0xb9, b'd', b'o', b'n', b'e']).unwrap();
        drop(host);
        until("the registration has ended", || router.admin("/v1/status")["registrations"] == 0);
        restart(&mut router);
        assert_eq!(router.admin("/v1/status")["members"], 0);
        for number in 0..sent {
            assert!(end.receive() == text(number), "message {number}");
        }
        assert_eq!(end.closed(), (3001, "done".into()));
    });
}

#[test]
fn messages_that_wait_for_a_receiver_survive_with_their_registrations() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let register = |wait: u32| {
            let (status, id) = ask(connect(address), &format!("/register?key=k&host_key=h&reg_type=lobby&wait={wait}"));
            assert_eq!(status, 200, "{id}");
            id
        };
        let (left, stays, short) = (register(60), register(60), register(1));
        let members = [&left, &stays, &short].map(|id| {
            let mut member = Member::join(connect(address), id, "k");
            member.send_text("first");
            member.send_text(&"second".repeat(10_000));
            until("both wait", || router.admin(&format!("/v1/registrations/{id}"))["waiting_messages"] == 2);
            member
        });
        let [gone, mut there, also_gone] = members;
        drop((gone, also_gone));
        let seats = |router: &Router, id: &str| router.admin(&format!("/v1/registrations/{id}"))["seats"].as_u64();
        until("it has left", || seats(&router, &left) == Some(0) && seats(&router, &short) != Some(1));
        restart(&mut router);
        let shown = router.admin(&format!("/v1/registrations/{left}"));
        assert_eq!((&shown["waiting_messages"], &shown["wait_ms"]), (&2.into(), &60_000.into()));
        assert!((1..60_000).contains(&shown["waiting_left_ms"].as_u64().unwrap()), "{shown}");
        assert_eq!(shown["expires_in_ms"], Value::Null);
        there.send_text("third");
        until("the third waits", || router.admin(&format!("/v1/registrations/{stays}"))["waiting_messages"] == 3);
        for (id, count) in [(&left, 2), (&stays, 3)] {
            let mut late = Member::join_at_once(connect(address), id, "k");
            let expected = ["first", &"second".repeat(10_000), "third"];
            for text in &expected[..count] {
                assert_eq!(late.receive(), *text);
            }
        }
        drop(there);
        until("all registrations have ended", || router.admin("/v1/status")["registrations"] == 0);
    });
}

#[test]
fn ids_and_counters_of_members_survive() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        one.send_text("hello");
        assert_eq!(other.receive(), "hello");
        let left = Member::join(connect(address), &id, "key");
        let last = highest_member(&shown(&router, &id));
        drop(left);
        until("one has left", || shown(&router, &id)["members"].as_array().unwrap().len() == 2);
        let before = shown(&router, &id);
        restart(&mut router);
        assert_eq!(shown(&router, &id), before);
        one.send_text("hello again");
        assert_eq!(other.receive(), "hello again");
        let _new = Member::join(connect(address), &id, "key");
        assert_eq!(shown(&router, &id)["members"][0]["messages_in"], 2);
        assert!(highest_member(&shown(&router, &id)) > last);
    });
}

#[test]
fn a_frame_that_was_half_sent_is_completed_afterwards() {
    // A text in two fragments. The cuts fall into a header, a length, a mask, a character of two bytes and a payload.
    let mut frames = vec![0x01, 0x80 | 4, 0, 0, 0, 0];
    frames.extend("abc\u{e9}".as_bytes()[..4].to_vec());
    frames.extend([0x80, 0x80 | 126, 0, 200, 0, 0, 0, 0]);
    frames.extend(&"abc\u{e9}".as_bytes()[4..]);
    frames.extend([b'x'; 199]);
    let whole = format!("abc\u{e9}{}", "x".repeat(199));
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut other = Member::join(connect(address), &id, "key");
        let cuts = [1, 4, 9, 10, 12, 13, 15, 18, 19, 100];
        let mut senders: Vec<_> = cuts.iter().map(|_| Member::join(connect(address), &id, "key")).collect();
        for (sender, cut) in senders.iter_mut().zip(cuts) {
            sender.stream().write_all(&frames[..cut]).unwrap();
        }
        restart(&mut router);
        for (sender, cut) in senders.iter_mut().zip(cuts) {
            sender.stream().write_all(&frames[cut..]).unwrap();
            assert_eq!(other.receive(), whole, "cut at {cut}");
        }
    });
}

#[test]
fn buffered_messages_are_delivered_afterwards() {
    const MESSAGES: usize = 96;
    let text = |number: usize| format!("{number:04}").repeat(32 << 10);
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut slow = Member::join(connect_narrow(address), &id, "key");
        let mut sender = Member::join(connect(address), &id, "key");
        // It is throttled as soon as too much is buffered, and sends the rest during and after the restarts.
        let sending = thread::spawn(move || (0..MESSAGES).for_each(|number| sender.send_text(&text(number))));
        let buffered = |router: &Router| router.admin("/v1/status")["relay"]["outbox_bytes"].as_u64().unwrap();
        until("the router buffers enough", || buffered(&router) > 64 << 10);
        for _ in 0..2 {
            restart(&mut router);
            // A relay thread publishes its counts at the end of its first iteration.
            until("most is still buffered", || buffered(&router) > 32 << 10);
        }
        for number in 0..MESSAGES {
            assert!(slow.receive() == text(number), "message {number}");
        }
        sending.join().unwrap();
    });
}

#[test]
fn another_number_of_relay_threads_takes_all_members_over() {
    each_way(|restart| {
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
            restart(&mut router);
            assert_eq!(router.admin("/v1/status")["relay"]["threads"], threads);
            // A relay thread publishes its counts at the end of its first iteration.
            until("all members are counted", || router.admin("/v1/status")["members"] == 40);
            for (number, (one, other)) in pairs.iter_mut().enumerate() {
                one.send_text(&format!("{number}"));
                assert_eq!(other.receive(), format!("{number}"));
            }
        }
    });
}

#[test]
fn members_with_tls_in_the_process_are_closed_with_1012_and_the_others_stay() {
    each_way(|restart| {
        let TlsRouter { mut router, plain, secure, certificate: crt } = TlsRouter::start("off");
        let id = register(connect(plain), "key");
        let mut one = Member::join(connect(plain), &id, "key");
        let mut other = Member::join(connect(plain), &id, "key");
        let secured: Vec<_> = (0..5).map(|_| Member::join(connect_tls(secure, &crt), &id, "key")).collect();
        let closes = thread::spawn(move || secured.into_iter().map(Member::closed).collect::<Vec<_>>());
        restart(&mut router);
        for (code, reason) in closes.join().unwrap() {
            assert_eq!(code, 1012, "{reason}");
            assert_ne!(reason, "");
        }
        let mut back = Member::join(connect_tls(secure, &crt), &id, "key");
        one.send_text("hello");
        assert_eq!((other.receive(), back.receive()), ("hello".into(), "hello".into()));
        drop((one, other, back));
        let log = router.stopped().log;
        let left = log.iter().filter(|line| line.contains(messages::LEFT) && line.contains("\"restarting\""));
        assert_eq!(left.count(), 5, "{log:#?}");
    });
}

/// Resumes a session of which so many messages have been received.
fn resume<S: Stream>(stream: S, id: &str, secret: &str, received: usize) -> Member<S> {
    Member::with(stream, &format!("id={id}&key=key&session={secret}&received={received}"))
}

#[test]
fn sessions_go_on_with_their_connection_or_without_one() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let session = |secret: &str| Member::with(connect(address), &format!("id={id}&key=key&session={secret}"));
        let (mut kept, away) = (session("secret-of-the-one-that-stays"), session("secret-of-the-one-that-goes"));
        let mut home = Member::join(connect(address), &id, "key");
        home.send_text("one");
        assert_eq!(kept.receive(), "one");
        drop(away);
        let shown = format!("/v1/registrations/{id}");
        let is_away = |member: &Value| member["away_ms"].is_u64();
        until("it is away", || router.admin(&shown)["members"].as_array().unwrap().iter().any(is_away));
        home.send_text("two");
        restart(&mut router);
        home.send_text("three");
        for text in ["two", "three"] {
            assert_eq!(kept.receive(), text);
        }
        let mut back = resume(connect(address), &id, "secret-of-the-one-that-goes", 0);
        for text in ["one", "two", "three"] {
            assert_eq!(back.receive(), text);
        }
        // What was sent before the restart can be sent again after it.
        drop(kept);
        let mut kept = resume(connect(address), &id, "secret-of-the-one-that-stays", 1);
        for text in ["two", "three"] {
            assert_eq!(kept.receive(), text);
        }
    });
}

#[test]
fn members_with_tls_that_have_a_session_lose_no_message_at_a_restart() {
    each_way(|restart| {
        let TlsRouter { mut router, plain, secure, certificate: crt } = TlsRouter::start("off");
        let id = register(connect(plain), "key");
        let secret = "the-secret-that-it-has-drawn";
        let mut device = Member::with(connect_tls(secure, &crt), &format!("id={id}&key=key&session={secret}"));
        let mut home = Member::join(connect(plain), &id, "key");
        let (mut received, mut said) = (0, 0);
        for _ in 0..3 {
            for _ in 0..20 {
                home.send_text(&format!("message {said}"));
                said += 1;
            }
            for _ in 0..10 {
                assert_eq!(device.receive(), format!("message {received}"));
                received += 1;
            }
            let closes = thread::spawn(move || device.closed_after_texts());
            restart(&mut router);
            let (code, unread) = closes.join().unwrap();
            assert_eq!(code, 1012);
            for text in unread {
                assert_eq!(text, format!("message {received}"));
                received += 1;
            }
            home.send_text(&format!("message {said}"));
            said += 1;
            device = resume(connect_tls(secure, &crt), &id, secret, received);
            while received < said {
                assert_eq!(device.receive(), format!("message {received}"));
                received += 1;
            }
        }
        let (status, counts) = ask(connect(plain), &format!("/session?id={id}&key=key&session={secret}"));
        assert_eq!((status, counts), (200, format!("{{\"received\":0,\"sent\":{said}}}")));
    });
}

/// A router with a plain and a TLS listener.
pub(crate) struct TlsRouter {
    pub(crate) router: Router,
    pub(crate) plain: SocketAddr,
    pub(crate) secure: SocketAddr,
    pub(crate) certificate: PathBuf,
}

impl TlsRouter {
    /// Starts it with this value of `kernel`, and waits until it is ready.
    pub(crate) fn start(kernel: &str) -> Self {
        let setup = Setup::on_loopback();
        certificate(setup.folder.path(), "own");
        let certificate = setup.folder.path().join("own.crt");
        let mut router = setup.tls_in("own.crt", "own.key", kernel).start();
        let (plain, secure) = both_addresses(&mut router);
        Self { router, plain, secure, certificate }
    }
}

/// Waits until a router with a plain and a TLS listener is ready; returns their addresses.
pub(crate) fn both_addresses(router: &mut Router) -> (SocketAddr, SocketAddr) {
    let both = [router.logged(&[messages::LISTENING]), router.logged(&[messages::LISTENING])];
    router.notified("READY=1");
    let address = |is_tls: bool| {
        let line = both.iter().find(|line| line["tls"].as_bool().unwrap_or(false) == is_tls).unwrap();
        line["listener"].as_str().unwrap().parse().unwrap()
    };
    (address(false), address(true))
}

#[test]
fn a_pong_timeout_survives() {
    each_way(|restart| {
        let limits = "[websocket]\nping-interval = \"2s\"\npong-timeout = \"3s\"\n";
        let mut router = Setup::on_loopback().config(limits).start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let silent = Member::join(connect(address), &id, "key");
        restart(&mut router);
        until("the silent member is closed", || router.admin("/v1/status")["closes"]["no-pong"] == 1);
        // Measured by the router: on a busy machine this test may notice the close much later.
        let history = router.admin(&format!("/v1/registrations/{id}/history"));
        let left = history["events"].as_array().unwrap().iter().find(|event| event["event"] == "left").unwrap();
        let silence = left["silent_ms"].as_u64().unwrap();
        assert!((5000..7500).contains(&silence), "{silence} ms");
        assert_eq!(silent.closed().0, 4004);
    });
}

#[test]
fn restarts_leak_no_descriptors() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let mut one = Member::join(connect(address), &id, "key");
        let mut other = Member::join(connect(address), &id, "key");
        let open = |router: &Router| router.admin("/v1/status")["descriptors"]["open"].as_u64().unwrap();
        restart(&mut router);
        let before = open(&router);
        (0..3).for_each(|_| restart(&mut router));
        // The connection of the last admin request may still be open.
        until("there are no more descriptors than before", || open(&router) <= before);
        one.send_text("hello");
        assert_eq!(other.receive(), "hello");
    });
}

#[test]
fn signals_during_restarts_do_no_harm() {
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
    one.send_text("hello");
    assert_eq!(other.receive(), "hello");
    assert_eq!(router.stopped().status.code(), Some(0));
}

#[test]
fn joins_during_restarts_are_answered_with_exactly_connection_upgrade() {
    each_way(|restart| {
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
                    // The process is about to end, or the next one isn't ready yet.
                    status => assert!([0, 503].contains(&status), "{answer:?}"),
                }
            }
            joined
        };
        let joined: usize = thread::scope(|scope| {
            let joining = [scope.spawn(join), scope.spawn(join)];
            (0..3).for_each(|_| restart(&mut router));
            is_over.store(true, Ordering::Relaxed);
            joining.map(|one| one.join().unwrap()).iter().sum()
        });
        assert!(joined > 0);
        let mut other = Member::join(connect(address), &id, "key");
        other.send_text("hello");
        assert_eq!(member.receive(), "hello");
    });
}

#[test]
fn the_new_process_notifies_the_watchdog() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().variable("WATCHDOG_USEC", "400000").start().ready();
        restart(&mut router);
        for _ in 0..3 {
            router.notified("WATCHDOG=1");
        }
    });
}

#[test]
fn the_history_of_a_registration_survives() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let (ended, kept) = (register(connect(address), "key"), register(connect(address), "key"));
        let _member = Member::join(connect(address), &kept, "key");
        drop(Member::join(connect(address), &ended, "key"));
        until("one registration has ended", || router.admin("/v1/status")["registrations"] == 1);
        let history = |router: &Router, id: &str| router.admin(&format!("/v1/registrations/{id}/history"));
        let before = (history(&router, &ended), history(&router, &kept));
        restart(&mut router);
        assert_eq!((history(&router, &ended), history(&router, &kept)), before);
        assert_eq!(before.0["events"][3]["event"], "ended");
    });
}

#[test]
fn the_rule_and_token_that_admitted_a_member_survive() {
    each_way(|restart| {
        let (folder, token) = (tempfile::tempdir().unwrap(), Token::from_bits([7; 32]));
        let tokens = folder.path().join("tokens");
        std::fs::write(&tokens, format!("phone:{}\n", token.hash())).unwrap();
        let rules = format!("[[access]]\ntokens = \"{}\"\n[[access]]\n", tokens.display());
        let mut router = Setup::on_loopback().config(&rules).start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let _host = Member::join(connect(address), &id, "key");
        let phone = Member::join(connect(address), &id, &format!("key&token={}", token.reveal()));
        let before = shown(&router, &id);
        assert_eq!((&before["members"][0]["rule"], &before["members"][0].get("token_name")), (&"2".into(), &None));
        assert_eq!(
            (&before["members"][1]["rule"], &before["members"][1]["token_name"]),
            (&"1".into(), &"phone".into())
        );
        restart(&mut router);
        assert_eq!(shown(&router, &id)["members"], before["members"]);
        drop(phone);
        let left =
            || router.admin(&format!("/v1/registrations/{id}/history"))["events"].as_array().unwrap().last().cloned();
        until("the phone has left", || left().is_some_and(|last| last["event"] == "left"));
        assert_eq!(left().unwrap()["token_name"], "phone");
    });
}

/// Opens a stream of the members of a lobby, and reads its first event.
fn watch(address: SocketAddr, id: &str, first: &str) -> BufReader<TcpStream> {
    let mut stream = connect(address);
    write!(stream, "GET /members?id={id}&key=key HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no event");
    }
    assert_eq!(line.trim_end(), format!("data: {first}"));
    stream
}

fn end_of(mut stream: BufReader<TcpStream>) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    rest.trim().to_owned()
}

#[test]
fn a_stream_of_members_ends_with_the_restart_and_the_stop_and_a_new_one_shows_the_same_members() {
    each_way(|restart| {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let _members: Vec<_> = (0..2).map(|_| Member::join(connect(address), &id, "key")).collect();
        let stream = watch(address, &id, r#"{"peers":2}"#);
        restart(&mut router);
        assert_eq!(end_of(stream), "event: end\ndata: {\"reason\":\"restart\"}");
        let stream = watch(address, &id, r#"{"peers":2}"#);
        router.stopped().assert_exit(0, &[messages::STOPPED]);
        assert_eq!(end_of(stream), "event: end\ndata: {\"reason\":\"stopped\"}");
    });
}
