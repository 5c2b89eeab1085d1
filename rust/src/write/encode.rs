//! The filters of a dataset that is written.

use libdeflater::{CompressionLvl, Compressor};

use crate::dataset::FilterStep;
use crate::error::{Error, Result};
use crate::memory;

/// What chunks are compressed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// The codec, by the name that `compression=` has for it; `None` for none.
    pub codec: Option<String>,
    /// How hard it tries; `None` for what is usual.
    pub level: Option<u32>,
    /// Whether the bytes of the elements are taken apart first, all first ones, all second ones, ...
    pub shuffle: bool,
}

/// The filters that the chunks of a dataset go through.
#[derive(Debug)]
pub(super) struct Encoding {
    steps: Vec<FilterStep>,
    element: usize,
    level: Option<CompressionLvl>,
    shuffle: bool,
}

impl Encoding {
    /// # Errors
    /// [`Error::Structure`] for a codec or a level that there is not.
    pub(super) fn new(compression: &Compression, element: usize) -> Result<Self> {
        let step = |id, values: Vec<u32>| FilterStep { id, name: String::new(), values };
        let shuffle = compression.shuffle && compression.codec.is_some() && element > 1;
        let mut steps = Vec::new();
        if shuffle {
            steps.push(step(2, vec![element as u32]));
        }
        let level =
            match compression.codec.as_deref() {
                None => None,
                Some("gzip") => {
                    let level = compression.level.unwrap_or(4);
                    steps.push(step(1, vec![level]));
                    let known = CompressionLvl::new(i32::try_from(level).unwrap_or(i32::MAX)).ok();
                    Some(known.filter(|_| level <= 9).ok_or_else(|| {
                        Error::Structure(format!("level {level} of gzip; there are 0 to 9"))
                    })?)
                }
                Some(codec) => {
                    return Err(Error::Structure(format!("compression '{codec}'; there is 'gzip'")));
                }
            };
        Ok(Self { steps, element, level, shuffle })
    }

    pub(super) fn steps(&self) -> &[FilterStep] {
        &self.steps
    }

    /// The filter mask of a chunk of these values, and its bytes as the file has them.
    pub(super) fn encode<'a>(&self, raw: &'a [u8], scratch: &'a mut Encoder) -> Result<(u32, &'a [u8])> {
        let Some(level) = self.level else { return Ok((0, raw)) };
        let Encoder { shuffled, encoded, compressor } = scratch;
        let input = if self.shuffle {
            if shuffled.len() < raw.len() {
                *shuffled = memory::zeros(raw.len())?;
            }
            let count = raw.len() / self.element;
            for (i, value) in raw.chunks_exact(self.element).enumerate() {
                for (byte, &bits) in value.iter().enumerate() {
                    shuffled[byte * count + i] = bits;
                }
            }
            &shuffled[..raw.len()]
        } else {
            raw
        };
        let compressor = compressor.get_or_insert_with(|| Compressor::new(level));
        let most = compressor.zlib_compress_bound(input.len());
        if encoded.len() < most {
            *encoded = memory::zeros(most)?;
        }
        let len = compressor
            .zlib_compress(input, encoded)
            .map_err(|error| Error::Internal(format!("deflate of {} bytes: {error}", input.len())))?;
        Ok((0, &encoded[..len]))
    }
}

/// What a worker needs to encode chunks one after another.
#[derive(Default)]
pub(super) struct Encoder {
    shuffled: Vec<u8>,
    encoded: Vec<u8>,
    compressor: Option<Compressor>,
}
