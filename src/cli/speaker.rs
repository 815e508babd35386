//! A synthesizer child of a command's own, for commands that need no service.

use hoiam_api::{Create, FieldErrors};
use hoiam_speech::engine::piper;
use hoiam_synthesizer::parent::{Options, StartError, Synthesizer};
use hoiam_synthesizer::protocol::Hello;

use crate::config::Config;
use crate::tts::voices::{Resolved, Voices};

/// A child that has started, and the voices it has.
pub struct Speaker {
    /// Speaks.
    pub synthesizer: Synthesizer,
    /// Under their names here, aliases and defaults of the configuration included.
    pub voices: Voices,
    /// What the child said of itself.
    pub hello: Hello,
}

impl Speaker {
    /// Starts a child.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let mut synthesizer = Synthesizer::new(Options::for_engines(config.tts.engines()));
        let hello = synthesizer.ensure_started().await?.hello.clone();
        let voices = Voices::new(
            config.tts.aliases.clone(),
            config.tts.default_voices.clone(),
        );
        voices.offer(&hello);
        Ok(Self {
            synthesizer,
            voices,
            hello,
        })
    }

    /// The voice of a request, as a service would choose it; what is wrong goes
    /// to `errors`.
    pub fn resolve(&self, create: &Create, errors: &mut FieldErrors) -> Option<Resolved> {
        let resolved = self.voices.resolve(create, errors);
        if resolved.is_none() && errors.is_empty() {
            // A service that has no voice at all refuses none.
            errors.add("/voice", "no_voices", "There is no voice on this machine.");
        }
        resolved
    }

    /// One line for each engine or voice that is not there, with the way out.
    pub fn missing(&self) -> Vec<String> {
        let missing = self.hello.unavailable.iter();
        missing
            .filter(|(name, _)| name != piper::ONNX_RUNTIME)
            .map(|(name, detail)| match name.contains('/') {
                true => format!("The voice {name} cannot be used: {detail}"),
                false => format!("The engine {name} is missing: {detail}"),
            })
            .collect()
    }
}

/// Why no child could be started, for people.
pub fn not_started(error: &StartError) -> String {
    let last_words = match error.stderr_tail.trim() {
        "" => String::new(),
        said => format!("\n  it said: {}", said.replace('\n', "\n    ")),
    };
    format!("{error}{last_words}\n  `hoiam doctor` looks for the cause")
}
