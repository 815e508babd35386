//! `hoiam keys`: API keys with names and scopes, in the data folder.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hoiam_api::client::{is_client_name, name_by_hash};
use hoiam_supervision::clock::Clock;
use serde_json::json;

use super::error::{ArgError, CliError};
use super::{Globals, ServiceArgs};
use crate::config::Config;
use crate::keys::file::{self, Entry};
use crate::keys::{KeyHash, Scopes};

/// The flags of `hoiam keys`.
#[derive(Args, Clone, Debug)]
pub struct KeysArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub action: Action,
}

/// What `hoiam keys` does.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Make a key and print it: the only time that it is shown
    Add {
        /// The client: 1 to 64 of a-z 0-9 . _ -
        #[arg(value_parser = name)]
        name: String,
        /// What it may do: submit, read, admin, separated by commas
        #[arg(long, default_value = "submit,read", value_name = "SCOPES")]
        scope: Scopes,
        /// Where the service keeps its data.
        #[command(flatten)]
        service: FolderArgs,
    },
    /// Show names and scopes of all keys
    List {
        /// Where the service keeps its data.
        #[command(flatten)]
        service: FolderArgs,
    },
    /// Let a key be known no more; the client's work stays, for a new key of its name
    Revoke {
        /// The client.
        name: String,
        /// Where the service keeps its data.
        #[command(flatten)]
        service: FolderArgs,
    },
}

/// Where the service keeps its data.
#[derive(Args, Clone, Debug, Default)]
pub struct FolderArgs {
    /// Where databases, results and keys are kept [default: ./data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
}

/// Exit code 1 where a name is taken or unknown, or the file cannot be had.
pub fn run(args: KeysArgs, mut globals: Globals) -> ExitCode {
    let (Action::Add { service, .. } | Action::List { service } | Action::Revoke { service, .. }) =
        &args.action;
    // A listener that lacks a key is what this command is the way out of.
    let unprotected = "server.allow_unauthenticated".to_owned();
    globals.set.push((unprotected, "true".to_owned()));
    let service = ServiceArgs {
        data_dir: service.data_dir.clone(),
        ..ServiceArgs::default()
    };
    let config = match globals.load_or_explain(&service) {
        Ok(config) => config,
        Err(code) => return code,
    };
    super::exit(match &args.action {
        Action::Add { name, scope, .. } => add(&config, &globals, name, *scope),
        Action::List { .. } => list(&config, &globals),
        Action::Revoke { name, .. } => revoke(&config, &globals, name),
    })
}

fn name(text: &str) -> Result<String, ArgError> {
    is_client_name(text)
        .then(|| text.to_owned())
        .ok_or(ArgError::ClientName)
}

fn add(config: &Config, globals: &Globals, name: &str, scopes: Scopes) -> Result<(), CliError> {
    let asked = config.asks_for_keys();
    let now = Clock::resume(None).wall().timestamp_millis();
    let (key, entry) = file::add(&config.data_dir, name, scopes, now)?;
    if !globals.quiet {
        eprintln!("hoiam: only its hash is kept, so this is the one time that the key is shown");
        if !asked {
            eprintln!(
                "hoiam: from now on the service asks for a key; from its next start on, callback URLs of this machine \
                 (loopback), alerts.callback_url among them, have to be in callback.allow_cidrs"
            );
        }
    }
    super::print(&match globals.json {
        true => super::pretty(&json!({
            "name": entry.name,
            "scopes": entry.scopes,
            "created_at": entry.created_at,
            "key": key,
        }))?,
        false => format!("{key}\n"),
    })
}

fn list(config: &Config, globals: &Globals) -> Result<(), CliError> {
    let filed = file::read(&config.data_dir)?.unwrap_or_default();
    let configured = config.server.api_keys.iter();
    let configured: Vec<String> = configured
        .map(|key| name_by_hash(&KeyHash::of(key.reveal()).short()))
        .collect();
    super::print(&match globals.json {
        true => as_json(&configured, &filed)?,
        false => as_table(&configured, &filed),
    })
}

fn as_json(configured: &[String], filed: &[Entry]) -> Result<String, CliError> {
    let configured = configured.iter().map(|name| {
        let (scopes, source) = (Scopes::all(), "server.api_keys");
        json!({ "name": name, "scopes": scopes, "created_at": null, "source": source })
    });
    let filed = filed.iter().map(|key| {
        let (scopes, at) = (key.scopes, &key.created_at);
        json!({ "name": key.name, "scopes": scopes, "created_at": at, "source": "keys.json" })
    });
    let items: Vec<serde_json::Value> = configured.chain(filed).collect();
    super::pretty(&json!({ "items": items }))
}

fn as_table(configured: &[String], filed: &[Entry]) -> String {
    let head = ["NAME", "SCOPES", "CREATED", "SOURCE"].map(str::to_owned);
    let all = Scopes::all().to_string();
    let configured = configured.iter().map(|name| {
        let source = "server.api_keys".to_owned();
        [name.clone(), all.clone(), "-".to_owned(), source]
    });
    let filed = filed.iter().map(|key| {
        let scopes = key.scopes.to_string();
        let source = "keys.json".to_owned();
        [key.name.clone(), scopes, key.created_at.clone(), source]
    });
    let rows: Vec<[String; 4]> = std::iter::once(head)
        .chain(configured)
        .chain(filed)
        .collect();
    super::columns(&rows)
}

fn revoke(config: &Config, globals: &Globals, name: &str) -> Result<(), CliError> {
    let left = file::revoke(&config.data_dir, name)?;
    if left == 0 && config.server.api_keys.is_empty() && !globals.quiet {
        eprintln!(
            "hoiam: no key is left, and the service goes on asking for one; to have none asked for, remove {} and \
             start it again",
            file::path(&config.data_dir).display()
        );
    }
    super::print(&match globals.json {
        true => super::pretty(&json!({ "revoked": name, "left": left }))?,
        false => format!("revoked {name}; a running service follows within two seconds\n"),
    })
}
