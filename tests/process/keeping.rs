//! Listeners that queue connections while no process runs, the descriptor store, and the state after a crash.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::signal::Signal;
use ws_router_server::log::messages;

use super::carried::each_way;
use super::client::{Member, ask, connect, connect_unix, register};
use super::harness::{Router, Setup};

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n";

/// Asserts that the health request on this connection is answered.
fn assert_healthy(mut early: impl Read) {
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

/// Asserts that requests made while no process runs are answered by the next one, at the same addresses.
fn assert_queued(router: &mut Router, address: SocketAddr, path: &Path) {
    router.job("restart");
    router.leave();
    let (mut inet, mut unix) = (connect(address), connect_unix(path));
    inet.write_all(HEALTH).unwrap();
    unix.write_all(HEALTH).unwrap();
    router.start_again();
    router.notified("READY=1");
    assert_healthy(inet);
    assert_healthy(unix);
    router.replace();
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    assert_eq!(ask(connect_unix(path), "/healthz").0, 200);
}

#[test]
fn own_listeners_queue_while_no_process_runs() {
    let setup = Setup::on_loopback();
    let path = setup.folder.path().join("http.sock");
    let mut router = setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", path.display())).start().ready();
    let address = router.tcp_address();
    for _ in 0..2 {
        assert_queued(&mut router, address, &path);
    }
}

#[test]
fn inherited_listeners_queue_while_no_process_runs() {
    let (setup, socket) = (Setup::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (path, address) = (setup.folder.path().join("http.sock"), socket.local_addr().unwrap());
    let setup = setup.pass("http", socket).pass("http", UnixListener::bind(&path).unwrap());
    assert_queued(&mut setup.start().ready(), address, &path);
}

#[test]
fn a_connection_accepted_before_a_restart_is_still_answered() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    for leaving in [Signal::SIGUSR2, Signal::SIGTERM] {
        let (silent, mut early) = (connect(address), connect(address));
        // The last connection is answered, so those before it have been accepted.
        assert_eq!(ask(connect(address), "/healthz").0, 200);
        router.job("restart");
        router.signal(leaving);
        router.logged(&[if leaving == Signal::SIGUSR2 { messages::EXECUTING } else { messages::HANDING_OVER }]);
        early.write_all(HEALTH).unwrap();
        assert_healthy(early);
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
    each_way(|restart| {
        let setup = Setup::on_loopback();
        let (old, new) = (setup.folder.path().join("old.sock"), setup.folder.path().join("new.sock"));
        let mut router = setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", old.display())).start().ready();
        let address = router.tcp_address();
        let file = fs::read_to_string(router.setup.file()).unwrap();
        fs::write(router.setup.file(), file.replace("old.sock", "new.sock")).unwrap();
        restart(&mut router);
        assert_eq!(ask(connect(address), "/healthz").0, 200);
        assert_eq!(ask(connect_unix(&new), "/healthz").0, 200);
        assert!(UnixStream::connect(&old).is_err());
    });
}

#[test]
fn a_unix_listener_gets_the_mode_of_the_file_at_a_restart() {
    each_way(|restart| {
        let setup = Setup::on_loopback();
        let path = setup.folder.path().join("http.sock");
        let mut router =
            setup.config(&format!("[[listener]]\naddress = \"unix:{}\"\n", path.display())).start().ready();
        let file = fs::read_to_string(router.setup.file()).unwrap();
        fs::write(router.setup.file(), format!("{file}mode = \"0600\"\n")).unwrap();
        restart(&mut router);
        assert_eq!(ask(connect_unix(&path), "/healthz").0, 200);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(router.stopped().status.code(), Some(0));
        assert!(!path.exists());
    });
}

#[test]
fn a_socket_that_its_unit_no_longer_passes_is_closed_at_a_restart() {
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
fn the_admin_socket_serves_after_a_restart() {
    let mut router = Setup::on_loopback().start().ready();
    router.replace();
    assert_eq!(router.admin("/v1/status")["members"], 0);
    router.restart();
    assert_eq!(router.admin("/v1/status")["members"], 0);
}

#[test]
fn the_descriptor_store_is_empty_after_a_restart() {
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
fn an_unknown_job_counts_as_a_restart_under_systemd_and_as_a_stop_elsewhere() {
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
    one.send_text("hello");
    assert_eq!(other.receive(), "hello");
}

#[test]
fn a_job_query_that_the_signal_kills_is_repeated() {
    let mut router = Setup::on_loopback().start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    let (query, real) = (router.setup.folder.path().join("bin/systemctl"), router.setup.folder.path().join("bin/real"));
    fs::rename(&query, &real).unwrap();
    let script =
        format!("#!/bin/sh\n[ -e {real:?}.once ] || {{ : >{real:?}.once; kill -TERM $$; }}\nexec {real:?} \"$@\"\n");
    fs::write(&query, script).unwrap();
    fs::set_permissions(&query, fs::metadata(&real).unwrap().permissions()).unwrap();
    router.restart();
    one.send_text("hello");
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
fn term_without_a_service_manager_is_a_stop() {
    let mut router = Setup::on_loopback().without_manager().start();
    let address = router.address();
    let id = register(connect(address), "key");
    let one = Member::join(connect(address), &id, "key");
    router.job("restart");
    router.signal(Signal::SIGTERM);
    assert_eq!(one.closed().0, 1001);
    router.ended().assert_exit(0, &[messages::STOPPED]);
}

#[test]
fn a_device_gets_its_id_again_after_a_crash_from_a_listener_that_queued() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut router = Setup::new().pass("http", socket).start().ready();
    let request = "/register?key=k&host_key=h&reg_type=lobby&id_req=my-own-id";
    assert_eq!(ask(connect(address), request).1, "my-own-id");
    let _lost = Member::join(connect(address), "my-own-id", "k");
    router.kill();
    let mut early = connect(address);
    early.write_all(HEALTH).unwrap();
    router.start_again();
    router.notified("READY=1");
    assert_healthy(early);
    assert_eq!(ask(connect(address), request).1, "my-own-id");
    let mut one = Member::join(connect(address), "my-own-id", "k");
    let mut other = Member::join(connect(address), "my-own-id", "k");
    one.send_text("back again");
    assert_eq!(other.receive(), "back again");
}
