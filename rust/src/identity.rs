//! Which file it is that a path leads to, and in which state: what every cached fact is tied to.

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far apart two changes must be for a file's times to differ, where the file system keeps what the clock says.
/// Linux stamps files with a clock that ticks every 10 ms at the slowest (`CONFIG_HZ=100`); before 6.13, two changes
/// within a tick have the same times. Other systems' clocks tick every 16 ms at the slowest (Windows).
const CLOCK: Duration = Duration::from_millis(if cfg!(target_os = "linux") { 10 } else { 16 });

/// Granularities of times that are coarser than the clock, in nanoseconds, coarsest first: FAT keeps every other
/// second; ext3, ext4 with inodes of 128 bytes, HFS+ and some servers of NFS and SMB whole seconds; others parts of one.
const COARSE: [u64; 5] = [2_000_000_000, 1_000_000_000, 100_000_000, 50_000_000, 20_000_000];

/// A time since 1970, as seconds and nanoseconds.
pub type Stamp = (i64, i64);

/// Device, inode, size and times of change. Two equal identities are the same unchanged file.
///
/// The time of the last status change (`ctime`) is part of it, since a program can set `mtime` back
/// but not that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: Stamp,
    changed: Stamp,
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
        // In 100 ns since 1601; `SystemTime` knows what 1970 is in these.
        let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            device: 0,
            inode: metadata.creation_time(),
            length: metadata.file_size(),
            modified: (since.as_secs() as i64, i64::from(since.subsec_nanos())),
            changed: (0, 0),
        }
    }

    /// The same identity as numbers, for another process of this machine.
    pub fn to_numbers(self) -> [i128; 7] {
        let (modified, changed) = (self.modified, self.changed);
        [
            self.device.into(),
            self.inode.into(),
            self.length.into(),
            modified.0.into(),
            modified.1.into(),
            changed.0.into(),
            changed.1.into(),
        ]
    }

    /// The identity that [`Identity::to_numbers`] made numbers of; `None` if they cannot be one.
    pub fn from_numbers(numbers: [i128; 7]) -> Option<Self> {
        let [device, inode, length, modified, modified_ns, changed, changed_ns] = numbers;
        let stamp = |seconds: i128, nanoseconds: i128| {
            Some((i64::try_from(seconds).ok()?, i64::try_from(nanoseconds).ok()?))
        };
        Some(Self {
            device: device.try_into().ok()?,
            inode: inode.try_into().ok()?,
            length: length.try_into().ok()?,
            modified: stamp(modified, modified_ns)?,
            changed: stamp(changed, changed_ns)?,
        })
    }

    /// Whether size and time of modification are equal: all that matters of a file that is held open, and all that is
    /// the same on every machine that shares the file.
    pub fn same_content(&self, other: &Self) -> bool {
        self.content() == other.content()
    }

    /// Size and time of modification.
    pub fn content(&self) -> (u64, Stamp) {
        (self.length, self.modified)
    }

    /// How long it takes from `now` until another change is sure to show in the times: no time at all, unless
    /// the last change has only just been made.
    ///
    /// Each time says how coarse it is: one without a part of a second is of a file system that keeps none (or set by
    /// hand, or chance, where it costs a short wait). The coarser of both counts, since some file systems have only one
    /// of them change.
    pub fn unsettled(&self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let remaining = |stamp: Stamp| {
            let then = Duration::new(u64::try_from(stamp.0).ok()?, u32::try_from(stamp.1).ok()?);
            let tick = tick(then);
            match now.checked_sub(then) {
                Some(since) => Some(tick.saturating_sub(since)),
                // What lies further in the future was stamped by another clock, which says nothing of this one.
                None => (then.saturating_sub(now) < tick).then_some(tick),
            }
        };
        [self.modified, self.changed].into_iter().filter_map(remaining).max().unwrap_or_default()
    }

    /// Which file it is, in whatever state: its device and inode.
    pub fn file(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    /// Size of the file in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

/// How long after this time another change is sure to have a later one.
fn tick(stamp: Duration) -> Duration {
    let nanoseconds = stamp.as_nanos();
    COARSE
        .into_iter()
        .find(|&granularity| nanoseconds.is_multiple_of(granularity.into()))
        // The clock that is cut to this granularity is behind by a tick of its own.
        .map_or(CLOCK, |granularity| Duration::from_nanos(granularity) + CLOCK)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn identity(modified: Stamp, changed: Stamp) -> Identity {
        Identity { device: 1, inode: 1, length: 1, modified, changed }
    }

    #[test]
    fn a_file_that_has_just_changed_may_change_unnoticed() {
        let at = |milliseconds: i64| (1000 + milliseconds / 1000, milliseconds % 1000 * 1_000_000 + 1);
        let now = UNIX_EPOCH + Duration::new(1005, 1);
        let unsettled = |modified, changed| identity(at(modified), at(changed)).unsettled(now).as_millis();
        assert_eq!(unsettled(0, 0), 0);
        assert_eq!(unsettled(4990, 4990), 0);
        assert_eq!(unsettled(4991, 4000), 1);
        assert_eq!(unsettled(4000, 4997), 7, "the times of modification can be set, those of change cannot");
        assert_eq!(unsettled(5003, 5003), 10);
        assert_eq!(unsettled(9000, 9000), 0, "a clock that is ahead of ours");
    }

    #[test]
    fn coarse_times_are_waited_for_as_long_as_they_are_coarse() {
        let now = UNIX_EPOCH + Duration::new(1005, 300_000_000);
        let unsettled = |modified, changed| identity(modified, changed).unsettled(now).as_millis();
        // ext3: whole seconds. A change until 1006.0, as the clock says until 1006.01, has the same time.
        assert_eq!(unsettled((1005, 0), (1005, 0)), 710);
        // FAT: every other second.
        assert_eq!(unsettled((1004, 0), (1004, 0)), 710);
        // Where the time of change is when the file was made, which never changes again.
        assert_eq!(unsettled((1004, 0), (1004, 123_000_000)), 710);
        assert_eq!(unsettled((1005, 200_000_000), (1005, 200_000_000)), 10);
        assert_eq!(unsettled((1005, 280_000_000), (1005, 280_000_000)), 10);
        // Copied with its time, which was whole.
        assert_eq!(unsettled((900, 0), (1005, 123_456_789)), 0);
        assert_eq!(unsettled((1003, 0), (1003, 0)), 0);
        assert_eq!(unsettled((1002, 0), (1002, 0)), 0);
    }

    #[test]
    fn identities_are_the_same_as_numbers() {
        let identity = Identity { inode: u64::MAX, ..identity((-1, 999_999_999), (5, 0)) };
        assert_eq!(Identity::from_numbers(identity.to_numbers()), Some(identity));
        assert_eq!(Identity::from_numbers([-1, 0, 0, 0, 0, 0, 0]), None);
    }
}
