//! The service manager's side: inherited descriptors, readiness, status, watchdog, jobs; inetd's descriptor 0.
//!
//! Owns the environment variables and descriptors that a service manager or inetd passes at the start, and the messages
//! that are sent to it later. Each descriptor is taken over once and isn't passed to programs started later, and nothing
//! of this fails when there is no service manager at all.

mod inetd;
mod job;
mod listen_fds;
mod notify;

pub use inetd::{Input, standard_input};
pub use job::{Job, is_systemd, job};
pub use listen_fds::{Giver, HANDOVER, InheritError, Inherited, inherited};
pub use notify::{Notify, alive, is_managed, watchdog_interval};
