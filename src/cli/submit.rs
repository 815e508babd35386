//! `hoiam submit`: has files spoken by a running service, waits for them, and
//! fetches the results.

pub(super) mod events;
mod input;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use hoiam_api::{Audio, Progress, Task, TaskStatus, Warning};
use hoiam_text::Format;
use hoiam_text::subtitles::SubtitleFormat;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use uuid::Uuid;

use self::events::EventStream;
use self::input::Input;
use super::error::CliError;
use super::remote::{CallError, RemoteArgs, Service};
use super::whole_file::WholeFile;
use super::{EXIT_FAILED, EXIT_USAGE, Globals};
use crate::files::hex;

/// How many tasks are submitted, and then watched, at the same time. The others
/// go on in the service meanwhile.
const AT_A_TIME: usize = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// With an event stream, asking is only for what a stream may have lost.
const PAUSE_WITH_EVENTS: Duration = Duration::from_secs(10);

/// Subtitles and word times of a text of 100,000 characters are below 20 MB.
const MAX_TEXT_FILE_BYTES: u64 = 64 << 20;

/// What comes with every result.
const USUAL_SUBTITLES: [&str; 2] = ["srt", "vtt"];

/// The one file of [`more_files`] that is no subtitle.
const MARKS: &str = "marks.jsonl";

/// What can be asked for beside the usual files.
fn more_files() -> Vec<&'static str> {
    let all = SubtitleFormat::ALL.map(|format| format.ending).into_iter();
    let more = all.filter(|ending| !USUAL_SUBTITLES.contains(ending));
    more.chain([MARKS]).collect()
}

/// The flags of `hoiam submit`.
#[derive(Args, Clone, Debug)]
pub struct SubmitArgs {
    /// Text files, UTF-8; - is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The Backend service.
    #[command(flatten)]
    pub remote: RemoteArgs,

    /// Voice id or alias [default: by the text's language]
    #[arg(short, long)]
    pub voice: Option<String>,

    /// Language of the text (BCP 47), such as vi or en [default: the voice's, or by the text]
    #[arg(long)]
    pub language: Option<String>,

    /// Format of the audio
    #[arg(long, value_name = "FORMAT", value_parser = Format::ALL.map(Format::name), default_value = "mp3")]
    pub format: String,

    /// More files of each result, separated by commas
    #[arg(long, value_name = "ENDINGS", value_delimiter = ',', value_parser = more_files())]
    pub also: Vec<String>,

    /// Folder for the results; made if it is not there
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub output: PathBuf,
}

/// Submits, waits, fetches. Exit code 0 when all completed, 1 when some failed,
/// 2 for wrong usage or when nobody answers.
pub fn run(args: SubmitArgs, globals: Globals) -> ExitCode {
    match actix_web::rt::System::new().block_on(submit(args, globals)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            super::tell_error(error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Whether every task completed; an error is one that concerns them all.
async fn submit(args: SubmitArgs, globals: Globals) -> Result<bool, CliError> {
    let inputs = input::read_all(&args.files)?;
    fs::create_dir_all(&args.output).map_err(CliError::io("make the folder", &args.output))?;
    let service = args.remote.service()?;
    let call = |input| service.submit(Uuid::now_v7(), body(&args, input));

    // The first alone: when nobody answers or the key is wrong, that is told once.
    let Some((first, others)) = inputs.split_first() else {
        return Ok(true);
    };
    let first = call(first).await;
    if let Err(error) = &first
        && error.concerns_all()
    {
        return Err(args.remote.explain(error.clone()));
    }
    let mut submitted = vec![first];
    let mut calls = stream::iter(others.iter().map(call)).buffered(AT_A_TIME);
    while let Some(answer) = calls.next().await {
        submitted.push(answer);
    }

    let screen = Screen::new(globals.json, globals.quiet);
    let watched = inputs.iter().zip(submitted).map(|(input, submitted)| {
        let (service, screen, args) = (&service, &screen, &args);
        async move {
            let report = match submitted {
                Ok(task) => follow(service, screen, args, input, task.id).await,
                Err(error) => Report::refused(input, None, &error),
            };
            screen.ended(&report);
            report.error.is_none()
        }
    });
    let completed: Vec<bool> = stream::iter(watched)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    Ok(completed.into_iter().all(|completed| completed))
}

fn body(args: &SubmitArgs, input: &Input) -> Value {
    let mut body = json!({ "text": input.text, "format": args.format });
    for (name, value) in [("voice", &args.voice), ("language", &args.language)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

/// Watches one task to its end and fetches what came of it.
async fn follow(
    service: &Service,
    screen: &Screen,
    args: &SubmitArgs,
    input: &Input,
    id: Uuid,
) -> Report {
    let bar = screen.bar(&input.name);
    let report = match wait(service, &bar, id).await {
        Ok(task) if task.status == TaskStatus::Completed => {
            bar.set_message("fetching the files");
            match fetch(service, args, input, &task).await {
                Ok(files) => Report::completed(input, &task, files),
                Err(FetchError::Call(error)) => Report::refused(input, Some(id), &error),
                Err(error) => {
                    let (status, code) = (Some(task.status), error.code());
                    Report::failed(input, Some(id), status, code, error.to_string())
                }
            }
        }
        Ok(task) => Report::ended_otherwise(input, &task),
        Err(error) => Report::refused(input, Some(id), &error),
    };
    bar.finish_and_clear();
    report
}

/// Waits for the end of a task: its event stream says when to look, and where
/// there is none, looking again and again does.
async fn wait(service: &Service, bar: &ProgressBar, id: Uuid) -> Result<Task, CallError> {
    // Opened before the first look, so that nothing falls between the two.
    let mut events = service.events(id).await;
    let mut pause = FIRST_PAUSE;
    loop {
        let task = service.get(id).await?;
        show(bar, task.status, task.progress);
        if task.status.is_ended() {
            return Ok(task);
        }
        let patience = if events.is_some() {
            PAUSE_WITH_EVENTS
        } else {
            pause
        };
        // Whether it changed or time is up: the next thing is to look.
        let _ = timeout(patience, until_it_changes(&mut events, bar, task.status)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Passes progress on to the bar until anything else happens. Without a stream,
/// or when it ends, nothing ever does.
async fn until_it_changes(events: &mut Option<EventStream>, bar: &ProgressBar, status: TaskStatus) {
    if let Some(stream) = events {
        while let Some(event) = stream.next().await {
            match event.progress {
                Some(progress) => show(bar, status, Some(progress)),
                None => return,
            }
        }
        *events = None;
        return;
    }
    std::future::pending().await
}

fn show(bar: &ProgressBar, status: TaskStatus, progress: Option<Progress>) {
    let words = status.as_str().replace('_', " ");
    match progress {
        Some(Progress {
            sentences_done,
            sentences_total,
        }) => {
            bar.set_length(sentences_total.into());
            bar.set_position(sentences_done.into());
            bar.set_message(format!(
                "{words}, sentence {sentences_done} of {sentences_total}"
            ));
        }
        None => bar.set_message(words),
    }
}

/// Where the results of a task were saved.
#[derive(Clone, Debug, Serialize)]
struct Files {
    audio: PathBuf,
    srt: PathBuf,
    vtt: PathBuf,
    words: PathBuf,
    /// What `--also` asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<PathBuf>,
}

/// Why the results of a task that has completed are not here.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("The task has completed and names no audio.")]
    NoAudio,
    #[error(
        "The audio came damaged: {came} of {expected} bytes, with another hash. Submit it again."
    )]
    Damaged { came: usize, expected: u64 },
    #[error("cannot write {}: {error}", path.display())]
    NotSaved { path: PathBuf, error: io::Error },
}

impl FetchError {
    /// A stable word for programs.
    fn code(&self) -> &str {
        match self {
            Self::Call(error) => error.code(),
            Self::NoAudio => "not_a_backend",
            Self::Damaged { .. } => "damaged",
            Self::NotSaved { .. } => "not_saved",
        }
    }
}

async fn fetch(
    service: &Service,
    args: &SubmitArgs,
    input: &Input,
    task: &Task,
) -> Result<Files, FetchError> {
    let Some(audio) = &task.audio else {
        return Err(FetchError::NoAudio);
    };
    let path = |ending: &str| args.output.join(format!("{}.{ending}", input.name));
    let files = Files {
        audio: path(&args.format),
        srt: path("srt"),
        vtt: path("vtt"),
        words: path("words.json"),
        also: args.also.iter().map(|ending| path(ending)).collect(),
    };
    let bytes = service
        .file(task.id, &format!("audio.{}", args.format), audio.bytes)
        .await?;
    check(audio, &bytes)?;
    save(&files.audio, &bytes)?;
    let usual = [
        ("subtitles.srt", &files.srt),
        ("subtitles.vtt", &files.vtt),
        ("words.json", &files.words),
    ];
    let usual = usual.map(|(name, path)| (name.to_owned(), path));
    let also = args.also.iter().map(|ending| match ending.as_str() {
        MARKS => ending.clone(),
        _ => format!("subtitles.{ending}"),
    });
    for (name, path) in usual.into_iter().chain(also.zip(&files.also)) {
        let bytes = service.file(task.id, &name, MAX_TEXT_FILE_BYTES).await?;
        save(path, &bytes)?;
    }
    Ok(files)
}

/// A file cut short on its way looks whole to HTTP; its hash tells.
fn check(audio: &Audio, bytes: &[u8]) -> Result<(), FetchError> {
    if hex(&Sha256::digest(bytes)) == audio.sha256 {
        return Ok(());
    }
    Err(FetchError::Damaged {
        came: bytes.len(),
        expected: audio.bytes,
    })
}

fn save(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    WholeFile::save(path, bytes).map_err(|error| FetchError::NotSaved {
        path: path.to_owned(),
        error,
    })
}

/// What became of one input; with `--json` this is what is printed.
#[derive(Clone, Debug, Serialize)]
struct Report {
    input: String,
    /// Null when the task was never accepted.
    id: Option<Uuid>,
    /// The last that is known.
    status: Option<TaskStatus>,
    duration_ms: Option<u64>,
    files: Option<Files>,
    /// Sentences that are not heard as they are written.
    warnings: Vec<Warning>,
    error: Option<ReportError>,
}

#[derive(Clone, Debug, Serialize)]
struct ReportError {
    code: String,
    detail: String,
}

impl Report {
    fn completed(input: &Input, task: &Task, files: Files) -> Self {
        Self {
            input: input.shown.clone(),
            id: Some(task.id),
            status: Some(task.status),
            duration_ms: task.audio.as_ref().map(|audio| audio.duration_ms),
            files: Some(files),
            warnings: task.warnings.clone().unwrap_or_default(),
            error: None,
        }
    }

    fn failed(
        input: &Input,
        id: Option<Uuid>,
        status: Option<TaskStatus>,
        code: &str,
        detail: String,
    ) -> Self {
        let error = ReportError {
            code: code.to_owned(),
            detail,
        };
        let input = input.shown.clone();
        Self {
            input,
            id,
            status,
            duration_ms: None,
            files: None,
            warnings: Vec::new(),
            error: Some(error),
        }
    }

    fn refused(input: &Input, id: Option<Uuid>, error: &CallError) -> Self {
        Self::failed(input, id, None, error.code(), error.to_string())
    }

    fn ended_otherwise(input: &Input, task: &Task) -> Self {
        let (code, detail) = match &task.error {
            Some(error) => (error.code.clone(), error.detail.clone()),
            None => (
                task.status.to_string(),
                format!("The task is {}.", task.status),
            ),
        };
        Self::failed(input, Some(task.id), Some(task.status), &code, detail)
    }
}

/// Where progress and results are shown: bars on stderr when it is a terminal,
/// one line for each ended task on stdout, problems on stderr.
struct Screen {
    bars: MultiProgress,
    json: bool,
}

impl Screen {
    fn new(json: bool, quiet: bool) -> Self {
        let target = if json || quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            json,
        }
    }

    fn bar(&self, name: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(1));
        if let Ok(style) = ProgressStyle::with_template("{prefix:20!} [{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        bar
    }

    fn ended(&self, report: &Report) {
        self.bars.suspend(|| {
            // When nobody reads any more, the files are still what was asked for.
            let _ = self.print(report);
        });
    }

    fn print(&self, report: &Report) -> io::Result<()> {
        if self.json {
            let line = serde_json::to_string(report)?;
            return writeln!(io::stdout(), "{}", super::escaped(&line));
        }
        let input = super::without_controls(&report.input);
        if let Some(error) = &report.error {
            let detail = super::without_controls(&error.detail);
            let code = super::without_controls(&error.code);
            return writeln!(io::stderr(), "{input}: {detail} ({code})");
        }
        for warning in &report.warnings {
            let warning = super::without_controls(&warning.to_string());
            writeln!(io::stderr(), "{input}: {warning}")?;
        }
        let Some(files) = &report.files else {
            return Ok(());
        };
        let seconds = Duration::from_millis(report.duration_ms.unwrap_or_default()).as_secs_f64();
        let audio = super::without_controls(&files.audio.display().to_string());
        writeln!(io::stdout(), "{input}: {audio}, {seconds:.1} s")
    }
}
