//! From libhdf5's datatypes to element types.

use std::ffi::{CStr, c_uint, c_void};

use hdf5_metno_sys::h5::H5free_memory;
use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5t::{
    H5T_IEEE_F32BE, H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_IEEE_F64LE, H5T_STD_I8LE, H5T_STD_I16BE,
    H5T_STD_I16LE, H5T_STD_I32BE, H5T_STD_I32LE, H5T_STD_I64BE, H5T_STD_I64LE, H5T_STD_U8LE, H5T_STD_U16BE,
    H5T_STD_U16LE, H5T_STD_U32BE, H5T_STD_U32LE, H5T_STD_U64BE, H5T_STD_U64LE, H5T_class_t, H5T_norm_t,
    H5T_order_t, H5T_sign_t, H5T_str_t, H5Tclose, H5Tequal, H5Tget_class, H5Tget_ebias, H5Tget_fields,
    H5Tget_member_name, H5Tget_member_offset, H5Tget_member_type, H5Tget_member_value, H5Tget_nmembers,
    H5Tget_norm, H5Tget_offset, H5Tget_order, H5Tget_precision, H5Tget_sign, H5Tget_size, H5Tget_strpad,
    H5Tget_super, H5Tis_variable_str,
};

use super::Library;
use super::id::Id;
use crate::element::{ElementType, Kind, Order, Padding};
use crate::error::{Error, Place, Result};
use crate::memory;
use crate::packed::{Number, Packed};

/// What the values of a dataset are.
pub(super) struct Described {
    /// What a value is.
    pub(super) element: ElementType,
    /// How the file has it.
    pub(super) stored: Stored,
}

/// How the file has values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// As the element type says.
    AsElement,
    /// As numbers to be unpacked to the element type.
    Packed(Packed),
    /// In a way that only libhdf5 knows, which is this one.
    ForLibrary(String),
}

impl Described {
    /// The type to read values as, of which the stored one is `stored`, and the bytes of such a value. Packed numbers stay
    /// packed: libhdf5's conversion of some is wrong (of those whose bytes are in the other order and that have
    /// no bits below them, it swaps the bytes and takes no notice of the precision), and slow of all.
    pub(super) fn read_as(&self, stored: hid_t, place: &Place) -> Result<(hid_t, usize)> {
        match self.stored {
            Stored::AsElement => Ok((stored, self.element.size())),
            Stored::Packed(packed) => Ok((stored, packed.size())),
            Stored::ForLibrary(_) => memory_type(self.element)
                .map(|native| (native, self.element.size()))
                .ok_or_else(|| Error::Internal(format!("{place}: no native type for {}", self.element))),
        }
    }

    /// Values that were read so, as the element type has them.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(super) fn unpacked(&self, values: Vec<u8>) -> Result<Vec<u8>> {
        let Stored::Packed(packed) = self.stored else { return Ok(values) };
        let mut unpacked = memory::zeros((values.len() / packed.size()).saturating_mul(self.element.size()))?;
        packed.unpack(&values, self.element, &mut unpacked);
        Ok(unpacked)
    }

    fn as_stored(element: ElementType) -> Self {
        Self { element, stored: Stored::AsElement }
    }
}

/// Finds the element type.
pub(super) fn describe(library: &Library, datatype: &Id<'_>, place: &Place) -> Result<Described> {
    let id = datatype.get();
    // SAFETY: under the lock; an open datatype, here and below.
    let (class, size) = unsafe { (H5Tget_class(id), H5Tget_size(id)) };
    let refuse =
        |what: String| Err(Error::ElementType(format!("{place} holds {what}, which have no dtype here")));
    match class {
        H5T_class_t::H5T_INTEGER | H5T_class_t::H5T_BITFIELD => integer(id, class, size, place),
        H5T_class_t::H5T_FLOAT => float(id, size, place),
        H5T_class_t::H5T_ENUM => {
            // SAFETY: as above; the base type is a new identifier.
            let base = library.id(unsafe { H5Tget_super(id) }, H5Tclose, place)?;
            let described = describe(library, &base, place)?;
            Ok(if is_boolean(id, &described) { Described::as_stored(ElementType::BOOL) } else { described })
        }
        H5T_class_t::H5T_COMPOUND => match complex_compound(library, id, size, place)? {
            Some(element) => Ok(Described::as_stored(element)),
            None => refuse(format!("compounds of the members {}", member_names(id).join(", "))),
        },
        H5T_class_t::H5T_COMPLEX => {
            // SAFETY: as above; the base type is a new identifier.
            let base = library.id(unsafe { H5Tget_super(id) }, H5Tclose, place)?;
            match complex_of(library, &base, size, place) {
                Some(element) => Ok(Described::as_stored(element)),
                None => refuse(format!("complex numbers of {size} bytes")),
            }
        }
        // SAFETY: as above.
        H5T_class_t::H5T_STRING if unsafe { H5Tis_variable_str(id) } > 0 => Ok(Described {
            element: ElementType::STRING,
            stored: Stored::ForLibrary("strings of variable length".into()),
        }),
        H5T_class_t::H5T_STRING => {
            // SAFETY: as above.
            let padding = match unsafe { H5Tget_strpad(id) } {
                H5T_str_t::H5T_STR_NULLTERM => Padding::NullTerminated,
                H5T_str_t::H5T_STR_SPACEPAD => Padding::Space,
                _ => Padding::Null,
            };
            ElementType::new(Kind::Text(padding), size, Order::NATIVE)
                .map(Described::as_stored)
                .ok_or_else(|| Error::ElementType(format!("{place} holds strings of {size} bytes")))
        }
        H5T_class_t::H5T_OPAQUE => refuse("opaque values".into()),
        H5T_class_t::H5T_REFERENCE => refuse("references".into()),
        H5T_class_t::H5T_VLEN => refuse("values of variable length".into()),
        H5T_class_t::H5T_ARRAY => refuse("arrays".into()),
        H5T_class_t::H5T_TIME => refuse("times".into()),
        _ => refuse("values of a class that is not known here".into()),
    }
}

/// Complex numbers whose parts are of this type.
fn complex_of(library: &Library, part: &Id<'_>, size: usize, place: &Place) -> Option<ElementType> {
    let described = describe(library, part, place).ok()?;
    let is_part = described.stored == Stored::AsElement
        && described.element.kind() == Kind::Float
        && described.element.size() * 2 == size;
    let order = if described.element.is_little_endian() { Order::Little } else { Order::Big };
    if is_part { ElementType::new(Kind::Complex, size, order) } else { None }
}

/// What h5py stores complex numbers as: a compound of two floats named `r` and `i`, side by side.
fn complex_compound(library: &Library, id: hid_t, size: usize, place: &Place) -> Result<Option<ElementType>> {
    if member_names(id) != ["r", "i"] {
        return Ok(None);
    }
    // SAFETY: under the lock; an open compound of two members, whose types are new identifiers.
    let (real, imaginary, offsets) = unsafe {
        (
            library.id(H5Tget_member_type(id, 0), H5Tclose, place)?,
            library.id(H5Tget_member_type(id, 1), H5Tclose, place)?,
            (H5Tget_member_offset(id, 0), H5Tget_member_offset(id, 1)),
        )
    };
    // SAFETY: under the lock; two open datatypes.
    let equal = unsafe { H5Tequal(real.get(), imaginary.get()) } > 0;
    if !equal || offsets != (0, size / 2) {
        return Ok(None);
    }
    Ok(complex_of(library, &real, size, place))
}

fn order(id: hid_t, size: usize) -> Option<Order> {
    // SAFETY: under the lock; an open datatype.
    match unsafe { H5Tget_order(id) } {
        H5T_order_t::H5T_ORDER_LE => Some(Order::Little),
        H5T_order_t::H5T_ORDER_BE => Some(Order::Big),
        // A single byte has none.
        _ if size == 1 => Some(Order::NATIVE),
        _ => None,
    }
}

fn stored(packed: Option<Packed>, otherwise: impl FnOnce() -> String) -> Stored {
    packed.map_or_else(|| Stored::ForLibrary(otherwise()), Stored::Packed)
}

fn integer(id: hid_t, class: H5T_class_t, size: usize, place: &Place) -> Result<Described> {
    // SAFETY: under the lock; an open datatype.
    let (precision, offset) = unsafe { (H5Tget_precision(id), H5Tget_offset(id)) };
    // SAFETY: as above.
    let signed = class == H5T_class_t::H5T_INTEGER && unsafe { H5Tget_sign(id) } == H5T_sign_t::H5T_SGN_2;
    let kind = if signed { Kind::Int } else { Kind::UInt };
    if precision == size * 8 && offset == 0 {
        let stored = order(id, size).and_then(|order| ElementType::new(kind, size, order));
        if let Some(element) = stored {
            return Ok(Described::as_stored(element));
        }
    }
    let packed = order(id, size).and_then(|order| {
        let offset = usize::try_from(offset).ok()?;
        Packed::new(size, order, Number::Integer { offset, precision, signed })
    });
    let stored = stored(packed, || format!("integers of {precision} bits in {size} bytes"));
    ElementType::new(kind, size.next_power_of_two(), Order::NATIVE)
        .map(|element| Described { element, stored })
        .ok_or_else(|| Error::ElementType(format!("{place} holds integers of {size} bytes")))
}

fn float(id: hid_t, size: usize, place: &Place) -> Result<Described> {
    let (mut sign, mut exponent, mut exponent_bits, mut mantissa, mut mantissa_bits) = (0, 0, 0, 0, 0);
    // SAFETY: under the lock; an open datatype, and places for what it tells.
    let (bias, precision, offset, norm) = unsafe {
        H5Tget_fields(
            id,
            &raw mut sign,
            &raw mut exponent,
            &raw mut exponent_bits,
            &raw mut mantissa,
            &raw mut mantissa_bits,
        );
        (H5Tget_ebias(id), H5Tget_precision(id), H5Tget_offset(id), H5Tget_norm(id))
    };
    // IEEE 754 binary16, binary32 and binary64: exponent and mantissa bits that go with each width.
    let layout = match size {
        2 => Some((5, 10)),
        4 => Some((8, 23)),
        8 => Some((11, 52)),
        _ => None,
    };
    let is_ieee = layout.is_some_and(|(e, m)| {
        (exponent_bits, mantissa_bits) == (e, m)
            && (mantissa, exponent, sign) == (0, m, m + e)
            && bias == (1 << (e - 1)) - 1
            && precision == size * 8
            && offset == 0
            && norm == H5T_norm_t::H5T_NORM_IMPLIED
    });
    if is_ieee {
        let stored = order(id, size).and_then(|order| ElementType::new(Kind::Float, size, order));
        if let Some(element) = stored {
            return Ok(Described::as_stored(element));
        }
    }
    let packed = order(id, size).filter(|_| norm == H5T_norm_t::H5T_NORM_IMPLIED).and_then(|order| {
        let (exponent, mantissa) = ((exponent, exponent_bits), (mantissa, mantissa_bits));
        let bias = i64::try_from(bias).ok()?;
        Packed::new(size, order, Number::Float { sign, exponent, mantissa, bias })
    });
    let stored =
        stored(packed, || format!("floats of {exponent_bits} exponent and {mantissa_bits} mantissa bits"));
    // The first of numpy's floats that is no narrower and holds all values, as h5py chooses (`TypeFloatID`): its size,
    // bits of the mantissa, and exponents.
    let (least, most) = (1 - bias as i64, (1i64 << exponent_bits.min(32)) - bias as i64 - 1);
    let holds = |&&(bytes, bits, low, high): &&(usize, usize, i64, i64)| {
        size <= bytes && mantissa_bits <= bits && low <= least && most <= high
    };
    let floats = [(2, 10, -14, 16), (4, 23, -126, 128), (8, 52, -1022, 1024)];
    let Some(&(wide_enough, ..)) = floats.iter().find(holds) else {
        return Err(Error::ElementType(format!(
            "{place} holds floats of {precision} bits, which no numpy dtype holds on every machine"
        )));
    };
    // As h5py does: wider, in the byte order of the file.
    ElementType::new(Kind::Float, wide_enough, order(id, size).unwrap_or(Order::NATIVE))
        .map(|element| Described { element, stored })
        .ok_or_else(|| Error::ElementType(format!("{place} holds floats of {size} bytes")))
}

/// Names of the members of a compound or an enumeration.
fn member_names(id: hid_t) -> Vec<String> {
    // SAFETY: under the lock; an open datatype.
    let count = unsafe { H5Tget_nmembers(id) };
    (0..c_uint::try_from(count).unwrap_or(0))
        .map(|number| {
            // SAFETY: a member that exists; the name is a C string that is the caller's to free.
            unsafe {
                let name = H5Tget_member_name(id, number);
                if name.is_null() {
                    return "?".to_owned();
                }
                let text = CStr::from_ptr(name).to_string_lossy().into_owned();
                H5free_memory(name.cast());
                text
            }
        })
        .collect()
}

/// Whether a type is an enumeration of which libhdf5 converts values by their names.
pub(super) fn is_enumeration(datatype: &Id<'_>, element: ElementType) -> bool {
    // SAFETY: under the lock; an open datatype.
    let class = unsafe { H5Tget_class(datatype.get()) };
    class == H5T_class_t::H5T_ENUM && element != ElementType::BOOL
}

/// Whether an enumeration is what h5py stores booleans as: FALSE = 0, TRUE = 1 in a signed byte.
fn is_boolean(id: hid_t, base: &Described) -> bool {
    if base.stored != Stored::AsElement || base.element.size() != 1 || base.element.kind() != Kind::Int {
        return false;
    }
    let mut members: Vec<(String, i8)> = member_names(id)
        .into_iter()
        .zip(0..)
        .map(|(name, number)| {
            let mut value = 0i8;
            // SAFETY: under the lock; a member that exists, of one byte.
            unsafe { H5Tget_member_value(id, number, (&raw mut value).cast::<c_void>()) };
            (name, value)
        })
        .collect();
    members.sort();
    members == [("FALSE".to_owned(), 0), ("TRUE".to_owned(), 1)]
}

unsafe extern "C" {
    // Since HDF5 1.14.4; the bindings do not have them.
    static H5T_IEEE_F16LE_g: hid_t;
    static H5T_IEEE_F16BE_g: hid_t;
}

/// libhdf5's datatype for the values that it converts to; `None` for those that it never does.
pub(super) fn memory_type(element: ElementType) -> Option<hid_t> {
    let little = element.is_little_endian();
    let pick = |if_little: hid_t, if_big: hid_t| Some(if little { if_little } else { if_big });
    match (element.kind(), element.size()) {
        (Kind::Int, 1) => Some(*H5T_STD_I8LE),
        (Kind::Int, 2) => pick(*H5T_STD_I16LE, *H5T_STD_I16BE),
        (Kind::Int, 4) => pick(*H5T_STD_I32LE, *H5T_STD_I32BE),
        (Kind::Int, 8) => pick(*H5T_STD_I64LE, *H5T_STD_I64BE),
        (Kind::UInt, 1) => Some(*H5T_STD_U8LE),
        (Kind::UInt, 2) => pick(*H5T_STD_U16LE, *H5T_STD_U16BE),
        (Kind::UInt, 4) => pick(*H5T_STD_U32LE, *H5T_STD_U32BE),
        (Kind::UInt, 8) => pick(*H5T_STD_U64LE, *H5T_STD_U64BE),
        // SAFETY: libhdf5 sets these when it is opened, and does not change them.
        (Kind::Float, 2) => unsafe { pick(H5T_IEEE_F16LE_g, H5T_IEEE_F16BE_g) },
        (Kind::Float, 4) => pick(*H5T_IEEE_F32LE, *H5T_IEEE_F32BE),
        (Kind::Float, 8) => pick(*H5T_IEEE_F64LE, *H5T_IEEE_F64BE),
        _ => None,
    }
}
