//! Virtual datasets: which of their elements are which elements of which other datasets.
//!
//! A mapping pairs two selections of as many elements each: the `i`-th element of the one, in C order, is the `i`-th
//! of the other
//! (<https://support.hdfgroup.org/documentation/hdf5/latest/_h5_d__u_g.html>, *Virtual Dataset*). Pure arithmetic over
//! plain data; nothing here opens a file.

use std::ops::Range;

use crate::memory;
use crate::plan::{PerAxis, Piece};
use crate::selection::Axis;

/// A count or a block that goes on as far as there is data (`H5S_UNLIMITED`).
pub const UNLIMITED: u64 = u64::MAX;

/// Maximum number of stretches along one axis of a mapping; what has more is left to libhdf5.
const MOST_STRETCHES: u64 = 1 << 22;

/// Along one axis, a regular selection: `count` blocks of `block` indices, which begin `stride` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slab {
    /// First index.
    pub start: u64,
    /// Distance between the beginnings of two blocks.
    pub stride: u64,
    /// Number of blocks, or [`UNLIMITED`].
    pub count: u64,
    /// Indices of a block, or [`UNLIMITED`].
    pub block: u64,
}

impl Slab {
    /// Whether it goes on as far as there is data.
    pub fn is_unlimited(&self) -> bool {
        self.count == UNLIMITED || self.block == UNLIMITED
    }

    /// Whether the indices of its blocks are all consecutive.
    fn is_dense(&self) -> bool {
        self.block == UNLIMITED || self.block == self.stride || self.count <= 1
    }

    /// Number of indices of a limited selection; `None` where 64 bits cannot count them.
    fn len(&self) -> Option<u64> {
        if self.is_unlimited() { None } else { self.count.checked_mul(self.block) }
    }

    /// Number of indices below `extent`.
    fn below(&self, extent: u64) -> u64 {
        let Some(room) = extent.checked_sub(self.start) else { return 0 };
        if self.block == UNLIMITED {
            return room;
        }
        if self.stride == 0 {
            return 0;
        }
        let (whole, rest) = (room / self.stride, room % self.stride);
        if whole >= self.count {
            return self.count.saturating_mul(self.block);
        }
        whole.saturating_mul(self.block).saturating_add(rest.min(self.block))
    }

    /// Its first `len` indices; `None` where they are in too many stretches.
    fn first(&self, len: u64) -> Option<Axis> {
        let all = usize::try_from(len).ok()?;
        if len == 0 || self.is_dense() {
            return Some(Axis::Range { start: self.start, len: all, step: 1 });
        }
        if self.block == 1 {
            return Some(Axis::Range { start: self.start, len: all, step: self.stride });
        }
        if self.block == 0 || self.stride < self.block || len / self.block >= MOST_STRETCHES {
            return None;
        }
        let mut runs = Vec::new();
        let (mut left, mut start) = (len, self.start);
        while left > 0 {
            let run = left.min(self.block);
            memory::push(&mut runs, (start, usize::try_from(run).ok()?)).ok()?;
            left -= run;
            start = start.checked_add(self.stride)?;
        }
        Some(Axis::Runs(runs))
    }

    /// The block of this number; `None` past the largest index.
    fn nth(&self, number: u64) -> Option<Self> {
        let start = number.checked_mul(self.stride)?.checked_add(self.start)?;
        Some(Self { start, stride: 1, count: 1, block: self.block })
    }
}

/// One of the two selections of a mapping, as the file states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// Everything that there is.
    All,
    /// A regular selection along each axis.
    Slabs(Vec<Slab>),
    /// Any indices along each axis.
    Axes(Vec<Axis>),
    /// Something else, of which only libhdf5 makes sense.
    Other,
}

/// A mapping as the file states it: where the source is, and what of it goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name of the source's file, "." for the virtual dataset's own; may hold `%b`.
    pub file: Vec<u8>,
    /// Name of the source in that file; may hold `%b`.
    pub dataset: Vec<u8>,
    /// Selection of the virtual dataset.
    pub target: Selected,
    /// Selection of the source.
    pub source: Selected,
}

/// A mapping of which nothing is left to be found out but its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Name of the source's file, "." for the virtual dataset's own.
    pub file: Vec<u8>,
    /// Name of the source in that file.
    pub dataset: Vec<u8>,
    /// Indices of the virtual dataset along each of its axes.
    pub target: Vec<Axis>,
    /// Indices of the source along each of its axes; `None` for all.
    pub source: Option<Vec<Axis>>,
}

/// A virtual dataset of which only the sources' values are still to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Extent of each axis.
    pub shape: Vec<u64>,
    /// In the order in which they are read: where two have an element, the later one's counts.
    pub mappings: Vec<Mapping>,
}

impl Selected {
    fn memory(&self) -> usize {
        match self {
            Self::All | Self::Other => 0,
            Self::Slabs(slabs) => slabs.capacity() * size_of::<Slab>(),
            Self::Axes(axes) => {
                let indices = |axis: &Axis| match axis {
                    Axis::Range { .. } => 0,
                    Axis::Indices(indices) => indices.capacity() * size_of::<u64>(),
                    Axis::Runs(runs) => runs.capacity() * size_of::<(u64, usize)>(),
                };
                axes.iter().map(|axis| size_of::<Axis>() + indices(axis)).sum()
            }
        }
    }
}

impl Definition {
    /// Memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let names = self.file.capacity() + self.dataset.capacity();
        size_of::<Self>() + names + self.target.memory() + self.source.memory()
    }

    /// The axis of the virtual dataset along which it goes on as far as there is data.
    fn growing(&self) -> Option<usize> {
        match &self.target {
            Selected::Slabs(slabs) => slabs.iter().position(Slab::is_unlimited),
            Selected::All | Selected::Axes(_) | Selected::Other => None,
        }
    }

    /// Names of the first of its sources: of the file, and of the dataset in it.
    pub fn first_source(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        Some((Name::parse(&self.file)?.number(0), Name::parse(&self.dataset)?.number(0)))
    }

    /// One past the largest index along each axis that does not grow.
    fn least_shape(&self, axis: usize) -> Option<u64> {
        match &self.target {
            Selected::All | Selected::Other => None,
            Selected::Slabs(slabs) => {
                let slab = slabs.get(axis).filter(|slab| !slab.is_unlimited() && slab.count > 0)?;
                let last = slab.stride.checked_mul(slab.count - 1)?.checked_add(slab.start)?;
                last.checked_add(slab.block)
            }
            Selected::Axes(axes) => axes.get(axis)?.last()?.checked_add(1),
        }
    }
}

/// Makes mappings of definitions, with the extents that the virtual dataset has now. `stored` are those in the file;
/// `extents` says how large a source is, `None` where it does not exist.
///
/// As libhdf5 does by default (`H5D_VDS_LAST_AVAILABLE`): an axis along which something grows is as long as the
/// longest of its mappings, and a numbered source that is missing ends its series (`H5Pset_virtual_printf_gap` of 0).
///
/// The result is `None` for what only libhdf5 can make sense of.
///
/// # Errors
/// Those of `extents`.
pub fn resolve<E>(
    stored: &[u64],
    definitions: &[Definition],
    mut extents: impl FnMut(&[u8], &[u8]) -> Result<Option<Vec<u64>>, E>,
) -> Result<Option<Resolved>, E> {
    let mut grown: Vec<Option<u64>> = vec![None; stored.len()];
    let mut mappings = Vec::with_capacity(definitions.len());
    for definition in definitions {
        let Some(mut found) = expand(stored, definition, &mut grown, &mut extents)? else { return Ok(None) };
        // Elements that come in another shape than they have in the source.
        let is_paired = |mapping: &Mapping| {
            mapping.source.as_ref().is_none_or(|source| pair(&mapping.target, source).is_some())
        };
        if !found.iter().all(is_paired) {
            return Ok(None);
        }
        mappings.append(&mut found);
    }
    let least = |axis| definitions.iter().filter_map(|definition| definition.least_shape(axis)).max();
    let shape = stored.iter().zip(&grown).enumerate();
    let shape = shape
        .map(|(axis, (&stored, grown))| grown.map_or(stored, |grown| grown.max(least(axis).unwrap_or(0))))
        .collect();
    Ok(Some(Resolved { shape, mappings }))
}

/// The mappings of one definition; `grown` learns how far they reach.
fn expand<E>(
    stored: &[u64],
    definition: &Definition,
    grown: &mut [Option<u64>],
    extents: &mut impl FnMut(&[u8], &[u8]) -> Result<Option<Vec<u64>>, E>,
) -> Result<Option<Vec<Mapping>>, E> {
    let (Some(file), Some(dataset)) = (Name::parse(&definition.file), Name::parse(&definition.dataset))
    else {
        return Ok(None);
    };
    let numbered = file.is_numbered() || dataset.is_numbered();
    let mut reach = |axis: usize, end: u64| {
        let longest = grown[axis].map_or(end, |grown| grown.max(end));
        grown[axis] = Some(longest);
    };
    match (definition.growing(), numbered) {
        (None, false) => {
            let (Some(target), Some(source)) =
                (whole_target(stored, &definition.target), limited_source(&definition.source))
            else {
                return Ok(None);
            };
            Ok(Some(vec![Mapping { file: file.number(0), dataset: dataset.number(0), target, source }]))
        }
        (Some(axis), true) => {
            let Some(source) = limited_source(&definition.source) else { return Ok(None) };
            let Selected::Slabs(slabs) = &definition.target else { return Ok(None) };
            let mut mappings = Vec::new();
            reach(axis, 0);
            for number in 0.. {
                let (file, dataset) = (file.number(number), dataset.number(number));
                if extents(&file, &dataset)?.is_none() {
                    break;
                }
                let mut slabs = slabs.clone();
                let Some(block) = slabs[axis].nth(number) else { return Ok(None) };
                slabs[axis] = block;
                let Some(target) = limited(&slabs) else { return Ok(None) };
                reach(axis, target[axis].last().map_or(0, |last| last + 1));
                mappings.push(Mapping { file, dataset, target, source: source.clone() });
            }
            Ok(Some(mappings))
        }
        (Some(axis), false) => {
            let (Selected::Slabs(target), Selected::Slabs(source)) = (&definition.target, &definition.source)
            else {
                return Ok(None);
            };
            let Some(growing) = source.iter().position(Slab::is_unlimited) else { return Ok(None) };
            let (file, dataset) = (file.number(0), dataset.number(0));
            let Some(shape) = extents(&file, &dataset)? else {
                reach(axis, 0);
                return Ok(Some(Vec::new()));
            };
            let Some(&extent) = shape.get(growing) else { return Ok(None) };
            let len = source[growing].below(extent);
            let (Some(target), Some(source)) =
                (limited_along(target, axis, len), limited_along(source, growing, len))
            else {
                return Ok(None);
            };
            reach(axis, target[axis].last().map_or(0, |last| last.saturating_add(1)));
            Ok(Some(vec![Mapping { file, dataset, target, source: Some(source) }]))
        }
        // A number for which there is no block.
        (None, true) => Ok(None),
    }
}

fn limited(slabs: &[Slab]) -> Option<Vec<Axis>> {
    slabs.iter().map(|slab| slab.first(slab.len()?)).collect()
}

/// The same where one axis is unlimited, of which the first `len` indices are taken.
fn limited_along(slabs: &[Slab], axis: usize, len: u64) -> Option<Vec<Axis>> {
    let count = |(number, slab): (usize, &Slab)| if number == axis { Some(len) } else { slab.len() };
    slabs.iter().enumerate().map(|(number, slab)| slab.first(count((number, slab))?)).collect()
}

fn whole_target(stored: &[u64], selected: &Selected) -> Option<Vec<Axis>> {
    match selected {
        Selected::All => stored.iter().map(|&extent| Axis::all(extent).ok()).collect(),
        Selected::Slabs(slabs) => limited(slabs),
        Selected::Axes(axes) => Some(axes.clone()),
        Selected::Other => None,
    }
}

#[allow(clippy::option_option)] // None: not to be had; Some(None): all that there is.
fn limited_source(selected: &Selected) -> Option<Option<Vec<Axis>>> {
    match selected {
        Selected::All => Some(None),
        Selected::Slabs(slabs) => limited(slabs).map(Some),
        Selected::Axes(axes) => Some(Some(axes.clone())),
        Selected::Other => None,
    }
}

/// A name of a source in which `%b` stands for a number and `%%` for `%` (`H5Pset_virtual`).
struct Name<'a>(Vec<Segment<'a>>);

enum Segment<'a> {
    Text(&'a [u8]),
    Number,
}

impl<'a> Name<'a> {
    /// `None` for any other use of `%`.
    fn parse(name: &'a [u8]) -> Option<Self> {
        let (mut segments, mut rest) = (Vec::new(), name);
        while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
            match rest.get(at + 1) {
                Some(b'b') => segments.extend([Segment::Text(&rest[..at]), Segment::Number]),
                Some(b'%') => segments.push(Segment::Text(&rest[..=at])),
                _ => return None,
            }
            rest = &rest[at + 2..];
        }
        segments.push(Segment::Text(rest));
        Some(Self(segments))
    }

    fn is_numbered(&self) -> bool {
        self.0.iter().any(|segment| matches!(segment, Segment::Number))
    }

    fn number(&self, number: u64) -> Vec<u8> {
        let digits = number.to_string();
        let segments = self.0.iter().map(|segment| match segment {
            Segment::Text(text) => text,
            Segment::Number => digits.as_bytes(),
        });
        segments.flatten().copied().collect()
    }
}

/// For each axis of a mapping's target the axis of its source that it runs along; `None` for an axis of a single
/// index. The whole is `None` where the elements of one selection come in another shape than those of the other.
pub fn pair(target: &[Axis], source: &[Axis]) -> Option<Vec<Option<usize>>> {
    let mut left = source.iter().enumerate().filter(|(_, axis)| axis.len() != 1);
    let pairs = target
        .iter()
        .map(|axis| match axis.len() {
            1 => Some(None),
            len => left.next().filter(|(_, other)| other.len() == len).map(|(number, _)| Some(number)),
        })
        .collect::<Option<Vec<_>>>()?;
    left.next().is_none().then_some(pairs)
}

/// Some consecutive positions of a mapping along one axis, and where they are in a box of the virtual dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// First position among the mapping's indices.
    pub position: usize,
    /// First place in the box.
    pub place: usize,
    /// How many.
    pub len: usize,
}

/// The indices that a job wants along an axis, as stretches of first index and length; `offset` is where its chunk
/// begins.
pub fn wanted(piece: &Piece<'_>, offset: u64) -> Vec<Range<u64>> {
    if let Piece::Strided { source, step: 1, len, .. } = *piece {
        let start = offset + source as u64;
        let stretch = start..start + len as u64;
        return Vec::from([stretch]);
    }
    let mut stretches: Vec<Range<u64>> = Vec::new();
    piece.for_each(|source, _| {
        let index = offset + source as u64;
        match stretches.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            _ => stretches.push(index..index + 1),
        }
    });
    stretches
}

/// What of `axis`, the indices of a mapping, is among those that are wanted. `origin` is where the box begins.
pub fn hits(axis: &Axis, wanted: &[Range<u64>], origin: u64) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::new();
    let mut hit = |position: usize, index: u64, len: usize| {
        let place = (index - origin) as usize;
        match hits.last_mut() {
            Some(last) if last.position + last.len == position && last.place + last.len == place => {
                last.len += len;
            }
            _ => hits.push(Hit { position, place, len }),
        }
    };
    match axis {
        &Axis::Range { start, len, step } => {
            for stretch in wanted {
                let first = stretch.start.saturating_sub(start).div_ceil(step);
                let end = stretch.end.saturating_sub(start).div_ceil(step).min(len as u64);
                if first >= end {
                    continue;
                }
                if step == 1 {
                    hit(first as usize, start + first, (end - first) as usize);
                } else {
                    (first..end).for_each(|position| hit(position as usize, start + position * step, 1));
                }
            }
        }
        Axis::Indices(indices) => {
            for stretch in wanted {
                let first = indices.partition_point(|&index| index < stretch.start);
                let here = indices[first..].iter().take_while(|&&index| index < stretch.end);
                here.enumerate().for_each(|(number, &index)| hit(first + number, index, 1));
            }
        }
        Axis::Runs(runs) => {
            // Both are in order: of each, what lies before the other is passed once.
            let (mut stretches, mut before) = (wanted.iter().peekable(), 0);
            for &(start, len) in runs {
                let end = start + len as u64;
                while let Some(stretch) = stretches.peek() {
                    let (low, high) = (stretch.start.max(start), stretch.end.min(end));
                    if low < high {
                        hit(before + (low - start) as usize, low, (high - low) as usize);
                    }
                    if stretch.end > end {
                        break;
                    }
                    stretches.next();
                }
                before += len;
            }
        }
    }
    hits
}

/// The indices of `axis` at the positions of the hits.
///
/// # Errors
/// [`crate::Error::OutOfMemory`].
pub fn at(axis: &Axis, hits: &[Hit]) -> crate::Result<Axis> {
    let positions = || hits.iter().flat_map(|hit| hit.position..hit.position + hit.len);
    let collected = |indices: &dyn Fn(usize) -> u64| {
        let mut found = memory::with_capacity(hits.iter().map(|hit| hit.len).sum())?;
        found.extend(positions().map(indices));
        Ok(Axis::Indices(found))
    };
    match (axis, hits) {
        (_, [hit]) => axis.part(hit.position..hit.position + hit.len),
        (&Axis::Range { start, step, .. }, [first, second, ..]) => {
            let apart = second.position - first.position;
            let even = hits.iter().all(|hit| hit.len == 1)
                && hits.windows(2).all(|pair| pair[1].position - pair[0].position == apart);
            if even {
                let start = start + first.position as u64 * step;
                return Ok(Axis::Range { start, len: hits.len(), step: step * apart as u64 });
            }
            if step == 1 {
                return runs(hits.iter().map(|hit| (start + hit.position as u64, hit.len)));
            }
            collected(&|position| start + position as u64 * step)
        }
        (Axis::Indices(indices), _) => collected(&|position| indices[position]),
        (Axis::Runs(_), _) => {
            let mut parts = memory::with_capacity(hits.len())?;
            for hit in hits {
                match axis.part(hit.position..hit.position + hit.len)? {
                    Axis::Runs(mut runs) => parts.append(&mut runs),
                    Axis::Range { start, len, .. } => parts.push((start, len)),
                    Axis::Indices(indices) => parts.extend(indices.into_iter().map(|index| (index, 1))),
                }
            }
            runs(parts.into_iter())
        }
        (Axis::Range { start, .. }, []) => Ok(Axis::Range { start: *start, len: 0, step: 1 }),
    }
}

/// Stretches in order, of which neighbours are made one.
fn runs(stretches: impl Iterator<Item = (u64, usize)>) -> crate::Result<Axis> {
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for (start, len) in stretches {
        match runs.last_mut() {
            Some(last) if last.0 + last.1 as u64 == start => last.1 += len,
            _ => memory::push(&mut runs, (start, len))?,
        }
    }
    Ok(match runs.as_slice() {
        &[(start, len)] => Axis::Range { start, len, step: 1 },
        _ => Axis::Runs(runs),
    })
}

/// Finds which of many mappings reach into a box, without a look at each.
#[derive(Debug)]
pub struct Finder {
    /// Along this axis they are told apart.
    axis: usize,
    /// First index, one past the last, and number of each mapping, by first index.
    spans: Vec<(u64, u64, usize)>,
    /// The largest end of the spans up to each.
    ends: Vec<u64>,
}

impl Finder {
    pub fn new(mappings: &[Mapping]) -> Self {
        let span = |axis: &Axis| Some((axis.get(0)?, axis.last()?.saturating_add(1)));
        let rank = mappings.first().map_or(0, |mapping| mapping.target.len());
        let starts = |axis: usize| {
            let starts = mappings.iter().filter_map(|mapping| mapping.target.get(axis)?.get(0));
            starts.collect::<std::collections::HashSet<_>>().len()
        };
        let axis = (0..rank).rev().max_by_key(|&axis| starts(axis)).unwrap_or(0);
        let mut spans: Vec<_> = mappings
            .iter()
            .enumerate()
            .filter(|(_, mapping)| mapping.target.iter().all(|axis| !axis.is_empty()))
            .filter_map(|(number, mapping)| match mapping.target.get(axis) {
                Some(along) => span(along).map(|(start, end)| (start, end, number)),
                // A single value.
                None => Some((0, 1, number)),
            })
            .collect();
        spans.sort_unstable();
        let ends = spans
            .iter()
            .scan(0u64, |longest, &(_, end, _)| {
                *longest = end.max(*longest);
                Some(*longest)
            })
            .collect();
        Self { axis, spans, ends }
    }

    /// The numbers of the mappings that may reach into a box of this first index and shape, in order.
    pub fn find(&self, start: &[u64], count: &[u64]) -> Vec<usize> {
        let (low, len) =
            (start.get(self.axis).copied().unwrap_or(0), count.get(self.axis).copied().unwrap_or(1));
        let first = self.ends.partition_point(|&end| end <= low);
        let behind = self.spans.partition_point(|&(start, ..)| start < low + len);
        let mut found: Vec<usize> = self
            .spans
            .get(first..behind)
            .unwrap_or(&[])
            .iter()
            .filter(|&&(_, end, _)| end > low)
            .map(|&(.., number)| number)
            .collect();
        found.sort_unstable();
        found
    }
}

/// Copies an array in C order to the places of a larger one that the hits of each axis say. `element` is in bytes.
pub fn place(from: &[u8], hits: &[Vec<Hit>], lens: &[u64], element: usize, to: &mut [u8]) {
    let counts: PerAxis<usize> = hits.iter().map(|hits| hits.iter().map(|hit| hit.len).sum()).collect();
    place_axis((from, 0), (hits, &counts), lens, element, (to, 0));
}

fn place_axis(
    (from, source): (&[u8], usize),
    (hits, counts): (&[Vec<Hit>], &[usize]),
    lens: &[u64],
    element: usize,
    (to, target): (&mut [u8], usize),
) {
    let Some((here, inner)) = hits.split_first() else {
        to[target * element..][..element].copy_from_slice(&from[source * element..][..element]);
        return;
    };
    let mut position = source * counts[0];
    for hit in here {
        let first = target * lens[0] as usize + hit.place;
        if inner.is_empty() {
            let bytes = hit.len * element;
            to[first * element..][..bytes].copy_from_slice(&from[position * element..][..bytes]);
        } else {
            for number in 0..hit.len {
                let inside = (inner, &counts[1..]);
                place_axis(
                    (from, position + number),
                    inside,
                    &lens[1..],
                    element,
                    (&mut *to, first + number),
                );
            }
        }
        position += hit.len;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn indices(axis: &Axis) -> Vec<u64> {
        (0..axis.len()).map(|position| axis.get(position).unwrap()).collect()
    }

    fn any_slab() -> impl Strategy<Value = Slab> {
        (0u64..9, 1u64..6, 0u64..6, 1u64..6).prop_map(|(start, stride, count, block)| Slab {
            start,
            stride: stride.max(block),
            count,
            block,
        })
    }

    fn any_axis() -> impl Strategy<Value = Axis> {
        prop_oneof![
            (0u64..9, 0usize..9, 1u64..5).prop_map(|(start, len, step)| Axis::Range { start, len, step }),
            prop::collection::btree_set(0u64..40, 0..20)
                .prop_map(|set| Axis::Indices(set.into_iter().collect())),
            any_slab().prop_map(|slab| slab.first(slab.len().unwrap()).unwrap()),
        ]
    }

    proptest! {
        #[test]
        fn slabs_are_their_indices(slab in any_slab(), extent in 0u64..60) {
            let twin: Vec<u64> = (0..slab.count)
                .flat_map(|number| (0..slab.block).map(move |index| slab.start + number * slab.stride + index))
                .collect();
            prop_assert_eq!(indices(&slab.first(twin.len() as u64).unwrap()), twin.clone());
            let below = twin.iter().filter(|&&index| index < extent).count();
            prop_assert_eq!(slab.below(extent), below as u64);
            prop_assert_eq!(indices(&slab.first(below as u64).unwrap()), &twin[..below]);
        }

        #[test]
        fn hits_are_what_is_in_both(
            axis in any_axis(), source in any_axis(), set in prop::collection::btree_set(0u64..40, 0..20),
        ) {
            let mut stretches: Vec<Range<u64>> = Vec::new();
            for &index in &set {
                match stretches.last_mut() {
                    Some(last) if last.end == index => last.end += 1,
                    _ => stretches.push(index..index + 1),
                }
            }
            let origin = set.first().copied().unwrap_or(0);
            let found = hits(&axis, &stretches, origin);
            let flat: Vec<(usize, u64)> = found
                .iter()
                .flat_map(|hit| (0..hit.len).map(|i| (hit.position + i, (hit.place + i) as u64 + origin)))
                .collect();
            let twin: Vec<(usize, u64)> =
                indices(&axis).into_iter().enumerate().filter(|(_, index)| set.contains(index)).collect();
            prop_assert_eq!(&flat, &twin);
            if source.len() == axis.len() {
                let taken: Vec<u64> = twin.iter().map(|&(position, _)| source.get(position).unwrap()).collect();
                prop_assert_eq!(indices(&at(&source, &found).unwrap()), taken);
            }
        }

        #[test]
        fn whatever_reaches_into_a_box_is_found(
            spans in prop::collection::vec((0u64..50, 1usize..9, 0u64..50, 1usize..9), 0..20),
            start in (0u64..60, 0u64..60), count in (1u64..20, 1u64..20),
        ) {
            let range = |start, len| Axis::Range { start, len, step: 1 };
            let mappings: Vec<Mapping> = spans
                .iter()
                .map(|&(a, b, c, d)| Mapping {
                    file: Vec::new(), dataset: Vec::new(), target: vec![range(a, b), range(c, d)], source: None,
                })
                .collect();
            let found = Finder::new(&mappings).find(&[start.0, start.1], &[count.0, count.1]);
            prop_assert!(found.is_sorted());
            for (number, &(a, b, c, d)) in spans.iter().enumerate() {
                let apart = |at: u64, len: usize, start, count| at + len as u64 <= start || at >= start + count;
                if !apart(a, b, start.0, count.0) && !apart(c, d, start.1, count.1) {
                    prop_assert!(found.contains(&number));
                }
            }
        }
    }

    #[test]
    fn names_hold_numbers() {
        let number = |name: &[u8]| Name::parse(name).map(|name| (name.is_numbered(), name.number(12)));
        assert_eq!(number(b"a%b.h5").unwrap(), (true, b"a12.h5".to_vec()));
        assert_eq!(number(b"%b%%%b").unwrap(), (true, b"12%12".to_vec()));
        assert_eq!(number(b"plain").unwrap(), (false, b"plain".to_vec()));
        assert!(number(b"100%.h5").is_none() && number(b"%").is_none());
    }

    #[test]
    fn axes_of_one_index_are_left_out() {
        let range = |len| Axis::Range { start: 0, len, step: 1 };
        assert_eq!(
            pair(&[range(1), range(3), range(4)], &[range(3), range(4)]),
            Some(vec![None, Some(0), Some(1)])
        );
        assert_eq!(pair(&[range(3)], &[range(1), range(3)]), Some(vec![Some(1)]));
        assert_eq!(pair(&[range(12)], &[range(3), range(4)]), None);
        assert_eq!(pair(&[range(3)], &[range(3), range(4)]), None);
        assert_eq!(pair(&[], &[]), Some(vec![]));
    }
}
