//! Which file it is that a path leads to, and in which state: what every cached fact is tied to.

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far apart two changes must be for a file's times to differ. Linux stamps files with a clock that ticks
/// every 10 ms at the slowest (`CONFIG_HZ=100`); before 6.13, two changes within a tick have the same times.
const TICK: Duration = if cfg!(target_os = "linux") { Duration::from_millis(10) } else { Duration::ZERO };

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

    /// How long it takes from `now` until another change is sure to show in the times: no time at all, unless
    /// the last change has only just been made.
    pub fn unsettled(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = |(seconds, nanoseconds): (i64, i64)| {
            let then = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
            // What lies further in the future was stamped by another clock, which says nothing of this one.
            now.checked_sub(then).or_else(|| (then.saturating_sub(now) < TICK).then_some(Duration::ZERO))
        };
        [self.modified, self.changed]
            .into_iter()
            .filter_map(since)
            .map(|since| TICK.saturating_sub(since))
            .max()
            .unwrap_or_default()
    }

    /// Size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_just_changed_may_change_unnoticed() {
        let at = |milliseconds: i64| (1000 + milliseconds / 1000, milliseconds % 1000 * 1_000_000);
        let identity = |modified, changed| Identity {
            device: 1,
            inode: 1,
            length: 1,
            modified: at(modified),
            changed: at(changed),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1005);
        let unsettled = |modified, changed| identity(modified, changed).unsettled(now).as_millis();
        assert_eq!(unsettled(0, 0), 0);
        assert_eq!(unsettled(4990, 4990), 0);
        assert_eq!(unsettled(4991, 4000), 1);
        assert_eq!(unsettled(4000, 4997), 7, "the times of modification can be set, those of change cannot");
        assert_eq!(unsettled(5003, 5003), 10);
        assert_eq!(unsettled(9000, 9000), 0, "a clock that is ahead of ours");
    }
}
