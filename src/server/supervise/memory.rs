//! What the allocator is told: large buffers are the kernel's, and what a burst needed is given back to it.
//!
//! A mass reconnect has the front hold buffers for all handshakes in progress. The allocator keeps those pages when
//! they lie below something that lives, so a router of ten thousand idle members would stay a third larger than it is.
//!
//! A large message grows where it is, by moving pages instead of copying bytes, if its buffer is a mapping of its own.
//! Without being told, the allocator takes that for a habit after the first one, and puts the next into its heap.

/// Buffers of so many bytes and more are mappings of their own.
const LARGE: usize = 1 << 20;

/// Has large buffers be mappings of their own from now on. To be called once, early.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn map_large_buffers() {
    // SAFETY: mallopt(3) may be called as long as no other thread runs; it takes two plain numbers.
    unsafe { nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE as nix::libc::c_int) };
}

/// Other allocators than glibc's do it by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn map_large_buffers() {}

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
    fn a_large_buffer_keeps_its_contents_while_it_grows() {
        map_large_buffers();
        let mut buffer = vec![7u8; LARGE];
        for _ in 0..20 {
            buffer.reserve_exact(LARGE);
            buffer.resize(buffer.len() + LARGE, 7);
        }
        assert!(buffer.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn what_is_in_use_stays_as_it_is() {
        let (kept, dropped): (Vec<_>, Vec<_>) = (0..1000u32).map(|n| (vec![n; 500], vec![n; 500])).unzip();
        drop(dropped);
        give_memory_back();
        assert!(kept.iter().zip(0..).all(|(block, n)| block.iter().all(|word| *word == n)));
    }
}
