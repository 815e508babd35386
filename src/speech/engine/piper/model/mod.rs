//! The neural network of a voice: numbers in, samples out, and how long each
//! number sounds.

#[cfg(feature = "onnxruntime")]
mod decoder;
#[cfg(feature = "onnxruntime")]
mod libonnxruntime;
#[cfg(feature = "onnxruntime")]
mod onnx;
#[cfg(feature = "onnxruntime")]
mod onnxruntime;
mod rten;

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

/// What runs networks.
#[derive(Clone, Copy)]
pub(super) enum Runtime {
    /// Built in.
    Rten,
    #[cfg(feature = "onnxruntime")]
    OnnxRuntime(&'static libonnxruntime::LibOnnxRuntime),
}

impl Runtime {
    /// ONNX Runtime where this program was built with it and its library can be
    /// opened, at the path if one is given. Else rten, and why.
    #[cfg(feature = "onnxruntime")]
    pub(super) fn open(library: Option<&Path>) -> (Self, Option<String>) {
        match libonnxruntime::LibOnnxRuntime::open(library) {
            Ok(library) => (Self::OnnxRuntime(library), None),
            Err(detail) => (Self::Rten, Some(detail)),
        }
    }

    /// Loads that library, for [`Runtime::open`] to find it without opening a file.
    #[cfg(feature = "onnxruntime")]
    pub(super) fn load_library(library: Option<&Path>) {
        libonnxruntime::load(library);
    }

    #[cfg(not(feature = "onnxruntime"))]
    pub(super) fn load_library(_: Option<&Path>) {}

    #[cfg(not(feature = "onnxruntime"))]
    pub(super) fn open(_: Option<&Path>) -> (Self, Option<String>) {
        (Self::Rten, None)
    }

    /// Loads a network that will run on so many threads. The error names the
    /// file.
    pub(super) fn load(self, path: &Path, threads: usize) -> Result<Box<dyn Model>, String> {
        Ok(match self {
            Self::Rten => Box::new(rten::Network::load(path, threads)?),
            #[cfg(feature = "onnxruntime")]
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
    fn speak(&self, ids: &[i32], scales: [f32; 3], speaker: Option<i32>) -> Result<Made, String>;
}

/// What came of one part of a sentence.
pub(super) struct Made {
    /// Mono, as loud as this network speaks.
    pub samples: Vec<f32>,
    /// For each number, and one past the last, the sample at which it begins;
    /// empty where the network does not tell.
    starts: Vec<usize>,
}

impl Made {
    /// Of the samples, and the frames that each number takes where the network
    /// tells.
    fn new(samples: Vec<f32>, frames: &[f32]) -> Self {
        let mut sum = 0;
        let ends = frames.iter().map(|frames| {
            sum += frames.max(0.0) as usize * FRAME_SAMPLES;
            sum
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Self { samples, starts }
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
#[cfg(feature = "onnxruntime")]
mod tests;
