use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use ws_router_server::log::messages;

use super::client::{ask, connect};
use super::harness::{Setup, certificate};

#[test]
fn an_address_of_the_command_line_is_listened_on_and_notified() {
    let mut router = Setup::new().argument("--listen").argument("127.0.0.1:0").start();
    let address = router.address();
    let message = router.notified("READY=1");
    assert!(message.contains(&format!("STATUS=0 registrations, 0 members; listening on {address}")), "{message}");
    assert_eq!(ask(connect(address), "/healthz"), (200, "ok".into()));
    assert_eq!(router.stopped().status.code(), Some(0));
}

#[test]
fn hup_and_usr2_do_not_end_a_daemon_that_is_starting() {
    // The daemon waits for its configuration, which it reads from a pipe.
    let setup = Setup::new();
    let (pipe, file) = (setup.folder.path().join("pipe"), setup.folder.path().join("file"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut router = setup.argument("--config").argument(pipe.display().to_string()).start_on(null());
    let mut writer = File::options().write(true).open(&pipe).unwrap();
    for _ in 0..100 {
        router.signal(Signal::SIGHUP);
        router.signal(Signal::SIGUSR2);
    }
    let text = "[[listener]]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    // The reload that the signals request reads a file.
    fs::write(&file, text).unwrap();
    fs::rename(&file, &pipe).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    router.notified("READY=1");
    let address = router.address();
    router.logged(&[messages::RELOADED]);
    assert_eq!(ask(connect(address), "/healthz"), (200, "ok".into()));
}

#[test]
fn a_port_in_use_is_69_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let end = Setup::new().argument("--listen").argument(&address).start().ended();
    end.assert_exit(69, &[&address, "another program"]);
}

#[test]
fn an_address_without_permission_is_77_and_named() {
    // Not even root can create files there.
    let address = "unix:/sys/ws-router.sock";
    let end = Setup::new().argument("--listen").argument(address).start().ended();
    end.assert_exit(77, &["/sys/ws-router.sock", "ermi"]);
}

#[test]
fn a_certificate_that_does_not_fit_its_key_is_78() {
    let setup = Setup::new();
    certificate(setup.folder.path(), "one");
    certificate(setup.folder.path(), "two");
    let end = setup.tls("one.crt", "two.key").start().ended();
    end.assert_exit(78, &["two.key"]);
}

#[test]
fn a_configuration_file_that_does_not_exist_is_78() {
    let end = Setup::new().argument("--config").argument("/nonexistent/ws-router.toml").start_on(null()).ended();
    end.assert_exit(78, &["/nonexistent/ws-router.toml"]);
}

#[test]
fn a_configuration_file_without_read_permission_is_78() {
    if nix::unistd::geteuid().is_root() {
        // Root can read every file; a folder can't be read as one.
        let setup = Setup::new();
        let folder = setup.folder.path().display().to_string();
        setup.argument("--config").argument(&folder).start_on(null()).ended().assert_exit(78, &[&folder]);
        return;
    }
    let setup = Setup::new();
    let file = setup.folder.path().join("secret.toml");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    let name = file.display().to_string();
    setup.argument("--config").argument(&name).start_on(null()).ended().assert_exit(78, &[&name]);
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let end =
        Setup::on_loopback().config("[registration]\nliger = \"3s\"\nunclaimed-timeout = \"soon\"\n").start().ended();
    end.assert_exit(78, &["liger", "linger"]);
    end.assert_exit(78, &["unclaimed-timeout"]);
}

fn null() -> std::process::Stdio {
    std::process::Stdio::null()
}
