//! A pool of byte buffers, and of the small objects around them, so that a stream of large messages doesn't allocate or
//! clear memory.
//!
//! A buffer is initialized up to its length, and its user counts how much of it is filled. The pool is bounded: it adds
//! little more than [`MAX_POOLED_BYTES`] to the idle memory of a relay thread.

use std::cmp::Reverse;
use std::rc::Rc;

use super::decoder::Incomplete;

/// Pool of unused buffers.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    bytes: usize,
    /// Reference counters without a buffer, reused by [`Buffers::share`].
    shells: Vec<Rc<Vec<u8>>>,
    /// Boxed, since they are moved into decoders and back.
    #[allow(clippy::vec_box)]
    incompletes: Vec<Box<Incomplete>>,
    /// Very large buffers that are being freed, some of it at a time: the kernel takes a while for that.
    excess: Vec<Vec<u8>>,
}

impl Buffers {
    /// Takes a buffer of at least `least` bytes: the smallest in the pool of `preferred` bytes or more, else the largest,
    /// else a new one. Buffers that are far too large are left in the pool, since the size of a buffer counts for the
    /// member that holds it.
    pub fn take(&mut self, least: usize, preferred: usize) -> Vec<u8> {
        // Of buffers of the same size, the last one returned is taken, since it is the most likely to be in a CPU cache.
        let too_large = preferred.max(SMALL_REQUEST).saturating_mul(MAX_EXCESS);
        let sizes = || self.free.iter().map(Vec::len).enumerate().rev().filter(|(_, len)| *len <= too_large);
        let fits = sizes().filter(|(_, len)| *len >= preferred).min_by_key(|(_, len)| *len);
        let best = fits.or_else(|| sizes().filter(|(_, len)| *len >= least).min_by_key(|(_, len)| Reverse(*len)));
        match best {
            Some((at, len)) => {
                self.bytes -= len;
                self.free.swap_remove(at)
            }
            None => vec![0; least.max(MIN_POOLED)],
        }
    }

    /// Takes a buffer for a copy of `bytes` bytes. A small copy gets a buffer of exactly its size, since an outbox may
    /// hold many.
    pub fn take_for_copy(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < MIN_POOLED { vec![0; bytes] } else { self.take(bytes, bytes) }
    }

    /// Returns a buffer to the pool. A full pool keeps the largest buffers, which are the most expensive to allocate.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if buffer.len() > MAX_POOLED_BYTES {
            return self.excess.push(buffer);
        }
        if buffer.len() < MIN_POOLED {
            return;
        }
        self.bytes += buffer.len();
        self.free.push(buffer);
        while self.bytes > MAX_POOLED_BYTES || self.free.len() > MAX_POOLED {
            let smallest = self.free.iter().map(Vec::len).enumerate().min_by_key(|(_, len)| *len);
            let Some((at, len)) = smallest else { return };
            self.bytes -= len;
            self.free.swap_remove(at);
        }
    }

    /// Frees some of the memory of very large buffers that nobody uses any more.
    pub fn free_some(&mut self) {
        let Some(buffer) = self.excess.last_mut() else { return };
        buffer.truncate(buffer.len().saturating_sub(FREED_AT_ONCE));
        buffer.shrink_to_fit();
        if buffer.is_empty() {
            self.excess.pop();
        }
    }

    /// Returns whether there is something for [`Self::free_some`] to free.
    pub fn has_excess(&self) -> bool {
        !self.excess.is_empty()
    }

    /// Wraps a buffer so that several can share it.
    pub fn share(&mut self, buffer: Vec<u8>) -> Rc<Vec<u8>> {
        let mut shell = self.shells.pop().unwrap_or_default();
        match Rc::get_mut(&mut shell) {
            Some(inside) => *inside = buffer,
            None => return Rc::new(buffer),
        }
        shell
    }

    /// Returns a shared buffer to the pool if this is the last reference to it.
    pub fn give_shared(&mut self, mut shared: Rc<Vec<u8>>) {
        let Some(inside) = Rc::get_mut(&mut shared) else { return };
        let buffer = std::mem::take(inside);
        self.give(buffer);
        if self.shells.len() < MAX_SHELLS {
            self.shells.push(shared);
        }
    }

    pub(super) fn take_incomplete(&mut self) -> Box<Incomplete> {
        self.incompletes.pop().unwrap_or_default()
    }

    /// Returns the empty state of a decoder to the pool.
    pub(super) fn give_incomplete(&mut self, mut incomplete: Box<Incomplete>) {
        incomplete.reset();
        if self.incompletes.len() < MAX_POOLED {
            self.incompletes.push(incomplete);
        }
    }
}

/// Maximum number of bytes in the pool.
const MAX_POOLED_BYTES: usize = 8 << 20;
/// Bytes freed by one call of [`Buffers::free_some`]: some ten microseconds.
const FREED_AT_ONCE: usize = 512 << 10;
/// Maximum number of buffers in the pool, so that searching it stays fast.
const MAX_POOLED: usize = 64;
/// Maximum number of shells, of 40 bytes each.
const MAX_SHELLS: usize = 256;
/// Factor by which a buffer may be larger than requested. Requests below [`SMALL_REQUEST`] count as that.
const MAX_EXCESS: usize = 16;
const SMALL_REQUEST: usize = 64 << 10;
/// Size of the smallest buffer in the pool. The allocator is fast enough for smaller ones.
const MIN_POOLED: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_large_messages_finds_its_buffer_again() {
        let mut buffers = Buffers::default();
        for _ in 0..100 {
            buffers.give(vec![0; 256 << 10]);
        }
        buffers.give(vec![0; 1 << 20]);
        let large = buffers.take(256 << 10, 1 << 20);
        assert_eq!(large.len(), 1 << 20);
        assert!(buffers.bytes <= MAX_POOLED_BYTES && buffers.free.len() <= MAX_POOLED);
        assert_eq!(buffers.bytes, buffers.free.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn a_small_request_takes_no_huge_buffer() {
        let mut buffers = Buffers::default();
        buffers.give(vec![0; 4 << 20]);
        assert!(buffers.take(100, 100).len() < 4 << 20);
        assert_eq!(buffers.take(256 << 10, 1 << 20).len(), 4 << 20);
    }

    #[test]
    fn a_very_large_buffer_is_freed_piece_by_piece() {
        let mut buffers = Buffers::default();
        buffers.give(vec![0; MAX_POOLED_BYTES + 10]);
        assert_eq!(buffers.bytes, 0);
        let mut calls = 0;
        while buffers.has_excess() {
            buffers.free_some();
            calls += 1;
        }
        assert_eq!(calls, MAX_POOLED_BYTES / FREED_AT_ONCE + 1);
    }

    #[test]
    fn without_a_fit_the_largest_is_taken_if_it_is_large_enough() {
        let mut buffers = Buffers::default();
        buffers.give(vec![0; 2000]);
        buffers.give(vec![0; 3000]);
        assert_eq!(buffers.take(1500, 9000).len(), 3000);
        assert_eq!(buffers.take(2500, 9000).len(), 2500);
        assert_eq!(buffers.take(10, 20).len(), 2000);
    }
}
