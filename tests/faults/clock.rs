//! A wall clock that is set: no timeout of the router depends on it.

use std::process::Command;
use std::time::{Duration, Instant};

use super::client::{Member, connect, register};
use super::harness::Setup;
use super::{Scene, until};

#[test]
fn timeouts_are_unaffected_by_a_wall_clock_that_jumps_by_days() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/jumping_clock.c");
    let rules = "[websocket]\nping-interval = \"1s\"\npong-timeout = \"20s\"\n[registration]\nlinger = \"2s\"\n";
    let setup = Setup::on_loopback().config(rules);
    let library = setup.folder.path().join("jumping_clock.so");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]).status();
    if !built.is_ok_and(|status| status.success()) {
        println!("skipped: no C compiler");
        return;
    }
    let mut scene = Scene::start(setup.variable("LD_PRELOAD", &library.display().to_string()));
    let id = register(connect(scene.address), "key");
    drop(Member::join(connect(scene.address), &id, "key"));
    let emptied = Instant::now();
    until("the emptied registration has ended", || scene.status("/registrations") == 1);
    assert!(emptied.elapsed() > Duration::from_millis(1500), "the registration ended before its linger time");
    // Longer than several pings and their pongs.
    while emptied.elapsed() < Duration::from_secs(4) {
        scene.check_pair();
    }
    assert_eq!(scene.status("/closes/no-pong") + scene.status("/closes/too-slow"), 0);
    // A clock that jumps can't make the daemon older than it is.
    assert!(scene.status("/uptime_ms") < 600_000);
    assert_eq!(scene.router.stopped().status.code(), Some(0));
}
