//! What `fuzz/` runs: each target makes what it can of any bytes, and checks what must hold whatever they are.
//!
//! Only with the feature `fuzzing`. Targets return how much they may allocate at once, in bytes; who runs them
//! counts. They panic when something does not hold. `tests/corpus.rs` runs them on the stored corpus.

// A target that cannot even begin is a failure of its own.
#![allow(clippy::expect_used, clippy::panic)]

mod decoders;
mod files;
mod matrix;
mod planner;
mod roundtrip;

pub use files::mutant;

/// A target: from its input to the most bytes that it may allocate at once.
pub type Target = fn(&[u8]) -> usize;

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("bitshuffle", decoders::bitshuffle),
    ("blosc", |data| decoders::single(32001, data)),
    ("blosc2", |data| decoders::single(32026, data)),
    ("bzip2", |data| decoders::single(307, data)),
    ("deflate", |data| decoders::single(1, data)),
    ("file", files::mutated),
    ("fletcher32", |data| decoders::single(3, data)),
    ("heap", decoders::heap),
    ("lz4", |data| decoders::single(32004, data)),
    ("lzf", |data| decoders::single(32000, data)),
    ("matrix", matrix::damaged),
    ("pipeline", decoders::pipeline),
    ("plan", planner::any),
    ("roundtrip", roundtrip::any),
    ("shuffle", decoders::shuffle),
    ("szip", decoders::szip),
    ("zstd", |data| decoders::single(32015, data)),
];

/// Runs the target of this name on `data`; the most bytes that it may allocate at once.
///
/// # Panics
/// When something that must hold does not, or there is no such target.
pub fn run(name: &str, data: &[u8]) -> usize {
    let (_, target) = TARGETS.iter().find(|target| target.0 == name).expect("a target of this name");
    target(data)
}

/// Fuzzed bytes that are taken from the front; after their end, zeros.
struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0))
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn rest(self) -> &'i [u8] {
        self.0
    }
}

/// Numbers at which arithmetic goes wrong.
const BOUNDARIES: [u64; 16] = [
    0,
    1,
    2,
    3,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];
