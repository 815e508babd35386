//! `hoiam voices remove`: deletes the files of a neural voice.

use std::fs;
use std::path::Path;

use clap::Args;
use hoiam_api::nearest::nearest;
use hoiam_synthesizer::voice_files::{VoiceFiles, find};
use serde_json::json;

use super::super::error::CliError;
use super::super::{Globals, pretty, print};
use crate::config::Config;

/// The flags of `hoiam voices remove`.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// The voice, with or without piper/ before it
    pub name: String,
}

/// Removes a voice.
pub fn remove(args: &RemoveArgs, globals: &Globals, config: &Config) -> Result<(), CliError> {
    let name = args.name.strip_prefix("piper/").unwrap_or(&args.name);
    let folder = &config.tts.voices_dir;
    let installed = find(folder);
    let Some(files) = installed.iter().find(|files| files.name == name) else {
        return Err(CliError::plain(unknown(name, &installed, folder)));
    };
    delete(files, folder).map_err(CliError::io("remove", &files.model))?;
    print(&if globals.json {
        pretty(&json!({ "id": format!("piper/{name}") }))?
    } else {
        format!("piper/{name} is removed; a service that runs has it until it is started again\n")
    })
}

/// A folder that holds nothing but the voice goes with it.
fn delete(files: &VoiceFiles, voices_dir: &Path) -> std::io::Result<()> {
    fs::remove_file(&files.model)?;
    // A voice without its description could not be used, and may be removed.
    let _ = fs::remove_file(&files.config);
    let own = files.model.parent().filter(|parent| *parent != voices_dir);
    if let Some(own) = own {
        let _ = fs::remove_file(own.join("MODEL_CARD"));
        let _ = fs::remove_dir(own);
    }
    Ok(())
}

fn unknown(name: &str, installed: &[VoiceFiles], folder: &Path) -> String {
    let folder = folder.display();
    if installed.is_empty() {
        return format!("there is no neural voice in {folder}");
    }
    let names = || installed.iter().map(|files| files.name.clone());
    let near = nearest(name, names(), 3);
    let near = if near.is_empty() {
        names().take(3).collect()
    } else {
        near
    };
    format!(
        "there is no voice {name} in {folder}; there is {}",
        near.join(", ")
    )
}
