//! Writes the file that an input of the fuzz target `file` stands for, and prints which dataset of it is read.
//!
//! ```text
//! cargo run --release -p filebackedarray --features fuzzing --example mutant -- INPUT OUTPUT
//! ```

use std::error::Error;

use filebackedarray::fuzzing::mutant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        return Err("usage: mutant INPUT OUTPUT".into());
    };
    let (bytes, name) = mutant(&std::fs::read(input)?);
    std::fs::write(output, bytes)?;
    println!("{}", name.unwrap_or("matrix"));
    Ok(())
}
