//! Protocols of service managers: inherited descriptors, readiness, status, watchdog, jobs; and descriptor 0 of inetd.
//!
//! Owns the environment variables and descriptors that a service manager or inetd passes at the start, and the
//! notifications to it. Each descriptor is taken once and isn't passed to programs started later. Without a service
//! manager, nothing here fails.

mod inetd;
mod job;
mod listen_fds;
mod notify;

pub use inetd::{Input, standard_input};
pub use job::{Job, is_systemd, job};
pub use listen_fds::{Giver, HANDOVER, InheritError, Inherited, inherited};
pub use notify::{Notify, alive, is_managed, watchdog_interval};
