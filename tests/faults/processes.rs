//! Clients that are killed, and a daemon that is stopped for a while.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::client::{Member, connect, register};
use super::descriptors::Descriptors;
use super::harness::Setup;
use super::{Chance, Scene, until};

/// Starts a member as a process of its own: it joins, sends messages without a pause, and reads nothing.
fn spawn_member(port: u16, id: &str) -> Child {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port} || exit 1\n\
         printf 'GET /connect?id={id}&key=key HTTP/1.1\\r\\nHost: h\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\
         Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n' >&3\n\
         while printf '\\x82\\x83\\x01\\x01\\x01\\x01abc' >&3; do :; done"
    );
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn members_that_are_killed_at_any_point_leave_nothing_behind() {
    let mut scene = Scene::start(Setup::on_loopback());
    let id = register(connect(scene.address), "key");
    let stays = Member::join(connect(scene.address), &id, "key");
    let kills = std::env::var("WS_ROUTER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(100);
    let mut chance = Chance(4711);
    for _ in 0..kills / 10 {
        let mut members: Vec<_> = (0..10).map(|_| spawn_member(scene.address.port(), &id)).collect();
        scene.check_pair();
        while !members.is_empty() {
            let mut member = members.swap_remove(chance.below(members.len()));
            member.kill().unwrap();
            member.wait().unwrap();
            thread::sleep(Duration::from_micros(chance.below(3000) as u64));
        }
    }
    drop(stays);
    scene.until_alone();
    scene.check_pair();
}

#[test]
fn a_daemon_that_was_stopped_closes_no_member_that_answered_meanwhile() {
    // More than the event loop handles at once.
    const MEMBERS: usize = 1500;
    let Some(_descriptors) = Descriptors::at_least(MEMBERS + 500) else { return };
    let rules = "[websocket]\nping-interval = \"1h\"\npong-timeout = \"10s\"\n[relay]\nthreads = 1\n";
    let mut scene = Scene::start(Setup::on_loopback().config(rules));
    let id = register(connect(scene.address), "key");
    let mut members: Vec<_> = (0..MEMBERS).map(|_| Member::join(connect(scene.address), &id, "key")).collect();
    // All are pinged at about the same time, and answer while the daemon is stopped.
    let file = scene.router.setup.file();
    let short = std::fs::read_to_string(&file).unwrap().replace("1h", "2s");
    std::fs::write(&file, short).unwrap();
    scene.router.signal(Signal::SIGHUP);
    scene.router.notified("READY=1");
    let answer = |member: &mut Member<std::net::TcpStream>| {
        let mut ping = [0; 2];
        member.stream().read_exact(&mut ping).unwrap();
        assert_eq!(ping, [0x89, 0]);
    };
    members.iter_mut().for_each(answer);
    scene.router.signal(Signal::SIGSTOP);
    until("all its threads are stopped", || is_stopped(scene.router.pid()));
    for member in &mut members {
        member.stream().write_all(&[0x8a, 0x80, 0, 0, 0, 0]).unwrap();
    }
    // Longer than the pong timeout; the answers wait in the kernel.
    thread::sleep(Duration::from_millis(10_500));
    scene.router.signal(Signal::SIGCONT);
    until("all answers have been read", || {
        let shown = scene.router.admin(&format!("/v1/registrations/{id}"));
        let members = shown["members"].as_array().unwrap();
        assert_eq!(members.len(), MEMBERS, "some members were closed");
        members.iter().all(|member| member["silent_ms"].as_u64().unwrap() < 10_000)
    });
}

/// Returns whether every thread of a process is stopped; until then one may still read.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    })
}
