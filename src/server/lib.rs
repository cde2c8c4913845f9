//! The daemon of ws-router: devices on different private networks talk to each other through a server that they all
//! reach.
//!
//! ```text
//!             front (tokio, hyper)                                     relay threads (one a core, mio)
//! socket ─► net (accept, TLS) ─► http (route) ─► directory ─► seat ─► │ inbox ─► shard: members, delivery ─► socket
//!              ▲                                     ▲                │          (frames in, one write a round out)
//!         systemd (inherited fds, notify)       admin, metrics ◄── events, totals             ws-routerctl ─► admin
//! ```
//!
//! A *registration* has an id, a key, a host key and a kind (hostclient or lobby). A *member* is one websocket inside
//! it, with a role (host, client, or peer of a lobby). The [`directory`] knows which registrations there are; a seat
//! is a place in one; [`access`] says who may ask for them. A shard ([`ws_router_core::shard`]) is what one relay
//! thread does, without the I/O: the members, who receives from whom, and the outboxes of slow ones. The [`relay`] is
//! the loop around it that moves the bytes.
//!
//! Layers, each using only those before it (held by `tests/architecture.rs`): 0 [`peer`], [`sync`], [`sys`] · 1
//! [`systemd`] · 2 [`events`], [`metrics`], [`config`], [`log`] · 3 [`access`] · 4 [`net`], [`directory`], [`snapshot`],
//! [`relay`] · 5 [`http`], [`admin`] · 6 [`daemon`]. The crates below hold what needs no operating system
//! (`ws-router-core`) and what the control program shares with the daemon (`ws-router-admin-api`).

pub mod access;
pub mod admin;
pub mod config;
pub mod daemon;
pub mod directory;
pub mod events;
pub mod http;
pub mod log;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod relay;
pub mod snapshot;
pub mod sync;
pub mod sys;
pub mod systemd;
