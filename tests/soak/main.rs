//! Devices that exchange messages without a pause while the program is replaced several times.
//!
//! In lobbies and in pairs, members send messages of 1 byte to 1 MiB at full rate; the receivers know every byte. Some
//! members read slowly; some stop in the middle of a frame just before a restart and continue just after it. Every receiver
//! has to receive every message once and in order, no member may be closed, and new connections have to be served
//! throughout.
//!
//! By default the runs are short. For longer ones, and for a router that something else manages:
//!
//! ```text
//! WS_ROUTER_SOAK_MEMBERS=200 WS_ROUTER_SOAK_RESTARTS=20     number of devices, and of restarts of each kind
//! WS_ROUTER_SOAK_ADDRESS=127.0.0.1:8741                     a running router, instead of one that the test starts
//! WS_ROUTER_SOAK_RESTART='systemctl restart ws-router'      the command that restarts it; {} is the number of the restart
//! WS_ROUTER_SOAK_CONNECTIONS=19000                          number of connections while the round trips of one pair are measured
//! WS_ROUTER_SOAK_SEED=7                                     the seed of a run to repeat; each run prints its own
//! ```
#![allow(clippy::unwrap_used)] // A failed unwrap fails the test.

mod crowd;
#[path = "../support/descriptors.rs"]
mod descriptors;
mod device;
mod error;
mod group;
#[path = "../support/harness.rs"]
mod harness;
mod load;
mod message;
mod progress;
mod restart;
#[path = "../support/store.rs"]
mod store;
mod visit;

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use load::Load;
use message::chance;
use restart::{Elsewhere, Managed, Restart};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_while_the_program_replaces_itself() {
    let _alone = run_alone();
    if Elsewhere::from_environment().is_none() {
        soak("replacing itself", &mut Managed::by_itself());
    }
}

#[test]
fn nothing_is_lost_while_the_service_manager_restarts_the_program() {
    let _alone = run_alone();
    match Elsewhere::from_environment() {
        Some(mut elsewhere) => soak("managed elsewhere", &mut elsewhere),
        None => soak("restarted by the service manager", &mut Managed::by_the_manager()),
    }
}

/// Restarts the router several times under load, and asserts that nothing is lost.
fn soak(kind: &str, router: &mut dyn Restart) {
    let restarts = setting("RESTARTS", 3);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
    let seed = setting("SEED", now());
    println!("{kind}: seed {seed}");
    let load = Load::start(&router.endpoints(), setting("MEMBERS", 40) as usize, seed);
    let (start, members, mut longest) = (Instant::now(), load.members, Duration::ZERO);
    for number in 1..=restarts {
        load.wait_for(1 + chance(seed ^ number) % (members as u64 * 20));
        // Every other restart happens at an arbitrary moment.
        if number % 2 == 1 {
            load.halt();
        }
        let took = load.progress.during(|| router.restart(number));
        longest = longest.max(took);
        let (messages, at) = (load.progress.messages.load(Relaxed), start.elapsed().as_secs_f64());
        println!("{kind}: {at:.1} s, restart {number} took {} ms, {messages} messages so far", took.as_millis());
        load.resume();
    }
    load.wait_for(members as u64 * 10);
    let progress = load.finish();
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Relaxed);
    let millis = |number| Duration::from_micros(count(number)).as_millis();
    println!(
        "{kind}: {restarts} restarts, {members} members, {} messages, {} bytes received in {:.1} s, {} pongs; \
         none lost, duplicated, reordered or damaged, and no member closed",
        count(&progress.messages),
        count(&progress.bytes),
        start.elapsed().as_secs_f64(),
        count(&progress.pongs),
    );
    println!(
        "{kind}: longest restart {} ms, longest pause of a device {} ms ({} ms without a restart); \
         {} visits, the longest of {} ms",
        longest.as_millis(),
        millis(&progress.longest_pause),
        millis(&progress.longest_silence),
        count(&progress.visits),
        millis(&progress.longest_visit),
    );
}

/// Reads a number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    let name = format!("WS_ROUTER_SOAK_{name}");
    std::env::var(&name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number")))
}

/// Lets one test run at a time, since each uses all processors.
fn run_alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
