//! The commands that need no service, as processes: what they write, what
//! they say, and the exit codes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use subtp::srt::SubRip;
use subtp::vtt::WebVtt;

use super::results::Decoded;
use super::support::peer::nobody;
use super::support::{Encrypted, Peer, Reaction, Service, eventually};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// What may not be set by a flag.
const SECRETS: [&str; 4] = [
    "server.api_keys",
    "backend.tts_api_key",
    "callback.secrets",
    "alerts.callback_url",
];

/// Runs in `folder`, where relative paths lead. Secrets that are given as flags are set
/// as variables.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hoiam"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HOIAM")) {
        command.env_remove(name);
    }
    command.current_dir(folder);
    let mut left = arguments.iter().peekable();
    while let Some(argument) = left.next() {
        let pair = left
            .peek()
            .filter(|_| *argument == "--set")
            .and_then(|pair| pair.split_once('='))
            .filter(|(key, _)| SECRETS.contains(key));
        match pair {
            Some((key, value)) => {
                let name = key.replace('.', "__").to_uppercase();
                command.env(format!("HOIAM__{name}"), value);
                left.next();
            }
            None => {
                command.arg(argument);
            }
        }
    }
    command
}

pub fn hoiam(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

#[track_caller]
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// It ended with this code and said this on stderr.
#[track_caller]
pub fn assert_refused(output: &Output, code: i32, said: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(said), "{said:?} is not in {stderr}");
}

pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn say_writes_audio_subtitles_and_words_that_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let text = "Xin chào các bạn. Hôm nay trời đẹp quá!";
    let files = ["--srt", "a.srt", "--vtt", "a.vtt", "--words", "a.json"];
    let said = command(folder.path(), &["say", text, "-o", "a.mp3", "--json"])
        .args(files)
        .output()
        .unwrap();
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let said = json(&said);
    assert_eq!(
        (&said["file"], &said["words"]),
        (&"a.mp3".into(), &9.into())
    );
    assert_eq!(
        (&said["voice"], &said["language"]),
        (&"espeak/vi".into(), &"vi".into())
    );
    assert_eq!(
        names_in(folder.path()),
        ["a.json", "a.mp3", "a.srt", "a.vtt"]
    );

    let audio = fs::read(folder.path().join("a.mp3")).unwrap();
    assert_eq!(said["bytes"], audio.len());
    let duration_ms = said["duration_ms"].as_i64().unwrap();
    let apart = Decoded::of(&audio).duration_ms() - duration_ms;
    assert!(apart.abs() <= 30, "{apart} ms apart");

    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let srt = SubRip::parse(&read("a.srt")).unwrap();
    let lines: Vec<String> = srt
        .subtitles
        .iter()
        .flat_map(|cue| cue.text.clone())
        .collect();
    assert_eq!(lines.join(" "), text);
    WebVtt::parse(&read("a.vtt")).unwrap();
    let words: Value = serde_json::from_str(&read("a.json")).unwrap();
    assert_eq!(words["duration_ms"], duration_ms);
    assert_eq!(words["words"][1]["text"], "chào");
}

#[test]
fn say_reads_stdin_and_writes_whole_audio_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = command(folder.path(), &["say", "-", "--format", "wav", "-o", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"Good morning.\n").unwrap();
    drop(stdin);
    let said = process.wait_with_output().unwrap();
    assert_eq!(said.status.code(), Some(0));
    assert!(Decoded::of(&said.stdout).duration_ms() > 500);
    // The sizes in the head of the file are known only at its end.
    let riff_bytes = u32::from_le_bytes(said.stdout[4..8].try_into().unwrap());
    assert_eq!(usize::try_from(riff_bytes).unwrap() + 8, said.stdout.len());
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn say_takes_the_names_that_the_configuration_gives_to_voices() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("hoiam.toml"),
        "[tts.aliases]\nlan = \"espeak/vi-vn-x-south\"\n[tts.default_voices]\nen = \"espeak/vi\"\n",
    )
    .unwrap();
    for (arguments, voice) in [
        (["say", "Xin chào", "-v", "lan"], "espeak/vi-vn-x-south"),
        (["say", "Good morning", "--language", "en"], "espeak/vi"),
    ] {
        let said = command(folder.path(), &arguments)
            .args(["--json", "--config", "hoiam.toml"])
            .output()
            .unwrap();
        assert_eq!(json(&said)["voice"], voice);
    }
}

#[test]
fn what_cannot_be_spoken_is_refused_with_the_way_out_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let say = |arguments: &[&str]| {
        command(folder.path(), &["say"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let voice = say(&["Xin chào", "-v", "espeak/vn"]);
    assert_refused(&voice, 1, "Did you mean espeak/vi");
    assert_refused(&voice, 1, "hoiam voices");
    assert_refused(&say(&[""]), 1, "nothing in it that can be spoken");
    assert_refused(&say(&["🎉 …"]), 1, "nothing in it that can be spoken");
    let short = ["--set", "tts.max_characters=5"];
    assert_refused(
        &say(&[&["Xin chào"], &short[..]].concat()),
        1,
        "5 are allowed",
    );
    let both = say(&["Hi", "--speed", "3", "--bitrate", "7"]);
    assert_refused(&both, 1, "between 0.5 and 2.0");
    assert_refused(&both, 1, "`bitrate_kbps` must be one of");
    assert_refused(&say(&["Hi", "-o", "absent/a.mp3"]), 1, "absent/a.mp3");
    assert_refused(&say(&["Hi", "-o", "a.mp4"]), 2, "--format");
    assert_refused(&say(&["Hi", "-o", "-", "--json"]), 2, "-o -");
    assert_refused(&say(&["Hi", "--set", "tts.wrokers=2"]), 2, "tts.wrokers");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn an_engine_that_is_missing_is_told_with_the_package_to_install() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["say", "Xin chào"][..], &["voices"]] {
        let refused = command(folder.path(), arguments)
            .env("ESPEAK_DATA_PATH", folder.path())
            .output()
            .unwrap();
        assert_refused(&refused, 1, "espeak-ng-data");
    }
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mp3");
    fs::write(&path, "before").unwrap();
    for (voice, limit, said) in [
        ("test/fail", "tts.synthesis_base_s=600", ""),
        ("test/crash", "tts.synthesis_base_s=600", "crashed"),
        ("test/hang", "tts.synthesis_base_s=1", "1 s"),
    ] {
        let failed = hoiam(
            folder.path(),
            &[
                "say",
                "Hi",
                "-o",
                "a.mp3",
                "-v",
                voice,
                "--set",
                "tts.test_voices=true",
                "--set",
                limit,
            ],
        );
        assert_refused(&failed, 1, said);
    }
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(
        hoiam(folder.path(), &["say", "Hi", "-o", "a.mp3"])
            .status
            .code(),
        Some(0)
    );
    assert!(Decoded::of(&fs::read(&path).unwrap()).duration_ms() > 100);
    assert_eq!(names_in(folder.path()), ["a.mp3"]);
}

#[test]
fn an_interrupted_say_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let slow = ["-v", "test/slow-600000", "--set", "tts.test_voices=true"];
    let process = command(
        folder.path(),
        &["say", "Hi", "--set", "tts.synthesis_base_s=600"],
    )
    .args(slow)
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    eventually("the audio is being written", || {
        names_in(folder.path()).pop()
    });
    let pid = process.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let ended = process.wait_with_output().unwrap();
    assert_refused(&ended, 1, "interrupted");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn voices_are_listed_for_people_and_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let listed = hoiam(folder.path(), &["voices", "--language", "vi", "--json"]);
    assert_eq!(listed.status.code(), Some(0));
    let items = json(&listed)["items"].as_array().unwrap().clone();
    assert!(items.iter().any(|voice| voice["id"] == "espeak/vi"));
    assert!(
        items
            .iter()
            .all(|voice| voice["language"].as_str().unwrap().starts_with("vi"))
    );
    assert_eq!(items[0]["sample_rate_hz"], 22_050);

    let table = hoiam(folder.path(), &["voices", "--language", "EN-US"]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.starts_with("ID "), "{table}");
    assert!(
        table.contains("espeak/en-us ") && !table.contains("espeak/vi"),
        "{table}"
    );

    let none = hoiam(folder.path(), &["voices", "--language", "xx"]);
    assert_refused(&none, 1, "there are voices for");
}

/// The looks of `hoiam doctor --json` with this name.
fn looks(report: &Value, name: &str) -> Vec<Value> {
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .filter(|check| check["check"] == name)
        .cloned()
        .collect()
}

fn doctor(folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let output = command(folder, &arguments).output().unwrap();
    (output.status.code(), json(&output))
}

#[test]
fn doctor_finds_a_fresh_folder_in_order_and_leaves_it_so() {
    let folder = tempfile::tempdir().unwrap();
    let (code, report) = doctor(folder.path(), &["--listen", "127.0.0.1:0"]);
    assert_eq!((code, &report["ok"]), (Some(0), &true.into()), "{report}");
    for name in [
        "configuration",
        "data folder",
        "disk space",
        "callback secret",
        "synthesizer",
        "engine",
        "library",
        "child limit",
        "encryption",
        "listener",
        "open files",
        "clock",
    ] {
        assert!(!looks(&report, name).is_empty(), "no {name} in {report}");
    }
    assert_eq!(looks(&report, "database").len(), 2);
    assert_eq!(
        looks(&report, "test sentence").len(),
        2,
        "one a default voice"
    );
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_shell_that_lets_few_files_be_open_by_default_limits_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plain = command(
        folder.path(),
        &["doctor", "--json", "--listen", "127.0.0.1:0"],
    );
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -S -n 100 && exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let report = json(&limited.output().unwrap());
    let told = looks(&report, "open files")[0]["detail"].to_string();
    assert!(
        !told
            .split_whitespace()
            .any(|word| word.trim_matches('"') == "100"),
        "{told}"
    );
}

#[test]
fn doctor_recognises_the_service_that_runs() {
    let service = Service::all().start();
    let arguments = [
        "doctor",
        "--json",
        "--listen",
        service.address(),
        "--data-dir",
    ];
    let output = command(service.folder(), &arguments)
        .arg(service.folder())
        .output()
        .unwrap();
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    for database in looks(&report, "database") {
        let detail = database["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("process {}", service.pid())),
            "{detail}"
        );
    }
    let listener = &looks(&report, "listener")[0];
    assert_eq!(listener["status"], "ok", "{listener}");
    assert!(listener["detail"].as_str().unwrap().ends_with("is ready"));

    // The same port for another folder is what cannot work.
    let folder = tempfile::tempdir().unwrap();
    let (_, report) = doctor(folder.path(), &["--listen", service.address()]);
    assert_eq!(looks(&report, "listener")[0]["status"], "warning");
}

#[test]
fn doctor_leaves_the_databases_of_a_stopped_service_as_they_are() {
    let mut service = Service::all().start();
    service.terminate();
    // What SQLite keeps beside a file may be folded into it.
    let kept = |folder: &Path| {
        let mut names = names_in(folder);
        names.retain(|name| !name.ends_with("-wal") && !name.ends_with("-shm"));
        names
    };
    let before = kept(service.folder());
    let arguments = ["doctor", "--json", "--listen", "127.0.0.1:0", "--data-dir"];
    let output = command(service.folder(), &arguments)
        .arg(service.folder())
        .output()
        .unwrap();
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    for database in looks(&report, "database") {
        assert!(
            database["detail"]
                .as_str()
                .unwrap()
                .ends_with("schema current"),
            "{database}"
        );
    }
    assert_eq!(kept(service.folder()), before);
    service.start();
}

/// The one problem, and that it names a way out.
#[track_caller]
fn assert_problem((code, report): (Option<i32>, Value), name: &str) {
    assert_eq!((code, &report["ok"]), (Some(1), &false.into()), "{report}");
    let checks = report["checks"].as_array().unwrap();
    let problems: Vec<&Value> = checks
        .iter()
        .filter(|check| check["status"] == "problem")
        .collect();
    assert!(
        problems.iter().any(|problem| problem["check"] == name),
        "{problems:?}"
    );
}

#[test]
fn doctor_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let free = ["--listen", "127.0.0.1:0"];
    let with = |more: &[&str]| doctor(folder.path(), &[&free[..], more].concat());
    assert_problem(with(&["--set", "tts.workers=many"]), "configuration");
    assert_problem(
        with(&["--set", "tts.default_voices=vi=espeak/vn"]),
        "test sentence",
    );

    let other_program = Peer::receiver();
    let address = other_program.url("").replace("http://", "");
    assert_problem(doctor(folder.path(), &["--listen", &address]), "listener");

    let alerts = |url: &str| with(&["--set", &format!("alerts.callback_url={url}")]);
    assert_problem(alerts(&format!("http://{}/", nobody())), "alerts");
    assert_problem(alerts("http://10.0.0.7/"), "alerts");
    assert!(
        !alerts("http://10.0.0.7/of-mine")
            .1
            .to_string()
            .contains("of-mine")
    );
    let (code, report) = alerts(&Peer::receiver().url("/of-mine"));
    assert!(!report.to_string().contains("of-mine"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(looks(&report, "alerts")[0]["status"], "ok");

    fs::create_dir(folder.path().join("data")).unwrap();
    let secret = folder.path().join("data/callback.secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert_problem(with(&[]), "callback secret");
    fs::write(
        folder.path().join("data/tts.db"),
        "this is no database at all",
    )
    .unwrap();
    assert_problem(with(&[]), "database");

    fs::write(folder.path().join("file"), "").unwrap();
    assert_problem(with(&["--data-dir", "file/data"]), "data folder");
}

#[test]
fn doctor_of_a_backend_asks_its_tts_service() {
    let folder = tempfile::tempdir().unwrap();
    let key = "a-key-of-the-tts-service";
    let tts = Service::tts().api_key(key).start();
    let ask = |url: String, key: &str| {
        doctor(
            folder.path(),
            &[
                "--role",
                "backend",
                "--listen",
                "127.0.0.1:0",
                "--set",
                &format!("callback.secrets={SECRET}"),
                "--set",
                &format!("backend.tts_url={url}"),
                "--set",
                &format!("backend.tts_api_key={key}"),
            ],
        )
    };
    let (code, report) = ask(tts.url(), key);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(looks(&report, "TTS service")[0]["status"], "ok");
    assert!(
        looks(&report, "synthesizer").is_empty(),
        "a Backend does not speak"
    );
    assert_problem(ask(tts.url(), "another-key-than-that"), "TTS service");
    assert_problem(ask(format!("http://{}", nobody()), key), "TTS service");
}

fn check_callback(url: &str, more: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let patient = [
        "--set=callback.connect_timeout_s=60",
        "--set=callback.check_timeout_s=60",
        "--set=callback.total_timeout_s=60",
    ];
    let arguments = [&["check-callback", "--json", url], &patient[..], more].concat();
    let output = command(folder.path(), &arguments).output().unwrap();
    assert!(names_in(folder.path()).is_empty(), "no secret is made");
    (output.status.code(), json(&output))
}

#[test]
fn a_callback_url_that_answers_is_open() {
    let receiver = Peer::receiver();
    let (code, report) = check_callback(&receiver.url("/hook"), &[]);
    assert_eq!(
        (code, &report["check"]),
        (Some(0), &"open".into()),
        "{report}"
    );
    assert_eq!(receiver.requests().len(), 1);
    assert!(receiver.requests()[0].is("OPTIONS", "/hook"));
}

#[test]
fn a_receiver_behind_a_gateway_is_checked_with_its_header() {
    let receiver = Peer::receiver();
    receiver.react(|request| match request.header("x-api-key") {
        Some("a: b") => Reaction::Answer(204),
        _ => Reaction::Answer(404),
    });
    let more = ["--header", "X-Api-Key: a: b"];
    let (code, report) = check_callback(&receiver.url("/hook"), &more);
    assert_eq!(
        (code, &report["check"]),
        (Some(0), &"open".into()),
        "{report}"
    );
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["no colon", "Host: a", "x: ", ": v"] {
        let args = ["check-callback", "http://127.0.0.1/", "--header", wrong];
        assert_eq!(
            hoiam(folder.path(), &args).status.code(),
            Some(2),
            "{wrong}"
        );
    }
}

#[test]
fn a_route_that_takes_only_posts_is_open_too() {
    let receiver = Peer::receiver();
    receiver.react(|request| {
        Reaction::Answer(if request.method == "OPTIONS" {
            404
        } else {
            204
        })
    });
    let more = ["--set", &format!("callback.secrets={SECRET}")];
    let (code, report) = check_callback(&receiver.url("/hook"), &more);
    assert_eq!(
        (code, &report["check"]),
        (Some(0), &"open".into()),
        "{report}"
    );
    let post = &receiver.requests_to("POST", "/hook")[0];
    super::support::signed::assert_signed(post, SECRET);
}

#[test]
fn a_callback_url_that_is_not_there_is_found_out_step_by_step() {
    let receiver = Peer::receiver();
    receiver.react(|_| Reaction::Answer(404));
    let (code, report) = check_callback(&receiver.url("/hook"), &[]);
    assert_eq!(
        (code, &report["check"]),
        (Some(1), &"not_found".into()),
        "{report}"
    );
    let steps = report["steps"].as_array().unwrap();
    let steps: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(
        steps,
        [
            "OPTIONS",
            "POST callback.check",
            "wait",
            "POST callback.check"
        ]
    );
    assert!(
        report["advice"]
            .as_str()
            .unwrap()
            .contains("callback_not_found")
    );
}

#[test]
fn a_certificate_of_an_own_authority_is_hinted_at_and_trusted_by_ssl_cert_file() {
    let receiver = Encrypted::start();
    let check = |roots: Option<&Path>| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = command(folder.path(), &["check-callback", "--json", &receiver.url]);
        command.args(["--set=callback.connect_timeout_s=60"]);
        command.args(["--set=callback.total_timeout_s=60"]);
        command.args(["--set=callback.check_timeout_s=60"]);
        command
            .env_remove("SSL_CERT_FILE")
            .env_remove("SSL_CERT_DIR");
        command.envs(roots.map(|roots| ("SSL_CERT_FILE", roots)));
        let output = command.output().unwrap();
        (output.status.code(), json(&output))
    };
    let (code, report) = check(None);
    assert_eq!((code, &report["check"]), (Some(1), &"unreachable".into()));
    let advice = report["advice"].as_str().unwrap();
    assert!(advice.contains("SSL_CERT_FILE"), "{advice}");
    let (code, report) = check(Some(receiver.roots.path()));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["check"], "open");
}

#[test]
fn a_callback_url_that_is_refused_or_forbidden_is_told_apart() {
    let (code, report) = check_callback(&format!("http://{}/hook", nobody()), &[]);
    assert_eq!(
        (code, &report["check"]),
        (Some(1), &"unreachable".into()),
        "{report}"
    );
    assert!(
        report["advice"]
            .as_str()
            .unwrap()
            .contains("callback_unreachable")
    );
    // Refused before anything is sent.
    let receiver = Peer::receiver();
    let with_key = ["--set", "server.api_keys=0123456789abcdef"];
    let (code, report) = check_callback(&receiver.url("/hook"), &with_key);
    assert_eq!(
        (code, &report["check"]),
        (Some(1), &"forbidden".into()),
        "{report}"
    );
    assert!(
        report["advice"]
            .as_str()
            .unwrap()
            .contains("callback.allow_cidrs")
    );
    assert!(receiver.requests().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let no_url = hoiam(folder.path(), &["check-callback", "example.com/hook"]);
    assert_refused(&no_url, 2, "https://example.com");
}

#[test]
fn spoken_shows_line_by_line_what_will_be_read_and_where_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let read = |arguments: &[&str]| {
        let mut child = command(folder.path(), arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = "Giá ３０．０００đ lúc 8h30.\nXin chào!\n";
        let stdin = child.stdin.take().unwrap();
        { stdin }.write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = "Giá ba mươi nghìn đồng lúc tám giờ ba mươi phút.\n";
    assert_eq!(
        read(&["spoken", "--lang", "vi"]),
        format!("{said}Xin chào!\n")
    );
    let map = "  4-11   30.000đ  ba mươi nghìn đồng\n  16-20  8h30     tám giờ ba mươi phút\n";
    assert_eq!(
        read(&["spoken", "--lang", "vi", "--map"]),
        format!("{said}{map}Xin chào!\n")
    );
    let json = read(&["spoken", "--lang", "vi", "--json"]);
    let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["map"][1]["char_start"], 16);
    assert_eq!(first["map"][1]["text"], "8h30");

    let phonemes = ["--set", "tts.pronunciations=vi:chào=/tʃˈaː2w/"];
    let map = read(&[&["spoken", "--lang", "vi", "--map"], &phonemes[..]].concat());
    let last = "Xin /tʃˈaː2w/!\n  4-8  chào  /tʃˈaː2w/\n";
    assert!(map.ends_with(last), "{map}");
    let json = read(&[&["spoken", "--lang", "vi", "--json"], &phonemes[..]].concat());
    let second: Value = serde_json::from_str(json.lines().nth(1).unwrap()).unwrap();
    assert_eq!(second["spoken"], "Xin /tʃˈaː2w/!");
    assert_eq!(second["map"][0]["spoken"], "/tʃˈaː2w/");
}

// --------------------------------------------------------------- deliveries

/// Two tasks whose callbacks were given up.
#[track_caller]
fn given_up(service: &Service, receiver: &Peer) -> Vec<String> {
    receiver.react(|_| Reaction::Answer(500));
    let client = service.client();
    for _ in 0..2 {
        let body = serde_json::json!({"text": "Hello.", "voice": "test/silence",
            "callback_url": receiver.url("/hook")});
        client.post("/v1/tasks", &body).expect(202);
    }
    let exhausted = "/v1/tasks/deliveries?status=exhausted";
    let page = client.wait_until(exhausted, "both", |page| {
        page["items"].as_array().unwrap().len() == 2
    });
    let items = page["items"].as_array().unwrap();
    let ids = items.iter().map(|item| item["id"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[test]
fn deliveries_that_were_given_up_are_listed_shown_and_sent_again() {
    let service = Service::all().set("callback.schedule", "0").start();
    let receiver = Peer::receiver();
    let given_up = given_up(&service, &receiver);
    let (folder, url) = (tempfile::tempdir().unwrap(), service.url());
    let deliveries = |arguments: &[&str]| {
        let whole = [&["deliveries"], arguments, &["--url", &url]].concat();
        hoiam(folder.path(), &whole)
    };
    let text = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };

    let listed = text(deliveries(&["list", "--status", "exhausted"]));
    assert!(given_up.iter().all(|id| listed.contains(id)), "{listed}");
    assert_eq!(listed.matches(&receiver.url("/hook")).count(), 2);
    let one = json(&deliveries(&["list", "--limit", "1", "--json"]));
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let shown = text(deliveries(&["show", &given_up[0]]));
    assert!(
        shown.contains("exhausted") && shown.contains(" 500 "),
        "{shown}"
    );
    assert_eq!(
        text(deliveries(&[
            "list",
            "--of",
            "speech",
            "--status",
            "exhausted"
        ])),
        "there is none\n"
    );

    receiver.react(|_| Reaction::Answer(204));
    assert_eq!(
        text(deliveries(&["redeliver", &given_up[0]])),
        "1 are sent again\n"
    );
    receiver.wait_for_callbacks("task.completed", 3);
    let rest = json(&deliveries(&["redeliver", "--all", "--json"]));
    assert_eq!(rest["redelivered"], 1);
    service
        .client()
        .wait_until("/v1/tasks/deliveries?status=delivered", "both", |page| {
            page["items"].as_array().unwrap().len() == 2
        });
    let none = ["redeliver", "--ended-after", "2020-01-01T00:00:00Z"];
    assert_eq!(text(deliveries(&none)), "0 are sent again\n");
}

/// A page holds what was found among the rows that it looked at, which may be nothing.
#[test]
fn a_list_goes_on_over_empty_pages_until_there_is_no_cursor() {
    let service = Peer::receiver();
    service.react(|request| {
        let next = match request.path.split_once("cursor=") {
            None => serde_json::json!("1_a"),
            Some((_, "1_a")) => serde_json::json!("0_a"),
            Some(_) => serde_json::json!(null),
        };
        let one = serde_json::json!({
            "id": "01a20a4e-ea42-7728-b0d7-1c404902fa18", "type": "task.completed", "url": "http://a/",
            "status": "exhausted", "round": 1, "attempts": [],
        });
        let items = if next.is_null() { vec![one] } else { Vec::new() };
        let body = serde_json::json!({"items": items, "next_cursor": next}).to_string();
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        Reaction::Bytes(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"))
    });
    let folder = tempfile::tempdir().unwrap();
    let url = service.url("");
    let list = ["deliveries", "list", "--json", "--url", &url];
    let listed = json(&hoiam(folder.path(), &list));
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_delivery_that_is_not_there_is_told_apart_from_a_service_that_is_not_there() {
    let service = Service::all().start();
    let folder = tempfile::tempdir().unwrap();
    let id = "01a20a4e-ea42-7728-b0d7-1c404902fa18";
    let show = |url: &str| hoiam(folder.path(), &["deliveries", "show", id, "--url", url]);
    assert_refused(&show(&service.url()), 1, "not_found");
    assert_refused(&show(&format!("http://{}", nobody())), 2, "hoiam serve");
    let url = service.url();
    let wrong = ["deliveries", "list", "--status", "lost", "--url", &url];
    assert_refused(&hoiam(folder.path(), &wrong), 1, "exhausted");
}

#[test]
fn the_help_of_each_command_mentions_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags) in [
        ("serve", "--role --listen --data-dir"),
        (
            "say",
            "--voice --language --speed --bitrate --format --output --srt --vtt --words",
        ),
        (
            "submit",
            "--url --api-key --voice --language --format --output",
        ),
        ("voices", "--language"),
        ("deliveries", "list show redeliver"),
        ("spoken", "--lang --map"),
        (
            "listen",
            "--port --secret --secret-file --save --exit-after --status --drop --options",
        ),
        ("check-callback", "<URL> --data-dir"),
        ("secrets", "rotate"),
        ("clock", "accept"),
        ("doctor", "--role --listen --data-dir"),
        ("config", "--reference --role"),
    ] {
        let help = hoiam(folder.path(), &[name, "--help"]);
        assert_eq!(help.status.code(), Some(0), "{name}");
        let text = String::from_utf8(help.stdout).unwrap();
        let everywhere = ["--config", "--set", "--json", "--quiet", "Examples:"];
        for flag in flags.split(' ').chain(everywhere) {
            assert!(text.contains(flag), "{flag} is not in the help of {name}");
        }
    }
    for wrong in [
        &["say"][..],
        &["sing"],
        &["check-callback"],
        &["voices", "--wrong"],
        &["deliveries", "redeliver"],
        &["deliveries", "redeliver", "--all", "--created-after", "x"],
        &["deliveries", "show", "7"],
    ] {
        assert_eq!(
            hoiam(folder.path(), wrong).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_secret_on_the_command_line_is_refused_with_the_way_that_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |key: &str, value: &str, way: &str| {
        let set = format!("--set={key}={value}");
        let output = command(folder.path(), &["config", &set]).output().unwrap();
        assert_refused(&output, 2, way);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!told.contains(value), "{told}");
    };
    let key = "a-key-of-enough-length";
    refused("server.api_keys", key, "hoiam keys add NAME");
    refused("server.api_keys", key, "HOIAM__SERVER__API_KEYS");
    refused("backend.tts_api_key", key, "HOIAM__BACKEND__TTS_API_KEY");
    refused("callback.secrets", SECRET, "HOIAM__CALLBACK__SECRETS");
    let headers = "HOIAM__CALLBACK__DEFAULT_HEADERS,";
    refused("callback.default_headers", "x-key=open", headers);
    refused("callback.default_headers.x-key", "opensesame", headers);
    refused(
        "alerts.callback_url",
        "https://example.com/of-mine",
        "HOIAM__ALERTS__CALLBACK_URL",
    );
    let none = ["config", "--set=server.api_keys="];
    assert!(hoiam(folder.path(), &none).status.success());
}

/// Whatever umask it was started with.
#[test]
fn what_a_service_writes_is_for_its_own_user_alone() {
    let service = Service::all().start();
    let client = service.client();
    let body = serde_json::json!({ "text": "Private.", "voice": "test/silence" });
    let task = client.post("/v1/tasks", &body).expect(202).json();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    client.wait_for_status(&path, "completed");
    let mut seen = Vec::new();
    let mut folders = vec![service.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            seen.push(entry.path());
        }
    }
    assert!(seen.len() > 5, "{seen:?}");
}

/// bash itself is asked what it would complete.
#[test]
fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let written = hoiam(folder.path(), &["completions", "bash"]);
    assert!(written.status.success());
    fs::write(folder.path().join("hoiam.bash"), &written.stdout).unwrap();
    let completed = |words: &str| {
        let script = format!(
            "source ./hoiam.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             last=${{COMP_WORDS[COMP_CWORD]}}; _hoiam hoiam \"$last\" ''; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", &script]);
        let said = bash.current_dir(folder.path()).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("hoiam ser"), "serve");
    assert_eq!(completed("hoiam deliveries red"), "redeliver");
    assert_eq!(completed("hoiam say --out"), "--output");
    // What the service starts for itself is nobody's business.
    assert!(!completed("hoiam s").contains("synthesizer"));
}
