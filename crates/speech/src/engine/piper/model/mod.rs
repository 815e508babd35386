//! The neural network of a voice: numbers in, samples out, and how long each
//! number sounds.

mod decoder;
mod libonnxruntime;
mod onnx;
mod onnxruntime;
mod rten;

pub use onnxruntime::prepared as prepared_for_onnx_runtime;

use std::fmt::Display;
use std::path::Path;

/// What a network is given and gives back, by the names that Piper's own tool
/// exports every voice with.
const IDS: &str = "input";
const LENGTHS: &str = "input_lengths";
const SCALES: &str = "scales";
/// Only voices of many speakers have it.
const SPEAKER: &str = "sid";
const SAMPLES: &str = "output";

/// Where the network knows how many frames each number takes: the one place
/// where it rounds up (Piper's `docs/ALIGNMENTS.md`).
const FRAMES: &str = "/Ceil_output_0";

/// Samples in one frame, in every voice of Piper's (`hop_length`).
const FRAME_SAMPLES: usize = 256;

/// The most samples that a network may make of one part of a sentence: five minutes
/// at the highest rate. The longest of real ones are 12 s, slowed down a few times.
const MOST_SAMPLES: usize = 5 * 60 * 48_000;

/// What runs networks.
#[derive(Clone, Copy)]
pub(super) enum Runtime {
    /// Built in.
    Rten,
    OnnxRuntime(&'static libonnxruntime::LibOnnxRuntime),
}

impl Runtime {
    /// ONNX Runtime where its library can be opened, at the path if one is given.
    /// Else rten, and why.
    pub(super) fn open(library: Option<&Path>) -> (Self, Option<String>) {
        match libonnxruntime::LibOnnxRuntime::open(library) {
            Ok(library) => (Self::OnnxRuntime(library), None),
            Err(detail) => (Self::Rten, Some(detail)),
        }
    }

    /// Loads that library, for [`Runtime::open`] to find it without opening a file.
    pub(super) fn load_library(library: Option<&Path>) {
        libonnxruntime::load(library);
    }

    /// Loads a network that will run on so many threads. The error names the
    /// file.
    pub(super) fn load(self, path: &Path, threads: usize) -> Result<Box<dyn Model>, String> {
        Ok(match self {
            Self::Rten => Box::new(rten::Network::load(path, threads)?),
            Self::OnnxRuntime(library) => {
                Box::new(onnxruntime::Network::load(library, path, threads)?)
            }
        })
    }
}

/// A network in memory.
pub(super) trait Model: Send {
    /// Speaks a part of a sentence. All of its sound is held, and about 1.8 MB
    /// for each number while it is made.
    fn speak(
        &self,
        ids: &[i32],
        scales: [f32; 3],
        speaker: Option<i32>,
    ) -> Result<NetworkOutput, String>;
}

/// What came of one part of a sentence.
pub(super) struct NetworkOutput {
    /// Mono, as loud as this network speaks.
    pub samples: Vec<f32>,
    /// For each number, and one past the last, the sample at which it begins;
    /// empty where the network does not tell.
    starts: Vec<usize>,
}

impl NetworkOutput {
    /// Of the samples, and the frames that each number takes where the network
    /// tells.
    fn new(samples: Vec<f32>, frames: &[f32]) -> Result<Self, String> {
        if samples.len() > MOST_SAMPLES {
            let made = samples.len();
            return Err(format!(
                "the network of the voice made {made} samples at once"
            ));
        }
        let mut sum: usize = 0;
        let ends = frames.iter().map(|frames| {
            let samples_of = (frames.max(0.0) as usize).saturating_mul(FRAME_SAMPLES);
            sum = sum.saturating_add(samples_of).min(samples.len());
            sum
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Ok(Self { samples, starts })
    }

    /// The sample at which a number begins to sound.
    pub(super) fn starts_at(&self, number: usize) -> usize {
        self.starts.get(number).copied().unwrap_or(0)
    }
}

/// Why a file cannot be loaded.
fn not_a_model(path: &Path, what: &dyn Display) -> String {
    format!(
        "{} is not the model of a Piper voice: {what}",
        path.display()
    )
}

#[cfg(test)]
mod made {
    use super::*;

    #[test]
    fn a_network_that_lies_about_its_frames_points_at_its_samples_all_the_same() {
        let frames = [1.0, f32::NAN, -3.0, f32::INFINITY, f32::MAX, 2.0];
        let made = NetworkOutput::new(vec![0.0; 1000], &frames).unwrap();
        assert_eq!(made.starts, [0, 256, 256, 256, 1000, 1000, 1000]);
        assert!(NetworkOutput::new(vec![0.0; MOST_SAMPLES + 1], &[]).is_err());
    }
}

#[cfg(test)]
mod tests;
