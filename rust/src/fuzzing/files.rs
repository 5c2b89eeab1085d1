//! Whole files: a sound one that is damaged, mostly where it matters and so that libhdf5 gets past its checksums.

use std::fs::{File, FileTimes};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::matrix::Zeros;
use super::{BOUNDARIES, Input};
use crate::dataset::Layout;
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::pool::Control;
use crate::reduce::{Use, View, Wanted};
use crate::selection::Axis;
use crate::sparse::{self, Matrix, Types};
use crate::{dense, filters};

macro_rules! seeds {
    ($($name:literal: $datasets:expr,)*) => {
        /// Written by h5py in `fuzz/make_seeds.py`: what they are called, the files, and what is in them.
        const SEEDS: &[(&str, &[u8], &[&str])] =
            &[$(($name, include_bytes!(concat!("../../tests/data/seeds/", $name, ".h5")), $datasets),)*];
    };
}

seeds! {
    "earliest": &["tree", "contiguous"],
    "userblock": &["tree", "contiguous", "compact"],
    "indexes": &["single", "fixed", "implicit", "fill"],
    "growing": &["extensible", "tree2"],
    "paged": &["fixed"],
    "extended": &["extensible"],
    "strings-earliest": &["variable", "fixed"],
    "strings-latest": &["variable", "fixed"],
    "matrix-earliest": MATRIX,
    "matrix-latest": MATRIX,
    "filters": &["zstd", "lz4", "bitshuffle", "bzip2", "blosc", "blosc2", "szip"],
    "library": &["scaled", "bits", "virtual"],
}

const MATRIX: &[&str] = &["matrix/data", "matrix/indices", "matrix/indptr"];

/// Most bytes of a result that is read.
const MOST: usize = 1 << 20;

/// The bytes of the sound file of this name.
pub(super) fn seed(name: &str) -> &'static [u8] {
    SEEDS.iter().find(|seed| seed.0 == name).expect("a file of this name").1
}

/// What structures of the file format begin with
/// (<https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html>).
const SIGNATURES: [&[u8]; 18] = [
    b"\x89HDF\r\n\x1a\n",
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"GCOL",
    b"OHDR",
    b"OCHK",
    b"BTHD",
    b"BTLF",
    b"BTIN",
    b"FRHP",
    b"FAHD",
    b"FADB",
    b"EAHD",
    b"EAIB",
    b"EASB",
    b"EADB",
    b"FHDB",
];

/// Longest stretch that a checksum is looked for behind.
const LONGEST: usize = 2100;

/// A structure of a sound file, without its checksum if it has one.
struct Structure {
    range: Range<usize>,
    has_checksum: bool,
}

/// The structures of each sound file.
fn structures() -> &'static [Vec<Structure>] {
    static STRUCTURES: OnceLock<Vec<Vec<Structure>>> = OnceLock::new();
    STRUCTURES.get_or_init(|| SEEDS.iter().map(|seed| find_structures(seed.1)).collect())
}

fn find_structures(bytes: &[u8]) -> Vec<Structure> {
    let begins = |at: &usize| SIGNATURES.iter().any(|signature| bytes[*at..].starts_with(signature));
    let structure = |start: usize| {
        // Where the checksum stands is different for each of them; that of what is before it is nowhere else.
        let end = (start + 4..bytes.len().min(start + LONGEST).saturating_sub(3))
            .find(|&end| bytes[end..end + 4] == checksum(&bytes[start..end]).to_le_bytes());
        let range = start..end.unwrap_or_else(|| bytes.len().min(start + 256));
        Structure { range, has_checksum: end.is_some() }
    };
    (0..bytes.len()).filter(begins).map(structure).collect()
}

/// Bob Jenkins' lookup3 (<https://burtleburtle.net/bob/c/lookup3.c>, `hashlittle` from 0), of which libhdf5 has
/// `H5_checksum_lookup3`.
#[allow(clippy::many_single_char_names)]
fn checksum(bytes: &[u8]) -> u32 {
    let mut state = [0xdead_beef_u32.wrapping_add(bytes.len() as u32); 3];
    let blocks = bytes.len().div_ceil(12);
    for (number, block) in bytes.chunks(12).enumerate() {
        let word = |i: usize| {
            let byte = |j: usize| block.get(4 * i + j).copied().unwrap_or(0);
            u32::from_le_bytes(std::array::from_fn(byte))
        };
        let [a, b, c] = &mut state;
        (*a, *b, *c) = (a.wrapping_add(word(0)), b.wrapping_add(word(1)), c.wrapping_add(word(2)));
        if number + 1 < blocks {
            for (i, turn) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
                // a, c, b; then b, a, c; then c, b, a.
                let (x, y, z) = [(0, 2, 1), (1, 0, 2), (2, 1, 0)][i % 3];
                state[x] = state[x].wrapping_sub(state[y]) ^ state[y].rotate_left(turn);
                state[y] = state[y].wrapping_add(state[z]);
            }
        } else {
            for (i, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
                let (x, y) = [(2, 1), (0, 2), (1, 0)][i % 3];
                state[x] = (state[x] ^ state[y]).wrapping_sub(state[y].rotate_left(turn));
            }
        }
    }
    state[2]
}

/// A file that is removed when it is done with.
pub(super) struct Scrap(PathBuf);

impl Scrap {
    pub(super) fn write(bytes: &[u8]) -> Self {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("filebackedarray-fuzz-{}.h5", std::process::id()));
        std::fs::write(&path, bytes).expect("room for a small file");
        // The clock of a file system ticks so slowly that two files would be taken for one state of the same.
        let modified = SystemTime::UNIX_EPOCH + Duration::from_micros(number);
        let file = File::options().write(true).open(&path).expect("the file just written");
        file.set_times(FileTimes::new().set_modified(modified)).expect("a time of modification");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        // What cannot be removed is overwritten by the next.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The file that an input of the target `file` stands for, and the dataset of it that is read; all of the
/// matrix if it is none.
///
/// The input is the number of a sound file and of a dataset of it, whether checksums are to be right, then
/// changes of eight bytes each.
pub fn mutant(data: &[u8]) -> (Vec<u8>, Option<&'static str>) {
    let mut input = Input(data);
    let (number, fixed) = (usize::from(input.u8()), !input.u8().is_multiple_of(8));
    let (number, which) = (number % SEEDS.len(), number / SEEDS.len());
    let (_, sound, datasets) = SEEDS[number];
    let structures = &structures()[number];
    let mut bytes = sound.to_vec();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        mutate(&mut bytes, structures, &mut input);
    }
    if fixed {
        for Structure { range, .. } in structures.iter().filter(|structure| structure.has_checksum) {
            if let Some(content) = bytes.get(range.clone()) {
                let checksum = checksum(content).to_le_bytes();
                if let Some(stored) = bytes.get_mut(range.end..range.end + 4) {
                    stored.copy_from_slice(&checksum);
                }
            }
        }
    }
    let name = datasets.get(which % (datasets.len() + usize::from(datasets == MATRIX)));
    (bytes, name.copied())
}

/// Reads a mutant.
pub(super) fn mutated(data: &[u8]) -> usize {
    let (bytes, name) = mutant(data);
    let file = Scrap::write(&bytes);
    let most = bytes.len() * filters::DENSE + 2 * MOST;
    match name {
        None => read_matrix(file.path()),
        Some(name) => {
            if read(file.path(), name.as_bytes()) == Some(true) {
                return usize::MAX;
            }
        }
    }
    most
}

/// One change: its kind and place, and what it needs.
fn mutate(bytes: &mut Vec<u8>, structures: &[Structure], input: &mut Input<'_>) {
    let (kind, place, width, value) =
        (input.u8(), usize::from(input.u16()), 1 << (input.u8() & 3), input.u32());
    if bytes.is_empty() {
        return;
    }
    let at = match structures.get(place % (structures.len() + 1)) {
        Some(structure) if kind & 0x80 == 0 && !structure.range.is_empty() => {
            structure.range.start + place / (structures.len() + 1) % structure.range.len()
        }
        _ => place,
    } % bytes.len();
    let end = bytes.len().min(at + width);
    let mut field = [0; 8];
    field[..end - at].copy_from_slice(&bytes[at..end]);
    let old = u64::from_le_bytes(field);
    let new = match kind & 0x0f {
        0..=2 => BOUNDARIES[value as usize % BOUNDARIES.len()],
        3 | 4 => u64::from(value),
        5 => old.wrapping_add(1),
        6 => old.wrapping_sub(1),
        7 => old.wrapping_mul(2),
        8 => old ^ 1 << (value & 63),
        9 => (bytes.len() as u64).wrapping_sub(u64::from(value & 0xff)),
        10 => {
            let from = value as usize % bytes.len();
            let len = (value >> 16) as usize % 64;
            let len = len.min(bytes.len() - from).min(bytes.len() - at);
            bytes.copy_within(from..from + len, at);
            return;
        }
        11 => {
            let end = bytes.len().min(at + value as usize % 128);
            bytes[at..end].fill(if value >> 16 & 1 == 0 { 0 } else { 0xff });
            return;
        }
        12 if value.is_multiple_of(8) => {
            bytes.truncate(at);
            return;
        }
        _ => old ^ u64::from(value & 0xff),
    };
    bytes[at..end].copy_from_slice(&new.to_le_bytes()[..end - at]);
}

/// All statistics.
const ALL: Wanted = Wanted { sum: true, moments: true, extremes: true, nonzero: true };

/// Reads a dataset as far as it is small; whether its chunks may be as long as they say, however few their bytes.
fn read(path: &Path, name: &[u8]) -> Option<bool> {
    let dataset = checked(dense::inspect(path, name))?;
    let is_endless = match &dataset.layout {
        Layout::Chunked { filters, .. } => {
            filters.len() > 2 || filters.iter().any(|step| matches!(step.id, 307 | 32026))
        }
        // Checked by libhdf5, if at all.
        Layout::Library { .. } | Layout::Virtual(_) => true,
        Layout::Compact(_) | Layout::Contiguous(_) | Layout::External(_) => false,
    };
    let whole: Vec<Axis> =
        dataset.shape.iter().map(|&extent| Axis::all(extent)).collect::<Result<_>>().ok()?;
    let corner: Vec<Axis> = dataset
        .shape
        .iter()
        .map(|&extent| Axis::Range { start: 0, len: extent.min(3) as usize, step: 1 })
        .collect();
    for selection in [whole, corner] {
        let count = selection.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.len()));
        let Some(size) = count.and_then(|count| count.checked_mul(dataset.element.size())) else { continue };
        if size > MOST {
            continue;
        }
        if dataset.element == ElementType::STRING {
            checked(dense::read_strings(path, name, &selection, &Control::default()));
        } else {
            let mut out = vec![0; size];
            checked(dense::read(path, name, &selection, dataset.element, &mut out, &Control::default()));
            let axes =
                (0..selection.len()).map(|axis| if axis == 0 { Use::Keep } else { Use::Reduce }).collect();
            let target = dataset.element.to_native();
            checked(dense::reduce(
                path,
                name,
                &selection,
                target,
                &[View { axes, wanted: ALL }],
                true,
                &Control::default(),
            ));
        }
    }
    Some(is_endless)
}

fn read_matrix(path: &Path) {
    let [data, indices, indptr] = [0, 1, 2].map(|i| MATRIX[i].as_bytes().to_vec());
    let matrix = Matrix { path: path.to_owned(), data, indices, indptr, shape: [8, 6], by_column: true };
    let Some((_, stored @ ..10_000)) = checked(sparse::inspect(&matrix)) else { return };
    let types = Types { data: ElementType::I64, indices: ElementType::I64 };
    let (rows, columns) = (Axis::Indices(vec![1, 2, 5]), Axis::Range { start: 0, len: 6, step: 1 });
    let control = Control::default();
    let all = Axis::Range { start: 0, len: 8, step: 1 };
    if let Some(read) = checked(sparse::read::<Zeros>(&matrix, &all, &columns, types, &control)) {
        assert!(read.pointers.last().is_some_and(|&last| last <= stored));
    }
    checked(sparse::read::<Zeros>(&matrix, &rows, &columns, types, &control));
    checked(sparse::read_transposed::<Zeros>(&matrix, &rows, &columns, types, &control));
    for (rows, axes) in [(&all, [Use::Keep, Use::Reduce]), (&rows, [Use::Reduce, Use::Keep])] {
        let view = View { axes: axes.to_vec(), wanted: ALL };
        checked(sparse::reduce(&matrix, rows, &columns, ElementType::I64, &[view], false, &control));
    }
}

/// The result, if there is one; an error is never a defect of this package.
fn checked<T>(result: Result<T>) -> Option<T> {
    match result {
        Err(Error::Internal(message)) => panic!("{message}"),
        result => result.ok(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sound_files_are_read_and_their_checksums_found() {
        assert_eq!(checksum(b"Four score and seven years ago"), 0x1777_0551);
        for (number, (name, bytes, datasets)) in SEEDS.iter().enumerate() {
            let found = &structures()[number];
            let checksums = found.iter().filter(|structure| structure.has_checksum).count();
            assert_eq!(checksums > 0, !matches!(*name, "earliest" | "strings-earliest" | "matrix-earliest"));
            let file = Scrap::write(bytes);
            for dataset in *datasets {
                let all = dense::inspect(file.path(), dataset.as_bytes()).unwrap();
                assert!(all.count().unwrap() > 0, "{name} {dataset}");
                assert!(read(file.path(), dataset.as_bytes()).is_some(), "{name} {dataset}");
            }
        }
        mutated(&[]);
    }
}
