//! Logs that can't be written.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Scene;
use super::client::{connect, register};
use super::harness::{PATIENCE, Setup};

#[test]
fn the_daemon_serves_while_the_disk_of_the_log_is_full() {
    let setup = Setup::on_loopback().log("format = \"text\"\nlevel = \"trace\"\n").prelude("exec 2>/dev/full;");
    let mut scene = Scene::start(setup);
    for _ in 0..50 {
        register(connect(scene.address), "key");
    }
    scene.check_pair();
    assert_eq!(scene.router.stopped().status.code(), Some(0));
}

#[test]
fn the_daemon_serves_while_the_reader_of_its_log_hangs() {
    for format in ["text", "json"] {
        let setup = Setup::on_loopback().log(&format!("format = \"{format}\"\nlevel = \"trace\"\n"));
        let path = setup.folder.path().join("log");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Held open, and read only at the end.
        let mut reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(&path).unwrap();
        let mut scene = Scene::start(setup.prelude(&format!("exec 2>'{}';", path.display())));
        // More lines than fit into the pipe and the queue.
        for _ in 0..2500 {
            register(connect(scene.address), "key");
        }
        scene.check_pair();
        scene.router.signal(Signal::SIGHUP);
        scene.router.notified("RELOADING=1");
        scene.router.notified("READY=1");
        assert_eq!(scene.router.stopped().status.code(), Some(0));
        assert!(reader.read(&mut [0; 65_536]).unwrap() > 10_000, "{format}");
    }
}

#[test]
fn the_daemon_serves_while_the_journal_is_gone() {
    let can = Command::new("unshare").args(["--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace can be made here");
        return;
    }
    let setup = Setup::on_loopback().log("format = \"journal\"\nlevel = \"trace\"\n");
    let run = setup.folder.path().join("run");
    fs::create_dir_all(run.join("systemd/journal")).unwrap();
    let socket = run.join("systemd/journal/socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    let inside = format!(
        "exec unshare --mount sh -c 'mount --bind \"{}\" /run && exec \"$0\" \"$@\"' \"$0\" \"$@\";",
        run.display()
    );
    let mut scene = Scene::start(setup.prelude(&inside));
    // The first message is empty: the daemon probes the socket.
    while journal.recv(&mut [0; 65_536]).unwrap() == 0 {}
    drop(journal);
    fs::remove_file(&socket).unwrap();
    for _ in 0..50 {
        register(connect(scene.address), "key");
    }
    scene.check_pair();
    assert_eq!(scene.router.stopped().status.code(), Some(0));
}
