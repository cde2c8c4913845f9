//! Model-checked interleavings of joins, leaves, removals, expiry, hand-over and watches.
//!
//! The modules that synchronize threads are compiled here from their sources, with the model checker's locks and atomics
//! in place of the usual ones (`src/server/sync.rs`). Each property is tried with random orders, and with orders of few,
//! well-chosen switches (probabilistic concurrency testing). An order that violates a property is printed and can be
//! replayed. A number as the argument sets how many orders are tried. The checker treats all atomics as sequentially
//! consistent, so it can't find mistakes in memory orderings.
#![allow(clippy::unwrap_used, dead_code, unused_imports, missing_docs, unreachable_pub)]

/// The modules' `crate::sync`.
mod sync {
    pub use std::sync::Arc;

    pub use shuttle::sync::MutexGuard;
    pub use shuttle::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    /// A lock with the interface of parking_lot's: a panic fails the test, so no guard is ever poisoned.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

#[path = "../../src/server/events/mod.rs"]
mod events;
#[path = "../../src/server/metrics/mod.rs"]
mod metrics;
#[path = "../../src/server/net/pending/mod.rs"]
mod pending;
#[path = "../../src/server/registry/mod.rs"]
mod registry;

/// The modules' `crate::peer`.
mod peer {
    pub use ws_router_server::peer::*;
}

/// What the modules find as `crate::config`.
mod config {
    pub use ws_router_server::config::{Config, Limits, Rule};
}

mod lives;
mod places;
mod relay;
mod watches;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};

fn main() {
    let asked = std::env::args().nth(1).and_then(|number| number.parse().ok());
    let orders: usize = asked.unwrap_or(1500);
    for (name, property) in lives::ALL.iter().chain(relay::ALL).chain(places::ALL).chain(watches::ALL) {
        print!("{name} ... ");
        run(RandomScheduler::new(orders), *property);
        run(PctScheduler::new(SWITCHES, orders / 2), *property);
        println!("ok");
    }
    println!("\neach in {} orders", orders + orders / 2);
}

fn run(scheduler: impl Scheduler + 'static, property: fn()) {
    let mut config = shuttle::Config::new();
    // It warns of the weaker orderings, each time.
    config.silence_warnings = true;
    shuttle::Runner::new(scheduler, config).run(property);
}

/// Switches of threads that it takes to show a mistake; most known ones need two.
const SWITCHES: usize = 3;
