//! Element types: what one value of a dataset is, in the file or in memory.

use std::fmt;

use crate::error::{Error, Result};

/// What a value is, apart from its width.
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
    /// Real and imaginary part, each a binary32 or a binary64.
    Complex,
    /// Characters, as many bytes for each value.
    Text(Padding),
    /// Characters, each value of its own length: not in an array but read one by one.
    String,
}

/// How a string that is shorter than its place ends in the file
/// (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, *String* class bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Padding {
    /// With a NUL; what stands after it means nothing.
    NullTerminated,
    /// All NULs, as numpy has it.
    Null,
    /// With spaces.
    Space,
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

/// A type with its width and byte order; the equivalent of a numpy dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementType {
    kind: Kind,
    size: u32,
    order: Order,
}

impl ElementType {
    /// One byte, zero or one.
    pub const BOOL: Self = Self { kind: Kind::Bool, size: 1, order: Order::NATIVE };
    /// Strings of variable length, of which the file's chunks hold references of 16 bytes.
    pub const STRING: Self = Self { kind: Kind::String, size: 16, order: Order::NATIVE };
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
            Kind::Complex => matches!(size, 8 | 16),
            Kind::Text(_) => size > 0,
            Kind::String => false,
        };
        let order = if size == 1 || matches!(kind, Kind::Text(_)) { Order::NATIVE } else { order };
        let size = u32::try_from(size).ok()?;
        fits.then_some(Self { kind, size, order })
    }

    /// The type that numpy writes as `<i4`, `>f8`, `|b1`, `|S5`, ... (its array-interface string).
    ///
    /// # Errors
    /// [`Error::ElementType`] when it is not one of the types of this engine.
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
            Some('c') => Kind::Complex,
            Some('S') => Kind::Text(Padding::Null),
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
        self.size as usize
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

    /// Whether values are numbers that the engine can convert and add up.
    pub fn is_real(self) -> bool {
        matches!(self.kind, Kind::Bool | Kind::Int | Kind::UInt | Kind::Float)
    }

    /// Whether values are integers without a sign.
    pub fn is_unsigned(self) -> bool {
        self.kind == Kind::UInt
    }

    /// Whether values can be indices or pointers.
    pub fn is_integer(self) -> bool {
        matches!(self.kind, Kind::Int | Kind::UInt)
    }
}

/// numpy's array-interface string; that of objects for strings of variable length.
impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == Kind::String {
            return f.write_str("|O");
        }
        let order = match (self.kind, self.size, self.order) {
            (Kind::Text(_), _, _) | (_, 1, _) => '|',
            (_, _, Order::Little) => '<',
            (_, _, Order::Big) => '>',
        };
        let kind = match self.kind {
            Kind::Bool => 'b',
            Kind::Int => 'i',
            Kind::UInt => 'u',
            Kind::Float => 'f',
            Kind::Complex => 'c',
            Kind::Text(_) => 'S',
            Kind::String => 'O',
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
        for code in ["|b1", "|i1", "|u1", "<i2", ">u4", "<i8", ">f2", "<f4", ">f8", "<c8", ">c16", "|S7"] {
            assert_eq!(ElementType::from_numpy(code).unwrap().to_string(), code);
        }
    }

    #[test]
    fn other_dtypes_are_refused() {
        for code in ["", "<", "<i", "<i3", "<f1", "<f16", "<c4", "|S0", "<U3", "|O", "<M8[ns]"] {
            assert!(matches!(ElementType::from_numpy(code), Err(Error::ElementType(_))), "{code}");
        }
    }
}
