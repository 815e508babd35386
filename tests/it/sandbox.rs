//! An engine that a text or a voice has taken over: each way out of its process is
//! tried from within a real child, and is closed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::support::preload::library;

/// What `hostile_engine.c` answers beside the ways that were open.
const ANSWER: u32 = 0x100_0000;

/// Its bits, from the lowest on.
const WAYS: [&str; 20] = [
    "write the service's memory",
    "read the service's memory",
    "read the service's environment",
    "trace the service",
    "signal the service",
    "have the service signalled by a pipe",
    "limit the service",
    "create a file",
    "write a file",
    "change files",
    "open sockets",
    "run programs",
    "start processes",
    "outlive the service",
    "change what is mounted",
    "type into terminals",
    "share memory and queues",
    "read the callback secret",
    "read a database",
    "read what everybody may read",
];

/// A service's folder, and a program whose children load the hostile engine.
struct Ground {
    folder: TempDir,
    program: PathBuf,
}

impl Ground {
    /// All of it may be read by anybody, but for what only the sandbox protects.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("data")).unwrap();
        for name in ["callback.secret", "tts.db", "victim"] {
            fs::write(at("data").join(name), "secret").unwrap();
            fs::set_permissions(at("data").join(name), fs::Permissions::from_mode(0o666)).unwrap();
        }
        fs::create_dir(at("engine")).unwrap();
        fs::copy(library("hostile_engine"), at("engine/libespeak-ng.so.1")).unwrap();
        fs::copy(library("no_landlock"), at("no_landlock.so")).unwrap();
        // Where an unprivileged user can reach it.
        let program = at("hoiam");
        // By a process of its own: who forks meanwhile would keep it open for writing.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_hoiam"))
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        for (name, mode) in [(".", 0o755), ("data", 0o777), ("engine", 0o755)] {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        Self { folder, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the engine has reached while it was to say something for `hoiam say`.
    #[track_caller]
    fn open_ways(&self, run: impl FnOnce(&Path) -> Command) -> Vec<&'static str> {
        let mut command = run(&self.program);
        command
            .args(["say", "Hello.", "--voice", "espeak/xx", "-o", "/dev/null"])
            .env("LD_LIBRARY_PATH", self.path("engine"));
        let output = self.output(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let number = said.split("espeak_Synth: error ").nth(1);
        let number = number.and_then(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        let open = number.unwrap_or_else(|| panic!("{output:?}")) - ANSWER;
        let open = WAYS
            .iter()
            .enumerate()
            .filter(|(bit, _)| open & (1 << bit) != 0);
        open.map(|(_, way)| *way).collect()
    }

    fn output(&self, mut command: Command) -> Output {
        command
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn is_root() -> bool {
        Command::new("id").arg("-u").output().unwrap().stdout == b"0\n"
    }

    /// The command as a user without privileges, which the tests may be already.
    fn unprivileged(program: &Path) -> Command {
        if !Self::is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(program);
        command
    }
}

#[test]
fn an_engine_that_was_taken_over_gets_nowhere() {
    let ground = Ground::new();
    let none: [&str; 0] = [];
    assert_eq!(ground.open_ways(|program| Command::new(program)), none);
    assert_eq!(ground.open_ways(Ground::unprivileged), none);
}

#[test]
fn voices_behind_links_are_read_all_the_same() {
    let ground = Ground::new();
    let elsewhere = ground.path("elsewhere");
    fs::create_dir_all(elsewhere.join("own")).unwrap();
    fs::create_dir(ground.path("data/voices")).unwrap();
    let description = r#"{"audio": {"sample_rate": 22050}, "phoneme_type": "text",
        "phoneme_id_map": {"_": [0], "^": [1], "$": [2]}}"#;
    for name in ["one", "own/two"] {
        fs::write(elsewhere.join(format!("{name}.onnx")), b"").unwrap();
        fs::write(elsewhere.join(format!("{name}.onnx.json")), description).unwrap();
    }
    for name in ["one.onnx", "one.onnx.json", "own"] {
        let link = ground.path("data/voices").join(name);
        std::os::unix::fs::symlink(elsewhere.join(name), link).unwrap();
    }
    let mut list = Command::new(&ground.program);
    list.args(["voices", "--json"]);
    let output = ground.output(list);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("piper/one") && said.contains("piper/two"),
        "{output:?}"
    );
}

#[test]
fn a_folder_of_voices_that_a_child_must_not_read_is_told_of() {
    let ground = Ground::new();
    let voices = ground.path("data/voices");
    fs::create_dir_all(voices.join("own")).unwrap();
    for closed in ["own", "."] {
        let folder = voices.join(closed);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
        let mut list = Command::new(&ground.program);
        list.arg("voices");
        let output = ground.output(list);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("cannot be read: Permission denied"), "{said}");
        let is_of_root = said.contains("without its capabilities");
        assert_eq!(is_of_root, Ground::is_root(), "{said}");
        let id = if closed == "." {
            "engine piper is"
        } else {
            "voice piper/own cannot"
        };
        assert!(said.contains(id), "{said}");
    }
}

#[test]
fn without_landlock_it_reads_files_and_nothing_else_and_doctor_says_so() {
    let ground = Ground::new();
    let without = |mut command: Command| {
        command.env("LD_PRELOAD", ground.path("no_landlock.so"));
        command
    };
    let files = &WAYS[17..];
    let open = ground.open_ways(|program| without(Command::new(program)));
    assert_eq!(open, files);
    let open = ground.open_ways(|program| without(Ground::unprivileged(program)));
    assert_eq!(open, files);

    let mut doctor = without(Command::new(&ground.program));
    doctor.args(["doctor", "--json"]);
    let output = ground.output(doctor);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = checks.to_string();
    assert!(told.contains("this kernel has no Landlock"), "{told}");
    assert!(told.contains("espeak/vi speaks"), "{told}");
}

#[test]
fn all_limits_of_a_child_are_in_force_here() {
    let ground = Ground::new();
    let mut doctor = Ground::unprivileged(&ground.program);
    doctor.args(["doctor", "--json"]);
    let output = ground.output(doctor);
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = checks.to_string();
    assert!(told.contains("reads_voices_only"), "{told}");
    assert!(!told.contains("did not take effect"), "{told}");
}
