//! The system calls that a child is refused, as a seccomp filter (seccomp(2), and
//! the kernel's Documentation/userspace-api/seccomp_filter.rst).
//!
//! Landlock says which files may be opened; what it does not know about, or not on
//! every kernel, is refused here.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use known::install;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn install() -> std::io::Result<()> {
    Err(std::io::Error::other(
        "no filter was written for this processor architecture",
    ))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod known {
    use std::io;

    use libc::{c_int, c_long, sock_filter, sock_fprog};

    /// What reaches a network. `io_uring` opens sockets, and files, without the calls
    /// that are looked at here.
    const NETWORK: [c_long; 8] = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_io_uring_setup,
    ];

    /// What does something to another process, or borrows what it has. Another
    /// program could be one that has the right to; engines start none (eSpeak NG
    /// would, for MBROLA voices). Nor do they start processes: nobody would end those,
    /// and each would have limits of its own.
    const PROCESSES: [c_long; 21] = [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_process_madvise,
        libc::SYS_kcmp,
        libc::SYS_setpriority,
        libc::SYS_ioprio_set,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_unshare,
        libc::SYS_setns,
    ];

    /// What changes files and folders, and what is mounted where; the first of them
    /// hides its flags in memory.
    const FILES: [c_long; 32] = [
        libc::SYS_openat2,
        libc::SYS_open_by_handle_at,
        libc::SYS_mkdirat,
        libc::SYS_mknodat,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_truncate,
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
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_chroot,
    ];

    /// Memory and queues that processes find by a number or a name, and the right to
    /// which depends on the user alone.
    const SHARED: [c_long; 13] = [
        libc::SYS_shmget,
        libc::SYS_shmat,
        libc::SYS_shmctl,
        libc::SYS_msgget,
        libc::SYS_msgsnd,
        libc::SYS_msgrcv,
        libc::SYS_msgctl,
        libc::SYS_semget,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_semctl,
        libc::SYS_mq_open,
        libc::SYS_mq_unlink,
    ];

    /// The same by their older names.
    #[cfg(target_arch = "x86_64")]
    const OLD: [c_long; 17] = [
        libc::SYS_fork,
        libc::SYS_vfork,
        libc::SYS_creat,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_mknod,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_chmod,
        libc::SYS_chown,
        libc::SYS_lchown,
        libc::SYS_utime,
        libc::SYS_utimes,
        libc::SYS_futimesat,
        libc::SYS_uselib,
    ];
    #[cfg(target_arch = "aarch64")]
    const OLD: [c_long; 0] = [];

    /// `fchmodat2`, which the headers of older systems do not have; one number on all
    /// architectures.
    const FCHMODAT2: c_long = 452;

    /// Doors into the kernel that no engine has a use for.
    const KERNEL: [c_long; 6] = [
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
    ];

    /// Flags of an open that writes. `O_TMPFILE` needs one of them too.
    const WRITES: c_int = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;

    /// A call that is refused for some values of one argument, counted from 0.
    struct Conditional {
        call: c_long,
        argument: u32,
        refused: Refused,
    }

    /// For which values. Only their lower halves are looked at: all of these
    /// arguments are of 32 bits.
    enum Refused {
        /// One that has a bit of these.
        AnyOf(u32),
        /// One that has none of these.
        NoneOf(u32),
        This(u32),
        AllBut(u32),
    }

    fn conditionals() -> Vec<Conditional> {
        let of = |call, argument, refused| Conditional {
            call,
            argument,
            refused,
        };
        let myself = std::process::id();
        let writes = WRITES.unsigned_abs();
        let thread = libc::CLONE_THREAD.unsigned_abs();
        let death_signal = libc::PR_SET_PDEATHSIG.unsigned_abs();
        let mut conditionals = vec![
            of(libc::SYS_openat, 2, Refused::AnyOf(writes)),
            // A thread is not a process.
            of(libc::SYS_clone, 0, Refused::NoneOf(thread)),
            // It would outlive the service.
            of(libc::SYS_prctl, 0, Refused::This(death_signal)),
            // How a process aborts itself.
            of(libc::SYS_tgkill, 0, Refused::AllBut(myself)),
            of(libc::SYS_prlimit64, 0, Refused::AllBut(0)),
            of(libc::SYS_sched_setaffinity, 0, Refused::AllBut(0)),
        ];
        #[cfg(target_arch = "x86_64")]
        conditionals.push(of(libc::SYS_open, 1, Refused::AnyOf(writes)));
        // The kernel signals the owner of a descriptor when something is to be read.
        for command in [libc::F_SETOWN, F_SETSIG, F_SETOWN_EX] {
            let refused = Refused::This(command.unsigned_abs());
            conditionals.push(of(libc::SYS_fcntl, 1, refused));
        }
        // A terminal would take what is put into it for what its user has typed.
        for request in TYPES {
            conditionals.push(of(libc::SYS_ioctl, 1, Refused::This(request)));
        }
        conditionals
    }

    /// `TIOCSTI` and `TIOCLINUX` of asm-generic/ioctls.h, the same on both architectures.
    const TYPES: [u32; 2] = [0x5412, 0x541C];

    /// Of asm-generic/fcntl.h, the same on both architectures.
    const F_SETSIG: c_int = 10;
    const F_SETOWN_EX: c_int = 15;

    /// `AUDIT_ARCH_*` of linux/audit.h: the ELF machine number, 64 bit, little
    /// endian.
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 62 | 0xC000_0000;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 183 | 0xC000_0000;

    /// On x86_64 numbers from here on are the x32 ABI's, a second door to the
    /// same calls (asm/unistd.h, `__X32_SYSCALL_BIT`).
    const FIRST_X32_CALL: u32 = 0x4000_0000;

    /// Offsets in `struct seccomp_data` (linux/seccomp.h).
    const CALL_NUMBER: u32 = 0;
    const CALL_ARCHITECTURE: u32 = 4;
    const FIRST_ARGUMENT: u32 = 16;
    const ARGUMENT_BYTES: u32 = 8;

    const REFUSE: sock_filter = answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs());

    /// As kernels do that have no such call.
    const UNKNOWN: sock_filter = answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());

    /// The filter holds for this thread and those that it starts.
    pub(in super::super) fn install() -> io::Result<()> {
        let mut program = vec![
            load(CALL_ARCHITECTURE),
            jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
            REFUSE,
            load(CALL_NUMBER),
            jump(libc::BPF_JGE, FIRST_X32_CALL, 0, 1),
            REFUSE,
        ];
        let refused = [
            &NETWORK[..],
            &PROCESSES,
            &FILES,
            &SHARED,
            &OLD,
            &[FCHMODAT2],
            &KERNEL,
        ];
        for call in refused.concat() {
            program.extend([jump(libc::BPF_JEQ, number(call)?, 0, 1), REFUSE]);
        }
        // Its flags are in memory. C libraries start their threads by `clone` then.
        let clone3 = number(libc::SYS_clone3)?;
        program.extend([jump(libc::BPF_JEQ, clone3, 0, 1), UNKNOWN]);
        for conditional in conditionals() {
            program.extend(conditional.instructions()?);
        }
        program.push(answer(libc::SECCOMP_RET_ALLOW));
        let program = sock_fprog {
            len: u16::try_from(program.len()).map_err(io::Error::other)?,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: `program` and the instructions it points at live through the
        // call, and the kernel copies and checks them.
        let installed = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        match installed {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    impl Conditional {
        /// Begin and end with the call's number loaded.
        fn instructions(&self) -> io::Result<[sock_filter; 5]> {
            let argument = FIRST_ARGUMENT + ARGUMENT_BYTES * self.argument;
            let test = match self.refused {
                Refused::AnyOf(bits) => jump(libc::BPF_JSET, bits, 0, 1),
                Refused::NoneOf(bits) => jump(libc::BPF_JSET, bits, 1, 0),
                Refused::This(value) => jump(libc::BPF_JEQ, value, 0, 1),
                Refused::AllBut(value) => jump(libc::BPF_JEQ, value, 1, 0),
            };
            Ok([
                jump(libc::BPF_JEQ, number(self.call)?, 0, 4),
                load(argument),
                test,
                REFUSE,
                load(CALL_NUMBER),
            ])
        }
    }

    fn number(call: c_long) -> io::Result<u32> {
        u32::try_from(call).map_err(io::Error::other)
    }

    const fn load(offset: u32) -> sock_filter {
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
    }

    /// Skips so many instructions where the comparison holds, and so many where not.
    const fn jump(comparison: u32, value: u32, holds: u8, not: u8) -> sock_filter {
        let code = libc::BPF_JMP | comparison | libc::BPF_K;
        instruction(code, holds, not, value)
    }

    const fn answer(value: u32) -> sock_filter {
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value)
    }

    /// No code of these is above 0xFF, so nothing is cut off.
    const fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter {
            code: code as u16,
            jt,
            jf,
            k,
        }
    }
}
