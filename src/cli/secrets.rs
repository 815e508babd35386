//! `hoiam secrets`: changes the callback secret of a data folder.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hoiam_api::rfc3339;
use hoiam_supervision::clock::Clock;
use serde_json::json;

use super::error::CliError;
use super::keys::FolderArgs;
use super::{Globals, ServiceArgs};
use crate::config::{Config, MustBe, in_words, seconds};
use crate::lookout::SEEN_WITHIN;
use crate::secrets::file;

/// A working day for whoever has to bring the new one to receivers, and what others
/// give: Svix and Convoy have 24 hours.
const DEFAULT_OVERLAP_S: u64 = 24 * 3_600;
/// As Svix has it. Two that are in force for good are twice as likely to get known.
const MAX_OVERLAP_S: u64 = 7 * 24 * 3_600;

/// The flags of `hoiam secrets`.
#[derive(Args, Clone, Debug)]
pub struct SecretsArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub action: Action,
}

/// What `hoiam secrets` does.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Replace the callback secret; the one before it stays in force for a while
    Rotate {
        /// How long the one before it signs too and is believed, up to 7d; 0 ends it at once
        /// [default: 24h, or up to 7d the life of links if that is longer]
        #[arg(long, value_name = "TIME", value_parser = overlap)]
        overlap: Option<u64>,
        /// Where the service keeps its data.
        #[command(flatten)]
        service: FolderArgs,
    },
}

fn overlap(text: &str) -> Result<u64, MustBe> {
    seconds(0..=MAX_OVERLAP_S)(text)
}

/// Exit code 1 where it was not replaced.
pub fn run(args: SecretsArgs, mut globals: Globals) -> ExitCode {
    let Action::Rotate { overlap, service } = args.action;
    // It says nothing of secrets, and keys may be on their way.
    let unprotected = "server.allow_unauthenticated".to_owned();
    globals.set.push((unprotected, "true".to_owned()));
    let service = ServiceArgs {
        data_dir: service.data_dir,
        ..ServiceArgs::default()
    };
    let config = match globals.load_or_explain(&service) {
        Ok(config) => config,
        Err(code) => return code,
    };
    super::exit(rotate(&config, &globals, overlap))
}

fn rotate(config: &Config, globals: &Globals, overlap_s: Option<u64>) -> Result<(), CliError> {
    if !config.callback.secrets.is_empty() {
        return Err(CliError::plain(steps_of_configured(config)));
    }
    let links_s = config.links.ttl_s;
    let overlap_s = overlap_s.unwrap_or_else(|| DEFAULT_OVERLAP_S.max(links_s).min(MAX_OVERLAP_S));
    let now = Clock::resume(None).wall().timestamp_millis();
    let wait_for_service = || {
        // Whether one runs is not asked: the answer may be wrong, and costs more.
        // A timer is made within a runtime.
        let seen = async { actix_web::rt::time::sleep(SEEN_WITHIN).await };
        actix_web::rt::System::new().block_on(seen);
    };
    let overlap = Duration::from_secs(overlap_s);
    let until = file::rotate(&config.data_dir, overlap, now, wait_for_service)?;
    if overlap_s < links_s && !globals.quiet {
        super::tell_error(format_args!(
            "links given out so far are signed with the old secret and end with it, before their {} are over",
            in_words(links_s)
        ));
    }
    let path = file::secret_path(&config.data_dir);
    let shown = path.display();
    super::print(&match (globals.json, until.map(rfc3339)) {
        (true, until) => super::pretty(&json!({ "file": path, "overlap_ends_at": until }))?,
        (false, Some(until)) => format!(
            "{shown} has the new secret: give it to your receivers by {until}.\n\
             Until then the one before it signs too and is believed; it ends by itself, and nothing has to be restarted.\n\
             {OF_THE_FOLDER}\n"
        ),
        (false, None) => format!(
            "{shown} has the new secret: give it to your receivers. They refuse callbacks until they have it, and are \
             called again.\nThe one before it has ended; a running service follows within two seconds.\n\
             {OF_THE_FOLDER}\n"
        ),
    })
}

/// What the service's environment has cannot be seen from here.
const OF_THE_FOLDER: &str = "A service that has callback.secrets, from an environment file too, uses those and not \
    this file.";

/// What is configured can be changed only where it is written, and takes a restart.
fn steps_of_configured(config: &Config) -> String {
    let source = config.source("callback.secrets");
    let source = source.map_or_else(String::new, |source| format!(" ({source})"));
    format!(
        "callback.secrets is configured{source}, so it is changed there:\n\
         \x20 1. Make a new one: echo \"whsec_$(head -c 32 /dev/urandom | base64)\"\n\
         \x20 2. Write it before the old one, and start the service again: both sign and both are believed. Where \
         Backend and TTS service run apart, do so on both, in either order.\n\
         \x20 3. Give it to the receivers.\n\
         \x20 4. When all have it, and links given out before step 2 have ended ({}), remove the old one, on both.",
        in_words(config.links.ttl_s)
    )
}
