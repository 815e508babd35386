//! One recording in the making: sentences joined by samples, encoded as they
//! come, with the times of their words.

use std::ops::Range;

use super::encode::Encoder;
use super::text::Sentence;
use super::{Sink, SpeechError, Spoken, Word};

/// The loudest sample that counts as silence: -50 dB below full scale.
const SILENCE: u16 = 103;

/// How long a word is still counted as heard after its last audible sample:
/// sound dies away, and MP3 smears it over up to 26 ms (576 samples).
const RELEASE_MS: usize = 50;

/// A recording in the making.
pub(super) struct Track<'a> {
    sink: &'a mut dyn Sink,
    encoder: Encoder,
    sample_rate_hz: u32,
    samples: u64,
    sentences_done: u32,
    sentences_total: u32,
    words: Vec<Word>,
}

impl<'a> Track<'a> {
    pub(super) fn new(
        sink: &'a mut dyn Sink,
        encoder: Encoder,
        sample_rate_hz: u32,
        sentences_total: u32,
    ) -> Self {
        Self {
            sink,
            encoder,
            sample_rate_hz,
            samples: 0,
            sentences_done: 0,
            sentences_total,
            words: Vec::new(),
        }
    }

    /// Puts the next sentence on the track. `words` says for each word of the
    /// sentence from which to which sample it is heard, in order and without
    /// overlap; silence at either end of a word is taken off it.
    pub(super) fn add(
        &mut self,
        sentence: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError> {
        for (token, samples) in sentence.words.iter().zip(words) {
            let heard = self.sounding(pcm, samples.clone());
            let start_ms = self.milliseconds(heard.start);
            let end_ms = self.milliseconds(heard.end);
            match self.words.last_mut().filter(|_| token.continues) {
                Some(begun) => {
                    begun.text.push_str(&token.text);
                    begun.end_ms = end_ms;
                    begun.char_end = code_points(token.char_end);
                }
                None => self.words.push(Word {
                    text: token.text.clone(),
                    start_ms,
                    end_ms,
                    char_start: code_points(token.char_start),
                    char_end: code_points(token.char_end),
                    sentence: self.sentences_done,
                }),
            }
        }
        self.samples += pcm.len() as u64;
        self.encoder.encode(pcm, self.sink)?;
        self.sentences_done += 1;
        self.check_wanted()
    }

    /// Says how far the work is, and whether it is still wanted.
    pub(super) fn check_wanted(&mut self) -> Result<(), SpeechError> {
        if self
            .sink
            .progress(self.sentences_done, self.sentences_total)
        {
            Ok(())
        } else {
            Err(SpeechError::Canceled)
        }
    }

    /// Ends the recording.
    pub(super) fn finish(self) -> Result<Spoken, SpeechError> {
        if self.samples == 0 {
            return Err(SpeechError::EngineFailed {
                detail: "the voice has no sound for anything in this text".into(),
            });
        }
        Ok(Spoken {
            duration_ms: to_milliseconds(self.samples, self.sample_rate_hz),
            sample_rate_hz: self.sample_rate_hz,
            channels: 1,
            words: self.words,
            head: self.encoder.finish(self.sink)?,
        })
    }

    /// The part of `range` from its first audible sample until shortly after
    /// its last; all of it if there is none.
    fn sounding(&self, pcm: &[i16], range: Range<usize>) -> Range<usize> {
        let end = range.end.min(pcm.len());
        let part = &pcm[range.start.min(end)..end];
        let Some(first) = first_audible(part) else {
            return range;
        };
        let last = part.iter().rposition(is_audible).unwrap_or(first);
        let release = RELEASE_MS * self.sample_rate_hz as usize / 1000;
        range.start + first..end.min(range.start + last + 1 + release)
    }

    /// The time of a sample of the sentence that is being added.
    fn milliseconds(&self, sample: usize) -> u64 {
        to_milliseconds(self.samples + sample as u64, self.sample_rate_hz)
    }
}

pub(super) fn is_audible(sample: &i16) -> bool {
    sample.unsigned_abs() > SILENCE
}

/// The first audible sample. Silence is passed over in blocks, looked at
/// without a branch for each sample, which the compiler makes several times
/// faster.
fn first_audible(pcm: &[i16]) -> Option<usize> {
    const BLOCK: usize = 256;
    let in_block = |block: &[i16]| block.iter().fold(false, |any, at| any | is_audible(at));
    let start = BLOCK * pcm.chunks(BLOCK).position(in_block)?;
    let within = pcm[start..].iter().position(is_audible)?;
    Some(start + within)
}

/// To the nearest millisecond.
fn to_milliseconds(samples: u64, sample_rate_hz: u32) -> u64 {
    let rate = u64::from(sample_rate_hz);
    (samples * 1000 + rate / 2) / rate
}

/// Texts are limited far below 2³² code points.
fn code_points(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
