//! Arguments → configuration → logger → run; the exit code says what came of
//! it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::Parser;
use hoiam::cli::{Cli, Command};
use nix::sys::prctl::{set_dumpable, set_thp_disable};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

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
fn close_memory_to_others() {
    // It fails for values that it does not know only.
    let _ = set_dumpable(false);
}

/// The allocator asks for transparent huge pages, and the kernel then backs
/// each of its arenas by 2 MiB at a time, most of it never used: an idle
/// service took three times the memory. Holds for the children too
/// (prctl(2), `PR_SET_THP_DISABLE`). A kernel that does not know it changes
/// nothing.
fn decline_huge_pages() {
    let _ = set_thp_disable(true);
}

/// Shells and service managers begin with 1024 for the sake of programs that use
/// select(2), and let each have more that asks for it. Each service may have some
/// 512 callbacks under way, beside its clients. Synthesizer processes limit
/// themselves.
fn raise_limit_of_descriptors() {
    // If one of these fails, all stays as it was.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}
