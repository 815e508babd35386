//! Scratch only: `run` is written elsewhere.
use super::Globals;
use std::process::ExitCode;
/// The flags of `hoiam voices`.
#[derive(clap::Args, Clone, Debug)]
pub struct VoicesArgs {
    /// Only voices of this language (BCP 47), such as vi or en
    #[arg(long)]
    pub language: Option<String>,
}
/// Nothing here.
pub fn run(_: VoicesArgs, _: Globals) -> ExitCode {
    ExitCode::SUCCESS
}
