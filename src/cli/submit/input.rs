//! The texts that `hoiam submit` is given, and what their results are called.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;

/// What the argument for standard input is, and what its results are called.
const STDIN: &str = "-";
const STDIN_NAME: &str = "speech";

/// One text to be spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As it was given: a path, or `-`.
    pub shown: String,
    /// What its results are called, without an ending.
    pub name: String,
    /// The text.
    pub text: String,
}

/// Reads every file, or says of all of them together what is wrong.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Input>, CliError> {
    let mut errors = Vec::new();
    let mut inputs = Vec::new();
    let mut taken: HashMap<String, String> = HashMap::new();
    for path in paths {
        let shown = path.display().to_string();
        let name = result_name(path);
        if let Some(other) = taken.insert(name.clone(), shown.clone()) {
            errors.push(format!(
                "{other} and {shown} would both be saved as {name}; submit them one after the \
                 other with another -o"
            ));
            continue;
        }
        match read(path) {
            Ok(text) if text.trim().is_empty() => errors.push(format!("{shown} is empty")),
            Ok(text) => inputs.push(Input { shown, name, text }),
            Err(error) => errors.push(format!("cannot read {shown}: {error}")),
        }
    }
    if errors.is_empty() {
        Ok(inputs)
    } else {
        Err(CliError::plain(errors.join("\nhoiam: ")))
    }
}

fn read(path: &Path) -> io::Result<String> {
    if path == Path::new(STDIN) {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path)
}

fn result_name(path: &Path) -> String {
    if path == Path::new(STDIN) {
        return STDIN_NAME.to_owned();
    }
    path.file_stem().map_or_else(
        || STDIN_NAME.to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_named_after_the_file_without_its_ending() {
        assert_eq!(result_name(Path::new("book/chapter-1.txt")), "chapter-1");
        assert_eq!(result_name(Path::new("-")), "speech");
    }

    #[test]
    fn every_error_is_told_and_two_results_never_share_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (one, other) = (file("a.txt", "x"), file("a.md", "y"));
        let (blank, absent) = (file("b.txt", " \n"), folder.path().join("c.txt"));
        let told = read_all(&[one, other, blank, absent])
            .unwrap_err()
            .to_string();
        for part in ["both be saved as a", "b.txt is empty", "cannot read"] {
            assert!(told.contains(part), "{told}");
        }
    }
}
