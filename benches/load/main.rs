//! `cargo bench --bench load`: what the service does under load, and what its peers do.
//!
//! The driver starts whole processes and talks to them over loopback, as a client
//! and as the receiver of callbacks. `benches/README.md` says what each scenario
//! measures and how to read the table.
//!
//! | module | holds |
//! | --- | --- |
//! | `scenario` | the measurements, one file for each kind |
//! | `service` | starting and stopping hoiam and the peers |
//! | `sender`, `receiver` | the two ends of the load |
//! | `http` | as much of HTTP/1.1 as both ends need |
//! | `process` | memory and CPU time of running processes |
//! | `figure`, `report` | numbers, their goals, the table and the JSON file |

mod figure;
mod http;
mod process;
mod receiver;
mod report;
mod scenario;
mod sender;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::report::Report;
use crate::scenario::Scenario;

/// What most functions of the driver answer: a failed measurement ends the run
/// with a message, there is nothing to recover.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What to measure, and how.
#[derive(Parser)]
#[command(name = "load", about = "Measures hoiam under load, beside its peers")]
struct Options {
    /// The scenarios to run; all of them when none is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// How often each measurement is taken; the table shows median, least and most.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A tenth of the load or less: shows that everything works, not how fast.
    #[arg(long)]
    quick: bool,
    /// Also measures the peers that benches/peers/setup.sh has set up.
    #[arg(long)]
    peers: bool,
    /// Writes every sample to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the services keep their data: choose the disk to measure.
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    data: PathBuf,
    /// Leaves the services' data behind.
    #[arg(long)]
    keep: bool,
    /// The program to measure instead of the one that Cargo has built.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_hoiam"))]
    binary: PathBuf,
    /// Cargo gives this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.peers && !service::peers_are_set_up() {
        let message = "the peers are not set up: run benches/peers/setup.sh first";
        Options::command()
            .error(clap::error::ErrorKind::Io, message)
            .exit();
    }
    // One thread: the driver shares the machine with what it measures.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| {
            let mut folder = tempfile::TempDir::with_prefix_in("bench-", &options.data)?;
            folder.disable_cleanup(options.keep);
            options.data = folder.path().to_owned();
            runtime.block_on(run(&options))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Outcome<()> {
    let mut report = Report::begin(options)?;
    for scenario in scenario::chosen(&options.scenarios) {
        for figure in scenario.run(options).await? {
            report.add(figure);
        }
    }
    print!("{report}");
    if let Some(file) = &options.json {
        std::fs::write(file, report.as_json())?;
    }
    Ok(())
}
