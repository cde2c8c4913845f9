use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};

use ws_router_server::log::messages;

use super::client::{Member, ask, connect, connect_unix, register};
use super::harness::{Setup, certificate};

fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn an_inherited_http_socket_replaces_the_listener() {
    let socket = loopback();
    let address = socket.local_addr().unwrap();
    let mut router = Setup::on_loopback().pass("http", socket).start().ready();
    assert_eq!(router.address(), address);
    assert_eq!(ask(connect(address), "/healthz").0, 200);
    let end = router.stopped();
    assert_eq!(end.log.iter().filter(|line| line.contains(messages::LISTENING)).count(), 1, "{:#?}", end.log);
}

#[test]
fn a_connection_made_before_the_start_is_served() {
    let socket = loopback();
    let early = connect(socket.local_addr().unwrap());
    let _router = Setup::new().pass("http", socket).start();
    assert_eq!(ask(early, "/healthz").0, 200);
}

#[test]
fn a_unix_socket_serves_devices_too() {
    let setup = Setup::new();
    let path = setup.folder.path().join("http.sock");
    let _router = setup.pass("http", UnixListener::bind(&path).unwrap()).start().ready();
    let id = register(connect_unix(&path), "key");
    let mut one = Member::join(connect_unix(&path), &id, "key");
    let mut other = Member::join(connect_unix(&path), &id, "key");
    one.send_text("hello");
    assert_eq!(other.receive(), "hello");
}

#[test]
fn a_single_socket_without_a_name_is_http() {
    let socket = loopback();
    let address = socket.local_addr().unwrap();
    let _router = Setup::new().pass("", socket).without_names().start().ready();
    assert_eq!(ask(connect(address), "/healthz").0, 200);
}

#[test]
fn an_admin_socket_is_inherited() {
    let setup = Setup::on_loopback();
    let (path, own) = (setup.folder.path().join("inherited.sock"), setup.admin());
    let _router = setup.pass("admin", UnixListener::bind(&path).unwrap()).start().ready();
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
    assert!(!own.exists());
}

#[test]
fn a_listener_uses_the_descriptor_that_it_names() {
    let socket = loopback();
    let address = socket.local_addr().unwrap();
    let setup = Setup::new().config("[[listener]]\naddress = \"systemd:front\"\n");
    let _router = setup.pass("front", socket).start().ready();
    assert_eq!(ask(connect(address), "/healthz").0, 200);
}

#[test]
fn an_https_socket_needs_a_certificate_and_uses_the_first() {
    let end = Setup::on_loopback().pass("https", loopback()).start().ended();
    end.assert_exit(78, &["https", "certificate"]);

    let setup = Setup::new();
    certificate(setup.folder.path(), "own");
    let socket = loopback();
    let address = socket.local_addr().unwrap();
    let mut router = setup.tls("own.crt", "own.key").pass("https", socket).start().ready();
    let line = router.logged(&[messages::LISTENING]);
    assert_eq!((line["listener"].as_str(), line["tls"].as_bool()), (Some(&*address.to_string()), Some(true)));
}

#[test]
fn a_wrong_kind_of_descriptor_is_78_and_named() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    Setup::new().pass("http", datagrams).start().ended().assert_exit(78, &["http", "stream"]);
    let file = std::fs::File::open("/dev/null").unwrap();
    Setup::new().pass("http", file).start().ended().assert_exit(78, &["http", "socket"]);
    let setup = Setup::on_loopback().pass("admin", loopback());
    setup.start().ended().assert_exit(78, &["admin", "Unix"]);
    let (connected, _other) = UnixStream::pair().unwrap();
    Setup::on_loopback().pass("admin", connected).start().ended().assert_exit(78, &["admin", "listening"]);
}

#[test]
fn descriptors_meant_for_another_process_are_ignored() {
    let mut router = Setup::on_loopback().variable("LISTEN_PID", "1").variable("LISTEN_FDS", "1").start().ready();
    assert_eq!(ask(connect(router.address()), "/healthz").0, 200);
}

#[test]
fn contradictory_listen_variables_are_78() {
    let names = Setup::new().pass("http", loopback()).variable("LISTEN_FDNAMES", "http:https");
    names.start().ended().assert_exit(78, &["inherited descriptors", "LISTEN_FDNAMES"]);
    let count = Setup::new().pass("http", loopback()).variable("LISTEN_FDS", "many");
    count.start().ended().assert_exit(78, &["inherited descriptors", "LISTEN_FDS"]);
}

#[test]
fn an_unknown_name_is_78_and_the_known_ones_are_named() {
    let end = Setup::new().pass("web", loopback()).start().ended();
    end.assert_exit(78, &["web", "http, https, admin, admin-read-only or metrics"]);
}

#[test]
fn a_listener_whose_descriptor_is_not_passed_is_78() {
    let end = Setup::new().config("[[listener]]\naddress = \"systemd:front\"\n").start().ended();
    end.assert_exit(78, &["systemd:front", "passed: none"]);
}
