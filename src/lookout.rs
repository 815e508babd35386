//! Whether files have changed since they were last read. Nothing announces that, so
//! they are looked at each second.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After this time a running service has seen a change, unless the machine is
/// overloaded.
pub const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// What tells one state of a file from another: a replaced file is another inode, and a
/// change of it moves its times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds, of the content and of all that is kept of the file.
    modified: (i64, i64),
    changed: (i64, i64),
}

/// `None` when there is no file.
fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(Stamp {
            inode: file.ino(),
            bytes: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Remembers what the last looks at some files have seen.
#[derive(Default)]
pub struct Lookout {
    /// `None` before the first look.
    seen: Option<Vec<Option<Stamp>>>,
    /// Whether what is seen was read after it was seen before: what is written within
    /// one tick of the file system's clock gets the same stamp, and looks are further
    /// apart than that.
    is_settled: bool,
}

impl Lookout {
    /// Whether the files have to be read: they may not be what was read before.
    ///
    /// # Errors
    /// When it cannot be told whether they are there.
    pub fn must_read(&mut self, paths: &[&Path]) -> io::Result<bool> {
        let stamps = paths.iter().map(|path| stamp(path));
        let stamps: Vec<_> = stamps.collect::<io::Result<_>>()?;
        let is_same = self.seen.as_ref() == Some(&stamps);
        if is_same && self.is_settled {
            return Ok(false);
        }
        self.is_settled = is_same;
        self.seen = Some(stamps);
        Ok(true)
    }

    /// Has the next look read the files whatever it sees.
    fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Looks again and again, on a thread that may block, and has what was found `heard`;
/// where that says no, the next look reads the files whatever it sees. It never ends.
pub async fn watch<T: Send + 'static>(
    look: impl Fn(&mut Lookout) -> T + Send + Sync + 'static,
    mut heard: impl AsyncFnMut(T) -> bool,
) {
    let look = Arc::new(look);
    let mut lookout = Lookout::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = Arc::clone(&look);
        let looked = tokio::task::spawn_blocking(move || {
            let found = look(&mut lookout);
            (found, lookout)
        });
        lookout = match looked.await {
            Ok((found, mut lookout)) => {
                if !heard(found).await {
                    lookout.forget();
                }
                lookout
            }
            Err(_) => Lookout::default(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_twice_and_then_only_when_one_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let mut lookout = Lookout::default();
        let mut looks = || [(); 4].map(|()| lookout.must_read(&[&a, &b]).unwrap());
        assert_eq!(looks(), [true, true, false, false], "none is there");
        fs::write(&a, "1").unwrap();
        assert_eq!(looks(), [true, true, false, false]);
        fs::write(&b, "1").unwrap();
        assert_eq!(looks(), [true, true, false, false]);
        fs::remove_file(&a).unwrap();
        assert_eq!(looks(), [true, true, false, false]);
        lookout.forget();
        assert!(lookout.must_read(&[&a, &b]).unwrap());
    }

    #[test]
    fn what_is_written_within_the_tick_of_a_look_is_read_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1").unwrap();
        let mut lookout = Lookout::default();
        assert!(lookout.must_read(&[&file]).unwrap());
        fs::write(&file, "2").unwrap();
        lookout.seen = Some(vec![stamp(&file).unwrap()]);
        assert!(lookout.must_read(&[&file]).unwrap());
    }

    #[test]
    fn where_it_cannot_be_told_nothing_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "1").unwrap();
        let mut lookout = Lookout::default();
        for _ in 0..2 {
            assert!(lookout.must_read(&[&file]).unwrap());
        }
        assert!(lookout.must_read(&[&file.join("below")]).is_err());
        assert!(!lookout.must_read(&[&file]).unwrap());
    }
}
