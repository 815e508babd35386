//! `hoiam serve`: runs the service.

use std::process::ExitCode;

use super::{EXIT_FAILED, Globals, ServiceArgs};

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
    match actix_rt::System::new().block_on(crate::app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoiam: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
