//! Arguments → configuration → logger → run; the exit code says what came of
//! it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    decline_huge_pages();
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
