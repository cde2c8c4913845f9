//! The locks and atomics of the modules whose interleavings are model-checked.
//!
//! `tests/interleavings` compiles these modules with the types of a model checker in this place, which then runs their
//! threads in many orders.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

pub use parking_lot::{Mutex, MutexGuard};
