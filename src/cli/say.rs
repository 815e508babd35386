//! `hoiam say`: speaks a text into a file, without a service.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hoiam_api::create::Rules;
use hoiam_api::{Create, FieldError, FieldErrors, Warning};
use hoiam_synthesizer::parent::{Events, Options, SpeakError, Synthesizer, TimeLimits};
use hoiam_text::output::DEFAULT_LUFS;
use hoiam_text::subtitles::Style;
use hoiam_text::{Format, SpeechError, Synthesis, Word, joined_text, subtitles};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::speaker::{self, Speaker};
use super::whole_file::{WholeFile, is_stdout};
use super::{EXIT_USAGE, Globals, ServiceArgs, bar};
use crate::config::Config;
use crate::tts::salvage::{Limits, Salvage};
use crate::tts::voices::Resolved;

/// The flags of `hoiam say`.
#[derive(Args, Clone, Debug)]
pub struct SayArgs {
    /// The text; - reads it from stdin
    pub text: String,

    /// Voice id or alias [default: by the text's language]
    #[arg(short, long)]
    pub voice: Option<String>,

    /// Language of the text (BCP 47), such as vi or en [default: the voice's, or by the text]
    #[arg(long)]
    pub language: Option<String>,

    /// Speed, 0.5 to 2.0
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,

    /// Kilobits a second of an mp3 or opus
    #[arg(long, value_name = "KBPS", default_value_t = 64)]
    pub bitrate: u32,

    /// Samples a second of the file [default: those of the voice]
    #[arg(long, value_name = "HZ")]
    pub sample_rate: Option<u32>,

    /// Loudness in LUFS, -30 to -10; 0 leaves it as the voice is
    #[arg(long, value_name = "LUFS", default_value_t = DEFAULT_LUFS, allow_hyphen_values = true)]
    pub loudness: f32,

    /// Title for players to show
    #[arg(long)]
    pub title: Option<String>,

    /// Format of the audio: mp3, opus, flac, wav or pcm [default: by the ending of the file, else mp3]
    #[arg(long, value_name = "FORMAT", value_parser = Format::ALL.map(Format::name))]
    pub format: Option<String>,

    /// File for the audio; - is stdout
    #[arg(short, long, value_name = "FILE", default_value = "speech.mp3")]
    pub output: PathBuf,

    /// File for subtitles in SubRip
    #[arg(long, value_name = "FILE")]
    pub srt: Option<PathBuf>,

    /// File for subtitles in WebVTT
    #[arg(long, value_name = "FILE")]
    pub vtt: Option<PathBuf>,

    /// File for subtitles in Advanced SubStation Alpha, to burn into a video
    #[arg(long, value_name = "FILE")]
    pub ass: Option<PathBuf>,

    /// One to five words a subtitle, for vertical video
    #[arg(long)]
    pub short: bool,

    /// File for the times of the words, in JSON
    #[arg(long, value_name = "FILE")]
    pub words: Option<PathBuf>,
}

/// How the work is shown.
const BAR: &str = "[{bar:30}] sentence {pos} of {len}, {eta} left";

/// Speaks. Exit code 1 when nothing was written.
pub fn run(args: SayArgs, globals: Globals) -> ExitCode {
    let config = match globals.load_or_explain(&ServiceArgs::default()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let format = match format(&args, globals.json) {
        Ok(format) => format,
        Err(error) => {
            super::tell_error(error);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let done = actix_web::rt::System::new()
        .block_on(say(&args, &globals, &config, format))
        .and_then(|said| said.print(&globals));
    super::exit(done)
}

/// What the command line says of the audio's file cannot be done.
#[derive(Debug, thiserror::Error)]
enum FormatError {
    #[error("--json and -o - would both write to stdout; give -o a file")]
    JsonOnStdout,
    #[error("-o - would write audio to the terminal; pipe it somewhere, or give -o a file")]
    Terminal,
    #[error(
        "the ending .{0} names no format; name the file .mp3, .opus, .flac, .wav or .pcm, or give --format"
    )]
    Ending(String),
}

/// Which format is asked for; an error is wrong usage.
fn format(args: &SayArgs, json: bool) -> Result<&str, FormatError> {
    if is_stdout(&args.output) {
        if json {
            return Err(FormatError::JsonOnStdout);
        }
        if io::stdout().is_terminal() {
            return Err(FormatError::Terminal);
        }
    }
    if let Some(format) = &args.format {
        return Ok(format);
    }
    let Some(ending) = args.output.extension() else {
        return Ok(Format::Mp3.name());
    };
    let ending = ending.to_string_lossy().to_ascii_lowercase();
    match Format::parse(&ending) {
        Some(format) => Ok(format.name()),
        // Players know Opus by the container, too.
        None if ending == "ogg" => Ok(Format::Opus.name()),
        None => Err(FormatError::Ending(ending)),
    }
}

async fn say(
    args: &SayArgs,
    globals: &Globals,
    config: &Config,
    format: &str,
) -> Result<SayReport, CliError> {
    let mut errors = FieldErrors::default();
    let create = read_request(args, config, format, &mut errors)?;
    let mut speaker = Speaker::start(config).await?;
    let resolved = speaker.resolve(&create, &mut errors);
    let resolved = match (errors.into_result(), resolved) {
        (Ok(()), Some(resolved)) => resolved,
        (Ok(()), None) => return Err(CliError::plain("the voice could not be found")),
        (Err(problem), _) => {
            return Err(CliError::plain(explain(&problem.errors, args, &speaker)));
        }
    };
    // Before there is a file that it would leave behind.
    let interrupted = interruption()?;
    let files = Files::create(args)?;
    let mut sink = Sink {
        audio: files.audio,
        bar: bar(globals, None, BAR),
    };
    let spoken = speak(
        &mut speaker,
        config,
        &create,
        &resolved,
        &mut sink,
        interrupted,
    )
    .await;
    sink.bar.finish_and_clear();
    speaker.synthesizer.stop().await;
    let (spoken, warnings) = spoken.map_err(|error| CliError::plain(why(&error, &args.output)))?;

    let style = if args.short {
        Style::SHORT
    } else {
        Style::STANDARD
    };
    let heard = joined_text::without(&create.text, &Warning::unheard(&warnings));
    let text_files = TextFiles::of(style, &heard, &resolved.language, &spoken)?;
    for (file, path, text) in [
        (files.srt, &args.srt, text_files.srt),
        (files.vtt, &args.vtt, text_files.vtt),
        (files.ass, &args.ass, text_files.ass),
        (files.words, &args.words, text_files.words),
    ] {
        if let (Some(mut file), Some(path)) = (file, path) {
            let written = file.append(text.as_bytes()).and_then(|()| file.finish(&[]));
            written.map_err(CliError::io("write", path))?;
        }
    }
    // The audio last: where it is, everything is.
    let bytes = sink
        .audio
        .finish(&spoken.head)
        .map_err(CliError::io("write", &args.output))?;
    Ok(SayReport {
        file: args.output.clone(),
        duration_ms: spoken.duration_ms,
        voice: resolved.voice,
        language: resolved.language,
        bytes,
        words: spoken.words.len(),
        warnings,
    })
}

/// The same request that a service would be sent, read by the same rules.
fn read_request(
    args: &SayArgs,
    config: &Config,
    format: &str,
    errors: &mut FieldErrors,
) -> Result<Create, CliError> {
    let text = match args.text.as_str() {
        "-" => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|error| {
                CliError::plain(format!("the text cannot be read from stdin: {error}"))
            })?;
            text
        }
        text => text.to_owned(),
    };
    let body = json!({
        "text": text,
        "voice": args.voice,
        "language": args.language,
        "format": format,
        "bitrate_kbps": args.bitrate,
        "sample_rate_hz": args.sample_rate,
        "loudness_lufs": args.loudness,
        "title": args.title,
        "speed": args.speed,
    });
    let rules = Rules {
        takes_callback_check: false,
        max_characters: config.tts.max_characters,
        default_timeout_s: config.tts.default_timeout_s,
    };
    let create = Create::parse(body.to_string().as_bytes(), &rules, errors)?;
    Ok(create)
}

/// Every error, each with the nearest allowed values.
fn explain(errors: &[FieldError], args: &SayArgs, speaker: &Speaker) -> String {
    let mut lines = Vec::new();
    for error in errors {
        let detail = match (error.code, &args.voice) {
            ("unknown_voice", Some(voice)) => format!("There is no voice `{voice}`."),
            ("unknown_voice", None) => {
                "The voice that tts.default_voices names is not there.".to_owned()
            }
            _ => error.detail.clone(),
        };
        let near = match error.suggestions.as_slice() {
            [] => String::new(),
            near => format!(" Did you mean {}?", near.join(" or ")),
        };
        lines.push(detail + &near);
        if error.pointer == "/voice" {
            lines.extend(speaker.missing());
            lines.push("`hoiam voices` lists the voices.".to_owned());
        }
    }
    lines.join("\n  ")
}

/// The places of the results.
struct Files {
    audio: WholeFile,
    srt: Option<WholeFile>,
    vtt: Option<WholeFile>,
    ass: Option<WholeFile>,
    words: Option<WholeFile>,
}

impl Files {
    fn create(args: &SayArgs) -> Result<Self, CliError> {
        let create = |path: &Path| WholeFile::create(path).map_err(CliError::io("write", path));
        Ok(Self {
            audio: create(&args.output)?,
            srt: args.srt.as_deref().map(create).transpose()?,
            vtt: args.vtt.as_deref().map(create).transpose()?,
            ass: args.ass.as_deref().map(create).transpose()?,
            words: args.words.as_deref().map(create).transpose()?,
        })
    }
}

/// Resolves on Ctrl-C and SIGTERM, which from now on do not end the process.
fn interruption() -> Result<impl Future<Output = ()>, CliError> {
    let listen =
        |kind| signal(kind).map_err(|error| CliError::plain(format!("no signals: {error}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn speak(
    speaker: &mut Speaker,
    config: &Config,
    create: &Create,
    resolved: &Resolved,
    sink: &mut Sink,
    interrupted: impl Future<Output = ()>,
) -> Result<(Synthesis, Vec<Warning>), SpeakError> {
    let configured = &config.tts.pronunciations;
    let (voice, language) = (&resolved.voice, &resolved.language);
    let request = create.clone().into_speech(voice, language, configured);
    let limits = Limits::configured(&config.tts);
    let limit = TimeLimits {
        piece: limits.of_piece(),
        ..limits.of(create.characters()).into()
    };
    let mut interrupted = pin!(interrupted);
    let whole = &mut speaker.synthesizer;
    let spoken = whole.speak(&request, limit, sink, &mut interrupted).await;
    match spoken {
        Err(error) if error.has_cost_the_child() => {}
        other => return other.map(|spoken| (spoken, Vec::new())),
    }
    let restarted = sink.audio.restart();
    restarted.map_err(|error| {
        let detail = error.to_string();
        SpeakError::Engine(SpeechError::Output { detail })
    })?;
    let singles = Synthesizer::new(Options::for_engines(config.tts.engines()));
    let salvage = Salvage::new(&request, None, singles, limits, &|_, _, _| {});
    let limit = limits.of_salvage(create.characters());
    salvage.speak(whole, limit, sink, interrupted).await
}

/// Takes what the child makes.
struct Sink {
    audio: WholeFile,
    bar: ProgressBar,
}

impl Events for Sink {
    async fn audio(&mut self, bytes: Bytes) -> io::Result<()> {
        // Blocks the only thread, which has nothing else to do.
        self.audio.append(&bytes)
    }

    fn progress(&mut self, done: u32, total: u32) {
        self.bar.set_length(total.into());
        self.bar.set_position(done.into());
    }
}

/// Why nothing was spoken, with the way out.
fn why(error: &SpeakError, output: &Path) -> String {
    match error {
        SpeakError::Engine(SpeechError::Output { detail }) => {
            format!("cannot write {}: {detail}", output.display())
        }
        SpeakError::Engine(
            SpeechError::EngineFailed { detail } | SpeechError::EngineUnavailable { detail },
        ) => format!("{detail}\n  `hoiam voices` lists other voices"),
        SpeakError::Engine(SpeechError::UnknownPhonemes { detail }) => detail.clone(),
        SpeakError::Engine(SpeechError::UnknownVoice { voice }) => {
            format!("there is no voice {voice}\n  `hoiam voices` lists the voices")
        }
        SpeakError::Engine(SpeechError::Canceled) | SpeakError::Canceled => {
            "interrupted; nothing was written".to_owned()
        }
        SpeakError::Crashed { how, .. } => format!(
            "the engine crashed on this text ({how})\n  try another voice, or the text in parts"
        ),
        SpeakError::Overran { limit } => format!(
            "the engine had not finished after {} s\n  allow more with --set tts.synthesis_base_s=600, or \
             give the text in parts",
            limit.as_secs()
        ),
        SpeakError::NotStarted(error) => speaker::not_started(error),
    }
}

/// What is written beside the audio, as a service would answer it.
struct TextFiles {
    srt: String,
    vtt: String,
    ass: String,
    words: String,
}

/// What a service answers as `words.json`.
#[derive(Serialize)]
struct WordTimes<'a> {
    duration_ms: u64,
    words: &'a [Word],
}

impl TextFiles {
    fn of(style: Style, text: &str, language: &str, spoken: &Synthesis) -> Result<Self, CliError> {
        let cues = subtitles::cues(style, text, &spoken.words, language, spoken.duration_ms);
        let words = WordTimes {
            duration_ms: spoken.duration_ms,
            words: &spoken.words,
        };
        Ok(Self {
            srt: subtitles::to_srt(&cues),
            vtt: subtitles::to_vtt(&cues),
            ass: subtitles::to_ass(style, &cues),
            words: serde_json::to_string(&words).map_err(|error| {
                CliError::plain(format!("cannot write the words as JSON: {error}"))
            })?,
        })
    }
}

/// What was done; with `--json` this is what is printed.
#[derive(Debug, Serialize)]
struct SayReport {
    file: PathBuf,
    duration_ms: u64,
    voice: String,
    language: String,
    bytes: u64,
    /// How many there are.
    words: usize,
    /// Sentences that are not heard as they are written.
    warnings: Vec<Warning>,
}

impl SayReport {
    fn print(&self, globals: &Globals) -> Result<(), CliError> {
        if globals.json {
            return super::print(&super::pretty(self)?);
        }
        for warning in &self.warnings {
            super::tell_error(warning);
        }
        if globals.quiet || is_stdout(&self.file) {
            return Ok(());
        }
        let seconds = Duration::from_millis(self.duration_ms).as_secs_f64();
        super::print(&format!(
            "{}: {seconds:.1} s, {}\n",
            self.file.display(),
            self.voice
        ))
    }
}
