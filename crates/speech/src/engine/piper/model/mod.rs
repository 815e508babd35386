//! The neural network of a voice: numbers in, samples out, and how long each
//! number sounds.

mod decoder;
mod libonnxruntime;
mod onnx;
mod onnxruntime;
mod rten;

pub use onnxruntime::prepared as prepared_for_onnx_runtime;

use std::io;
use std::path::{Path, PathBuf};

use libonnxruntime::{LibOnnxRuntime, OnnxRuntimeError};

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
    OnnxRuntime(&'static LibOnnxRuntime),
}

impl Runtime {
    /// ONNX Runtime where its library can be opened, at the path if one is given.
    /// Else rten, and why, with the way out.
    pub(super) fn open(library: Option<&Path>) -> (Self, Option<String>) {
        match LibOnnxRuntime::open(library) {
            Ok(library) => (Self::OnnxRuntime(library), None),
            Err(error) => {
                let told = format!(
                    "rten speaks in its place, which takes longer; Debian's package \
                     libonnxruntime-dev (from 13 on) and Python's onnxruntime bring the \
                     library, whose path tts.onnxruntime_library can be: {error}"
                );
                (Self::Rten, Some(told))
            }
        }
    }

    /// Loads that library, for [`Runtime::open`] to find it without opening a file.
    pub(super) fn load_library(library: Option<&Path>) {
        libonnxruntime::load(library);
    }

    /// Loads a network that will run on so many threads.
    pub(super) fn load(self, path: &Path, threads: usize) -> Result<Box<dyn Model>, NotAModel> {
        let loaded: Result<Box<dyn Model>, LoadError> = match self {
            Self::Rten => rten::Network::load(path, threads).map(|network| Box::new(network) as _),
            Self::OnnxRuntime(library) => onnxruntime::Network::load(library, path, threads)
                .map(|network| Box::new(network) as _),
        };
        loaded.map_err(|source| NotAModel {
            path: path.to_owned(),
            source,
        })
    }
}

/// A file that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{} is not the model of a Piper voice: {source}", path.display())]
pub(super) struct NotAModel {
    path: PathBuf,
    source: LoadError,
}

/// Why a network cannot be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Undecodable(#[from] prost::DecodeError),
    #[error(transparent)]
    OnnxRuntime(#[from] OnnxRuntimeError),
    #[error(transparent)]
    Rten(#[from] ::rten::LoadError),
    /// Loading it panicked.
    #[error("it cannot be understood")]
    Panicked,
    /// An input or output that every voice has.
    #[error("it has no `{0}`")]
    Lacks(&'static str),
}

/// Why a network does not speak.
#[derive(Debug, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("the network of the voice failed: {0}")]
    OnnxRuntime(#[from] OnnxRuntimeError),
    #[error("the network of the voice failed: {0}")]
    Rten(#[from] ::rten::RunError),
    #[error("the network of the voice failed on this text")]
    Panicked,
    /// What it is given is not of the shape that is said.
    #[error(transparent)]
    Shape(#[from] rten_tensor::errors::FromDataError),
    #[error("the network of the voice made no sound")]
    Silent,
    /// So many samples are more than any sentence has.
    #[error("the network of the voice made {0} samples at once")]
    TooLong(usize),
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
    ) -> Result<NetworkOutput, NetworkError>;
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
    fn new(samples: Vec<f32>, frames: &[f32]) -> Result<Self, NetworkError> {
        if samples.len() > MOST_SAMPLES {
            return Err(NetworkError::TooLong(samples.len()));
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
