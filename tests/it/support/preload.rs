//! C code that stands between the program and the C library.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The library of `tests/it/support/NAME.c`, compiled once a run, by the
/// compiler that SQLite was built with.
#[track_caller]
pub fn library(name: &str) -> PathBuf {
    static COMPILED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    let mut compiled = COMPILED.lock().unwrap();
    if !compiled.contains(&library) {
        compile(name, &library);
        compiled.push(library.clone());
    }
    library
}

#[track_caller]
fn compile(name: &str, library: &Path) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support");
    // Another test process may have it loaded, so it is replaced whole.
    let mut new: OsString = library.into();
    new.push(format!(".{}", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&new)
        .arg(sources.join(format!("{name}.c")))
        .arg("-ldl")
        .status();
    assert!(compiled.expect("a C compiler").success());
    std::fs::rename(&new, library).expect("the library");
}
