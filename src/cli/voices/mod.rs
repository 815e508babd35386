//! `hoiam voices`: lists the voices, and adds and removes neural ones.

mod add;
mod install;
mod list;
mod remove;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{Globals, ServiceArgs};

/// The flags of `hoiam voices`.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct VoicesArgs {
    /// What is to be done; nothing lists the voices.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// The flags of the list.
    #[command(flatten)]
    pub list: list::ListArgs,
}

/// What can be done with voices.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// List the voices of this machine
    List(list::ListArgs),
    /// Add a neural voice from its files: NAME.onnx with NAME.onnx.json beside it
    #[command(after_long_help = "Examples:\n  \
        hoiam voices add ~/Downloads/en_US-joe-medium.onnx\n  \
        hoiam voices add ./voice-folder --name linh     a folder with one voice in it\n\n\
        The files are copied. The voice is then piper/NAME. It may be used by anybody who may use\n\
        the service: mind its licence.")]
    Add(add::AddArgs),
    /// Remove a neural voice and its files
    Remove(remove::RemoveArgs),
    /// Download a neural voice
    #[command(after_long_help = "Examples:\n  \
        hoiam voices install --list --language vi       what there is\n  \
        hoiam voices install vi_VN-vais1000-medium\n\n\
        The list is that of tts.voices_index; sizes and checksums of all files are compared with\n\
        it. Mind the licence of a voice: its MODEL_CARD is shown by `hoiam voices --json`.")]
    Install(install::InstallArgs),
}

/// Does it; exit code 1 when it cannot be done.
pub fn run(args: VoicesArgs, globals: Globals) -> ExitCode {
    let config = match globals.load_or_explain(&ServiceArgs::default()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let action = args.action.unwrap_or(Action::List(args.list));
    let done = actix_web::rt::System::new().block_on(async {
        match action {
            Action::List(args) => list::list(&args, &globals, &config).await,
            Action::Add(args) => add::add(&args, &globals, &config),
            Action::Remove(args) => remove::remove(&args, &globals, &config),
            Action::Install(args) => install::install(&args, &globals, &config).await,
        }
    });
    super::exit(done)
}
