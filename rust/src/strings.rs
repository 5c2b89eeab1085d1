//! Strings of variable length in memory: few large pieces, and where each string is in them.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use crate::error::{Error, Result};
use crate::memory;

/// The strings that a job wants, in one piece.
#[derive(Debug, Default)]
pub(crate) struct Found {
    bytes: Vec<u8>,
    /// For each its place in the result, and its bytes.
    places: Vec<(usize, Stretch)>,
}

/// Where a string is in its piece.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    begin: u64,
    len: u32,
}

impl Found {
    /// Adds the string that goes to `target`. Those that are empty need not be added.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], also for a string of 4 GiB.
    pub(crate) fn push(&mut self, target: usize, string: &[u8]) -> Result<()> {
        let too_long = |_| Error::OutOfMemory(format!("a string of {} bytes", string.len()));
        let len = u32::try_from(string.len()).map_err(too_long)?;
        let begin = self.bytes.len() as u64;
        memory::append(&mut self.bytes, string)?;
        memory::push(&mut self.places, (target, Stretch { begin, len }))?;
        Ok(())
    }
}

impl Found {
    /// Each with its place in the result.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let bytes = |Stretch { begin, len }: Stretch| &self.bytes[begin as usize..][..len as usize];
        self.places.iter().map(move |&(target, stretch)| (target, bytes(stretch)))
    }
}

/// Strings of variable length.
#[derive(Debug, Default)]
pub struct Strings {
    pieces: Vec<Vec<u8>>,
    /// The piece of each string, and its bytes there.
    places: Vec<(u32, Stretch)>,
}

impl Strings {
    /// Bytes of memory for each string beside its own.
    pub(crate) const PLACE: usize = size_of::<(u32, Stretch)>();

    /// `len` strings, all empty but those that were found.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn new(len: usize, found: impl IntoIterator<Item = Found>) -> Result<Self> {
        let mut places = memory::vec((0, Stretch::default()), len)?;
        let mut pieces = Vec::new();
        for Found { bytes, places: found } in found {
            let piece =
                u32::try_from(pieces.len()).map_err(|_| Error::OutOfMemory("too many strings".into()))?;
            for (target, stretch) in found {
                let place = places.get_mut(target);
                *place.ok_or_else(|| Error::Internal("a string outside of its result".into()))? =
                    (piece, stretch);
            }
            memory::push(&mut pieces, bytes)?;
        }
        Ok(Self { pieces, places })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The bytes of each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.places.iter().map(|&(piece, Stretch { begin, len })| {
            let piece = self.pieces.get(piece as usize).map_or(&[][..], Vec::as_slice);
            &piece[begin as usize..][..len as usize]
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn strings_stand_at_their_places() {
        let (mut first, mut second) = (Found::default(), Found::default());
        first.push(3, b"three").unwrap();
        first.push(0, b"zero").unwrap();
        second.push(1, b"").unwrap();
        second.push(2, b"two").unwrap();
        let strings = Strings::new(5, [first, second]).unwrap();
        assert!(strings.iter().eq([&b"zero"[..], b"", b"two", b"three", b""]));
        assert_eq!((strings.len(), strings.is_empty()), (5, false));
        assert!(Strings::new(0, []).unwrap().is_empty());
        let mut outside = Found::default();
        outside.push(5, b"x").unwrap();
        assert!(Strings::new(5, [outside]).is_err());
    }
}
