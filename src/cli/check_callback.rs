//! Scratch only: `run` is written elsewhere.
use super::Globals;
use std::process::ExitCode;
/// The flags of `hoiam check-callback`.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckCallbackArgs {
    /// The URL to check
    pub url: url::Url,
}
/// Nothing here.
pub fn run(_: CheckCallbackArgs, _: Globals) -> ExitCode {
    ExitCode::SUCCESS
}
