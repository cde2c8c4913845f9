//! System calls that no safe library covers, and all of the daemon's `unsafe` code.
//!
//! Every function here is safe to call: what its `unsafe` block relies on is checked by the function itself, not
//! expected of the caller.
#![allow(unsafe_code)]

mod allocator;
mod debugging;
mod inherited;
pub mod kernel_tls;
mod limits;
mod scm_rights;
mod tcp_info;
mod threads;
mod usage;

pub use allocator::{map_large_buffers, release_free_memory};
pub use debugging::set_debuggable;
pub use inherited::{remove_variables, take_inherited_fd};
pub use limits::{descriptor_limit, memory_limit};
pub use scm_rights::{recv_fd, recv_fds, send_fd, send_fds};
pub use tcp_info::{TcpState, tcp_state, tcp_transit};
pub use threads::OtherThreads;
pub use usage::{DescriptorUsage, ProcessMemory, SystemMemory, descriptor_usage, process_memory, system_memory};
