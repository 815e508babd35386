//! The description beside a voice's model, as it lies on the disk. Options: none; the
//! text is the description.

use std::fs;

use hoiam_speech::engine::piper;
use hoiam_speech::{Engines, Sink, speak};
use hoiam_synthesizer::engines::Setup;
use hoiam_synthesizer::protocol::{FromChild, Hello, MAX_FRAME_BYTES, VERSION, encode};
use hoiam_synthesizer::voice_files;
use hoiam_text::{Format, Output, Request, SpeechError, Voice};

/// A network that makes one sample of each number: no text takes long with it.
const ECHO: &[u8] = include_bytes!("../models/echo.onnx");

pub fn check(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.onnx"), ECHO).expect("a file");
    fs::write(at("a.onnx.json"), data).expect("a file");
    fs::write(at("MODEL_CARD"), data).expect("a file");
    let found = voice_files::find(folder.path());
    assert_eq!(found.len(), 1);
    let checked = piper::check(&found[0]);
    if let Err(error) = &checked {
        let error = error.to_string();
        assert!(error.chars().count() < 600, "{error}");
    }
    // A list of all voices of eSpeak NG takes a while.
    if checked.is_err() && !data.is_empty() {
        return;
    }
    let mut engines = Engines::open(&Setup {
        voices_dir: Some(folder.path().to_owned()),
        threads: 1,
        ..Setup::default()
    });
    let neural = |voice: &Voice| voice.engine == piper::NAME;
    let voices: Vec<Voice> = engines.voices().into_iter().filter(neural).collect();
    assert_eq!(voices.len(), usize::from(checked.is_ok()));
    let told = engines.unavailable().into_iter();
    assert_eq!(
        told.filter(|(id, _)| id == "piper/a").count(),
        1 - voices.len()
    );
    for voice in &voices {
        can_be_told(voice);
        is_spoken_or_told_why(&mut engines, voice);
    }
}

fn can_be_told(voice: &Voice) {
    let speakers = voice.speakers.iter().map(String::as_str);
    let licence = voice.licence.as_deref();
    let texts = [&*voice.id, &voice.language, &voice.name];
    for text in texts.into_iter().chain(licence).chain(speakers) {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.chars().count() <= 400, "{text:?}");
    }
    assert!(voice.speakers.len() <= 10_000);
    assert!((8_000..=48_000).contains(&voice.sample_rate_hz));
    let hello = Hello {
        protocol: VERSION,
        build: String::new(),
        voices: vec![voice.clone()],
        unavailable: Vec::new(),
        limits: Vec::new(),
    };
    let mut out = Vec::new();
    encode(0, &FromChild::Hello(hello.fitted()), &mut out).expect("it fits");
    assert!(out.len() <= MAX_FRAME_BYTES);
}

struct Discard;

impl Sink for Discard {
    fn audio(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) -> bool {
        true
    }
}

fn is_spoken_or_told_why(engines: &mut Engines, voice: &Voice) {
    let output = Output {
        format: Format::Pcm,
        ..Output::default()
    };
    let last = voice.speakers.last();
    let id = last.map_or_else(|| voice.id.clone(), |last| format!("{}:{last}", voice.id));
    let text = "Xin chào, a b c. Toà nhà 24 tầng!";
    match speak(engines, &Request::plain(text, id, output), &mut Discard) {
        Ok(spoken) => assert!(spoken.duration_ms < 60_000, "{}", spoken.duration_ms),
        Err(error) => {
            let is_unknown = matches!(error, SpeechError::UnknownVoice { .. });
            assert!(
                !is_unknown,
                "a speaker that is listed can be asked for: {error}"
            );
        }
    }
}
