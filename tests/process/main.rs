//! The real program under a harness that plays the service manager: sockets passed with names, readiness awaited,
//! signals sent, what it says and its exit status looked at.

#![allow(clippy::unwrap_used)] // A test that can't go on fails.

mod access;
mod activation;
mod admin_socket;
mod arguments;
mod carried;
mod certificates;
mod client;
mod draining;
#[path = "../support/harness.rs"]
mod harness;
mod inetd;
mod keeping;
mod logs;
mod metrics;
mod phases;
mod proxies;
mod refused;
mod reload;
mod running;
mod scene;
mod stale;
mod starting;
mod stopping;
#[path = "../support/store.rs"]
mod store;
