//! The part of ws-router that needs no operating system: frames, delivery, and the types that everything else uses.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or starts a thread; sockets, times and random numbers
//! are arguments. [`frame`] reads and writes websocket frames (RFC 6455). [`shard`] is the logic of one relay thread: the
//! members, the delivery of messages between them, and their outboxes. All other crates use the types in [`ids`],
//! [`kind`], [`secret`], [`close`] and [`rate`].

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod close;
pub mod frame;
pub mod ids;
pub mod kind;
pub mod rate;
pub mod secret;
pub mod shard;
