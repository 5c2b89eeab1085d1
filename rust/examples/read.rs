//! Reads a dataset whole, several times, without Python: for profilers, which see the engine's symbols here.
//!
//! ```text
//! cargo run --release -p filebackedarray --example read -- FILE DATASET [REPEATS]
//! ```

use std::path::Path;
use std::time::Instant;

use filebackedarray::{Axis, Control, Error, dense};

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: read FILE DATASET [REPEATS]");
        std::process::exit(2);
    };
    let repeats: usize = rest.first().and_then(|text| text.parse().ok()).unwrap_or(3);
    let (path, name) = (Path::new(file), name.as_bytes());
    let dataset = dense::inspect(path, name)?;
    let selection: Vec<Axis> =
        dataset.shape.iter().map(|&extent| Axis::all(extent)).collect::<Result<_, _>>()?;
    let bytes = selection.iter().map(Axis::len).product::<usize>() * dataset.element.size();
    let mut out = vec![0; bytes];
    for _ in 0..repeats {
        let started = Instant::now();
        dense::read(path, name, &selection, dataset.element, &mut out, &Control::default())?;
        println!("{bytes} bytes in {:.3} s", started.elapsed().as_secs_f64());
    }
    Ok(())
}
