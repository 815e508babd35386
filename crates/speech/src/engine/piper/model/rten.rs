//! Networks run by rten, which is Rust and always there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rten::{NodeId, RunOptions, ThreadPool, Value, ValueOrView};

use super::{FRAMES, IDS, LENGTHS, Model, NetworkOutput, SAMPLES, SCALES, SPEAKER, not_a_model};

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
    pub(super) fn load(path: &Path, threads: usize) -> Result<Self, String> {
        let network = catch_unwind(|| rten::Model::load_file(path))
            .map_err(|_| not_a_model(path, &"it cannot be understood"))?
            .map_err(|error| not_a_model(path, &error))?;
        let node = |name: &str| network.find_node(name);
        let needed = |name: &str| {
            node(name).ok_or_else(|| not_a_model(path, &format!("it has no `{name}`")))
        };
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
    ) -> Result<NetworkOutput, String> {
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
        NetworkOutput::new(samples, &frames)
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
