//! What is written from: elements that stand in memory as they are, or planes of them.

use super::Kernel;
use crate::planes::Planes;

/// Elements at positions, as the innermost loop of a walk takes them. What positions count is theirs: bytes, or
/// elements.
pub(super) trait From: Copy {
    /// Elements are at positions less than this.
    fn end(&self) -> usize;

    /// Converts `len` elements, `step` positions apart, to consecutive ones.
    ///
    /// # Safety
    /// There must be elements at these positions, and `target` be valid for writing `len` values.
    unsafe fn strided(self, kernel: &Kernel, first: usize, step: usize, target: *mut u8, len: usize);

    /// Converts the elements at `first + (index - base) * stride` to consecutive ones.
    ///
    /// # Safety
    /// As [`Self::strided`].
    unsafe fn gather(
        self,
        kernel: &Kernel,
        first: usize,
        indices: &[u64],
        base: u64,
        stride: usize,
        target: *mut u8,
    );
}

/// Elements in memory; positions are bytes.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    bytes: &'a [u8],
    element: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(bytes: &'a [u8], element: usize) -> Self {
        Self { bytes, element }
    }
}

impl From for Bytes<'_> {
    fn end(&self) -> usize {
        (self.bytes.len() + 1).saturating_sub(self.element)
    }

    unsafe fn strided(self, kernel: &Kernel, first: usize, step: usize, target: *mut u8, len: usize) {
        // SAFETY: the caller vouches for these positions and the target.
        unsafe { kernel.strided(self.bytes.as_ptr().add(first), step, target, len) }
    }

    unsafe fn gather(
        self,
        kernel: &Kernel,
        first: usize,
        indices: &[u64],
        base: u64,
        stride: usize,
        target: *mut u8,
    ) {
        // SAFETY: the caller vouches for these positions and the target.
        unsafe { kernel.gather(self.bytes.as_ptr().add(first), indices, base, stride, target) }
    }
}

/// Bytes of elements that are put together before they are converted.
const ROOM: usize = 2048;

/// Positions are elements. They are put together in the target itself, or where they have to be converted, a
/// few at a time before that.
impl From for Planes<'_> {
    fn end(&self) -> usize {
        self.count()
    }

    unsafe fn strided(self, kernel: &Kernel, first: usize, step: usize, target: *mut u8, len: usize) {
        // SAFETY: passed on.
        unsafe {
            self.in_parts(kernel, target, len, |planes, from, elements| {
                if step == 1 {
                    planes.copy(first + from, elements);
                } else {
                    planes.gather(&(from..len).map(|i| first + i * step), elements);
                }
            });
        }
    }

    unsafe fn gather(
        self,
        kernel: &Kernel,
        first: usize,
        indices: &[u64],
        base: u64,
        stride: usize,
        target: *mut u8,
    ) {
        // SAFETY: passed on.
        unsafe {
            self.in_parts(kernel, target, indices.len(), |planes, from, elements| {
                let positions = indices[from..].iter().map(|&index| first + (index - base) as usize * stride);
                planes.gather(&positions, elements);
            });
        }
    }
}

impl Planes<'_> {
    /// Has `put` put `len` elements together, as many at a time as it gets room for, from the one whose number it
    /// gets on. Where the kernel does nothing but swap bytes, so do the planes.
    ///
    /// # Safety
    /// `target` must be valid for writing `len` values.
    #[inline]
    unsafe fn in_parts(
        self,
        kernel: &Kernel,
        target: *mut u8,
        len: usize,
        put: impl Fn(&Self, usize, &mut [u8]),
    ) {
        let element = self.element();
        if kernel.is_plain() || kernel.swaps() {
            // SAFETY: the caller vouches for the target, where values are as large as here.
            let elements = unsafe { std::slice::from_raw_parts_mut(target, len * element) };
            return put(&if kernel.swaps() { self.swapped() } else { self }, 0, elements);
        }
        let mut room = [0u8; ROOM];
        for from in (0..len).step_by(ROOM / element) {
            let part = (len - from).min(ROOM / element);
            put(&self, from, &mut room[..part * element]);
            // SAFETY: so many elements were just put together, and the caller vouches for the target.
            unsafe {
                kernel.strided(room.as_ptr(), element, target.add(from * kernel.target_size()), part);
            }
        }
    }
}
