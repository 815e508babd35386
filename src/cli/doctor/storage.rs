//! The data folder and what is in it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hoiam_api::{Service, rfc3339};
use hoiam_supervision::clock::Clock;

use super::check::{Check, Status};
use crate::config::Config;
use crate::db::{self, OpenError, Standing};
use crate::files::free_bytes;
use crate::keys;
use crate::secrets::{self, file::secret_path};

/// Room for some hours of audio, and for a queue as large as it may be.
const AMPLE_BYTES: u64 = 2_000_000_000;
/// Below this, writing will soon fail.
const LEAST_BYTES: u64 = 100_000_000;

const OTHER_FOLDER: &str = "run it as the user of the service, give that user the folder, or choose another with --data-dir";

/// What a service keeps.
pub fn checks(config: &Config) -> Vec<Check> {
    let folder = &config.data_dir;
    let mut checks = vec![writable(folder), free_space(folder)];
    checks.extend(databases(config).iter().map(|path| database(path)));
    checks.push(secret(config));
    checks.push(api_keys(config));
    checks
}

/// Whether a service runs on this data folder.
pub fn is_in_use(config: &Config) -> bool {
    let mut paths = databases(config).into_iter();
    paths.any(|path| matches!(db::inspect(&path), Err(OpenError::Locked { .. })))
}

/// One for each service of the role.
pub fn databases(config: &Config) -> Vec<PathBuf> {
    let services = [
        (Service::Tts, config.role.runs_tts()),
        (Service::Backend, config.role.runs_backend()),
    ];
    let ours = services.into_iter().filter(|(_, runs)| *runs);
    ours.map(|(service, _)| config.data_dir.join(format!("{service}.db")))
        .collect()
}

/// The folder, or the nearest one above it that is there already.
fn nearest(folder: &Path) -> &Path {
    folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(folder)
}

fn writable(folder: &Path) -> Check {
    let there = nearest(folder);
    let shown = folder.display();
    let trial = there.join(format!(".hoiam-doctor-{}", std::process::id()));
    match File::create_new(&trial).and_then(|_| fs::remove_file(&trial)) {
        Ok(()) if there == folder => Check::ok("data folder", format!("{shown} can be written")),
        Ok(()) => Check::ok(
            "data folder",
            format!("{shown} is not there yet; the first start makes it"),
        ),
        Err(error) => Check::problem(
            "data folder",
            format!("nothing can be written in {}: {error}", there.display()),
            OTHER_FOLDER,
        ),
    }
}

fn free_space(folder: &Path) -> Check {
    let way_out = "make room, or choose a folder on another disk with --data-dir";
    match free_bytes(nearest(folder)) {
        Ok(bytes) => {
            let told = format!("{:.1} GB are free", bytes as f64 / 1e9);
            match bytes {
                AMPLE_BYTES.. => Check::ok("disk space", told),
                LEAST_BYTES.. => Check::warning("disk space", told, way_out),
                _ => Check::problem("disk space", told, way_out),
            }
        }
        Err(error) => Check::warning(
            "disk space",
            format!("how much is free cannot be found out: {error}"),
            way_out,
        ),
    }
}

fn database(path: &Path) -> Check {
    let shown = path.display();
    match db::inspect(path) {
        Ok(Standing::Absent) => Check::ok(
            "database",
            format!("{shown} is not there yet; the first start makes it"),
        ),
        Ok(Standing::Current) => Check::ok("database", format!("{shown} opens, schema current")),
        Ok(Standing::Older(missing)) => Check::ok(
            "database",
            format!("{shown} opens; the next start runs the migrations it lacks ({missing})"),
        ),
        Err(OpenError::Locked { holder, .. }) => Check::ok(
            "database",
            format!("{shown} is in use by a running service (process {holder})"),
        ),
        Err(error) => Check::problem("database", error.to_string(), OTHER_FOLDER),
    }
}

fn secret(config: &Config) -> Check {
    const CHECK: &str = "callback secret";
    let path = secret_path(&config.data_dir);
    let shown = path.display();
    match config.callback.secrets.len() {
        0 => {}
        _ if path.exists() => {
            return Check::warning(
                CHECK,
                format!("callback.secrets is configured, so {shown} is not used"),
                "remove it once no receiver needs it, or remove callback.secrets; `hoiam secrets rotate` changes the file alone",
            );
        }
        1 => return Check::ok(CHECK, "one is configured"),
        several => {
            return Check::ok(
                CHECK,
                format!("{several} are configured; the first two sign, all verify"),
            );
        }
    }
    let filed = match secrets::file::read(&config.data_dir) {
        Ok(Some(filed)) => filed,
        Ok(None) => {
            return Check::ok(
                CHECK,
                format!("{shown} is not there yet; the first start makes it"),
            );
        }
        // These errors name their own way out.
        Err(error) => {
            return Check {
                status: Status::Problem,
                ..Check::ok(CHECK, error.to_string())
            };
        }
    };
    let wall = Clock::resume(None).wall().timestamp_millis();
    if filed.is_cut_off(wall) {
        return Check::warning(
            CHECK,
            format!("a rotation has begun and {shown} has the old one yet"),
            "if no `hoiam secrets rotate` is running, run it again: the last one was cut off",
        );
    }
    let told = match filed.overlap_ends(wall).map(rfc3339) {
        Some(until) => format!("; the one before it is in force too until {until}"),
        None => String::new(),
    };
    Check::ok(
        CHECK,
        format!("{shown} is there, for its owner alone{told}"),
    )
}

fn api_keys(config: &Config) -> Check {
    const CHECK: &str = "API keys";
    let path = keys::file::path(&config.data_dir);
    let shown = path.display();
    // Where the TTS service runs alone, the Backend's key is one of its own.
    let of_backend = !config.role.runs_backend() && config.backend.tts_api_key.is_some();
    let configured = config.server.api_keys.len() + usize::from(of_backend);
    let filed = match keys::file::read(&config.data_dir) {
        // These errors name their own way out.
        Err(error) => {
            return Check {
                status: Status::Problem,
                ..Check::ok(CHECK, error.to_string())
            };
        }
        Ok(None) if !config.asks_for_keys() => return Check::ok(CHECK, "none are asked for"),
        Ok(None) => return Check::ok(CHECK, format!("{configured} are configured")),
        Ok(Some(filed)) => filed.len(),
    };
    let mode = fs::metadata(&path).map_or(0, |file| file.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        return Check::warning(
            CHECK,
            format!("{shown} can be read by others (mode {mode:03o})"),
            format!("chmod 600 {shown}"),
        );
    }
    if filed + configured == 0 {
        return Check::warning(
            CHECK,
            format!("{shown} has no key, so nobody is served"),
            "make one with `hoiam keys add NAME`, or remove the file to have none asked for",
        );
    }
    Check::ok(
        CHECK,
        format!("{filed} in {shown}, {configured} are configured"),
    )
}
