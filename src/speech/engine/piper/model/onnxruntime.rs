//! Networks run by ONNX Runtime, in about 0.7 of the time that rten takes, where
//! its library is there.

use std::fs;
use std::path::Path;

use super::libonnxruntime::{Input, LibOnnxRuntime, Numbers, Session};
use super::{FRAMES, IDS, LENGTHS, Made, Model, SAMPLES, SCALES, SPEAKER, not_a_model};

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
    ) -> Result<Self, String> {
        let fault = |what: String| not_a_model(path, &what);
        let mut model = fs::read(path).map_err(|error| fault(error.to_string()))?;
        let own_bytes = model.len();
        model.extend(frames_are_an_output());
        // A network without that node is refused with it.
        let session = library
            .session(&model, threads)
            .or_else(|_| library.session(&model[..own_bytes], threads))
            .map_err(fault)?;
        let inputs = session.inputs().map_err(fault)?;
        let outputs = session.outputs().map_err(fault)?;
        let has = |names: &[String], name: &str| names.iter().any(|there| there == name);
        for (names, name) in [
            (&inputs, IDS),
            (&inputs, LENGTHS),
            (&inputs, SCALES),
            (&outputs, SAMPLES),
        ] {
            if !has(names, name) {
                return Err(fault(format!("it has no `{name}`")));
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
    fn speak(&self, ids: &[i32], scales: [f32; 3], speaker: Option<i32>) -> Result<Made, String> {
        let ids: Vec<i64> = ids.iter().copied().map(i64::from).collect();
        let length = i64::try_from(ids.len()).map_err(|error| error.to_string())?;
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
        let made = self.session.run(&inputs, outputs);
        let made = made.map_err(|error| format!("the network of the voice failed: {error}"))?;
        let mut made = made.into_iter();
        let samples = made.next().unwrap_or_default();
        Ok(Made::new(samples, &made.next().unwrap_or_default()))
    }
}

/// What makes the frames an output of a network when it is appended to its
/// file. Outputs are all that ONNX Runtime gives, and in a file of protobuf
/// what comes later is added to a list: `ModelProto.graph.output[].name`.
fn frames_are_an_output() -> Vec<u8> {
    field(7, &field(12, &field(1, FRAMES.as_bytes())))
}

/// A field of a protobuf message that holds a text or a message. None here is
/// as long as 128 bytes, from where on the length takes a second one.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    const LENGTH_FOLLOWS: u8 = 2;
    let length = content.len() as u8;
    [&[number << 3 | LENGTH_FOLLOWS, length], content].concat()
}
