//! Settings of the memory allocator: large buffers are mappings of their own, and free memory returns to the kernel.
//!
//! In a mass reconnect, the frontend holds buffers for all handshakes in progress. The allocator keeps their pages if a live
//! allocation follows them in the heap, so a router of ten thousand idle members would stay a third larger than necessary.
//!
//! A buffer that is a mapping of its own grows by remapping its pages instead of copying them. By default, glibc raises
//! its threshold for mappings when the first such buffer is freed, and allocates the next one in its heap.

#[cfg(target_env = "gnu")]
use nix::libc;

use super::threads::OtherThreads;
#[cfg(target_env = "gnu")]
use super::threads::require_single;

/// Makes every buffer of at least `LARGE` (1 MiB) a mapping of its own from now on; fails if other threads run, which
/// might be allocating.
#[cfg(target_env = "gnu")]
pub fn map_large_buffers() -> Result<(), OtherThreads> {
    require_single()?;
    // SAFETY: mallopt(3) may be called as long as no other thread runs, as was checked; it takes two plain numbers.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    Ok(())
}

/// Does nothing: other allocators than glibc's map large buffers by default.
#[cfg(not(target_env = "gnu"))]
pub fn map_large_buffers() -> Result<(), OtherThreads> {
    Ok(())
}

/// Returns free pages of the heap to the kernel; takes about a millisecond.
#[cfg(target_env = "gnu")]
pub fn release_free_memory() {
    // SAFETY: malloc_trim(3) may be called at any time from any thread; it only touches memory that is free.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: other allocators than glibc's return free memory by default.
#[cfg(not(target_env = "gnu"))]
pub fn release_free_memory() {}

/// Size in bytes of the smallest buffer that is a mapping of its own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_threshold_is_not_changed_while_other_threads_run() {
        // The test harness waits in a thread of its own, and this one is another.
        assert_eq!(thread::spawn(map_large_buffers).join().unwrap(), Err(OtherThreads));
    }
}
