//! What others encode, what the definitions say, and what the engine encodes itself, comes out as it was.

use super::Input;
use super::decoders::decode;
use crate::filters::{Compression, Encoder, Encoding};

/// The codec, the element size and a parameter, then the values.
pub(super) fn any(data: &[u8]) -> usize {
    let mut input = Input(data);
    let (codec, element, parameter) = (input.u8() % 17, usize::from(input.u8() % 17).max(1), input.u8());
    let plain = &input.0[..input.0.len().min(1 << 16)];
    let (filters, chunk) = encode(codec, element, parameter, plain);
    let (decoded, most) = decode(&filters, 0, plain.len(), &chunk);
    assert!(decoded.as_deref() == Some(plain), "codec {codec} with elements of {element}, {parameter}");
    most
}

type Encoded = (Vec<(u32, Vec<u32>)>, Vec<u8>);

fn encode(codec: u8, element: usize, parameter: u8, plain: &[u8]) -> Encoded {
    let one = |filter, chunk| (vec![(filter, Vec::new())], chunk);
    let size = element as u32;
    match codec {
        0 => one(1, deflate(plain)),
        1 => one(32015, zstd(plain)),
        2 => {
            let block = (usize::from(parameter) * 16).max(1);
            let mut chunk = [&(plain.len() as u64).to_be_bytes()[..], &(block as u32).to_be_bytes()].concat();
            plain.chunks(block).for_each(|block| sized(&mut chunk, &shorter(block, lz4(block)), true));
            one(32004, chunk)
        }
        3 => one(307, bzip2(plain)),
        4 => (vec![(2, vec![size])], shuffle(element, plain)),
        5 => one(3, fletcher32(plain)),
        6..=8 => bitshuffle([0, 2, 3][usize::from(codec) - 6], element, parameter, plain),
        9 => {
            let filters = vec![(2, vec![size]), (1, Vec::new()), (3, Vec::new())];
            (filters, fletcher32(&deflate(&shuffle(element, plain))))
        }
        10 => (vec![(2, vec![8]), (32015, Vec::new())], zstd(&shuffle(8, plain))),
        11 => one(32001, blosc(element, parameter, plain)),
        _ => ours(OURS[usize::from(codec) - 12], element, parameter, plain),
    }
}

/// What the engine has encoders of.
const OURS: [&str; 5] = ["gzip", "zstd", "lz4", "blosc", "blosc-zstd"];

fn ours(codec: &str, element: usize, parameter: u8, plain: &[u8]) -> Encoded {
    // Whole elements only, as chunks have them.
    let element = if plain.len().is_multiple_of(element) { element } else { 1 };
    let level = u32::from(parameter % 10);
    let compression = Compression {
        codec: Some(codec.to_owned()),
        level: Some(if codec == "zstd" { level.max(1) } else { level }),
        shuffle: parameter < 128,
    };
    let encoding = Encoding::new(&compression, element, plain.len()).expect("a level that there is");
    let mut encoder = Encoder::default();
    // What a chunk before it left behind does not matter.
    let before = vec![parameter; plain.len() + element];
    encoding.encode(&before, &mut encoder).expect("memory for a small chunk");
    let (mask, chunk) = encoding.encode(plain, &mut encoder).expect("memory for a small chunk");
    assert_eq!(mask, 0);
    (encoding.steps().iter().map(|step| (step.id, step.values.clone())).collect(), chunk.to_vec())
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut chunk = vec![0; compressor.zlib_compress_bound(plain.len())];
    let made = compressor.zlib_compress(plain, &mut chunk).expect("room for the worst case");
    chunk.truncate(made);
    chunk
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0; zstd_safe::compress_bound(plain.len())];
    let made = zstd_safe::compress(&mut chunk[..], plain, 3).expect("room for the worst case");
    chunk.truncate(made);
    chunk
}

fn lz4(plain: &[u8]) -> Vec<u8> {
    lz4::block::compress(plain, None, false).expect("memory for a small block")
}

fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut compressor = bzip2::Compress::new(bzip2::Compression::fast(), 0);
    let mut chunk = Vec::with_capacity(plain.len() + plain.len() / 100 + 600);
    let status = compressor.compress_vec(plain, &mut chunk, bzip2::Action::Finish);
    assert!(matches!(status, Ok(bzip2::Status::StreamEnd)));
    chunk
}

fn snappy(plain: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(plain).expect("few bytes")
}

/// What is not shorter than the values is stored as they are.
fn shorter(plain: &[u8], chunk: Vec<u8>) -> Vec<u8> {
    if chunk.len() < plain.len() { chunk } else { plain.to_vec() }
}

/// Appends a stream behind its length.
fn sized(chunk: &mut Vec<u8>, stream: &[u8], is_big_endian: bool) {
    let len = stream.len() as u32;
    chunk.extend(if is_big_endian { len.to_be_bytes() } else { len.to_le_bytes() });
    chunk.extend(stream);
}

/// All first bytes of the elements, then all second bytes, ...
fn shuffle(element: usize, plain: &[u8]) -> Vec<u8> {
    let count = plain.len() / element;
    let mut chunk = plain.to_vec();
    for (i, &byte) in plain.iter().enumerate().take(count * element) {
        chunk[i % element * count + i / element] = byte;
    }
    chunk
}

/// All first bits of the elements, then all second bits, ...; the number of elements is a multiple of eight.
fn transpose(element: usize, plain: &[u8]) -> Vec<u8> {
    let count = plain.len() / element;
    let mut chunk = vec![0; plain.len()];
    for (i, &byte) in plain.iter().enumerate() {
        for bit in 0..8 {
            let row = i % element * 8 + bit;
            let position = row * count + i / element;
            chunk[position / 8] |= (byte >> bit & 1) << (position % 8);
        }
    }
    chunk
}

/// The sums of Fletcher's checksum modulo 65535 over big-endian words, an odd last byte being a high one.
fn fletcher32(plain: &[u8]) -> Vec<u8> {
    // Of 0 and 65535, which are the same, only a sum of nothing is 0.
    let add = |sum: u32, more: u32| if sum + more > 65535 { sum + more - 65535 } else { sum + more };
    let (mut first, mut second) = (0, 0);
    for word in plain.chunks(2) {
        first = add(first, u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)));
        second = add(second, first);
    }
    [plain, &(second << 16 | first).to_le_bytes()].concat()
}

fn bitshuffle(codec: u32, element: usize, parameter: u8, plain: &[u8]) -> Encoded {
    // Whole elements only; the rest is cut off by giving them one byte each.
    let element = if plain.len().is_multiple_of(element) { element } else { 1 };
    let block = usize::from(parameter % 32 + 1) * 8;
    let mut chunk = Vec::new();
    if codec != 0 {
        chunk.extend((plain.len() as u64).to_be_bytes());
        chunk.extend(((block * element) as u32).to_be_bytes());
    }
    for block in plain.chunks(block * element) {
        let (whole, left_over) = block.split_at(block.len() / (8 * element) * (8 * element));
        let transposed = transpose(element, whole);
        match codec {
            _ if whole.is_empty() => {}
            0 => chunk.extend(transposed),
            2 => sized(&mut chunk, &lz4(&transposed), true),
            _ => sized(&mut chunk, &zstd(&transposed), true),
        }
        chunk.extend(left_over);
    }
    (vec![(32008, vec![0, 4, element as u32, block as u32, codec])], chunk)
}

fn blosc(element: usize, parameter: u8, plain: &[u8]) -> Vec<u8> {
    let (codec, order) = (parameter % 4 + 1, parameter >> 2 & 3);
    let block = element * 8 * [1, 3, 16, 40][usize::from(parameter >> 4 & 3)];
    let is_split = parameter & 0x40 != 0;
    let flags = codec << 5 | [0, 1, 4, 0][usize::from(order)] | if is_split { 0 } else { 0x10 };
    let blocks: Vec<&[u8]> = plain.chunks(block).collect();
    let mut chunk = vec![2, 1, flags, element as u8];
    chunk.extend((plain.len() as u32).to_le_bytes());
    chunk.extend((block as u32).to_le_bytes());
    chunk.extend([0; 4]);
    let starts = chunk.len();
    chunk.resize(starts + 4 * blocks.len(), 0);
    for (i, plain) in blocks.into_iter().enumerate() {
        let start = chunk.len() as u32;
        chunk[starts + 4 * i..][..4].copy_from_slice(&start.to_le_bytes());
        let ordered = match order {
            1 if element > 1 => shuffle(element, plain),
            2 if plain.len() >= element && (plain.len() / element).is_multiple_of(8) => {
                let (whole, left_over) = plain.split_at(plain.len() / element * element);
                [&transpose(element, whole), left_over].concat()
            }
            _ => plain.to_vec(),
        };
        let splits = if is_split && plain.len() == block && element <= 16 && block / element >= 128 {
            element
        } else {
            1
        };
        for part in ordered.chunks(ordered.len() / splits) {
            let stream = match codec {
                1 => lz4(part),
                2 => snappy(part),
                3 => deflate(part),
                _ => zstd(part),
            };
            sized(&mut chunk, &shorter(part, stream), false);
        }
    }
    let stored = chunk.len() as u32;
    chunk[12..16].copy_from_slice(&stored.to_le_bytes());
    chunk
}
