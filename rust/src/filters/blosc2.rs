//! Filter 32026, Blosc2: a frame (<https://github.com/Blosc/c-blosc2/blob/main/README_CFRAME_FORMAT.rst>) that
//! holds one chunk of Blosc's own (`README_CHUNK_FORMAT.rst` there), whose blocks are shuffled and compressed
//! one by one. Where HDF5's chunk has several axes, its blocks may be tiles of it
//! (`README_B2ND_METALAYER.rst`).

use super::bitshuffle::{self, Workspace};
use super::blocks::{self, Blocks};
use super::blosc::{Codec, word};
use super::{Codecs, Complaint, Declined, shuffle};

/// The filter's number.
pub(super) const ID: u32 = 32026;

const MAGIC: &[u8] = b"b2frame\0";
/// Places in the frame's header.
const HEADER_LEN: usize = 11;
const FLAGS: usize = 25;
const UNCOMPRESSED: usize = 30;
const COMPRESSED: usize = 39;
const METALAYERS: usize = 87;
/// Chunks or blocks of variable length.
const VARIABLE: u8 = 0xc0;

/// Of a chunk's header.
const CHUNK_HEADER: usize = 32;
const EXTENDED: u8 = 0x05;
const STORED: u8 = 0x02;
const NOT_SPLIT: u8 = 0x10;
/// Versions of a chunk's format whose extended header is the one here (`BLOSC2_VERSION_FORMAT_BETA1` and on).
const VERSIONS: std::ops::RangeInclusive<u8> = 4..=6;

/// Most axes of a tiled chunk (`BLOSC2_MAX_DIM`).
const MOST_AXES: usize = 16;

/// Most bytes that any frame decodes to: a few bytes stand for a chunk of zeros, whose length has 31 bits.
pub(super) const MOST: usize = i32::MAX as usize;

const CUT: &str = "its Blosc2 frame ends in the middle";
const BROKEN: &str = "its Blosc2 frame contradicts itself";

/// Whether files with these parameters of the filter can be decoded here: not with filters of Blosc2 that need
/// all blocks at once (delta) or with codecs that are plugins of it.
pub(super) fn is_known(values: &[u32]) -> bool {
    let filter = values.get(5).copied().unwrap_or(0);
    let codec = values.get(6).copied().unwrap_or(0);
    matches!(filter, 0 | 1 | 2 | 4) && matches!(codec, 0..=5)
}

/// The length that `input` says it decodes to.
pub(super) fn declared_len(input: &[u8]) -> Option<u64> {
    // That of a tiled chunk includes what fills up its tiles.
    match Tiles::find(input) {
        Ok(None) => big_endian(input, UNCOMPRESSED),
        Ok(Some(_)) | Err(_) => None,
    }
}

/// Decodes `input` into `output`; the number of bytes that it came to.
pub(super) fn decode(input: &[u8], output: &mut [u8], codecs: &mut Codecs) -> Result<usize, Complaint> {
    let flags: [u8; 2] = input.get(FLAGS..).and_then(<[u8]>::first_chunk).copied().ok_or(CUT)?;
    if input.get(2..10) != Some(MAGIC) || flags[1] & 0x0f != 0 {
        return Err("it is no contiguous Blosc2 frame".into());
    }
    if flags[0] & VARIABLE != 0 {
        return Err(unknown("a frame of chunks or blocks of variable length"));
    }
    let header_len = word(input, HEADER_LEN).ok_or(CUT)?.swap_bytes() as usize;
    let compressed = big_endian(input, COMPRESSED).and_then(|len| usize::try_from(len).ok()).ok_or(CUT)?;
    let total = big_endian(input, UNCOMPRESSED).and_then(|len| usize::try_from(len).ok()).ok_or(CUT)?;
    let (chunks, index) =
        input.get(header_len..).and_then(|rest| rest.split_at_checked(compressed)).ok_or(CUT)?;

    let mut offset = [0; 8];
    let index = Chunk::new(index)?;
    if index.total != offset.len() {
        return Err("its Blosc2 frame has not one chunk".into());
    }
    index.decode(&mut offset, codecs)?;
    let offset = i64::from_le_bytes(offset);
    let chunk = match usize::try_from(offset) {
        Ok(offset) => Chunk::new(chunks.get(offset..).ok_or(CUT)?)?,
        // The highest byte says what a chunk that is not there is made of.
        Err(_) => Chunk::of(Special::new((offset >> 56) as u8 & 7)?, total),
    };
    if chunk.total != total {
        return Err(BROKEN.into());
    }
    let Some(tiles) = Tiles::find(input)? else {
        let output = output
            .get_mut(..total)
            .ok_or("its Blosc2 header says that there is more than there should be")?;
        chunk.decode(output, codecs)?;
        return Ok(total);
    };
    tiles.decode(&chunk, output, codecs)
}

fn unknown(what: &str) -> Complaint {
    Declined { filter: ID, what: what.to_owned() }.into()
}

fn big_endian(input: &[u8], at: usize) -> Option<u64> {
    input.get(at..)?.first_chunk().map(|&bytes| u64::from_be_bytes(bytes))
}

/// What a chunk without blocks is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    Zeros,
    NotANumber,
    /// A value that stands after the chunk's header.
    Value,
}

impl Special {
    fn new(number: u8) -> Result<Self, Complaint> {
        match number {
            // 4 leaves it open what the values are.
            1 | 4 => Ok(Self::Zeros),
            2 => Ok(Self::NotANumber),
            3 => Ok(Self::Value),
            _ => Err("its Blosc2 chunk is of a special kind that is not known".into()),
        }
    }
}

/// A chunk with its header understood.
struct Chunk<'i> {
    /// All of it.
    input: &'i [u8],
    flags: u8,
    codec_version: u8,
    /// Bytes of an element.
    element: usize,
    total: usize,
    block: usize,
    /// What was applied before compressing, in this order: numbers, and a parameter for each.
    filters: [u8; 6],
    parameters: [u8; 6],
    special: Option<Special>,
}

impl<'i> Chunk<'i> {
    fn new(input: &'i [u8]) -> Result<Self, Complaint> {
        let header = input.first_chunk::<CHUNK_HEADER>().ok_or(CUT)?;
        let &[version, codec_version, flags, element, ..] = header;
        let field = |at| word(header, at).map(|value| value as usize).ok_or(CUT);
        let (total, block, stored) = (field(4)?, field(8)?, field(12)?);
        let input = input.get(..stored).filter(|input| input.len() >= CHUNK_HEADER).ok_or(CUT)?;
        if version > *VERSIONS.end() {
            return Err(unknown(&format!("a chunk of version {version}")));
        }
        if version < *VERSIONS.start() || flags & EXTENDED != EXTENDED {
            return Err(format!("its Blosc2 chunk is of a version that no frame has: {version}").into());
        }
        if block == 0 || element == 0 {
            return Err("its Blosc2 header says that its blocks or elements are empty".into());
        }
        let (kind, blocks_vary) = (header[31], header[30]);
        // Codecs that report on themselves have the highest bit.
        if kind & 0x81 != 0 || blocks_vary != 0 {
            return Err(unknown(if kind & 1 != 0 {
                "a chunk with a dictionary"
            } else {
                "a chunk of another kind"
            }));
        }
        let special = match kind >> 4 & 7 {
            0 => None,
            number => Some(Special::new(number)?),
        };
        let mut filters = [0; 6];
        let mut parameters = [0; 6];
        filters.copy_from_slice(&header[16..22]);
        parameters.copy_from_slice(&header[24..30]);
        let element = usize::from(element);
        Ok(Self { input, flags, codec_version, element, total, block, filters, parameters, special })
    }

    /// A chunk that does not stand in the file.
    fn of(special: Special, total: usize) -> Self {
        Self {
            input: &[],
            flags: 0,
            codec_version: 1,
            element: 1,
            total,
            block: total.max(1),
            filters: [0; 6],
            parameters: [0; 6],
            special: Some(special),
        }
    }

    /// Decodes all blocks into `output`, which has the chunk's length.
    fn decode(&self, output: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        blocks::decode(InOrder { chunk: self, next: 0 }, output, self.block, codecs)
    }

    /// Decodes a block into `target`, which has its length.
    fn block(&self, i: usize, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        match self.special {
            Some(Special::Zeros) => {
                target.fill(0);
                return Ok(());
            }
            Some(Special::NotANumber) => {
                return match self.element {
                    4 => repeat(&f32::NAN.to_le_bytes(), target),
                    8 => repeat(&f64::NAN.to_le_bytes(), target),
                    _ => Err(BROKEN.into()),
                };
            }
            Some(Special::Value) => {
                let value = self.input.get(CHUNK_HEADER..).ok_or(BROKEN)?;
                return if self.block.is_multiple_of(value.len().max(1)) {
                    repeat(value, target)
                } else {
                    Err(BROKEN.into())
                };
            }
            None => {}
        }
        if self.flags & STORED != 0 {
            let from =
                i.checked_mul(self.block).and_then(|start| start.checked_add(CHUNK_HEADER)).ok_or(CUT)?;
            let bytes = self.input.get(from..).and_then(|rest| rest.get(..target.len())).ok_or(CUT)?;
            target.copy_from_slice(bytes);
            return Ok(());
        }
        let start = word(self.input, CHUNK_HEADER + 4 * i).ok_or(CUT)? as usize;
        let mut stream = self.input.get(start..).ok_or(CUT)?;
        let is_left_over = target.len() < self.block;
        let splits = if self.flags & NOT_SPLIT == 0 && !is_left_over { self.element } else { 1 };
        let part = target.len() / splits;
        if part == 0 || !target.len().is_multiple_of(splits) {
            return Err("its Blosc2 blocks are no multiple of the element size".into());
        }
        let codec = Codec::new(self.flags >> 5, self.codec_version, ID)?;
        let Codecs { inflater, zstd, work: Workspace { block, planes, .. }, .. } = codecs;
        for part in target.chunks_mut(part) {
            let (&len, rest) = stream.split_first_chunk().ok_or(CUT)?;
            let len = i32::from_le_bytes(len);
            let (len, rest) = match usize::try_from(len) {
                Ok(len) => (len, rest),
                // A run of one byte, which is in the length.
                Err(_) => match (rest.split_first(), u8::try_from(len.unsigned_abs())) {
                    (Some((&token, rest)), Ok(value)) if token & 1 == 1 => {
                        part.fill(value);
                        stream = rest;
                        continue;
                    }
                    _ => return Err("its Blosc2 stream is of a kind that is not known".into()),
                },
            };
            let (bytes, rest) = rest.split_at_checked(len).ok_or(CUT)?;
            stream = rest;
            if len == 0 {
                part.fill(0);
            } else if len == part.len() {
                part.copy_from_slice(bytes);
            } else {
                codec.decode(bytes, part, inflater, zstd)?;
            }
        }
        for (&filter, &parameter) in self.filters.iter().zip(&self.parameters).rev() {
            match filter {
                // The fourth cuts digits off, which stay away.
                0 | 4 => {}
                1 => {
                    let element = if parameter == 0 { self.element } else { usize::from(parameter) };
                    let shuffled = block.prepare(target.len())?;
                    shuffled.copy_from_slice(target);
                    shuffle::decode(element, shuffled, target);
                }
                2 => {
                    let count = target.len() / self.element / 8 * 8;
                    let whole = count * self.element;
                    let transposed = block.prepare(whole)?;
                    transposed.copy_from_slice(&target[..whole]);
                    bitshuffle::untranspose(self.element, transposed, planes, &mut target[..whole])?;
                }
                _ => return Err(unknown(&format!("filter {filter} of its own"))),
            }
        }
        Ok(())
    }
}

/// The blocks of a chunk that lie in it one after the other.
#[derive(Clone)]
struct InOrder<'c> {
    chunk: &'c Chunk<'c>,
    /// The number of the next block.
    next: usize,
}

impl Blocks for InOrder<'_> {
    fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
        self.next += 1;
        Ok(())
    }

    fn decode(&mut self, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        self.next += 1;
        self.chunk.block(self.next - 1, target, codecs)
    }
}

fn repeat(value: &[u8], target: &mut [u8]) -> Result<(), Complaint> {
    for target in target.chunks_mut(value.len().max(1)) {
        target.copy_from_slice(value.get(..target.len()).ok_or(BROKEN)?);
    }
    Ok(())
}

/// How the blocks of a chunk of several axes lie in it, slowest axis first.
#[derive(Debug, PartialEq, Eq)]
struct Tiles {
    shape: Vec<usize>,
    tile: Vec<usize>,
}

impl Tiles {
    /// From the metalayer that says so, if there is one.
    fn find(input: &[u8]) -> Result<Option<Self>, Complaint> {
        let Some(content) = metalayer(input)? else { return Ok(None) };
        let mut content = Reader(content);
        content.tag(0xf0, 0x90)?;
        content.number()?;
        let axes = content.number()?;
        if !(1..=MOST_AXES).contains(&axes) {
            return Err(BROKEN.into());
        }
        let mut list = || {
            content.tag(0xf0, 0x90)?;
            (0..axes).map(|_| content.number()).collect::<Result<Vec<_>, Complaint>>()
        };
        let (shape, chunk, tile) = (list()?, list()?, list()?);
        let fits = |(&tile, &len): (&usize, &usize)| (1..=len).contains(&tile);
        if shape != chunk || !tile.iter().zip(&shape).all(fits) {
            return Err("its Blosc2 frame is not of one chunk".into());
        }
        Ok(Some(Self { shape, tile }))
    }

    /// Decodes the tiles to where they lie.
    fn decode(&self, chunk: &Chunk<'_>, output: &mut [u8], codecs: &mut Codecs) -> Result<usize, Complaint> {
        let product = |extents: &[usize]| {
            extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
        };
        let counts: Vec<usize> =
            self.shape.iter().zip(&self.tile).map(|(&len, &tile)| len.div_ceil(tile)).collect();
        let tiles = product(&counts).ok_or(BROKEN)?;
        let in_tile = product(&self.tile).ok_or(BROKEN)?;
        // The element's size is that of the array, which a special chunk need not have.
        let element = chunk.total / tiles.checked_mul(in_tile).ok_or(BROKEN)?;
        let total = product(&self.shape).and_then(|count| count.checked_mul(element)).ok_or(BROKEN)?;
        let block = in_tile.checked_mul(element).ok_or(BROKEN)?;
        let is_special = chunk.special.is_some();
        if element == 0
            || tiles.checked_mul(block) != Some(chunk.total)
            || !is_special && chunk.block != block
        {
            return Err(BROKEN.into());
        }
        let output = output
            .get_mut(..total)
            .ok_or("its Blosc2 header says that there is more than there should be")?;
        let band = total / self.shape[0] * self.tile[0];
        let tiles_per_band = tiles / counts[0];
        let bands = Bands { tiles: self, chunk, counts: &counts, element, block, tiles_per_band, next: 0 };
        blocks::decode(bands, output, band, codecs)?;
        Ok(total)
    }
}

/// Tiles that have the same place on the slowest axis, which together are a part of the chunk without gaps.
#[derive(Clone)]
struct Bands<'c> {
    tiles: &'c Tiles,
    chunk: &'c Chunk<'c>,
    /// Number of tiles on each axis.
    counts: &'c [usize],
    /// Bytes of an element, and of a tile.
    element: usize,
    block: usize,
    tiles_per_band: usize,
    /// The number of the next band.
    next: usize,
}

impl Blocks for Bands<'_> {
    fn skip(&mut self, _len: usize) -> Result<(), Complaint> {
        self.next += 1;
        Ok(())
    }

    fn decode(&mut self, target: &mut [u8], codecs: &mut Codecs) -> Result<(), Complaint> {
        let Self { chunk, counts, element, block, tiles_per_band, .. } = *self;
        let Tiles { shape, tile: extents } = self.tiles;
        let first = self.next * tiles_per_band;
        self.next += 1;
        let last = shape.len() - 1;
        // The band's own shape, in which it begins at 0.
        let mut shape = shape.clone();
        shape[0] = target.len() / (shape[1..].iter().product::<usize>() * element);
        let mut bytes = std::mem::take(&mut codecs.work.tile);
        for i in 0..tiles_per_band {
            let tile = bytes.prepare(block)?;
            chunk.block(first + i, tile, codecs)?;
            // Where the tile begins, and how much of it lies within the chunk.
            let mut rest = i;
            let mut origin = vec![0; shape.len()];
            for axis in (1..=last).rev() {
                origin[axis] = rest % counts[axis] * extents[axis];
                rest /= counts[axis];
            }
            let row = extents[last].min(shape[last] - origin[last]) * element;
            'rows: for (j, from) in tile.chunks_exact(extents[last] * element).enumerate() {
                let mut rest = j;
                let (mut to, mut stride) = (origin[last], shape[last]);
                for axis in (0..last).rev() {
                    let position = origin[axis] + rest % extents[axis];
                    rest /= extents[axis];
                    if position >= shape[axis] {
                        continue 'rows;
                    }
                    to += position * stride;
                    stride *= shape[axis];
                }
                target[to * element..][..row].copy_from_slice(&from[..row]);
            }
        }
        codecs.work.tile = bytes;
        Ok(())
    }
}

/// The metalayer that describes the axes (`caterva` is what it was called first), if the frame has one.
fn metalayer(input: &[u8]) -> Result<Option<&[u8]>, Complaint> {
    let mut reader = Reader(input.get(METALAYERS..).ok_or(CUT)?);
    reader.tag(0xff, 0x93)?;
    reader.number()?;
    reader.tag(0xff, 0xde)?;
    let [high, low] = reader.take()?;
    for _ in 0..u16::from_be_bytes([high, low]) {
        let [tag] = reader.take()?;
        let name = reader.bytes(usize::from(tag & 0x1f))?;
        let at = reader.number()?;
        if tag & 0xe0 == 0xa0 && (name == b"b2nd" || name == b"caterva") {
            let mut content = Reader(input.get(at..).ok_or(CUT)?);
            content.tag(0xff, 0xc6)?;
            let len = u32::from_be_bytes(content.take()?) as usize;
            return content.bytes(len).map(Some);
        }
    }
    Ok(None)
}

/// The little of msgpack that frames have (<https://github.com/msgpack/msgpack/blob/master/spec.md>).
struct Reader<'i>(&'i [u8]);

impl<'i> Reader<'i> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Complaint> {
        let (&bytes, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn bytes(&mut self, len: usize) -> Result<&'i [u8], Complaint> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(CUT)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn tag(&mut self, mask: u8, tag: u8) -> Result<(), Complaint> {
        let [found] = self.take()?;
        if found & mask == tag { Ok(()) } else { Err(BROKEN.into()) }
    }

    /// An integer that is not negative.
    fn number(&mut self) -> Result<usize, Complaint> {
        let [tag] = self.take()?;
        let number = match tag {
            0..0x80 => u64::from(tag),
            0xcd => u64::from(u16::from_be_bytes(self.take()?)),
            0xd2 => u64::from(u32::from_be_bytes(self.take()?)),
            0xd3 => u64::from_be_bytes(self.take()?),
            _ => return Err(BROKEN.into()),
        };
        usize::try_from(number).ok().filter(|&number| isize::try_from(number).is_ok()).ok_or(BROKEN.into())
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

    /// Written by hdf5plugin 7.1: `numpy.arange(n, dtype="<u4") // 3` of 100 with LZ4, of 5 x 6 with Zstandard;
    /// and 100 zeros.
    const LZ4: &str = "9ea862326672616d6500d200000061cf0000000000000144a412005103d30000000000000190d3000000000000\
        0098d200000004d200000190d200000190d10000d10001c2d8060000000000010100000000000000000093cd00\
        07de0000dc00000501250490010000900100009800000000000000000101000000000000000000240000006400\
        00000000000101010202020303030404040505050606060707070808080909090a0a0a0b0b0b0c0c0c0d0d0d0e\
        0e0e0f0f0f1010101111111212121313131414141515151616161717171818181919191a1a1a1b1b1b1c1c1c1d\
        1d1d1e1e1e1f1f1f20202021000000000000000000000000050107080800000008000000280000000000000000\
        01000000000000000000000000000000000000940193cd0006de0000dc0000ce00000023d80000000000000000\
        000000000000000000";
    const AXES: &str = "9ea862326672616d6500d2000000a5cf0000000000000146a412005503d30000000000000078d3000000000000\
        0056d200000004d200000078d200000078d10000d10001c2d8060000000000010500000000000000000093cd00\
        11de0001a462326e64d20000006bdc0001c60000003597000292d30000000000000005d3000000000000000692\
        d200000005d20000000692d200000005d20000000600db000000037c5634050195047800000078000000560000\
        0000000000000105000000000000000000240000002e00000028b52ffd20782d0100f800000001010102020203\
        0303040404050505060606070707080808090909000100db049c05010708080000000800000028000000000000\
        000001000000000000000000000000000000000000940193cd0006de0000dc0000ce00000023d8000000000000\
        0000000000000000000000";
    const ZEROS: &str = "9ea862326672616d6500d200000061cf00000000000000aca412005103d30000000000000190d3000000000000\
        0000d200000004d200000190d200000190d10000d10001c2d8060000000000010100000000000000000093cd00\
        07de0000dc00000501070808000000080000002800000000000000000100000000000000000000000000000000\
        0081940193cd0006de0000dc0000ce00000023d80000000000000000000000000000000000";

    fn thirds(count: u32) -> Vec<u8> {
        (0..count).flat_map(|i| (i / 3).to_le_bytes()).collect()
    }

    #[test]
    fn what_hdf5plugin_wrote() {
        assert_eq!(run(&from_hex(LZ4), 400).unwrap(), thirds(100));
        assert_eq!(run(&from_hex(AXES), 120).unwrap(), thirds(30));
        assert_eq!(run(&from_hex(ZEROS), 400).unwrap(), [0; 400]);
        assert_eq!(declared_len(&from_hex(ZEROS)), Some(400));
    }

    #[test]
    fn broken_frames_are_refused() {
        for (stream, len) in [(LZ4, 400), (AXES, 120), (ZEROS, 400)] {
            let stream = from_hex(stream);
            assert!(run(&stream, len - 1).is_err());
            // After the chunks and their index comes a trailer, which does not matter.
            for cut in 0..stream.len() - 35 {
                assert!(run(&stream[..cut], len).is_err(), "{cut}");
            }
            for bit in 0..stream.len() * 8 {
                let mut flipped = stream.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                declared_len(&flipped);
                if let Ok(decoded) = run(&flipped, len) {
                    assert!(decoded.len() <= len);
                }
            }
        }
    }
}
