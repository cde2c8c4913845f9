//! Numbers and frames out of a fuzzer's bytes; where those end, zeros follow.

/// Bytes that are taken from the front.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes up to so many bytes.
    pub fn bytes(&mut self, at_most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(at_most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Makes a client's frame of five bytes: any first byte, sizes around every limit, texts that are whole, cut or
    /// wrong, any mask, and now and then a length that isn't true.
    pub fn frame(&mut self, into: &mut Vec<u8>) {
        let (first, size, content, mask, lie) = (self.byte(), self.byte(), self.byte(), self.byte(), self.byte());
        let size = SIZES[usize::from(size) % SIZES.len()] + usize::from(size) / SIZES.len();
        let size = if into.len() > MOST { size.min(100) } else { size };
        let mask = [mask, mask.rotate_left(3), !mask, mask ^ 0x5a];
        let claimed = match lie {
            0xff => u64::MAX,
            0xfe => 1 << 40,
            0xf0..=0xfd => size as u64 + u64::from(lie & 0x0f) * 1000,
            _ => size as u64,
        };
        into.push(first);
        let masked = if lie == 0xef { 0 } else { 0x80 };
        match claimed {
            0..126 if lie != 0xee => into.push(masked | claimed as u8),
            0..=0xffff => {
                into.push(masked | 126);
                into.extend((claimed as u16).to_be_bytes());
            }
            _ => {
                into.push(masked | 127);
                into.extend(claimed.to_be_bytes());
            }
        }
        into.extend(mask);
        let start = into.len();
        match content {
            0..100 => into.extend(std::iter::repeat_n(b'a' + content % 26, size)),
            // A text of two-byte characters, begun in the middle or not.
            100..200 => into.extend("\u{fc}".bytes().cycle().skip(usize::from(content & 1)).take(size)),
            200..230 => into.extend("\u{1f600}".bytes().cycle().skip(usize::from(content & 3)).take(size)),
            _ => into.extend((0..size).map(|at| (at as u8).wrapping_mul(content))),
        }
        into[start..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// Sizes at and around the places where the decoder does something else.
const SIZES: [usize; 16] =
    [0, 1, 2, 17, 100, 124, 125, 126, 1_000, 4_090, 4_100, 16_380, 16_390, 65_530, 65_540, 270_000];
/// A stream that is longer than this grows by little only.
const MOST: usize = 40_000;
