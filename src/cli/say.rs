//! Scratch only: `run` is written elsewhere.
use super::Globals;
use std::path::PathBuf;
use std::process::ExitCode;
/// The flags of `hoiam say`.
#[derive(clap::Args, Clone, Debug)]
pub struct SayArgs {
    /// The text; - reads it from stdin
    pub text: String,
    /// Voice id or alias [default: by the text's language]
    #[arg(short, long)]
    pub voice: Option<String>,
    /// File to write; its ending chooses the format
    #[arg(short, long, value_name = "FILE", default_value = "speech.mp3")]
    pub output: PathBuf,
    /// Write subtitles too
    #[arg(long, value_name = "FILE")]
    pub srt: Option<PathBuf>,
}
/// Nothing here.
pub fn run(_: SayArgs, _: Globals) -> ExitCode {
    ExitCode::SUCCESS
}
