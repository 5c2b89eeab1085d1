//! Files that are made whole or not at all: a temporary file beside the target, which takes its place at the end.
//!
//! A lock file beside both says that a writer is at work. The system lets go of the lock of a process that was killed, and
//! what such a process left is taken away by the next writer of the same file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Place, Result};
use crate::identity::Identity;
use crate::pool;

/// What the names of temporary files and of lock files end with.
const TEMPORARY: &str = ".filebackedarray-new";
const LOCK: &str = ".filebackedarray-lock";

/// Maximum length of the part of a target's name that the temporary names have, in bytes: file systems allow 255 in all.
const LONGEST_NAME: usize = 200;

/// Maximum number of symbolic links from the path to the file (Linux has `MAXSYMLINKS`, 40).
const MOST_LINKS: usize = 40;

/// Bytes of an existing file that are copied before it is asked again whether to stop.
const COPIED_AT_ONCE: u64 = 256 << 20;

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is an error.
    New,
    /// It is replaced.
    Replace,
    /// It is kept, and what is written is added to it.
    Add,
}

/// The temporary file, which is taken away when this is dropped, and the lock.
#[derive(Debug)]
pub(super) struct Temporary {
    target: PathBuf,
    path: PathBuf,
    mode: Mode,
    /// The state of the target when it was copied, or was to be replaced.
    previous: Option<Identity>,
    lock: Option<File>,
    lock_path: PathBuf,
    /// A child process that was forked has a copy of this, and none of the rights.
    process: u32,
    is_in_place: bool,
}

impl Temporary {
    /// Takes the lock, and makes the temporary file: empty, or a copy of the target.
    ///
    /// # Errors
    /// [`Error::Occupied`] when another writer is at work on the target; [`Error::Exists`] when there is one that is to be
    /// new; [`Error::IsDirectory`]; [`Error::Writing`] when the system refuses, also since the target must not be written to;
    /// [`Error::Locked`] when another program has the target open for writing.
    pub(super) fn make(path: &Path, mode: Mode) -> Result<Self> {
        let place = Place::file(path);
        let failed = |source| Error::Writing { place: place.clone(), source };
        let target = resolve(path).map_err(failed)?;
        let name = target.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let beside = |ending: &str| target.with_file_name(hidden(name, ending));
        let (temporary, lock_path) = (beside(TEMPORARY), beside(LOCK));
        // Before anything is made: what is certain to fail leaves no trace.
        let existing = existing(&target, &place, mode)?;
        let lock =
            take_lock(&lock_path).map_err(failed)?.ok_or_else(|| Error::Occupied { place: place.clone() })?;
        let mut made = Self {
            previous: None,
            target,
            path: temporary,
            mode,
            lock: Some(lock),
            lock_path,
            process: std::process::id(),
            is_in_place: false,
        };
        match fs::remove_file(&made.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut new = OpenOptions::new().write(true).create_new(true).open(&made.path).map_err(failed)?;
        if let Some(mut existing) = existing {
            made.previous = Some(Identity::of(&existing.metadata().map_err(failed)?));
            if mode == Mode::Add {
                made.copy(&mut existing, &mut new)?;
            }
        }
        Ok(made)
    }

    /// The temporary file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that it will be.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Whether it began as a copy of the target.
    pub(super) fn is_copy(&self) -> bool {
        self.mode == Mode::Add && self.previous.is_some()
    }

    fn copy(&self, from: &mut File, to: &mut File) -> Result<()> {
        let place = Place::file(&self.target);
        // Where others write by HDF5, they have a lock that keeps this one out. Systems without locks have none.
        match from.try_lock_shared() {
            Err(TryLockError::WouldBlock) if !crate::hdf5::locks_are_off() => {
                let source = io::Error::from_raw_os_error(libc::EWOULDBLOCK);
                return Err(Error::Locked { place, source });
            }
            _ => {}
        }
        // `io::copy` has the system copy from file to file, which shares the blocks where it can.
        while io::copy(&mut io::Read::take(&mut *from, COPIED_AT_ONCE), to)
            .map_err(|source| Error::Writing { place: place.clone(), source })?
            > 0
        {
            if pool::is_stopped() {
                return Err(Error::Interrupted);
            }
        }
        let after = from.metadata().map_err(|source| Error::Writing { place: place.clone(), source })?;
        if self.previous.is_some_and(|before| !before.same_content(&Identity::of(&after))) {
            return Err(Error::Changing { place });
        }
        Ok(())
    }

    /// Has the system write it to the disk, and puts it in the place of the target, with its mode and owner.
    ///
    /// # Errors
    /// [`Error::Writing`]; [`Error::Unwritable`] when the target is not what it was when it was copied;
    /// [`Error::Exists`] when there is one now that was not to be replaced.
    pub(super) fn put_in_place(mut self) -> Result<()> {
        let place = Place::file(&self.target);
        let failed = |source| Error::Writing { place: place.clone(), source };
        let made = OpenOptions::new().read(true).write(true).open(&self.path).map_err(failed)?;
        made.sync_all().map_err(failed)?;
        let now = match fs::metadata(&self.target) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        match (&now, self.previous) {
            (Some(now), Some(before)) if self.mode == Mode::Add && Identity::of(now) != before => {
                let message = "it was changed while a new version of it was made, which would lose that change; nothing \
                               was written";
                return Err(Error::Unwritable { place, message: message.into() });
            }
            (Some(_), None) if self.mode != Mode::Replace => return Err(Error::Exists { place }),
            _ => {}
        }
        if let Some(now) = now {
            take_after(&made, &now).map_err(failed)?;
        }
        drop(made);
        fs::rename(&self.path, &self.target).map_err(failed)?;
        self.is_in_place = true;
        sync_folder(&self.target).map_err(failed)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return;
        }
        // Nothing can be done where these fail; the next writer takes them away.
        if !self.is_in_place {
            let _ = fs::remove_file(&self.path);
        }
        // While the lock is held, so that nobody else's is taken away.
        let _ = fs::remove_file(&self.lock_path);
        self.lock = None;
    }
}

/// The file that a path leads to, which need not be there, by an absolute path without a symbolic link at its end.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut found = std::path::absolute(path)?;
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&found) {
            Ok(metadata) if metadata.is_symlink() => {
                let link = fs::read_link(&found)?;
                found = found.parent().map_or(link.clone(), |folder| folder.join(&link));
            }
            _ => return Ok(found),
        }
    }
    Err(io::Error::other("its symbolic links lead round"))
}

/// The target, opened for reading, if it is there; it has to be one that may be written to.
fn existing(target: &Path, place: &Place, mode: Mode) -> Result<Option<File>> {
    let failed = |source| Error::Writing { place: place.clone(), source };
    let metadata = match fs::metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_dir() {
        return Err(Error::IsDirectory { place: place.clone(), message: "it is a directory".into() });
    }
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    if mode == Mode::New {
        return Err(Error::Exists { place: place.clone() });
    }
    OpenOptions::new().read(true).write(true).open(target).map(Some).map_err(failed)
}

/// A name beside that of the target which listings do not show.
fn hidden(name: &OsStr, ending: &str) -> OsString {
    let mut hidden = OsString::from(".");
    let bytes = name.as_encoded_bytes();
    if bytes.len() <= LONGEST_NAME {
        hidden.push(name);
    } else {
        let text = name.to_string_lossy();
        let end = (0..=LONGEST_NAME - 8).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        hidden.push(format!("{}{:08x}", &text[..end], libdeflater::crc32(bytes)));
    }
    hidden.push(ending);
    hidden
}

/// Locks the lock file; `None` when another one has it. Where the file system has no locks, it is only there.
fn take_lock(path: &Path) -> io::Result<Option<File>> {
    loop {
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Ok(Some(lock));
            }
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        // The one before may have taken the file away after it was opened here.
        match fs::metadata(path) {
            Ok(metadata) if Identity::of(&metadata).file() == Identity::of(&lock.metadata()?).file() => {
                return Ok(Some(lock));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

/// Gives a file the mode of another one, and its owner and group as far as that is allowed.
#[cfg(unix)]
fn take_after(file: &File, other: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let own = file.metadata()?;
    if own.gid() != other.gid() {
        let _ = fchown(file, None, Some(other.gid()));
    }
    if own.uid() != other.uid() {
        let _ = fchown(file, Some(other.uid()), None);
    }
    // After the owner, which takes away marks of the mode.
    file.set_permissions(other.permissions())
}

#[cfg(not(unix))]
fn take_after(file: &File, other: &fs::Metadata) -> io::Result<()> {
    file.set_permissions(other.permissions())
}

/// Has the system write the names of a file's folder to the disk.
#[cfg(unix)]
fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
