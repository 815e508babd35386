//! A wall clock that the test sets.

use std::process::Command;

use tempfile::TempDir;

use super::preload::library;

/// The wall clock of a service; it shows the machine's time until it is set.
pub struct Wall(TempDir);

impl Wall {
    /// A clock that has not been set.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// Sets it so many hours from the machine's, for the processes that run
    /// and for those to come.
    #[track_caller]
    pub fn set_off_by_hours(&self, hours: i64) {
        // Written elsewhere and moved, so that nobody reads half of it.
        let new = self.0.path().join("new");
        std::fs::write(&new, (hours * 3600).to_string()).expect("the clock");
        std::fs::rename(&new, self.0.path().join("seconds")).expect("the clock");
    }

    /// The program sees this clock.
    pub fn show(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library("wall_clock"))
            .env("WALL_CLOCK_FILE", self.0.path().join("seconds"));
    }
}
