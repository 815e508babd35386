//! The configuration out of the environment of a real process. A program of its
//! own, since the environment belongs to the whole process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use hoiam::config::{Config, ConfigErrors};

static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// Loads the configuration while these variables are set.
fn load_with(variables: &[(&str, &str)], file: Option<&Path>) -> Result<Config, ConfigErrors> {
    let _one_at_a_time = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, value) in variables {
        set(name, Some(value));
    }
    let loaded = Config::load(file, &[]);
    for (name, _) in variables {
        set(name, None);
    }
    loaded
}

#[expect(
    unsafe_code,
    reason = "changing the environment is unsafe while other threads read it"
)]
fn set(name: &str, value: Option<&str>) {
    // SAFETY: the standard library locks the environment for its own functions, and
    // nothing in this program calls `getenv` of C, which would not.
    match value {
        Some(value) => unsafe { std::env::set_var(name, value) },
        None => unsafe { std::env::remove_var(name) },
    }
}

/// `hoiam config` with these variables alone.
fn hoiam_config(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hoiam"))
        .arg("config")
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn variables_set_keys_and_lists() {
    let config = load_with(
        &[
            ("HOIAM__SERVER__LISTEN", "127.0.0.1:0"),
            ("HOIAM__CALLBACK__SCHEDULE", "0,1,5"),
            ("HOIAM__TTS__ALIASES", "linh=espeak/vi"),
            ("HOIAM__DATA_DIR", "/elsewhere"),
        ],
        None,
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 0);
    assert_eq!(config.callback.schedule_total_s(), 6);
    assert_eq!(config.tts.aliases["linh"], "espeak/vi");
    assert_eq!(config.data_dir, Path::new("/elsewhere"));
}

#[test]
fn an_unknown_variable_is_refused() {
    let errors = load_with(&[("HOIAM__SERVER__LISTN", "127.0.0.1:0")], None).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("did you mean HOIAM__SERVER__LISTEN?"),
        "{errors}"
    );
}

#[test]
fn the_variable_names_the_file_and_the_flag_names_another() {
    let folder = tempfile::tempdir().unwrap();
    let (by_variable, by_flag) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
    std::fs::write(&by_variable, "tts.max_attempts = 7").unwrap();
    std::fs::write(&by_flag, "tts.max_attempts = 9").unwrap();
    let variable = [("HOIAM_CONFIG", by_variable.to_str().unwrap())];
    assert_eq!(load_with(&variable, None).unwrap().tts.max_attempts, 7);
    assert_eq!(
        load_with(&variable, Some(&by_flag))
            .unwrap()
            .tts
            .max_attempts,
        9
    );
}

#[test]
fn a_file_that_is_not_there_is_a_fault_and_not_a_default() {
    let errors = load_with(&[("HOIAM_CONFIG", "/nonexistent/hoiam.toml")], None).unwrap_err();
    assert!(
        errors.to_string().contains("/nonexistent/hoiam.toml"),
        "{errors}"
    );
}

#[test]
fn the_command_shows_values_with_their_sources_and_hides_secrets() {
    let key = "a-key-that-nobody-sees";
    let variables = [
        ("HOIAM__SERVER__API_KEYS", key),
        ("HOIAM__TTS__WORKERS", "2"),
    ];
    let output = hoiam_config(&variables, &["--json", "--set", "tts.workers=3"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(key));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(row("tts.workers")["value"], "3");
    assert_eq!(row("tts.workers")["source"], "flag");
    assert_eq!(
        row("server.api_keys")["source"],
        "env HOIAM__SERVER__API_KEYS"
    );
}

#[test]
fn the_command_ends_with_2_and_every_error() {
    let variables = [("HOIAM__TTS__WORKERS", "many"), ("HOIAM__WEATHER", "rain")];
    let output = hoiam_config(&variables, &[]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("2 faults") && told.contains("HOIAM__TTS__WORKERS"),
        "{told}"
    );
}

#[test]
fn the_reference_that_the_command_prints_is_itself_a_valid_file() {
    let reference = hoiam_config(&[], &["--reference"]).stdout;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hoiam.toml");
    std::fs::write(&path, reference).unwrap();
    let output = hoiam_config(&[], &["--config", path.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
