//! The service manager's side: inherited descriptors, readiness, status, watchdog; descriptors in messages.
//!
//! Owns the environment variables and descriptors that a service manager or inetd passes at the start, and what is
//! told to it later. Promises that each descriptor is taken over once, isn't passed to programs started later, and
//! that nothing of this fails when there is no service manager at all.
//!
//! The only module with `unsafe`: a descriptor number that was inherited or received becomes an owned one here, the
//! allocator is asked to give free memory back, and the kernel what it knows of a connection.

mod inetd;
mod inherited;
mod job;
mod memory;
mod notify;
mod parcel;
mod passing;
mod room;
mod tcp;

pub use inetd::{Input, standard_input};
pub use inherited::{Giver, InheritError, Inherited, SUCCESSION, inherited};
pub use job::{Job, is_systemd, job};
pub use memory::{give_memory_back, map_large_buffers};
pub use notify::{Notify, alive, is_managed, watchdog_interval};
pub use parcel::{pack, unpack};
pub use passing::{receive_descriptor, send_descriptor};
pub use room::{descriptor_limit, memory_limit};
pub use tcp::{TcpState, tcp_state, tcp_transit};
