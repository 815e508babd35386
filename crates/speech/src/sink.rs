//! Where what is spoken goes: sentences from an engine, the file from here.

use std::ops::Range;

use hoiam_text::SpeechError;
use hoiam_text::segmentation::Sentence;

/// One sentence, spoken and not yet on any track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpokenSentence {
    /// As the voice has spoken it, with the voice's own sample rate.
    pub pcm: Vec<i16>,
    /// For each word of the sentence, from which to which sample it is heard.
    pub words: Vec<Range<usize>>,
}

/// Where [`speak`](super::speak) sends what it makes while it makes it.
pub trait Sink {
    /// The next bytes of the file. An error ends the work.
    fn audio(&mut self, bytes: &[u8]) -> std::io::Result<()>;
    /// So many of so many sentences are done. `false` ends the work as
    /// [`SpeechError::Canceled`].
    fn progress(&mut self, done: u32, total: u32) -> bool;
    /// A sentence, counted from 0, that somebody else has spoken; waits for one
    /// that somebody else is speaking. `None` where it is ours.
    fn prefetched(&mut self, _sentence: u32) -> Option<SpokenSentence> {
        None
    }
    /// A sentence, counted from 0, that was spoken here: its samples, and for each of
    /// its words from which to which of them it is heard.
    fn sentence(&mut self, _sentence: u32, _pcm: &[i16], _words: &[Range<usize>]) {}
}

/// What engines speak onto.
pub(super) trait SentenceSink {
    /// Whether this sentence, the next one, need not be spoken: it was spoken
    /// elsewhere, and is on the sink now.
    fn has(&mut self, sentence: &Sentence) -> Result<bool, SpeechError>;

    /// Takes the next sentence. `words` says for each of its words from which to
    /// which sample it is heard, in order; each begins where the last one ends.
    fn add(
        &mut self,
        sentence: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError>;

    /// Ends the work if nobody wants it any more.
    fn check_wanted(&mut self) -> Result<(), SpeechError>;
}

/// A sink for one sentence, which another child puts on its track.
impl SentenceSink for Option<SpokenSentence> {
    fn has(&mut self, _: &Sentence) -> Result<bool, SpeechError> {
        Ok(false)
    }

    fn add(
        &mut self,
        _: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError> {
        *self = Some(SpokenSentence {
            pcm: pcm.to_vec(),
            words: words.to_vec(),
        });
        Ok(())
    }

    fn check_wanted(&mut self) -> Result<(), SpeechError> {
        Ok(())
    }
}
