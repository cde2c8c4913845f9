//! Masking of payloads (RFC 6455 section 5.3), eight bytes at a time.

/// Applies a mask to `bytes`. Their offset in the payload must be a multiple of four, or `mask` be rotated accordingly.
#[inline]
pub fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let word = u32::from_ne_bytes(mask);
    let wide = u64::from(word) | u64::from(word) << 32;
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Rotates a mask so that it applies to the payload after `done` bytes.
#[inline]
pub(super) fn rotate(mut mask: [u8; 4], done: usize) -> [u8; 4] {
    mask.rotate_left(done % 4);
    mask
}
