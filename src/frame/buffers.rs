//! A free list of byte buffers, so that a stream of large messages neither allocates nor clears memory for each.
//!
//! The buffers are initialised up to their length and stay so; whoever takes one keeps count of what it has filled.
//! What is kept is bounded: a relay thread's idle memory grows by no more than [`KEPT`] bytes through it.

/// Buffers that wait for their next use.
#[derive(Debug, Default)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    /// Takes a buffer of at least `least` bytes: a used one that is as large as `wish`, or a new one.
    pub fn take(&mut self, least: usize, wish: usize) -> Vec<u8> {
        let best =
            self.free.iter().enumerate().filter(|(_, free)| free.len() >= wish).min_by_key(|(_, free)| free.len());
        match best.map(|(at, _)| at) {
            Some(at) => {
                let buffer = self.free.swap_remove(at);
                self.bytes -= buffer.len();
                buffer
            }
            None => vec![0; least],
        }
    }

    /// Gives a buffer back.
    pub fn give(&mut self, buffer: Vec<u8>) {
        if self.bytes + buffer.len() <= KEPT && self.free.len() < PLACES && buffer.len() >= WORTH_KEEPING {
            self.bytes += buffer.len();
            self.free.push(buffer);
        }
    }
}

/// Bytes that are kept at most.
const KEPT: usize = 8 << 20;
/// Buffers that are kept at most, so that a search among them stays short.
const PLACES: usize = 32;
/// Smaller buffers are left to the allocator.
const WORTH_KEEPING: usize = 1 << 10;
