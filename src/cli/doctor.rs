//! `hoiam doctor`: looks at everything that a service needs, changes nothing,
//! and says how to mend what is wrong.

mod check;
mod machine;
mod network;
mod speech;
mod storage;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::check::{Check, Status};
use self::storage::is_in_use;
use super::{EXIT_FAILED, Globals, ServiceArgs};
use crate::config::{Config, ConfigErrors};

/// The flags of `hoiam doctor`.
#[derive(Args, Clone, Debug, Default)]
pub struct DoctorArgs {
    /// What the service is started with.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// Looks. Exit code 1 when there is a problem.
pub fn run(args: DoctorArgs, globals: Globals) -> ExitCode {
    let checks = match globals.load(&args.service) {
        Ok(config) => actix_web::rt::System::new().block_on(look(&config)),
        Err(errors) => configuration_errors(&errors),
    };
    let problems = count(&checks, Status::Problem);
    let told = if globals.json {
        super::pretty(&json!({ "ok": problems == 0, "checks": checks }))
    } else {
        Ok(for_people(&checks))
    };
    match told.and_then(|text| super::print(&text)) {
        Ok(()) if problems > 0 => ExitCode::from(EXIT_FAILED),
        done => super::exit(done),
    }
}

/// Everything, in the order in which a service would meet it.
async fn look(config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("configuration", configuration(config))];
    checks.extend(storage::checks(config));
    if config.role.runs_tts() {
        checks.extend(speech::checks(config).await);
    }
    checks.extend(network::checks(config, is_in_use(config)).await);
    checks.extend(machine::checks(config));
    checks
}

fn configuration(config: &Config) -> String {
    let own = config.rows().into_iter().filter(|row| {
        let source = row.source.as_str();
        source != "default" && source != "derived"
    });
    match own.count() {
        0 => format!("valid: role {}, nothing but defaults", config.role),
        changed => format!("valid: role {}, {changed} keys set", config.role),
    }
}

/// Nothing else can be looked at before these are mended.
fn configuration_errors(errors: &ConfigErrors) -> Vec<Check> {
    let way_out = "correct it; `hoiam config --reference` explains every key";
    let errors = errors.0.iter();
    errors
        .map(|error| Check::problem("configuration", error.to_string(), way_out))
        .collect()
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn for_people(checks: &[Check]) -> String {
    let rows: Vec<[String; 3]> = checks
        .iter()
        .map(|check| {
            let status = match check.status {
                Status::Ok => "ok",
                Status::Warning => "warning",
                Status::Problem => "problem",
            };
            let told = match &check.way_out {
                Some(way_out) => {
                    let detail = check.detail.trim_end_matches('.');
                    format!("{detail}. Way out: {way_out}")
                }
                None => check.detail.clone(),
            };
            [status.to_owned(), check.check.to_owned(), told]
        })
        .collect();
    let (problems, warnings) = (
        count(checks, Status::Problem),
        count(checks, Status::Warning),
    );
    format!(
        "{}problems: {problems}, warnings: {warnings}\n",
        super::columns(&rows)
    )
}
