//! A voice is tried before it is offered: by a child, as it will be spoken with.
//! Its files may come from anywhere, and have that child do whatever they like.

use std::future::pending;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hoiam_speech::engine::piper;
use hoiam_synthesizer::parent::{Events, Options, SpeakError, Synthesizer};
use hoiam_text::{Output, Request, SpeechError};

use super::super::error::CliError;
use crate::config::{Config, Tts};

/// For a word. A slow machine loads a large model in some seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Why a voice cannot be used.
#[derive(Debug, thiserror::Error)]
enum TrialError {
    /// It cannot be opened, in the words of the child that tried it.
    #[error("{0}")]
    Unavailable(String),
    /// It can be opened and says nothing.
    #[error(transparent)]
    Engine(SpeechError),
    /// It costs the child that speaks.
    #[error("the voice cannot be spoken with: {0}")]
    Child(#[source] SpeakError),
}

impl From<TrialError> for CliError {
    fn from(error: TrialError) -> Self {
        Self::own(error)
    }
}

/// Has the voice of this name, the only one in the folder, say a word.
pub(super) async fn try_voice(folder: &Path, name: &str, config: &Config) -> Result<(), CliError> {
    let tts = Tts {
        voices_dir: folder.to_owned(),
        ..config.tts.clone()
    };
    let mut synthesizer = Synthesizer::new(Options::for_engines(tts.engines()));
    let ready = synthesizer.ensure_started().await?;
    let id = format!("{}/{name}", piper::NAME);
    let mut unavailable = ready.hello.unavailable.iter();
    if let Some((_, detail)) = unavailable.find(|(missing, _)| *missing == id) {
        return Err(TrialError::Unavailable(detail.clone()).into());
    }
    // Where it is, what is missing is the model's own.
    let has_phonemes = !ready
        .hello
        .unavailable
        .iter()
        .any(|(name, _)| name == "espeak");
    let request = Request::plain("A.", id, Output::default());
    let spoken = synthesizer
        .speak(&request, LIMIT, &mut Unheard, pending())
        .await;
    synthesizer.stop().await;
    match spoken {
        // The model was loaded before a library was missing, which is no fault of the voice.
        Ok(_) => Ok(()),
        Err(SpeakError::Engine(SpeechError::EngineUnavailable { .. })) if !has_phonemes => Ok(()),
        Err(SpeakError::Engine(error)) => Err(TrialError::Engine(error).into()),
        Err(error) => Err(TrialError::Child(error).into()),
    }
}

/// Only that it can be made matters.
struct Unheard;

impl Events for Unheard {
    async fn audio(&mut self, _: Bytes) -> io::Result<()> {
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) {}
}
