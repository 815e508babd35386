//! Networks run by rten, which is Rust and always there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use hoiam_text::SaturatingFrom as _;
use rten::{NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use super::{
    FRAMES, IDS, LENGTHS, LoadError, Model, NetworkError, NetworkOutput, SAMPLES, SCALES, SPEAKER,
};

pub(super) struct Network {
    network: rten::Model,
    ids: NodeId,
    lengths: NodeId,
    scales: NodeId,
    speaker: Option<NodeId>,
    samples: NodeId,
    frames: Option<NodeId>,
    threads: Arc<ThreadPool>,
}

impl Network {
    pub(super) fn load(path: &Path, threads: usize) -> Result<Self, LoadError> {
        let network =
            catch_unwind(|| rten::Model::load_file(path)).map_err(|_| LoadError::Panicked)??;
        let node = |name: &str| network.find_node(name);
        let needed = |name| node(name).ok_or(LoadError::Lacks(name));
        Ok(Self {
            ids: needed(IDS)?,
            lengths: needed(LENGTHS)?,
            scales: needed(SCALES)?,
            speaker: node(SPEAKER),
            samples: needed(SAMPLES)?,
            frames: node(FRAMES),
            threads: Arc::new(ThreadPool::with_num_threads(threads)),
            network,
        })
    }
}

impl Model for Network {
    fn speak(
        &self,
        ids: &[i32],
        scales: [f32; 3],
        speaker: Option<i32>,
    ) -> Result<NetworkOutput, NetworkError> {
        let length = i32::saturating_from(ids.len());
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
        let made = catch_unwind(run).map_err(|_| NetworkError::Panicked)??;
        let mut made = made.into_iter();
        let samples = floats(made.next())?;
        let frames = match self.frames {
            Some(_) => floats(made.next())?,
            None => Vec::new(),
        };
        NetworkOutput::new(samples, &frames)
    }
}

fn tensor<T>(shape: &[usize], values: Vec<T>) -> Result<ValueOrView<'static>, NetworkError>
where
    Value: From<rten_tensor::Tensor<T>>,
{
    let tensor = rten_tensor::Tensor::try_from_data(shape, values)?;
    Ok(Value::from(tensor).into())
}

fn floats(value: Option<Value>) -> Result<Vec<f32>, NetworkError> {
    let tensor = value.and_then(Value::into_tensor::<f32>);
    Ok(tensor.ok_or(NetworkError::Silent)?.into_data())
}
