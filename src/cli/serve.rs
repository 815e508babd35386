//! `hoiam serve`: runs the service.

use std::process::ExitCode;

use nix::sys::stat::{Mode, umask};

use super::{EXIT_FAILED, Globals, ServiceArgs};
use crate::app::{self, Environment};

/// The flags of `hoiam serve`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct ServeArgs {
    /// What the service is started with.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// Runs until SIGTERM or Ctrl-C.
pub fn run(args: ServeArgs, globals: Globals) -> ExitCode {
    keep_files_private();
    let config = match globals.load_or_explain(&args.service) {
        Ok(config) => config,
        Err(code) => return code,
    };
    super::start_logger(&globals);
    match actix_rt::System::new().block_on(app::run(config, Environment::default())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::tell_error(error);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// What the service writes, texts above all, is for its own user alone. Commands that
/// write where a person wants it keep that person's umask.
fn keep_files_private() {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
}
