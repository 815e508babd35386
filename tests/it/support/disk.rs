//! Disks that are small, and disks that fail.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::preload::library;

/// What a service keeps its data on.
pub enum Disk {
    /// A folder like any other.
    Plain(TempDir),
    /// A file system of its own, of a few megabytes.
    Small(Small),
    /// A folder whose files fail when the test says so.
    Failing(Failing),
}

impl Disk {
    /// A disk like any other.
    pub fn plain() -> Self {
        Self::Plain(folder())
    }

    /// A disk of so many megabytes. What is on it is in memory.
    #[track_caller]
    pub fn small(megabytes: u32) -> Self {
        Self::Small(Small::mount(megabytes))
    }

    /// A disk that has no fault yet.
    pub fn failing() -> Self {
        Self::Failing(Failing {
            folder: folder(),
            control: folder(),
        })
    }

    /// Where the test finds the data.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Plain(folder) => folder.path(),
            Self::Small(small) => &small.seen_from_here,
            Self::Failing(failing) => failing.folder.path(),
        }
    }

    /// Where the service finds it.
    pub fn folder_of_service(&self) -> &Path {
        match self {
            Self::Small(small) => small.folder.path(),
            _ => self.folder(),
        }
    }

    /// The program, started where it sees this disk.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::Plain(_) => Command::new(program),
            Self::Small(small) => small.command(program),
            Self::Failing(failing) => failing.command(program),
        }
    }

    /// Takes all that is free, or gives it back.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.ballast()).expect("a ballast");
        let zeros = vec![0; 1 << 16];
        while std::io::Write::write_all(&mut ballast, &zeros).is_ok() {}
    }

    /// Gives back what [`Self::fill`] took.
    pub fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast");
    }

    /// From now on every call fails like this; see `disk_faults.c`.
    #[track_caller]
    pub fn fail(&self, fault: &str) {
        std::fs::write(self.control(), fault).expect("the control file");
    }

    /// No call fails from now on.
    #[track_caller]
    pub fn heal(&self) {
        std::fs::remove_file(self.control()).expect("the control file");
    }

    fn ballast(&self) -> PathBuf {
        self.folder().join("ballast")
    }

    #[track_caller]
    fn control(&self) -> PathBuf {
        match self {
            Self::Failing(failing) => failing.control.path().join("fault"),
            _ => panic!("this disk does not fail"),
        }
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a data folder")
}

/// A tmpfs in a mount namespace, which lasts as long as its holder.
pub struct Small {
    folder: TempDir,
    seen_from_here: PathBuf,
    holder: Child,
    /// Nobody but root may mount, but everybody may be root in a namespace.
    in_user_namespace: bool,
}

impl Small {
    #[track_caller]
    fn mount(megabytes: u32) -> Self {
        let folder = folder();
        // SAFETY: geteuid has no arguments and cannot fail.
        #[expect(unsafe_code, reason = "std does not tell the user id")]
        let in_user_namespace = unsafe { libc::geteuid() } != 0;
        let mut unshare = Command::new("unshare");
        if in_user_namespace {
            unshare.arg("--map-root-user");
        }
        let script = r#"mount -t tmpfs -o "size=$1m" none "$0" && echo mounted && exec cat"#;
        let mut holder = unshare
            .args(["--mount", "sh", "-c", script])
            .arg(folder.path())
            .arg(megabytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare, of util-linux");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "mounted\n", "nothing can be mounted here");
        let here = format!("/proc/{}/root{}", holder.id(), folder.path().display());
        Self {
            folder,
            seen_from_here: here.into(),
            holder,
            in_user_namespace,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if self.in_user_namespace {
            nsenter.args(["--user", "--preserve-credentials"]);
        }
        nsenter.arg(program);
        nsenter
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Calls pass `disk_faults.c` before they reach the C library.
pub struct Failing {
    folder: TempDir,
    control: TempDir,
}

impl Failing {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", library("disk_faults"))
            .env("DISK_FAULT_FOLDER", self.folder.path())
            .env("DISK_FAULT_FILE", self.control.path().join("fault"));
        command
    }
}

/// All files below a folder, by name.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut files_in(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
