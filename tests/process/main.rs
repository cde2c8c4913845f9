//! The real program under a harness that plays the service manager: it passes sockets with names, waits for readiness,
//! sends signals, and checks the log, the notifications and the exit status.

#![allow(clippy::unwrap_used)] // A failed unwrap fails the test.

mod access;
mod activation;
mod admin_socket;
mod arguments;
mod carried;
mod certificates;
mod client;
mod debugging;
mod draining;
#[path = "../support/harness.rs"]
mod harness;
mod histories;
mod inetd;
mod keeping;
mod kernel_tls;
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
