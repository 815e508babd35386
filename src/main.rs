//! Arguments → configuration → logger → run; the exit code says what came of
//! it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    decline_huge_pages();
    raise_limit_of_descriptors();
    hoiam::cli::run(hoiam::cli::Cli::parse())
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
