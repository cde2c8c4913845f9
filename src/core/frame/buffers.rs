//! A free list of byte buffers, so that a stream of large messages neither allocates nor clears memory for each; and
//! of the small things around them, so that it allocates nothing at all.
//!
//! The buffers are initialized up to their length and stay so; their user keeps count of what it has filled.
//! What is kept is bounded: a relay thread's idle memory grows by little more than [`KEPT`] bytes through it.

use std::cmp::Reverse;
use std::rc::Rc;

use super::decoder::Incomplete;

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    bytes: usize,
    /// Shared buffers whose contents were taken out.
    shells: Vec<Rc<Vec<u8>>>,
    /// Boxed, since they are moved into decoders and back.
    #[allow(clippy::vec_box)]
    incompletes: Vec<Box<Incomplete>>,
}

impl Buffers {
    /// Takes a buffer of at least `least` bytes: the smallest used one that is as large as `wish`, else the largest,
    /// else a new one; but none that is far too large, since its size counts for the member that holds it.
    pub fn take(&mut self, least: usize, wish: usize) -> Vec<u8> {
        // Of those of one size the one that was given back last: it is the likeliest to be in a cache.
        let too_large = wish.max(WORTH_A_LARGE_ONE).saturating_mul(TOO_LARGE);
        let sizes = || self.free.iter().map(Vec::len).enumerate().rev().filter(|(_, len)| *len <= too_large);
        let fits = sizes().filter(|(_, len)| *len >= wish).min_by_key(|(_, len)| *len);
        let best = fits.or_else(|| sizes().filter(|(_, len)| *len >= least).min_by_key(|(_, len)| Reverse(*len)));
        match best {
            Some((at, len)) => {
                self.bytes -= len;
                self.free.swap_remove(at)
            }
            None => vec![0; least.max(WORTH_KEEPING)],
        }
    }

    /// Takes a buffer for a copy of so many bytes; small ones are right-sized, since many may wait in an outbox.
    pub fn take_for_copy(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < WORTH_KEEPING { vec![0; bytes] } else { self.take(bytes, bytes) }
    }

    /// Takes a buffer back. If there are too many, the largest are kept, since they are the most expensive to allocate.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if !(WORTH_KEEPING..=KEPT).contains(&buffer.len()) {
            return;
        }
        self.bytes += buffer.len();
        self.free.push(buffer);
        while self.bytes > KEPT || self.free.len() > PLACES {
            let smallest = self.free.iter().map(Vec::len).enumerate().min_by_key(|(_, len)| *len);
            let Some((at, len)) = smallest else { return };
            self.bytes -= len;
            self.free.swap_remove(at);
        }
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

    /// Takes a shared buffer back, if nobody else holds it.
    pub fn give_shared(&mut self, mut shared: Rc<Vec<u8>>) {
        let Some(inside) = Rc::get_mut(&mut shared) else { return };
        let buffer = std::mem::take(inside);
        self.give(buffer);
        if self.shells.len() < SHELLS {
            self.shells.push(shared);
        }
    }

    pub(super) fn take_incomplete(&mut self) -> Box<Incomplete> {
        self.incompletes.pop().unwrap_or_default()
    }

    /// Takes back the state of an incomplete frame that is empty again.
    pub(super) fn give_incomplete(&mut self, mut incomplete: Box<Incomplete>) {
        incomplete.reset();
        if self.incompletes.len() < PLACES {
            self.incompletes.push(incomplete);
        }
    }
}

/// Most bytes kept.
const KEPT: usize = 8 << 20;
/// Most buffers kept, so that a search among them stays short.
const PLACES: usize = 64;
/// Most emptied shared buffers kept, of 40 bytes each.
const SHELLS: usize = 256;
/// Factor by which a buffer may be larger than requested, or than [`WORTH_A_LARGE_ONE`].
const TOO_LARGE: usize = 16;
const WORTH_A_LARGE_ONE: usize = 64 << 10;
/// Smaller buffers are left to the allocator.
const WORTH_KEEPING: usize = 1 << 10;

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
        assert!(buffers.bytes <= KEPT && buffers.free.len() <= PLACES);
        assert_eq!(buffers.bytes, buffers.free.iter().map(Vec::len).sum::<usize>());
    }

    #[test]
    fn a_small_wish_takes_no_huge_buffer() {
        let mut buffers = Buffers::default();
        buffers.give(vec![0; 4 << 20]);
        assert!(buffers.take(100, 100).len() < 4 << 20);
        assert_eq!(buffers.take(256 << 10, 1 << 20).len(), 4 << 20);
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
