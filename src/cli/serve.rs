//! `hoiam serve`: runs the service.

use std::process::ExitCode;

use super::{EXIT_FAILED, Globals, ServiceArgs};
use crate::app::{self, Surroundings};

/// The flags of `hoiam serve`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// What the service is started with.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// Runs until SIGTERM or Ctrl-C.
pub fn run(args: ServeArgs, globals: Globals) -> ExitCode {
    let config = match globals.load_or_explain(&args.service) {
        Ok(config) => config,
        Err(code) => return code,
    };
    super::start_logger(&globals);
    match actix_rt::System::new().block_on(app::run(config, Surroundings::default())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoiam: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
