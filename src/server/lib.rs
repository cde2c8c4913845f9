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
//! Some paths through the code, to start from:
//!
//! - A message: `Shard::readable` → `hand_over` for one receiver, `send_broadcast` for several, both in
//!   `shard::delivery`; `relay::connection` is the socket.
//! - A slow member: marked by `shard::delivery` when its outbox is full, or by `Shard::sweep` when it takes nothing; closed
//!   by `Shard::close_member`.
//! - `limits.memory`: relay threads close the largest holders (`Thread::shed_load`), and [`server::Server`] rejects
//!   newcomers (`check_available`).
//! - A command of an administrator: `ctl::commands` → `admin::routes` → [`server::Server`] → [`relay::Relay`] →
//!   `relay::thread` → `Shard`.
//! - A restart: a signal reaches [`lifecycle`], [`restart`] has the steps, and [`handover`] and [`snapshot`] what goes from
//!   one process to the next.
//!
//! The modules, each above those that it uses (held by `tests/architecture.rs`). The process:
//!
//! - [`startup`]: the start, from the arguments to a router that accepts connections.
//! - [`lifecycle`]: what each signal and each command of an administrator does, until the daemon has stopped.
//! - [`restart`]: the steps of a restart that carries connections over.
//! - [`front`]: the tasks that accept and answer connections.
//! - [`background`]: periodic tasks.
//! - [`reload`]: what a reload does, in order.
//! - [`check`]: `--check` and `--print-config`.
//! - [`listeners`]: which sockets the router listens on.
//! - [`certificate_store`]: the certificates in use, and their reload.
//! - [`event_log`]: log messages about registrations and members.
//! - [`inetd`]: start by inetd.
//! - [`exit`]: errors and panics that end the daemon.
//! - [`signals`]: which signals are blocked, and when.
//!
//! The interfaces:
//!
//! - [`admin`]: the admin interface, JSON over a Unix socket.
//! - [`handover`]: what one process hands to the next.
//! - [`http`]: the public routes, and how often a client may use them.
//!
//! The router:
//!
//! - [`diagnostics`]: what an administrator should know or change: permissions, certificates, limits, rejections.
//! - [`server`]: the router as one object, whose operations are the product's.
//! - [`relay`]: the threads that move members' bytes, around a shard each.
//! - [`snapshot`]: the format of the state that a new process takes over.
//! - [`registry`]: which registrations there are, and who has a seat in them; compares their keys.
//! - [`net`]: listening, accepting, TLS, PROXY headers, limits on clients.
//! - [`access`]: which devices may register, connect and remove.
//!
//! What all of them use:
//!
//! - [`log`]: the journal, syslog or standard error.
//! - [`config`]: the configuration file.
//! - [`metrics`]: counters, and their Prometheus form.
//! - [`events`]: events of registrations and members, and their history.
//! - [`files`]: files that the configuration names, read within bounds.
//! - [`systemd`]: the protocols of service managers and inetd.
//! - [`sys`]: calls of the kernel and the allocator, and all unsafe code.
//! - [`peer`]: the other end of a connection, and its network.
//! - [`sync`]: locks and atomics, which a model checker replaces in `tests/interleavings`.
//!
//! The crates below hold what needs no operating system (`ws-router-core`: ids, close codes, frames, the shard) and what the
//! control program shares with the daemon (`ws-router-admin-api`: the admin interface's documents, the arguments of both
//! programs). The control program is `ws-router-ctl`, in src/ctl.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod admin;
pub mod background;
pub mod certificate_store;
pub mod check;
pub mod config;
pub mod diagnostics;
pub mod event_log;
pub mod events;
pub mod exit;
pub mod files;
pub mod front;
pub mod handover;
pub mod http;
pub mod inetd;
pub mod lifecycle;
pub mod listeners;
pub mod log;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod registry;
pub mod relay;
pub mod reload;
pub mod restart;
pub mod server;
pub mod signals;
pub mod snapshot;
pub mod startup;
pub mod sync;
pub mod sys;
pub mod systemd;
