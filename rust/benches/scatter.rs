//! Writing of decoded chunks into a result, on one thread: whole chunks, lists of rows and columns, steps, and
//! conversions of elements. The result's memory has been written to before, so that no page fault counts.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use filebackedarray::benching::Scatter;
use filebackedarray::{Axis, ElementType, Error};

/// Side of the dataset.
const EXTENT: u64 = 4000;

fn list(step: usize) -> Axis {
    // No two of them neighbours, nor evenly apart.
    Axis::Indices((0..EXTENT).step_by(step).map(|index| index + index % 3).collect())
}

fn scatter(criterion: &mut Criterion) {
    let all = || Axis::Range { start: 0, len: EXTENT as usize, step: 1 };
    let every = |step| Axis::Range { start: 0, len: (EXTENT / step) as usize, step };
    let cases = [
        ("all, chunks 100x100", [100, 100], [all(), all()], "<i4", "<i4"),
        ("all, chunks 1000x100", [1000, 100], [all(), all()], "<i4", "<i4"),
        ("all, whole rows", [100, EXTENT], [all(), all()], "<i4", "<i4"),
        ("rows", [1000, 100], [list(20), all()], "<i4", "<i4"),
        ("columns", [1000, 100], [all(), list(20)], "<i4", "<i4"),
        ("rows and columns", [100, 100], [list(20), list(20)], "<i4", "<i4"),
        ("every 10th row and column", [100, 100], [every(10), every(10)], "<i4", "<i4"),
        ("int32 to float64", [1000, 100], [all(), all()], "<i4", "<f8"),
        ("big endian", [1000, 100], [all(), all()], ">i4", "<i4"),
        ("float16 to float32", [1000, 100], [all(), all()], "<f2", "<f4"),
    ];
    let mut group = criterion.benchmark_group("scatter");
    for (name, chunk, selection, from, to) in cases {
        let prepared = || -> Result<(Scatter, Vec<u8>), Error> {
            let (from, to) = (ElementType::from_numpy(from)?, ElementType::from_numpy(to)?);
            let values = vec![1u8; chunk.iter().product::<u64>() as usize * from.size()];
            Ok((Scatter::new(&[EXTENT; 2], &chunk, &selection, from, to)?, values))
        };
        let (scatter, values) = match prepared() {
            Ok(prepared) => prepared,
            Err(error) => {
                eprintln!("{name}: {error}");
                continue;
            }
        };
        let mut out = vec![0; scatter.len()];
        group.throughput(Throughput::Bytes(scatter.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| scatter.run(&values, &mut out)));
    }
    group.finish();
}

criterion_group!(benches, scatter);
criterion_main!(benches);
