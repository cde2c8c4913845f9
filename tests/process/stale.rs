//! A restart with an invalid configuration.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use ws_router_server::log::messages;

use super::carried::both_addresses;
use super::client::{Member, connect, register};
use super::harness::{Router, Setup};

/// Runs `ws-routerctl status`, and returns its exit status.
fn control_status(router: &Router) -> Option<i32> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ws-routerctl"));
    command.arg("--socket").arg(router.setup.admin()).arg("status");
    command.output().unwrap().status.code()
}

#[test]
fn members_stay_with_the_previous_settings_until_a_reload_succeeds() {
    let mut router = Setup::on_loopback().config("[limits]\nmembers = 7\n").start().ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let mut one = Member::join(connect(address), &id, "key");
    let mut other = Member::join(connect(address), &id, "key");
    let (file, good) = (router.setup.file(), fs::read_to_string(router.setup.file()).unwrap());
    fs::write(&file, good.replace("members = 7", "membres = 7")).unwrap();
    assert_eq!(control_status(&router), Some(0));
    router.job("restart");
    router.leave();
    router.start_again();
    let status = router.notified("READY=1");
    assert!(status.contains("STATUS=configuration not in use"), "{status}");
    let line = router.logged(&[messages::CONFIGURATION_STALE]);
    assert!(line["level"] == "ERROR" && line["error"].as_str().unwrap().contains("membres"), "{line}");
    one.send_text("still here");
    assert_eq!(other.receive(), "still here");
    assert_eq!(router.admin("/v1/status")["config_stale"], true);
    assert_eq!(control_status(&router), Some(78));
    // Another restart changes nothing.
    router.restart();
    assert_eq!(control_status(&router), Some(78));
    fs::write(&file, good).unwrap();
    router.signal(Signal::SIGHUP);
    router.logged(&[messages::RELOADED]);
    assert_eq!(control_status(&router), Some(0));
    other.send_text("here too");
    assert_eq!(one.receive(), "here too");
}

#[test]
fn an_invalid_configuration_without_members_is_78() {
    let mut router = Setup::on_loopback().start().ready();
    register(connect(router.address()), "key");
    let good = fs::read_to_string(router.setup.file()).unwrap();
    fs::write(router.setup.file(), format!("{good}[relay]\nthreds = 2\n")).unwrap();
    router.job("restart");
    router.leave();
    router.start_again();
    router.ended().assert_exit(78, &["threds"]);
}

#[test]
fn previous_settings_that_can_not_be_used_either_are_78() {
    let setup = Setup::on_loopback();
    let folder = setup.folder.path().to_owned();
    super::harness::certificate(&folder, "own");
    let mut router = setup.tls("own.crt", "own.key").start();
    let (plain, _) = both_addresses(&mut router);
    let id = register(connect(plain), "key");
    let _member = Member::join(connect(plain), &id, "key");
    let good = fs::read_to_string(router.setup.file()).unwrap();
    fs::write(router.setup.file(), format!("{good}[relay]\nthreds = 2\n")).unwrap();
    router.job("restart");
    router.leave();
    fs::remove_file(folder.join("own.crt")).unwrap();
    router.start_again();
    router.ended().assert_exit(78, &["own.crt"]);
}

#[test]
fn a_restart_with_an_emptied_file_keeps_the_access_rules() {
    let mut router = Setup::on_loopback()
        .config("[[access]]\nallow = \"none\"\norigins = [\"http://no\"]\n[[access]]\n")
        .start()
        .ready();
    let address = router.address();
    let id = register(connect(address), "key");
    let _member = Member::join(connect(address), &id, "key");
    fs::write(router.setup.file(), "[[listener]]\naddress = \"127.0.0.1:0\"\n").unwrap();
    router.job("restart");
    router.leave();
    router.start_again();
    router.logged(&[messages::CONFIGURATION_STALE, "access = []"]);
    assert_eq!(router.admin("/v1/status")["config_stale"], true);
}

#[test]
fn without_members_an_emptied_file_does_not_open_the_router_either() {
    let mut router = Setup::on_loopback().config("[[access]]\n").start().ready();
    register(connect(router.address()), "key");
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\n";
    fs::write(router.setup.file(), listener).unwrap();
    router.job("restart");
    router.leave();
    router.start_again();
    router.ended().assert_exit(78, &["access = []"]);
}
