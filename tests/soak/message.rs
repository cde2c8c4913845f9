//! Messages whose bytes follow from the sender's number and their own.
//!
//! A receiver knows which message must come next and compares all of it, so loss, duplication, reordering and damage are
//! detected at once. Sizes are between 1 byte and 1 MiB, with the same number for each power of two. Half are text, with
//! characters of one to four bytes, and half binary. One in eight is sent in fragments, with a ping among them.

use std::sync::LazyLock;

use ws_router_core::frame::client_frame;

/// Length of the longest message.
pub(crate) const LONGEST: usize = 1 << 20;

/// Returns a pseudo-random number for a number (a step of splitmix64).
pub(crate) fn chance(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Message of a sender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Message {
    /// Number of the sender in its registration: below 128, so that it fits into one byte of text.
    pub(crate) sender: usize,
    /// Number of the message among those of its sender.
    pub(crate) number: u64,
    /// Number that makes the messages of each registration different.
    pub(crate) seed: u64,
}

impl Message {
    fn chance(self, about: u64) -> u64 {
        chance(chance(self.seed ^ ((self.sender as u64) << 56)) ^ (self.number << 3) ^ about)
    }

    /// Returns its length in bytes.
    pub(crate) fn len(self) -> usize {
        let power = self.chance(0) % 21;
        ((1 << power) + self.chance(1) as usize % (1 << power)).min(LONGEST)
    }

    /// Returns whether it is text.
    pub(crate) fn is_text(self) -> bool {
        self.chance(2).is_multiple_of(2)
    }

    /// Writes its payload.
    pub(crate) fn write(self, to: &mut Vec<u8>) {
        let len = self.len();
        let noise = if self.is_text() { &*TEXT } else { &*BINARY };
        let from = self.chance(3) as usize % (LONGEST / UNIT) * UNIT;
        to.clear();
        to.extend_from_slice(&noise[from..from + len]);
        if self.is_text() {
            // The last character may not fit.
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

    /// Reads the number from a message that is long enough to contain it.
    pub(crate) fn number_in(payload: &[u8]) -> Option<u64> {
        let digits = payload.get(1..17).filter(|_| payload.len() >= HEAD)?;
        u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Appends it as masked client frames.
    pub(crate) fn frames(self, payload: &mut Vec<u8>, to: &mut Vec<u8>) {
        self.write(payload);
        let opcode = if self.is_text() { 1 } else { 2 };
        let mask = (self.chance(4) as u32).to_be_bytes();
        if !self.chance(5).is_multiple_of(8) {
            to.extend(client_frame(0x80 | opcode, mask, payload));
            return;
        }
        // The cuts are anywhere, also in the middle of a character.
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

/// Length of the head of a message with a number: the sender, 16 digits, and spaces up to a whole character.
const HEAD: usize = 20;

/// Length of the units that the text consists of; each holds whole characters, so a message can start at any unit.
const UNIT: usize = 4;

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let units = ["word", "än ", "日.", "🦀", "ñß", "€x"];
    let all = (0..).flat_map(|number| units[chance(number) as usize % units.len()].bytes());
    all.take(2 * LONGEST).collect()
});

static BINARY: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..2 * LONGEST as u64 / 8).flat_map(|number| chance(number).to_ne_bytes()).collect());
