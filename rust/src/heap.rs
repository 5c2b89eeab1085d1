//! Global heap collections: where strings of variable length are.
//!
//! A chunk of such a dataset holds references: a length, the address of a collection, the number of an object in
//! it (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>, *Global Heap* and *Variable-length
//! Datatype*). This is for files with addresses and lengths of 8 bytes, which is nearly all.

use crate::memory;

/// Bytes of a collection's header, and of an object's.
pub const HEADER_BYTES: usize = 16;

/// Bytes of a collection, at least, as libhdf5 makes them (`H5HG_MINSIZE`).
pub const USUAL_BYTES: usize = 4096;

/// Bytes of a reference.
pub const REFERENCE_BYTES: usize = 16;

/// A reference to an object of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Bytes of the string.
    pub len: usize,
    /// Where the collection is, counted from the file's base address.
    pub collection: u64,
    /// Number of the object in it.
    pub object: u32,
}

impl Reference {
    /// `None` for one that refers to nothing: an empty string, or one that was never written.
    pub fn parse(bytes: &[u8; REFERENCE_BYTES]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (collection, object) = rest.split_first_chunk::<8>()?;
        let object: [u8; 4] = object.try_into().ok()?;
        let (len, collection) = (u32::from_le_bytes(*len), u64::from_le_bytes(*collection));
        let refers = len > 0 && collection != 0 && collection != u64::MAX;
        refers.then_some(Self { len: len as usize, collection, object: u32::from_le_bytes(object) })
    }
}

/// The size of a collection in bytes, from its header.
///
/// # Errors
/// What is the matter with it.
pub fn collection_size(header: &[u8; HEADER_BYTES]) -> Result<usize, String> {
    let [b'G', b'C', b'O', b'L', 1, ..] = header else {
        return Err("there is no global heap collection where one of its strings should be".into());
    };
    let size = header.last_chunk::<8>().map_or(0, |size| u64::from_le_bytes(*size));
    usize::try_from(size)
        .ok()
        .filter(|&size| size >= HEADER_BYTES)
        .ok_or_else(|| format!("a global heap collection of {size} bytes"))
}

/// A collection, with its objects found.
#[derive(Debug)]
pub struct Collection {
    bytes: Vec<u8>,
    /// By their numbers, which are those from 1 on mostly.
    objects: Vec<Object>,
}

/// An object of a collection.
#[derive(Debug, Clone, Copy)]
struct Object {
    number: u16,
    begin: usize,
    end: usize,
}

impl Collection {
    /// Finds the objects of a collection.
    ///
    /// # Errors
    /// What is the matter with it.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let mut objects: Vec<Object> = Vec::new();
        let mut at = HEADER_BYTES;
        while let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER_BYTES>) {
            let number = u16::from_le_bytes([header[0], header[1]]);
            if number == 0 {
                // Free space, always the last.
                break;
            }
            let size = header.last_chunk::<8>().map_or(0, |size| u64::from_le_bytes(*size));
            let begin = at + HEADER_BYTES;
            let end = usize::try_from(size)
                .ok()
                .and_then(|size| begin.checked_add(size))
                .filter(|&end| end <= bytes.len())
                .ok_or_else(|| format!("object {number} of a global heap collection reaches past its end"))?;
            memory::push(&mut objects, Object { number, begin, end })
                .map_err(|_| "no memory for the objects of a global heap collection")?;
            // Objects are padded to a multiple of 8 bytes.
            at = end.next_multiple_of(8);
        }
        if !objects.is_sorted_by(|a, b| a.number < b.number) {
            // Of several with the same number, the first.
            objects.sort_by_key(|object| object.number);
            objects.dedup_by_key(|object| object.number);
        }
        Ok(Self { bytes, objects })
    }

    fn object(&self, number: u16) -> Option<&Object> {
        let guess = self.objects.get(usize::from(number).wrapping_sub(1));
        guess.filter(|object| object.number == number).or_else(|| {
            let place = self.objects.binary_search_by_key(&number, |object| object.number).ok()?;
            self.objects.get(place)
        })
    }

    /// The bytes of a string, up to the first NUL.
    ///
    /// # Errors
    /// What is the matter with the reference.
    pub fn string(&self, reference: Reference) -> Result<&[u8], String> {
        let object = u16::try_from(reference.object).ok().and_then(|number| self.object(number));
        let bytes = object
            .and_then(|object| self.bytes[object.begin..object.end].get(..reference.len))
            .ok_or("a reference to a string that is not in its global heap collection")?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Ok(&bytes[..end])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Objects `(number, bytes)`, then free space.
    fn collection(objects: &[(u16, &[u8])], free: (u16, u64)) -> Vec<u8> {
        let mut bytes = b"GCOL\x01\0\0\0".to_vec();
        bytes.extend([0; 8]);
        for (number, data) in objects {
            bytes.extend(number.to_le_bytes());
            bytes.extend([0; 6]);
            bytes.extend((data.len() as u64).to_le_bytes());
            bytes.extend(*data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.extend(free.0.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(free.1.to_le_bytes());
        let size = bytes.len() as u64;
        bytes[8..16].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn reference(len: usize, object: u32) -> Reference {
        Reference { len, collection: 1, object }
    }

    #[test]
    fn strings_are_found() {
        let bytes = collection(&[(1, b"abc"), (7, b"longer text"), (2, b"a\0b")], (0, 16));
        assert_eq!(collection_size(bytes.first_chunk().unwrap()).unwrap(), bytes.len());
        let found = Collection::parse(bytes).unwrap();
        assert_eq!(found.string(reference(3, 1)).unwrap(), b"abc");
        assert_eq!(found.string(reference(6, 7)).unwrap(), b"longer");
        assert_eq!(found.string(reference(3, 2)).unwrap(), b"a");
        let doubled = collection(&[(2, b"first"), (1, b"one"), (2, b"second")], (0, 16));
        let found = Collection::parse(doubled).unwrap();
        assert_eq!(found.string(reference(5, 2)).unwrap(), b"first");
        assert_eq!(found.string(reference(3, 1)).unwrap(), b"one");
        let found = Collection::parse(collection(&[(1, b"abc"), (7, b"longer text"), (2, b"a\0b")], (0, 16)))
            .unwrap();
        for wrong in [reference(4, 1), reference(1, 3), reference(1, 1 << 20)] {
            assert!(found.string(wrong).is_err());
        }
    }

    #[test]
    fn damaged_collections_end() {
        // A free object of size 0 keeps libhdf5 2.2 in a loop for ever.
        assert!(Collection::parse(collection(&[(1, b"abc")], (0, 0))).is_ok());
        assert!(Collection::parse(collection(&[(1, b"abc")], (2, u64::MAX))).is_err());
        assert!(Collection::parse(collection(&[], (2, 1))).is_err());
        assert!(collection_size(b"GCOL\x02\0\0\0\x10\0\0\0\0\0\0\0").is_err());
        assert!(collection_size(b"GCOL\x01\0\0\0\x0f\0\0\0\0\0\0\0").is_err());
        assert!(Collection::parse(Vec::new()).is_ok());
    }

    #[test]
    fn references_to_nothing() {
        assert_eq!(Reference::parse(&[0; 16]), None);
        let mut bytes = [0xff; 16];
        assert_eq!(Reference::parse(&bytes), None);
        bytes[4..12].copy_from_slice(&8u64.to_le_bytes());
        assert_eq!(
            Reference::parse(&bytes),
            Some(Reference { len: u32::MAX as usize, collection: 8, object: u32::MAX })
        );
    }
}
