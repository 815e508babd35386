//! `hoiam synthesizer`: the child process that speaks; started by `serve`
//! and `say`, never by hand.

use std::process::ExitCode;

use super::Globals;

/// The arguments of the child.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SynthesizerArgs {
    /// What the parent asks of the child, as JSON.
    pub setup: String,
}

/// Speaks until its parent is gone.
pub fn run(args: SynthesizerArgs, _: Globals) -> ExitCode {
    hoiam_speech::child::run(&args.setup)
}
