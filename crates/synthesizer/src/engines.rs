//! What a child opens its engines with, and what it then reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the engines are opened with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Whether the voices for rehearsing failures are offered.
    pub test_voices: bool,
    /// Where neural voices are kept; `None` where there are to be none.
    pub voices_dir: Option<PathBuf>,
    /// Threads for one neural voice; 0 is as 1.
    pub threads: usize,
    /// The library of ONNX Runtime; `None` where the loader is to find it.
    pub onnxruntime_library: Option<PathBuf>,
}

/// What a process reads that opens the engines and speaks with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Files, and folders with all that is below them.
    pub read: Vec<PathBuf>,
    /// Folders whose names are read, with the folders below them.
    pub listed: Vec<PathBuf>,
}
