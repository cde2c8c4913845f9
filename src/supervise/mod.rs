//! The service manager's side: inherited descriptors, readiness, status, watchdog; descriptors in messages.
//!
//! The only module with `unsafe`: a descriptor number that was inherited or received becomes an owned one here.
