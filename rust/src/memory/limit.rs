//! How much memory this process may have: what the machine has, and what its control groups allow.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most bytes that this process may have: the memory and swap of the machine, or what its control group and those above it
/// allow where that is less. `None` if the system does not tell. Asked for once, or again by threads that come meanwhile: they
/// do not wait for each other, since a child process that is forked meanwhile would wait for ever.
pub fn limit() -> Option<u64> {
    const UNKNOWN: u64 = 0;
    const NOT_TOLD: u64 = u64::MAX;
    static LIMIT: AtomicU64 = AtomicU64::new(UNKNOWN);
    let mut limit = LIMIT.load(Ordering::Relaxed);
    if limit == UNKNOWN {
        limit = found().unwrap_or(NOT_TOLD).max(1);
        LIMIT.store(limit, Ordering::Relaxed);
    }
    (limit != NOT_TOLD).then_some(limit)
}

fn found() -> Option<u64> {
    let swap = meminfo("SwapTotal:").unwrap_or(0);
    let machine = machine().map(|memory| memory.saturating_add(swap));
    let allowed = groups().into_iter().map(|group| group.limit.saturating_add(group.swap.min(swap)));
    allowed.chain(machine).min()
}

/// Bytes that can be had now without swapping: of this machine, and within the limits of the control groups. Where the
/// system only tells how much there is, that; `None` if it tells nothing.
pub fn available() -> Option<u64> {
    let left = groups().into_iter().map(|group| group.limit.saturating_sub(group.usage));
    left.chain(meminfo("MemAvailable:").or_else(machine)).min()
}

/// Bytes that Linux says of a line of `/proc/meminfo`.
fn meminfo(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes of memory of the machine.
fn machine() -> Option<u64> {
    meminfo("MemTotal:").or_else(pages)
}

#[cfg(all(unix, not(target_os = "linux")))]
#[allow(unsafe_code)]
fn pages() -> Option<u64> {
    // SAFETY: calls that take a number and return one.
    let (count, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(count).ok()?.checked_mul(u64::try_from(size).ok()?)
}

#[cfg(not(all(unix, not(target_os = "linux"))))]
fn pages() -> Option<u64> {
    None
}

/// What a control group says of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    limit: u64,
    usage: u64,
    /// Swap that may be used beside it.
    swap: u64,
}

/// The limits of this process's own control groups and of those above them.
fn groups() -> Vec<Group> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    groups_of(&text, Path::new("/sys/fs/cgroup"))
}

/// Those that a process with these lines in `/proc/self/cgroup` is in. Versions 1 and 2
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#memory>). A container sees its own as the root.
fn groups_of(lines: &str, mounted: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for line in lines.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let is_v2 = controllers.is_empty();
        if !is_v2 && !controllers.split(',').any(|controller| controller == "memory") {
            continue;
        }
        let root = if is_v2 { mounted.to_owned() } else { mounted.join("memory") };
        let group = root.join(path.trim_start_matches('/'));
        for folder in group.ancestors().take_while(|folder| folder.starts_with(&root)) {
            // What is not a number is "max": no limit.
            let number = |name: &str| -> Option<u64> {
                std::fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
            };
            let found = if is_v2 {
                let swap = number("memory.swap.max").unwrap_or(u64::MAX);
                number("memory.max").zip(number("memory.current")).map(|(limit, usage)| (limit, usage, swap))
            } else {
                let usage = number("memory.usage_in_bytes");
                number("memory.limit_in_bytes").zip(usage).map(|(limit, usage)| {
                    // Of both together; without it, swap is not counted.
                    let both = number("memory.memsw.limit_in_bytes").unwrap_or(u64::MAX);
                    (limit, usage, both.saturating_sub(limit))
                })
            };
            groups.extend(found.map(|(limit, usage, swap)| Group { limit, usage, swap }));
        }
    }
    groups
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(root: &Path, folder: &str, files: &[(&str, &str)]) {
        std::fs::create_dir_all(root.join(folder)).unwrap();
        for (name, text) in files {
            std::fs::write(root.join(folder).join(name), text).unwrap();
        }
    }

    #[test]
    fn groups_of_version_2() {
        let mounted = tempfile::tempdir().unwrap();
        let root = mounted.path();
        write(
            root,
            "a",
            &[("memory.max", "5000\n"), ("memory.current", "700\n"), ("memory.swap.max", "30\n")],
        );
        write(root, "a/b", &[("memory.max", "max\n"), ("memory.current", "600\n")]);
        write(root, "a/b/c", &[("memory.max", "4000\n"), ("memory.current", "600\n")]);
        assert_eq!(
            groups_of("0::/a/b/c\n", root),
            [Group { limit: 4000, usage: 600, swap: u64::MAX }, Group { limit: 5000, usage: 700, swap: 30 },]
        );
        assert_eq!(groups_of("0::/\n", root), []);
        // The container's own group is the root of what it sees.
        write(root, "", &[("memory.max", "9000"), ("memory.current", "1")]);
        assert_eq!(groups_of("0::/not/seen/here", root)[0].limit, 9000);
    }

    #[test]
    fn groups_of_version_1() {
        let mounted = tempfile::tempdir().unwrap();
        let files = [
            ("memory.limit_in_bytes", "100"),
            ("memory.usage_in_bytes", "40"),
            ("memory.memsw.limit_in_bytes", "150"),
        ];
        write(mounted.path(), "memory/a", &files);
        let lines = "4:memory,hugetlb:/a\n3:cpuset:/a\n0::/\nnonsense\n";
        assert_eq!(groups_of(lines, mounted.path()), [Group { limit: 100, usage: 40, swap: 50 }]);
    }
}
