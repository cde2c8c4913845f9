//! Whether other processes may read this one's memory.

use nix::sys::prctl;

/// Sets whether other processes of the same user may trace this one (ptrace(2)) and read its memory, and whether it may
/// leave a core file. Both would reveal keys and messages.
///
/// The kernel resets the setting to the default when a program is executed (PR_SET_DUMPABLE(2const)).
pub fn set_debuggable(is_debuggable: bool) {
    // prctl(2) fails only for values other than 0 and 1.
    let _ = prctl::set_dumpable(is_debuggable);
}
