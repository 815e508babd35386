//! What engines do to their children: logged and counted, so that an operator sees
//! which voice falls over which text.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::lock;
use crate::parent::SpeakError;

/// Children lost since the process started, by engine and by how: `crash` or
/// `overrun`.
#[derive(Clone, Default)]
pub struct Crashes(Arc<Mutex<Counts>>);

type Counts = BTreeMap<(String, &'static str), u64>;

/// Where an engine was when its child was lost.
pub enum At {
    /// In this sentence, counted from 0.
    Sentence(u32),
    /// In this one or soon after it: what a child says last may die with it.
    SoonAfter(u32),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sentence(sentence) => write!(f, "in sentence {sentence} (counted from 0)"),
            Self::SoonAfter(sentence) => {
                write!(
                    f,
                    "in sentence {sentence} (counted from 0) or soon after it"
                )
            }
        }
    }
}

impl Crashes {
    /// Logs and counts an error, if it has cost a child.
    pub fn note(&self, job: Uuid, voice: &str, at: At, error: &SpeakError) {
        let how = match error {
            SpeakError::Crashed { .. } => "crash",
            SpeakError::Overran { .. } => "overrun",
            _ => return,
        };
        log::warn!("speech {job}, voice {voice}: {error}, {at}");
        let engine = voice.split('/').next().unwrap_or_default().to_owned();
        *lock(&self.0).entry((engine, how)).or_default() += 1;
    }

    /// The counts of this moment.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(String, &'static str), u64> {
        lock(&self.0).clone()
    }
}
