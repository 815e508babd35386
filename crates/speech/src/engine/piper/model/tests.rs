//! The same network by both runtimes. Where the library is not found, and
//! `HOIAM_TEST_ONNXRUNTIME` is not its path, only what comes of that is tested.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use bytes::Bytes;
use hoiam_text::{Format, Output, Request, Synthesis};
use prost::Message;

use super::super::super::super::{Sink, speak};
use super::super::super::{Engines, Setup};
use super::libonnxruntime::LibOnnxRuntime;
use super::*;

const NAME: &str = "en_US-joe-medium";
const NOT_THERE: &str = "/nowhere/libonnxruntime.so";

/// `make voice` puts it there.
fn model() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-voices");
    let model = folder.join(format!("{NAME}.onnx"));
    assert!(model.exists(), "there is no test voice; run: make voice");
    model
}

fn named_library() -> Option<PathBuf> {
    std::env::var_os("HOIAM_TEST_ONNXRUNTIME").map(PathBuf::from)
}

/// `None` where the library is not there, unless it was named.
pub(super) fn library() -> Option<&'static LibOnnxRuntime> {
    static OPENED: OnceLock<Option<&LibOnnxRuntime>> = OnceLock::new();
    *OPENED.get_or_init(|| {
        let named = named_library();
        match LibOnnxRuntime::open(named.as_deref()) {
            Ok(library) => Some(library),
            Err(error) => {
                assert_eq!(named, None, "{error}");
                eprintln!("left out: {error}");
                None
            }
        }
    })
}

fn onnx_runtime() -> Option<Runtime> {
    library().map(Runtime::OnnxRuntime)
}

/// Numbers as of a text, each with a pad behind it.
fn ids(count: i32) -> Vec<i32> {
    let symbols = (0..count).flat_map(|symbol| [3 + symbol * 7 % 50, 0]);
    [1, 0].into_iter().chain(symbols).chain([2]).collect()
}

fn assert_same(one: &NetworkOutput, other: &NetworkOutput, within: f32) {
    assert_eq!(one.starts, other.starts);
    assert_eq!(one.samples.len(), other.samples.len());
    let pairs = one.samples.iter().zip(&other.samples);
    let most = pairs.fold(0.0_f32, |most, (one, other)| most.max((one - other).abs()));
    assert!(most < within, "samples are up to {most} apart");
}

#[test]
fn both_runtimes_make_the_same_of_the_same_numbers() {
    let Some(onnx_runtime) = onnx_runtime() else {
        return;
    };
    let rten = Runtime::Rten.load(&model(), 1).unwrap();
    for threads in [1, 2] {
        let other = onnx_runtime.load(&model(), threads).unwrap();
        for count in [1, 40, 3] {
            // Without noise nothing is left to chance.
            let speak = |model: &dyn Model| model.speak(&ids(count), [0.0, 1.0, 0.0], None);
            let one = speak(rten.as_ref()).unwrap();
            assert_eq!(one.starts.len(), ids(count).len() + 1);
            assert_same(&one, &speak(other.as_ref()).unwrap(), 1e-3);
        }
    }
}

#[test]
fn the_whole_decoder_of_a_voice_is_wide() {
    let bytes = fs::read(model()).unwrap();
    let count = |wide| {
        let network = onnxruntime::prepared(bytes.clone(), wide).unwrap();
        let graph = onnx::Model::decode(Bytes::from(network))
            .unwrap()
            .graph
            .unwrap();
        let of = |operator: &str| {
            let nodes = graph
                .nodes
                .iter()
                .filter(|node| node.operator() == operator);
            nodes.count() as i32
        };
        [
            "Unsqueeze",
            "Squeeze",
            "Div",
            "Add",
            "LeakyRelu",
            "ConvTranspose",
            "Conv",
        ]
        .map(of)
    };
    let (wide, plain) = (count(true), count(false));
    let more: Vec<i32> = wide
        .iter()
        .zip(plain)
        .map(|(wide, plain)| wide - plain)
        .collect();
    // Values are given the second dimension and lose it once, on the way in and
    // out. The three divisions are convolutions, and others by 1 stand behind
    // the three transposed ones and before 12 of the 16 activations.
    if cfg!(target_arch = "x86_64") {
        assert_eq!(more, [1, 1, -3, 0, 0, 0, 18]);
    } else {
        assert_eq!(more, [0; 7]);
    }
}

#[test]
fn a_wide_decoder_makes_the_same_of_the_same_numbers() {
    let Some(library) = library() else {
        return;
    };
    let bytes = fs::read(model()).unwrap();
    let networks = [true, false].map(|wide| onnxruntime::prepared(bytes.clone(), wide).unwrap());
    let [wide, plain] = networks.map(|network| {
        let session = library.session(&network, 1).unwrap();
        onnxruntime::Network::of(session).unwrap()
    });
    for count in [1, 40, 3] {
        let speak = |network: &onnxruntime::Network| {
            network.speak(&ids(count), [0.0, 1.0, 0.0], None).unwrap()
        };
        assert_same(&speak(&plain), &speak(&wide), 1e-5);
    }
}

#[test]
fn a_network_that_is_refused_with_a_wide_decoder_speaks_with_its_own() {
    let Some(onnx_runtime) = onnx_runtime() else {
        return;
    };
    let mut network = onnx::Model::decode(Bytes::from(fs::read(model()).unwrap())).unwrap();
    let graph = network.graph.as_mut().unwrap();
    // Weights may be inputs too, whose shape is then said twice.
    let weights = graph.initializers.iter();
    let weights = weights.filter(|tensor| tensor.dimensions.len() == 3);
    let inputs = weights.map(|tensor| {
        let dimensions = tensor
            .dimensions
            .iter()
            .copied()
            .map(onnx::Dimension::known);
        onnx::Value::floats(tensor.name(), dimensions.collect())
    });
    graph.inputs.extend(inputs);
    let bytes = network.encode_to_vec();
    let wide = onnxruntime::prepared(bytes.clone(), true).unwrap();
    let refused = library().unwrap().session(&wide, 1).err();
    assert_eq!(refused.is_some(), cfg!(target_arch = "x86_64"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    fs::write(&path, bytes).unwrap();
    let speak = |path: &Path| {
        let model = onnx_runtime.load(path, 1).unwrap();
        model.speak(&ids(5), [0.0, 1.0, 0.0], None).unwrap()
    };
    let made = speak(&path);
    assert_eq!(made.starts.len(), ids(5).len() + 1);
    assert_same(&speak(&model()), &made, 1e-5);
}

#[test]
fn a_network_that_does_not_tell_its_frames_speaks_all_the_same() {
    let Some(onnx_runtime) = onnx_runtime() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let mut bytes = fs::read(model()).unwrap();
    let mut from = 0;
    let name = FRAMES.as_bytes();
    while let Some(at) = bytes[from..]
        .windows(name.len())
        .position(|part| part == name)
    {
        from += at + 1;
        bytes[from] = b'X';
    }
    fs::write(&path, bytes).unwrap();
    let speak = |runtime: Runtime| {
        let model = runtime.load(&path, 1).unwrap();
        model.speak(&ids(5), [0.0, 1.0, 0.0], None).unwrap()
    };
    let made = speak(onnx_runtime);
    assert_eq!(made.starts, [0]);
    assert_same(&speak(Runtime::Rten), &made, 1e-3);
}

#[test]
fn a_file_that_is_no_network_is_refused_with_its_name() {
    let Some(onnx_runtime) = onnx_runtime() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    for bytes in [&b"no network"[..], b""] {
        fs::write(&path, bytes).unwrap();
        let error = onnx_runtime.load(&path, 1).err().unwrap().to_string();
        assert!(error.contains("x.onnx is not the model"), "{error}");
    }
}

#[test]
fn a_library_that_cannot_be_used_is_told_with_the_way_out() {
    for (path, why) in [(NOT_THERE, NOT_THERE), ("libm.so.6", "OrtGetApiBase")] {
        let (_, error) = Runtime::open(Some(Path::new(path)));
        let error = error.unwrap();
        assert!(error.contains("tts.onnxruntime_library"), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

/// Counts nothing and keeps nothing.
struct Unheard;

impl Sink for Unheard {
    fn audio(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) -> bool {
        true
    }
}

/// What a text comes to with the library at this path, and whether it was used.
fn spoken(voices: &Path, library: Option<PathBuf>) -> (Synthesis, bool) {
    let mut engines = Engines::open(&Setup {
        voices_dir: Some(voices.to_owned()),
        onnxruntime_library: library,
        ..Setup::default()
    });
    let missing = engines.unavailable();
    let is_used = !missing.iter().any(|(name, _)| name == "onnxruntime");
    let output = Output {
        format: Format::Wav,
        ..Output::default()
    };
    let text = "The ferry leaves at noon, or later. Nobody knows, not even Peter.";
    let request = Request::plain(text, format!("piper/{NAME}"), output);
    (
        speak(&mut engines, &request, &mut Unheard).unwrap(),
        is_used,
    )
}

#[test]
fn words_have_the_same_times_and_without_the_library_rten_speaks() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join(format!("{NAME}.onnx"));
    std::os::unix::fs::symlink(model(), here).unwrap();
    let description = fs::read_to_string(model().with_extension("onnx.json")).unwrap();
    let mut description: serde_json::Value = serde_json::from_str(&description).unwrap();
    description["inference"]["noise_scale"] = 0.into();
    description["inference"]["noise_w"] = 0.into();
    let path = folder.path().join(format!("{NAME}.onnx.json"));
    fs::write(path, description.to_string()).unwrap();

    let (one, is_used) = spoken(folder.path(), Some(NOT_THERE.into()));
    assert!(!is_used);
    assert_eq!(one.words.len(), 12);
    if onnx_runtime().is_some() {
        let (other, is_used) = spoken(folder.path(), named_library());
        assert!(is_used);
        assert_eq!(one.duration_ms, other.duration_ms);
        assert_eq!(one.words, other.words);
    }
}
