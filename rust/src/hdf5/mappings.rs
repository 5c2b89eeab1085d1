//! The mappings of a virtual dataset. They are asked of its creation properties, for which libhdf5 opens no source.

use std::ffi::{c_char, c_int};

use hdf5_metno_sys::h5i::hid_t;
use hdf5_metno_sys::h5p::{
    H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename, H5Pget_virtual_srcspace,
    H5Pget_virtual_vspace,
};
use hdf5_metno_sys::h5s::{
    H5S_sel_type, H5Sclose, H5Sget_regular_hyperslab, H5Sget_select_hyper_blocklist,
    H5Sget_select_hyper_nblocks, H5Sget_select_npoints, H5Sget_select_type, H5Sget_simple_extent_ndims,
    H5Sis_regular_hyperslab,
};

use super::Library;
use super::describe::extents;
use super::id::Id;
use crate::error::{Place, Result};
use crate::mapping::{Definition, Selected, Slab};
use crate::memory;
use crate::selection::Axis;

/// Maximum number of blocks of an irregular selection; one that has more is left to libhdf5.
const MOST_BLOCKS: u64 = 1 << 20;

/// What a virtual dataset's properties say of it.
pub(super) struct Stated {
    /// Extents as they are stored, if there is any mapping. They may be out of date where a source has grown.
    pub(super) shape: Option<Vec<u64>>,
    pub(super) definitions: Vec<Definition>,
}

/// Asks the creation properties of a virtual dataset for its mappings.
pub(super) fn stated(library: &Library, plist: &Id<'_>, place: &Place) -> Result<Stated> {
    let mut count = 0;
    // SAFETY: under the lock; an open property list, and room for a number.
    library.check(unsafe { H5Pget_virtual_count(plist.get(), &raw mut count) }, place)?;
    let (mut shape, mut definitions) = (None, Vec::new());
    for number in 0..count {
        // SAFETY: under the lock; an open property list that has so many mappings, and room as it is told.
        let (file, dataset) = unsafe {
            (
                name(library, place, |room, len| H5Pget_virtual_filename(plist.get(), number, room, len))?,
                name(library, place, |room, len| H5Pget_virtual_dsetname(plist.get(), number, room, len))?,
            )
        };
        // SAFETY: as above; each is a new dataspace.
        let (target, source) = unsafe {
            (
                library.id(H5Pget_virtual_vspace(plist.get(), number), H5Sclose, place)?,
                library.id(H5Pget_virtual_srcspace(plist.get(), number), H5Sclose, place)?,
            )
        };
        if shape.is_none() {
            shape = extents(library, &target, place)?;
        }
        let (target, source) = (selected(library, &target, place)?, selected(library, &source, place)?);
        definitions.push(Definition { file, dataset, target, source });
    }
    Ok(Stated { shape, definitions })
}

/// A name that libhdf5 writes, with a NUL, as far as there is room for it, and of which it tells the length.
fn name(library: &Library, place: &Place, ask: impl Fn(*mut c_char, usize) -> isize) -> Result<Vec<u8>> {
    let len = ask(std::ptr::null_mut(), 0);
    library.check(c_int::from(len < 0).wrapping_neg(), place)?;
    let mut name = memory::zeros::<u8>(len as usize + 1)?;
    let len = ask(name.as_mut_ptr().cast(), name.len());
    library.check(c_int::from(len < 0).wrapping_neg(), place)?;
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    Ok(name)
}

/// A selection. What is not all combinations of some indices along each axis is [`Selected::Other`].
fn selected(library: &Library, space: &Id<'_>, place: &Place) -> Result<Selected> {
    let id = space.get();
    // SAFETY: under the lock; an open dataspace.
    let (kind, rank) = unsafe { (H5Sget_select_type(id), H5Sget_simple_extent_ndims(id)) };
    if kind == H5S_sel_type::H5S_SEL_ALL {
        library.failure();
        return Ok(Selected::All);
    }
    let rank = library.check(rank, place)? as usize;
    if kind == H5S_sel_type::H5S_SEL_NONE {
        let none = Axis::Range { start: 0, len: 0, step: 1 };
        return Ok(Selected::Axes(vec![none; rank]));
    }
    if kind != H5S_sel_type::H5S_SEL_HYPERSLABS {
        return Ok(Selected::Other);
    }
    // SAFETY: as above.
    if library.check(unsafe { H5Sis_regular_hyperslab(id) }, place)? > 0 {
        let mut fields = [const { Vec::<u64>::new() }; 4];
        for field in &mut fields {
            field.resize(rank, 0);
        }
        let [start, stride, count, block] = &mut fields;
        // SAFETY: as above, and room for a number for each axis.
        let status = unsafe {
            H5Sget_regular_hyperslab(
                id,
                start.as_mut_ptr(),
                stride.as_mut_ptr(),
                count.as_mut_ptr(),
                block.as_mut_ptr(),
            )
        };
        library.check(status, place)?;
        let [start, stride, count, block] = &fields;
        let slab =
            |axis| Slab { start: start[axis], stride: stride[axis], count: count[axis], block: block[axis] };
        return Ok(Selected::Slabs((0..rank).map(slab).collect()));
    }
    irregular(library, id, rank, place)
}

/// The union of blocks, each of which the file lists by two corners.
fn irregular(library: &Library, id: hid_t, rank: usize, place: &Place) -> Result<Selected> {
    // SAFETY: under the lock; an open dataspace in which blocks are selected.
    let (blocks, points) = unsafe { (H5Sget_select_hyper_nblocks(id), H5Sget_select_npoints(id)) };
    let (Ok(blocks), Ok(points)) = (u64::try_from(blocks), u64::try_from(points)) else {
        library.failure();
        return Ok(Selected::Other);
    };
    if rank == 0 || blocks > MOST_BLOCKS {
        return Ok(Selected::Other);
    }
    let mut corners = memory::zeros::<u64>(blocks as usize * rank * 2)?;
    // SAFETY: as above, and room for two corners of each block.
    let status = unsafe { H5Sget_select_hyper_blocklist(id, 0, blocks, corners.as_mut_ptr()) };
    library.check(status, place)?;
    let axes: Option<Vec<Axis>> = (0..rank)
        .map(|axis| {
            let spans = corners.chunks_exact(2 * rank).map(|block| (block[axis], block[rank + axis]));
            union(spans.collect())
        })
        .collect();
    let all = |axes: &Vec<Axis>| axes.iter().try_fold(1u64, |all, axis| all.checked_mul(axis.len() as u64));
    // No more elements are in the blocks than in the product of what they have along each axis; as many only if they
    // are all of it.
    Ok(axes.filter(|axes| all(axes) == Some(points)).map_or(Selected::Other, Selected::Axes))
}

/// The indices of spans of which each is given by its first and its last.
fn union(mut spans: Vec<(u64, u64)>) -> Option<Axis> {
    spans.sort_unstable();
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for (first, last) in spans {
        let end = last.checked_add(1)?;
        match runs.last_mut() {
            Some((start, len)) if first <= *start + *len as u64 => {
                let longer = end.max(*start + *len as u64) - *start;
                *len = usize::try_from(longer).ok()?;
            }
            _ => runs.push((first, usize::try_from(end - first).ok()?)),
        }
    }
    Some(match runs.as_slice() {
        &[(start, len)] => Axis::Range { start, len, step: 1 },
        _ => Axis::Runs(runs),
    })
}
