//! Numbers of another precision or layout than those of the machine, unpacked from the bits that the file has.
//!
//! An HDF5 integer may have fewer significant bits than its bytes, at any offset among them, and a float any number of
//! bits of exponent and mantissa (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, *Fixed-Point* and
//! *Floating-Point* properties). Each is unpacked to a number of an [`ElementType`] that holds all its values, so none
//! is rounded; what it becomes is what libhdf5 makes of it, NaNs included.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use half::f16;

use crate::element::{ElementType, Order};

/// Maximum number of bytes of a packed number: it is looked at as one integer of 64 bits.
const MOST_BYTES: usize = 8;

/// How a number is packed into bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    size: usize,
    order: Order,
    number: Number,
}

/// What the bits of a packed number are. Positions count from the least significant bit of all its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Two's complement if it is signed.
    Integer {
        /// Position of the first significant bit.
        offset: usize,
        /// Number of significant bits.
        precision: usize,
        /// Whether the last one is a sign.
        signed: bool,
    },
    /// A sign, an exponent and a mantissa whose first bit is not stored, as in IEEE 754.
    Float {
        /// Position of the sign.
        sign: usize,
        /// Position and number of the exponent's bits.
        exponent: (usize, usize),
        /// Position and number of the mantissa's bits.
        mantissa: (usize, usize),
        /// The exponent that stands for 0.
        bias: i64,
    },
}

impl Packed {
    /// A number in so many bytes; `None` where its bits are not all among them, or are more than 64.
    pub fn new(size: usize, order: Order, number: Number) -> Option<Self> {
        let bits = size * 8;
        let is_inside = |(position, count): (usize, usize)| {
            count > 0 && position.checked_add(count).is_some_and(|end| end <= bits)
        };
        let fits = match number {
            Number::Integer { offset, precision, .. } => is_inside((offset, precision)),
            Number::Float { sign, exponent, mantissa, bias } => {
                let fields = is_inside((sign, 1)) && is_inside(exponent) && is_inside(mantissa);
                // A double holds all of its values.
                fields
                    && exponent.1 <= 11
                    && mantissa.1 <= 52
                    && (-1022..=1).contains(&1i64.saturating_sub(bias))
                    && (1 << exponent.1) - 1 - bias <= 1024
            }
        };
        ((1..=MOST_BYTES).contains(&size) && fits).then_some(Self { size, order, number })
    }

    /// Bytes of a packed number.
    pub fn size(self) -> usize {
        self.size
    }

    /// Unpacks as many numbers as there are in the shorter of both to elements of this type, which must hold all of them.
    pub fn unpack(self, packed: &[u8], element: ElementType, values: &mut [u8]) {
        match self.number {
            Number::Integer { offset, precision, signed } => {
                // The bits that stand above and below the number.
                let (above, below) = (self.size * 8 - offset - precision, offset);
                let integer = Integer { above, below, signed };
                let one = |bits| u64::shifted(bits, 64 - precision - offset, 64 - precision, signed);
                match (self.size, element.size()) {
                    _ if !element.is_native() => self.each(packed, element, values, one),
                    (1, 1) => self.integers(integer, packed, values, u8::from_le_bytes, u8::to_ne_bytes),
                    (2, 2) => self.integers(integer, packed, values, u16::from_le_bytes, u16::to_ne_bytes),
                    (4, 4) => self.integers(integer, packed, values, u32::from_le_bytes, u32::to_ne_bytes),
                    (8, 8) => self.integers(integer, packed, values, u64::from_le_bytes, u64::to_ne_bytes),
                    _ => self.each(packed, element, values, one),
                }
            }
            Number::Float { sign, exponent, mantissa, bias } => {
                let float = Float { sign, exponent, mantissa, bias };
                match element.size() {
                    2 => self.each(packed, element, values, |bits| {
                        float.value(bits).map_or_else(
                            |sign| u64::from(u16::MAX >> 1) | u64::from(sign) << 15,
                            |value| u64::from(f16::from_f64(value).to_bits()),
                        )
                    }),
                    4 => self.each(packed, element, values, |bits| {
                        float.value(bits).map_or_else(
                            |sign| u64::from(u32::MAX >> 1) | u64::from(sign) << 31,
                            |value| u64::from((value as f32).to_bits()),
                        )
                    }),
                    _ => self.each(packed, element, values, |bits| {
                        float
                            .value(bits)
                            .map_or_else(|sign| u64::MAX >> 1 | u64::from(sign) << 63, f64::to_bits)
                    }),
                }
            }
        }
    }

    /// Unpacks integers to as many bytes, in this machine's order.
    #[inline(always)]
    fn integers<T: Bits, const N: usize>(
        self,
        Integer { above, below, signed }: Integer,
        packed: &[u8],
        values: &mut [u8],
        from_le: impl Fn([u8; N]) -> T,
        to_ne: impl Fn(T) -> [u8; N],
    ) {
        let pairs = packed.as_chunks::<N>().0.iter().zip(values.as_chunks_mut::<N>().0);
        // Loops without a branch, which the compiler makes vectors of.
        macro_rules! each {
            ($swapped:literal, $signed:literal) => {
                pairs.for_each(|(&bytes, value)| {
                    let bits = from_le(bytes);
                    let bits = if $swapped { bits.swap() } else { bits };
                    *value = to_ne(T::shifted(bits, above, above + below, $signed));
                })
            };
        }
        match (self.order, signed) {
            (Order::Little, false) => each!(false, false),
            (Order::Little, true) => each!(false, true),
            (Order::Big, false) => each!(true, false),
            (Order::Big, true) => each!(true, true),
        }
    }

    /// Unpacks numbers one by one, each to the low bits of an integer.
    #[inline(always)]
    fn each(self, packed: &[u8], element: ElementType, values: &mut [u8], unpack: impl Fn(u64) -> u64) {
        let little = element.is_little_endian();
        for (packed, value) in packed.chunks_exact(self.size).zip(values.chunks_exact_mut(element.size())) {
            let mut bytes = [0; MOST_BYTES];
            bytes[..self.size].copy_from_slice(packed);
            if self.order == Order::Big {
                bytes[..self.size].reverse();
            }
            value.copy_from_slice(&unpack(u64::from_le_bytes(bytes)).to_le_bytes()[..element.size()]);
            if !little {
                value.reverse();
            }
        }
    }
}

/// Where an integer stands.
#[derive(Clone, Copy)]
struct Integer {
    above: usize,
    below: usize,
    signed: bool,
}

/// Where the parts of a float stand.
#[derive(Clone, Copy)]
struct Float {
    sign: usize,
    exponent: (usize, usize),
    mantissa: (usize, usize),
    bias: i64,
}

impl Float {
    /// The value; the sign of a NaN, of which libhdf5 keeps nothing else.
    #[inline(always)]
    fn value(self, bits: u64) -> Result<f64, bool> {
        let field = |(position, count): (usize, usize)| bits >> position & (u64::MAX >> (64 - count));
        let (sign, exponent, mantissa) =
            (bits >> self.sign & 1 != 0, field(self.exponent), field(self.mantissa));
        let magnitude = if exponent == u64::MAX >> (64 - self.exponent.1) {
            if mantissa != 0 {
                return Err(sign);
            }
            f64::INFINITY
        } else if exponent == 0 {
            // Both are exact: a power of two, and a whole number times a power of two.
            mantissa as f64 * power_of_two(-(self.mantissa.1 as i64)) * power_of_two(1 - self.bias)
        } else {
            let significand = mantissa as f64 * power_of_two(-(self.mantissa.1 as i64)) + 1.0;
            significand * power_of_two(exponent as i64 - self.bias)
        };
        Ok(if sign { -magnitude } else { magnitude })
    }
}

/// A power of two among a double's normal numbers.
#[inline(always)]
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// An unsigned integer whose bits are shifted.
trait Bits: Copy {
    /// In the other byte order.
    fn swap(self) -> Self;
    /// Shifted to the left, and then to the right, with copies of the sign if it has one. Less than all its bits.
    fn shifted(self, left: usize, right: usize, signed: bool) -> Self;
}

macro_rules! bits {
    ($($unsigned:ty: $signed:ty),*) => {$(
        impl Bits for $unsigned {
            #[inline(always)]
            fn swap(self) -> Self {
                self.swap_bytes()
            }
            #[inline(always)]
            fn shifted(self, left: usize, right: usize, signed: bool) -> Self {
                let shifted = self << left;
                if signed { (shifted as $signed >> right) as $unsigned } else { shifted >> right }
            }
        }
    )*};
}
bits!(u8: i8, u16: i16, u32: i32, u64: i64);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::element::Kind;

    /// Every integer of few bits, at every offset and among any other bits, against its definition.
    #[test]
    fn integers_are_what_their_bits_say() {
        for size in 1..=8 {
            for precision in [1, 2, 5, 7, 8, 9, 12, 16, 20, 31, 33, 63, 64] {
                for offset in 0..size * 8 {
                    for (order, signed) in [Order::Little, Order::Big]
                        .into_iter()
                        .zip([true, false])
                        .chain([Order::Little, Order::Big].into_iter().zip([false, true]))
                    {
                        let number = Number::Integer { offset, precision, signed };
                        let Some(packed) = Packed::new(size, order, number) else {
                            assert!(offset + precision > size * 8);
                            continue;
                        };
                        let kind = if signed { Kind::Int } else { Kind::UInt };
                        let element =
                            ElementType::new(kind, size.next_power_of_two(), Order::NATIVE).unwrap();
                        let mask = u64::MAX >> (64 - precision);
                        let values = [0, 1, mask, mask >> 1, mask / 2 + 1, 0x5a5a_1234_9abc_def0 & mask];
                        for around in [0, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
                            let mut bytes = Vec::new();
                            for value in values {
                                let bits = around & !(mask << offset) | value << offset;
                                let all = bits.to_le_bytes();
                                match order {
                                    Order::Little => bytes.extend(&all[..size]),
                                    Order::Big => bytes.extend(all[..size].iter().rev()),
                                }
                            }
                            let mut found = vec![0xa5; values.len() * element.size()];
                            packed.unpack(&bytes, element, &mut found);
                            for (found, value) in found.chunks(element.size()).zip(values) {
                                let negative = signed && value >> (precision - 1) & 1 != 0;
                                let wide = if negative { value | !mask } else { value };
                                let mut want = wide.to_le_bytes()[..element.size()].to_vec();
                                if cfg!(target_endian = "big") {
                                    want.reverse();
                                }
                                assert_eq!(found, want, "{packed:?} {value:#x}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// The machine's own floats, unpacked as if they were none, stay what they are.
    #[test]
    fn floats_of_the_machine_stay_what_they_are() {
        let number = Number::Float { sign: 15, exponent: (10, 5), mantissa: (0, 10), bias: 15 };
        let packed = Packed::new(2, Order::Big, number).unwrap();
        for size in [2, 4, 8] {
            let element = ElementType::new(Kind::Float, size, Order::Little).unwrap();
            for bits in 0..=u16::MAX {
                let mut found = vec![0; size];
                packed.unpack(&bits.to_be_bytes(), element, &mut found);
                let value = f16::from_bits(bits);
                if value.is_nan() {
                    let mut want = vec![0xff; size];
                    want[size - 1] = if value.is_sign_negative() { 0xff } else { 0x7f };
                    assert_eq!(found, want);
                    continue;
                }
                let want = match size {
                    2 => bits.to_le_bytes().to_vec(),
                    4 => value.to_f32().to_le_bytes().to_vec(),
                    _ => value.to_f64().to_le_bytes().to_vec(),
                };
                assert_eq!(found, want, "{bits:#x}");
            }
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let integer = |offset, precision| Number::Integer { offset, precision, signed: true };
        assert!(Packed::new(2, Order::Little, integer(5, 12)).is_none());
        assert!(Packed::new(2, Order::Little, integer(0, 0)).is_none());
        assert!(Packed::new(2, Order::Little, integer(usize::MAX, 2)).is_none());
        assert!(Packed::new(16, Order::Little, integer(0, 12)).is_none());
        let float = Number::Float { sign: 63, exponent: (51, 12), mantissa: (0, 51), bias: 2047 };
        assert!(Packed::new(8, Order::Little, float).is_none());
    }
}
