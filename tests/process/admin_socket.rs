use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use super::client::{ask, connect_unix};
use super::harness::Setup;

#[test]
fn the_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    let router = setup.start().ready();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
    assert_eq!(router.stopped().status.code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn the_socket_of_a_daemon_that_died_is_replaced() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    drop(UnixListener::bind(&path).unwrap());
    let _router = setup.start().ready();
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
}

#[test]
fn a_second_daemon_on_the_same_socket_is_69_and_the_first_goes_on() {
    let first = Setup::on_loopback();
    let path = first.admin();
    let _first = first.start().ready();
    let second = Setup::new();
    let file = second.folder.path().join("same.toml");
    let text = format!("[admin]\nsocket = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n", path.display());
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let end = second.argument("--config").argument(file).start_on(std::process::Stdio::null()).ended();
    end.says(69, &["another ws-router", path.to_str().unwrap()]);
    assert_eq!(ask(connect_unix(&path), "/v1/status").0, 200);
}

#[test]
fn something_else_in_the_sockets_place_is_left_alone() {
    let setup = Setup::on_loopback();
    let path = setup.admin();
    fs::write(&path, "precious").unwrap();
    setup.start().ended().says(69, &["admin.sock", "something else"]);
}
