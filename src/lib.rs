//! ws-router lets devices on different private networks talk to each other through a server that they all reach.
//!
//! ```text
//!             front (tokio, hyper)                                     relay threads (one a core, mio)
//! socket ─► net (accept, TLS) ─► http (route) ─► directory ─► seat ─► │ inbox ─► shard: members, delivery ─► socket
//!              ▲                                     ▲                │          (frames in, one write a round out)
//!         supervise (inherited fds, notify)     admin, metrics ◄── events, totals             ws-routerctl ─► admin
//! ```
//!
//! A *registration* has an id, a key, a host key and a kind (hostclient or lobby). A *member* is one websocket inside
//! it, with a role (host, client, or peer of a lobby). The [`directory`] knows which registrations there are; a seat
//! is a place in one; [`access`] says who may ask for them. A [`shard`] is what one relay thread does, without the I/O:
//! the members, who hears whom, and the outboxes of those who lag. The [`relay`] is the loop around it that moves the
//! bytes.
//!
//! Layers, each using only those before it (held by `tests/architecture.rs`): 0 [`ids`], [`kind`], [`secret`],
//! [`peer`], [`close`], [`bucket`], [`supervise`], [`sync`] · 1 [`frame`], [`events`], [`metrics`], [`config`],
//! [`log`] · 2 [`shard`], [`access`] · 3 [`net`], [`directory`], [`handoff`], [`relay`] · 4 [`http`], [`admin`] · 5 [`daemon`].
//! [`ctl`] knows only the admin interface's wire types; [`cli`] holds the arguments of both programs.

pub mod access;
pub mod admin;
pub mod bucket;
pub mod cli;
pub mod close;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod directory;
pub mod events;
pub mod frame;
pub mod handoff;
pub mod http;
pub mod ids;
pub mod kind;
pub mod log;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod relay;
pub mod secret;
pub mod shard;
pub mod supervise;
pub mod sync;
