//! Filters: from the bytes of a chunk in the file back to its values.
//!
//! One module a filter, each with the address of its specification. A filter knows nothing of files or
//! chunks: it turns bytes into bytes and says what is wrong with them in a sentence, to which the caller
//! adds the place.
//!
//! HDF5 applies a dataset's filters in the order of the list when it writes, so reading goes from the
//! last to the first, leaving out those whose bit is set in the chunk's filter mask
//! (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, *Filter Pipeline Message*).

mod bitshuffle;
mod blocks;
mod blosc;
mod blosc2;
mod blosclz;
mod bzip2;
mod deflate;
mod encode;
mod fletcher32;
mod lz4;
mod lzf;
mod matches;
mod shuffle;
mod spare;
mod szip;
mod zstd;

use self::bitshuffle::Bitshuffle;
pub use self::encode::{Compression, Encoder, Encoding};
pub use self::spare::Lent;
pub(crate) use self::spare::hold;
use self::szip::Szip;
use crate::dataset::FilterStep;
use crate::element::ElementType;
use crate::memory::{self, Bytes, NoMemory};
use crate::packed::Packed;

/// Most bytes that a byte decodes to; of the codecs other than bzip2 and Blosc2.
#[cfg(feature = "fuzzing")]
pub(crate) const DENSE: usize = zstd::MOST;

/// What is the matter with some bytes, whoever reads them.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// They cannot be right.
    Damaged(String),
    /// There is no memory for so many.
    OutOfMemory(usize),
}

/// Bytes went through a filter in a way that is not of the direct path. That is no fault: a plugin of libhdf5 may know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Declined {
    /// The filter's number.
    pub filter: u32,
    /// What it did that others of its kind do not; empty if nothing of that filter is known.
    pub what: String,
}

/// Why some bytes were not decoded. The two are types of their own, so that nobody reports as an error what only the direct
/// path cannot read.
#[derive(Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody can decode them.
    Fault(Fault),
    /// Something else than the direct path may decode them.
    Declined(Declined),
}

impl From<Fault> for Complaint {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Declined> for Complaint {
    fn from(declined: Declined) -> Self {
        Self::Declined(declined)
    }
}

impl From<NoMemory> for Fault {
    fn from(NoMemory(bytes): NoMemory) -> Self {
        Self::OutOfMemory(bytes)
    }
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Self::Fault(message.into())
    }
}

impl From<&str> for Complaint {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Damaged(message)
    }
}

/// A filter of the direct path with its parameters understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Deflate,
    Shuffle {
        element: usize,
    },
    Fletcher32,
    Lzf,
    Zstd,
    Lz4,
    Bitshuffle(Bitshuffle),
    Bzip2,
    Blosc,
    Blosc2,
    Szip(Szip),
    /// Not of the direct path, by its number: only chunks that skipped it can be decoded.
    Unknown(u32),
}

impl Filter {
    fn new(step: &FilterStep) -> Self {
        Self::known(step).unwrap_or(Self::Unknown(step.id))
    }

    fn known(step: &FilterStep) -> Option<Self> {
        match step.id {
            1 => Some(Self::Deflate),
            // The first parameter is the element size; set by the library when the dataset was made.
            2 => Some(Self::Shuffle { element: usize::try_from(*step.values.first()?).ok()? }),
            3 => Some(Self::Fletcher32),
            4 => Szip::new(&step.values).map(Self::Szip),
            307 => Some(Self::Bzip2),
            32000 => Some(Self::Lzf),
            blosc::ID => Some(Self::Blosc),
            32004 => Some(Self::Lz4),
            32008 => Bitshuffle::new(&step.values).map(Self::Bitshuffle),
            blosc2::ID => blosc2::is_known(&step.values).then_some(Self::Blosc2),
            32015 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Undoes the filter on what stands in `scratch.current`, which comes to `limit` bytes at most.
    fn undo(self, limit: usize, scratch: &mut Scratch) -> Result<(), Complaint> {
        let Scratch { current, next, codecs } = scratch;
        if self == Self::Deflate {
            current.pad(deflate::INPUT_PADDING)?;
        }
        let input = current.bytes();
        let made = match self {
            Self::Deflate => {
                let output = next.prepare(limit.saturating_add(deflate::OUTPUT_PADDING))?;
                deflate::decode(&mut codecs.inflater, current.padded(), output)?
            }
            Self::Lzf => lzf::decode(input, next.prepare(limit)?)?,
            Self::Lz4 => lz4::decode(input, next.prepare(limit)?, codecs)?,
            Self::Bitshuffle(bitshuffle) => bitshuffle.decode(input, next.prepare(limit)?, codecs)?,
            Self::Blosc => blosc::decode(input, next.prepare(limit)?, codecs)?,
            Self::Szip(szip) => szip.decode(input, next.prepare(limit)?, &mut codecs.work.planes)?,
            Self::Blosc2 => blosc2::decode(input, next.prepare(limit)?, codecs)?,
            Self::Bzip2 => bzip2::decode(input, next.prepare(limit)?)?,
            Self::Zstd => codecs.zstd.decode(input, next.prepare(limit)?)?,
            Self::Shuffle { element } => {
                shuffle::decode(element, input, next.prepare(input.len())?);
                input.len()
            }
            Self::Fletcher32 => {
                let verified = fletcher32::verify(input)?.len();
                current.truncate(verified);
                return Ok(());
            }
            Self::Unknown(filter) => return Err(Declined { filter, what: String::new() }.into()),
        };
        next.truncate(made);
        std::mem::swap(current, next);
        Ok(())
    }

    /// Undoes a filter that is the last to be undone, into the place where the values go. Only of those for which
    /// [`Self::fills`] holds.
    fn undo_into(self, place: &mut [u8], scratch: &mut Scratch) -> Result<(), Complaint> {
        let Scratch { current, codecs, .. } = scratch;
        let made = match self {
            Self::Deflate => {
                current.pad(deflate::INPUT_PADDING)?;
                deflate::decode(&mut codecs.inflater, current.padded(), place)?
            }
            Self::Lzf => lzf::decode(current.bytes(), place)?,
            Self::Lz4 => lz4::decode(current.bytes(), place, codecs)?,
            Self::Zstd => codecs.zstd.decode(current.bytes(), place)?,
            _ => 0,
        };
        if made == place.len() { Ok(()) } else { Err(wrong_length(made, place.len()).into()) }
    }

    /// Whether `len` bytes are decoded as fast into a place that has room for no more than them.
    fn fills(self, len: usize) -> bool {
        match self {
            // See `OUTPUT_PADDING`: the end of a long chunk does not matter.
            Self::Deflate => len >= 1 << 15,
            Self::Lzf | Self::Lz4 | Self::Zstd => true,
            _ => false,
        }
    }

    /// Length after the filter was applied to `input` bytes, where that does not depend on the bytes.
    fn applied_len(self, input: usize) -> Option<usize> {
        match self {
            Self::Shuffle { .. } => Some(input),
            Self::Fletcher32 => input.checked_add(fletcher32::CHECKSUM_BYTES),
            Self::Bitshuffle(bitshuffle) => bitshuffle.keeps_len().then_some(input),
            Self::Deflate
            | Self::Lzf
            | Self::Zstd
            | Self::Lz4
            | Self::Bzip2
            | Self::Blosc
            | Self::Blosc2
            | Self::Szip(_)
            | Self::Unknown(_) => None,
        }
    }

    /// Most bytes that `input` bytes can decode to.
    fn most(self, input: usize) -> usize {
        match self {
            Self::Shuffle { .. } | Self::Fletcher32 => input,
            // 258 bytes from two bits (RFC 1951: a length code and a distance code of one bit each).
            Self::Deflate => input.saturating_mul(258 * 4),
            // 264 bytes from three.
            Self::Lzf => input.saturating_mul(264 / 3),
            Self::Zstd => input.saturating_mul(zstd::MOST),
            Self::Lz4 => input.saturating_mul(lz4::MOST),
            Self::Bitshuffle(bitshuffle) => input.saturating_mul(bitshuffle.most()),
            Self::Blosc => input.saturating_mul(blosc::MOST),
            Self::Szip(_) => input.saturating_mul(szip::MOST),
            Self::Bzip2 => input.saturating_mul(bzip2::MOST),
            Self::Blosc2 => blosc2::MOST,
            Self::Unknown(_) => usize::MAX,
        }
    }

    /// The length that `input` itself says it decodes to, in formats that say so.
    fn declared_len(self, input: &[u8]) -> Option<u64> {
        match self {
            Self::Zstd => zstd::declared_len(input),
            Self::Szip(_) => szip::declared_len(input),
            Self::Blosc2 => blosc2::declared_len(input),
            Self::Blosc => blosc::declared_len(input),
            Self::Lz4 => lz4::declared_len(input),
            Self::Bitshuffle(bitshuffle) => bitshuffle.declared_len(input),
            Self::Deflate
            | Self::Shuffle { .. }
            | Self::Fletcher32
            | Self::Lzf
            | Self::Bzip2
            | Self::Unknown(_) => None,
        }
    }
}

/// The filters of a dataset, in the order in which they were applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    filters: Vec<Filter>,
}

impl Pipeline {
    /// The pipeline of these steps.
    pub fn new(steps: &[FilterStep]) -> Self {
        Self { filters: steps.iter().map(Filter::new).collect() }
    }

    /// Whether all filters are of the direct path.
    pub fn is_known(&self) -> bool {
        !self.filters.iter().any(|filter| matches!(filter, Filter::Unknown(_)))
    }

    /// Checks that `stored` bytes can decode to `len`, before memory is asked for because the file says so.
    ///
    /// # Errors
    /// [`Fault::Damaged`] when they cannot.
    pub fn check_sizes(&self, mask: u32, stored: usize, len: usize) -> Result<(), Fault> {
        let active = self.filters.iter().enumerate().filter(|&(position, _)| !is_skipped(mask, position));
        let most = active.fold(stored, |bytes, (_, filter)| filter.most(bytes));
        if most < len {
            return Err(format!("its {stored} bytes cannot decode to the {len} that there should be").into());
        }
        Ok(())
    }

    /// Decodes what was put into `scratch.input()` to exactly `len` bytes, which are `scratch.filled()` then.
    ///
    /// # Errors
    /// A [`Complaint`] when a checksum or a length is wrong, or a stream is broken.
    pub fn decode(&self, mask: u32, len: usize, scratch: &mut Scratch) -> Result<(), Complaint> {
        self.decode_down_to(0, mask, len, scratch)?;
        Ok(scratch.holds(len)?)
    }

    /// Whether a chunk that skipped the filters in `mask` went through none at all.
    pub fn is_empty(&self, mask: u32) -> bool {
        (0..self.filters.len()).all(|position| is_skipped(mask, position))
    }

    /// Whether [`Self::decode_into`] is a good way to decode `len` bytes.
    pub fn fills(&self, mask: u32, len: usize) -> bool {
        self.first(mask).is_some_and(|(_, filter)| filter.fills(len))
    }

    /// Decodes what was put into `scratch.input()` to `place`, which it fills.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_into(&self, mask: u32, place: &mut [u8], scratch: &mut Scratch) -> Result<(), Complaint> {
        let Some((position, filter)) = self.first(mask).filter(|(_, filter)| filter.fills(place.len()))
        else {
            self.decode(mask, place.len(), scratch)?;
            place.copy_from_slice(scratch.filled());
            return Ok(());
        };
        self.decode_down_to(position + 1, mask, place.len(), scratch)?;
        let declared = filter.declared_len(scratch.current.bytes());
        match declared.filter(|&declared| declared != place.len() as u64) {
            Some(declared) => Err(wrong_length(declared as usize, place.len()).into()),
            None => filter.undo_into(place, scratch),
        }
    }

    /// The filter that a chunk went through first, which is undone last.
    fn first(&self, mask: u32) -> Option<(usize, Filter)> {
        self.filters.iter().copied().enumerate().find(|&(position, _)| !is_skipped(mask, position))
    }

    /// Decodes 64-bit little-endian integers of which a caller wants no more than 32 bits, if they have no more:
    /// whether they stand there as native 32-bit ones now.
    ///
    /// Shuffled integers that are small come with their upper bytes as one long run of zeros, and need not be
    /// put together with those.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_narrow(&self, mask: u32, len: usize, scratch: &mut Scratch) -> Result<bool, Complaint> {
        let shuffled = self.filters.first() == Some(&Filter::Shuffle { element: 8 }) && !is_skipped(mask, 0);
        if !shuffled || !len.is_multiple_of(8) {
            return self.decode(mask, len, scratch).map(|()| false);
        }
        self.decode_down_to(1, mask, len, scratch)?;
        scratch.holds(len)?;
        let Scratch { current, next, .. } = scratch;
        let (low, high) = current.bytes().split_at(len / 2);
        let narrow = is_zero(high);
        if narrow {
            shuffle::decode(4, low, next.prepare(len / 2)?);
        } else {
            shuffle::decode(8, current.bytes(), next.prepare(len)?);
        }
        std::mem::swap(current, next);
        Ok(narrow)
    }

    /// The same as [`Self::decode`], but where the elements of a chunk were shuffled, and have `element` bytes, they
    /// may be left in planes: whether they are.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_to_planes(
        &self,
        mask: u32,
        len: usize,
        element: usize,
        scratch: &mut Scratch,
    ) -> Result<bool, Complaint> {
        let shuffled = self.filters.first() == Some(&Filter::Shuffle { element }) && !is_skipped(mask, 0);
        let planes = shuffled && len.is_multiple_of(element.max(1));
        self.decode_down_to(usize::from(planes), mask, len, scratch)?;
        scratch.holds(len)?;
        Ok(planes)
    }

    /// Undoes all filters from the last to the one at `first`, for a chunk of `len` bytes.
    fn decode_down_to(
        &self,
        first: usize,
        mask: u32,
        len: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Complaint> {
        for (position, &filter) in self.filters.iter().enumerate().skip(first).rev() {
            if is_skipped(mask, position) {
                continue;
            }
            // What the steps before this one made of the chunk is what this one was given.
            let expected = self.filters[..position]
                .iter()
                .enumerate()
                .filter(|&(earlier, _)| !is_skipped(mask, earlier))
                .try_fold(len, |len, (_, earlier)| earlier.applied_len(len));
            // Two compressors in a row: the length between them is not known.
            let (limit, exact) = match expected {
                Some(expected) => (expected, true),
                None => (hardly_more_than(len), false),
            };
            if let Some(declared) = filter.declared_len(scratch.current.bytes()) {
                let declared = usize::try_from(declared).unwrap_or(usize::MAX);
                if declared > limit || exact && declared != limit {
                    return Err(wrong_length(declared, limit).into());
                }
            }
            filter.undo(limit, scratch)?;
            let made = scratch.current.bytes().len();
            if exact && made != limit {
                return Err(wrong_length(made, limit).into());
            }
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Blocks that the compiler compares as vectors.
    bytes.chunks(512).all(|block| block.iter().fold(0, |any, byte| any | byte) == 0)
}

/// Whether the chunk with this filter mask did not go through the filter at this position.
fn is_skipped(mask: u32, position: usize) -> bool {
    position < 32 && mask & (1 << position) != 0
}

fn wrong_length(found: usize, expected: usize) -> Fault {
    format!("{found} bytes where there should be {expected}").into()
}

/// The most that becomes of `len` bytes on their way through a compressor: incompressible bytes grow a little.
fn hardly_more_than(len: usize) -> usize {
    len.saturating_add(len / 8).saturating_add(4096)
}

/// Undoes a single filter of a chunk of `len` bytes, where it is not known how long the filters before it made
/// that; `None` when its bytes are damaged.
pub fn undo(step: &FilterStep, input: &[u8], len: usize) -> Option<Vec<u8>> {
    let filter = Filter::known(step)?;
    let most = filter.most(input.len()).min(hardly_more_than(len));
    let declared = filter.declared_len(input);
    let mut scratch = Scratch::default();
    // libhdf5 calls this, under its lock, which is not held while waiting for others.
    scratch.codecs.alone = true;
    let mut room = match declared {
        Some(declared) => usize::try_from(declared).ok().filter(|&declared| declared <= most)?,
        None => input.len().saturating_mul(8).min(most),
    };
    loop {
        scratch.input(input.len()).ok()?.copy_from_slice(input);
        match filter.undo(room, &mut scratch) {
            Ok(()) => return Some(scratch.filled().to_vec()),
            Err(Complaint::Fault(Fault::Damaged(_))) if declared.is_none() && room < most => {
                room = room.saturating_mul(8).min(most);
            }
            Err(_) => return None,
        }
    }
}

/// Buffers have multiples of these: a little more than was asked for is not a reason to make another one.
const SMALL_STEP: usize = 4 << 10;
const LARGE_STEP: usize = 2 << 20;

/// Bytes that grow and never shrink, so that what was zeroed once is not zeroed again.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Bytes,
    len: usize,
    /// Zeros after the contents.
    padding: usize,
}

impl Buffer {
    /// Room for `len` bytes, whose contents are anything.
    fn prepare(&mut self, len: usize) -> Result<&mut [u8], Fault> {
        if len > self.bytes.len() {
            // Not both at a time.
            self.bytes = Bytes::default();
            self.bytes = Self::allocate(len)?;
        }
        (self.len, self.padding) = (len, 0);
        Ok(&mut self.bytes[..len])
    }

    fn allocate(len: usize) -> Result<Bytes, Fault> {
        memory::check(len)?;
        let step = if len < memory::LARGE { SMALL_STEP } else { LARGE_STEP };
        let rounded = len.checked_next_multiple_of(step).unwrap_or(len);
        Bytes::zeroed(rounded).ok_or(Fault::OutOfMemory(len))
    }

    /// Puts zeros after the contents.
    fn pad(&mut self, padding: usize) -> Result<(), Fault> {
        let end = self.len + padding;
        if end > self.bytes.len() {
            let mut longer = Self::allocate(end)?;
            longer[..self.len].copy_from_slice(self.bytes());
            self.bytes = longer;
        }
        self.bytes[self.len..end].fill(0);
        self.padding = padding;
        Ok(())
    }

    /// The contents and the zeros after them.
    fn padded(&self) -> &[u8] {
        &self.bytes[..self.len + self.padding]
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a worker needs to decode chunks one after another.
#[derive(Default)]
pub struct Scratch {
    current: Buffer,
    next: Buffer,
    codecs: Codecs,
}

/// Decoders that keep tables from one chunk to the next.
struct Codecs {
    inflater: libdeflater::Decompressor,
    zstd: zstd::Decoder,
    work: bitshuffle::Workspace,
    /// No other thread may help to decode a chunk.
    alone: bool,
}

impl Scratch {
    /// Room for a chunk's bytes as the file has them.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`].
    pub fn input(&mut self, len: usize) -> Result<&mut [u8], Fault> {
        // Most are padded next.
        self.current.prepare(len.saturating_add(deflate::INPUT_PADDING))?;
        self.current.prepare(len)
    }

    /// Memory that its buffers take, in bytes.
    fn memory(&self) -> usize {
        let bitshuffle::Workspace { block, planes, tile } = &self.codecs.work;
        [&self.current, &self.next, block, planes, tile].iter().map(|buffer| buffer.bytes.memory()).sum()
    }

    /// Puts something else wherever a chunk left its bytes: what is not written anew does not go unnoticed.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn soil(&mut self) {
        let bitshuffle::Workspace { block, planes, tile } = &mut self.codecs.work;
        for buffer in [&mut self.current, &mut self.next, block, planes, tile] {
            buffer.bytes.fill(0xa5);
        }
    }

    /// What [`Self::input`] was filled with, or what that was decoded to.
    pub fn filled(&self) -> &[u8] {
        self.current.bytes()
    }

    /// Unpacks what it is filled with to elements.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`].
    pub fn unpack(&mut self, packed: Packed, element: ElementType) -> Result<(), Fault> {
        let count = self.current.bytes().len() / packed.size();
        let values = self.next.prepare(count.saturating_mul(element.size()))?;
        packed.unpack(self.current.bytes(), element, values);
        std::mem::swap(&mut self.current, &mut self.next);
        Ok(())
    }

    /// Room for as many packed numbers, as the file has them, and as the elements that they become, which are what it is
    /// filled with.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`].
    pub fn packed_input(
        &mut self,
        count: usize,
        packed: Packed,
        element: ElementType,
    ) -> Result<(&mut [u8], &mut [u8]), Fault> {
        let stored = self.next.prepare(count.saturating_mul(packed.size()))?;
        Ok((stored, self.current.prepare(count.saturating_mul(element.size()))?))
    }

    /// Checks that this is as long as it should be.
    fn holds(&self, len: usize) -> Result<(), Fault> {
        let found = self.current.bytes().len();
        if found == len { Ok(()) } else { Err(wrong_length(found, len)) }
    }

    /// The bytes, to be kept.
    ///
    /// # Errors
    /// [`Fault::OutOfMemory`].
    pub fn take(&mut self) -> Result<Bytes, Fault> {
        let len = self.current.len;
        let spared = self.current.bytes.len() - len;
        if len >= memory::LARGE && spared <= LARGE_STEP.max(len / 8) {
            let mut bytes = std::mem::take(&mut self.current).bytes;
            bytes.truncate(len);
            return Ok(bytes);
        }
        Bytes::copy_of(self.current.bytes()).ok_or(Fault::OutOfMemory(len))
    }
}

impl Default for Codecs {
    fn default() -> Self {
        Self {
            inflater: libdeflater::Decompressor::new(),
            zstd: zstd::Decoder::default(),
            work: bitshuffle::Workspace::default(),
            alone: false,
        }
    }
}

#[cfg(test)]
mod testing {
    use super::Complaint;

    /// What `decode` makes of room for `len` bytes.
    pub(super) fn decoded(
        len: usize,
        decode: impl FnOnce(&mut [u8]) -> Result<usize, Complaint>,
    ) -> Result<Vec<u8>, Complaint> {
        let mut output = vec![0; len];
        let made = decode(&mut output)?;
        output.truncate(made);
        Ok(output)
    }

    /// The bytes that these digits stand for.
    pub(super) fn from_hex(digits: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            digits.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(id: u32, values: &[u32]) -> FilterStep {
        FilterStep { id, name: String::new(), values: values.to_vec() }
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut out = vec![0; compressor.zlib_compress_bound(bytes.len())];
        let len = compressor.zlib_compress(bytes, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn decode(pipeline: &Pipeline, mask: u32, input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        let mut scratch = Scratch::default();
        scratch.input(input.len())?.copy_from_slice(input);
        pipeline.decode(mask, len, &mut scratch)?;
        Ok(scratch.take()?.to_vec())
    }

    #[test]
    fn order_and_mask_are_respected() {
        let values: Vec<u8> = (0..40u8).collect();
        let mut shuffled = vec![0; 40];
        for (i, &byte) in values.iter().enumerate() {
            shuffled[(i % 4) * 10 + i / 4] = byte;
        }
        let pipeline = Pipeline::new(&[step(2, &[4]), step(1, &[6])]);
        assert_eq!(decode(&pipeline, 0, &deflated(&shuffled), 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b01, &deflated(&values), 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b10, &shuffled, 40).unwrap(), values);
        assert_eq!(decode(&pipeline, 0b11, &values, 40).unwrap(), values);
    }

    #[test]
    fn small_integers_are_narrowed() {
        for largest in [1000u64, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let values: Vec<u64> = (0..100).chain([largest]).collect();
            let mut shuffled = vec![0; values.len() * 8];
            for (i, value) in values.iter().enumerate() {
                for (byte, &bits) in value.to_le_bytes().iter().enumerate() {
                    shuffled[byte * values.len() + i] = bits;
                }
            }
            let pipeline = Pipeline::new(&[step(2, &[8]), step(1, &[6])]);
            let mut scratch = Scratch::default();
            let stream = deflated(&shuffled);
            scratch.input(stream.len()).unwrap().copy_from_slice(&stream);
            let wide: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let narrow: Vec<u8> = values.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect();
            let fits = u32::try_from(largest).is_ok();
            assert_eq!(pipeline.decode_narrow(0, wide.len(), &mut scratch), Ok(fits));
            assert_eq!(scratch.filled(), if fits { &narrow } else { &wide });
        }
    }

    #[test]
    fn two_compressors_in_a_row() {
        let values = vec![7u8; 10_000];
        let pipeline = Pipeline::new(&[step(1, &[6]), step(1, &[6])]);
        assert_eq!(decode(&pipeline, 0, &deflated(&deflated(&values)), 10_000).unwrap(), values);
    }

    #[test]
    fn single_filters_are_undone() {
        // Written by liblzf 3.6: lzf_compress(b"a" * 20).
        let lzf = [1, b'a', b'a', 0xe0, 9, 0];
        assert_eq!(undo(&step(32000, &[]), &lzf, 20).unwrap(), [b'a'; 20]);
        assert_eq!(undo(&step(32000, &[]), &lzf, usize::MAX).unwrap(), [b'a'; 20]);
        assert_eq!(undo(&step(32000, &[]), &lzf[..5], usize::MAX), None);
        assert_eq!(undo(&step(32013, &[]), &lzf, 20), None);
        // More than it can be, by the chunk's length, and by what stands in the file.
        let run = [1u8, b'a', b'a'].into_iter().chain([0xe0, 255, 0].repeat(100)).collect::<Vec<_>>();
        assert_eq!(undo(&step(32000, &[]), &run, usize::MAX).unwrap().len(), 2 + 264 * 100);
        assert_eq!(undo(&step(32000, &[]), &run, 100), None);
        let lz4 = [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4];
        assert_eq!(undo(&step(32004, &[]), &lz4, usize::MAX), None);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let pipeline = Pipeline::new(&[step(1, &[6])]);
        let stream = deflated(&[1; 100]);
        assert!(decode(&pipeline, 0, &stream, 99).is_err());
        assert!(decode(&pipeline, 0, &stream, 101).is_err());
        assert!(decode(&pipeline, 0, &stream[..stream.len() - 1], 100).is_err());
        assert!(decode(&pipeline, 0, &[], 100).is_err());
        assert!(decode(&Pipeline::default(), 0, &[1, 2, 3], 4).is_err());
    }

    #[test]
    fn chunks_that_skip_an_unknown_filter_are_decoded() {
        let pipeline = Pipeline::new(&[step(32013, &[]), step(1, &[6])]);
        assert!(!pipeline.is_known());
        assert_eq!(decode(&pipeline, 0b01, &deflated(&[1, 2, 3]), 3).unwrap(), [1, 2, 3]);
        assert_eq!(
            decode(&pipeline, 0, &deflated(&[1, 2, 3]), 3),
            Err(Declined { filter: 32013, what: String::new() }.into())
        );
        assert!(!Pipeline::new(&[step(2, &[])]).is_known(), "shuffle without its element size");
    }
}
