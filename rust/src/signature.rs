//! What a file is that is no HDF5 file, told by how it begins, and what to do with it.
//!
//! Signatures are those of the formats' own specifications, as collected in `file`'s magic and in
//! <https://www.loc.gov/preservation/digital/formats/>.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Number of bytes that are looked at: a tar archive's signature stands at the 257th.
const LOOKED_AT: u64 = 4096;

/// Maximum number of characters of a text that are shown.
const SHOWN: usize = 40;

const UNPACK: &str = "; decompress it first, and open what comes out";

/// How the files of a format begin, what they are, and what to do.
const KINDS: [(&[u8], &str, &str); 43] = [
    // The signature is made so that transfers which take a file for text damage it (HDF5 File Format Specification, II.A).
    (b"\x89HDF\n", "an HDF5 file whose line ends were converted", "; transfer it again, as binary data"),
    (b"\x89HDF\r\r\n", "an HDF5 file whose line ends were converted", "; transfer it again, as binary data"),
    (b"\xc2\x89HDF", "an HDF5 file that was converted to UTF-8", "; transfer it again, as binary data"),
    (b"\xef\xbf\xbdHDF", "an HDF5 file that was converted to UTF-8", "; transfer it again, as binary data"),
    (b"\x1f\x8b", "a gzip file", UNPACK),
    (b"BZh", "a bzip2 file", UNPACK),
    (b"\xfd7zXZ\0", "an xz file", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 file", UNPACK),
    (b"PK\x03\x04", "a Zip archive", UNPACK),
    (b"PK\x05\x06", "an empty Zip archive", ""),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (
        b"version https://git-lfs.github.com/spec/v1",
        "a pointer of Git LFS",
        "; 'git lfs pull' fetches the file itself",
    ),
    (b"/annex/objects/", "a pointer of git-annex", "; 'git annex get' fetches the file itself"),
    (b"X\n\0\0\0", "an RDS file of R", "; R's readRDS() reads it"),
    (b"A\n2\n", "an RDS file of R", "; R's readRDS() reads it"),
    (b"A\n3\n", "an RDS file of R", "; R's readRDS() reads it"),
    (b"RDX", "an RData file of R", "; R's load() reads it"),
    (b"RDA", "an RData file of R", "; R's load() reads it"),
    (b"PAR1", "a Parquet file", ""),
    (b"ARROW1", "an Arrow file", ""),
    (b"FEA1", "a Feather file", ""),
    (b"CDF\x01", "a netCDF-3 file", "; 'nccopy -k nc4' converts it"),
    (b"CDF\x02", "a netCDF-3 file", "; 'nccopy -k nc4' converts it"),
    (b"CDF\x05", "a netCDF-3 file", "; 'nccopy -k nc4' converts it"),
    (b"\x0e\x03\x13\x01", "an HDF4 file", "; the HDF Group's h4toh5 converts it"),
    (b"%%MatrixMarket", "a Matrix Market file", "; scipy.io.mmread() reads it"),
    (b"\x93NUMPY", "a file of NumPy", "; numpy.load() reads it"),
    (b"MATLAB 5.0", "a MAT file of a version before 7.3", "; scipy.io.loadmat() reads it"),
    (b"SQLite format 3\0", "an SQLite database", ""),
    (b"\x80\x02", "a pickle of Python", ""),
    (b"\x80\x03", "a pickle of Python", ""),
    (b"\x80\x04\x95", "a pickle of Python", ""),
    (b"\x80\x05\x95", "a pickle of Python", ""),
    (b"II*\0", "a TIFF image", ""),
    (b"MM\0*", "a TIFF image", ""),
    (b"II+\0", "a BigTIFF image", ""),
    (b"\x89PNG", "a PNG image", ""),
    (b"\xff\xd8\xff", "a JPEG image", ""),
    (b"%PDF-", "a PDF document", ""),
    (b"SIMPLE  =", "a FITS file", ""),
    (b"\x7fELF", "a program", ""),
];

/// Says that a file is no HDF5 file, what it may be instead, and what to do.
pub(crate) fn explain(path: &Path) -> String {
    let mut begin = Vec::new();
    let Ok(length) = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        file.take(LOOKED_AT).read_to_end(&mut begin)?;
        Ok(length)
    }) else {
        return "it is no HDF5 file".into();
    };
    explained(&begin, length, path)
}

/// Says the same of the first bytes of a file of `length` bytes.
fn explained(begin: &[u8], length: u64, path: &Path) -> String {
    if begin.is_empty() {
        return "it is empty, and so no HDF5 file: whatever should write or fetch it has not done so".into();
    }
    if begin.iter().all(|&byte| byte == 0) {
        return format!(
            "it is no HDF5 file: it begins with {} zeros, as a download or a copy does that was not finished; fetch it \
             again",
            begin.len()
        );
    }
    if let Some((_, what, advice)) = KINDS.iter().find(|(signature, ..)| begin.starts_with(signature)) {
        let advice = match path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase) {
            Some(extension)
                if *what == "a gzip file" && ["rds", "rda", "rdata"].contains(&extension.as_str()) =>
            {
                ", as R's saved objects do; R's readRDS() or load() reads it"
            }
            _ => advice,
        };
        return format!("it is no HDF5 file: it begins like {what}{advice}");
    }
    if begin.get(257..262) == Some(b"ustar") {
        return format!("it is no HDF5 file: it begins like a tar archive{UNPACK}");
    }
    let Some(text) = text(begin) else {
        let bytes: Vec<String> = begin.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        return format!(
            "it is no HDF5 file: it has none of HDF5's signatures, is {length} bytes long and begins with the bytes {}",
            bytes.join(" ")
        );
    };
    let lower = text.to_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return "it is no HDF5 file: it begins like an HTML page, perhaps a server's message in the place of the file; open \
                it in a browser, and fetch the file again"
            .into();
    }
    let what = match lower.chars().next() {
        Some('<') => "an XML document, perhaps a server's message in the place of the file",
        Some('{' | '[') => "a JSON document, perhaps a server's message in the place of the file",
        _ => "text",
    };
    let shown: String = text.chars().take(SHOWN).collect();
    format!("it is no HDF5 file: it begins like {what}: {shown:?}")
}

/// The text that a file begins with, without what is blank before it; `None` if it is no text.
fn text(begin: &[u8]) -> Option<&str> {
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
    let text = match std::str::from_utf8(begin) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&begin[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_text = text.chars().all(|character| !character.is_control() || character.is_ascii_whitespace());
    is_text.then(|| text.trim_start())
}

/// What a folder is that was taken for a file, if that can be told.
pub(crate) fn of_folder(path: &Path) -> &'static str {
    let has = |name: &str| path.join(name).exists();
    if ["zarr.json", ".zgroup", ".zarray", ".zattrs"].into_iter().any(has) {
        "it is a Zarr store, not an HDF5 file"
    } else if has("matrix.mtx") || has("matrix.mtx.gz") {
        "it is a folder with a Matrix Market file, not an HDF5 file"
    } else if has("OBJECT") {
        "it is a folder of a takane or alabaster object; open the HDF5 file in it"
    } else {
        "it is a directory"
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(begin: &[u8], name: &str) -> String {
        explained(begin, begin.len() as u64, Path::new(name))
    }

    #[test]
    fn what_to_do_is_said() {
        assert!(of(b"\x1f\x8b\x08", "x.h5.gz").contains("gzip file; decompress it first"));
        assert!(of(b"\x1f\x8b\x08", "x.RDS").contains("readRDS()"));
        assert!(of(b"version https://git-lfs.github.com/spec/v1\noid", "x.h5").contains("git lfs pull"));
        assert!(of(b"", "x.h5").contains("empty"));
        assert!(of(&[0; 4096], "x.h5").contains("4096 zeros"));
        assert!(of(b"\n\n<!DOCTYPE html><html>404", "x.h5").contains("HTML"));
        assert!(of(b"<?xml version=\"1.0\"?><Error>", "x.h5").contains("XML"));
        assert!(of(b"\x89HDF\n\x1a\n", "x.h5").contains("as binary data"));
        let mut tar = vec![b'x'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(of(&tar, "x.h5").contains("tar archive"));
    }

    #[test]
    fn a_text_is_shown_and_bytes_are_not_taken_for_text() {
        assert!(of("gène,cell\n1,2\n".as_bytes(), "x.h5").contains("text: \"gène,cell\\n1,2\\n\""));
        assert!(of("é".repeat(3000).as_bytes().get(..4095).unwrap(), "x.h5").contains("text"));
        assert!(of(&[1, 2, 3], "x.h5").ends_with("3 bytes long and begins with the bytes 01 02 03"));
        assert!(of(b"\xff\xfe\xfd", "x.h5").ends_with("ff fe fd"));
    }
}
