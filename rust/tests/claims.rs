//! Files that claim to hold far more than they do, and an allocator that refuses what is large: each public function gives
//! a result or says that there is no memory. What asks for memory in a way that cannot fail ends the process here.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use filebackedarray::dense::Along;
use filebackedarray::product::{self, Left, Right};
use filebackedarray::reduce::{Use, View, Wanted};
use filebackedarray::sparse::{self, Array, Matrix, Types};
use filebackedarray::{Axis, Control, ElementType, Error, contents, dense};

#[path = "../../fuzz/src/allocations.rs"]
#[allow(dead_code)] // Only what refuses.
mod allocations;

/// Larger pieces of memory are refused: more than a chunk, a window or a block of numbers takes.
const MOST: usize = 64 << 20;

/// Work that would take for ever ends with Ctrl-C, which must not take long.
const PATIENCE: Duration = Duration::from_millis(40);

/// Results that ask for memory as numpy does, and may be refused.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Array for Bytes {
    fn allocate(count: usize, element: ElementType) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        let len = count.saturating_mul(element.size());
        bytes.try_reserve_exact(len).map_err(|_| Error::OutOfMemory("a result".into()))?;
        bytes.resize(len, 0);
        Ok(Self(bytes))
    }
    fn from_vec(bytes: Vec<u8>, _: ElementType) -> Result<Self, Error> {
        Ok(Self(bytes))
    }
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Calls functions and remembers their names.
struct Trial {
    path: PathBuf,
    tried: RefCell<BTreeSet<&'static str>>,
    refused: Cell<usize>,
}

impl Trial {
    fn call<T>(
        &self,
        function: &'static str,
        what: &str,
        call: impl FnOnce(&Control<'_>) -> Result<T, Error>,
    ) {
        self.tried.borrow_mut().insert(function);
        let started = Instant::now();
        let poll = || started.elapsed() > PATIENCE;
        let result = call(&Control::new(&poll)).map(drop);
        let elapsed = started.elapsed();
        match result {
            // Elements of the matrix are all the same one, thanks to fill values; or more bytes than the file has.
            Ok(())
            | Err(
                Error::Interrupted | Error::Damaged { .. } | Error::Structure(_) | Error::Unreadable { .. },
            ) => {}
            Err(Error::OutOfMemory(_)) => self.refused.set(self.refused.get() + 1),
            Err(other) => panic!("{function} of {what}: {other:?}"),
        }
        assert!(elapsed < PATIENCE + Duration::from_secs(5), "{function} of {what} took {elapsed:?}");
    }
}

fn selections(extent: u64) -> Vec<Axis> {
    vec![
        Axis::all(extent).unwrap(),
        Axis::Range { start: 1, len: (extent / 8) as usize, step: 8 },
        Axis::Range { start: extent - 1, len: 1, step: 1 },
        Axis::Indices(vec![0, 3, extent / 2, extent - 1]),
        Axis::Runs(vec![(0, 2), (5, (extent / 2) as usize)]),
    ]
}

const ALL: Wanted = Wanted { sum: true, moments: true, extremes: true, nonzero: true };

fn views(axes: usize) -> Vec<Vec<View>> {
    let uses = [Use::Reduce, Use::Keep];
    let view = |bits: usize| View {
        axes: (0..axes).map(|axis| uses[bits >> axis & 1].clone()).collect(),
        wanted: ALL,
    };
    (0..1 << axes).map(|bits| vec![view(bits)]).collect()
}

fn try_datasets(trial: &Trial) {
    let path = trial.path.as_path();
    let sizes: [(&str, &[u64]); 4] = [
        ("steps", &[1 << 40]),
        ("one chunk", &[1 << 33]),
        ("contiguous", &[1 << 40]),
        ("table", &[1 << 24, 1 << 24]),
    ];
    let names = ["strings", "steps", "one chunk", "contiguous", "table", "names", "fields", "tall/indptr"];
    for name in names {
        let bytes = name.as_bytes();
        trial.call("inspect", name, |_| {
            dense::inspect(path, bytes).or(Ok::<_, Error>(dense::inspect(path, b"steps")?))
        });
        trial.call("facts", name, |_| dense::facts(path, bytes));
        trial.call("read_path", name, |_| dense::read_path(path, bytes).or(Ok::<_, Error>(String::new())));
        trial.call("blocks", name, |_| dense::blocks(path, bytes).or(Ok::<_, Error>(Vec::new())));
        trial.call("object", name, |_| contents::object(path, bytes));
        trial.call("attributes", name, |_| contents::attributes(path, bytes, &[b"a".to_vec()]));
        if name != "fields" {
            trial.call("check", name, |control| dense::check(path, bytes, control));
        }
    }
    trial.call("members", "/", |_| contents::members(path, b"/"));
    for name in ["fields", "fields of any length"] {
        trial.call("field", name, |_| contents::field(path, name.as_bytes(), b"name"));
    }
    for selection in selections(1 << 40) {
        trial.call("read_strings", "names", |control| {
            dense::read_strings(path, b"names", &[selection], control)
        });
    }
    for (name, shape) in sizes {
        let bytes = name.as_bytes();
        for along in selections(shape[0]) {
            let mut selection = vec![along];
            selection.extend(shape[1..].iter().map(|&extent| Axis::all(extent).unwrap()));
            let mut few = selection.clone();
            few.iter_mut().skip(1).for_each(|axis| *axis = Axis::Indices(vec![1, 7]));
            for selection in [&selection, &few] {
                trial.call("read", name, |control| {
                    let count = selection.iter().map(Axis::len).fold(1usize, usize::saturating_mul);
                    let mut out = Bytes::allocate(count, ElementType::F64)?;
                    dense::read(path, bytes, selection, ElementType::F64, out.bytes(), control)
                });
                for views in views(shape.len()) {
                    trial.call("reduce", name, |control| {
                        dense::reduce(path, bytes, selection, ElementType::F64, &views, false, control)
                    });
                }
            }
        }
    }
    for (name, shape) in sizes {
        let points = |extent: u64| Along::Points(vec![0, extent / 2, extent - 1, 0]);
        let mut each: Vec<Vec<Along>> = vec![shape.iter().map(|&extent| points(extent)).collect()];
        if let &[rows, columns] = shape {
            each.extend(selections(columns).into_iter().map(|axis| vec![points(rows), Along::Every(axis)]));
        }
        for along in each {
            trial.call("read_points", name, |control| {
                let inner = along.iter().map(|along| match along {
                    Along::Points(_) => 1,
                    Along::Every(axis) => axis.len(),
                });
                let mut out = Bytes::allocate(inner.fold(4usize, usize::saturating_mul), ElementType::F64)?;
                dense::read_points(path, name.as_bytes(), &along, ElementType::F64, out.bytes(), control)
            });
        }
    }
    for rows in selections(1 << 24) {
        for columns in [Axis::all(1 << 24).unwrap(), Axis::Indices(vec![1, 7])] {
            trial.call("multiply", "table", |control| {
                let left = Left { rows: &rows, columns: &columns, transposed: false, via: ElementType::F64 };
                let right = Bytes::allocate(columns.len(), ElementType::F64)?;
                let mut out = Bytes::allocate(rows.len(), ElementType::F64)?;
                // Memory of bytes may lie anywhere.
                let values = vec![0.0; right.0.len() / 8];
                let mut result = vec![0.0; out.bytes().len() / 8];
                let mut right = Right { values: &values, width: 1, out: &mut result };
                product::multiply_dense::<f64>(path, b"table", &left, &mut right, control)
            });
        }
    }
}

fn try_matrices(trial: &Trial) {
    let types = Types { data: ElementType::F64, indices: ElementType::I64 };
    for (group, extent) in [("matrix", 9), ("tall", 1 << 40)] {
        for by_column in [false, true] {
            let part = |name: &str| format!("{group}/{name}").into_bytes();
            let shape = if by_column { [extent, 3] } else { [3, extent] };
            let (data, indices, indptr) = (part("data"), part("indices"), part("indptr"));
            let matrix = Matrix { path: trial.path.clone(), data, indices, indptr, shape, by_column };
            trial.call("inspect", group, |_| sparse::inspect(&matrix));
            let secondary = if extent == 9 {
                vec![Axis::all(9).unwrap(), Axis::Indices(vec![1, 5])]
            } else {
                selections(extent)
            };
            for (along, across) in [Axis::all(3).unwrap(), Axis::Indices(vec![0, 2])]
                .iter()
                .flat_map(|along| secondary.iter().map(move |across| (along, across)))
            {
                let (rows, columns) = if by_column { (across, along) } else { (along, across) };
                trial.call("read", group, |control| {
                    sparse::read::<Bytes>(&matrix, rows, columns, types, control)
                });
                trial.call("read_transposed", group, |control| {
                    sparse::read_transposed::<Bytes>(&matrix, rows, columns, types, control)
                });
                trial.call("read_dense", group, |control| {
                    let mut out =
                        Bytes::allocate(rows.len().saturating_mul(columns.len()), ElementType::F64)?;
                    sparse::read_dense(&matrix, rows, columns, ElementType::F64, out.bytes(), control)
                });
                for views in views(2) {
                    trial.call("reduce", group, |control| {
                        sparse::reduce(&matrix, rows, columns, ElementType::F64, &views, false, control)
                    });
                }
                for transposed in [false, true] {
                    trial.call("multiply", group, |control| {
                        let left = Left { rows, columns, transposed, via: ElementType::F64 };
                        let (outer, inner) = if transposed {
                            (columns.len(), rows.len())
                        } else {
                            (rows.len(), columns.len())
                        };
                        Bytes::allocate(outer.max(inner), ElementType::F64)?;
                        let (values, mut out) = (vec![0.0; inner], vec![0.0; outer]);
                        let mut right = Right { values: &values, width: 1, out: &mut out };
                        sparse::multiply::<f64>(&matrix, &left, &mut right, control)
                    });
                }
            }
        }
    }
}

/// Names of the public functions of the facades.
fn public_functions() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join("contents.rs")];
    for facade in ["dense", "sparse", "product"] {
        files.extend(std::fs::read_dir(source.join(facade)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let text: Vec<String> = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let names = text.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("pub fn "));
    names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()).collect()
}

#[test]
fn no_claim_ends_the_process() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/claims.h5");
    let trial = Trial { path, tried: RefCell::default(), refused: Cell::new(0) };
    allocations::refuse_above(MOST);
    try_datasets(&trial);
    try_matrices(&trial);
    allocations::refuse_above(usize::MAX);
    let tried: BTreeSet<String> = trial.tried.take().into_iter().map(str::to_owned).collect();
    assert_eq!(tried, public_functions(), "each public function is tried");
    assert!(trial.refused.get() > 20, "{} calls asked for more than there is", trial.refused.get());
}
