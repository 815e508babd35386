//! Files that are there whole or not at all: written beside their place, and
//! renamed into it at the end.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The name that stands for standard output.
const STDOUT: &str = "-";

/// A file that is being written. Dropped before [`WholeFile::finish`], it
/// leaves nothing behind.
pub struct WholeFile {
    part: Part,
    file: File,
    goal: Goal,
}

/// Where the bytes go once they are all there.
enum Goal {
    /// In the place of the file of this name, if there is one.
    Rename(PathBuf),
    /// Into something that cannot be replaced: a pipe, a device.
    Copy(Box<dyn Write>),
}

/// Removes what is left of an unfinished file.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing of this name any more.
        let _ = fs::remove_file(&self.0);
    }
}

impl WholeFile {
    /// Opens the place to write to, so that what is wrong with it is known
    /// before any work is done for it. `-` is standard output.
    pub fn create(path: &Path) -> io::Result<Self> {
        if is_stdout(path) {
            return Self::to_be_copied(Box::new(io::stdout()));
        }
        // A link is written through, not replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                Self::to_be_copied(Box::new(File::options().write(true).open(&path)?))
            }
            _ => {
                let mut beside = path.clone().into_os_string();
                beside.push(format!(".{}.part", std::process::id()));
                Self::with_part(PathBuf::from(beside), Goal::Rename(path))
            }
        }
    }

    fn to_be_copied(goal: Box<dyn Write>) -> io::Result<Self> {
        let name = format!("hoiam-{}", uuid::Uuid::new_v4());
        Self::with_part(std::env::temp_dir().join(name), Goal::Copy(goal))
    }

    fn with_part(part: PathBuf, goal: Goal) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&part)?;
        Ok(Self {
            part: Part(part),
            file,
            goal,
        })
    }

    /// Appends.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Begins anew.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Puts `head` in the place of as many bytes at the start, and the whole
    /// in its place. Says how many bytes it has.
    pub fn finish(mut self, head: &[u8]) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(head)?;
        let bytes = self.file.metadata()?.len();
        match self.goal {
            Goal::Rename(path) => fs::rename(&self.part.0, path)?,
            Goal::Copy(mut goal) => {
                self.file.seek(SeekFrom::Start(0))?;
                io::copy(&mut self.file, &mut goal)?;
                goal.flush()?;
            }
        }
        Ok(bytes)
    }

    /// Writes a file whose bytes are all known.
    pub fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = Self::create(path)?;
        file.append(bytes)?;
        file.finish(&[]).map(|_| ())
    }
}

/// Whether a path on the command line means standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new(STDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_only_by_a_finished_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "before").unwrap();
        let mut file = WholeFile::create(&path).unwrap();
        file.append(b"....after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(file.finish(b"here").unwrap(), 9);
        assert_eq!(fs::read(&path).unwrap(), b"hereafter");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = WholeFile::create(&folder.path().join("a")).unwrap();
        file.append(b"some").unwrap();
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn links_and_devices_are_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        WholeFile::save(&link, b"after").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"after");

        let device = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &device).unwrap();
        WholeFile::save(&device, b"gone").unwrap();
        assert!(!fs::metadata(&device).unwrap().is_file());
    }

    #[test]
    fn a_folder_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(WholeFile::create(folder.path()).is_err());
        assert!(WholeFile::create(&folder.path().join("absent/a")).is_err());
    }
}
