//! Memory that a burst needed and nobody uses any more, given back to the kernel.
//!
//! A mass reconnect has the front hold buffers for all handshakes in progress. The allocator keeps those pages when
//! they lie below something that lives, so a router of ten thousand idle members would stay a third larger than it is.

/// Gives free pages of the heap back; takes a millisecond or so.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn give_memory_back() {
    // SAFETY: malloc_trim(3) may be called at any time from any thread; it only touches memory that is free.
    unsafe { nix::libc::malloc_trim(0) };
}

/// Other allocators than glibc's do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn give_memory_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let (kept, dropped): (Vec<_>, Vec<_>) = (0..1000u32).map(|n| (vec![n; 500], vec![n; 500])).unzip();
        drop(dropped);
        give_memory_back();
        assert!(kept.iter().zip(0..).all(|(block, n)| block.iter().all(|word| *word == n)));
    }
}
