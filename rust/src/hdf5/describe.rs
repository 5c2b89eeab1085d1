//! What a dataset is, and how the file keeps it.

use std::ffi::{c_char, c_int, c_uint};

use hdf5_metno_sys::h5d::{
    H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS, H5D_fill_value_t, H5D_layout_t, H5Dget_create_plist, H5Dget_offset,
    H5Dget_space, H5Dget_storage_size, H5Dget_type, H5Dread,
};
use hdf5_metno_sys::h5f::H5Fget_create_plist;
use hdf5_metno_sys::h5p::{
    H5P_DEFAULT, H5Pclose, H5Pfill_value_defined, H5Pget_chunk, H5Pget_chunk_opts, H5Pget_external_count,
    H5Pget_fill_value, H5Pget_filter2, H5Pget_layout, H5Pget_nfilters, H5Pget_sizes, H5Pget_userblock,
};
use hdf5_metno_sys::h5s::{
    H5S_ALL, H5S_class_t, H5Sclose, H5Sget_simple_extent_dims, H5Sget_simple_extent_ndims,
    H5Sget_simple_extent_type,
};
use hdf5_metno_sys::h5t::{H5Tclose, H5Tget_size};

use super::element::{Described, Stored};
use super::id::Id;
use super::location::{self, Location};
use super::others::{name_of, segments};
use super::{Library, Opened, Sources, attributes, element, mappings, open};
use crate::dataset::{Dataset, Facts, FilterStep, Layout, Virtual};
use crate::element::ElementType;
use crate::error::{Error, Place, Result};
use crate::mapping::Selected;
use crate::memory;
use crate::origin::Origin;
use crate::packed::Packed;
use crate::selection::to_len;

/// `HADDR_UNDEF`: no space was ever allocated.
const NO_ADDRESS: u64 = u64::MAX;

/// A message of an object header, such as a fill value, is shorter: its length has 16 bits.
const MOST_OF_HEADER: usize = 1 << 16;

/// What was found where a dataset was looked for.
pub enum Found {
    /// The dataset.
    Here(Dataset),
    /// A link to one that is a file's own.
    Linked(Location),
}

/// Describes a dataset of this file. `decodes` says whether the direct path has all filters, `resolves` whether the
/// mappings of a virtual dataset are of use; if not, libhdf5 looks how large its sources are.
///
/// # Errors
/// [`Error::NotFound`] when there is no such dataset, [`Error::ElementType`] when its values have no dtype,
/// [`Error::Unreadable`] when libhdf5 cannot make sense of it, [`Error::Changing`] when the path leads to
/// another file now.
pub fn describe(
    origin: &Origin,
    name: &[u8],
    decodes: impl Fn(&[FilterStep]) -> bool,
    resolves: bool,
) -> Result<Found> {
    let library = Library::lock()?;
    let sources = if resolves { Sources::Left } else { Sources::Read };
    let opened = open(&library, origin, name, sources)?;
    let place = Place::dataset(origin.path(), name);
    if opened.linked
        && let Some(location) = location::locate(&library, &opened.dataset, &place)
    {
        return Ok(Found::Linked(location));
    }
    Description { library: &library, opened: &opened, place, resolves }.run(decodes).map(Found::Here)
}

/// How a dataset of this file is stored.
///
/// # Errors
/// As [`describe`]; its values may be of any type.
pub fn facts(origin: &Origin, name: &[u8]) -> Result<Facts> {
    let library = Library::lock()?;
    let opened = open(&library, origin, name, Sources::Left)?;
    let place = Place::dataset(origin.path(), name);
    Description { library: &library, opened: &opened, place, resolves: true }.facts()
}

struct Description<'a> {
    library: &'a Library,
    opened: &'a Opened<'a>,
    place: Place,
    /// Whether mappings of virtual datasets are of use.
    resolves: bool,
}

impl Description<'_> {
    fn run(&self, decodes: impl Fn(&[FilterStep]) -> bool) -> Result<Dataset> {
        let dataset = self.opened.dataset.get();
        // First, since a type that is refused is known even where the rest cannot be made sense of.
        // SAFETY: under the lock; an open dataset.
        let datatype = self.library.id(unsafe { H5Dget_type(dataset) }, H5Tclose, &self.place)?;
        let mut described = element::describe(self.library, &datatype, &self.place)?;
        // SAFETY: under the lock; an open dataset.
        let plist = self.library.id(unsafe { H5Dget_create_plist(dataset) }, H5Pclose, &self.place)?;
        // SAFETY: under the lock; an open property list.
        let (stored, external) = unsafe { (H5Pget_layout(plist.get()), H5Pget_external_count(plist.get())) };
        let shape = self.shape(&plist)?;
        let element = described.element;
        let mut base = 0;
        if element == ElementType::STRING
            && !matches!(stored, H5D_layout_t::H5D_COMPACT | H5D_layout_t::H5D_VIRTUAL)
            && let Some(address) = self.heap_base(&plist)?
        {
            (described.stored, base) = (Stored::AsElement, address);
        }
        // libhdf5 converts from the sources of a virtual dataset to the type that is asked for.
        let packed = match described.stored {
            Stored::Packed(packed) if stored != H5D_layout_t::H5D_VIRTUAL => Some(packed),
            _ => None,
        };
        let size = packed.map_or(element.size(), Packed::size);
        let fill = self.fill(&plist, &datatype, &described)?;
        let chunk = match stored {
            H5D_layout_t::H5D_CHUNKED => Some(self.chunk(&plist, shape.len())?),
            _ => None,
        };
        let filters = if chunk.is_some() { self.filters(&plist)? } else { Vec::new() };
        let library_path = |reason: &str, chunk, filters| {
            let reason = reason.to_owned();
            Layout::Library { reason, chunk, filters }
        };
        let layout = if self.opened.linked {
            library_path("behind an external link", chunk, Vec::new())
        } else if stored == H5D_layout_t::H5D_VIRTUAL {
            let mut definitions = mappings::stated(self.library, &plist, &self.place)?.definitions;
            let is_plain = described.stored == Stored::AsElement || element == ElementType::STRING;
            if !is_plain || element::is_enumeration(&datatype, element) {
                // What libhdf5 has to convert to, it reads.
                for definition in &mut definitions {
                    definition.target = Selected::Other;
                }
            }
            if self.resolves {
                Layout::Virtual(Virtual::Stated(definitions))
            } else {
                library_path("a virtual dataset", None, filters)
            }
        } else if external > 0 {
            match described.stored {
                Stored::ForLibrary(reason) => library_path(&reason, None, filters),
                _ if element == ElementType::STRING => {
                    library_path("strings in external files", None, filters)
                }
                _ => self.external(&plist, &shape, size)?,
            }
        } else if let Some(chunk) = chunk {
            let decoded = decodes(&filters);
            let missing = if decoded { None } else { self.library.missing(&filters, decodes) };
            let missing = missing.map(describe_missing);
            match described.stored {
                Stored::ForLibrary(reason) => library_path(&reason, Some(chunk), filters),
                _ if decoded || missing.is_some() => {
                    let mut options: c_uint = 0;
                    // SAFETY: under the lock; an open property list.
                    let status = unsafe { H5Pget_chunk_opts(plist.get(), &raw mut options) };
                    self.library.check(status, &self.place)?;
                    let partial_unfiltered = options & H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS != 0;
                    Layout::Chunked { chunk, filters, partial_unfiltered, missing }
                }
                _ => {
                    let names: Vec<String> = filters.iter().map(describe_filter).collect();
                    library_path(&format!("its filters: {}", names.join(", ")), Some(chunk), filters)
                }
            }
        } else if stored == H5D_layout_t::H5D_COMPACT && element != ElementType::STRING {
            Layout::Compact(self.compact(&datatype, &shape, &described)?)
        } else if let Stored::ForLibrary(reason) = described.stored {
            library_path(&reason, None, filters)
        } else {
            self.contiguous(&shape, size)?
        };
        Ok(Dataset { shape, element, packed, layout, fill, base, elsewhere: self.opened.elsewhere })
    }

    fn facts(&self) -> Result<Facts> {
        let dataset = self.opened.dataset.get();
        // SAFETY: under the lock; an open dataset, and what is opened of it.
        let (plist, datatype, stored) = unsafe {
            let plist = self.library.id(H5Dget_create_plist(dataset), H5Pclose, &self.place)?;
            let datatype = self.library.id(H5Dget_type(dataset), H5Tclose, &self.place)?;
            (plist, datatype, H5Dget_storage_size(dataset))
        };
        // A size of 0 is that of what was never written, or a failure.
        self.library.failure();
        // SAFETY: under the lock; an open property list and an open type.
        let (layout, value_size) = unsafe { (H5Pget_layout(plist.get()), H5Tget_size(datatype.get())) };
        let (chunk, filters) = if layout == H5D_layout_t::H5D_CHUNKED {
            (Some(self.chunk(&plist, self.shape(&plist)?.len())?), self.filters(&plist)?)
        } else {
            (None, Vec::new())
        };
        let filters = filters
            .into_iter()
            .map(|step| FilterStep { name: filter_name(&step).to_owned(), ..step })
            .collect();
        let marks = attributes::marks(self.library, &self.opened.dataset, &self.place)?;
        Ok(Facts { chunk, filters, stored, value_size: value_size as u64, marks })
    }

    /// The extents. Of a virtual dataset those that are stored: to learn what they are now, libhdf5 would open its
    /// sources.
    fn shape(&self, plist: &Id<'_>) -> Result<Vec<u64>> {
        // SAFETY: under the lock; an open property list.
        let layout = unsafe { H5Pget_layout(plist.get()) };
        if self.resolves
            && layout == H5D_layout_t::H5D_VIRTUAL
            && let Some(shape) = mappings::stated(self.library, plist, &self.place)?.shape
        {
            return Ok(shape);
        }
        // SAFETY: under the lock; an open dataset.
        let space =
            self.library.id(unsafe { H5Dget_space(self.opened.dataset.get()) }, H5Sclose, &self.place)?;
        extents(self.library, &space, &self.place)?.ok_or_else(|| {
            Error::ElementType(format!("{} has a null dataspace: it holds no values", self.place))
        })
    }

    fn chunk(&self, plist: &Id<'_>, rank: usize) -> Result<Vec<u64>> {
        let mut chunk = vec![0; rank];
        // SAFETY: under the lock; an open property list and room for `rank` lengths.
        let found = unsafe { H5Pget_chunk(plist.get(), rank as c_int, chunk.as_mut_ptr()) };
        if self.library.check(found, &self.place)? as usize != rank {
            return Err(Error::Unreadable {
                place: self.place.clone(),
                message: format!("its chunks have {found} dimensions where it has {rank}"),
            });
        }
        Ok(chunk)
    }

    fn filters(&self, plist: &Id<'_>) -> Result<Vec<FilterStep>> {
        // SAFETY: under the lock; an open property list.
        let count = self.library.check(unsafe { H5Pget_nfilters(plist.get()) }, &self.place)?;
        (0..count as c_uint)
            .map(|number| {
                let mut values: Vec<c_uint> = vec![0; 32];
                let mut name = [0u8; 256];
                loop {
                    let mut len = values.len();
                    let mut flags: c_uint = 0;
                    // SAFETY: under the lock; an open property list, and room as it is told for the
                    // values and the name, which is cut with a NUL.
                    let id = unsafe {
                        H5Pget_filter2(
                            plist.get(),
                            number,
                            &raw mut flags,
                            &raw mut len,
                            values.as_mut_ptr(),
                            name.len(),
                            name.as_mut_ptr().cast::<c_char>(),
                            std::ptr::null_mut(),
                        )
                    };
                    self.library.check(id, &self.place)?;
                    // More values than there was room for: `len` is how many there are.
                    let complete = len <= values.len();
                    values.resize(len, 0);
                    if complete {
                        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                        let name = String::from_utf8_lossy(&name[..end]).into_owned();
                        return Ok(FilterStep { id: id as u32, name, values });
                    }
                }
            })
            .collect()
    }

    /// One value of what was never written; nothing for zero, which it is unless the dataset says otherwise.
    fn fill(&self, plist: &Id<'_>, datatype: &Id<'_>, described: &Described) -> Result<Vec<u8>> {
        let element = described.element;
        let size = match &described.stored {
            Stored::AsElement => element.size(),
            Stored::Packed(packed) => packed.size(),
            // libhdf5 fills what is missing itself.
            Stored::ForLibrary(_) => return Ok(Vec::new()),
        };
        let mut fill = Vec::new();
        let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_UNDEFINED;
        // SAFETY: under the lock; an open property list, and room for one value of its own type.
        unsafe {
            self.library.check(H5Pfill_value_defined(plist.get(), &raw mut defined), &self.place)?;
            // References to strings are never those of a user's fill value (`heap_base`).
            let is_value = element != ElementType::STRING;
            if is_value && defined == H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED {
                if size > MOST_OF_HEADER {
                    return Err(Error::Damaged {
                        place: self.place.clone(),
                        message: format!("a fill value of {size} bytes has no room in the file"),
                    });
                }
                memory::resize(&mut fill, size, 0)?;
                self.library.check(
                    H5Pget_fill_value(plist.get(), datatype.get(), fill.as_mut_ptr().cast()),
                    &self.place,
                )?;
            }
        }
        described.unpacked(fill)
    }

    /// From where addresses in the file count, if references to its strings can be followed on the direct path:
    /// they are as long as nearly always, and what was never written is no user's own string.
    fn heap_base(&self, plist: &Id<'_>) -> Result<Option<u64>> {
        let mut defined = H5D_fill_value_t::H5D_FILL_VALUE_UNDEFINED;
        let (mut addresses, mut lengths, mut base) = (0, 0, 0);
        // SAFETY: under the lock; an open file and property list, and room for what they tell.
        unsafe {
            self.library.check(H5Pfill_value_defined(plist.get(), &raw mut defined), &self.place)?;
            let creation = H5Fget_create_plist(self.opened.file.get());
            let creation = self.library.id(creation, H5Pclose, &self.place)?;
            let sizes = H5Pget_sizes(creation.get(), &raw mut addresses, &raw mut lengths);
            self.library.check(sizes, &self.place)?;
            self.library.check(H5Pget_userblock(creation.get(), &raw mut base), &self.place)?;
        }
        let follows =
            (addresses, lengths) == (8, 8) && defined != H5D_fill_value_t::H5D_FILL_VALUE_USER_DEFINED;
        Ok(follows.then_some(base))
    }

    /// The values in the object header, of which there are less than 64 KiB.
    fn compact(&self, datatype: &Id<'_>, shape: &[u64], described: &Described) -> Result<Vec<u8>> {
        let dataset = self.opened.dataset.get();
        // SAFETY: under the lock; an open dataset and type.
        let (held, size) = unsafe { (H5Dget_storage_size(dataset), H5Tget_size(datatype.get())) };
        let count = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
        let Some(count) =
            count.filter(|count| count.checked_mul(size as u64).is_some_and(|bytes| bytes <= held))
        else {
            return Err(self.too_short(held));
        };
        let (datatype, size) = described.read_as(datatype.get(), &self.place)?;
        let mut values: Vec<u8> = memory::zeros(to_len(count)?.saturating_mul(size))?;
        // SAFETY: under the lock; the buffer holds all values in the type that they are read in.
        let status =
            unsafe { H5Dread(dataset, datatype, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.as_mut_ptr().cast()) };
        self.library.check(status, &self.place)?;
        described.unpacked(values)
    }

    fn contiguous(&self, shape: &[u64], size: usize) -> Result<Layout> {
        let dataset = self.opened.dataset.get();
        // SAFETY: under the lock; an open dataset. An address that is not there is no error.
        let (address, stored) = unsafe { (H5Dget_offset(dataset), H5Dget_storage_size(dataset)) };
        // Behind a user block, the address that there is none comes with the block's length added.
        if address == NO_ADDRESS || stored == 0 {
            self.library.failure();
            return Ok(Layout::Contiguous(None));
        }
        let bytes = shape.iter().try_fold(size as u64, |product, &extent| product.checked_mul(extent));
        if bytes.is_none_or(|bytes| bytes > stored) {
            return Err(self.too_short(stored));
        }
        Ok(Layout::Contiguous(Some(address)))
    }

    fn external(&self, plist: &Id<'_>, shape: &[u64], size: usize) -> Result<Layout> {
        let parent = name_of(self.library, &self.opened.file, &self.place)?;
        let segments = segments(self.library, plist, &parent, &self.place)?;
        let held = segments.iter().fold(0u64, |held, segment| held.saturating_add(segment.size));
        let bytes = shape.iter().try_fold(size as u64, |product, &extent| product.checked_mul(extent));
        if bytes.is_none_or(|bytes| bytes > held) {
            return Err(Error::Damaged {
                place: self.place.clone(),
                message: format!("its external storage has room for {held} bytes, less than its shape needs"),
            });
        }
        Ok(Layout::External(segments))
    }

    fn too_short(&self, stored: u64) -> Error {
        Error::Damaged {
            place: self.place.clone(),
            message: format!("the file holds {stored} bytes for it, less than its shape needs"),
        }
    }
}

/// Extent of each axis of a dataspace; `None` for a null dataspace, which has no values.
pub(super) fn extents(library: &Library, space: &Id<'_>, place: &Place) -> Result<Option<Vec<u64>>> {
    // SAFETY: under the lock; an open dataspace, and room for as many extents as it has.
    unsafe {
        if H5Sget_simple_extent_type(space.get()) == H5S_class_t::H5S_NULL {
            return Ok(None);
        }
        let rank = library.check(H5Sget_simple_extent_ndims(space.get()), place)?;
        let mut shape = vec![0; rank as usize];
        let status = H5Sget_simple_extent_dims(space.get(), shape.as_mut_ptr(), std::ptr::null_mut());
        library.check(status, place)?;
        Ok(Some(shape))
    }
}

/// Filters of HDF5 itself, and those that hdf5plugin brings
/// (<https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md>).
const KNOWN_FILTERS: [(u32, &str, bool); 22] = [
    (1, "deflate", false),
    (2, "shuffle", false),
    (3, "fletcher32", false),
    (4, "szip", false),
    (5, "nbit", false),
    (6, "scale-offset", false),
    (305, "lzo", false),
    (307, "bzip2", true),
    (32000, "lzf", false),
    (32001, "blosc", true),
    (32004, "lz4", true),
    (32008, "bitshuffle", true),
    (32013, "zfp", true),
    (32015, "zstd", true),
    (32017, "sz", true),
    (32018, "fcidecomp", true),
    (32019, "jpeg", false),
    (32023, "granular bitround", false),
    (32024, "sz3", true),
    (32026, "blosc2", true),
    (32028, "sperr", true),
    (32032, "jpegls", false),
];

/// The name that a filter is known by, or else the one in the file, which may be empty.
fn filter_name(step: &FilterStep) -> &str {
    KNOWN_FILTERS.iter().find(|known| known.0 == step.id).map_or(&step.name, |&(_, name, _)| name)
}

/// A filter's name and number.
fn describe_filter(step: &FilterStep) -> String {
    let name = match filter_name(step) {
        "" => "of no name",
        name => name,
    };
    format!("{name} ({})", step.id)
}

/// The same of a filter that nothing undoes, and what would help.
pub fn describe_missing(step: &FilterStep) -> String {
    let described = describe_filter(step);
    if KNOWN_FILTERS.iter().any(|&(id, _, by_hdf5plugin)| by_hdf5plugin && id == step.id) {
        format!(
            "{described}; 'pip install hdf5plugin' brings a plugin for it, which is found where HDF5_PLUGIN_PATH is not \
             set; or that names a folder with one before the first file is opened"
        )
    } else {
        format!("{described}; a plugin for it may be put into a folder that HDF5_PLUGIN_PATH names")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    #[test]
    fn what_is_not_hdf5_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        std::fs::write(&path, b"x").unwrap();
        let origin = Origin::new(path.clone(), Identity::of(&std::fs::metadata(&path).unwrap()));
        assert!(matches!(describe(&origin, b"d", |_| true, true), Err(Error::Unreadable { .. })));
    }
}
