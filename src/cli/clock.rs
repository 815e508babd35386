//! `hoiam clock accept`: tells a running service that the machine's clock is right.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::remote::{CallError, RemoteArgs};
use super::{EXIT_FAILED, EXIT_USAGE, Globals};
use crate::http::clock::Accepted;
use crate::outbound::Method;

/// The flags of `hoiam clock`.
#[derive(Args, Clone, Debug)]
pub struct ClockArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub action: Action,
}

/// What `hoiam clock` does.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Believe the machine's clock, although it is more than a week ahead
    Accept {
        /// The service.
        #[command(flatten)]
        remote: RemoteArgs,
    },
}

/// Exit code 1 when the service refuses, 2 when it cannot be spoken to.
pub fn run(args: ClockArgs, globals: Globals) -> ExitCode {
    let Action::Accept { remote } = args.action;
    let accepted = remote.service().map(|service| {
        actix_web::rt::System::new().block_on(service.ask(Method::POST, "v1/clock/accept"))
    });
    let error = match accepted {
        Ok(Ok(accepted)) => {
            return super::exit(told(&accepted, globals.json).and_then(|text| super::print(&text)));
        }
        Ok(Err(refused @ CallError::Refused(_))) => {
            super::tell_error(refused);
            return ExitCode::from(EXIT_FAILED);
        }
        Ok(Err(error)) => remote.explain(error),
        Err(error) => error,
    };
    super::tell_error(error);
    ExitCode::from(EXIT_USAGE)
}

fn told(accepted: &Accepted, json: bool) -> Result<String, CliError> {
    Ok(match accepted {
        accepted if json => super::pretty(accepted)?,
        Accepted {
            accepted: true,
            now,
        } => format!("accepted: time goes on at {now}\n"),
        Accepted { now, .. } => {
            format!("nothing to accept: time follows the clock, and is {now}\n")
        }
    })
}
