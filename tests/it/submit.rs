//! `hoiam submit` as a process, against a Backend that plays a part.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use actix_web::http::header;
use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::peer::nobody;

const AUDIO: &[u8] = b"not really an mp3";
const API_KEY: &str = "0123456789abcdef";

/// How the Backend behaves beyond the usual.
#[derive(Clone, Copy, Default)]
struct Part {
    /// The first submission of each task is answered 503.
    forgets_first: bool,
    needs_key: bool,
    sends_damaged_audio: bool,
    streams_events: bool,
}

/// A Backend whose tasks need three looks until they have ended. Tasks with the
/// voice `test/fail` fail.
struct FakeBackend {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Every submission: the id of the path.
    submissions: Vec<String>,
    voices: HashMap<String, String>,
    looks: HashMap<String, u32>,
}

impl FakeBackend {
    fn start(part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let state = Data::new((part, seen.clone()));
        std::thread::spawn(move || {
            let serve = HttpServer::new(move || {
                App::new()
                    .app_data(state.clone())
                    .route("/v1/tasks/{id}", web::put().to(put))
                    .route("/v1/tasks/{id}", web::get().to(get))
                    .route("/v1/tasks/{id}/{file}", web::get().to(file))
            })
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
            actix_web::rt::System::new().block_on(serve)
        });
        Self { url, seen }
    }

    /// `hoiam submit` against it; the exit code and what it printed.
    fn submit(&self, arguments: &[&str]) -> Output {
        submit(&self.url, arguments)
    }
}

fn submit(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hoiam"))
        .env_remove("HOIAM_API_KEY")
        .args(["submit", "--json", "--url", url])
        .args(arguments)
        .output()
        .unwrap()
}

type State = Data<(Part, Arc<Mutex<Seen>>)>;

async fn put(
    request: HttpRequest,
    id: web::Path<String>,
    body: Json<Value>,
    state: State,
) -> HttpResponse {
    let (part, seen) = state.get_ref();
    let key = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if part.needs_key && key != Some(&format!("Bearer {API_KEY}")) {
        return problem(401, "no_key", "No API key of this service was sent.");
    }
    let mut seen = seen.lock().unwrap();
    seen.submissions.push(id.clone());
    let submissions = seen
        .submissions
        .iter()
        .filter(|known| **known == *id)
        .count();
    if part.forgets_first && submissions == 1 {
        return problem(503, "unavailable", "The database is away.");
    }
    let voice = body["voice"].as_str().unwrap_or("espeak/vi").to_owned();
    if voice == "espek/vi" {
        return problem(422, "unknown_voice", "There is no such voice.");
    }
    seen.voices.insert(id.clone(), voice);
    HttpResponse::Accepted().json(task(&id, "queued"))
}

async fn get(id: web::Path<String>, state: State) -> HttpResponse {
    let mut seen = state.1.lock().unwrap();
    let failing = seen.voices[id.as_str()] == "test/fail";
    let looks = seen.looks.entry(id.clone()).or_default();
    *looks += 1;
    let status = match (*looks, failing) {
        (1, _) => "queued",
        (2, _) => "in_progress",
        (_, false) => "completed",
        (_, true) => "failed",
    };
    HttpResponse::Ok().json(task(&id, status))
}

async fn file(path: web::Path<(String, String)>, state: State) -> HttpResponse {
    let part = state.0;
    match path.1.as_str() {
        "audio.mp3" if part.sends_damaged_audio => HttpResponse::Ok().body("other bytes"),
        "audio.mp3" => HttpResponse::Ok().body(AUDIO),
        "events" if part.streams_events => {
            let progress = json!({"at": "t", "type": "progress",
                "progress": {"sentences_done": 1, "sentences_total": 2}});
            let change = json!({"id": 1, "at": "t", "type": "state", "to": "completed"});
            HttpResponse::Ok()
                .content_type("text/event-stream")
                .body(format!(
                    "data: {progress}\n\ndata: {change}\n\ndata: {change}\n\n"
                ))
        }
        "subtitles.srt"
        | "subtitles.vtt"
        | "subtitles.short.ass"
        | "words.json"
        | "marks.jsonl" => HttpResponse::Ok().body(path.1.clone()),
        _ => problem(404, "not_found", "There is no such thing."),
    }
}

fn task(id: &str, status: &str) -> Value {
    let sha256: String = Sha256::digest(AUDIO)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let audio = json!({"url": "", "format": "mp3", "sample_rate_hz": 22050, "channels": 1,
        "duration_ms": 1500, "bytes": AUDIO.len(), "sha256": sha256});
    let error = json!({"code": "engine_failed", "detail": "The engine broke.", "retryable": false});
    json!({"id": id, "status": status, "format": "mp3",
        "audio": (status == "completed").then_some(audio),
        "error": (status == "failed").then_some(error)})
}

fn problem(status: u16, code: &str, detail: &str) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap())
        .json(json!({"status": status, "code": code, "detail": detail}))
}

/// A folder with text files of these names.
fn texts(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), "Xin chào.").unwrap();
    }
    folder
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn reports(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_spoken_and_their_results_saved_beside_each_other() {
    for streams_events in [false, true] {
        let backend = FakeBackend::start(Part {
            streams_events,
            ..Part::default()
        });
        let folder = texts(&["a.txt", "b.txt"]);
        let out = folder.path().join("voice");
        let output = backend.submit(&[
            &path(&folder, "a.txt"),
            &path(&folder, "b.txt"),
            "-v",
            "espeak/vi",
            "-o",
            out.to_str().unwrap(),
            "--also",
            "short.ass,marks.jsonl",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let endings = [
            "marks.jsonl",
            "mp3",
            "short.ass",
            "srt",
            "vtt",
            "words.json",
        ];
        let names = ["a", "b"].map(|name| endings.map(|ending| format!("{name}.{ending}")));
        assert_eq!(names_in(&out), names.concat());
        let marks = std::fs::read(out.join("a.marks.jsonl")).unwrap();
        assert_eq!(marks, b"marks.jsonl");
        assert_eq!(std::fs::read(out.join("a.mp3")).unwrap(), AUDIO);
        assert_eq!(std::fs::read(out.join("b.vtt")).unwrap(), b"subtitles.vtt");
        let reports = reports(&output);
        assert_eq!(reports.len(), 2);
        assert!(reports.iter().all(|report| report["status"] == "completed"
            && report["duration_ms"] == 1500
            && report["error"].is_null()));
    }
}

#[test]
fn a_task_that_fails_makes_exit_code_1_and_is_told_with_its_problem() {
    let backend = FakeBackend::start(Part::default());
    let folder = texts(&["a.txt"]);
    let text = path(&folder, "a.txt");
    for (voice, code) in [
        ("test/fail", "engine_failed"),
        ("espek/vi", "unknown_voice"),
    ] {
        let output = backend.submit(&[&text, "-v", voice]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(reports(&output)[0]["error"]["code"], code);
    }
    assert_eq!(names_in(folder.path()), ["a.txt"]);
}

#[test]
fn a_submission_without_a_good_answer_is_repeated_under_the_same_id() {
    let backend = FakeBackend::start(Part {
        forgets_first: true,
        ..Part::default()
    });
    let folder = texts(&["a.txt"]);
    let output = backend.submit(&[
        &path(&folder, "a.txt"),
        "-o",
        folder.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let seen = backend.seen.lock().unwrap();
    assert_eq!(seen.submissions.len(), 2);
    assert_eq!(seen.submissions[0], seen.submissions[1]);
}

#[test]
fn audio_that_came_damaged_is_not_saved() {
    let backend = FakeBackend::start(Part {
        sends_damaged_audio: true,
        ..Part::default()
    });
    let folder = texts(&["a.txt"]);
    let output = backend.submit(&[
        &path(&folder, "a.txt"),
        "-o",
        folder.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(reports(&output)[0]["error"]["code"], "damaged");
    assert_eq!(names_in(folder.path()), ["a.txt"]);
}

#[test]
fn a_key_that_is_missing_is_exit_code_2_and_the_right_one_opens() {
    let backend = FakeBackend::start(Part {
        needs_key: true,
        ..Part::default()
    });
    let folder = texts(&["a.txt"]);
    let (text, out) = (path(&folder, "a.txt"), folder.path().to_str().unwrap());
    let output = backend.submit(&[&text, "-o", out]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--api-key"),
        "{output:?}"
    );
    let output = backend.submit(&[&text, "-o", out, "--api-key", API_KEY]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn nobody_answering_is_exit_code_2_with_the_command_that_helps() {
    let folder = texts(&["a.txt"]);
    let output = submit(&format!("http://{}", nobody()), &[&path(&folder, "a.txt")]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("hoiam serve"),
        "{output:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_exit_code_2_before_anything_is_sent() {
    let backend = FakeBackend::start(Part::default());
    let folder = texts(&["a.txt"]);
    let output = backend.submit(&[&path(&folder, "a.txt"), &path(&folder, "absent.txt")]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(backend.seen.lock().unwrap().submissions.is_empty());
}
