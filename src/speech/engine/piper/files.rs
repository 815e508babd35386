//! Where voices are kept: `NAME.onnx` beside `NAME.onnx.json`, in the folder of
//! voices itself or in a folder of their own below it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::super::libespeak::{self, lock};
use super::model::Runtime;
use super::voice::VoiceConfig;

/// What a model's file is called after the voice's name.
const MODEL: &str = "onnx";

/// The largest description of a voice; those with a thousand speakers have
/// about 60 kB.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// The files of one voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoiceFiles {
    /// The model's file name without its ending: `vi_VN-vais1000-medium`.
    pub name: String,
    /// The model.
    pub model: PathBuf,
    /// Its description, which may be missing.
    pub config: PathBuf,
}

impl VoiceFiles {
    /// Of a model by its path.
    #[must_use]
    pub fn of(model: PathBuf) -> Option<Self> {
        let is_model = model.extension().is_some_and(|ending| ending == MODEL);
        let name = model.file_stem()?.to_str()?.to_owned();
        let mut config = model.clone().into_os_string();
        config.push(".json");
        is_model.then_some(Self {
            name,
            model,
            config: config.into(),
        })
    }

    /// All of them.
    pub(in super::super) fn all(&self) -> [PathBuf; 3] {
        [self.model.clone(), self.config.clone(), self.card()]
    }

    fn card(&self) -> PathBuf {
        self.model.with_file_name("MODEL_CARD")
    }

    /// Reads the description.
    pub(super) fn read(&self) -> Result<VoiceConfig, String> {
        let shown = self.config.display();
        let unreadable = |error: std::io::Error| {
            format!("{shown} cannot be read: {error}; it comes with the voice's model")
        };
        let bytes = fs::metadata(&self.config).map_err(unreadable)?.len();
        if bytes > MAX_CONFIG_BYTES {
            return Err(format!("{shown} is too large for a voice's description"));
        }
        let text = fs::read_to_string(&self.config).map_err(unreadable)?;
        VoiceConfig::parse(&text).map_err(|fault| format!("{shown}: {fault}"))
    }

    /// Changes with the files, and with what makes phonemes for them.
    pub(super) fn version(&self) -> Option<String> {
        let mut version = match libespeak::open() {
            Ok(library) => lock(library).version().to_owned(),
            Err(_) => "none".to_owned(),
        };
        for path in [&self.model, &self.config] {
            let file = fs::metadata(path).ok()?;
            let written = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
            version += &format!(" {} {}", file.len(), written.as_nanos());
        }
        Some(version)
    }

    /// What the model card beside the model says of the licence.
    pub(super) fn licence(&self) -> Option<String> {
        let card = fs::read_to_string(self.card()).ok()?;
        let said = card.lines().find_map(|line| {
            let line = line.trim_start_matches(['*', '-', ' ']);
            line.strip_prefix("License:").map(str::trim)
        })?;
        (!said.is_empty()).then(|| said.to_owned())
    }
}

/// The voices in a folder, by name. A folder that is not there has none.
#[must_use]
pub fn find(folder: &Path) -> Vec<VoiceFiles> {
    let mut found = Vec::new();
    for entry in entries(folder) {
        if entry.is_dir() {
            found.extend(entries(&entry).into_iter().filter_map(VoiceFiles::of));
        } else {
            found.extend(VoiceFiles::of(entry));
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found.dedup_by(|one, other| one.name == other.name);
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = listed
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Whether a voice can be used: its description is read, and its model loaded.
///
/// # Errors
///
/// What is wrong with which file, for people.
pub fn check(files: &VoiceFiles) -> Result<(), String> {
    files.read()?;
    // What is built in: the voice may be spoken where no library is.
    Runtime::Rten.load(&files.model, 1).map(drop)
}
