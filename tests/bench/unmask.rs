//! Conversion of a client's frames to a server's in one pass, for the limit.

use std::io;

use crate::frames::lengths;

/// Length above which frames are passed through in pieces instead of being kept until they are complete.
const KEEP: usize = 16 * 1024;

/// Position of a client in a large frame.
#[derive(Debug, Default)]
pub(crate) struct Unmasker {
    left: usize,
    mask: u32,
}

/// Bytes for receivers; the buffer never shrinks, so nothing is cleared twice.
#[derive(Debug, Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    used: usize,
}

impl Unmasker {
    /// Converts the input; returns the number of bytes at its end that are an incomplete frame, to be kept.
    pub(crate) fn convert(&mut self, mut bytes: &[u8], out: &mut Out) -> io::Result<usize> {
        loop {
            let count = self.left.min(bytes.len());
            if count > 0 {
                let (now, later) = bytes.split_at(count);
                unmask(now, self.mask, out.space(count));
                self.left -= count;
                self.mask = self.mask.rotate_right(8 * (count as u32 % 4));
                bytes = later;
            }
            let Some((head, len)) = lengths(bytes) else { return Ok(bytes.len()) };
            let Some(mask) = bytes.get(head..).and_then(<[u8]>::first_chunk) else { return Ok(bytes.len()) };
            let whole = head + 4 + len;
            if bytes.len() < whole && whole <= KEEP {
                return Ok(bytes.len());
            }
            if bytes[0] & 0x0f == 8 {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let space = out.space(head);
            space.copy_from_slice(&bytes[..head]);
            space[1] &= 0x7f;
            self.mask = u32::from_le_bytes(*mask);
            self.left = len;
            bytes = &bytes[head + 4..];
        }
    }
}

fn unmask(from: &[u8], mask: u32, to: &mut [u8]) {
    let wide = (u64::from(mask) << 32 | u64::from(mask)).to_le_bytes();
    let (from_words, from_rest) = from.as_chunks::<8>();
    let (to_words, to_rest) = to.as_chunks_mut::<8>();
    for (to, from) in to_words.iter_mut().zip(from_words) {
        *to = (u64::from_ne_bytes(*from) ^ u64::from_ne_bytes(wide)).to_ne_bytes();
    }
    for ((to, from), key) in to_rest.iter_mut().zip(from_rest).zip(wide) {
        *to = from ^ key;
    }
}

impl Out {
    /// Returns the bytes to write.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Returns the number of bytes to write.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    fn space(&mut self, count: usize) -> &mut [u8] {
        let begin = self.used;
        self.used += count;
        if self.bytes.len() < self.used {
            self.bytes.resize(self.used.next_power_of_two(), 0);
        }
        &mut self.bytes[begin..self.used]
    }
}
