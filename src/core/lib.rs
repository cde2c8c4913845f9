//! The part of ws-router that needs no operating system: frames, delivery, and the types that everything else uses.
//!
//! Nothing here opens a socket, reads a clock, draws a random number or starts a thread; all of that comes in as
//! arguments. [`frame`] reads and writes websocket frames (RFC 6455), and [`shard`] is what one relay thread does with
//! them: the members, who receives from whom, and the outboxes of slow ones. [`ids`], [`kind`], [`secret`], [`close`]
//! and [`rate`] are the vocabulary of all other crates.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod close;
pub mod frame;
pub mod ids;
pub mod kind;
pub mod rate;
pub mod secret;
pub mod shard;
