//! What one look at the file came to.

use std::path::Path;

use super::file::{self, Entry, KeysError};
use crate::lookout::Lookout;

/// What one look came to.
pub enum LookResult {
    /// The file is as it was.
    Unchanged,
    /// There is no file.
    Nothing,
    /// What the file says.
    Keys(Vec<Entry>),
    /// It is there and cannot be read.
    Unreadable(KeysError),
    /// Whether it is there cannot be told.
    Unknown(KeysError),
}

/// Looks; reads a file that may not be the one that was read.
pub fn look(lookout: &mut Lookout, data_dir: &Path) -> LookResult {
    let path = file::path(data_dir);
    match lookout.must_read(&[&path]) {
        Ok(true) => {}
        Ok(false) => return LookResult::Unchanged,
        Err(error) => return LookResult::Unknown(file::failed("look at", &path)(error)),
    }
    match file::read(data_dir) {
        Ok(Some(keys)) => LookResult::Keys(keys),
        Ok(None) => LookResult::Nothing,
        Err(error) => LookResult::Unreadable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::Scopes;

    #[test]
    fn a_look_tells_what_the_file_says_and_whether_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, mut lookout) = (folder.path(), Lookout::default());
        let mut look = || look(&mut lookout, folder);
        assert!(matches!(look(), LookResult::Nothing));
        file::add(folder, "a", Scopes::all(), 0).unwrap();
        for _ in 0..2 {
            assert!(matches!(look(), LookResult::Keys(keys) if keys[0].name == "a"));
        }
        assert!(matches!(look(), LookResult::Unchanged));
        fs::write(file::path(folder), "{").unwrap();
        assert!(matches!(look(), LookResult::Unreadable(_)));
        fs::remove_file(file::path(folder)).unwrap();
        assert!(matches!(look(), LookResult::Nothing));
    }
}
