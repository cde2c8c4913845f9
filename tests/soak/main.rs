//! Devices that talk without a pause while the program under them is replaced, again and again.
//!
//! In lobbies and in pairs, members send messages of 1 byte to 1 MiB, each known to the byte, at full rate; some read
//! slowly, some stop in the middle of a frame just before and go on just after. All that is sent has to be heard, in
//! order, once, by everybody entitled to it; nobody may be closed; and whoever comes meanwhile has to be served.
//!
//! Short as it stands. For longer runs, and for a router that something else manages:
//!
//! ```text
//! WS_ROUTER_SOAK_MEMBERS=200 WS_ROUTER_SOAK_RESTARTS=20     how many devices, and how many restarts each way
//! WS_ROUTER_SOAK_ADDRESS=127.0.0.1:8741                     the router that runs there, instead of one of our own
//! WS_ROUTER_SOAK_RESTART='systemctl restart ws-router'      what restarts it; {} is the number of the restart
//! WS_ROUTER_SOAK_CONNECTIONS=19000                          how many move at once while two of them are timed
//! WS_ROUTER_SOAK_SEED=7                                     to repeat a run; each prints its own
//! ```
#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod course;
mod crowd;
#[path = "../support/descriptors.rs"]
mod descriptors;
mod device;
mod group;
#[path = "../support/harness.rs"]
mod harness;
mod load;
mod message;
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

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_while_the_program_replaces_itself() {
    let _alone = alone();
    if Elsewhere::from_environment().is_none() {
        soak("replacing itself", &mut Managed::by_itself());
    }
}

#[test]
fn nothing_is_lost_while_the_service_manager_restarts_it() {
    let _alone = alone();
    match Elsewhere::from_environment() {
        Some(mut elsewhere) => soak("managed elsewhere", &mut elsewhere),
        None => soak("restarted by the service manager", &mut Managed::by_the_manager()),
    }
}

/// Lets members talk through so many restarts, and looks at what they heard.
fn soak(way: &str, router: &mut dyn Restart) {
    let restarts = setting("RESTARTS", 3);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
    let seed = setting("SEED", now());
    println!("{way}: seed {seed}");
    let load = Load::start(&router.places(), setting("MEMBERS", 40) as usize, seed);
    let (begun, members, mut longest) = (Instant::now(), load.members, Duration::ZERO);
    for number in 1..=restarts {
        load.hear(1 + chance(seed ^ number) % (members as u64 * 20));
        // Every other one at a moment that nobody has prepared for.
        if number % 2 == 1 {
            load.halt();
        }
        let took = load.course.during(|| router.restart(number));
        longest = longest.max(took);
        let (heard, at) = (load.course.messages.load(Relaxed), begun.elapsed().as_secs_f64());
        println!("{way}: {at:.1} s, restart {number} took {} ms, {heard} messages until now", took.as_millis());
        load.go_on();
    }
    load.hear(members as u64 * 10);
    let course = load.finish();
    let count = |number: &std::sync::atomic::AtomicU64| number.load(Relaxed);
    let millis = |number| Duration::from_micros(count(number)).as_millis();
    println!(
        "{way}: {restarts} restarts, {members} members, {} messages, {} bytes heard in {:.1} s, {} pongs; \
         lost 0, doubled 0, reordered 0, damaged 0, closed 0",
        count(&course.messages),
        count(&course.bytes),
        begun.elapsed().as_secs_f64(),
        count(&course.pongs),
    );
    println!(
        "{way}: the longest restart took {} ms, the longest pause a device saw {} ms ({} ms without a restart); \
         {} visitors meanwhile, the longest for {} ms",
        longest.as_millis(),
        millis(&course.longest_pause),
        millis(&course.longest_silence),
        count(&course.visits),
        millis(&course.longest_visit),
    );
}

/// Reads a number of the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    let name = format!("WS_ROUTER_SOAK_{name}");
    std::env::var(&name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number")))
}

/// One at a time: each takes all processors.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
