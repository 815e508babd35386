//! The command line: one file a command, and here what they share.
//!
//! Exit codes of every command: 0 done, 1 the thing asked for failed, 2 wrong
//! usage, a faulty configuration, or nobody answers.

pub mod check_callback;
pub mod clock;
pub mod completions;
pub mod config;
pub mod deliveries;
pub mod doctor;
pub mod keys;
pub mod listen;
mod logger;
pub mod say;
pub mod secrets;
pub mod serve;
pub mod spoken;
pub mod submit;
pub mod synthesizer;
pub mod voices;

mod error;
mod remote;
mod speaker;
mod whole_file;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use self::error::{ArgError, CliError};
use crate::config::{Config, ConfigErrors};

/// The exit code when what was asked for failed.
pub const EXIT_FAILED: u8 = 1;

/// The exit code for wrong usage, a faulty configuration, or nobody answering.
pub const EXIT_USAGE: u8 = 2;

/// The whole command line of `hoiam`.
#[derive(Debug, Parser)]
#[command(
    name = "hoiam",
    version,
    about = "Text in, voice back by callback: a durable text-to-speech task service",
    long_about = "Text in, voice back by callback: a durable text-to-speech task service.\n\n\
        You send text and a callback URL. The answer comes at once; the voice, with subtitles and \
        word times, comes back by a signed callback, also when a service was restarted in between.",
    after_long_help = "Examples:\n  \
        hoiam say \"Xin chào\" -o hello.mp3              speak a text into a file, no service needed\n  \
        hoiam serve                                    run the service on 127.0.0.1:4640\n  \
        hoiam listen                                   in a second terminal: show callbacks\n  \
        hoiam submit chapter-1.txt -o voice/           have a file spoken, fetch the result\n  \
        hoiam doctor                                   when something does not work\n\n\
        Each command explains itself: hoiam help serve",
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of every command.
#[derive(Args, Clone, Debug, Default)]
pub struct Globals {
    /// Configuration file [also: the variable HOIAM_CONFIG]
    ///
    /// A TOML file with the keys that differ from the defaults. `hoiam config` shows all keys.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub config: Option<PathBuf>,

    /// Set one key of the configuration; may be repeated
    ///
    /// Wins over the file and the environment. Lists are separated by commas:
    /// --set callback.schedule=0,1,5
    #[arg(
        long,
        global = true,
        value_name = "KEY=VALUE",
        value_parser = key_value,
        help_heading = "Global options"
    )]
    pub set: Vec<(String, String)>,

    /// Answer in JSON, for programs
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Say less: only warnings and errors
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub quiet: bool,

    /// Say more; twice for everything
    // Without a short form: -v is the voice in `say` and `submit`, as in espeak-ng.
    #[arg(
        long,
        global = true,
        action = clap::ArgAction::Count,
        help_heading = "Global options"
    )]
    pub verbose: u8,
}

impl Globals {
    /// Reads the configuration with these flags as its last layer.
    pub fn load(&self, service: &ServiceArgs) -> Result<Config, ConfigErrors> {
        let mut flags = self.set.clone();
        let own = [
            ("role", &service.role),
            ("server.listen", &service.listen),
            ("data_dir", &service.data_dir),
        ];
        for (key, value) in own {
            flags.extend(value.iter().map(|value| (key.to_owned(), value.clone())));
        }
        Config::load(self.config.as_deref(), &flags)
    }

    /// As [`Globals::load`]; says on stderr what is wrong and how the program ends.
    pub fn load_or_explain(&self, service: &ServiceArgs) -> Result<Config, ExitCode> {
        self.load(service).map_err(|errors| {
            tell_error(errors);
            ExitCode::from(EXIT_USAGE)
        })
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service
    #[command(after_long_help = "Examples:\n  \
        hoiam serve                                    both services on 127.0.0.1:4640, data in ./data\n  \
        hoiam serve --data-dir /var/lib/hoiam --config /etc/hoiam.toml\n  \
        hoiam serve --role tts --listen 127.0.0.1:4641 the TTS service alone\n  \
        hoiam serve --set tts.workers=2 --set callback.allow_cidrs=10.0.0.0/8\n\n\
        Without API keys only this machine is served. To be reached by others, make keys with\n\
        `hoiam keys add`, and set server.public_url when the listener is 0.0.0.0.\n\n\
        SIGTERM and Ctrl-C end it in order; nothing accepted is lost, not even by kill -9.")]
    Serve(serve::ServeArgs),

    /// Speak a text into a file, without a service
    #[command(after_long_help = "Examples:\n  \
        hoiam say \"Xin chào các bạn\" -o hello.mp3\n  \
        hoiam say \"Good morning\" -v espeak/en-us -o morning.wav --srt morning.srt\n  \
        hoiam say - < chapter-1.txt -o chapter-1.mp3     the text from stdin\n  \
        hoiam say \"Good morning\" --format wav -o - | aplay\n\n\
        `hoiam voices` lists the voices. Exit code: 0 written, 1 not, 2 wrong usage or a faulty\n\
        configuration. A file of the name given is replaced, and only by a whole one.")]
    Say(say::SayArgs),

    /// Have files spoken by a running service, wait, and fetch the results
    #[command(after_long_help = "Examples:\n  \
        hoiam submit chapter-1.txt chapter-2.txt -o voice/\n  \
        echo \"Xin chào\" | hoiam submit - -v espeak/vi\n  \
        hoiam submit news.txt --url https://voice.example.com --api-key \"$KEY\" --json\n\n\
        Each file becomes one task. Beside chapter-1.mp3 come chapter-1.srt, chapter-1.vtt and\n\
        chapter-1.words.json. Exit code: 0 all completed, 1 some failed, 2 wrong usage or nobody\n\
        answers at the URL.")]
    Submit(submit::SubmitArgs),

    /// List the voices; add and remove neural ones
    #[command(after_long_help = "Examples:\n  \
        hoiam voices                                   all voices\n  \
        hoiam voices --language vi --json\n  \
        hoiam voices install --list --language vi      what can be installed\n  \
        hoiam voices install vi_VN-vais1000-medium     download a neural voice\n  \
        hoiam voices add ~/voices/en_US-joe-medium.onnx\n  \
        hoiam voices remove en_US-joe-medium\n\n\
        These are the voices of this machine. A running service tells its own: GET /v1/voices; it\n\
        offers what was added once it is started again.")]
    Voices(voices::VoicesArgs),

    /// List callbacks that a running service owes, and have them sent again
    #[command(after_long_help = "Examples:\n  \
        hoiam deliveries list --status exhausted         what was given up\n  \
        hoiam deliveries show 01a20a4e-ea42-7728-b0d7-1c404902fa18\n  \
        hoiam deliveries redeliver 01a20a4e-ea42-7728-b0d7-1c404902fa18\n  \
        hoiam deliveries redeliver --ended-after 2026-11-23T00:00:00Z   all given up since then\n  \
        hoiam deliveries redeliver --all                 all that were given up\n\n\
        Exit code: 0 done, 1 there is no such delivery or it is still being delivered, 2 wrong usage\n\
        or nobody answers at the URL.")]
    Deliveries(deliveries::DeliveriesArgs),

    /// Show what a text is read as: dates, money, units and abbreviations in words
    #[command(after_long_help = "Examples:\n  \
        echo \"Giá 30.000đ, từ 8h30 ngày 15/4/2024\" | hoiam spoken --lang vi\n  \
        hoiam spoken --lang en --map < script.txt\n\n\
        Reads lines from standard input and prints, line by line, what will be read. Languages:\n\
        vi and en; texts in others are given to the voice as they are written.")]
    Spoken(spoken::SpokenArgs),

    /// Receive callbacks and show them; for development
    #[command(after_long_help = "Examples:\n  \
        hoiam listen                                     on http://127.0.0.1:4650\n  \
        hoiam listen --secret-file data/callback.secret  verify signatures too\n  \
        hoiam listen --fail-first 3                      answer 500 three times: watch the retries\n  \
        hoiam listen --status 503 --retry-after 30       be overloaded\n  \
        hoiam listen --delay 20s                         be too slow\n  \
        hoiam listen --drop                              hang up without an answer\n  \
        hoiam listen --options 404                       be a URL that does not exist\n  \
        hoiam listen --exit-after 10 --json              in a script: end after 10 callbacks")]
    Listen(listen::ListenArgs),

    /// Check whether a callback URL would be accepted, step by step
    #[command(after_long_help = "Examples:\n  \
        hoiam check-callback https://example.com/hooks/voice\n  \
        hoiam check-callback https://example.com/voice --header 'Authorization: Bearer …'\n\n\
        Does what the service does before it starts the work: the policy, an OPTIONS request, and\n\
        where that is answered by 404 or 410, signed POSTs. Says what each came to and what to do.\n\
        Exit code: 0 the URL is open, 1 it is not, 2 wrong usage or a faulty configuration.")]
    CheckCallback(check_callback::CheckCallbackArgs),

    /// Add, list and revoke API keys, each with a name and scopes
    #[command(after_long_help = "Examples:\n  \
        hoiam keys add web                               prints a key that may submit and read\n  \
        hoiam keys add monitor --scope read --json\n  \
        hoiam keys list\n  \
        hoiam keys revoke web\n\n\
        A key's name is a client: what it may list, read, cancel and delete is its own. Scopes:\n\
        submit (and cancel, retry, delete, redeliver), read, and admin, which is all of that for\n\
        everybody's work, and what concerns the whole service. A running service follows within two\n\
        seconds. Keys are kept hashed in the data folder, in keys.json; while that file is there, keys\n\
        are asked for. Exit code: 0 done, 1 there is such a name already, or none, 2 wrong usage.")]
    Keys(keys::KeysArgs),

    /// Change the callback secret, with an overlap in which the old one holds too
    #[command(after_long_help = "Examples:\n  \
        hoiam secrets rotate                             the old one holds for 24 hours, or as long as links\n  \
        hoiam secrets rotate --overlap 7d\n  \
        hoiam secrets rotate --overlap 0                 it got known: end it at once\n\n\
        Makes a new secret in data/callback.secret, where your receivers get it from. Until the overlap\n\
        ends callbacks carry two signatures, so a receiver that has either of them accepts, and what the\n\
        old one has signed is believed. A running service follows by itself; deliveries go on. To end the\n\
        overlap earlier, remove data/callback.secret.rotation. Secrets of the configuration are changed\n\
        there; the command says how. Exit code: 0 done, 1 not, 2 wrong usage.")]
    Secrets(secrets::SecretsArgs),

    /// Have a running service believe a clock that is far ahead
    #[command(after_long_help = "Examples:\n  \
        hoiam clock accept                               the clock of this machine is right\n  \
        hoiam clock accept --url https://voice.example.com --api-key \"$KEY\"\n\n\
        When the machine was restarted and its clock is more than a week ahead of the last commit, a\n\
        service does not believe it, says so in its log and in /health/ready, and goes on as if the\n\
        machine had been off for no time: a wrong clock would time out and remove everything. It\n\
        follows the clock again when it comes back, or by this command. Processes of different roles\n\
        are told one by one. Exit code: 0 it follows the clock, 1 it refuses, 2 wrong usage or nobody\n\
        answers at the URL.")]
    Clock(clock::ClockArgs),

    /// Find out why something does not work
    #[command(after_long_help = "Examples:\n  \
        hoiam doctor\n  \
        hoiam doctor --data-dir /var/lib/hoiam --json\n\n\
        Looks at the configuration, the data folder, the databases, the callback secret, the engines,\n\
        the limits of the synthesizer children, the listener and the machine, and names the way out\n\
        of each problem it finds. Changes nothing. Exit code: 0 no problem (warnings are none), 1\n\
        some.")]
    Doctor(doctor::DoctorArgs),

    /// Show the configuration in force and where each value comes from
    #[command(after_long_help = "Examples:\n  \
        hoiam config                                   every key, value and source; secrets hidden\n  \
        hoiam config --json --role tts\n  \
        hoiam config --reference > hoiam.toml          the commented defaults, to start a file from\n\n\
        Later sources win: defaults, --config FILE (or HOIAM_CONFIG), the environment\n\
        (HOIAM__TTS__WORKERS=2), flags. Exit code 2 when something is wrong with them.")]
    Config(config::ConfigArgs),

    /// Write what a shell reads to complete commands and options
    #[command(after_long_help = "Examples:\n  \
        hoiam completions bash > ~/.local/share/bash-completion/completions/hoiam\n  \
        hoiam completions fish > ~/.config/fish/completions/hoiam.fish\n  \
        hoiam completions zsh > ~/.zfunc/_hoiam        a folder of $fpath\n\n\
        The archive of `make dist` has them.")]
    Completions(completions::CompletionsArgs),

    /// The child process that speaks; started by `serve` and `say`
    #[command(hide = true)]
    Synthesizer(synthesizer::SynthesizerArgs),
}

/// What `serve` and the commands that look at a service's configuration share.
#[derive(Args, Clone, Debug, Default)]
pub struct ServiceArgs {
    /// Which services to run: all, backend or tts [default: all]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,

    /// Address and port to listen on [default: 127.0.0.1:4640; role tts: 127.0.0.1:4641]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,

    /// Where databases, results and the callback secret are kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// Does what the command line asks for; the process ends with the result.
pub fn run(cli: Cli) -> ExitCode {
    let globals = cli.globals;
    match cli.command {
        Command::Serve(args) => serve::run(args, globals),
        Command::Say(args) => say::run(args, globals),
        Command::Submit(args) => submit::run(args, globals),
        Command::Voices(args) => voices::run(args, globals),
        Command::Deliveries(args) => deliveries::run(args, globals),
        Command::Spoken(args) => spoken::run(args, globals),
        Command::Listen(args) => listen::run(args, globals),
        Command::CheckCallback(args) => check_callback::run(args, globals),
        Command::Keys(args) => keys::run(args, globals),
        Command::Secrets(args) => secrets::run(args, globals),
        Command::Clock(args) => clock::run(args, globals),
        Command::Doctor(args) => doctor::run(args, globals),
        Command::Config(args) => config::run(args, globals),
        Command::Completions(args) => completions::run(args, globals),
        Command::Synthesizer(args) => synthesizer::run(args, globals),
    }
}

/// Logs to stderr: warnings with `--quiet`, more with `--verbose`, and what
/// RUST_LOG says wherever it is set.
fn start_logger(globals: &Globals) {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "warn",
        (false, 0) => "info,actix_server=warn",
        (false, 1) => "debug,actix_server=info",
        (false, _) => "trace",
    };
    logger::start(level);
}

/// Text of others as a terminal can be given it: control characters, with which it can
/// be told to do things, become question marks; ends of lines and tabs stay.
fn without_controls(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '?',
        c => c,
    };
    text.chars().map(shown).collect()
}

/// Prints on stdout.
fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().write_all(without_controls(text).as_bytes()) {
        // Who reads only the first lines (`| head`) has what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Print(error)),
        _ => Ok(()),
    }
}

/// Tells on stderr what went wrong, or will be otherwise than expected.
fn tell_error(message: impl std::fmt::Display) {
    eprintln!("hoiam: {}", without_controls(&message.to_string()));
}

/// JSON as a terminal can be given it. All the control characters that it has may be
/// written as escapes, but for the ends of lines between values.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() && c != '\n' {
            shown += &format!("\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// One JSON value as people and programs can read it, with a line end.
fn pretty(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| escaped(&text) + "\n")
        .map_err(CliError::Json)
}

/// Rows as lines; each column but the last is as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths);
        let padded: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        padded.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A progress bar on stderr, where that is a terminal and nobody wants JSON or
/// silence; `template` is indicatif's.
fn bar(globals: &Globals, length: Option<u64>, template: &str) -> ProgressBar {
    let target = if globals.json || globals.quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(length, target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// The end of a command that may have failed: its exit code, and why on stderr.
fn exit(done: Result<(), CliError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_error(error);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), ArgError> {
    let (key, value) = text.split_once('=').ok_or(ArgError::KeyValue)?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_a_service_win_over_set() {
        let cli = Cli::try_parse_from([
            "hoiam",
            "config",
            "--set",
            "server.listen=127.0.0.1:1",
            "--listen",
            "127.0.0.1:2",
        ])
        .unwrap();
        let Command::Config(args) = cli.command else {
            panic!("another command")
        };
        let config = cli.globals.load(&args.service).unwrap();
        assert_eq!(config.server.listen.port(), 2);
    }

    #[test]
    fn what_others_have_named_tells_the_terminal_nothing() {
        let name = "\u{1b}]0;owned\u{7}joe\u{9b}2J\r\n\tTiếng Việt 🙂\u{7f}";
        let shown = without_controls(name);
        assert_eq!(shown, "?]0;owned?joe?2J?\n\tTiếng Việt 🙂?");
    }

    #[test]
    fn json_tells_the_terminal_nothing_and_says_all_the_same() {
        let named = serde_json::json!({"name": "\u{1b}]0;owned\u{7}\u{9b}2J\r\n\t🙂\u{7f}"});
        let shown = pretty(&named).unwrap();
        assert_eq!(without_controls(&shown), shown);
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, named);
    }

    #[test]
    fn v_is_the_voice() {
        let cli = Cli::try_parse_from(["hoiam", "submit", "a.txt", "-v", "espeak/vi"]).unwrap();
        let Command::Submit(args) = cli.command else {
            panic!("another command")
        };
        assert_eq!(args.voice.as_deref(), Some("espeak/vi"));
    }
}
