//! Arguments → configuration → logger → run; the exit code says what came of
//! it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::Parser;
use hoiam::cli::{Cli, Command};

fn main() -> ExitCode {
    decline_huge_pages();
    raise_limit_of_descriptors();
    let cli = Cli::parse();
    // That one does so itself, when it has written to its `/proc/self`.
    if !matches!(cli.command, Command::Synthesizer(_)) {
        close_memory_to_others();
    }
    hoiam::cli::run(cli)
}

/// Other processes of the same user may open the memory of this one, and its
/// environment, by way of `/proc`; and its children are of the same user, and work on
/// texts from strangers. Nor is there a core dump, which would have keys and texts
/// in it (prctl(2), `PR_SET_DUMPABLE`).
#[expect(unsafe_code, reason = "there is no safe call for it in std")]
fn close_memory_to_others() {
    // SAFETY: this call takes plain numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

/// The allocator asks for transparent huge pages, and the kernel then backs
/// each of its arenas by 2 MiB at a time, most of it never used: an idle
/// service took three times the memory. Holds for the children too
/// (prctl(2), `PR_SET_THP_DISABLE`). A kernel that does not know it changes
/// nothing.
#[expect(unsafe_code, reason = "there is no safe call for it in std")]
fn decline_huge_pages() {
    // SAFETY: this call takes plain numbers and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Shells and service managers begin with 1024 for the sake of programs that use
/// select(2), and let each have more that asks for it. Each service may have some
/// 512 callbacks under way, beside its clients. Synthesizer processes limit
/// themselves.
#[expect(unsafe_code, reason = "there is no safe call for it in std")]
fn raise_limit_of_descriptors() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls are given a whole structure of the type they want. If one
    // fails, all stays as it was.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
