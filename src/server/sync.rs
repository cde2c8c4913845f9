//! The locks and counters that threads meet at, under one name.
//!
//! In the daemon they are the standard library's and nothing else. `tests/interleavings` builds the modules that use
//! them with a model checker's in this place, which runs the threads in every order that it can think of.

pub use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
