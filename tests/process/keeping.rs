//! Listeners that queue while there is no program, and what a crash leaves.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::signal::Signal;

use super::carried::each_way;
use super::client::{Member, ask, connect, connect_unix, register};
use super::harness::{Router, Setup};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";

fn healthy(mut early: impl Read) {
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

/// Who asks while there is no program is answered by the next one, which is found at the same places.
fn keeps_queueing(router: &mut Router, address: SocketAddr, path: &Path) {
    router.job("restart");
    router.leave();
    let (mut inet, mut unix) = (connect(address), connect_unix(path));
    inet.write_all(HEALTH).unwrap();
    unix.write_all(HEALTH).unwrap();
    router.start_again();
    router.notified("READY=1");
    healthy(inet);
    healthy(unix);
    router.replace();
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    assert_eq!(ask(connect_unix(path), "/healthz").0, 200);
}

#[test]
fn own_listeners_keep_queueing_while_there_is_no_program() {
    let setup = Setup::on_loopback();
    let path = setup.folder.path().join("http.sock");
    let mut router = setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", path.display())).start().ready();
    let address = router.tcp_address();
    for _ in 0..2 {
        keeps_queueing(&mut router, address, &path);
    }
}

#[test]
fn inherited_listeners_keep_queueing_while_there_is_no_program() {
    let (setup, socket) = (Setup::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (path, address) = (setup.folder.path().join("http.sock"), socket.local_addr().unwrap());
    let setup = setup.pass("http", socket).pass("http", UnixListener::bind(&path).unwrap());
    keeps_queueing(&mut setup.start().ready(), address, &path);
}

#[test]
fn who_has_just_been_let_in_is_still_answered() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    for leaving in [Signal::SIGUSR2, Signal::SIGTERM] {
        let (silent, mut early) = (connect(address), connect(address));
        // The last to come is answered, so those before it have been let in.
        assert_eq!(ask(connect(address), "/healthz").0, 200);
        router.job("restart");
        router.signal(leaving);
        router.logged(&[if leaving == Signal::SIGUSR2 {
            "handing over to the new program"
        } else {
            "handing over to the next process"
        }]);
        early.write_all(HEALTH).unwrap();
        healthy(early);
        drop(silent);
        if leaving == Signal::SIGTERM {
            router.left();
            router.start_again();
        }
        router.notified("READY=1");
    }
}

#[test]
fn listeners_follow_the_file_at_a_restart() {
    each_way(|renew| {
        let setup = Setup::on_loopback();
        let (old, new) = (setup.folder.path().join("old.sock"), setup.folder.path().join("new.sock"));
        let mut router = setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", old.display())).start().ready();
        let address = router.tcp_address();
        let file = fs::read_to_string(router.setup.file()).unwrap();
        fs::write(router.setup.file(), file.replace("old.sock", "new.sock")).unwrap();
        renew(&mut router);
        assert_eq!(ask(connect(address), "/healthz").0, 200);
        assert_eq!(ask(connect_unix(&new), "/healthz").0, 200);
        assert!(UnixStream::connect(&old).is_err());
    });
}

#[test]
fn a_unix_listener_gets_the_mode_of_the_file_at_a_restart() {
    each_way(|renew| {
        let setup = Setup::on_loopback();
        let path = setup.folder.path().join("http.sock");
        let mut router =
            setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", path.display())).start().ready();
        let file = fs::read_to_string(router.setup.file()).unwrap();
        fs::write(router.setup.file(), format!("{file}mode = \"0600\"\n")).unwrap();
        renew(&mut router);
        assert_eq!(ask(connect_unix(&path), "/healthz").0, 200);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(router.stopped().status.code(), Some(0));
        assert!(!path.exists());
    });
}

#[test]
fn a_socket_that_its_unit_no_longer_passes_is_let_go_at_a_restart() {
    let setup = Setup::new();
    let (old, new) = (setup.folder.path().join("old.sock"), setup.folder.path().join("new.sock"));
    let setup = setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", new.display()));
    let mut router = setup.pass("http", UnixListener::bind(&old).unwrap()).start().ready();
    router.replace();
    assert_eq!(ask(connect_unix(&old), "/healthz").0, 200);
    router.setup.keep_back();
    router.restart();
    assert_eq!(ask(connect_unix(&new), "/healthz").0, 200);
    assert!(UnixStream::connect(&old).is_err());
}

#[test]
fn the_admin_socket_is_there_again() {
    let mut router = Setup::on_loopback().start().ready();
    router.replace();
    assert_eq!(router.admin("/v1/status")["members"], 0);
    router.restart();
    assert_eq!(router.admin("/v1/status")["members"], 0);
}

#[test]
fn nothing_stays_in_the_store_once_it_is_taken_over() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let _one = Member::join(connect(address), &id, "key");
    router.job("restart");
    router.leave();
    let mut names: Vec<_> = router.store().iter().map(|(_, name)| name.clone()).collect();
    names.sort();
    assert_eq!(names, ["connections", "state"]);
    router.start_again();
    router.notified("READY=1");
    router.catch_up();
    assert!(router.store().is_empty());
}

#[test]
fn when_the_service_manager_can_not_say_it_is_a_restart_for_systemd_and_a_stop_for_others() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    router.without_jobs();
    router.signal(Signal::SIGTERM);
    if !Path::new("/run/systemd/system").exists() {
        assert_eq!(one.closed().0, 1001);
        return;
    }
    router.left();
    router.start_again();
    router.notified("READY=1");
    one.say("hello");
    assert_eq!(other.receive(), "hello");
}

#[test]
fn a_signal_that_ends_the_question_too_does_not_leave_it_unanswered() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    let (asked, real) = (router.setup.folder.path().join("bin/systemctl"), router.setup.folder.path().join("bin/real"));
    fs::rename(&asked, &real).unwrap();
    let script =
        format!("#!/bin/sh\n[ -e {real:?}.once ] || {{ : >{real:?}.once; kill -TERM $$; }}\nexec {real:?} \"$@\"\n");
    fs::write(&asked, script).unwrap();
    fs::set_permissions(&asked, fs::metadata(&real).unwrap().permissions()).unwrap();
    router.restart();
    one.say("hello");
    assert_eq!(other.receive(), "hello");
}

#[test]
fn a_stop_closes_all_members_with_1001_and_stores_nothing() {
    for job in ["stop", ""] {
        let mut router = Setup::on_loopback().start().ready();
        let address = router.address();
        let id = register(connect(address), "key");
        let one = Member::join(connect(address), &id, "key");
        router.job(job);
        router.signal(Signal::SIGTERM);
        assert_eq!(one.closed().0, 1001);
        router.left();
        assert!(router.store().is_empty());
    }
}

#[test]
fn without_a_service_manager_term_is_a_stop() {
    let mut router = Setup::on_loopback().without_manager().start();
    let address = router.address();
    let id = register(connect(address), "key");
    let one = Member::join(connect(address), &id, "key");
    router.job("restart");
    router.signal(Signal::SIGTERM);
    assert_eq!(one.closed().0, 1001);
    router.ended().says(0, &["\"stopped\""]);
}

#[test]
fn after_a_crash_the_listener_has_queued_and_a_device_takes_its_id_again() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut router = Setup::new().pass("http", socket).start().ready();
    let wish = "/register?key=k&host_key=h&reg_type=lobby&id_req=my-own-id";
    assert_eq!(ask(connect(address), wish).1, "my-own-id");
    let _lost = Member::join(connect(address), "my-own-id", "k");
    router.kill();
    let mut early = connect(address);
    early.write_all(HEALTH).unwrap();
    router.start_again();
    router.notified("READY=1");
    healthy(early);
    assert_eq!(ask(connect(address), wish).1, "my-own-id");
    let mut one = Member::join(connect(address), "my-own-id", "k");
    let mut other = Member::join(connect(address), "my-own-id", "k");
    one.say("back again");
    assert_eq!(other.receive(), "back again");
}
