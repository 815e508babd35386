//! One recording in the making: sentences joined by samples, encoded as they
//! come, with the times of their words.

use std::ops::Range;

use super::encode::Encoder;
use super::text::{Pause, Sentence};
use super::{Sink, SpeechError, Spoken, Word};

/// The loudest sample that counts as silence: -50 dB below full scale.
const SILENCE: u16 = 103;

/// How long a word is still counted as heard after its last audible sample:
/// sound dies away, and MP3 smears it over up to 26 ms (576 samples).
const RELEASE_MS: usize = 50;

/// How much silence is left before the first audible sample: sound swells up.
const ATTACK_MS: usize = 20;

/// The pauses that a reader makes between two sentences and two paragraphs, less
/// what is left around each sentence.
const SENTENCE_MS: usize = 330;
const PARAGRAPH_MS: usize = 730;

/// A recording in the making.
pub(super) struct Track<'a> {
    sink: &'a mut dyn Sink,
    encoder: Encoder,
    sample_rate_hz: u32,
    samples: u64,
    sentences_done: u32,
    sentences_total: u32,
    /// Shortens the pauses as it does the words.
    speed: f32,
    words: Vec<Word>,
}

impl<'a> Track<'a> {
    pub(super) fn new(
        sink: &'a mut dyn Sink,
        encoder: Encoder,
        sample_rate_hz: u32,
        sentences_total: u32,
        speed: f32,
    ) -> Self {
        Self {
            sink,
            encoder,
            sample_rate_hz,
            samples: 0,
            sentences_done: 0,
            sentences_total,
            speed,
            words: Vec::new(),
        }
    }

    /// Puts the next sentence on the track, after a pause of our own: engines
    /// leave silence of any length at either end, and it is taken off. `words`
    /// says for each word of the sentence from which to which sample it is
    /// heard, in order and without overlap; silence at either end of a word is
    /// taken off it too.
    pub(super) fn add(
        &mut self,
        sentence: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError> {
        let kept = self.kept(pcm);
        if !kept.is_empty() && self.samples > 0 {
            self.pause(sentence.pause)?;
        }
        let pcm = match kept.is_empty() {
            // A voice of silence means it.
            true => pcm,
            false => &pcm[kept.clone()],
        };
        for (token, samples) in sentence.words.iter().zip(words) {
            let moved = |sample: usize| sample.saturating_sub(kept.start).min(pcm.len());
            let heard = self.sounding(pcm, moved(samples.start)..moved(samples.end));
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

    /// The part of a sentence's sound that is heard, with a little silence around
    /// it; empty where nothing is.
    fn kept(&self, pcm: &[i16]) -> Range<usize> {
        let Some(first) = first_audible(pcm) else {
            return 0..0;
        };
        let last = pcm.iter().rposition(is_audible).unwrap_or(first);
        let start = first.saturating_sub(self.in_samples(ATTACK_MS));
        start..pcm.len().min(last + 1 + self.in_samples(RELEASE_MS))
    }

    fn pause(&mut self, pause: Pause) -> Result<(), SpeechError> {
        let ms = match pause {
            Pause::None => return Ok(()),
            Pause::Sentence => SENTENCE_MS,
            Pause::Paragraph => PARAGRAPH_MS,
        };
        let samples = self.in_samples(ms) as f32 / self.speed;
        let silence = vec![0; samples as usize];
        self.samples += silence.len() as u64;
        self.encoder.encode(&silence, self.sink)
    }

    fn in_samples(&self, ms: usize) -> usize {
        ms * self.sample_rate_hz as usize / 1000
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
        let release = self.in_samples(RELEASE_MS);
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
