//! `hoiam completions`: what a shell reads to complete commands and options.

use std::process::ExitCode;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Globals};

/// The arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// The shell that is to read them
    pub shell: Shell,
}

/// Writes them to standard output.
pub fn run(args: CompletionsArgs, _: Globals) -> ExitCode {
    let mut written = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "hoiam", &mut written);
    super::exit(super::print(&String::from_utf8_lossy(&written)))
}

/// The command line without what the service starts for itself, which the generators
/// would offer too.
fn shown() -> Command {
    let all = Cli::command();
    let subcommands = all.get_subcommands().filter(|one| !one.is_hide_set());
    Command::new("hoiam")
        .args(all.get_arguments().cloned())
        .subcommands(subcommands.cloned())
}
