//! `hoiam voices`: lists the voices, and adds and removes neural ones.

mod add;
mod install;
mod list;
mod remove;
mod trial;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
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
    add::remove_abandoned(&config.tts.voices_dir);
    let action = args.action.unwrap_or(Action::List(args.list));
    let done = actix_web::rt::System::new().block_on(async {
        match action {
            Action::List(args) => list::list(&args, &globals, &config).await,
            Action::Add(args) => add::add(&args, &globals, &config).await,
            Action::Remove(args) => remove::remove(&args, &globals, &config),
            // What is begun is taken away by whoever drops it.
            Action::Install(args) => tokio::select! {
                done = install::install(&args, &globals, &config) => done,
                () = told_to_end() => {
                    Err(CliError::plain("stopped by a signal; nothing is installed"))
                }
            },
        }
    });
    super::exit(done)
}

/// Never resolves where signals cannot be received. Those that are ignored, as `nohup`
/// has it, stay so.
async fn told_to_end() {
    let signals = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::terminate(),
    ];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut heard: FuturesUnordered<_> = signals
        .into_iter()
        .filter(|kind| !is_ignored(*kind, &status))
        .filter_map(|kind| signal(kind).ok())
        .map(|mut signal| async move { signal.recv().await })
        .collect();
    if heard.next().await.is_none() {
        std::future::pending().await
    }
}

/// Whether a process ignores this signal, by its `status` (proc_pid_status(5)).
fn is_ignored(kind: SignalKind, status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_has_a_process_ignore_is_seen() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored(SignalKind::hangup(), status));
        assert!(!is_ignored(SignalKind::interrupt(), status));
        assert!(!is_ignored(SignalKind::hangup(), ""));
    }
}
