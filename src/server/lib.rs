//! The daemon of ws-router, a server that relays messages between devices on different private networks.
//!
//! ```text
//!             front (tokio, hyper)                                     relay threads (one a core, mio)
//! socket ─► net (accept, TLS) ─► http (route) ─► registry ─► seat ─► │ inbox ─► shard: members, delivery ─► socket
//!              ▲                                     ▲                │          (frames in, one write a round out)
//!         systemd (inherited fds, notify)       admin, metrics ◄── events, totals             ws-routerctl ─► admin
//! ```
//!
//! [`server::Server`] is the router as one object. The public routes, the admin interface, the process and the tests all
//! use its operations.
//!
//! A *registration* has an id, a key, a host key and a kind (hostclient, lobby or paired). A *member* is one websocket of
//! a registration, with a role (host, client, or peer of a lobby). The [`registry`] holds all registrations. A *seat* is a
//! member's reservation in a registration. [`access`] decides which devices may register and connect. A *shard*
//! ([`ws_router_core::shard`]) is the logic of one relay thread without its I/O: the members, the delivery of messages
//! between them, and their outboxes. [`relay`] contains the threads with the event loops around the shards.
//!
//! Some paths through the code, to start from:
//!
//! - A message: `Shard::readable` → `hand_over` for one receiver, `send_broadcast` for several, both in
//!   `shard::delivery`; `relay::connection` is the socket.
//! - A slow member: marked by `shard::delivery` when its outbox is full, or by `Shard::sweep` when it reads nothing; closed
//!   by `Shard::close_member`.
//! - A client of a paired registration: `http::connect` → `Server::join` → `Shard::join_waiting`, which announces it to the
//!   hosts that listen; a host's `Server::accept` → `Shard::accept` makes the two a pair. All in `shard::listening`.
//! - `limits.memory`: relay threads close the largest holders (`Thread::shed_load`), and [`server::Server`] rejects
//!   newcomers (`check_available`).
//! - A command from an administrator: `ctl::commands` → `admin::routes` → [`server::Server`] → [`relay::Relay`] →
//!   `relay::thread` → `Shard`.
//! - A restart: [`lifecycle`] receives the signal, [`restart`] has the steps, and [`handover`] and [`snapshot`] transfer the
//!   state from one process to the next.
//!
//! The modules follow; each may use only modules listed below it (checked by `tests/architecture.rs`). The process:
//!
//! - [`startup`]: the steps from the arguments to a router that accepts connections.
//! - [`lifecycle`]: handling of signals and administrators' commands until the daemon has stopped.
//! - [`restart`]: the steps of a restart that hands over connections.
//! - [`front`]: the tasks that accept and answer connections.
//! - [`background`]: periodic tasks.
//! - [`reload`]: the steps of a reload.
//! - [`check`]: `--check` and `--print-config`.
//! - [`listeners`]: the listening sockets, from the configuration, the service manager or the old process.
//! - [`certificate_store`]: the certificates in use, and their reload.
//! - [`event_log`]: log messages about registrations and members.
//! - [`inetd`]: the program as started by inetd.
//! - [`exit`]: errors and panics that end the daemon.
//! - [`signals`]: the signals that are blocked, and the thread that receives them.
//!
//! The interfaces:
//!
//! - [`admin`]: the admin interface, JSON over a Unix socket.
//! - [`handover`]: the transfer of state and descriptors to the next process.
//! - [`http`]: the public routes and their rate limits.
//!
//! The router:
//!
//! - [`diagnostics`]: findings for the administrator about permissions, certificates, limits and rejections.
//! - [`server`]: the router as one object.
//! - [`relay`]: the relay threads, each with a shard and the sockets of its members.
//! - [`snapshot`]: the format of the state that a new process takes over.
//! - [`registry`]: the registrations, their seats, and the check of their keys.
//! - [`net`]: listening, accepting, TLS, PROXY headers, limits on clients.
//! - [`access`]: which devices may register, connect and remove.
//!
//! Shared by all of them:
//!
//! - [`log`]: log output to the journal, syslog or standard error.
//! - [`config`]: the configuration file.
//! - [`metrics`]: counters, and their Prometheus form.
//! - [`events`]: events of registrations and members, and their history.
//! - [`files`]: files that the configuration names, read with size limits.
//! - [`systemd`]: the protocols of service managers and inetd.
//! - [`sys`]: system calls without a safe wrapper, and all unsafe code.
//! - [`peer`]: the other end of a connection, and its network.
//! - [`sync`]: locks and atomics, which a model checker replaces in `tests/interleavings`.
//!
//! Two crates are below this one: `ws-router-core` needs no operating system (ids, close codes, frames, the shard), and
//! `ws-router-admin-api` is shared with the control program (JSON types of the admin interface, command-line arguments of
//! both programs). The control program is `ws-router-ctl`, in src/ctl.

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
