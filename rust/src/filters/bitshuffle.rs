//! Filter 32008, bitshuffle: within blocks of elements, all first bits, then all second bits, ...; by itself,
//! or with each block compressed by LZ4 or Zstandard
//! (<https://github.com/kiyo-masui/bitshuffle>: `bshuf_h5filter.c`, `bitshuffle_core.c`).
//!
//! Elements at the end that are not eight stand unchanged behind the blocks. Compressed chunks begin with
//! their decoded length (64 bits, big-endian) and the length of a block (32 bits), and each block with its
//! own (32 bits).

use super::blocks::{self, Blocks};
use super::{Buffer, Codecs, Complaint, lz4, shuffle, zstd};

/// Bytes of a block for which the filter chooses the number of elements (`BSHUF_TARGET_BLOCK_SIZE_B`).
const BLOCK_BYTES: usize = 8192;

/// Blocks are made of this many elements, or a multiple.
const GROUP: usize = 8;

/// What the blocks went through after their bits were transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    None,
    Lz4,
    Zstd,
}

/// The filter's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bitshuffle {
    /// Bytes of an element.
    element: usize,
    /// Elements of a block. Compressed chunks say it themselves.
    block: usize,
    codec: Codec,
}

impl Bitshuffle {
    /// From a file's parameters: two of version, element size, block size, codec, its level.
    pub(super) fn new(values: &[u32]) -> Option<Self> {
        let element = usize::try_from(*values.get(2)?).ok().filter(|&element| element > 0)?;
        let block = usize::try_from(values.get(3).copied().unwrap_or(0)).ok()?;
        let codec = match values.get(4).copied().unwrap_or(0) {
            0 => Codec::None,
            2 => Codec::Lz4,
            3 => Codec::Zstd,
            _ => return None,
        };
        Some(Self { element, block: block_len(block, element)?, codec })
    }

    /// Whether the chunk's length is kept.
    pub(super) fn keeps_len(self) -> bool {
        self.codec == Codec::None
    }

    /// Most bytes that a byte decodes to.
    pub(super) fn most(self) -> usize {
        match self.codec {
            Codec::None => 1,
            Codec::Lz4 => lz4::MOST,
            Codec::Zstd => zstd::MOST,
        }
    }

    /// The length that `input` says it decodes to.
    pub(super) fn declared_len(self, input: &[u8]) -> Option<u64> {
        match self.codec {
            Codec::None => Some(input.len() as u64),
            Codec::Lz4 | Codec::Zstd => lz4::declared_len(input),
        }
    }

    /// Decodes `input` into `output`; the number of bytes that it came to.
    pub(super) fn decode(
        self,
        input: &[u8],
        output: &mut [u8],
        codecs: &mut Codecs,
    ) -> Result<usize, Complaint> {
        let (total, block, rest) = if self.codec == Codec::None {
            (input.len(), self.block, input)
        } else {
            let (&total, rest) = input.split_first_chunk().ok_or(CUT)?;
            let (&block, rest) = rest.split_first_chunk().ok_or(CUT)?;
            let block = block_len(u32::from_be_bytes(block) as usize / self.element, self.element)
                .ok_or("its bitshuffle blocks are not of a multiple of eight elements")?;
            (usize::try_from(u64::from_be_bytes(total)).unwrap_or(usize::MAX), block, rest)
        };
        let output = output
            .get_mut(..total)
            .ok_or("its bitshuffle header says that there is more than there should be")?;
        if !total.is_multiple_of(self.element) {
            return Err(format!("{total} bytes are no bitshuffled elements of {}", self.element).into());
        }
        let streams = Streams { filter: self, rest };
        blocks::decode(streams, output, block.saturating_mul(self.element), codecs)?;
        Ok(total)
    }

    /// How many of a block's `len` bytes are transposed.
    fn whole(self, len: usize) -> usize {
        len / (GROUP * self.element) * (GROUP * self.element)
    }
}

/// Blocks that follow each other, behind their lengths where they are compressed.
#[derive(Clone)]
struct Streams<'i> {
    filter: Bitshuffle,
    rest: &'i [u8],
}

impl<'i> Streams<'i> {
    /// Takes the stream of a block of which `whole` bytes are transposed, if any are.
    fn stored(&mut self, whole: usize) -> Result<&'i [u8], Complaint> {
        if whole == 0 || self.filter.codec == Codec::None {
            self.plain(whole)
        } else {
            lz4::sized(&mut self.rest)
        }
    }

    /// Takes bytes that stand as they are.
    fn plain(&mut self, len: usize) -> Result<&'i [u8], Complaint> {
        let (bytes, after) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = after;
        Ok(bytes)
    }
}

impl Blocks for Streams<'_> {
    fn skip(&mut self, len: usize) -> Result<(), Complaint> {
        let whole = self.filter.whole(len);
        self.stored(whole)?;
        self.plain(len - whole).map(drop)
    }

    fn decode(&mut self, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        let Bitshuffle { element, codec, .. } = self.filter;
        let whole = self.filter.whole(target.len());
        let (target, left_over) = target.split_at_mut(whole);
        if whole > 0 {
            let stored = self.stored(whole)?;
            let Codecs { zstd, work: Workspace { block, planes, .. }, .. } = codecs;
            let bits = match codec {
                Codec::None => stored,
                Codec::Lz4 => {
                    let bits = block.prepare(whole)?;
                    lz4::decode_block(stored, bits)?;
                    bits
                }
                Codec::Zstd => {
                    let bits = block.prepare(whole)?;
                    zstd.decode_whole(stored, bits)?;
                    bits
                }
            };
            untranspose(element, bits, planes, target)?;
        }
        left_over.copy_from_slice(self.plain(left_over.len())?);
        Ok(())
    }
}

const CUT: &str = "its bitshuffle blocks end in the middle";

/// Elements of a block; 0 asks for the default (`bshuf_default_block_size`).
fn block_len(asked: usize, element: usize) -> Option<usize> {
    match asked {
        0 => Some((BLOCK_BYTES / element / GROUP * GROUP).max(128)),
        _ => asked.is_multiple_of(GROUP).then_some(asked),
    }
}

/// Room for a block on its way.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// What a block was decompressed to.
    pub(super) block: Buffer,
    /// The bytes of its elements, all first bytes first.
    pub(super) planes: Buffer,
    /// A block that is not where it belongs yet.
    pub(super) tile: Buffer,
}

/// Puts the bits of each element together again. Both are as long, of a multiple of eight elements.
///
/// There are three transpositions in it, of which the first and the last move bytes only, which
/// [`shuffle`] is good at: the eight rows of a byte's bits are interleaved, so that the bits of eight
/// elements' bytes are next to each other; these squares of 8 x 8 bits are transposed; and the bytes of each
/// element are put together.
pub(super) fn untranspose(
    element: usize,
    input: &[u8],
    planes: &mut Buffer,
    output: &mut [u8],
) -> Result<(), Complaint> {
    if element <= 1 {
        bytes_of_bits(input, output);
        return Ok(());
    }
    let count = input.len() / element;
    if count == 0 {
        return Ok(());
    }
    let planes = planes.prepare(input.len())?;
    for (bits, plane) in input.chunks_exact(count).zip(planes.chunks_exact_mut(count)) {
        bytes_of_bits(bits, plane);
    }
    shuffle::decode(element, planes, output);
    Ok(())
}

/// Puts bytes together of which all first bits come first.
fn bytes_of_bits(bits: &[u8], bytes: &mut [u8]) {
    shuffle::decode(8, bits, bytes);
    for square in bytes.as_chunks_mut().0 {
        *square = transpose(u64::from_le_bytes(*square)).to_le_bytes();
    }
}

/// Transposes 8 x 8 bits, by swapping bits, then pairs, then fours (Warren, *Hacker's Delight*, 7-3).
#[inline(always)]
fn transpose(mut square: u64) -> u64 {
    for (distance, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let swap = (square ^ (square >> distance)) & mask;
        square ^= swap ^ (swap << distance);
    }
    square
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::from_hex;
    use super::*;

    fn run(values: &[u32], input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        let mut output = vec![0; len];
        let filter = Bitshuffle::new(values).unwrap();
        let made = filter.decode(input, &mut output, &mut Codecs::default())?;
        output.truncate(made);
        Ok(output)
    }

    /// The definition: bit k of byte b of element i is bit i of row 8 b + k.
    fn naive(element: usize, input: &[u8]) -> Vec<u8> {
        let count = input.len() / element;
        let mut output = vec![0; input.len()];
        for i in 0..count {
            for bit in 0..element * 8 {
                let row = &input[bit * count / 8..];
                let value = row[i / 8] >> (i % 8) & 1;
                output[i * element + bit / 8] |= value << (bit % 8);
            }
        }
        output
    }

    #[test]
    fn agrees_with_the_definition_at_all_sizes() {
        for element in [1, 2, 3, 4, 7, 8, 12, 16, 33] {
            for count in (0..40).map(|n| n * 8).chain([1000, 1024, 4096]) {
                let len = count * element;
                let input: Vec<u8> =
                    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
                let mut output = vec![0; len];
                untranspose(element, &input, &mut Buffer::default(), &mut output).unwrap();
                assert_eq!(output, naive(element, &input), "element {element}, {count} of them");
            }
        }
    }

    /// Written by hdf5plugin 7.1: `numpy.arange(21, dtype="<u2") * 7` in blocks of 8 elements, and
    /// `numpy.arange(45, dtype="<u4") * 7` in blocks of 16.
    const PLAIN: &str =
        "aa661e5498e000000000000000000000aa661eab33c3fc000000000000000000700077007e0085008c00";
    const LZ4: &str = "00000000000000b4000000400000001aff00aaaa66661e1e54ab9833e0c300fc00010019500000000000\
                       0000001cff02aaaa66661e1e54ab67cc870f07f0f8ff0001001750000000000000000013adaa661e5498\
                       1f1f1fe0000100500000000000180100001f010000260100002d01000034010000";
    const ZSTD: &str = "00000000000000b4000000400000001e28b52ffd2040ad000078aaaa66661e1e54ab9833e0c300fc0001\
                       0046a00e0000002028b52ffd2040bd000088aaaa66661e1e54ab67cc870f07f0f8ff00010089c0120000\
                       001928b52ffd202085000050aa661e54981f1f1fe00001000a4002180100001f010000260100002d0100\
                       0034010000";

    fn sevens() -> Vec<u8> {
        (0..45u32).flat_map(|i| (i * 7).to_le_bytes()).collect()
    }

    #[test]
    fn what_hdf5plugin_wrote() {
        let values: Vec<u8> = (0..21u16).flat_map(|i| (i * 7).to_le_bytes()).collect();
        assert_eq!(run(&[0, 4, 2, 8, 0], &from_hex(PLAIN), 42).unwrap(), values);
        assert_eq!(run(&[0, 4, 4, 16, 2], &from_hex(LZ4), 180).unwrap(), sevens());
        assert_eq!(run(&[0, 4, 4, 16, 3, 3], &from_hex(ZSTD), 180).unwrap(), sevens());
        // The block size of a compressed chunk is the one that it says it has.
        assert_eq!(run(&[0, 4, 4, 0, 2], &from_hex(LZ4), 180).unwrap(), sevens());
    }

    #[test]
    fn broken_streams_are_refused() {
        for (codec, stream) in [(2, from_hex(LZ4)), (3, from_hex(ZSTD))] {
            let values = [0, 4, 4, 16, codec];
            assert!(run(&values, &stream, 179).is_err());
            for len in 0..stream.len() {
                assert!(run(&values, &stream[..len], 180).is_err(), "{len}");
            }
            for bit in 0..stream.len() * 8 {
                let mut flipped = stream.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(decoded) = run(&values, &flipped, 180) {
                    assert!(decoded.len() <= 180);
                }
            }
        }
        assert!(run(&[0, 4, 4], &[1, 2, 3, 4, 5], 5).is_err(), "an element and a quarter");
    }

    #[test]
    fn parameters_that_make_no_sense_are_not_known() {
        for values in [&[][..], &[0, 4], &[0, 4, 0], &[0, 4, 2, 7], &[0, 4, 2, 8, 1]] {
            assert_eq!(Bitshuffle::new(values), None, "{values:?}");
        }
        let block = |element| Bitshuffle::new(&[0, 4, element]).unwrap().block;
        assert_eq!([1, 2, 8, 24, 4000].map(block), [8192, 4096, 1024, 336, 128]);
    }
}
