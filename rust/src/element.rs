//! Element types: what one value of a dataset is, in the file or in memory.

use std::fmt;

use crate::error::{Error, Result};

/// The kinds of numbers that the direct path decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One byte, false when zero (HDF5 has no boolean; h5py stores an enumeration of int8).
    Bool,
    /// Two's complement.
    Int,
    /// Unsigned.
    UInt,
    /// IEEE 754 binary16, binary32, binary64.
    Float,
}

/// Byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl Order {
    /// The byte order of this machine.
    pub const NATIVE: Self = if cfg!(target_endian = "little") { Self::Little } else { Self::Big };
}

/// A numeric type with its width and byte order; the equivalent of a numpy dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementType {
    kind: Kind,
    size: u8,
    order: Order,
}

impl ElementType {
    /// One byte, zero or one.
    pub const BOOL: Self = Self { kind: Kind::Bool, size: 1, order: Order::NATIVE };
    /// Native 64-bit unsigned integers.
    pub const U64: Self = Self { kind: Kind::UInt, size: 8, order: Order::NATIVE };
    /// Native 32-bit unsigned integers.
    pub const U32: Self = Self { kind: Kind::UInt, size: 4, order: Order::NATIVE };
    /// Native 64-bit signed integers.
    pub const I64: Self = Self { kind: Kind::Int, size: 8, order: Order::NATIVE };
    /// Native 32-bit signed integers.
    pub const I32: Self = Self { kind: Kind::Int, size: 4, order: Order::NATIVE };
    /// Native doubles.
    pub const F64: Self = Self { kind: Kind::Float, size: 8, order: Order::NATIVE };

    /// `None` for a width that the kind does not come in. A single byte has no order: it is native.
    pub fn new(kind: Kind, size: usize, order: Order) -> Option<Self> {
        let fits = match kind {
            Kind::Bool => size == 1,
            Kind::Int | Kind::UInt => matches!(size, 1 | 2 | 4 | 8),
            Kind::Float => matches!(size, 2 | 4 | 8),
        };
        let order = if size == 1 { Order::NATIVE } else { order };
        fits.then_some(Self { kind, size: size as u8, order })
    }

    /// The type that numpy writes as `<i4`, `>f8`, `|b1`, ... (its array-interface string).
    ///
    /// # Errors
    /// [`Error::ElementType`] when it is not one of the numeric types of this engine.
    pub fn from_numpy(code: &str) -> Result<Self> {
        let unsupported = || Error::ElementType(format!("no conversion to dtype '{code}'"));
        let mut chars = code.chars();
        let order = match chars.next() {
            Some('>') => Order::Big,
            Some('<') => Order::Little,
            Some('|' | '=') => Order::NATIVE,
            _ => return Err(unsupported()),
        };
        let kind = match chars.next() {
            Some('b') => Kind::Bool,
            Some('i') => Kind::Int,
            Some('u') => Kind::UInt,
            Some('f') => Kind::Float,
            _ => return Err(unsupported()),
        };
        let size = chars.as_str().parse().map_err(|_| unsupported())?;
        Self::new(kind, size, order).ok_or_else(unsupported)
    }

    /// What kind of number.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Width in bytes.
    pub fn size(self) -> usize {
        usize::from(self.size)
    }

    /// Whether this machine reads the bytes as they stand.
    pub fn is_native(self) -> bool {
        self.order == Order::NATIVE
    }

    /// Whether the least significant byte comes first.
    pub fn is_little_endian(self) -> bool {
        self.order == Order::Little
    }

    /// The same type in the byte order of this machine.
    #[must_use]
    pub fn to_native(self) -> Self {
        Self { order: Order::NATIVE, ..self }
    }

    /// Whether values can be indices or pointers.
    pub fn is_integer(self) -> bool {
        matches!(self.kind, Kind::Int | Kind::UInt)
    }
}

/// numpy's array-interface string.
impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match (self.size, self.order) {
            (1, _) => '|',
            (_, Order::Little) => '<',
            (_, Order::Big) => '>',
        };
        let kind = match self.kind {
            Kind::Bool => 'b',
            Kind::Int => 'i',
            Kind::UInt => 'u',
            Kind::Float => 'f',
        };
        write!(f, "{order}{kind}{}", self.size)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numpy_codes_round_trip() {
        for code in ["|b1", "|i1", "|u1", "<i2", ">u4", "<i8", ">f2", "<f4", ">f8"] {
            assert_eq!(ElementType::from_numpy(code).unwrap().to_string(), code);
        }
    }

    #[test]
    fn other_dtypes_are_refused() {
        for code in ["", "<", "<i", "<i3", "<f1", "<f16", "<c8", "|S5", "<U3", "|O", "<M8[ns]"] {
            assert!(matches!(ElementType::from_numpy(code), Err(Error::ElementType(_))), "{code}");
        }
    }
}
