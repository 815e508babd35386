//! The machine, the commit and the figures: as a table for people, as JSON for
//! comparing one commit with another.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::figure::{Figure, Samples};
use crate::{Options, Outcome};

/// What the figures depend on.
struct Circumstances {
    date: String,
    commit: String,
    cores: usize,
    cpu: String,
    kernel: String,
    file_system: String,
    fsyncs_a_second: f64,
    quick: bool,
    rounds: u16,
}

/// Everything that a run has found.
pub struct Report {
    circumstances: Circumstances,
    figures: Vec<Figure>,
}

impl Report {
    /// Looks at the machine and prints what it is.
    pub fn begin(options: &Options) -> Outcome<Self> {
        let circumstances = Circumstances {
            date: now().format("%Y-%m-%d %H:%M UTC").to_string(),
            commit: commit(),
            cores: std::thread::available_parallelism()?.get(),
            cpu: cpu_model(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            file_system: file_system(&options.data),
            fsyncs_a_second: fsyncs_a_second(&options.data)?,
            quick: options.quick,
            rounds: options.rounds,
        };
        eprintln!("{circumstances}");
        Ok(Self {
            circumstances,
            figures: Vec::new(),
        })
    }

    /// Adds a row.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Circumstances and figures, with every sample.
    pub fn as_json(&self) -> String {
        let c = &self.circumstances;
        let report = json!({
            "date": c.date, "commit": c.commit, "quick": c.quick, "rounds": c.rounds,
            "machine": {
                "cores": c.cores, "cpu": c.cpu, "kernel": c.kernel,
                "file_system": c.file_system, "fsyncs_a_second": c.fsyncs_a_second.round(),
            },
            "figures": self.figures.iter().map(figure_as_json).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

fn figure_as_json(figure: &Figure) -> serde_json::Value {
    let other = figure.other.as_ref().map(|(name, samples)| {
        json!({"name": name, "median": samples.median(), "samples": samples.values()})
    });
    json!({
        "name": figure.name, "unit": figure.unit, "verdict": figure.verdict().to_string(),
        "median": figure.hoiam.median(), "samples": figure.hoiam.values(),
        "other": other, "ratio": figure.ratio(),
    })
}

impl Display for Circumstances {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            date,
            commit,
            cores,
            cpu,
            kernel,
            file_system,
            ..
        } = self;
        writeln!(f, "{date}, commit {commit}")?;
        writeln!(f, "{cores} cores of {cpu}, Linux {kernel}")?;
        let fsyncs = self.fsyncs_a_second;
        writeln!(
            f,
            "data on {file_system}, {fsyncs:.0} fdatasyncs of 4 KiB a second"
        )?;
        write!(f, "{} rounds", self.rounds)?;
        if self.quick {
            write!(f, ", quick: these figures say nothing about speed")?;
        }
        Ok(())
    }
}

const HEAD: [&str; 7] = [
    "figure",
    "unit",
    "hoiam",
    "compared with",
    "ratio",
    "goal",
    "verdict",
];

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.circumstances)?;
        let rows: Vec<[String; 7]> = self.figures.iter().map(row).collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEAD[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        write_row(f, &widths, &HEAD.map(str::to_owned))?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        write_row(f, &widths, &rule)?;
        for row in &rows {
            write_row(f, &widths, row)?;
        }
        Ok(())
    }
}

fn write_row(f: &mut Formatter<'_>, widths: &[usize], cells: &[String]) -> fmt::Result {
    for (cell, width) in cells.iter().zip(widths) {
        write!(f, "| {cell:width$} ")?;
    }
    writeln!(f, "|")
}

fn row(figure: &Figure) -> [String; 7] {
    let other = figure.other.as_ref();
    let other = other.map(|(name, samples)| format!("{name}: {}", spread(samples)));
    let ratio = figure.ratio().map(|ratio| format!("{ratio:.2} ×"));
    [
        figure.name.clone(),
        figure.unit.to_owned(),
        spread(&figure.hoiam),
        other.unwrap_or_default(),
        ratio.unwrap_or_default(),
        figure.goal.to_string(),
        figure.verdict().to_string(),
    ]
}

/// Median, and in parentheses least and most when there was more than one round.
fn spread(samples: &Samples) -> String {
    let median = readable(samples.median());
    if samples.values().len() < 2 {
        return median;
    }
    let (least, most) = (readable(samples.least()), readable(samples.most()));
    format!("{median} ({least} to {most})")
}

/// Three digits that mean something.
fn readable(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the report tells its date, and the driver has no clock of the service"
)]
/// Wall time.
pub fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

fn commit() -> String {
    let Some(head) = output_of("git", &["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    match output_of("git", &["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}, dirty"),
    }
}

fn file_system(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let output = output_of("df", &["--output=fstype", &folder]).unwrap_or_default();
    output.lines().last().unwrap_or("unknown").to_owned()
}

fn cpu_model() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = line.unwrap_or(std::env::consts::ARCH);
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The disk's own limit, which every durable figure rests on.
fn fsyncs_a_second(folder: &Path) -> Outcome<f64> {
    const SYNCS: u32 = 500;
    let mut file = tempfile::tempfile_in(folder)?;
    let started = Instant::now();
    for _ in 0..SYNCS {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    Ok(f64::from(SYNCS) / started.elapsed().as_secs_f64())
}
