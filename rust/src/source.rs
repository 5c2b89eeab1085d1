//! The file's bytes: positional reads, each checked against the file's length.
//!
//! No memory mapping: a file that is truncated under a mapping kills the process, a read of it is an error.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Place, Result};
use crate::identity::Identity;

/// An open file, with the identity that it had when it was opened.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl Source {
    /// Opens a regular file; never waits for a FIFO or the like.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::Io`] when it is not a regular file or may not be read.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::FileNotFound(path.to_owned()),
            _ => Error::Io { place: Place::file(path), source },
        };
        let file = open_without_waiting(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "it is a directory" } else { "it is not a regular file" };
            return Err(failed(io::Error::other(what)));
        }
        Ok(Self { file, path: path.to_owned(), identity: Identity::of(&metadata) })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, and in which state it was when it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether it is still in the state that it was in when it was opened.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system does not tell.
    pub fn is_unchanged(&self) -> Result<bool> {
        let metadata =
            self.file.metadata().map_err(|source| Error::Io { place: Place::file(&self.path), source })?;
        // A file that was replaced by another or removed keeps its bytes for as long as it is open,
        // but its count of links, and with that its `ctime`, changes.
        Ok(Identity::of(&metadata).same_content(&self.identity))
    }

    /// Checks that `size` bytes from `address` on are inside of the file.
    ///
    /// # Errors
    /// [`Error::Damaged`] at `place` when they are not.
    pub fn check(&self, address: u64, size: u64, place: impl Fn() -> Place) -> Result<()> {
        let length = self.identity.length();
        if address.checked_add(size).is_some_and(|end| end <= length) {
            return Ok(());
        }
        Err(Error::Damaged {
            place: place(),
            message: format!(
                "{size} bytes at address {address} reach past the end of the file ({length} bytes)"
            ),
        })
    }

    /// Fills `buffer` with the bytes from `address` on.
    ///
    /// # Errors
    /// [`Error::Damaged`] at `place` when they reach past the end of the file, [`Error::Io`] when the
    /// operating system fails.
    pub fn read_at(&self, address: u64, buffer: &mut [u8], place: impl Fn() -> Place) -> Result<()> {
        self.check(address, buffer.len() as u64, &place)?;
        match read_exact_at(&self.file, buffer, address) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::Damaged { place: place(), message: "the file ends before it".into() })
            }
            Err(source) => Err(Error::Io { place: place(), source }),
        }
    }
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(windows)]
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], address: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, address)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut address: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        match file.seek_read(buffer, address) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                address += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn reads_are_checked_against_the_length() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1, 2, 3, 4]).unwrap();
        let source = Source::open(file.path()).unwrap();
        let place = || Place::file(file.path());
        let mut buffer = [0; 2];
        source.read_at(2, &mut buffer, place).unwrap();
        assert_eq!(buffer, [3, 4]);
        for address in [3, 4, u64::MAX] {
            assert!(matches!(source.read_at(address, &mut buffer, place), Err(Error::Damaged { .. })));
        }
        file.as_file().set_len(1).unwrap();
        assert!(!source.is_unchanged().unwrap());
        assert!(matches!(source.read_at(2, &mut buffer, place), Err(Error::Damaged { .. })));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Source::open(folder.path()), Err(Error::Io { .. })));
        assert!(matches!(Source::open(&folder.path().join("none")), Err(Error::FileNotFound(_))));
        #[cfg(unix)]
        assert!(matches!(Source::open(Path::new("/dev/zero")), Err(Error::Io { .. })));
    }
}
