//! `hoiam voices add`: takes the files of a neural voice into the folder of
//! voices.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use hoiam_speech::engine::piper::check;
use hoiam_synthesizer::voice_files::{VoiceFiles, find};
use serde_json::json;

use super::super::error::CliError;
use super::super::{Globals, pretty, print};
use super::trial::try_voice;
use crate::config::Config;

/// The flags of `hoiam voices add`.
#[derive(Args, Clone, Debug)]
pub struct AddArgs {
    /// The model, or a folder with one voice in it
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// What the voice is called here [default: as its model's file]
    #[arg(long)]
    pub name: Option<String>,
}

/// Why a voice cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The path of another file, or of none.
    #[error("{} is no model; the model of a voice is a file NAME.onnx", .0.display())]
    NoModel(PathBuf),
    /// A folder without one.
    #[error("there is no voice in {}: no file NAME.onnx", .0.display())]
    NoVoice(PathBuf),
    /// A folder with several.
    #[error("there is more than one voice in {}; name the model of the one", .0.display())]
    ManyVoices(PathBuf),
    /// A name that no file can have.
    #[error("a voice cannot be called `{0}`; letters, digits, `.`, `_` and `-` are allowed")]
    Name(String),
    /// There is one of this name.
    #[error("there is a voice {0} already; to replace it: hoiam voices remove {0}")]
    Taken(String),
}

impl From<AddError> for CliError {
    fn from(error: AddError) -> Self {
        Self::own(error)
    }
}

/// Adds a voice.
pub async fn add(args: &AddArgs, globals: &Globals, config: &Config) -> Result<(), CliError> {
    let files = given(&args.path)?;
    check(&files)?;
    let name = args.name.clone().unwrap_or_else(|| files.name.clone());
    let place = Place::new(&config.tts.voices_dir, &name)?;
    for (from, to) in [
        (files.model.clone(), place.file(&format!("{name}.onnx"))),
        (files.config, place.file(&format!("{name}.onnx.json"))),
    ] {
        fs::copy(&from, to).map_err(CliError::io("copy", &from))?;
    }
    // Not every voice has one.
    let _ = fs::copy(
        files.model.with_file_name("MODEL_CARD"),
        place.file("MODEL_CARD"),
    );
    let id = place.take_over(config).await?;
    tell(&id, globals)
}

/// The one voice at this path.
fn given(path: &Path) -> Result<VoiceFiles, AddError> {
    if !path.is_dir() {
        let files = VoiceFiles::of(path.to_owned()).filter(|files| files.model.is_file());
        return files.ok_or_else(|| AddError::NoModel(path.to_owned()));
    }
    let mut found = find(path);
    match (found.pop(), found.is_empty()) {
        (Some(files), true) => Ok(files),
        (None, _) => Err(AddError::NoVoice(path.to_owned())),
        (Some(_), false) => Err(AddError::ManyVoices(path.to_owned())),
    }
}

/// Says what it is called, and from when on.
pub(super) fn tell(id: &str, globals: &Globals) -> Result<(), CliError> {
    print(&if globals.json {
        pretty(&json!({ "id": id }))?
    } else {
        format!("{id} is added; a service that runs offers it once it is started again\n")
    })
}

/// Where a voice is being put together, beside the others and unseen. It goes
/// away with everything in it unless it is taken over. It is locked for as long as
/// somebody works in it, so that what a killed process has left is known as such.
pub(super) struct Place {
    folder: PathBuf,
    goal: PathBuf,
    name: String,
    _lock: File,
}

/// How the folder's name of a [`Place`] ends.
const ENDING: &str = ".part";

/// Removes what was begun by processes that are no more.
pub(super) fn remove_abandoned(voices_dir: &Path) {
    let Ok(entries) = fs::read_dir(voices_dir) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_place = name.to_string_lossy().starts_with('.')
            && name.to_string_lossy().ends_with(ENDING)
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_place && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Place {
    /// Refuses names that no file can have, and those that are taken.
    pub(super) fn new(voices_dir: &Path, name: &str) -> Result<Self, CliError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(AddError::Name(name.to_owned()).into());
        }
        if find(voices_dir).iter().any(|known| known.name == name) {
            return Err(AddError::Taken(name.to_owned()).into());
        }
        let folder = voices_dir.join(format!(".{name}.{}{ENDING}", std::process::id()));
        let lock = fs::create_dir_all(&folder)
            .and_then(|()| File::open(&folder))
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(CliError::io("make", &folder))?;
        Ok(Self {
            _lock: lock,
            goal: voices_dir.join(name),
            name: name.to_owned(),
            folder,
        })
    }

    /// The path of one of its files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Tries the voice and, if it can be used, lets it be seen. Its id.
    pub(super) async fn take_over(self, config: &Config) -> Result<String, CliError> {
        try_voice(&self.folder, &self.name, config).await?;
        fs::rename(&self.folder, &self.goal).map_err(CliError::io("make", &self.goal))?;
        Ok(format!("piper/{}", self.name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Once it is taken over, there is nothing of this name any more.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
