//! Compressed sparse matrices whose `indptr` and `indices` hold anything, read in all ways.

use std::sync::OnceLock;

use super::files::{Scrap, seed};
use super::{BOUNDARIES, Input};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::pool::Control;
use crate::product::{Left, Right};
use crate::reduce::{Use, View, Wanted};
use crate::selection::Axis;
use crate::sparse::{self, Array, Compressed, Matrix, Types};

/// Memory for results that starts out as zeros.
#[derive(Debug)]
pub(super) struct Zeros(Vec<u8>);

impl Array for Zeros {
    fn allocate(count: usize, element: ElementType) -> Result<Self> {
        Ok(Self(vec![0; count * element.size()]))
    }
    fn from_vec(bytes: Vec<u8>, _: ElementType) -> Result<Self> {
        Ok(Self(bytes))
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Zeros {
    fn integers(self) -> Vec<i64> {
        self.0.as_chunks().0.iter().map(|&bytes| i64::from_ne_bytes(bytes)).collect()
    }
}

const COLUMNS: usize = 6;
const STORED: usize = 15;
const TYPES: Types = Types { data: ElementType::I64, indices: ElementType::I64 };

/// Where each of the values of `indptr` and `indices` stands in the file without filters.
fn places() -> &'static [usize] {
    static PLACES: OnceLock<Vec<usize>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let bytes = seed("matrix-earliest");
        let chunks: [&[u64]; 6] =
            [&[0, 3, 3, 7], &[12, 12, 15], &[0, 3, 7, 1], &[2, 5, 6, 0], &[1, 4, 6, 7], &[2, 3, 4]];
        let place = |chunk: &&[u64]| {
            let wanted: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
            let at = bytes.windows(wanted.len()).position(|window| window == wanted);
            let at = at.expect("the chunk, as fuzz/make_seeds.py wrote it");
            (0..chunk.len()).map(move |i| at + 8 * i)
        };
        chunks.iter().flat_map(place).collect()
    })
}

/// The shape, how much of it is to be sound, values of `indptr` and `indices`, then a selection.
pub(super) fn damaged(data: &[u8]) -> usize {
    let mut input = Input(data);
    let (by_column, is_sound, extent) = (input.u8() & 1 == 0, input.u8(), u64::from(input.u8() % 9));
    let mut pointers = [0u64; COLUMNS + 1];
    let mut indices = [0u64; STORED];
    let number = |input: &mut Input<'_>, below: u64| match input.u8() {
        boundary @ 240..255 => BOUNDARIES[usize::from(boundary) % BOUNDARIES.len()],
        255 => input.u64(),
        small => u64::from(small) % below,
    };
    for position in 1..COLUMNS {
        pointers[position] = if is_sound & 1 == 0 {
            pointers[position - 1] + u64::from(input.u8()) % (STORED as u64 + 1 - pointers[position - 1])
        } else {
            number(&mut input, STORED as u64 + 2)
        };
    }
    pointers[COLUMNS] = STORED as u64;
    if is_sound & 4 != 0 {
        pointers[0] = number(&mut input, 2);
        pointers[COLUMNS] = number(&mut input, 2 * STORED as u64);
    }
    for index in &mut indices {
        *index = if is_sound & 2 == 0 {
            u64::from(input.u8()) % extent.max(1)
        } else {
            number(&mut input, extent + 1)
        };
    }
    let mut bytes = seed("matrix-earliest").to_vec();
    for (&place, value) in places().iter().zip(pointers.iter().chain(&indices)) {
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    let file = Scrap::write(&bytes);
    let primary = COLUMNS as u64;
    let matrix = Matrix {
        path: file.path().to_owned(),
        data: b"matrix/data".to_vec(),
        indices: b"matrix/indices".to_vec(),
        indptr: b"matrix/indptr".to_vec(),
        shape: if by_column { [extent, primary] } else { [primary, extent] },
        by_column,
    };
    let axis = |input: &mut Input<'_>, extent: u64| {
        let wanted = input.u16();
        match wanted & 3 {
            0 => Axis::all(extent).expect("a short axis"),
            1 if extent > 0 => {
                let start = u64::from(wanted >> 2) % extent;
                Axis::Range { start, len: (extent - start) as usize, step: 1 }
            }
            _ => Axis::Indices((0..extent).filter(|i| wanted >> (i + 2) & 1 == 1).collect()),
        }
    };
    let (along, across) = (axis(&mut input, primary), axis(&mut input, extent));
    check(&matrix, &pointers, &indices, &along, &across);
    1 << 20
}

/// Reads a selection in all ways, each of which is as the definition says.
fn check(matrix: &Matrix, pointers: &[u64], indices: &[u64], along: &Axis, across: &Axis) {
    let control = Control::default();
    let (rows, columns) = if matrix.by_column { (across, along) } else { (along, across) };
    let extent = if matrix.by_column { matrix.shape[0] } else { matrix.shape[1] };
    let mut dense = vec![0; along.len() * across.len() * 8];
    let in_dense = sparse::read_dense(matrix, rows, columns, ElementType::I64, &mut dense, &control);
    let compressed = sparse::read::<Zeros>(matrix, rows, columns, TYPES, &control);
    let transposed = sparse::read_transposed::<Zeros>(matrix, rows, columns, TYPES, &control);
    let wanted = Wanted { sum: true, extremes: true, ..Wanted::default() };
    let view = |keep: usize| {
        let mut axes = vec![Use::Reduce; 2];
        axes[keep] = Use::Keep;
        View { axes, wanted }
    };
    let by_row = usize::from(!matrix.by_column);
    let views = [view(by_row), view(1 - by_row)];
    let right: Vec<i64> = (0..2 * columns.len()).map(|i| (i as i64 * 37) % 23 - 11).collect();
    let mut product = vec![0i64; 2 * rows.len()];
    let left = Left { rows, columns, transposed: false, via: ElementType::I64 };
    let mut by = Right { values: &right, width: 2, out: &mut product };
    let multiplied = sparse::multiply(matrix, &left, &mut by, &control);
    let statistics = sparse::reduce(matrix, rows, columns, ElementType::I64, &views, false, &control);
    let is_structure = pointers[0] == 0 && pointers.is_sorted() && pointers[COLUMNS] == STORED as u64;
    let positions = |axis: &Axis| -> Vec<u64> { (0..axis.len()).filter_map(|i| axis.get(i)).collect() };
    let (along, across) = (positions(along), positions(across));
    if !is_structure {
        let errors = [in_dense.err(), compressed.err(), transposed.err(), statistics.err(), multiplied.err()];
        for error in errors {
            assert!(matches!(error, Some(Error::Structure(_))), "{error:?}");
        }
        return;
    }
    let elements = |column: u64| pointers[column as usize] as usize..pointers[column as usize + 1] as usize;
    let is_outside = |&column: &u64| indices[elements(column)].iter().any(|&index| index >= extent);
    if along.iter().any(is_outside) {
        assert!(matches!(multiplied, Err(Error::Index(_))), "{multiplied:?}");
        // A part of the other axis may be read without any of those that are outside of it.
        for error in [in_dense.err(), compressed.err(), transposed.err(), statistics.err()] {
            let is_index = matches!(error, Some(Error::Index(_)));
            assert!(is_index || error.is_none() && across.len() as u64 != extent, "{error:?}");
        }
        return;
    }
    let mut expected = vec![0i64; along.len() * across.len()];
    for (position, &column) in along.iter().enumerate() {
        for stored in elements(column) {
            if let Ok(at) = across.binary_search(&indices[stored]) {
                expected[position * across.len() + at] += stored as i64 + 1;
            }
        }
    }
    multiplied.expect("a sound matrix");
    let (height, width) =
        if matrix.by_column { (across.len(), along.len()) } else { (along.len(), across.len()) };
    for row in 0..height {
        for column in 0..2 {
            let value = |inner: usize| {
                let (position, at) = if matrix.by_column { (inner, row) } else { (row, inner) };
                expected[position * across.len() + at] * right[2 * inner + column]
            };
            assert_eq!(product[2 * row + column], (0..width).map(value).sum::<i64>());
        }
    }
    let statistics = statistics.expect("a sound matrix");
    // The first view keeps the axis that the matrix is not compressed along.
    for (view, len) in [(0, across.len()), (1, along.len())] {
        let width = across.len();
        let part = |at: usize| -> Vec<i64> {
            let is_mine = |place: usize| if view == 0 { place % width == at } else { place / width == at };
            (0..expected.len()).filter(|&place| is_mine(place)).map(|place| expected[place]).collect()
        };
        let sums = statistics[view].sum.as_deref().expect("sums of integers");
        let (_, max) = statistics[view].extremes.as_ref().expect("extremes");
        let (max, _) = max.as_chunks();
        for at in 0..len {
            assert_eq!(sums[at], part(at).iter().sum::<i64>());
            assert!(part(at).into_iter().max().is_none_or(|most| most == i64::from_ne_bytes(max[at])));
        }
    }
    in_dense.expect("a sound matrix");
    let (dense, _) = dense.as_chunks();
    assert!(dense.iter().map(|&value| i64::from_ne_bytes(value)).eq(expected.iter().copied()));
    let spread = |compressed: Compressed<Zeros>, outer: usize, inner: usize| {
        let (indices, values) = (compressed.indices.integers(), compressed.values.integers());
        let mut found = vec![0i64; outer * inner];
        for (position, pair) in compressed.pointers.windows(2).enumerate() {
            let stretch = pair[0] as usize..pair[1] as usize;
            assert!(indices[stretch.clone()].is_sorted_by(|a, b| a < b));
            for stored in stretch {
                found[position * inner + indices[stored] as usize] = values[stored];
            }
        }
        found
    };
    assert_eq!(spread(compressed.expect("a sound matrix"), along.len(), across.len()), expected);
    let found = spread(transposed.expect("a sound matrix"), across.len(), along.len());
    for (at, value) in expected.iter().enumerate() {
        assert_eq!(found[at % across.len() * along.len() + at / across.len()], *value);
    }
}
