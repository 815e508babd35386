//! Scratch only: `run` is written elsewhere.
use super::{Globals, ServiceArgs};
use std::process::ExitCode;
/// Flags.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DoctorArgs {
    /// What the service would be started with.
    #[command(flatten)]
    pub service: ServiceArgs,
}
/// Nothing here.
pub fn run(_: DoctorArgs, _: Globals) -> ExitCode {
    ExitCode::SUCCESS
}
