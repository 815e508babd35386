//! Networks run by ONNX Runtime, in about 0.6 of the time that rten takes, where
//! its library is there.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use hoiam_text::SaturatingFrom as _;
use prost::{DecodeError, Message};

use super::decoder;
use super::libonnxruntime::{Input, LibOnnxRuntime, Numbers, Session};
use super::onnx::{self, Value};
use super::{
    FRAMES, IDS, LENGTHS, LoadError, Model, NetworkError, NetworkOutput, SAMPLES, SCALES, SPEAKER,
};

pub(super) struct Network {
    session: Session,
    has_speakers: bool,
    tells_frames: bool,
}

impl Network {
    pub(super) fn load(
        library: &'static LibOnnxRuntime,
        path: &Path,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let session = |model: &[u8]| Ok(library.session(model, threads)?);
        let prepared = |wide| session(&prepared(fs::read(path)?, wide)?);
        // A network that is not as expected keeps its decoder, or all that it is.
        let session = prepared(true)
            .or_else(|_| prepared(false))
            .or_else(|_: LoadError| session(&fs::read(path)?))?;
        Self::of(session)
    }

    pub(super) fn of(session: Session) -> Result<Self, LoadError> {
        let inputs = session.inputs()?;
        let outputs = session.outputs()?;
        let has = |names: &[String], name: &str| names.iter().any(|there| there == name);
        for (names, name) in [
            (&inputs, IDS),
            (&inputs, LENGTHS),
            (&inputs, SCALES),
            (&outputs, SAMPLES),
        ] {
            if !has(names, name) {
                return Err(LoadError::Lacks(name));
            }
        }
        Ok(Self {
            has_speakers: has(&inputs, SPEAKER),
            tells_frames: has(&outputs, FRAMES),
            session,
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
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        let length = i64::saturating_from(ids.len());
        let speaker = i64::from(speaker.unwrap_or(0));
        let (length, speaker) = ([length], [speaker]);
        let input = |name, shape, numbers| Input {
            name,
            shape,
            numbers,
        };
        let shape = [1, length[0]];
        let mut inputs = vec![
            input(IDS, &shape[..], Numbers::Whole(&ids)),
            input(LENGTHS, &[1], Numbers::Whole(&length)),
            input(SCALES, &[3], Numbers::Real(&scales)),
        ];
        if self.has_speakers {
            inputs.push(input(SPEAKER, &[1], Numbers::Whole(&speaker)));
        }
        let outputs: &[&str] = if self.tells_frames {
            &[SAMPLES, FRAMES]
        } else {
            &[SAMPLES]
        };
        let mut made = self.session.run(&inputs, outputs)?.into_iter();
        let samples = made.next().unwrap_or_default();
        NetworkOutput::new(samples, &made.next().unwrap_or_default())
    }
}

/// The file of a network with the frames among its outputs, which are all that
/// ONNX Runtime gives, and with a `wide` decoder, where that is faster. On ARM
/// it is not known to be.
///
/// # Errors
///
/// Where it is not a network's.
pub fn prepared(model: Vec<u8>, wide: bool) -> Result<Vec<u8>, DecodeError> {
    let mut model = onnx::Model::decode(Bytes::from(model))?;
    let can_be_wide = model.operators_version() >= decoder::OPERATORS_VERSION;
    if let Some(graph) = &mut model.graph {
        if graph.makes(FRAMES) {
            graph.outputs.push(Value::named(FRAMES));
        }
        if wide && can_be_wide && cfg!(target_arch = "x86_64") {
            decoder::widen(graph);
        }
    }
    Ok(model.encode_to_vec())
}
