//! Where voices are kept: `NAME.onnx` beside `NAME.onnx.json`, in the folder of
//! voices itself or in a folder of their own below it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use nix::unistd::geteuid;

use super::super::libespeak::{self, lock};
use super::voice::VoiceConfig;

/// What a model's file is called after the voice's name.
const MODEL: &str = "onnx";

/// The largest model: the memory of a child is measured by it. Piper's own have
/// 115 MB at most.
const MAX_MODEL_BYTES: u64 = 1 << 30;

/// The largest description of a voice; those with a thousand speakers have
/// about 60 kB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What is read of a model card, whose lines about the licence come early.
const MAX_CARD_BYTES: u64 = 64 << 10;

/// The longest licence that is shown.
const MAX_LICENCE_CHARS: usize = 200;

/// What is told of a fault, which can quote the file.
const MAX_FAULT_CHARS: usize = 300;

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
    pub(in super::super) fn all(&self) -> [PathBuf; 3] {
        [self.model.clone(), self.config.clone(), self.card()]
    }

    fn card(&self) -> PathBuf {
        self.model.with_file_name("MODEL_CARD")
    }

    /// Reads the description, and sees that there is a model.
    pub(super) fn read(&self) -> Result<VoiceConfig, String> {
        self.model_bytes()?;
        let shown = self.config.display();
        let unreadable = |error: io::Error| {
            let told = cannot_be_read(&self.config, &error);
            format!("{told}; it comes with the voice's model")
        };
        let file = open_file(&self.config).map_err(unreadable)?;
        let mut text = String::new();
        let read = file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text);
        if read.map_err(unreadable)? as u64 > MAX_CONFIG_BYTES {
            return Err(format!("{shown} is too large for a voice's description"));
        }
        VoiceConfig::parse(&text).map_err(|fault| format!("{shown}: {}", shortened(&fault)))
    }

    /// The size of the model.
    ///
    /// # Errors
    ///
    /// Where it cannot be read, or is larger than any model of a voice; for people.
    pub fn model_bytes(&self) -> Result<u64, String> {
        let shown = self.model.display();
        let file = open_file(&self.model);
        let bytes = file.and_then(|file| Ok(file.metadata()?.len()));
        match bytes {
            Ok(bytes) if bytes > MAX_MODEL_BYTES => {
                let most = MAX_MODEL_BYTES >> 20;
                Err(format!("{shown} is larger than {most} MiB"))
            }
            bytes => bytes.map_err(|error| cannot_be_read(&self.model, &error)),
        }
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
        let file = open_file(&self.card()).ok()?;
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
}

/// Opens a file, and nothing else that a path may lead to: a pipe would have us wait,
/// a device never end.
fn open_file(path: &Path) -> io::Result<File> {
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

/// For people. Who runs the service as root does not expect what it comes to.
fn cannot_be_read(path: &Path, error: &io::Error) -> String {
    let is_unexpected = error.kind() == io::ErrorKind::PermissionDenied && geteuid().is_root();
    let way_out = match is_unexpected {
        true => {
            " (root's voices are read without its capabilities: root must own them, or everybody may read them)"
        }
        false => "",
    };
    format!("{} cannot be read: {error}{way_out}", path.display())
}

/// The folders of voices that must not be looked into, the folder itself or some in it:
/// each with why, for people.
pub(super) fn closed(folder: &Path) -> Vec<(PathBuf, String)> {
    // What is behind a link may be closed to this child alone.
    let below = entries(folder).into_iter();
    let below = below.filter(|path| path.is_dir() && !path.is_symlink());
    let folders = [folder.to_owned()].into_iter().chain(below);
    folders
        .filter_map(|folder| {
            let error = fs::read_dir(&folder).err()?;
            let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
            let told = cannot_be_read(&folder, &error);
            is_closed.then_some((folder, told))
        })
        .collect()
}

fn shortened(fault: &str) -> String {
    match fault.char_indices().nth(MAX_FAULT_CHARS) {
        Some((end, _)) => format!("{} …", &fault[..end]),
        None => fault.to_owned(),
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
    let listed = listed.take(MAX_ENTRIES);
    let mut paths: Vec<PathBuf> = listed
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Whether the files of a voice are there, and its description can be used. Whether
/// its model can, only a child finds out that may be lost with it.
///
/// # Errors
///
/// What is wrong with which file, for people.
pub fn check(files: &VoiceFiles) -> Result<(), String> {
    files.read().map(drop)
}
