//! Kernels: copy a run of values, converting each from one element type to another as numpy's `astype` does.
//!
//! Integers wrap, and floats round to nearest. Where C leaves a conversion undefined (a float that is NaN
//! or does not fit the integer), the result is what numpy gives on x86-64, on every machine: NaN and
//! what does not fit become the most negative 32- or 64-bit integer, whose low bits narrower types keep.

// Conversions are exact or meant: comparing floats for equality and casting with `as` is what this is about.
#![allow(clippy::float_cmp, clippy::cast_lossless)]

use half::f16;

use crate::element::{ElementType, Kind, Padding};
use crate::error::{Error, Result};

/// Copies from `source`, elements `step` bytes apart, to `len` consecutive elements of `target`.
type Strided = unsafe fn(source: *const u8, step: usize, target: *mut u8, len: usize);
/// Copies from `source`, elements at `(index - base) * stride` bytes, to consecutive elements of `target`.
type Gather = unsafe fn(source: *const u8, indices: &[u64], base: u64, stride: usize, target: *mut u8);

/// Moves values of one element type to another.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    loops: Loops,
    /// Elements are copied as they are, so consecutive ones are one copy.
    plain: bool,
    /// Elements are copied with their bytes in the other order.
    swaps: bool,
    source_size: usize,
    target_size: usize,
}

/// The innermost loops of a kernel.
#[derive(Debug, Clone, Copy)]
enum Loops {
    Values {
        strided: Strided,
        gather: Gather,
    },
    /// Strings of as many bytes, which come out padded with NULs.
    Text(Padding),
}

impl Kernel {
    /// The kernel from one type to another.
    ///
    /// # Errors
    /// [`Error::ElementType`] when there is none: complex numbers and strings are only copied.
    pub fn new(source: ElementType, target: ElementType) -> Result<Self> {
        let none = || Error::ElementType(format!("no conversion from dtype '{source}' to '{target}'"));
        let swapped = source.is_native() != target.is_native();
        let same_size = source.size() == target.size();
        let mut swaps = false;
        let (loops, plain) = match (source.kind(), target.kind()) {
            (Kind::Text(padding), Kind::Text(Padding::Null)) if same_size => {
                (Loops::Text(padding), padding == Padding::Null)
            }
            (Kind::Complex, Kind::Complex) if same_size => {
                let (strided, gather) = match source.size() {
                    8 => between::<Pair<u32>, Pair<u32>>(swapped, false),
                    _ => between::<Pair<u64>, Pair<u64>>(swapped, false),
                };
                (Loops::Values { strided, gather }, !swapped)
            }
            // Integers of as many bits wrap to those with the same ones.
            _ if source.is_integer() && target.is_integer() && same_size => {
                swaps = swapped;
                let (strided, gather) = moves(source.size(), swapped);
                (Loops::Values { strided, gather }, !swapped)
            }
            // A boolean is made 0 or 1 even when it stays one: the file may hold any byte.
            (from, to) if from == to && same_size && from != Kind::Bool && source.is_real() => {
                swaps = swapped;
                let (strided, gather) = moves(source.size(), swapped);
                (Loops::Values { strided, gather }, !swapped)
            }
            _ => {
                let (strided, gather) = casts(source, target).ok_or_else(none)?;
                (Loops::Values { strided, gather }, false)
            }
        };
        Ok(Self { loops, plain, swaps, source_size: source.size(), target_size: target.size() })
    }

    /// Bytes of a value to convert.
    pub fn source_size(&self) -> usize {
        self.source_size
    }

    /// Bytes of a converted value.
    pub fn target_size(&self) -> usize {
        self.target_size
    }

    /// Whether elements are copied with their bytes in the other order, and nothing else.
    pub(super) fn swaps(&self) -> bool {
        self.swaps
    }

    /// Whether elements are copied as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Converts all of `source` into `target`, however many values there are in the shorter.
    pub fn convert(&self, source: &[u8], target: &mut [u8]) {
        let len = (source.len() / self.source_size).min(target.len() / self.target_size);
        // SAFETY: both slices hold at least `len` elements.
        unsafe { self.strided(source.as_ptr(), self.source_size, target.as_mut_ptr(), len) }
    }

    /// # Safety
    /// `source` must be valid for reading `len` values `step` bytes apart, `target` for writing `len` values.
    pub(super) unsafe fn strided(&self, source: *const u8, step: usize, target: *mut u8, len: usize) {
        if self.plain && step == self.source_size {
            // SAFETY: the caller vouches for both; they are different buffers.
            unsafe { std::ptr::copy_nonoverlapping(source, target, len * self.source_size) }
            return;
        }
        match self.loops {
            // SAFETY: the caller vouches for both.
            Loops::Values { strided, .. } => unsafe { strided(source, step, target, len) },
            Loops::Text(padding) => {
                for i in 0..len {
                    // SAFETY: the caller vouches for `len` values of both, of as many bytes.
                    unsafe {
                        text(
                            padding,
                            source.add(i * step),
                            target.add(i * self.target_size),
                            self.target_size,
                        );
                    }
                }
            }
        }
    }

    /// # Safety
    /// `source` must be valid for reading a value at each `(index - base) * stride`, no index may be below
    /// `base`, and `target` must be valid for writing as many values as there are indices.
    pub(super) unsafe fn gather(
        &self,
        source: *const u8,
        indices: &[u64],
        base: u64,
        stride: usize,
        target: *mut u8,
    ) {
        match self.loops {
            // SAFETY: the caller vouches for it.
            Loops::Values { gather, .. } => unsafe { gather(source, indices, base, stride, target) },
            Loops::Text(padding) => {
                for (i, &index) in indices.iter().enumerate() {
                    // SAFETY: the caller vouches for a value at each index, and for as many in the target.
                    unsafe {
                        let from = source.add((index - base) as usize * stride);
                        text(padding, from, target.add(i * self.target_size), self.target_size);
                    }
                }
            }
        }
    }
}

/// Copies a string of `len` bytes and pads it with NULs.
///
/// # Safety
/// `source` must be valid for reading and `target` for writing `len` bytes.
unsafe fn text(padding: Padding, source: *const u8, target: *mut u8, len: usize) {
    // SAFETY: the caller vouches for both.
    let string = unsafe { std::slice::from_raw_parts(source, len) };
    let kept = match padding {
        Padding::Null => len,
        Padding::NullTerminated => string.iter().position(|&byte| byte == 0).unwrap_or(len),
        Padding::Space => string.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1),
    };
    // SAFETY: the caller vouches for both; they are different buffers.
    unsafe {
        std::ptr::copy_nonoverlapping(source, target, kept);
        target.add(kept).write_bytes(0, len - kept);
    }
}

/// Kernels that only move bytes.
fn moves(size: usize, swapped: bool) -> (Strided, Gather) {
    match size {
        2 => between::<u16, u16>(swapped, false),
        4 => between::<u32, u32>(swapped, false),
        8 => between::<u64, u64>(swapped, false),
        _ => between::<u8, u8>(false, false),
    }
}

/// A value as its bytes, in this machine's order or the other.
trait Raw: Copy {
    type Bits: Copy;
    fn from_bits(bits: Self::Bits, swapped: bool) -> Self;
    fn to_bits(self, swapped: bool) -> Self::Bits;
}

macro_rules! raw_integer {
    ($($t:ty),*) => {$(
        impl Raw for $t {
            type Bits = $t;
            #[inline(always)]
            fn from_bits(bits: $t, swapped: bool) -> $t {
                if swapped { bits.swap_bytes() } else { bits }
            }
            #[inline(always)]
            fn to_bits(self, swapped: bool) -> $t {
                if swapped { self.swap_bytes() } else { self }
            }
        }
    )*};
}
raw_integer!(i8, u8, i16, u16, i32, u32, i64, u64);

macro_rules! raw_float {
    ($($t:ty: $bits:ty),*) => {$(
        impl Raw for $t {
            type Bits = $bits;
            #[inline(always)]
            fn from_bits(bits: $bits, swapped: bool) -> $t {
                <$t>::from_bits(if swapped { bits.swap_bytes() } else { bits })
            }
            #[inline(always)]
            fn to_bits(self, swapped: bool) -> $bits {
                let bits = <$t>::to_bits(self);
                if swapped { bits.swap_bytes() } else { bits }
            }
        }
    )*};
}
raw_float!(f16: u16, f32: u32, f64: u64);

/// A boolean byte: false when zero.
#[derive(Clone, Copy)]
struct Bool(bool);

impl Raw for Bool {
    type Bits = u8;
    #[inline(always)]
    fn from_bits(bits: u8, _swapped: bool) -> Self {
        Self(bits != 0)
    }
    #[inline(always)]
    fn to_bits(self, _swapped: bool) -> u8 {
        u8::from(self.0)
    }
}

/// Real and imaginary part of a complex number.
#[derive(Clone, Copy)]
struct Pair<T>([T; 2]);

impl<T: Raw> Raw for Pair<T> {
    type Bits = [T::Bits; 2];
    #[inline(always)]
    fn from_bits(bits: Self::Bits, swapped: bool) -> Self {
        Self(bits.map(|part| T::from_bits(part, swapped)))
    }
    #[inline(always)]
    fn to_bits(self, swapped: bool) -> Self::Bits {
        self.0.map(|part| part.to_bits(swapped))
    }
}

impl<T> Cast<Self> for Pair<T> {
    #[inline(always)]
    fn cast(self) -> Self {
        self
    }
}

/// numpy's conversion of one value.
trait Cast<T> {
    fn cast(self) -> T;
}

macro_rules! cast_with_as {
    ($($from:ty => $($to:ty),*;)*) => {$($(
        impl Cast<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                self as $to
            }
        }
    )*)*};
}
cast_with_as! {
    i8 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    u8 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    i16 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    u16 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    i32 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    u32 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    i64 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    u64 => i8, u8, i16, u16, i32, u32, i64, u64, f32, f64;
    f32 => f32, f64;
    f64 => f32, f64;
}

/// `cvttsd2si` with a 32-bit register: the most negative integer for all that does not fit.
#[inline(always)]
fn to_i32(value: f64) -> i32 {
    if value > -2_147_483_649.0 && value < 2_147_483_648.0 { value as i32 } else { i32::MIN }
}

/// `cvttsd2si` with a 64-bit register.
#[inline(always)]
fn to_i64(value: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value) {
        value as i64
    } else {
        i64::MIN
    }
}

/// What compilers make of a conversion to u64 there: values from 2^63 on are moved down and back.
#[inline(always)]
fn to_u64(value: f64) -> u64 {
    const TOP: f64 = 9_223_372_036_854_775_808.0;
    if value >= TOP { to_i64(value - TOP) as u64 ^ (1 << 63) } else { to_i64(value) as u64 }
}

macro_rules! cast_from_float {
    ($($from:ty),*) => {$(
        cast_from_float!(@ $from: i8 to_i32, u8 to_i32, i16 to_i32, u16 to_i32, i32 to_i32, u32 to_i64, i64 to_i64, u64 to_u64);
    )*};
    (@ $from:ty: $($to:ident $through:ident),*) => {$(
        impl Cast<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to {
                $through(f64::from(self)) as $to
            }
        }
    )*};
}
cast_from_float!(f16, f32, f64);

macro_rules! cast_to_half {
    ($($from:ty),*) => {$(
        impl Cast<f16> for $from {
            #[inline(always)]
            fn cast(self) -> f16 {
                // numpy too goes through a float.
                f16::from_f32(self as f32)
            }
        }
    )*};
}
cast_to_half!(i8, u8, i16, u16, i32, u32, i64, u64, f32);

impl Cast<f16> for f64 {
    #[inline(always)]
    fn cast(self) -> f16 {
        // Rounding to float and then to half would round twice. Rounding to odd first does not: the
        // float keeps, in its last bit, that something was lost.
        let near = self as f32;
        let back = f64::from(near);
        if back == self || self.is_nan() {
            return f16::from_f32(near);
        }
        let bits = near.to_bits();
        let toward_zero = if back.abs() > self.abs() { bits - 1 } else { bits };
        f16::from_f32(f32::from_bits(toward_zero | 1))
    }
}

impl Cast<f16> for f16 {
    #[inline(always)]
    fn cast(self) -> f16 {
        self
    }
}

macro_rules! cast_half_to_float {
    ($($to:ty),*) => {$(
        impl Cast<$to> for f16 {
            #[inline(always)]
            fn cast(self) -> $to {
                <$to>::from(self)
            }
        }
    )*};
}
cast_half_to_float!(f32, f64);

macro_rules! cast_bool {
    ($($t:ty),*) => {$(
        impl Cast<$t> for Bool {
            #[inline(always)]
            fn cast(self) -> $t {
                <$t as Cast<$t>>::cast(if self.0 { 1 as $t } else { 0 as $t })
            }
        }
        impl Cast<Bool> for $t {
            #[inline(always)]
            fn cast(self) -> Bool {
                Bool(self != 0 as $t)
            }
        }
    )*};
}
cast_bool!(i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);

impl Cast<f16> for Bool {
    #[inline(always)]
    fn cast(self) -> f16 {
        if self.0 { f16::ONE } else { f16::ZERO }
    }
}

impl Cast<Self> for Bool {
    #[inline(always)]
    fn cast(self) -> Self {
        self
    }
}

impl Cast<Bool> for f16 {
    #[inline(always)]
    fn cast(self) -> Bool {
        Bool(self != Self::ZERO)
    }
}

/// The kernels from `S` to `D`, each in this machine's byte order or the other.
fn between<S: Raw + Cast<D>, D: Raw>(swap_source: bool, swap_target: bool) -> (Strided, Gather) {
    match (swap_source, swap_target) {
        (false, false) => (strided::<S, D, false, false>, gather::<S, D, false, false>),
        (true, false) => (strided::<S, D, true, false>, gather::<S, D, true, false>),
        (false, true) => (strided::<S, D, false, true>, gather::<S, D, false, true>),
        (true, true) => (strided::<S, D, true, true>, gather::<S, D, true, true>),
    }
}

/// # Safety
/// `source` must be valid for reading an `S`, `target` for writing a `D`.
#[inline(always)]
unsafe fn one<S: Raw + Cast<D>, D: Raw, const FROM: bool, const TO: bool>(
    source: *const u8,
    target: *mut u8,
) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let value: D = S::from_bits(source.cast::<S::Bits>().read_unaligned(), FROM).cast();
        target.cast::<D::Bits>().write_unaligned(value.to_bits(TO));
    }
}

/// # Safety
/// As [`Strided`] says.
unsafe fn strided<S: Raw + Cast<D>, D: Raw, const FROM: bool, const TO: bool>(
    source: *const u8,
    step: usize,
    target: *mut u8,
    len: usize,
) {
    let (from, to) = (size_of::<S::Bits>(), size_of::<D::Bits>());
    // A loop of its own for consecutive values, which the compiler turns into vector instructions.
    if step == from {
        for i in 0..len {
            // SAFETY: the caller vouches for `len` values of both.
            unsafe { one::<S, D, FROM, TO>(source.add(i * from), target.add(i * to)) }
        }
    } else {
        for i in 0..len {
            // SAFETY: the caller vouches for `len` values of both.
            unsafe { one::<S, D, FROM, TO>(source.add(i * step), target.add(i * to)) }
        }
    }
}

/// # Safety
/// As [`Gather`] says.
unsafe fn gather<S: Raw + Cast<D>, D: Raw, const FROM: bool, const TO: bool>(
    source: *const u8,
    indices: &[u64],
    base: u64,
    stride: usize,
    target: *mut u8,
) {
    for (i, &index) in indices.iter().enumerate() {
        // SAFETY: the caller vouches for a value at each index, and for as many in the target.
        unsafe {
            one::<S, D, FROM, TO>(
                source.add((index - base) as usize * stride),
                target.add(i * size_of::<D::Bits>()),
            );
        }
    }
}

/// Kernels that convert between real numbers.
fn casts(source: ElementType, target: ElementType) -> Option<(Strided, Gather)> {
    let orders = (!source.is_native(), !target.is_native());
    macro_rules! to {
        ($from:ty) => {
            match (target.kind(), target.size()) {
                (Kind::Bool, _) => between::<$from, Bool>(orders.0, orders.1),
                (Kind::Int, 1) => between::<$from, i8>(orders.0, orders.1),
                (Kind::Int, 2) => between::<$from, i16>(orders.0, orders.1),
                (Kind::Int, 4) => between::<$from, i32>(orders.0, orders.1),
                (Kind::Int, _) => between::<$from, i64>(orders.0, orders.1),
                (Kind::UInt, 1) => between::<$from, u8>(orders.0, orders.1),
                (Kind::UInt, 2) => between::<$from, u16>(orders.0, orders.1),
                (Kind::UInt, 4) => between::<$from, u32>(orders.0, orders.1),
                (Kind::UInt, _) => between::<$from, u64>(orders.0, orders.1),
                (Kind::Float, 2) => between::<$from, f16>(orders.0, orders.1),
                (Kind::Float, 4) => between::<$from, f32>(orders.0, orders.1),
                (Kind::Float, _) => between::<$from, f64>(orders.0, orders.1),
                (Kind::Complex | Kind::Text(_) | Kind::String, _) => return None,
            }
        };
    }
    Some(match (source.kind(), source.size()) {
        (Kind::Bool, _) => to!(Bool),
        (Kind::Int, 1) => to!(i8),
        (Kind::Int, 2) => to!(i16),
        (Kind::Int, 4) => to!(i32),
        (Kind::Int, _) => to!(i64),
        (Kind::UInt, 1) => to!(u8),
        (Kind::UInt, 2) => to!(u16),
        (Kind::UInt, 4) => to!(u32),
        (Kind::UInt, _) => to!(u64),
        (Kind::Float, 2) => to!(f16),
        (Kind::Float, 4) => to!(f32),
        (Kind::Float, _) => to!(f64),
        (Kind::Complex | Kind::Text(_) | Kind::String, _) => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn convert(from: &str, to: &str, bytes: &[u8]) -> Vec<u8> {
        let kernel =
            Kernel::new(ElementType::from_numpy(from).unwrap(), ElementType::from_numpy(to).unwrap())
                .unwrap();
        let mut target = vec![0; bytes.len() / kernel.source_size() * kernel.target_size()];
        kernel.convert(bytes, &mut target);
        target
    }

    #[test]
    fn integers_wrap_and_swap() {
        assert_eq!(convert("<i4", "|u1", &(-1i32).to_le_bytes()), [255]);
        assert_eq!(convert(">i4", "<i8", &(-2i32).to_be_bytes()), (-2i64).to_le_bytes());
        assert_eq!(convert("<u8", ">u2", &0x1_0203u64.to_le_bytes()), [2, 3]);
        assert_eq!(convert(">u4", "<u4", &[1, 2, 3, 4]), [4, 3, 2, 1]);
    }

    #[test]
    fn floats_that_do_not_fit_follow_numpy() {
        let f = |value: f64, to: &str| convert("<f8", to, &value.to_le_bytes());
        assert_eq!(f(f64::NAN, "<i4"), i32::MIN.to_le_bytes());
        assert_eq!(f(1e10, "<i2"), [0, 0]);
        assert_eq!(f(70_000.0, "<i2"), 4464i16.to_le_bytes());
        assert_eq!(f(-1.5, "|u1"), [255]);
        assert_eq!(f(-1.0, "<u4"), u32::MAX.to_le_bytes());
        assert_eq!(f(1e19, "<u8"), 10_000_000_000_000_000_000u64.to_le_bytes());
        assert_eq!(f(f64::NAN, "|b1"), [1]);
    }

    #[test]
    fn doubles_round_to_half_once() {
        // Just above the middle between two halves; rounding to float first would make it a tie.
        let value = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(convert("<f8", "<f2", &value.to_le_bytes()), 0x3c01u16.to_le_bytes());
        let tie = 1.0 + 2f64.powi(-11);
        assert_eq!(convert("<f8", "<f2", &tie.to_le_bytes()), 0x3c00u16.to_le_bytes());
    }

    #[test]
    fn booleans_are_zero_or_one() {
        assert_eq!(convert("|b1", "|b1", &[0, 1, 2, 255]), [0, 1, 1, 1]);
        assert_eq!(convert("|b1", "<f4", &[2]), 1f32.to_le_bytes());
    }

    #[test]
    fn complex_numbers_are_swapped_by_halves() {
        let bytes: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|part| part.to_be_bytes()).collect();
        let expected: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|part| part.to_le_bytes()).collect();
        assert_eq!(convert(">c16", "<c16", &bytes), expected);
        let complex = ElementType::from_numpy("<c8").unwrap();
        assert!(matches!(Kernel::new(complex, ElementType::F64), Err(Error::ElementType(_))));
    }

    #[test]
    fn strings_come_out_padded_with_nul() {
        let run = |padding, bytes: &[u8]| {
            let source = ElementType::new(Kind::Text(padding), 4, crate::element::Order::NATIVE).unwrap();
            let kernel = Kernel::new(source, ElementType::from_numpy("|S4").unwrap()).unwrap();
            let mut target = vec![9; bytes.len()];
            kernel.convert(bytes, &mut target);
            target
        };
        assert_eq!(run(Padding::Null, b"ab\0dabcd"), b"ab\0dabcd");
        assert_eq!(run(Padding::NullTerminated, b"ab\0dabcd"), b"ab\0\0abcd");
        assert_eq!(run(Padding::Space, b" a      "), b" a\0\0\0\0\0\0");
    }
}
