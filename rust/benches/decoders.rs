//! Each decoder alone, on one thread: a chunk out of the page cache, through the filters of its dataset.
//!
//! The file is made by `python benches/data.py --filters FILE`, one dataset for each filter; `make bench-rust`
//! does that and says where it is in `FILEBACKEDARRAY_BENCH_FILTERS`.

use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use filebackedarray::benching::{Chunks, Depth, Scratch};

const FILE_VARIABLE: &str = "FILEBACKEDARRAY_BENCH_FILTERS";

/// Datasets of the file, after the filters that they are compressed with.
const DATASETS: [&str; 20] = [
    "shuffle",
    "fletcher32",
    "gzip",
    "gzip+shuffle",
    "szip",
    "lzf",
    "lzf+shuffle",
    "bzip2",
    "zstd",
    "zstd+shuffle",
    "lz4",
    "bitshuffle",
    "bitshuffle+lz4",
    "bitshuffle+zstd",
    "blosc+blosclz",
    "blosc+lz4",
    "blosc+zlib",
    "blosc+zstd",
    "blosc2+lz4",
    "blosc2+zstd",
];

fn decoders(criterion: &mut Criterion) {
    let Some(path) = std::env::var_os(FILE_VARIABLE).map(PathBuf::from) else {
        eprintln!("{FILE_VARIABLE} names no file; run `make bench-rust`");
        return;
    };
    let mut group = criterion.benchmark_group("decode");
    for dataset in DATASETS {
        let chunks = match Chunks::open(&path, dataset.as_bytes(), Depth::Values) {
            Ok(chunks) => chunks,
            Err(error) => {
                eprintln!("{dataset}: {error}");
                continue;
            }
        };
        let mut scratch = Scratch::default();
        let mut numbers = (0..chunks.count()).cycle();
        group.throughput(Throughput::Bytes(chunks.chunk_bytes() as u64));
        group.bench_function(dataset, |bencher| {
            bencher.iter(|| numbers.next().map(|number| chunks.decode(number, &mut scratch)));
        });
    }
    group.finish();
}

criterion_group!(benches, decoders);
criterion_main!(benches);
