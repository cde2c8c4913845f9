//! Frames as a client sends them, for tests and benchmarks: the router itself only reads these.

use super::unmask;

/// Returns the header of a client's frame, with the shortest form of the length (RFC 6455 section 5.2).
pub fn client_header(first: u8, mask: [u8; 4], len: u64) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..126 => header.push(0x80 | len as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(len.to_be_bytes());
        }
    }
    header.extend(mask);
    header
}

/// Returns a client's frame: the header, and the payload masked.
pub fn client_frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = client_header(first, mask, payload.len() as u64);
    let start = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[start..], mask);
    frame
}
