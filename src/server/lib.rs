//! The daemon of ws-router: devices on different private networks talk to each other through a server that they all
//! reach.
//!
//! ```text
//!             front (tokio, hyper)                                     relay threads (one a core, mio)
//! socket ─► net (accept, TLS) ─► http (route) ─► registry ─► seat ─► │ inbox ─► shard: members, delivery ─► socket
//!              ▲                                     ▲                │          (frames in, one write a round out)
//!         systemd (inherited fds, notify)       admin, metrics ◄── events, totals             ws-routerctl ─► admin
//! ```
//!
//! [`server::Server`] is the router as one object: its operations are the product's, and the public routes, the admin
//! interface, the daemon and the tests all stand on top of it.
//!
//! A *registration* has an id, a key, a host key and a kind (hostclient or lobby). A *member* is one websocket inside
//! it, with a role (host, client, or peer of a lobby). The [`registry`] knows which registrations there are; a seat
//! is a place in one; [`access`] says who may ask for them. A shard ([`ws_router_core::shard`]) is what one relay
//! thread does, without the I/O: the members, who receives from whom, and the outboxes of slow ones. The [`relay`] is
//! the loop around it that moves the bytes.
//!
//! The modules, each above those that it uses (held by `tests/architecture.rs`):
//!
//! - [`daemon`]: assembles everything, and runs it from start to exit.
//! - [`handover`]: restarts that carry connections over to the next process.
//! - [`admin`]: the admin interface, JSON over a Unix socket.
//! - [`http`]: the public routes.
//! - [`server`]: the router as one object, whose operations are the product's.
//! - [`relay`]: the threads that move members' bytes, around a shard each.
//! - [`snapshot`]: the format of the state that a new process takes over.
//! - [`registry`]: which registrations there are, and who has a seat in them.
//! - [`net`]: listening, accepting, TLS, PROXY headers, limits on clients.
//! - [`access`]: which devices may register, connect and remove.
//! - [`log`]: the journal, syslog or standard error.
//! - [`config`]: the configuration file.
//! - [`metrics`]: counters, and their Prometheus form.
//! - [`events`]: what happened to registrations, for those who follow it.
//! - [`systemd`]: what is said to and taken from the service manager, or inetd.
//! - [`sys`]: calls of the kernel and the allocator, and all unsafe code.
//! - [`peer`]: the other end of a connection, and its network.
//! - [`sync`]: locks and atomics, which a model checker replaces in `tests/interleavings`.
//!
//! The crates below hold what needs no operating system (`ws-router-core`) and what the control program shares with the
//! daemon (`ws-router-admin-api`).

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod admin;
pub mod config;
pub mod daemon;
pub mod events;
pub mod handover;
pub mod http;
pub mod log;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod registry;
pub mod relay;
pub mod server;
pub mod snapshot;
pub mod sync;
pub mod sys;
pub mod systemd;
