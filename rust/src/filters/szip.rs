//! Filter 4, szip: extended Rice coding as in CCSDS 121.0-B-3
//! (<https://public.ccsds.org/Pubs/121x0b3.pdf>), with the parameters and the arrangement of samples of
//! szip's own interface (`SZ_BufftoBuffDecompress` in <https://github.com/MathisRosenhauer/libaec>,
//! `src/sz_compat.c`, and `src/decode.c` there).
//!
//! HDF5 puts the decoded length in front (32 bits, little-endian). Samples come in intervals, one for each of
//! szip's scanlines, filled up to whole blocks. Values of 32 and 64 bits are coded as samples of eight, all
//! first bytes first.

use super::{Buffer, Complaint, shuffle};

/// Most bytes that a byte decodes to: 64 blocks of 32 zeros of four bytes take 11 bits.
pub(super) const MOST: usize = 64 * 32 * 4 * 8 / 11 + 1;

const MSB: u32 = 16;
const NEAREST_NEIGHBOUR: u32 = 32;
/// Limits of szip's interface (`SZ_MAX_PIXELS_PER_BLOCK`, `SZ_MAX_PIXELS_PER_SCANLINE`).
const MOST_PER_BLOCK: usize = 32;
const MOST_PER_SCANLINE: usize = 4096;
/// This many blocks of zeros and one stand for all to the end of a segment (CCSDS 121.0-B-3, 3.4.3).
const REST_OF_SEGMENT: usize = 5;
/// Blocks of a segment.
const SEGMENT: usize = 64;
/// Largest code of two samples whose sum is at most twelve.
const MOST_SECOND_EXTENSION: u32 = 90;

const CUT: &str = "its szip stream ends in the middle";

/// The filter's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Szip {
    /// Bits of a coded sample.
    bits: u32,
    /// Bytes of a value whose bytes were coded as samples, one plane after the other; otherwise 1.
    planes: usize,
    /// Samples of a block, and of a scanline.
    block: usize,
    scanline: usize,
    big_endian: bool,
    /// Samples are differences to the one before.
    differences: bool,
}

impl Szip {
    /// From a file's parameters: options, samples of a block, bits of a sample, samples of a scanline.
    pub(super) fn new(values: &[u32]) -> Option<Self> {
        let &[options, block, bits, scanline, ..] = values else { return None };
        let (block, scanline) = (usize::try_from(block).ok()?, usize::try_from(scanline).ok()?);
        let is_possible = (2..=MOST_PER_BLOCK).contains(&block)
            && block.is_multiple_of(2)
            && (1..=MOST_PER_SCANLINE).contains(&scanline);
        let (bits, planes) = match bits {
            32 | 64 => (8, bits as usize / 8),
            1..32 => (bits, 1),
            _ => return None,
        };
        is_possible.then_some(Self {
            bits,
            planes,
            block,
            scanline,
            big_endian: options & MSB != 0,
            differences: options & NEAREST_NEIGHBOUR != 0,
        })
    }

    /// Decodes `input` into `output`; the number of bytes that it came to.
    pub(super) fn decode(
        self,
        input: &[u8],
        output: &mut [u8],
        planes: &mut Buffer,
    ) -> Result<usize, Complaint> {
        let (&total, input) = input.split_first_chunk().ok_or(CUT)?;
        let output = output
            .get_mut(..u32::from_le_bytes(total) as usize)
            .ok_or("its szip header says that there is more than there should be")?;
        if self.planes > 1 {
            let samples = planes.prepare(output.len())?;
            self.samples(input, samples)?;
            shuffle::decode(self.planes, samples, output);
        } else {
            self.samples(input, output)?;
        }
        Ok(output.len())
    }

    /// Fills `output` with samples.
    fn samples(self, input: &[u8], output: &mut [u8]) -> Result<(), Complaint> {
        let mut bits = Bits { input, word: 0, len: 0 };
        let mut interval = vec![0; self.scanline.next_multiple_of(self.block)];
        let size = match self.bits {
            0..=8 => 1,
            9..=16 => 2,
            _ => 4,
        };
        if !output.len().is_multiple_of(size) {
            return Err(format!("{} bytes are no szip samples of {size}", output.len()).into());
        }
        for scanline in output.chunks_mut(self.scanline * size) {
            let count = scanline.len() / size;
            self.interval(&mut bits, &mut interval, count)?;
            let samples = &mut interval[..count];
            if self.differences {
                self.add_up(samples);
            }
            match (size, self.big_endian) {
                (1, _) => put(scanline, samples, |sample| [sample as u8]),
                (2, true) => put(scanline, samples, |sample| (sample as u16).to_be_bytes()),
                (2, false) => put(scanline, samples, |sample| (sample as u16).to_le_bytes()),
                (_, true) => put(scanline, samples, u32::to_be_bytes),
                (_, false) => put(scanline, samples, u32::to_le_bytes),
            }
        }
        Ok(())
    }

    /// Decodes an interval, as far as the block that its first `count` samples end in.
    fn interval(self, bits: &mut Bits, interval: &mut [u32], count: usize) -> Result<(), Complaint> {
        let id_len = match self.bits {
            0..=8 => 3,
            9..=16 => 4,
            _ => 5,
        };
        let uncompressed = (1 << id_len) - 1;
        let blocks = interval.len() / self.block;
        let mut at = 0;
        while at < count {
            let block = at / self.block;
            // The first sample of an interval of differences is the sample itself.
            let reference = usize::from(self.differences && at == 0);
            let id = bits.take(id_len)?;
            let is_second_extension = id == 0 && bits.take(1)? == 1;
            if reference == 1 && id != uncompressed {
                interval[at] = bits.take(self.bits)?;
            }
            let end = if id == 0 && !is_second_extension {
                let zeros = match (bits.zeros()? as usize).saturating_add(1) {
                    REST_OF_SEGMENT => (blocks - block).min(SEGMENT - block % SEGMENT),
                    zeros if zeros > REST_OF_SEGMENT => zeros - 1,
                    zeros => zeros,
                };
                zeros.saturating_mul(self.block).saturating_add(at)
            } else {
                at + self.block
            };
            let first = at + reference;
            let samples = interval
                .get_mut(first..end)
                .ok_or("its szip stream has more zeros than there is room for")?;
            if id == uncompressed {
                for sample in &mut interval[at..end] {
                    *sample = bits.take(self.bits)?;
                }
            } else if is_second_extension {
                second_extension(bits, samples)?;
            } else if id == 0 {
                samples.fill(0);
            } else {
                let low = id - 1;
                for sample in &mut *samples {
                    *sample = bits.zeros()? << low;
                }
                if low > 0 {
                    for sample in samples {
                        *sample = sample.wrapping_add(bits.take(low)?);
                    }
                }
            }
            at = end;
        }
        Ok(())
    }

    /// Puts the difference's sign and its folding at the ends of the range right (CCSDS 121.0-B-3, 4.3).
    fn add_up(self, samples: &mut [u32]) {
        let largest = u32::MAX >> (32 - self.bits);
        let upper_half = largest / 2 + 1;
        let Some((&mut mut last, rest)) = samples.split_first_mut() else { return };
        // Of small numbers, whole planes of bytes.
        if rest.iter().fold(0, |any, sample| any | *sample) == 0 {
            return rest.fill(last);
        }
        for sample in rest {
            let folded = *sample;
            // How far it is to the nearer end.
            let mirror = if last & upper_half == 0 { 0 } else { largest };
            last = if (folded >> 1) + (folded & 1) <= mirror ^ last {
                last.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg())
            } else {
                mirror ^ folded
            };
            *sample = last;
        }
    }
}

/// The length that `input` says it decodes to.
pub(super) fn declared_len(input: &[u8]) -> Option<u64> {
    input.first_chunk().map(|&total| u64::from(u32::from_le_bytes(total)))
}

/// The two samples that each code of two stands for: that of their sum s and the second d is s (s + 1) / 2 + d.
const PAIRS: [[u32; 2]; MOST_SECOND_EXTENSION as usize + 1] = {
    let mut pairs = [[0; 2]; MOST_SECOND_EXTENSION as usize + 1];
    let (mut code, mut sum, mut second) = (0, 0, 0);
    while code < pairs.len() {
        pairs[code] = [sum - second, second];
        (sum, second) = if second == sum { (sum + 1, 0) } else { (sum, second + 1) };
        code += 1;
    }
    pairs
};

/// Two samples from each code. `samples` ends where the block does; of an odd number the first half of the first
/// code is not there.
fn second_extension(bits: &mut Bits, samples: &mut [u32]) -> Result<(), Complaint> {
    let mut pair = || {
        let code = bits.zeros()?;
        if code > MOST_SECOND_EXTENSION {
            return Err(Complaint::from("its szip stream has a code that does not exist"));
        }
        Ok(PAIRS[code as usize])
    };
    let samples = if samples.len().is_multiple_of(2) {
        samples
    } else if let Some((first, samples)) = samples.split_first_mut() {
        [_, *first] = pair()?;
        samples
    } else {
        samples
    };
    for samples in samples.as_chunks_mut().0 {
        *samples = pair()?;
    }
    Ok(())
}

fn put<const N: usize>(output: &mut [u8], samples: &[u32], bytes: impl Fn(u32) -> [u8; N]) {
    for (target, &sample) in output.as_chunks_mut().0.iter_mut().zip(samples) {
        *target = bytes(sample);
    }
}

/// Bits, the highest of each byte first.
struct Bits<'i> {
    input: &'i [u8],
    /// What comes next, from the highest bit; after `len` bits, whatever comes next too, or zeros.
    word: u64,
    len: u32,
}

impl Bits<'_> {
    fn fill(&mut self) {
        if let Some(&next) = self.input.first_chunk() {
            self.word |= u64::from_be_bytes(next) >> self.len;
            let whole = (63 - self.len) / 8;
            self.input = &self.input[whole as usize..];
            self.len += whole * 8;
            return;
        }
        while self.len < 56
            && let Some((&next, rest)) = self.input.split_first()
        {
            self.word |= u64::from(next) << (56 - self.len);
            self.input = rest;
            self.len += 8;
        }
    }

    fn skip(&mut self, count: u32) {
        self.word <<= count;
        self.len -= count;
    }

    /// The next 1 to 32 bits.
    fn take(&mut self, count: u32) -> Result<u32, Complaint> {
        if self.len < count {
            self.fill();
            if self.len < count {
                return Err(CUT.into());
            }
        }
        let value = self.word >> (64 - count);
        self.skip(count);
        Ok(value as u32)
    }

    /// The number of zeros before a one, and past that.
    fn zeros(&mut self) -> Result<u32, Complaint> {
        let mut count = 0u32;
        loop {
            let zeros = self.word.leading_zeros();
            if zeros < self.len {
                self.skip(zeros + 1);
                return Ok(count.wrapping_add(zeros));
            }
            count = count.wrapping_add(self.len);
            self.skip(self.len);
            self.fill();
            if self.len == 0 {
                return Err(CUT.into());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::testing::from_hex;
    use super::*;

    fn run(values: &[u32], input: &[u8], len: usize) -> Result<Vec<u8>, Complaint> {
        let mut output = vec![0; len];
        let szip = Szip::new(values).unwrap();
        let made = szip.decode(input, &mut output, &mut Buffer::default())?;
        output.truncate(made);
        Ok(output)
    }

    /// Written by h5py with libaec: `numpy.arange(50) ** 2 // 9`; the parameters, bytes of a value, the chunk.
    const GOLDEN: &[([u32; 4], usize, &str)] = &[
        (
            [169, 32, 8, 50],
            1,
            "32000000801fffb5555555402145249a618001051492696d5555550001ffffc1c0000404848889f40000000000\
             0000",
        ),
        (
            [141, 4, 16, 50],
            2,
            "640000000c952652af2eaaa812caa49c048655646ba6249015717555dd92a75271e4021c9250620a61558ba893\
             6156be1d7d609c00a00000",
        ),
        (
            [169, 32, 16, 50],
            2,
            "6400000040000fffdaaaaaaaa010a2924d30c000828a493444a49249249249ffff0c000828a493400000000000",
        ),
        (
            [177, 8, 16, 50],
            2,
            "6400000010000d9093555480441a492498022455558a493444a49270c0009092492428a490c107f80000",
        ),
        (
            [169, 8, 32, 50],
            4,
            "c8000000201b212d55520110d24924c011455558a4934894924e1800142492490a2924a0003ffe800000000008\
             bc00020001",
        ),
    ];

    fn squares(options: u32, size: usize) -> Vec<u8> {
        let bytes = |i: u64| {
            let value = i * i / 9;
            let (low, high) = (value.to_le_bytes(), value.to_be_bytes());
            if options & MSB == 0 { low[..size].to_vec() } else { high[8 - size..].to_vec() }
        };
        (0..50).flat_map(bytes).collect()
    }

    #[test]
    fn what_h5py_wrote() {
        for (values, size, stream) in GOLDEN {
            let expected = squares(values[0], *size);
            let stream = from_hex(stream);
            assert_eq!(declared_len(&stream), Some(expected.len() as u64));
            assert_eq!(run(values, &stream, expected.len()).unwrap(), expected, "{values:?}");
        }
    }

    #[test]
    fn runs_of_zeros() {
        // Written by h5py: 5000 zeros of two bytes in intervals of 1024.
        let stream = from_hex("102700000000004010000004010000004010000004010000004010");
        assert_eq!(run(&[169, 8, 16, 1024], &stream, 10_000).unwrap(), [0; 10_000]);
    }

    #[test]
    fn codes_of_two_samples() {
        // All codes, in order: as many zeros, then a one.
        let mut digits = String::new();
        let mut expected = Vec::new();
        for sum in 0..=12 {
            for second in 0..=sum {
                expected.push([sum - second, second]);
                digits.extend(std::iter::repeat_n('0', expected.len() - 1).chain(['1']));
            }
        }
        digits.extend(std::iter::repeat_n('0', 91).chain(['1']));
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(8)
            .map(|bits| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&b'1'))))
            .collect();
        let mut bits = Bits { input: &bytes, word: 0, len: 0 };
        let mut found = vec![0; expected.len() * 2];
        second_extension(&mut bits, &mut found).unwrap();
        assert_eq!(found, expected.as_flattened());
        assert!(second_extension(&mut bits, &mut [0; 2]).is_err(), "code 91");
    }

    #[test]
    fn broken_streams_are_refused() {
        for (values, size, stream) in GOLDEN {
            let (stream, len) = (from_hex(stream), 50 * size);
            assert!(run(values, &stream, len - 1).is_err());
            for cut in 0..stream.len() / 2 {
                assert!(run(values, &stream[..cut], len).is_err(), "{cut}");
            }
            for bit in 0..stream.len() * 8 {
                let mut flipped = stream.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(decoded) = run(values, &flipped, len) {
                    assert!(decoded.len() <= len);
                }
            }
        }
        // Zeros past the end of the interval.
        assert!(run(&[0, 8, 8, 8], &[8, 0, 0, 0, 0x00, 0x20, 0], 8).is_err());
    }

    #[test]
    fn parameters_that_make_no_sense_are_not_known() {
        for values in [&[][..], &[169, 8, 16], &[0, 7, 8, 8], &[0, 64, 8, 64], &[0, 8, 0, 8], &[0, 8, 33, 8]]
        {
            assert_eq!(Szip::new(values), None, "{values:?}");
        }
        assert_eq!(Szip::new(&[0, 8, 8, 0]), None);
        assert_eq!(Szip::new(&[0, 8, 8, 4097]), None);
    }
}
