//! Takes from this process what a reader of one file does not need: for files that are not trusted.
//!
//! What runs in such a process reads one file and answers over pipes that are open already. It needs no other file, no
//! network, no other program, and no say over other processes, so that a fault of a library that parses the file gives
//! whoever exploits it nothing but the file's own bytes.
//!
//! The means are Linux's: [Landlock](https://docs.kernel.org/userspace-api/landlock.html) (since 5.13) for files, and
//! [seccomp](https://docs.kernel.org/userspace-api/seccomp_filter.html) for system calls. Elsewhere nothing is taken,
//! and [`Confined`] says so. That libhdf5 opens no second file does not depend on either (see `hdf5::access`).

use std::path::Path;

use crate::error::Result;

/// What the operating system keeps from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confined {
    /// The device and the inode of the file that is read.
    pub file: (u64, u64),
    /// All files but the one that is read.
    pub files: bool,
    /// The network, other programs, other processes, and changes to files.
    pub calls: bool,
}

/// Keeps this process, and the threads that it starts from now on, from everything but reading the file at `path`.
///
/// There is no way back. Where other threads run already, they are not kept from other files, which `files` says.
///
/// # Errors
/// Those of opening the file. What the system does not offer is not an error.
pub fn confine(path: &Path) -> Result<Confined> {
    // Asked for while the system may be asked.
    crate::memory::limit();
    imp::confine(path)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod imp {
    use std::collections::BTreeMap;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, PathBeneath, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetError, RulesetStatus, Scope,
    };
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use super::Confined;
    use crate::error::Result;
    use crate::source::Source;

    /// The newest rights of Landlock that are given up; a kernel that knows fewer takes those.
    const NEWEST: ABI = ABI::V6;

    pub(super) fn confine(path: &Path) -> Result<Confined> {
        let source = Source::open(path)?;
        let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
        let kept = keep_files(&source).is_ok_and(|status| status != RulesetStatus::NotEnforced);
        Ok(Confined { file: source.identity().file(), files: alone && kept, calls: keep_calls().is_ok() })
    }

    fn keep_files(source: &Source) -> std::result::Result<RulesetStatus, RulesetError> {
        let ruleset = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rule(PathBeneath::new(source.file(), AccessFs::ReadFile))?;
        Ok(ruleset.restrict_self()?.ruleset)
    }

    /// Calls that reach beyond the process: the network, other programs and processes, what the kernel offers to
    /// administrators, and changes to files that Landlock does not know of.
    const REFUSED: &[libc::c_long] = &[
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pidfd_send_signal,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_setpriority,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_fchown,
        libc::SYS_fchownat,
        libc::SYS_utimensat,
        libc::SYS_setxattr,
        libc::SYS_lsetxattr,
        libc::SYS_fsetxattr,
        libc::SYS_removexattr,
        libc::SYS_lremovexattr,
        libc::SYS_fremovexattr,
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_msgget,
        libc::SYS_semget,
        libc::SYS_mq_open,
        libc::SYS_name_to_handle_at,
        libc::SYS_open_by_handle_at,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chmod,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_chown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_lchown,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utime,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_utimes,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_futimesat,
    ];

    fn keep_calls() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|&number| (number, Vec::new())).collect();
        // New threads are needed, new processes are not.
        rules
            .insert(libc::SYS_clone, vec![only_if(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)?]);
        // A process ends itself by such a signal, when it aborts.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![only_if(0, SeccompCmpOp::Ne, own)?]);
        // The limits of others; its own it sets for each request.
        rules.insert(libc::SYS_prlimit64, vec![only_if(0, SeccompCmpOp::Ne, 0)?]);
        install(rules, libc::EPERM)?;
        // Its flags stand where a filter cannot see them; the C library then falls back to the call above.
        install(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)
    }

    fn only_if(
        argument: u8,
        operator: SeccompCmpOp,
        value: u64,
    ) -> std::result::Result<SeccompRule, Box<dyn std::error::Error>> {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, operator, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    }

    fn install(
        rules: BTreeMap<i64, Vec<SeccompRule>>,
        errno: i32,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let refusal = SeccompAction::Errno(errno as u32);
        let filter =
            SeccompFilter::new(rules, SeccompAction::Allow, refusal, std::env::consts::ARCH.try_into()?)?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter_all_threads(&program)?;
        Ok(())
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod imp {
    use std::path::Path;

    use super::Confined;
    use crate::error::Result;
    use crate::source::Source;

    pub(super) fn confine(path: &Path) -> Result<Confined> {
        Ok(Confined { file: Source::open(path)?.identity().file(), files: false, calls: false })
    }
}
