//! The neural network of a voice: numbers in, samples out, and how long each
//! number sounds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rten::{NodeId, RunOptions, ThreadPool, Value, ValueOrView};

/// Where the network knows how many frames each number takes: the one place
/// where it rounds up (Piper's `docs/ALIGNMENTS.md`). The name is that of every
/// voice exported by Piper's own tool.
const FRAMES: &str = "/Ceil_output_0";

/// Samples in one frame, in every voice of Piper's (`hop_length`).
const FRAME_SAMPLES: usize = 256;

/// A network in memory.
pub(super) struct Model {
    network: rten::Model,
    ids: NodeId,
    lengths: NodeId,
    scales: NodeId,
    /// Only voices of many speakers have it.
    speaker: Option<NodeId>,
    samples: NodeId,
    frames: Option<NodeId>,
    threads: Arc<ThreadPool>,
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
    /// The sample at which a number begins to sound.
    pub(super) fn starts_at(&self, number: usize) -> usize {
        self.starts.get(number).copied().unwrap_or(0)
    }
}

impl Model {
    /// Loads a network that will run on so many threads. The error names the
    /// file.
    pub(super) fn load(path: &Path, threads: usize) -> Result<Self, String> {
        let fault = |what: &dyn std::fmt::Display| {
            format!(
                "{} is not the model of a Piper voice: {what}",
                path.display()
            )
        };
        let network = catch_unwind(|| rten::Model::load_file(path))
            .map_err(|_| fault(&"it cannot be understood"))?
            .map_err(|error| fault(&error))?;
        let node = |name: &str| network.find_node(name);
        let needed = |name: &str| node(name).ok_or_else(|| fault(&format!("it has no `{name}`")));
        Ok(Self {
            ids: needed("input")?,
            lengths: needed("input_lengths")?,
            scales: needed("scales")?,
            speaker: node("sid"),
            samples: needed("output")?,
            frames: node(FRAMES),
            threads: Arc::new(ThreadPool::with_num_threads(threads)),
            network,
        })
    }

    /// Speaks a part of a sentence. All of its sound is held, and about 1.8 MB
    /// for each number while it is made.
    pub(super) fn speak(
        &self,
        ids: &[i32],
        scales: [f32; 3],
        speaker: Option<i32>,
    ) -> Result<Made, String> {
        let length = i32::try_from(ids.len()).map_err(|error| error.to_string())?;
        let mut inputs = vec![
            (self.ids, tensor(&[1, ids.len()], ids.to_vec())?),
            (self.lengths, tensor(&[1], vec![length])?),
            (self.scales, tensor(&[3], scales.to_vec())?),
        ];
        if let Some(node) = self.speaker {
            inputs.push((node, tensor(&[1], vec![speaker.unwrap_or(0)])?));
        }
        let outputs: Vec<NodeId> = [self.samples].into_iter().chain(self.frames).collect();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.threads)));
        // A text can make a network take a path that was never tried.
        let run = AssertUnwindSafe(|| self.network.run(inputs, &outputs, Some(options)));
        let made = catch_unwind(run)
            .map_err(|_| "the network of the voice failed on this text".to_owned())?
            .map_err(|error| format!("the network of the voice failed: {error}"))?;
        let mut made = made.into_iter();
        let samples = floats(made.next())?;
        let frames = match self.frames {
            Some(_) => floats(made.next())?,
            None => Vec::new(),
        };
        Ok(Made {
            samples,
            starts: starts(&frames),
        })
    }
}

fn tensor<T>(shape: &[usize], values: Vec<T>) -> Result<ValueOrView<'static>, String>
where
    Value: From<rten_tensor::Tensor<T>>,
{
    let tensor = rten_tensor::Tensor::try_from_data(shape, values);
    let tensor = tensor.map_err(|error| error.to_string())?;
    Ok(Value::from(tensor).into())
}

fn floats(value: Option<Value>) -> Result<Vec<f32>, String> {
    let tensor = value.and_then(Value::into_tensor::<f32>);
    let tensor = tensor.ok_or("the network of the voice made no sound")?;
    Ok(tensor.into_data())
}

fn starts(frames: &[f32]) -> Vec<usize> {
    let mut sum = 0;
    let ends = frames.iter().map(|frames| {
        sum += frames.max(0.0) as usize * FRAME_SAMPLES;
        sum
    });
    std::iter::once(0).chain(ends).collect()
}
