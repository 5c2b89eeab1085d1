//! The engine on a real file, without Python. `data/make.py` wrote it with h5py.

#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use filebackedarray::sparse::{self, Array, Compressed, Matrix, Types};
use filebackedarray::{Axis, Control, ElementType, Error, dense};

const ROWS: u64 = 20;
const COLUMNS: u64 = 13;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small.h5")
}

/// The value that every dataset of the file has at a place.
fn value(row: u64, column: u64) -> i64 {
    (row * 100 + column) as i64
}

fn positions(axis: &Axis) -> Vec<u64> {
    (0..axis.len()).map(|position| axis.get(position).unwrap()).collect()
}

fn selections(extent: u64) -> Vec<Axis> {
    vec![
        Axis::all(extent).unwrap(),
        Axis::Range { start: 3, len: 4, step: 2 },
        Axis::Indices(vec![0, 1, 6, 7, extent - 1]),
        Axis::Runs(vec![(1, 2), (6, 3)]),
        Axis::Range { start: 0, len: 0, step: 1 },
    ]
}

/// Memory for results that starts out as zeros, so that reading it is sound whatever was written.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Array for Bytes {
    fn allocate(count: usize, element: ElementType) -> Result<Self, Error> {
        Ok(Self(vec![0; count * element.size()]))
    }
    fn from_vec(bytes: Vec<u8>, _element: ElementType) -> Result<Self, Error> {
        Ok(Self(bytes))
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Bytes {
    fn integers(self) -> Vec<i64> {
        self.0.as_chunks::<8>().0.iter().map(|&bytes| i64::from_ne_bytes(bytes)).collect()
    }
}

fn read(name: &str, rows: &Axis, columns: &Axis) -> Result<Vec<i64>, Error> {
    let mut out = Bytes::allocate(rows.len() * columns.len(), ElementType::I64)?;
    let selection = [rows.clone(), columns.clone()];
    dense::read(&file(), name.as_bytes(), &selection, ElementType::I64, out.bytes(), &Control::default())?;
    Ok(out.integers())
}

#[test]
fn datasets_are_read_by_any_selection() {
    for name in ["chunked", "contiguous"] {
        assert_eq!(dense::read_path(&file(), name.as_bytes()).unwrap(), "direct");
        for rows in selections(ROWS) {
            for columns in selections(COLUMNS) {
                let expected: Vec<i64> = positions(&rows)
                    .iter()
                    .flat_map(|&row| positions(&columns).into_iter().map(move |column| value(row, column)))
                    .collect();
                assert_eq!(read(name, &rows, &columns).unwrap(), expected, "{name} {rows:?} {columns:?}");
            }
        }
    }
}

#[test]
fn what_was_never_written_is_fill_value() {
    let (rows, columns) = (Axis::all(ROWS).unwrap(), Axis::all(COLUMNS).unwrap());
    let found = read("partly", &rows, &columns).unwrap();
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let expected = if row < 7 { value(row, column) } else { -1 };
            assert_eq!(found[(row * COLUMNS + column) as usize], expected);
        }
    }
}

fn matrix() -> Matrix {
    let name = |member: &str| format!("matrix/{member}").into_bytes();
    Matrix {
        path: file(),
        data: name("data"),
        indices: name("indices"),
        indptr: name("indptr"),
        shape: [ROWS, COLUMNS],
        by_column: true,
    }
}

#[test]
fn matrices_are_read_in_both_orientations() {
    let target = Types { data: ElementType::I64, indices: ElementType::I64 };
    let control = Control::default();
    for rows in selections(ROWS) {
        for columns in selections(COLUMNS) {
            let (row_list, column_list) = (positions(&rows), positions(&columns));
            let element = |row: usize, column: usize| {
                let (row, column) = (row_list[row], column_list[column]);
                ((row + column) % 3 == 0 && row + column > 0).then(|| value(row, column))
            };
            let check = |found: Compressed<Bytes>, primary: usize, secondary: usize, transposed: bool| {
                let mut pointers = vec![0];
                let (mut indices, mut values) = (Vec::new(), Vec::new());
                for p in 0..primary {
                    for s in 0..secondary {
                        if let Some(value) = if transposed { element(p, s) } else { element(s, p) } {
                            indices.push(s as i64);
                            values.push(value);
                        }
                    }
                    pointers.push(indices.len() as u64);
                }
                assert_eq!(found.pointers, pointers);
                assert_eq!(found.indices.integers(), indices);
                assert_eq!(found.values.integers(), values);
            };
            let found = sparse::read(&matrix(), &rows, &columns, target, &control).unwrap();
            check(found, columns.len(), rows.len(), false);
            let found = sparse::read_transposed(&matrix(), &rows, &columns, target, &control).unwrap();
            check(found, rows.len(), columns.len(), true);
            let mut out = vec![0; rows.len() * columns.len() * 8];
            sparse::read_dense(&matrix(), &rows, &columns, ElementType::I64, &mut out, &control).unwrap();
            for (place, bytes) in out.as_chunks::<8>().0.iter().enumerate() {
                let (column, row) = (place / rows.len(), place % rows.len());
                assert_eq!(i64::from_ne_bytes(*bytes), element(row, column).unwrap_or(0));
            }
        }
    }
}

#[test]
fn wrong_matrices_are_refused() {
    let inspect = |change: &dyn Fn(&mut Matrix)| {
        let mut matrix = matrix();
        change(&mut matrix);
        sparse::inspect(&matrix)
    };
    assert_eq!(inspect(&|_| ()).unwrap().0.data, ElementType::I32);
    assert!(matches!(inspect(&|m| m.shape[1] = 12), Err(Error::Structure(_))));
    assert!(matches!(inspect(&|m| m.by_column = false), Err(Error::Structure(_))));
    assert!(matches!(inspect(&|m| m.data = m.indptr.clone()), Err(Error::Structure(_))));
    assert!(matches!(inspect(&|m| m.data = b"matrix".to_vec()), Err(Error::NotFound { .. })));
    assert!(matches!(inspect(&|m| m.path = "none.h5".into()), Err(Error::FileNotFound(_))));

    let too_small = Matrix { shape: [ROWS - 3, COLUMNS], ..matrix() };
    let target = Types { data: ElementType::I64, indices: ElementType::I64 };
    let (rows, columns) = (Axis::all(ROWS - 3).unwrap(), Axis::all(COLUMNS).unwrap());
    let whole = sparse::read::<Bytes>(&too_small, &rows, &columns, target, &Control::default());
    assert!(matches!(whole, Err(Error::Index(message)) if message.contains("matrix/indices")));
    let part = Axis::Range { start: 0, len: 5, step: 1 };
    assert!(sparse::read::<Bytes>(&too_small, &part, &columns, target, &Control::default()).is_ok());
}

#[test]
fn a_request_is_whole_or_stopped() {
    let poll = || true;
    let mut out = Bytes::allocate((ROWS * COLUMNS) as usize, ElementType::I64).unwrap();
    let selection = [Axis::all(ROWS).unwrap(), Axis::all(COLUMNS).unwrap()];
    let control = Control::new(&poll);
    match dense::read(&file(), b"chunked", &selection, ElementType::I64, out.bytes(), &control) {
        // The request may be done before anybody asks.
        Ok(()) => assert_eq!(out.integers().last(), Some(&value(ROWS - 1, COLUMNS - 1))),
        Err(error) => assert!(matches!(error, Error::Interrupted)),
    }
}

/// Memory of which there is little.
#[derive(Debug)]
struct Little;

impl Array for Little {
    fn allocate(count: usize, _: ElementType) -> Result<Self, Error> {
        if count > 1 << 20 { Err(Error::OutOfMemory("little".into())) } else { Ok(Self) }
    }
    fn from_vec(_: Vec<u8>, _: ElementType) -> Result<Self, Error> {
        Ok(Self)
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut []
    }
}

#[test]
fn what_a_file_only_claims_to_hold_takes_no_memory() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/claims.h5");
    let strings = dense::inspect(&path, b"strings").unwrap();
    assert_eq!((strings.element.size(), strings.fill.as_slice()), (2_000_000_000, &[][..]));
    let matrix = Matrix {
        path,
        data: b"matrix/data".to_vec(),
        indices: b"matrix/indices".to_vec(),
        indptr: b"matrix/indptr".to_vec(),
        shape: [9, 3],
        by_column: true,
    };
    let types = Types { data: ElementType::F64, indices: ElementType::I32 };
    let (rows, columns) = (Axis::all(9).unwrap(), Axis::Indices(vec![0, 2]));
    // Each of the chunks that there are not would be listed, had the result not been made room for first.
    let found = sparse::read::<Little>(&matrix, &rows, &columns, types, &Control::default());
    assert!(matches!(found, Err(Error::OutOfMemory(_))), "{found:?}");
}
