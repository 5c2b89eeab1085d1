//! A deflate encoder that knows planes (RFC 1950 and 1951).
//!
//! The byte planes of a shuffled chunk have little in common, and a zlib stream may change its kind of block between them. Of
//! each plane the encoder looks at how often its bytes occur and how they repeat, and writes it as it stands, or with a
//! Huffman code for bytes and for runs of one byte (matches at distance 1). That takes a fraction of the time of a search for
//! matches, and less to decode. Where a search would find much more, which a sample tells, libdeflate compresses the chunk.

use libdeflater::{CompressionLvl, Compressor};

use super::huffman::{Bits, Header, LONGEST, Lengths, code_lengths, codes};
use crate::memory::{self, NoMemory};

/// Symbols of literals and lengths.
const SYMBOLS: usize = 286;

/// The symbol at the end of a block.
const END: usize = 256;

/// Longest match.
const LONGEST_MATCH: usize = 258;

/// Maximum bytes of a block that is stored.
const MOST_STORED: usize = 65_535;

/// A plane is cut into blocks of so many bytes, each with a code of its own: values differ along a long chunk.
const BLOCK: usize = 128 << 10;

/// A block that would save less than one part in so many is stored: it is decoded as fast as it is copied.
const WORTHWHILE: u64 = 32;

/// Bytes of a sample of which libdeflate tells what a search for matches finds, and the part of a plane that it is.
const SAMPLE: usize = 4096;
const SAMPLED: usize = 16;

/// Where runs are shorter than so many bytes on average, there are no matches: the code of the bytes alone is about as short,
/// and is made and read without a look at each run.
const SHORT_RUNS: usize = 4;

/// Maximum length of a code of bytes, in bits, so that four fit between two looks at the room.
const LONGEST_LITERAL: usize = 12;

/// A token: a literal, or the length of a run behind one.
const IS_RUN: u16 = 1 << 15;

/// What a worker keeps from one chunk to the next.
#[derive(Default)]
pub(super) struct Workspace {
    tokens: Vec<u16>,
    compressor: Option<(u32, Compressor)>,
    /// A quick one, for samples.
    prober: Option<Compressor>,
}

/// Bytes that a stream of `len` bytes takes at most.
pub(super) fn most(len: usize) -> usize {
    // Stored blocks; zlib's header and checksum; room for the last bits of a block.
    let stored = len + (len / BLOCK.min(MOST_STORED) + len / BLOCK + 64) * 8;
    stored + len / 8
}

/// Encodes `planes` planes of equal length at a level from 0 to 9, as a zlib stream; its length. Bytes that do not fill planes
/// stand at the end.
pub(super) fn encode(
    input: &[u8],
    planes: usize,
    level: u32,
    work: &mut Workspace,
    output: &mut [u8],
) -> Result<Option<usize>, NoMemory> {
    if level == 9 || (level > 0 && a_search_finds_more(input, planes, level, work)?) {
        return Ok(search(input, level, work, output));
    }
    let mut bits = Bits::new(output);
    bits.bytes(&[0x78, 0x5e]);
    let length = (input.len() / planes.max(1)).max(1);
    for plane in input.chunks(length) {
        for block in plane.chunks(BLOCK) {
            write(block, level, work, &mut bits)?;
        }
    }
    // An empty block is the last one.
    bits.put(1, 1);
    bits.put(1, 2);
    bits.put(0, 7);
    bits.bytes(&libdeflater::adler32(input).to_be_bytes());
    Ok(bits.finish())
}

/// Has libdeflate compress it all.
fn search(input: &[u8], level: u32, work: &mut Workspace, output: &mut [u8]) -> Option<usize> {
    if work.compressor.as_ref().is_none_or(|&(of, _)| of != level) {
        let known = CompressionLvl::new(level as i32).unwrap_or_default();
        work.compressor = Some((level, Compressor::new(known)));
    }
    let (_, compressor) = work.compressor.as_mut()?;
    compressor.zlib_compress(input, output).ok()
}

/// Whether a search for matches makes so much less of samples of the planes that it is worth its time: a tenth less at low
/// levels, less than that at higher ones.
fn a_search_finds_more(
    input: &[u8],
    planes: usize,
    level: u32,
    work: &mut Workspace,
) -> Result<bool, NoMemory> {
    let length = (input.len() / planes.max(1)).max(1);
    let (mut ours, mut theirs) = (0u64, 0u64);
    let mut room = [0u8; SAMPLE + 512];
    for plane in input.chunks(length) {
        let count = (plane.len() / (SAMPLE * SAMPLED)).max(1);
        for number in 0..count {
            let begin = plane.len() * (2 * number + 1) / (2 * count);
            let begin = begin.saturating_sub(SAMPLE / 2);
            let sample = &plane[begin..plane.len().min(begin + SAMPLE)];
            if sample.iter().all(|&byte| byte == sample[0]) {
                continue;
            }
            // Without the header of the code, which is a large part of a block as short as this.
            let code = Code::new(&look(sample, work)?);
            ours += code.bits.min(8 * sample.len() as u64);
            let prober = work
                .prober
                .get_or_insert_with(|| Compressor::new(CompressionLvl::new(4).unwrap_or_default()));
            let found = prober.deflate_compress(sample, &mut room).unwrap_or(sample.len()) as u64;
            theirs += (8 * found).saturating_sub(code.header.len());
        }
    }
    let weight = match level {
        1..=3 => 85,
        4 | 5 => 90,
        _ => 96,
    };
    Ok(theirs * 100 < ours * weight)
}

/// Writes a block in the way that takes the fewest bits, or as it stands where none takes many fewer.
fn write(block: &[u8], level: u32, work: &mut Workspace, bits: &mut Bits<'_>) -> Result<(), NoMemory> {
    if level > 0 {
        let looked = look(block, work)?;
        let code = Code::new(&looked);
        let raw = 8 * block.len() as u64;
        if code.bits + code.header.len() + raw / WORTHWHILE < raw {
            code.write(block, looked.tokens.map(|count| &work.tokens[..count]), bits);
            return Ok(());
        }
    }
    for part in block.chunks(MOST_STORED) {
        bits.put(0, 3);
        bits.align();
        let len = part.len() as u16;
        bits.bytes(&len.to_le_bytes());
        bits.bytes(&(!len).to_le_bytes());
        bits.bytes(part);
    }
    Ok(())
}

/// How often literals and lengths occur.
type Counts = [u32; SYMBOLS];

/// What a block is made of.
struct Looked {
    counts: Counts,
    /// How many tokens there are; `None` where every byte is a literal.
    tokens: Option<usize>,
    /// Maximum length of a code.
    most: usize,
}

/// Looks at bytes: how often each symbol occurs, and whether runs of a byte are worth being matches. If they are, tokens are
/// made: a run becomes a match where that takes fewer bits than its bytes would by themselves.
fn look(bytes: &[u8], work: &mut Workspace) -> Result<Looked, NoMemory> {
    let mut counts: Counts = [0; SYMBOLS];
    counts[END] = 1;
    let runs = 1 + bytes
        .iter()
        .zip(bytes.get(1..).unwrap_or_default())
        .filter(|(left, right)| left != right)
        .count();
    let mut histogram = [0u32; 256];
    if runs * SHORT_RUNS > bytes.len() {
        // Four tables: the same byte again need not wait for itself.
        let mut tables = [[0u32; 256]; 4];
        for four in bytes.chunks(4) {
            for (table, &byte) in tables.iter_mut().zip(four) {
                table[usize::from(byte)] += 1;
            }
        }
        for (byte, count) in counts[..END].iter_mut().enumerate() {
            *count = tables.iter().map(|table| table[byte]).sum();
        }
        return Ok(Looked { counts, tokens: None, most: LONGEST_LITERAL });
    }
    if runs * 8 > bytes.len() {
        for &byte in bytes {
            histogram[usize::from(byte)] += 1;
        }
    }
    let least = least_runs(&histogram, bytes.len());
    if work.tokens.len() < bytes.len() {
        work.tokens = memory::zeros(bytes.len())?;
    }
    let tokens = work.tokens.as_mut_slice();
    let mut number = 0;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let run = run_length(&bytes[at..], byte);
        at += run;
        let (first, mut rest) =
            if run > usize::from(least[usize::from(byte)]) { (1, run - 1) } else { (run, 0) };
        tokens[number..number + first].fill(u16::from(byte));
        number += first;
        while rest >= 3 {
            // What is left should not be too short for a match.
            let len = if matches!(rest, 259 | 260) { rest - 3 } else { rest.min(LONGEST_MATCH) };
            counts[length_symbol(len).0] += 1;
            tokens[number] = IS_RUN | len as u16;
            number += 1;
            rest -= len;
        }
        tokens[number..number + rest].fill(u16::from(byte));
        number += rest;
        counts[usize::from(byte)] += (first + rest) as u32;
    }
    Ok(Looked { counts, tokens: Some(number), most: LONGEST })
}

/// How many times the byte stands at the beginning.
#[inline(always)]
fn run_length(bytes: &[u8], byte: u8) -> usize {
    let mut len = bytes.iter().take(16).take_while(|&&other| other == byte).count();
    if len < 16 {
        return len;
    }
    let words = u64::from_ne_bytes([byte; 8]);
    while let Some(word) = bytes.get(len..).and_then(|rest| rest.first_chunk::<8>()) {
        if u64::from_ne_bytes(*word) != words {
            break;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|&&other| other == byte).count()
}

/// For each byte, the longest run that takes fewer bits as literals than as a literal and a match.
fn least_runs(histogram: &[u32; 256], len: usize) -> [u16; 256] {
    // Where runs are what it is made of, how often a byte stands in them says nothing of what it would cost.
    let mut least = [3u16; 256];
    for (least, &count) in least.iter_mut().zip(histogram).filter(|(_, count)| **count > 0) {
        let bits = (len as f32 / count as f32).log2().max(0.6);
        *least = (1.0 + MATCH_BITS / bits).clamp(3.0, 64.0) as u16;
    }
    least
}

/// About the bits that a short match is worth: fewer than it takes (a length that is not rare, and the one bit of the distance),
/// since a match is decoded in the time of one literal.
const MATCH_BITS: f32 = 3.0;

/// Symbol of a length, number of the bits behind it, and their value.
#[inline(always)]
fn length_symbol(len: usize) -> (usize, u32, u64) {
    if len == LONGEST_MATCH {
        return (285, 0, 0);
    }
    let above = len - 3;
    if above < 8 {
        return (257 + above, 0, 0);
    }
    // Four symbols for each power of two (RFC 1951, 3.2.5).
    let extra = above.ilog2() - 2;
    let symbol = 257 + 4 * extra as usize + (above >> extra);
    (symbol, extra, (above & ((1 << extra) - 1)) as u64)
}

/// A Huffman code of a block, in which every match is at distance 1.
struct Code {
    lengths: Lengths,
    header: Header,
    /// What the tokens take.
    bits: u64,
}

impl Code {
    fn new(looked: &Looked) -> Self {
        let counts = &looked.counts;
        let mut lengths = code_lengths(counts, looked.most);
        if counts.iter().filter(|&&count| count > 0).count() == 1 {
            // An empty block has no other symbol than its end; no reader takes such a code.
            lengths[0] = 1;
        }
        let has_runs = counts[END + 1..].iter().any(|&count| count > 0);
        let header = Header::new(&lengths[..SYMBOLS], &[u8::from(has_runs)]);
        let bits = counts.iter().zip(&lengths).enumerate().map(|(symbol, (&count, &length))| {
            let behind = if symbol > END { 1 + extra_bits(symbol) } else { 0 };
            u64::from(count) * (u64::from(length) + u64::from(behind))
        });
        Self { bits: 3 + bits.sum::<u64>(), lengths, header }
    }

    fn write(&self, bytes: &[u8], tokens: Option<&[u16]>, bits: &mut Bits<'_>) {
        let codes = codes(&self.lengths[..SYMBOLS]);
        bits.put(0, 1);
        bits.put(2, 2);
        self.header.write(bits);
        let code = |symbol: usize| (u64::from(codes[symbol]), u32::from(self.lengths[symbol]));
        match tokens {
            None => {
                let mut table = [(0, 0); 256];
                for (byte, entry) in table.iter_mut().enumerate() {
                    *entry = (codes[byte], self.lengths[byte]);
                }
                bits.put_all(bytes, &table);
            }
            Some(tokens) => {
                for &token in tokens {
                    if token & IS_RUN == 0 {
                        let (bits_of, count) = code(usize::from(token));
                        bits.put(bits_of, count);
                    } else {
                        let (symbol, extra, value) = length_symbol(usize::from(token & !IS_RUN));
                        let (bits_of, count) = code(symbol);
                        // The one code of distances is 0.
                        bits.put(bits_of | value << count, count + extra + 1);
                    }
                }
            }
        }
        let (bits_of, count) = code(END);
        bits.put(bits_of, count);
    }
}

/// Bits behind the symbol of a length.
fn extra_bits(symbol: usize) -> u32 {
    match symbol {
        265..=284 => (symbol as u32 - 261) / 4,
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(input: &[u8], planes: usize, level: u32) -> usize {
        let mut output = vec![0; most(input.len())];
        let len = encode(input, planes, level, &mut Workspace::default(), &mut output).unwrap().unwrap();
        let mut decoded = vec![0; input.len() + 300];
        let made = libdeflater::Decompressor::new().zlib_decompress(&output[..len], &mut decoded).unwrap();
        assert_eq!(&decoded[..made], input);
        len
    }

    /// RFC 1951, 3.2.5: the first length of each symbol.
    const FIRST: [usize; 29] = [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163,
        195, 227, 258,
    ];

    #[test]
    fn symbols_of_lengths_are_those_of_the_specification() {
        for len in 3..=LONGEST_MATCH {
            let (symbol, extra, value) = length_symbol(len);
            assert_eq!(FIRST[symbol - 257] + value as usize, len);
            assert_eq!(extra_bits(symbol), extra);
            assert!(value < 1 << extra || value == 0);
        }
    }

    #[test]
    fn streams_are_decoded() {
        for level in 0..=9 {
            for len in [0, 1, 2, 3, 255, 258, 259, 260, 261, 262, 65_535, 65_536, 300_000] {
                round_trip(&vec![7; len], 1, level);
                round_trip(&(0..len).map(|i| (i / 300) as u8).collect::<Vec<_>>(), 4, level);
                let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 13) as u8;
                round_trip(&(0..len).map(noise).collect::<Vec<_>>(), 2, level);
                // Few ones among zeros, as counts have them.
                round_trip(&(0..len).map(|i| u8::from(noise(i) > 200)).collect::<Vec<_>>(), 3, level);
            }
        }
    }

    #[test]
    fn planes_are_as_small_as_they_can_be() {
        let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 13) as u8;
        let zeros = vec![0; 100_000];
        assert!(round_trip(&zeros, 1, 4) < 200);
        // One of nine is 1, so that each takes 0.5 bits; a Huffman code has one at least.
        let rare: Vec<u8> = (0..100_000).map(|i| u8::from(noise(i) > 227)).collect();
        assert!(round_trip(&rare, 1, 4) < 100_000 / 8 + 200);
        // What repeats itself at a distance is left to the search.
        let again: Vec<u8> = (0..100_000).map(|i| noise(i % 1000)).collect();
        assert!(round_trip(&again, 1, 4) < 5_000);
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(
            parts in prop::collection::vec((any::<u8>(), 0u8..4, 1usize..700), 0..200),
            planes in 1usize..9,
            level in 0u32..=9,
        ) {
            let mut input = Vec::new();
            for (byte, kind, len) in parts {
                match kind {
                    0 => input.extend(std::iter::repeat_n(byte, len)),
                    1 => input.extend((0..len).map(|i| byte ^ ((i as u32).wrapping_mul(2_654_435_761) >> 13) as u8)),
                    2 => input.extend((0..len).map(|i| byte & (i as u8 >> 3))),
                    _ => input.push(byte),
                }
            }
            round_trip(&input, planes, level);
        }
    }
}
