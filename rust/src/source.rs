//! The file's bytes: positional reads, each checked against the file's length.
//!
//! No memory mapping: a file that is truncated under a mapping kills the process, a read of it is an error.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::{Error, Place, Result};
use crate::identity::Identity;
use crate::origin::Origin;
use crate::signature;

/// Stretches that are closer than this are read together: the bytes between cost less than another call to the
/// operating system.
pub const MERGE_GAP: usize = 4096;

/// Longer stretches are read each on its own: copying them once more would cost as much as a call.
const LONGEST_MERGED: u64 = 16 << 10;

/// No more bytes than these are read ahead.
const MOST_AHEAD: usize = 128 << 10;

/// Bytes of a file that were read together with those before them, for a thread that will ask for them.
#[derive(Debug, Default)]
pub struct Ahead {
    begin: u64,
    bytes: Vec<u8>,
}

impl Ahead {
    fn get(&self, address: u64, len: usize) -> Option<&[u8]> {
        let first = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        self.bytes.get(first..first.checked_add(len)?)
    }
}

/// An open file, with the identity that it had when it was opened.
#[derive(Debug)]
pub struct Source {
    file: File,
    origin: Origin,
    /// How often the operating system was asked for bytes.
    #[cfg(test)]
    calls: std::sync::atomic::AtomicUsize,
}

/// Which file a path leads to: its device and inode. Nothing of it is read.
///
/// # Errors
/// As [`Source::open`].
pub fn file_of(path: &Path) -> Result<(u64, u64)> {
    Ok(Source::open(path)?.identity().file())
}

impl Source {
    /// Opens a regular file; never waits for a FIFO or the like.
    ///
    /// # Errors
    /// [`Error::FileNotFound`]; [`Error::IsDirectory`]; [`Error::Io`] when it is no regular file or may not be read.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source: io::Error| match source.kind() {
            // A name with a NUL character is that of no file.
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Error::FileNotFound(path.to_owned()),
            _ => Error::Io { place: Place::file(path), source },
        };
        let file = open_without_waiting(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            let message = signature::of_folder(path).into();
            return Err(Error::IsDirectory { place: Place::file(path), message });
        }
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is not a regular file")));
        }
        Ok(Self {
            file,
            origin: Origin::new(path.to_owned(), Identity::of(&metadata)),
            #[cfg(test)]
            calls: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// The open file.
    #[cfg(target_os = "linux")]
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The same, as a file that takes part in what is found in another one.
    #[must_use]
    pub fn beside(self, main: &Origin) -> Self {
        Self { origin: self.origin.beside(main), ..self }
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        self.origin.path()
    }

    /// Which file it is, and in which state it was when it was opened.
    pub fn identity(&self) -> Identity {
        self.origin.identity()
    }

    /// The same, with the other files that take part in what is found here.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Whether it is still in the state that it was in when it was opened, and so are the others that took part.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system does not tell.
    pub fn is_unchanged(&self) -> Result<bool> {
        let metadata =
            self.file.metadata().map_err(|source| Error::Io { place: Place::file(self.path()), source })?;
        // A file that was replaced by another or removed keeps its bytes for as long as it is open,
        // but its count of links, and with that its `ctime`, changes.
        Ok(Identity::of(&metadata).same_content(&self.identity()) && self.origin.others_are_unchanged())
    }

    /// Checks that `size` bytes from `address` on are inside of the file.
    ///
    /// # Errors
    /// [`Error::Damaged`] at `place` when they are not.
    pub fn check(&self, address: u64, size: u64, place: impl Fn() -> Place) -> Result<()> {
        let length = self.identity().length();
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
        match self.ask(address, buffer) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::Damaged { place: place(), message: "the file ends before it".into() })
            }
            Err(source) => Err(Error::Io { place: place(), source }),
        }
    }

    /// The same for one of many short stretches. What `following` says will be asked for next, as first bytes and
    /// lengths, is read in the same call as far as it lies close behind, and waits in `ahead`, which belongs to one
    /// thread and one file.
    ///
    /// # Errors
    /// As [`Self::read_at`]; those of other stretches show when these are asked for.
    pub fn read_ahead(
        &self,
        address: u64,
        buffer: &mut [u8],
        ahead: &mut Ahead,
        following: impl Iterator<Item = (u64, u64)>,
        place: impl Fn() -> Place,
    ) -> Result<()> {
        self.check(address, buffer.len() as u64, &place)?;
        if buffer.len() as u64 <= LONGEST_MERGED
            && (ahead.get(address, buffer.len()).is_some()
                || self.refill(address, buffer.len(), ahead, following))
            && let Some(bytes) = ahead.get(address, buffer.len())
        {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        self.read_at(address, buffer, place)
    }

    /// Reads a stretch of `len` bytes and those that lie close behind it, if there are any: whether it did.
    fn refill(
        &self,
        address: u64,
        len: usize,
        ahead: &mut Ahead,
        following: impl Iterator<Item = (u64, u64)>,
    ) -> bool {
        let first_end = address + len as u64;
        let (mut end, last) =
            (first_end, self.identity().length().min(address.saturating_add(MOST_AHEAD as u64)));
        for (next, len) in following {
            let behind = next.checked_sub(end).is_some_and(|gap| gap <= MERGE_GAP as u64);
            match next.checked_add(len) {
                Some(next_end) if behind && len <= LONGEST_MERGED && next_end <= last => end = next_end,
                _ => break,
            }
        }
        if end == first_end {
            return false;
        }
        ahead.begin = address;
        ahead.bytes.resize((end - address) as usize, 0);
        let read = self.ask(address, &mut ahead.bytes).is_ok();
        if !read {
            // It may be bytes further on that cannot be read.
            ahead.bytes.clear();
        }
        read
    }

    fn ask(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        read_exact_at(&self.file, buffer, address)
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
    fn neighbours_are_read_in_one_call() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..1_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        file.write_all(&bytes).unwrap();
        let place = || Place::file(file.path());
        // How many calls it takes to read stretches one after another.
        let calls = |stretches: &[(u64, u64)]| {
            let source = Source::open(file.path()).unwrap();
            let mut ahead = Ahead::default();
            for (number, &(address, len)) in stretches.iter().enumerate() {
                let mut buffer = vec![0; len as usize];
                let following = stretches[number + 1..].iter().copied();
                source.read_ahead(address, &mut buffer, &mut ahead, following, place).unwrap();
                assert_eq!(buffer, bytes[address as usize..][..len as usize]);
                assert!(ahead.bytes.len() <= MOST_AHEAD);
            }
            source.calls.into_inner()
        };
        let apart = |count: u64, len: u64, gap: u64| -> Vec<(u64, u64)> {
            (0..count).map(|i| (i * (len + gap), len)).collect()
        };
        assert_eq!(calls(&apart(100, 1000, 0)), 1);
        assert_eq!(calls(&apart(1000, 1000, 0)), 1000 * 1000 / MOST_AHEAD + 1);
        assert_eq!(calls(&apart(10, 100, MERGE_GAP as u64)), 1);
        assert_eq!(calls(&apart(10, 100, MERGE_GAP as u64 + 1)), 10);
        assert_eq!(calls(&apart(10, LONGEST_MERGED + 1, 0)), 10);
        let mut backwards = apart(10, 1000, 0);
        backwards.reverse();
        assert_eq!(calls(&backwards), 10);
        assert_eq!(calls(&[(0, 10), (0, 10), (5, 10)]), 3, "stretches that overlap");
    }

    #[test]
    fn what_lies_ahead_is_no_reason_to_fail() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 300]).unwrap();
        let source = Source::open(file.path()).unwrap();
        let place = || Place::file(file.path());
        let (mut ahead, mut buffer) = (Ahead::default(), [0; 100]);
        for outside in [(100, 201), (100, u64::MAX), (u64::MAX, 1)] {
            source.read_ahead(0, &mut buffer, &mut ahead, [outside].into_iter(), place).unwrap();
            assert_eq!(buffer, [7; 100]);
            assert!(ahead.bytes.is_empty());
        }
        // It ends sooner than when it was opened.
        file.as_file().set_len(150).unwrap();
        source.read_ahead(0, &mut buffer, &mut ahead, [(100, 100)].into_iter(), place).unwrap();
        let beyond = source.read_ahead(100, &mut buffer, &mut ahead, std::iter::empty(), place);
        assert!(matches!(beyond, Err(Error::Damaged { .. })));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Source::open(folder.path()), Err(Error::IsDirectory { .. })));
        assert!(matches!(Source::open(&folder.path().join("none")), Err(Error::FileNotFound(_))));
        #[cfg(unix)]
        assert!(matches!(Source::open(Path::new("/dev/zero")), Err(Error::Io { .. })));
    }
}
