//! Looks at the file again and again, and reads it where it may have changed.

use std::path::Path;

use super::file::{self, Entry, KeysError, Stamp};

/// What one look came to.
pub enum Found {
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

/// Remembers what the last looks have seen.
#[derive(Default)]
pub struct Lookout {
    seen: Option<Stamp>,
    /// Whether what is seen was read after it was seen before: what is written within
    /// one tick of the file system's clock gets the same stamp, and looks are further
    /// apart than that.
    is_settled: bool,
}

impl Lookout {
    /// Looks; reads a file that may not be the one that was read.
    pub fn look(&mut self, data_dir: &Path) -> Found {
        let stamp = match file::stamp(data_dir) {
            Ok(stamp) => stamp,
            Err(error) => return Found::Unknown(error),
        };
        if stamp.is_none() {
            self.forget();
            return Found::Nothing;
        }
        if stamp == self.seen && self.is_settled {
            return Found::Unchanged;
        }
        self.is_settled = stamp == self.seen;
        self.seen = stamp;
        match file::read(data_dir) {
            Ok(Some(keys)) => Found::Keys(keys),
            Ok(None) => Found::Nothing,
            Err(error) => Found::Unreadable(error),
        }
    }

    /// Has the next look read the file whatever it sees.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keys::Scopes;

    fn names(found: Found) -> Option<Vec<String>> {
        match found {
            Found::Keys(keys) => Some(keys.into_iter().map(|key| key.name).collect()),
            _ => None,
        }
    }

    #[test]
    fn a_file_is_read_twice_and_then_only_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, mut lookout) = (folder.path(), Lookout::default());
        assert!(matches!(lookout.look(folder), Found::Nothing));
        for added in [["a"].as_slice(), &["a", "b"]] {
            file::add(folder, added.last().unwrap(), Scopes::all(), 0).unwrap();
            for _ in 0..2 {
                assert_eq!(names(lookout.look(folder)).unwrap(), added);
            }
            for _ in 0..2 {
                assert!(matches!(lookout.look(folder), Found::Unchanged));
            }
        }
        lookout.forget();
        assert!(names(lookout.look(folder)).is_some());
        fs::remove_file(file::path(folder)).unwrap();
        assert!(matches!(lookout.look(folder), Found::Nothing));
    }

    #[test]
    fn what_is_written_within_the_tick_of_a_look_is_read_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, mut lookout) = (folder.path(), Lookout::default());
        file::add(folder, "a", Scopes::all(), 0).unwrap();
        assert_eq!(names(lookout.look(folder)).unwrap(), ["a"]);
        let text = fs::read_to_string(file::path(folder)).unwrap();
        fs::write(file::path(folder), text.replace(r#""a""#, r#""b""#)).unwrap();
        lookout.seen = file::stamp(folder).unwrap();
        assert_eq!(names(lookout.look(folder)).unwrap(), ["b"]);
    }
}
