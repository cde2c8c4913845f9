//! What a sender says: message after message, each known to the byte from the sender's number and its own.
//!
//! So whoever hears one knows which must come next, and compares all of it: what is lost, doubled, reordered or damaged
//! is found at once. Sizes go from 1 byte to 1 MiB, each power of two as often as the next; half are text, with
//! characters of one to four bytes, and half binary. One in eight is sent in fragments, with a ping among them.

use std::sync::LazyLock;

use ws_router_core::frame::client_frame;

/// The longest message.
pub(crate) const LONGEST: usize = 1 << 20;

/// A step of splitmix64: the same number gives the same chance.
pub(crate) fn chance(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One message of one sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Message {
    /// Which member of its registration sends it: below 128, so that it stands in one byte of text.
    pub(crate) sender: usize,
    /// The how manieth of that sender's it is.
    pub(crate) number: u64,
    /// Makes each registration's messages different.
    pub(crate) seed: u64,
}

impl Message {
    fn chance(self, about: u64) -> u64 {
        chance(chance(self.seed ^ ((self.sender as u64) << 56)) ^ (self.number << 3) ^ about)
    }

    /// Its length in bytes.
    pub(crate) fn len(self) -> usize {
        let power = self.chance(0) % 21;
        ((1 << power) + self.chance(1) as usize % (1 << power)).min(LONGEST)
    }

    /// Whether it is text.
    pub(crate) fn is_text(self) -> bool {
        self.chance(2).is_multiple_of(2)
    }

    /// Writes the whole of it.
    pub(crate) fn write(self, to: &mut Vec<u8>) {
        let len = self.len();
        let noise = if self.is_text() { &*TEXT } else { &*BINARY };
        let from = self.chance(3) as usize % (LONGEST / UNIT) * UNIT;
        to.clear();
        to.extend_from_slice(&noise[from..from + len]);
        if self.is_text() {
            // A character that doesn't fit any more, and one that the head cuts.
            to[len / UNIT * UNIT..].fill(b'.');
        }
        if len >= HEAD {
            to[..HEAD].fill(b' ');
            to[1..17].copy_from_slice(format!("{:016x}", self.number).as_bytes());
        } else if self.is_text() {
            to.fill(b'0' + (self.number % 10) as u8);
        }
        to[0] = self.sender as u8;
    }

    /// Reads the number of a message that is long enough to have one.
    pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
        let digits = payload.get(1..17).filter(|_| payload.len() >= HEAD)?;
        u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Appends it as a client's frames, masked.
    pub(crate) fn frames(self, payload: &mut Vec<u8>, to: &mut Vec<u8>) {
        self.write(payload);
        let opcode = if self.is_text() { 1 } else { 2 };
        let mask = (self.chance(4) as u32).to_be_bytes();
        if !self.chance(5).is_multiple_of(8) {
            to.extend(client_frame(0x80 | opcode, mask, payload));
            return;
        }
        // Cut anywhere, in the middle of a character too.
        let mut cuts = [0; 3];
        for (cut, about) in cuts.iter_mut().zip(6..) {
            *cut = self.chance(about) as usize % (payload.len() + 1);
        }
        cuts.sort_unstable();
        let [first, second, third] = cuts;
        to.extend(client_frame(opcode, mask, &payload[..first]));
        to.extend(client_frame(0, mask.map(u8::reverse_bits), &payload[first..second]));
        to.extend(client_frame(0x89, mask, &self.number.to_be_bytes()));
        to.extend(client_frame(0, mask, &payload[second..third]));
        to.extend(client_frame(0x80, mask, &payload[third..]));
    }
}

/// What a message with a number begins with: the sender, 16 digits, and spaces up to a whole character.
const HEAD: usize = 20;

/// The text's characters stand in units of so many bytes, so that it can be taken from anywhere.
const UNIT: usize = 4;

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let units = ["word", "än ", "日.", "🦀", "ñß", "€x"];
    let all = (0..).flat_map(|number| units[chance(number) as usize % units.len()].bytes());
    all.take(2 * LONGEST).collect()
});

static BINARY: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..2 * LONGEST as u64 / 8).flat_map(|number| chance(number).to_ne_bytes()).collect());
