//! Where neural voices are kept: `NAME.onnx` beside `NAME.onnx.json`, in the folder of
//! voices itself or in a folder of their own below it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// What a model's file is called after the voice's name.
const MODEL: &str = "onnx";

/// The largest model: the memory of a child is measured by it. Piper's own have
/// 115 MB at most.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// How many names of a folder are looked at.
const MAX_ENTRIES: usize = 10_000;

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
        // It would be part of an id, which is shown in terminals and logs.
        if name.chars().any(char::is_control) {
            return None;
        }
        let mut config = model.clone().into_os_string();
        config.push(".json");
        is_model.then_some(Self {
            name,
            model,
            config: config.into(),
        })
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> [PathBuf; 3] {
        [self.model.clone(), self.config.clone(), self.card()]
    }

    /// The model card beside the model, which may be missing.
    #[must_use]
    pub fn card(&self) -> PathBuf {
        self.model.with_file_name("MODEL_CARD")
    }

    /// The size of the model.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or is larger than any model of a voice.
    pub fn model_bytes(&self) -> Result<u64, ModelError> {
        let file = open_file(&self.model);
        let bytes = file
            .and_then(|file| Ok(file.metadata()?.len()))
            .map_err(|source| CannotBeRead::new(&self.model, source))?;
        match bytes <= MAX_MODEL_BYTES {
            true => Ok(bytes),
            false => Err(ModelError::TooLarge(self.model.clone())),
        }
    }
}

/// Opens a file, and nothing else that a path may lead to: a pipe would have us wait,
/// a device never end.
/// # Errors
///
/// As the system has it, and where it is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// Why the model of a voice cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// It is not there, or not for us.
    #[error(transparent)]
    Unreadable(#[from] CannotBeRead),
    /// No voice has one of that size.
    #[error("{} is larger than {} MiB", .0.display(), MAX_MODEL_BYTES >> 20)]
    TooLarge(PathBuf),
}

/// A file or folder of voices that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}{}", path.display(), way_out(source))]
pub struct CannotBeRead {
    /// Which.
    pub path: PathBuf,
    source: io::Error,
}

impl CannotBeRead {
    /// With what the system said.
    #[must_use]
    pub fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, source }
    }
}

/// Who runs the service as root does not expect to be denied anything.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() == io::ErrorKind::PermissionDenied && geteuid().is_root() {
        true => {
            " (root's voices are read without its capabilities: root must own them, or everybody may read them)"
        }
        false => "",
    }
}

/// The folders of voices that must not be looked into, the folder itself or some in it.
#[must_use]
pub fn closed(folder: &Path) -> Vec<CannotBeRead> {
    // What is behind a link may be closed to this child alone.
    let below = entries(folder).into_iter();
    let below = below.filter(|path| path.is_dir() && !path.is_symlink());
    let folders = [folder.to_owned()].into_iter().chain(below);
    folders
        .filter_map(|folder| {
            let error = fs::read_dir(&folder).err()?;
            let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
            is_closed.then(|| CannotBeRead::new(&folder, error))
        })
        .collect()
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
    let listed = listed.take(MAX_ENTRIES);
    let mut paths: Vec<PathBuf> = listed
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}
