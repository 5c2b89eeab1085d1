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
mod complaint;
mod deflate;
mod encode;
mod filter;
mod fletcher32;
mod lz4;
mod lzf;
mod matches;
mod pipeline;
mod scratch;
mod shuffle;
mod spare;
mod szip;
mod zstd;

pub use self::complaint::{Complaint, Declined, Fault};
pub use self::encode::{Compression, Encoder, Encoding};
pub use self::filter::undo;
pub use self::pipeline::Pipeline;
pub use self::scratch::Scratch;
use self::scratch::{Buffer, Codecs};
pub use self::spare::Lent;
pub(crate) use self::spare::hold;

/// Most bytes that a byte decodes to; of the codecs other than bzip2 and Blosc2.
#[cfg(feature = "fuzzing")]
pub(crate) const DENSE: usize = zstd::MOST;

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
