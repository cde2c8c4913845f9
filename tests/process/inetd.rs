use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::carried::until;
use super::client::{Member, ask, connect, register};
use super::harness::Setup;

/// Starts the daemon as inetd does, with `socket` as descriptor 0.
fn under_inetd(setup: Setup, socket: impl Into<OwnedFd>) -> super::harness::Router {
    let file = setup.file().display().to_string();
    setup.argument("--inetd").argument("--config").argument(file).start_on(Stdio::from(socket.into()))
}

#[test]
fn a_wait_line_is_served_until_the_daemon_is_idle() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let early = connect(address);
    let setup = Setup::new().config("[service]\nexit-when-idle = \"1s\"\n");
    let router = under_inetd(setup, socket.try_clone().unwrap());
    assert_eq!(ask(early, "/healthz").0, 200);
    let id = register(connect(address), "key");
    drop(Member::join(connect(address), &id, "key"));
    assert_eq!(router.ended().status.code(), Some(0));
    // The socket is inetd's, and queues connections for the next daemon.
    connect(address);
}

#[test]
fn a_nowait_line_hands_its_connection_to_the_running_daemon() {
    let mut running = Setup::on_loopback().start().ready();
    let address = running.address();
    let id = register(connect(address), "key");
    let inetd = TcpListener::bind("127.0.0.1:0").unwrap();
    let join = || {
        let device = connect(inetd.local_addr().unwrap());
        let (accepted, _) = inetd.accept().unwrap();
        let end = handed_over(&running, accepted);
        assert_eq!(end.status.code(), Some(0), "{:#?}", end.log);
        device
    };
    let mut through_inetd = Member::join(join(), &id, "key");
    let mut direct = Member::join(connect(address), &id, "key");
    through_inetd.send_text("hello");
    assert_eq!(direct.receive(), "hello");
    direct.send_text("welcome");
    assert_eq!(through_inetd.receive(), "welcome");
}

#[test]
fn the_limits_apply_to_a_nowait_lines_connection() {
    let mut running = Setup::on_loopback().config("[limits]\nconnections = 2\n").start().ready();
    let address = running.address();
    let id = register(connect(address), "key");
    until("the connection of the registration has ended", || running.admin("/v1/status")["connections"] == 0);
    let _members = [Member::join(connect(address), &id, "key"), Member::join(connect(address), &id, "key")];
    let inetd = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut device = connect(inetd.local_addr().unwrap());
    let (accepted, _) = inetd.accept().unwrap();
    assert_eq!(handed_over(&running, accepted).status.code(), Some(69));
    running.logged(&["handed-over connection", "limits.connections"]);
    assert_eq!(device.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(running.admin("/v1/status")["frontend"]["connections_rejected"]["limit"], 1);
}

#[test]
fn a_nowait_line_without_a_running_daemon_is_69_and_writes_nothing_to_the_device() {
    let inetd = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut device = connect(inetd.local_addr().unwrap());
    let (accepted, _) = inetd.accept().unwrap();
    let end = under_inetd(Setup::new(), accepted).ended();
    assert_eq!(end.status.code(), Some(69));
    drop(end);
    let mut text = String::new();
    device.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

#[test]
fn nothing_is_written_to_a_device_whose_socket_is_also_standard_error() {
    let inetd = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut device = connect(inetd.local_addr().unwrap());
    let (accepted, _) = inetd.accept().unwrap();
    let copy = || Stdio::from(OwnedFd::from(accepted.try_clone().unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_ws-router"));
    command.args(["--inetd", "--config", "/nonexistent/ws-router.toml"]);
    let status = command.stdin(copy()).stdout(copy()).stderr(copy()).status().unwrap();
    assert_eq!(status.code(), Some(78));
    drop((accepted, command));
    let mut text = String::new();
    device.read_to_string(&mut text).unwrap();
    assert_eq!(text, "");
}

/// Starts a daemon that hands this connection to the running one, and waits for its end.
fn handed_over(running: &super::harness::Router, accepted: TcpStream) -> super::harness::End {
    let setup = Setup::new();
    let file = running.setup.file().display().to_string();
    setup.argument("--inetd").argument("--config").argument(file).start_on(Stdio::from(OwnedFd::from(accepted))).ended()
}
