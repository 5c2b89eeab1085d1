//! Which file it is that a path leads to, and in which state: what every cached fact is tied to.

use std::fs::Metadata;

/// Device, inode, size and times of change. Two equal identities are the same unchanged file.
///
/// The time of the last status change (`ctime`) is part of it, since a program can set `mtime` back
/// but not that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// From an open file's metadata.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// From an open file's metadata.
    #[cfg(windows)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::windows::fs::MetadataExt;
        Self {
            device: 0,
            inode: metadata.creation_time(),
            length: metadata.file_size(),
            modified: (metadata.last_write_time() as i64, 0),
            changed: (0, 0),
        }
    }

    /// Whether size and time of modification are equal: all that matters of a file that is held open.
    pub fn same_content(&self, other: &Self) -> bool {
        (self.length, self.modified) == (other.length, other.modified)
    }

    /// Size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}
