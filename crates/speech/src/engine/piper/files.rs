//! What the files of a neural voice say of it.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use hoiam_synthesizer::voice_files::{CannotBeRead, ModelError, VoiceFiles, open_file};

use super::super::libespeak::{self, lock};
use super::voice::{VoiceConfig, VoiceConfigError};

/// The largest description of a voice; those with a thousand speakers have
/// about 60 kB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What is read of a model card, whose lines about the licence come early.
const MAX_CARD_BYTES: u64 = 64 << 10;

/// The longest licence that is shown.
const MAX_LICENCE_CHARS: usize = 200;

/// What is told of an error, which can quote the file.
const MAX_ERROR_CHARS: usize = 300;

/// Which of a voice's files cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The description is not there, or not for us.
    #[error("{0}; it comes with the voice's model")]
    UnreadableConfig(#[source] CannotBeRead),
    /// No description has that size.
    #[error("{} is too large for a voice's description", .0.display())]
    LargeConfig(PathBuf),
    /// What the description says.
    #[error("{}: {}", path.display(), shortened(&source.to_string()))]
    Config {
        /// The description.
        path: PathBuf,
        /// What is wrong with it.
        source: VoiceConfigError,
    },
}

/// Reads the description, and sees that there is a model.
pub(super) fn read(files: &VoiceFiles) -> Result<VoiceConfig, FilesError> {
    files.model_bytes()?;
    let path = &files.config;
    let unreadable =
        |error: io::Error| FilesError::UnreadableConfig(CannotBeRead::new(path, error));
    let file = open_file(path).map_err(unreadable)?;
    let mut text = String::new();
    let read = file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text);
    if read.map_err(unreadable)? as u64 > MAX_CONFIG_BYTES {
        return Err(FilesError::LargeConfig(path.clone()));
    }
    VoiceConfig::parse(&text).map_err(|source| FilesError::Config {
        path: path.clone(),
        source,
    })
}

/// Changes with the files, and with what makes phonemes for them.
pub(super) fn version(files: &VoiceFiles) -> Option<String> {
    let mut version = match libespeak::open() {
        Ok(library) => lock(library).version().to_owned(),
        Err(_) => "none".to_owned(),
    };
    for path in [&files.model, &files.config] {
        let file = fs::metadata(path).ok()?;
        let written = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        version += &format!(" {} {}", file.len(), written.as_nanos());
    }
    Some(version)
}

/// What the model card beside the model says of the licence.
pub(super) fn licence(files: &VoiceFiles) -> Option<String> {
    let file = open_file(&files.card()).ok()?;
    let mut card = Vec::new();
    file.take(MAX_CARD_BYTES).read_to_end(&mut card).ok()?;
    let card = String::from_utf8_lossy(&card);
    let said = card.lines().find_map(|line| {
        let line = line.trim_start_matches(['*', '-', ' ']);
        line.strip_prefix("License:").map(str::trim)
    })?;
    let said = said.chars().filter(|c| !c.is_control());
    let said: String = said.take(MAX_LICENCE_CHARS).collect();
    (!said.is_empty()).then_some(said)
}

fn shortened(error: &str) -> String {
    match error.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{} …", &error[..end]),
        None => error.to_owned(),
    }
}

/// Whether the files of a voice are there, and its description can be used. Whether
/// its model can, only a child finds out that may be lost with it.
///
/// # Errors
///
/// What is wrong with which file.
pub fn check(files: &VoiceFiles) -> Result<(), FilesError> {
    read(files).map(drop)
}
