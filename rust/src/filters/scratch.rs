//! The memory that decoding takes, kept from one chunk to the next.

use super::complaint::wrong_length;
use super::{Fault, bitshuffle, deflate, zstd};
use crate::element::ElementType;
use crate::memory::{self, Bytes};
use crate::packed::Packed;

/// Buffers have multiples of these: a little more than was asked for is not a reason to make another one.
const SMALL_STEP: usize = 4 << 10;
const LARGE_STEP: usize = 2 << 20;

/// Bytes that grow and never shrink, so that what was zeroed once is not zeroed again.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Bytes,
    len: usize,
    /// Zeros after the contents.
    padding: usize,
}

impl Buffer {
    /// Room for `len` bytes, whose contents are anything.
    pub(super) fn prepare(&mut self, len: usize) -> Result<&mut [u8], Fault> {
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
    pub(super) fn pad(&mut self, padding: usize) -> Result<(), Fault> {
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
    pub(super) fn padded(&self) -> &[u8] {
        &self.bytes[..self.len + self.padding]
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What a worker needs to decode chunks one after another.
#[derive(Default)]
pub struct Scratch {
    pub(super) current: Buffer,
    pub(super) next: Buffer,
    pub(super) codecs: Codecs,
}

/// Decoders that keep tables from one chunk to the next.
pub(super) struct Codecs {
    pub(super) inflater: libdeflater::Decompressor,
    pub(super) zstd: zstd::Decoder,
    pub(super) work: bitshuffle::Workspace,
    /// No other thread may help to decode a chunk.
    pub(super) alone: bool,
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
    pub(super) fn memory(&self) -> usize {
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
    pub(super) fn holds(&self, len: usize) -> Result<(), Fault> {
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
