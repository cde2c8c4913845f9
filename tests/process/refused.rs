//! A successor that can't be: the old program goes on, or whoever can't be carried over is told so.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;

use super::client::{Member, ask, connect, register};
use super::harness::{Router, Setup};

/// Members that can tell whether they are still together.
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

    fn talk(&mut self) {
        self.one.say("still here");
        assert_eq!(self.other.receive(), "still here");
    }
}

/// Asks the program to replace itself, which it must refuse.
fn refuses(router: &mut Router, pair: &mut Pair) {
    router.signal(Signal::SIGUSR2);
    let line = router.logged(&["the new program can't take over"]);
    assert_eq!(line["level"], "ERROR", "{line}");
    pair.talk();
    let id = register(connect(router.listening), "another");
    drop(Member::join(connect(router.listening), &id, "another"));
}

#[test]
fn a_configuration_with_a_mistake_leaves_the_old_program_serving() {
    let mut router = Setup::on_loopback().start().ready();
    let mut pair = Pair::join(router.address());
    let (good, pid) = (fs::read_to_string(router.setup.file()).unwrap(), router.admin("/v1/status")["pid"].clone());
    fs::write(router.setup.file(), format!("{good}[relay]\nthreds = 2\n")).unwrap();
    refuses(&mut router, &mut pair);
    assert_eq!(router.admin("/v1/status")["pid"], pid);
    fs::write(router.setup.file(), good).unwrap();
    router.replace();
    pair.talk();
}

#[test]
fn a_broken_program_leaves_the_old_one_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    for broken in [&b"no program at all"[..], b"#!/bin/sh\nexit 1\n", b"#!/nonexistent/interpreter\n", b""] {
        router.setup.replace_program(broken);
        refuses(&mut router, &mut pair);
    }
    fs::remove_file(router.setup.program()).unwrap();
    refuses(&mut router, &mut pair);
    router.setup.restore_program();
    router.replace();
    pair.talk();
}

#[test]
fn a_program_that_says_yes_to_everything_leaves_the_old_one_serving() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    router.setup.replace_program(b"#!/bin/sh\necho ok\nexit 0\n");
    router.signal(Signal::SIGUSR2);
    let line = router.logged(&["the new program can't take over"]);
    assert!(line["error"].as_str().unwrap().contains("did not report"), "{line}");
    pair.talk();
}

#[test]
fn the_program_that_was_tried_out_takes_over_whatever_is_in_its_place_then() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    let (program, real) = (router.setup.program().to_owned(), env!("CARGO_BIN_EXE_ws-router"));
    // It removes itself while it is tried out.
    let script = format!("#!/bin/sh\ncase \"$*\" in *--check*) rm -f {program:?} ;; esac\nexec {real:?} \"$@\"\n");
    router.setup.replace_program(script.as_bytes());
    router.replace();
    pair.talk();
    assert!(!program.exists());
}

#[test]
fn a_program_that_replaced_itself_keeps_its_name_and_no_descriptor_of_the_old_one() {
    let mut router = Setup::on_loopback().start().ready();
    let place = format!("/proc/{}", router.pid());
    for _ in 0..3 {
        router.replace();
        assert_eq!(fs::read_to_string(format!("{place}/comm")).unwrap(), "ws-router\n");
        let open =
            fs::read_dir(format!("{place}/fd")).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
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
    pair.talk();
    assert_eq!(ask(connect(router.listening), "/healthz").0, 200);
    router.logged(&["the new program can't take over"]);
    pair.talk();
}

#[test]
fn the_program_is_asked_with_its_own_arguments() {
    let setup = Setup::on_loopback().with_own_program();
    let heard = setup.folder.path().join("heard");
    let mut router = setup.start().ready();
    let script = format!("#!/bin/sh\necho \"$@\" >{heard:?}\nexit 1\n");
    router.setup.replace_program(script.as_bytes());
    router.signal(Signal::SIGUSR2);
    router.logged(&["the new program can't take over"]);
    let file = router.setup.file();
    assert_eq!(fs::read_to_string(heard).unwrap().trim(), format!("--config {} --check", file.display()));
}

#[test]
fn a_program_that_was_deleted_and_put_back_takes_over() {
    let mut router = Setup::on_loopback().with_own_program().start().ready();
    let mut pair = Pair::join(router.address());
    for _ in 0..2 {
        // What runs is now "(deleted)", as after a package upgrade.
        fs::remove_file(router.setup.program()).unwrap();
        router.setup.restore_program();
        router.replace();
        pair.talk();
    }
}

/// Changes the stored snapshot, and sees the members told so and everything else at work.
fn snapshot_is_refused(change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let mut router = Setup::on_loopback().start().ready();
    let Pair { one, other } = Pair::join(router.address());
    router.job("restart");
    router.leave();
    let state = router.store().iter_mut().find(|(_, name)| name == "state").unwrap();
    let bytes = fs::read(format!("/proc/self/fd/{}", state.0.as_raw_fd())).unwrap();
    state.0 = sealed(&change(bytes));
    goes_on_without_them(router, [one, other]);
}

fn goes_on_without_them<const N: usize>(mut router: Router, members: [Member<TcpStream>; N]) {
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
    Pair::join(address).talk();
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
    snapshot_is_refused(|bytes| bytes[..bytes.len() / 2].to_vec());
}

#[test]
fn a_snapshot_that_is_empty_is_refused_and_members_closed_with_1012() {
    snapshot_is_refused(|_| Vec::new());
}

#[test]
fn a_snapshot_with_a_changed_byte_is_refused_and_members_closed_with_1012() {
    snapshot_is_refused(|mut bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    });
}

#[test]
fn a_foreign_snapshot_is_refused_and_members_closed_with_1012() {
    snapshot_is_refused(|_| b"{\"state\": \"of something else\"}".to_vec());
}

#[test]
fn connections_without_a_snapshot_are_closed_with_1012() {
    let mut router = Setup::on_loopback().start().ready();
    let Pair { one, other } = Pair::join(router.address());
    router.job("restart");
    router.leave();
    router.store().retain(|(_, name)| name != "state");
    goes_on_without_them(router, [one, other]);
}

#[test]
fn a_snapshot_without_connections_is_told_and_does_not_stop_the_start() {
    let mut router = Setup::on_loopback().start().ready();
    let pair = Pair::join(router.address());
    router.job("restart");
    router.leave();
    router.store().retain(|(_, name)| name != "connections");
    drop(pair);
    goes_on_without_them(router, []);
}
