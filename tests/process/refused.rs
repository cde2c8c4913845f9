//! Restarts that fail: the old program continues, or members that can't be carried over are closed with 1012.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use ws_router_server::log::messages;

use super::client::{Member, ask, connect, register};
use super::harness::{Router, Setup};

/// Two members of a lobby.
struct Pair {
    one: Member<TcpStream>,
    other: Member<TcpStream>,
}

impl Pair {
    fn join(address: SocketAddr) -> Self {
        let id = register(connect(address), "key");
        let join = || Member::join(connect(address), &id, "key");
        Self { one: join(), other: join() }
    }

    /// Sends a message, and asserts that it arrives.
    fn exchange(&mut self) {
        self.one.send_text("still here");
        assert_eq!(self.other.receive(), "still here");
    }
}

/// Asserts that the program refuses to replace itself, and continues.
fn assert_refused(router: &mut Router, pair: &mut Pair) {
    router.signal(Signal::SIGUSR2);
    let line = router.logged(&[messages::EXECUTION_FAILED]);
    assert_eq!(line["level"], "ERROR", "{line}");
    pair.exchange();
    let id = register(connect(router.listening), "another");
    drop(Member::join(connect(router.listening), &id, "another"));
}

#[test]
fn an_invalid_configuration_leaves_the_old_program_serving() {
    let mut router = Setup::on_loopback().start().ready();
    let mut pair = Pair::join(router.address());
    let (good, pid) = (fs::read_to_string(router.setup.file()).unwrap(), router.admin("/v1/status")["pid"].clone());
    fs::write(router.setup.file(), format!("{good}[relay]\nthreds = 2\n")).unwrap();
    assert_refused(&mut router, &mut pair);
    assert_eq!(router.admin("/v1/status")["pid"], pid);
    fs::write(router.setup.file(), good).unwrap();
    router.replace();
    pair.exchange();
}

#[test]
fn a_broken_program_leaves_the_old_one_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    for broken in [&b"no program at all"[..], b"#!/bin/sh\nexit 1\n", b"#!/nonexistent/interpreter\n", b""] {
        router.setup.replace_program(broken);
        assert_refused(&mut router, &mut pair);
    }
    fs::remove_file(router.setup.program()).unwrap();
    assert_refused(&mut router, &mut pair);
    router.setup.restore_program();
    router.replace();
    pair.exchange();
}

#[test]
fn a_program_that_accepts_any_argument_leaves_the_old_one_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    router.setup.replace_program(b"#!/bin/sh\necho ok\nexit 0\n");
    router.signal(Signal::SIGUSR2);
    let line = router.logged(&[messages::EXECUTION_FAILED]);
    assert!(line["error"].as_str().unwrap().contains("did not report"), "{line}");
    pair.exchange();
}

#[test]
fn the_program_that_passed_the_trial_takes_over_even_if_its_file_is_gone() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    let (program, real) = (router.setup.program().to_owned(), env!("CARGO_BIN_EXE_ws-router"));
    // It removes itself during the trial.
    let script = format!("#!/bin/sh\ncase \"$*\" in *--check*) rm -f {program:?} ;; esac\nexec {real:?} \"$@\"\n");
    router.setup.replace_program(script.as_bytes());
    router.replace();
    pair.exchange();
    assert!(!program.exists());
}

#[test]
fn a_program_that_replaced_itself_keeps_its_name_and_no_descriptor_of_the_old_one() {
    let mut router = Setup::on_loopback().config("[service]\ndebuggable = true\n").start().ready();
    let process = format!("/proc/{}", router.pid());
    for _ in 0..3 {
        router.replace();
        assert_eq!(fs::read_to_string(format!("{process}/comm")).unwrap(), "ws-router\n");
        let open = fs::read_dir(format!("{process}/fd"))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        let open: Vec<_> = open.map(|target| target.display().to_string()).collect();
        let left = |target: &&String| target.contains("memfd:") || target.ends_with("/ws-router");
        assert_eq!(open.iter().find(left), None, "{open:#?}");
    }
}

#[test]
fn a_program_that_hangs_leaves_the_old_one_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    router.setup.replace_program(b"#!/bin/sh\nexec sleep 60\n");
    router.signal(Signal::SIGUSR2);
    pair.exchange();
    assert_eq!(ask(connect(router.listening), "/healthz").0, 200);
    router.logged(&[messages::EXECUTION_FAILED]);
    pair.exchange();
}

#[test]
fn the_trial_runs_the_program_with_its_own_arguments() {
    let setup = Setup::on_loopback().with_own_program();
    let arguments = setup.folder.path().join("arguments");
    let mut router = setup.start().ready();
    let script = format!("#!/bin/sh\necho \"$@\" >{arguments:?}\nexit 1\n");
    router.setup.replace_program(script.as_bytes());
    router.signal(Signal::SIGUSR2);
    router.logged(&[messages::EXECUTION_FAILED]);
    let file = router.setup.file();
    assert_eq!(fs::read_to_string(arguments).unwrap().trim(), format!("--config {} --check", file.display()));
}

#[test]
fn a_program_that_was_deleted_and_put_back_takes_over() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    for _ in 0..2 {
        // The running program is now "(deleted)", as after a package upgrade.
        fs::remove_file(router.setup.program()).unwrap();
        router.setup.restore_program();
        router.replace();
        pair.exchange();
    }
}

/// Changes the stored snapshot, and asserts that the members are closed with 1012 and the new process serves.
fn assert_snapshot_refused(change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let mut router = Setup::on_loopback().start().ready();
    let Pair { one, other } = Pair::join(router.address());
    router.job("restart");
    router.leave();
    let state = router.store().iter_mut().find(|(_, name)| name == "state").unwrap();
    let bytes = fs::read(format!("/proc/self/fd/{}", state.0.as_raw_fd())).unwrap();
    state.0 = sealed(&change(bytes));
    assert_members_lost(router, [one, other]);
}

/// Starts the new process, and asserts that it closes these members with 1012, logs an error and serves.
fn assert_members_lost<const N: usize>(mut router: Router, members: [Member<TcpStream>; N]) {
    router.start_again();
    router.notified("READY=1");
    for member in members {
        let (code, reason) = member.closed();
        assert_eq!(code, 1012, "{reason}");
    }
    let address = router.address();
    let line = router.logged(&["\"ERROR\""]);
    assert!(line.to_string().contains("snapshot"), "{line}");
    router.catch_up();
    assert!(router.store().is_empty());
    Pair::join(address).exchange();
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    let memory = memfd_create("state", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let mut file = fs::File::from(memory);
    file.write_all(bytes).unwrap();
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    file.into()
}

#[test]
fn a_snapshot_that_is_cut_off_is_refused_and_members_closed_with_1012() {
    assert_snapshot_refused(|bytes| bytes[..bytes.len() / 2].to_vec());
}

#[test]
fn a_snapshot_that_is_empty_is_refused_and_members_closed_with_1012() {
    assert_snapshot_refused(|_| Vec::new());
}

#[test]
fn a_snapshot_with_a_changed_byte_is_refused_and_members_closed_with_1012() {
    assert_snapshot_refused(|mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
}

#[test]
fn a_foreign_snapshot_is_refused_and_members_closed_with_1012() {
    assert_snapshot_refused(|_| b"{\"state\": \"of something else\"}".to_vec());
}

#[test]
fn connections_without_a_snapshot_are_closed_with_1012() {
    let mut router = Setup::on_loopback().start().ready();
    let Pair { one, other } = Pair::join(router.address());
    router.job("restart");
    router.leave();
    router.store().retain(|(_, name)| name != "state");
    assert_members_lost(router, [one, other]);
}

#[test]
fn a_snapshot_without_connections_is_logged_and_does_not_prevent_the_start() {
    let mut router = Setup::on_loopback().start().ready();
    let pair = Pair::join(router.address());
    router.job("restart");
    router.leave();
    router.store().retain(|(_, name)| name != "connections");
    drop(pair);
    assert_members_lost(router, []);
}
