//! Arguments → configuration → logger → run; the exit code says what came of
//! it.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    hoiam::cli::run(hoiam::cli::Cli::parse())
}
