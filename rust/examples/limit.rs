//! Decodes all chunks of a dataset into nothing and prints how many seconds that took: what no reader can be
//! faster than.
//!
//! ```text
//! cargo run --release -p filebackedarray --features benching --example limit -- decode FILE DATASET THREADS
//! ```
//!
//! `inflate` instead of `decode` undoes the last filter only, which is the compressor. Opening the file and
//! finding the chunks is not part of the time, nor is a first run, which makes the threads and warms the page cache.

use std::path::Path;
use std::time::Instant;

use filebackedarray::benching::{Chunks, Depth};
use filebackedarray::{Error, set_num_threads};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, file, name, threads] = arguments.as_slice() else { usage() };
    let depth = match what.as_str() {
        "decode" => Depth::Values,
        "inflate" => Depth::Compressor,
        _ => usage(),
    };
    let Ok(threads) = threads.parse() else { usage() };
    set_num_threads(threads)?;
    let chunks = Chunks::open(Path::new(file), name.as_bytes(), depth)?;
    chunks.decode_all()?;
    let started = Instant::now();
    chunks.decode_all()?;
    println!("{:.6}", started.elapsed().as_secs_f64());
    Ok(())
}

fn usage() -> ! {
    eprintln!("usage: limit decode|inflate FILE DATASET THREADS");
    std::process::exit(2);
}
