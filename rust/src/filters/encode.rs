//! From the values of a chunk to its bytes in the file.

use super::{blosc, deflate, lz4, shuffle, zstd};
use crate::dataset::FilterStep;
use crate::error::{Error, Result};
use crate::memory;

/// What chunks are compressed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The codec, by its name in Python; `None` for none.
    pub codec: Option<String>,
    /// How hard it tries; `None` for what is usual.
    pub level: Option<u32>,
    /// Whether the bytes of the elements are taken apart first, all first ones, all second ones, ...
    pub shuffle: bool,
}

/// The codecs of which there is an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    /// Filter 1, which everything that reads HDF5 can read.
    Deflate,
    /// Filter 32015, a plugin.
    Zstd,
    /// Filter 32004, a plugin.
    Lz4,
    /// Filter 32001, a plugin, with one of its codecs.
    Blosc(blosc::Codec),
}

impl Codec {
    const ALL: [Self; 5] = [
        Self::Deflate,
        Self::Zstd,
        Self::Lz4,
        Self::Blosc(blosc::Codec::Lz4),
        Self::Blosc(blosc::Codec::Zstd),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Deflate => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Blosc(blosc::Codec::Zstd) => "blosc-zstd",
            Self::Blosc(_) => "blosc",
        }
    }

    /// Levels, and the one that is usual.
    fn levels(self) -> (std::ops::RangeInclusive<u32>, u32) {
        match self {
            Self::Deflate => (0..=9, 4),
            Self::Zstd => (zstd::LEVELS, 3),
            Self::Lz4 => (lz4::LEVELS, 0),
            // Zstandard's 3, which is the usual one of Zstandard itself.
            Self::Blosc(blosc::Codec::Zstd) => (blosc::LEVELS, 2),
            Self::Blosc(_) => (blosc::LEVELS, 5),
        }
    }

    fn most_encoded(self, len: usize) -> usize {
        match self {
            Self::Deflate => deflate::most_encoded(len),
            Self::Zstd => zstd::most_encoded(len),
            Self::Lz4 => lz4::most_encoded(len),
            Self::Blosc(_) => blosc::most_encoded(len),
        }
    }
}

/// The filters that the chunks of a dataset go through when they are written.
#[derive(Debug)]
pub struct Encoding {
    steps: Vec<FilterStep>,
    element: usize,
    shuffle: bool,
    codec: Option<(Codec, u32)>,
}

impl Encoding {
    /// For elements and chunks of so many bytes.
    ///
    /// # Errors
    /// [`Error::Structure`] for a codec or a level that there is not, or a chunk that is too long for the codec.
    pub fn new(compression: &Compression, element: usize, chunk: usize) -> Result<Self> {
        let codec = match compression.codec.as_deref() {
            None => None,
            Some(name) => {
                let codec = Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or_else(|| {
                    let known = Codec::ALL.map(|codec| format!("'{}'", codec.name())).join(", ");
                    Error::Structure(format!("compression '{name}'; there are {known}"))
                })?;
                let (levels, usual) = codec.levels();
                let level = compression.level.unwrap_or(usual);
                if !levels.contains(&level) {
                    let (least, most) = (levels.start(), levels.end());
                    return Err(Error::Structure(format!(
                        "level {level} of {name}; there are {least} to {most}"
                    )));
                }
                Some((codec, level))
            }
        };
        let shuffle = compression.shuffle && codec.is_some() && element > 1;
        let mut this = Self { steps: Vec::new(), element, shuffle, codec };
        // Blosc shuffles by itself, block by block.
        if shuffle && !matches!(codec, Some((Codec::Blosc(_), _))) {
            this.push(2, vec![element as u32]);
        }
        match codec {
            None => {}
            Some((Codec::Deflate, level)) => this.push(1, vec![level]),
            Some((Codec::Zstd, level)) => this.push(32015, vec![level]),
            // The size of blocks; as large as a chunk.
            Some((Codec::Lz4, _)) => this.push(32004, vec![0]),
            Some((Codec::Blosc(_), _)) if chunk > blosc::MOST_RAW => {
                return Err(Error::Structure(format!(
                    "chunks of {chunk} bytes; Blosc has {} at most: choose smaller chunks or another compression",
                    blosc::MOST_RAW
                )));
            }
            Some((Codec::Blosc(codec), level)) => {
                this.push(blosc::ID, this.blosc(codec, level).values(chunk));
            }
        }
        Ok(this)
    }

    fn push(&mut self, id: u32, values: Vec<u32>) {
        self.steps.push(FilterStep { id, name: String::new(), values });
    }

    fn blosc(&self, codec: blosc::Codec, level: u32) -> blosc::Settings {
        blosc::Settings { codec, level, shuffle: self.shuffle, element: self.element }
    }

    /// The pipeline, as the dataset has it.
    pub fn steps(&self) -> &[FilterStep] {
        &self.steps
    }

    /// The filter mask of a chunk of these values, and its bytes as the file has them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn encode<'a>(&self, raw: &'a [u8], scratch: &'a mut Encoder) -> Result<(u32, &'a [u8])> {
        let Some((codec, level)) = self.codec else { return Ok((0, raw)) };
        let Encoder { shuffled, encoded, deflate, zstd } = scratch;
        let most = codec.most_encoded(raw.len());
        if encoded.len() < most {
            *encoded = memory::zeros(most)?;
        }
        let len = if let Codec::Blosc(codec) = codec {
            self.blosc(codec, level).encode(raw, shuffled, zstd, encoded)?
        } else {
            let (input, planes) = if self.shuffle {
                if shuffled.len() < raw.len() {
                    *shuffled = memory::zeros(raw.len())?;
                }
                let shuffled = &mut shuffled[..raw.len()];
                shuffle::encode(self.element, raw, shuffled);
                (&*shuffled, self.element)
            } else {
                (raw, 1)
            };
            match codec {
                Codec::Deflate => deflate.encode(input, planes, level, encoded)?,
                Codec::Zstd => zstd.encode(input, level, encoded)?,
                _ => lz4::encode(input, level, encoded),
            }
        };
        let len = len.ok_or_else(|| {
            Error::Internal(format!("{} bytes did not fit into {most} by {}", raw.len(), codec.name()))
        })?;
        Ok((0, &encoded[..len]))
    }
}

/// What a worker needs to encode chunks one after another.
#[derive(Default)]
pub struct Encoder {
    shuffled: Vec<u8>,
    encoded: Vec<u8>,
    deflate: deflate::Encoder,
    zstd: zstd::Encoder,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Pipeline, Scratch};
    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            values in prop::collection::vec(prop_oneof![4 => Just(0u64), 2 => 0u64..4, 1 => any::<u64>()], 0..3000),
            element in prop::sample::select(vec![1usize, 2, 3, 4, 8, 16, 300]),
            times in prop::sample::select(vec![1usize, 1, 1, 40]),
            codec in prop::sample::select(vec![None, Some("gzip"), Some("zstd"), Some("lz4"), Some("blosc"), Some("blosc-zstd")]),
            level in 0u32..=9,
            shuffle in any::<bool>(),
        ) {
            let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            // Repeated, so that there are several blocks.
            let raw = raw.repeat(times);
            let raw = &raw[..raw.len() / element * element];
            let level = if codec == Some("zstd") { level.max(1) } else { level };
            let compression = Compression { codec: codec.map(str::to_owned), level: Some(level), shuffle };
            let encoding = Encoding::new(&compression, element, raw.len()).unwrap();
            let mut encoder = Encoder::default();
            // A longer one before it leaves nothing behind.
            encoding.encode(&vec![0xa5; raw.len() + 100 * element], &mut encoder).unwrap();
            let (mask, encoded) = encoding.encode(raw, &mut encoder).unwrap();
            let mut scratch = Scratch::default();
            scratch.input(encoded.len()).unwrap().copy_from_slice(encoded);
            Pipeline::new(encoding.steps()).decode(mask, raw.len(), &mut scratch).unwrap();
            prop_assert_eq!(scratch.filled(), raw);
        }
    }

    #[test]
    fn other_codecs_and_levels_are_refused() {
        for (codec, level) in [
            ("bzip2", None),
            ("gzip", Some(10)),
            ("zstd", Some(0)),
            ("zstd", Some(20)),
            ("lz4", Some(13)),
            ("blosc", Some(10)),
        ] {
            let compression = Compression { codec: Some(codec.into()), level, shuffle: true };
            assert!(
                matches!(Encoding::new(&compression, 4, 400), Err(Error::Structure(_))),
                "{codec} {level:?}"
            );
        }
        let blosc = Compression { codec: Some("blosc".into()), level: None, shuffle: true };
        assert!(Encoding::new(&blosc, 4, blosc::MOST_RAW).is_ok());
        assert!(matches!(Encoding::new(&blosc, 4, blosc::MOST_RAW + 1), Err(Error::Structure(_))));
    }
}
