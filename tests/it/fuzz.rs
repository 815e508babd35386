//! The targets of `make fuzz`, briefly: each input that is kept in `fuzz/seeds`, and
//! some changes of them, which are always the same ones; more by `HOIAM_FUZZ_TIMES`.

use std::fs;
use std::path::Path;

use crate::chaos::from_env;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// Longer inputs are changed no more: they cost time and find little.
const MOST_BYTES: usize = 1_000;

/// Prints the input that a law was broken by.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the input, a change of {}:\n{}",
                self.0,
                self.1.escape_ascii()
            );
        }
    }
}

fn try_target(name: &str, changes: u64, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let listed = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read(path).unwrap())
    };
    let mut seeds: Vec<(String, Vec<u8>)> = listed.map(read).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{folder:?}");
    for (name, seed) in &seeds {
        let _shown = Shown(name, seed);
        check(seed);
    }
    let mut changes_of = Changes(20_261_130);
    for _ in 0..changes * from_env("HOIAM_FUZZ_TIMES", 1) {
        let (name, seed) = &seeds[changes_of.below(seeds.len())];
        let (_, other) = &seeds[changes_of.below(seeds.len())];
        let changed = changes_of.of(seed, other);
        let _shown = Shown(name, &changed);
        check(&changed);
    }
}

/// Changes of inputs by chance, after SplitMix64 (Steele, Lea and Flood, 2014).
struct Changes(u64);

impl Changes {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn part(&mut self, of: &[u8]) -> Vec<u8> {
        let start = self.below(of.len());
        let length = self.below(32).min(of.len() - start);
        of[start..start + length].to_vec()
    }

    fn of(&mut self, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = seed[..seed.len().min(MOST_BYTES)].to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = bytes.len().min(at + self.below(16));
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let part = self.part(other);
                    bytes.splice(at..at, part);
                }
                4 => {
                    let part = bytes[at..end].repeat(1 + self.below(20));
                    bytes.splice(at..at, part);
                }
                _ => {
                    let part = self.part(other);
                    bytes.splice(at..end, part);
                }
            }
        }
        bytes
    }
}

#[test]
fn reading_keeps_its_laws() {
    try_target("reading", 80, targets::reading::check);
}

#[test]
fn segmentation_keeps_its_laws() {
    try_target("segmentation", 1_500, targets::segmentation::check);
}

#[test]
fn subtitles_keep_their_laws() {
    try_target("subtitles", 700, targets::subtitles::check);
}

#[test]
fn requests_keep_their_laws() {
    try_target("requests", 2_000, targets::requests::check);
}

#[test]
fn urls_keep_their_laws() {
    try_target("urls", 1_500, targets::urls::check);
}

#[test]
fn frames_keep_their_laws() {
    try_target("frames", 500, targets::frames::check);
}

#[test]
fn voices_keep_their_laws() {
    try_target("voices", 150, targets::voices::check);
}

#[test]
fn models_of_neural_voices_keep_their_laws() {
    try_target("models", 1_000, targets::models::check);
}
