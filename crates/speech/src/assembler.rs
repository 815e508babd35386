//! One recording in the making: sentences joined by samples, encoded as they
//! come, with the times of their words.

use std::ops::Range;

use hoiam_text::segmentation::{Pause, Sentence};
use hoiam_text::{Output, SaturatingFrom as _, SegmentTimes, SpeechError, Synthesis, Word};

use super::encode::Encoder;
use super::loudness::LoudnessNormalizer;
use super::pauses::{is_audible, snap_to_silence};
use super::resample::resample;
use super::sink::{SentenceSink, Sink};

/// How long a word is still counted as heard after its last audible sample:
/// sound dies away, and MP3 smears it over up to 26 ms (576 samples).
const RELEASE_MS: usize = 50;

/// How much silence is left before the first audible sample: sound swells up.
const ATTACK_MS: usize = 20;

/// The pauses that a reader makes between two sentences and two paragraphs.
const SENTENCE_MS: usize = 400;
const PARAGRAPH_MS: usize = 800;

/// A recording in the making.
pub(super) struct Assembler<'a> {
    sink: &'a mut dyn Sink,
    encoder: Encoder,
    normalizer: Option<LoudnessNormalizer>,
    sample_rate_hz: u32,
    samples: u64,
    sentences_done: u32,
    sentences_total: u32,
    words: Vec<Word>,
    segment: Segment,
    segments: Vec<SegmentTimes>,
}

/// The segment whose sentences come now.
#[derive(Default)]
struct Segment {
    index: u32,
    /// Samples a second of the voice.
    voice_hz: u32,
    /// Shortens the pauses as it does the words.
    speed: f32,
    /// Somebody has said how long the silence before it is.
    pause_ms: Option<u32>,
}

impl SentenceSink for Assembler<'_> {
    fn has(&mut self, sentence: &Sentence) -> Result<bool, SpeechError> {
        let Some(made) = self.sink.prefetched(self.sentences_done) else {
            return Ok(false);
        };
        self.put(sentence, &made.pcm, &made.words)?;
        Ok(true)
    }

    fn add(
        &mut self,
        sentence: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError> {
        self.sink.sentence(self.sentences_done, pcm, words);
        self.put(sentence, pcm, words)
    }

    /// Says how far the work is, and whether it is still wanted.
    fn check_wanted(&mut self) -> Result<(), SpeechError> {
        if self
            .sink
            .progress(self.sentences_done, self.sentences_total)
        {
            Ok(())
        } else {
            Err(SpeechError::Canceled)
        }
    }
}

impl<'a> Assembler<'a> {
    /// Puts the next sentence on the track, after a pause of our own: engines
    /// leave silence of any length at either end, and it is taken off. So is
    /// silence at either end of a word.
    fn put(
        &mut self,
        sentence: &Sentence,
        pcm: &[i16],
        words: &[Range<usize>],
    ) -> Result<(), SpeechError> {
        let (from_hz, to_hz) = (self.segment.voice_hz, self.sample_rate_hz);
        let pcm = resample(pcm, from_hz, to_hz)?;
        let kept = self.kept(&pcm);
        self.pause_before(sentence, kept.is_empty())?;
        let pcm = match (&self.normalizer, kept.is_empty()) {
            // A voice of silence means it.
            (_, true) => pcm,
            (Some(normalizer), false) => normalizer.level(&pcm[kept.clone()]).into(),
            (None, false) => pcm[kept.clone()].to_vec().into(),
        };
        let moved = |sample: usize| {
            let resampled = sample as u64 * u64::from(to_hz) / u64::from(from_hz.max(1));
            (resampled as usize)
                .saturating_sub(kept.start)
                .min(pcm.len())
        };
        // By the sound as loud as it will be heard.
        let mut starts: Vec<usize> = words.iter().map(|word| moved(word.start)).collect();
        snap_to_silence(&mut starts, &pcm, to_hz);
        let end = words.last().map_or(0, |word| moved(word.end));
        let ends = starts.iter().skip(1).copied().chain([end]);
        for ((token, start), end) in sentence.words.iter().zip(&starts).zip(ends) {
            let heard = self.sounding(&pcm, *start..end);
            let start_ms = self.milliseconds(heard.start);
            let end_ms = self.milliseconds(heard.end);
            let continues = |begun: &&mut Word| {
                let goes_on = begun.char_end == code_points(token.char_start);
                token.continues && goes_on && begun.segment == Some(self.segment.index)
            };
            match self.words.last_mut().filter(continues) {
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
                    segment: Some(self.segment.index),
                }),
            }
        }
        self.note_segment(pcm.len());
        self.samples += pcm.len() as u64;
        self.encoder.encode(&pcm, self.sink)?;
        self.sentences_done += 1;
        self.check_wanted()
    }

    pub(super) fn new(
        sink: &'a mut dyn Sink,
        output: &Output,
        sample_rate_hz: u32,
        sentences: usize,
    ) -> Result<Self, SpeechError> {
        let is_lossy = output.format.is_lossy();
        Ok(Self {
            sink,
            encoder: Encoder::new(output, sample_rate_hz)?,
            normalizer: LoudnessNormalizer::new(output.loudness_lufs, is_lossy, sample_rate_hz),
            sample_rate_hz,
            samples: 0,
            sentences_done: 0,
            sentences_total: u32::saturating_from(sentences),
            words: Vec::new(),
            segment: Segment::default(),
            segments: Vec::new(),
        })
    }

    /// What is added from now on is of the next segment, whose voice has so many
    /// samples a second.
    pub(super) fn begin_segment(&mut self, voice_hz: u32, speed: f32) {
        self.segment.voice_hz = voice_hz;
        self.segment.speed = speed;
    }

    /// The segment is over, and what follows it comes after so long.
    pub(super) fn end_segment(&mut self, pause_ms: Option<u32>) {
        self.segment = Segment {
            index: self.segment.index + 1,
            pause_ms,
            ..Segment::default()
        };
    }

    /// The segment is heard from its first sentence until the end of its last one.
    fn note_segment(&mut self, samples: usize) {
        let times = SegmentTimes {
            index: self.segment.index,
            start_ms: self.milliseconds(0),
            end_ms: self.milliseconds(samples),
        };
        match self.segments.last_mut() {
            Some(begun) if begun.index == times.index => begun.end_ms = times.end_ms,
            _ => self.segments.push(times),
        }
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

    /// The silence between what was said and this sentence, which is before any
    /// that has no sound only if somebody asked for it.
    fn pause_before(&mut self, sentence: &Sentence, is_silent: bool) -> Result<(), SpeechError> {
        let asked = self.segment.pause_ms.take();
        let begins = sentence.pause == Pause::None && self.begins_segment();
        if self.samples == 0 {
            return Ok(());
        }
        match (asked, sentence.pause) {
            (Some(ms), _) => self.silence(ms as usize),
            _ if is_silent => Ok(()),
            (None, Pause::None) if !begins => Ok(()),
            (None, Pause::Paragraph) => self.silence(self.at_speed(PARAGRAPH_MS)),
            (None, _) => self.silence(self.at_speed(SENTENCE_MS)),
        }
    }

    fn begins_segment(&self) -> bool {
        let begun = self.segments.last();
        begun.is_none_or(|begun| begun.index != self.segment.index)
    }

    fn at_speed(&self, ms: usize) -> usize {
        (ms as f32 / self.segment.speed) as usize
    }

    /// So much silence, less what is left around each sentence.
    fn silence(&mut self, ms: usize) -> Result<(), SpeechError> {
        let samples = self.in_samples(ms.saturating_sub(RELEASE_MS + ATTACK_MS));
        self.samples += samples as u64;
        self.encoder.encode(&vec![0; samples], self.sink)
    }

    fn in_samples(&self, ms: usize) -> usize {
        ms * self.sample_rate_hz as usize / 1000
    }

    /// Ends the recording.
    pub(super) fn finish(mut self) -> Result<Synthesis, SpeechError> {
        if self.samples == 0 {
            return Err(SpeechError::EngineFailed {
                detail: "the voice has no sound for anything in this text".into(),
            });
        }
        if let Some(ms) = self.segment.pause_ms.take() {
            self.silence(ms as usize)?;
        }
        Ok(Synthesis {
            duration_ms: to_milliseconds(self.samples, self.sample_rate_hz),
            sample_rate_hz: self.sample_rate_hz,
            channels: 1,
            words: self.words,
            segments: self.segments,
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
    u32::saturating_from(offset)
}
