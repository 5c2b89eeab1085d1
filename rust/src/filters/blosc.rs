//! Filter 32001, Blosc 1: a header, then blocks, shuffled and compressed one by one
//! (<https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst>, and `blosc_d` in its `blosc.c`).
//!
//! All that a reader needs is in the header, so the filter's parameters do not matter.

use ::lz4::block::CompressionMode;
use libdeflater::Decompressor;

use super::bitshuffle::{self, Workspace};
use super::blocks::{self, Blocks};
use super::{Buffer, Codecs, Complaint, Declined, blosclz, deflate, lz4, shuffle, zstd};
use crate::memory::{self, NoMemory};

/// The filter's number.
pub(super) const ID: u32 = 32001;

const HEADER: usize = 16;
/// The only version of the format that c-blosc reads (`BLOSC_VERSION_FORMAT`).
const VERSION: u8 = 2;
const BYTE_SHUFFLED: u8 = 0x01;
const STORED: u8 = 0x02;
const BIT_SHUFFLED: u8 = 0x04;
const RESERVED: u8 = 0x08;
const NOT_SPLIT: u8 = 0x10;
/// Blocks of more than this many bytes an element are not split (`MAX_SPLITS`).
const MOST_SPLITS: usize = 16;
/// Nor are those with fewer elements (`MIN_BUFFERSIZE`).
const FEWEST_ELEMENTS: usize = 128;

/// Most bytes that a byte decodes to: of the codecs, Zstandard has the densest streams.
pub(super) const MOST: usize = zstd::MOST;

const CUT: &str = "its Blosc buffer ends in the middle";

/// The length that `input` says it decodes to.
pub(super) fn declared_len(input: &[u8]) -> Option<u64> {
    word(input, 4).map(u64::from)
}

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8], codecs: &mut Codecs) -> Result<usize, Complaint> {
    let &[version, codec_version, flags, element, ..] =
        input.first_chunk::<HEADER>().ok_or("too short to hold the header of a Blosc buffer")?;
    let field = |at| word(input, at).map(|value| value as usize).ok_or(CUT);
    let (total, block, stored) = (field(4)?, field(8)?, field(12)?);
    let output =
        output.get_mut(..total).ok_or("its Blosc header says that there is more than there should be")?;
    let input = input.get(..stored).ok_or(CUT)?;
    if total == 0 {
        return Ok(0);
    }
    if version > VERSION {
        return Err(Declined { filter: ID, what: format!("a buffer of version {version}") }.into());
    }
    if version != VERSION || flags & RESERVED != 0 {
        return Err(format!("its Blosc buffer is of a version that never was: {version}").into());
    }
    if block == 0 || element == 0 {
        return Err("its Blosc header says that its blocks or elements are empty".into());
    }
    if flags & STORED != 0 {
        let bytes = input.get(HEADER..).filter(|bytes| bytes.len() == total).ok_or(CUT)?;
        output.copy_from_slice(bytes);
        return Ok(total);
    }
    let codec = Codec::new(flags >> 5, codec_version, ID)?;
    let streams = Streams { input, flags, codec, element: usize::from(element), block, next: 0 };
    blocks::decode(streams, output, block, codecs)?;
    Ok(total)
}

/// Blocks whose places stand in a table behind the header.
#[derive(Clone)]
struct Streams<'i> {
    input: &'i [u8],
    flags: u8,
    codec: Codec,
    /// Bytes of an element, and of a block that is not the last.
    element: usize,
    block: usize,
    /// The number of the next block.
    next: usize,
}

impl Blocks for Streams<'_> {
    fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
        self.next += 1;
        Ok(())
    }

    fn decode(&mut self, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        let Self { input, flags, codec, element, block, next } = *self;
        self.next += 1;
        let start = word(input, HEADER + 4 * next).ok_or(CUT)? as usize;
        let mut stream = input.get(start..).ok_or(CUT)?;
        let is_left_over = target.len() < block;
        let splits = if flags & NOT_SPLIT == 0 && !is_left_over { splits(element, block) } else { 1 };
        if !target.len().is_multiple_of(splits) {
            return Err("its Blosc blocks are no multiple of the element size".into());
        }
        let part = target.len() / splits;
        let Codecs { inflater, zstd, work: Workspace { block, planes, .. }, .. } = codecs;
        let order = Order::new(flags, element, target.len());
        let decoded = if order == Order::Plain { &mut *target } else { block.prepare(target.len())? };
        for part in decoded.chunks_mut(part) {
            let bytes = sized(&mut stream)?;
            if bytes.len() == part.len() {
                part.copy_from_slice(bytes);
            } else {
                codec.decode(bytes, part, inflater, zstd)?;
            }
        }
        order.restore(element, block.bytes(), planes, target)
    }
}

/// The number of streams of a block, if blocks are split.
fn splits(element: usize, block: usize) -> usize {
    if element <= MOST_SPLITS && block / element >= FEWEST_ELEMENTS { element } else { 1 }
}

/// How chunks are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// LZ4 or Zstandard; of others there is no encoder.
    pub(super) codec: Codec,
    pub(super) level: u32,
    /// Whether the bytes of the elements of each block are shuffled.
    pub(super) shuffle: bool,
    /// Bytes of an element.
    pub(super) element: usize,
}

/// Levels that an encoder has: 0 compresses nothing.
pub(super) const LEVELS: std::ops::RangeInclusive<u32> = 0..=9;

/// Maximum bytes of a chunk, so that all lengths have 31 bits (`BLOSC_MAX_BUFFERSIZE`).
pub(super) const MOST_RAW: usize = i32::MAX as usize - HEADER;

/// Maximum bytes of an element, which have 8 bits in the header; longer ones count as bytes (`BLOSC_MAX_TYPESIZE`).
const LONGEST_ELEMENT: usize = 255;

/// Bytes of a block, or few less: it is in a core's second cache with what is made of it.
const BLOCK: usize = 128 << 10;

impl Settings {
    /// The filter's parameters for chunks of so many bytes: its version, that of the format, the element size, the length
    /// of a chunk, the level, whether bytes are shuffled, and the codec by its number in c-blosc
    /// (<https://github.com/Blosc/hdf5-blosc/blob/main/src/blosc_filter.c>).
    pub(super) fn values(self, chunk: usize) -> Vec<u32> {
        let codec = if self.codec == Codec::Zstd { 5 } else { 1 };
        let (version, element) = (u32::from(VERSION), self.counted() as u32);
        vec![2, version, element, chunk as u32, self.level, u32::from(self.shuffle), codec]
    }

    /// Bytes of an element as the header has them.
    fn counted(self) -> usize {
        if self.element > LONGEST_ELEMENT { 1 } else { self.element.max(1) }
    }

    /// Compresses a part of a block. How many bytes of `output` it came to; `None` if that was too little.
    fn compress(
        self,
        part: &[u8],
        zstd: &mut zstd::Encoder,
        output: &mut [u8],
    ) -> Result<Option<usize>, NoMemory> {
        match self.codec {
            // The levels of c-blosc; its highest would take more memory than chunks are large.
            Codec::Zstd => zstd.encode(part, (2 * self.level - 1).min(*zstd::LEVELS.end()), output),
            _ => Ok(lz4::encode_block(part, CompressionMode::FAST(10 - self.level as i32), output)),
        }
    }

    /// Compresses block by block. How many bytes of `output` it came to; `None` if that was too little.
    fn encode_blocks(
        self,
        input: &[u8],
        shuffled: &mut Vec<u8>,
        zstd: &mut zstd::Encoder,
        output: &mut [u8],
    ) -> Result<Option<usize>, NoMemory> {
        let element = self.counted();
        if self.level == 0 || !input.len().is_multiple_of(element) {
            return Ok(None);
        }
        let block = (BLOCK / element * element).min(input.len()).max(1);
        let is_shuffled = self.shuffle && element > 1;
        // The planes of shuffled blocks have little in common; Zstandard finds out by itself.
        let is_split = self.codec == Codec::Lz4;
        if is_shuffled && shuffled.len() < block {
            *shuffled = memory::zeros(block)?;
        }
        let mut at = HEADER + 4 * input.len().div_ceil(block);
        for (number, values) in input.chunks(block).enumerate() {
            if !put(output, HEADER + 4 * number, at) {
                return Ok(None);
            }
            let ordered = if is_shuffled {
                shuffle::encode(element, values, &mut shuffled[..values.len()]);
                &shuffled[..values.len()]
            } else {
                values
            };
            let splits = if is_split && values.len() == block { splits(element, block) } else { 1 };
            for part in ordered.chunks(ordered.len() / splits) {
                let Some(room) = output.get_mut(at + 4..) else { return Ok(None) };
                // What is as long as what it stands for is not compressed.
                let most = room.len().min(part.len() - 1);
                let len = match self.compress(part, zstd, &mut room[..most])? {
                    Some(len) => len,
                    None if room.len() < part.len() => return Ok(None),
                    None => {
                        room[..part.len()].copy_from_slice(part);
                        part.len()
                    }
                };
                put(output, at, len);
                at += 4 + len;
            }
        }
        let flags = if self.codec == Codec::Zstd { 4 << 5 } else { 1 << 5 }
            | if is_shuffled { BYTE_SHUFFLED } else { 0 }
            | if is_split { 0 } else { NOT_SPLIT };
        output[..4].copy_from_slice(&[VERSION, 1, flags, element as u8]);
        put(output, 4, input.len());
        put(output, 8, block);
        put(output, 12, at);
        Ok(Some(at))
    }

    /// Compresses bytes. How many bytes of `output`, which has room for [`most_encoded`] of them, it came to. What does not
    /// become shorter is stored.
    pub(super) fn encode(
        self,
        input: &[u8],
        shuffled: &mut Vec<u8>,
        zstd: &mut zstd::Encoder,
        output: &mut [u8],
    ) -> Result<Option<usize>, NoMemory> {
        let most = most_encoded(input.len());
        let Some(output) = output.get_mut(..most) else { return Ok(None) };
        if let Some(len) = self.encode_blocks(input, shuffled, zstd, output)? {
            return Ok(Some(len));
        }
        output[..4].copy_from_slice(&[VERSION, 1, STORED, self.counted() as u8]);
        put(output, 4, input.len());
        put(output, 8, input.len());
        put(output, 12, most);
        output[HEADER..].copy_from_slice(input);
        Ok(Some(most))
    }
}

/// Bytes that `len` bytes take at most.
pub(super) fn most_encoded(len: usize) -> usize {
    HEADER + len
}

/// Writes 32 bits, little-endian; whether there is room for them.
fn put(output: &mut [u8], at: usize, value: usize) -> bool {
    let place = output.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    place.map(|place| *place = (value as u32).to_le_bytes()).is_some()
}

/// Takes what stands behind its length in 32 bits, little-endian.
fn sized<'i>(input: &mut &'i [u8]) -> Result<&'i [u8], Complaint> {
    let (&len, rest) = input.split_first_chunk().ok_or(CUT)?;
    let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(len) as usize).ok_or(CUT)?;
    *input = rest;
    Ok(bytes)
}

/// The 32 bits at this place, little-endian.
pub(super) fn word(input: &[u8], at: usize) -> Option<u32> {
    input.get(at..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

/// In which order the bytes of a block's elements were compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Plain,
    Bytes,
    Bits,
}

impl Order {
    fn new(flags: u8, element: usize, block: usize) -> Self {
        if flags & BYTE_SHUFFLED != 0 && element > 1 {
            Self::Bytes
        } else if flags & BIT_SHUFFLED != 0 && block >= element {
            Self::Bits
        } else {
            Self::Plain
        }
    }

    /// Puts elements together again, unless the order is plain and they are already in `output`.
    fn restore(
        self,
        element: usize,
        block: &[u8],
        planes: &mut Buffer,
        output: &mut [u8],
    ) -> Result<(), Complaint> {
        match self {
            Self::Plain => {}
            Self::Bytes => shuffle::decode(element, block, output),
            // Only whole groups of eight elements are transposed; of a block that has others, nothing is
            // (`blosc_internal_bitunshuffle`).
            Self::Bits if (block.len() / element).is_multiple_of(8) => {
                let whole = block.len() / element * element;
                let (elements, left_over) = output.split_at_mut(whole);
                bitshuffle::untranspose(element, &block[..whole], planes, elements)?;
                left_over.copy_from_slice(&block[whole..]);
            }
            Self::Bits => output.copy_from_slice(block),
        }
        Ok(())
    }
}

/// What compressed the blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    BloscLz,
    Lz4,
    Snappy,
    Zlib,
    Zstd,
}

impl Codec {
    /// The codec of that number in a buffer of this filter.
    pub(super) fn new(number: u8, version: u8, filter: u32) -> Result<Self, Complaint> {
        match (number, version) {
            (0, 1) => Ok(Self::BloscLz),
            // LZ4HC is another compressor of the same format.
            (1, 1) => Ok(Self::Lz4),
            (2, 1) => Ok(Self::Snappy),
            (3, 1) => Ok(Self::Zlib),
            (4, 1) => Ok(Self::Zstd),
            _ => Err(Declined { filter, what: format!("codec {number}, version {version}") }.into()),
        }
    }

    /// Decodes `input`, which must fill `output`.
    pub(super) fn decode(
        self,
        input: &[u8],
        output: &mut [u8],
        inflater: &mut Decompressor,
        zstd: &mut zstd::Decoder,
    ) -> Result<(), Complaint> {
        let made = match self {
            Self::BloscLz => blosclz::decode(input, output)?,
            Self::Lz4 => return lz4::decode_block(input, output),
            Self::Snappy => snap::raw::Decoder::new()
                .decompress(input, output)
                .map_err(|error| format!("its Snappy stream is broken: {error}"))?,
            Self::Zlib => deflate::decode(inflater, input, output)?,
            Self::Zstd => return zstd.decode_whole(input, output),
        };
        if made == output.len() {
            Ok(())
        } else {
            Err(format!("its Blosc block comes to {made} bytes instead of {}", output.len()).into())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::{decoded, from_hex};
    use super::*;

    fn run(input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        decoded(len, |output| decode(input, output, &mut Codecs::default()))
    }

    /// Written by hdf5plugin 7.1: `numpy.arange(100, dtype="<u4") // 3`, one block.
    const GOLDEN: &[(&str, &str)] = &[
        (
            "blosclz, shuffled",
            "0201110490010000900100008800000014000000700000003f0000000101010202020303030404040505050606\
             060707070808080909090a0a1f0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f10101011111112121213131314141415\
             1f15151616161717171818181919191a1a1a1b1b1b1c1c1c1d1d1d1e1e1e1f1f1f042020202100e0ff21000100\
             00",
        ),
        (
            "lz4",
            "020130049001000090010000aa0000001400000092000000170001001701040017020400170304001704040017\
             05040017060400170704001708040017090400170a0400170b0400170c0400170d0400170e0400170f04001710\
             0400171104001712040017130400171404001715040017160400171704001718040017190400171a0400171b04\
             00171c0400171d0400171e0400171f0400f00120000000200000002000000021000000",
        ),
        (
            "lz4, shuffled",
            "0201310490010000900100008d0000001400000075000000ff5a00000001010102020203030304040405050506\
             06060707070808080909090a0a0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f10101011111112121213131314141415\
             15151616161717171818181919191a1a1a1b1b1b1c1c1c1d1d1d1e1e1e1f1f1f2020202100000000000500ff10\
             500000000000",
        ),
        (
            "lz4, bitshuffled",
            "020134049001000090010000aa0000001400000092000000170001001701040017020400170304001704040017\
             05040017060400170704001708040017090400170a0400170b0400170c0400170d0400170e0400170f04001710\
             0400171104001712040017130400171404001715040017160400171704001718040017190400171a0400171b04\
             00171c0400171d0400171e0400171f0400f00120000000200000002000000021000000",
        ),
        (
            "lz4hc, shuffled",
            "020131049001000090010000890000001400000071000000ff5600000001010102020203030304040405050506\
             06060707070808080909090a0a0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f10101011111112121213131314141415\
             15151616161717171818181919191a1a1a1b1b1b1c1c1c1d1d1d1e1e1e1f1f1f20202021000100ff1450000000\
             0000",
        ),
        (
            "zlib, shuffled",
            "020171049001000090010000780000001400000060000000785eedc18501c320000030b4505c8a5bf7ff937b61\
             072c01004008114218634208a5f4ba2ec618e7fcbe6f2184945229a5b536c6586b9d73defb10428cf1799e9452\
             ceb994526b6dadf5dec71873ceb5d6defb9cf3beef07fcfdec0b3b750652",
        ),
        (
            "zstd, shuffled",
            "0201910490010000900100008f000000140000007700000028b52ffd6090006d03005406000000010101020202\
             0303030404040505050606060707070808080909090a0a0a0b0b0b0c0c0c0d0d0d0e0e0e0f0f0f101010111111\
             1212121313131414141515151616161717171818181919191a1a1a1b1b1b1c1c1c1d1d1d1e1e1e1f1f1f202020\
             21000100258a0aa2",
        ),
    ];

    /// Written by hdf5plugin 7.1 with Snappy: `numpy.arange(600, dtype="<u4") // 100`, one block of four streams
    /// each.
    const SNAPPY: &[(&str, &str)] = &[
        (
            "shuffled",
            "020141046009000060090000bc0000001400000032000000d8040000fe01008a01000001fe01008a01000002fe\
             01008a01000003fe01008a01000004fe01008a01000005fe01008a010022000000d8040000fe0100fe0100fe01\
             00fe0100fe0100fe0100fe0100fe0100fe01005a010022000000d8040000fe0100fe0100fe0100fe0100fe0100\
             fe0100fe0100fe0100fe01005a010022000000d8040000fe0100fe0100fe0100fe0100fe0100fe0100fe0100fe\
             0100fe01005a0100",
        ),
        (
            "plain",
            "020140046009000060090000cd0000001400000028000000d8040000fe0100fe0100fe0100fe0100fe0100fe01\
             003a010008010000fe0400fe0400fe040005042b000000d8040c01000000fe0400fe0400fe0400010408020000\
             fe0400fe0400fe0400fe0400fe0400fe04003204002b000000d8040c03000000fe0400fe0400fe0400fe0400fe\
             0400fe04002e040008040000fe0400fe0400fe040005042b000000d8040c04000000fe0400fe0400fe04000104\
             08050000fe0400fe0400fe0400fe0400fe0400fe0400320400",
        ),
    ];

    #[test]
    fn what_hdf5plugin_wrote_with_snappy() {
        let values: Vec<u8> = (0..600u32).flat_map(|i| (i / 100).to_le_bytes()).collect();
        for (how, stream) in SNAPPY {
            assert_eq!(run(&from_hex(stream), 2400).unwrap(), values, "{how}");
        }
    }

    fn thirds() -> Vec<u8> {
        (0..100u32).flat_map(|i| (i / 3).to_le_bytes()).collect()
    }

    #[test]
    fn what_hdf5plugin_wrote() {
        for (how, stream) in GOLDEN {
            let stream = from_hex(stream);
            assert_eq!(declared_len(&stream), Some(400));
            assert_eq!(run(&stream, 400).unwrap(), thirds(), "{how}");
        }
    }

    #[test]
    fn broken_streams_are_refused() {
        for (how, stream) in GOLDEN {
            let stream = from_hex(stream);
            assert!(run(&stream, 399).is_err(), "{how}");
            for len in 0..stream.len() {
                assert!(run(&stream[..len], 400).is_err(), "{how}, {len}");
            }
            for bit in 0..stream.len() * 8 {
                let mut flipped = stream.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(decoded) = run(&flipped, 400) {
                    assert!(decoded.len() <= 400);
                }
            }
        }
    }

    /// A buffer of these blocks, each of these streams.
    fn buffer(flags: u8, element: u8, total: u32, block: u32, blocks: &[Vec<Vec<u8>>]) -> Vec<u8> {
        let mut out = vec![VERSION, 1, flags, element];
        out.extend(total.to_le_bytes());
        out.extend(block.to_le_bytes());
        out.extend([0; 4]);
        let starts = out.len();
        out.resize(starts + 4 * blocks.len(), 0);
        for (i, streams) in blocks.iter().enumerate() {
            let start = out.len() as u32;
            out[starts + 4 * i..][..4].copy_from_slice(&start.to_le_bytes());
            for stream in streams {
                out.extend((stream.len() as u32).to_le_bytes());
                out.extend(stream);
            }
        }
        let stored = out.len() as u32;
        out[12..16].copy_from_slice(&stored.to_le_bytes());
        out
    }

    #[test]
    fn snappy_and_split_blocks() {
        // Two bytes an element, 128 elements a block: split, except for the last block, which is short.
        let values: Vec<u8> = (0..300u16).flat_map(u16::to_le_bytes).collect();
        let streams = |block: &[u8], splits: usize| {
            let count = block.len() / 2;
            let shuffled: Vec<u8> = (0..block.len()).map(|i| block[i % count * 2 + i / count]).collect();
            let compress = |part: &[u8]| snap::raw::Encoder::new().compress_vec(part).unwrap();
            shuffled.chunks(block.len() / splits).map(compress).collect::<Vec<_>>()
        };
        let blocks = [streams(&values[..256], 2), streams(&values[256..512], 2), streams(&values[512..], 1)];
        let split = buffer(BYTE_SHUFFLED | 2 << 5, 2, 600, 256, &blocks);
        assert_eq!(run(&split, 600).unwrap(), values);
        let blocks = [streams(&values[..256], 1), streams(&values[256..512], 1), streams(&values[512..], 1)];
        let whole = buffer(BYTE_SHUFFLED | NOT_SPLIT | 2 << 5, 2, 600, 256, &blocks);
        assert_eq!(run(&whole, 600).unwrap(), values);
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let good = buffer(NOT_SPLIT, 1, 4, 4, &[vec![vec![1, 2, 3, 4]]]);
        assert_eq!(run(&good, 4).unwrap(), [1, 2, 3, 4]);
        for (at, value) in [(0, 3), (1, 2), (2, 0x18), (2, 0xf0), (3, 0), (8, 0), (12, 0xff), (16, 0xff)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(run(&bad, 4).is_err(), "{at}: {value}");
        }
        let stored = [&[2, 1, 2, 1, 4, 0, 0, 0, 4, 0, 0, 0, 20, 0, 0, 0][..], &[5, 6, 7, 8]].concat();
        assert_eq!(run(&stored, 4).unwrap(), [5, 6, 7, 8]);
        assert!(run(&buffer(0, 2, 401, 301, &[vec![vec![0; 150]; 2], vec![vec![0; 100]]]), 401).is_err());
    }
}
