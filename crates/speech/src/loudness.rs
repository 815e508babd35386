//! How loud it is: every sentence as loud as every other, and no peak above what
//! players and encoders can take.
//!
//! A whole recording can only be measured when it is over, and would have to be
//! kept until then. A sentence is held anyway, and a voice that is asked for two
//! sentences does not mean one to be louder: so each is brought to the same
//! loudness, and with them the whole. Measured as ITU-R BS.1770-4 says (`ebur128`).

use std::collections::VecDeque;

use ebur128::{EbuR128, Mode};

/// The highest true peak of samples that stay as they are, in dB below full scale:
/// what EBU R 128 allows is -1.
const CEILING_DB: f32 = -1.3;

/// The highest true peak of samples that an encoder will change: LAME's peaks come
/// out up to 1.6 dB higher at 64 kbit/s (240 files of one text, which eSpeak does
/// not say the same way each time).
const LOSSY_CEILING_DB: f32 = -2.8;

/// Nothing is made more than this much louder: it would be noise.
const MOST_GAIN_DB: f64 = 30.0;

/// A measurement of the whole counts the ends of pauses as quiet speech, which makes
/// texts of a few sentences come out this much quieter than their sentences.
const PAUSES_DB: f64 = 0.4;

/// A block of a measurement is 400 ms (BS.1770-4), and what is shorter is measured
/// as if it were said again and again for so long.
const SHORTEST_MS: usize = 1200;

/// The longest sound that is levelled at once; almost every sentence is shorter.
const MOST_AT_ONCE_S: usize = 60;

/// The limiter looks at the sound in blocks of so many samples: a millisecond or so.
const BLOCK: usize = 24;

/// How many blocks before a peak the limiter begins to turn down.
const LOOKAHEAD: usize = 5;

/// By how much of what is missing it turns up again with each block: within 30 ms.
const RELEASE: f32 = 1.0 / 30.0;

/// How often what the limiter took away is given back.
const CORRECTIONS: usize = 4;

/// Off by less than this is as good as right.
const CLOSE_DB: f64 = 0.1;

/// Brings sentences to one loudness.
pub(super) struct LoudnessNormalizer {
    lufs: f64,
    ceiling: f32,
    sample_rate_hz: u32,
}

impl LoudnessNormalizer {
    /// For sentences of this rate. None where they are to stay as they are: 0 LUFS
    /// would be as loud as a file can be, and says just that.
    pub(super) fn new(lufs: f32, is_lossy: bool, sample_rate_hz: u32) -> Option<Self> {
        let ceiling_db = match is_lossy {
            true => LOSSY_CEILING_DB,
            false => CEILING_DB,
        };
        (lufs < 0.0).then(|| Self {
            lufs: f64::from(lufs) + PAUSES_DB,
            ceiling: 10_f32.powf(ceiling_db / 20.0),
            sample_rate_hz,
        })
    }

    /// A sentence as loud as it should be. Silence stays silence. One of minutes is
    /// levelled in parts of equal length, since the work takes six times its memory.
    pub(super) fn level(&self, pcm: &[i16]) -> Vec<i16> {
        let most = MOST_AT_ONCE_S * self.sample_rate_hz as usize;
        let parts = pcm.len().div_ceil(most.max(1)).max(1);
        let length = pcm.len().div_ceil(parts).max(1);
        let mut made = Vec::with_capacity(pcm.len());
        for part in pcm.chunks(length) {
            made.extend(self.level_at_once(part));
        }
        made
    }

    fn level_at_once(&self, pcm: &[i16]) -> Vec<i16> {
        let source: Vec<f32> = pcm.iter().map(|at| f32::from(*at) / 32_768.0).collect();
        let Some(loudness) = self.loudness(&source) else {
            return pcm.to_vec();
        };
        let wanted_db = (self.lufs - loudness).min(MOST_GAIN_DB);
        let power = power(&source);
        let (mut gain_db, mut made) = (wanted_db, Vec::new());
        for _ in 0..=CORRECTIONS {
            made = self.amplified(&source, gain_db);
            // The limiter takes a little of the loudness away, which is given back.
            // What it takes has about the same spectrum as the rest, so that it can
            // be seen by the power alone.
            let missing_db = wanted_db - 10.0 * (self::power(&made) / power).log10();
            if missing_db < CLOSE_DB || gain_db + missing_db > MOST_GAIN_DB {
                break;
            }
            gain_db += missing_db;
        }
        made.iter()
            .map(|at| (at * 32_768.0).round() as i16)
            .collect()
    }

    /// In LUFS; none for silence.
    fn loudness(&self, samples: &[f32]) -> Option<f64> {
        let mut meter = EbuR128::new(1, self.sample_rate_hz, Mode::I).ok()?;
        let shortest = SHORTEST_MS * self.sample_rate_hz as usize / 1000;
        let times = shortest.div_ceil(samples.len().max(1));
        for _ in 0..times {
            meter.add_frames_f32(samples).ok()?;
        }
        meter.loudness_global().ok().filter(|lufs| lufs.is_finite())
    }

    fn amplified(&self, source: &[f32], gain_db: f64) -> Vec<f32> {
        let gain = 10_f64.powf(gain_db / 20.0) as f32;
        let mut samples: Vec<f32> = source.iter().map(|at| at * gain).collect();
        limit(&mut samples, self.ceiling);
        samples
    }
}

/// The sum of all squares; never 0, for it is divided by.
fn power(samples: &[f32]) -> f64 {
    let blocks = samples.chunks(BLOCK);
    let sum = blocks.map(|block| f64::from(block.iter().map(|at| at * at).sum::<f32>()));
    sum.sum::<f64>().max(f64::MIN_POSITIVE)
}

/// Turns samples down around every true peak above the ceiling, smoothly enough
/// that it is not heard.
fn limit(samples: &mut [f32], ceiling: f32) {
    let mut gains: Vec<f32> = peaks(samples, ceiling)
        .into_iter()
        .map(|peak| if peak > ceiling { ceiling / peak } else { 1.0 })
        .collect();
    if gains.iter().all(|gain| *gain >= 1.0) {
        return;
    }
    // One block further than the mean reaches, since the gain of a sample lies
    // between those of two blocks.
    lowest_within(&mut gains, LOOKAHEAD + 1);
    let mut before = 1.0_f32;
    for gain in &mut gains {
        before = gain.min(before + (1.0 - before) * RELEASE);
        *gain = before;
    }
    let gains = means(&gains, LOOKAHEAD);
    for (at, block) in samples.chunks_mut(BLOCK).enumerate() {
        let (this, last) = (gains[at], gains.len() - 1);
        let before = (gains[at.saturating_sub(1)] + this) / 2.0;
        let after = (gains[last.min(at + 1)] + this) / 2.0;
        let half = BLOCK / 2;
        for (place, sample) in block.iter_mut().enumerate() {
            let way = (place % half) as f32 / half as f32;
            let (from, to) = match place < half {
                true => (before, this),
                false => (this, after),
            };
            *sample *= from + (to - from) * way;
        }
    }
}

/// For each value the mean of those up to `reach` before and after it. None of those
/// is above what the value in their middle allows, so neither is their mean.
fn means(values: &[f32], reach: usize) -> Vec<f32> {
    let around = |at: usize| at.saturating_sub(reach)..values.len().min(at + reach + 1);
    let mean = |at: usize| {
        let values = &values[around(at)];
        values.iter().sum::<f32>() / values.len() as f32
    };
    (0..values.len()).map(mean).collect()
}

/// For each value the lowest of those up to `reach` before and after it.
fn lowest_within(values: &mut [f32], reach: usize) {
    let source = values.to_vec();
    // Places whose values grow: the first is the lowest that is still in reach.
    let mut rising: VecDeque<usize> = VecDeque::new();
    let mut next = 0;
    for (at, value) in values.iter_mut().enumerate() {
        while next < source.len() && next <= at + reach {
            while rising
                .back()
                .is_some_and(|last| source[*last] >= source[next])
            {
                rising.pop_back();
            }
            rising.push_back(next);
            next += 1;
        }
        while rising.front().is_some_and(|first| first + reach < at) {
            rising.pop_front();
        }
        if let Some(first) = rising.front() {
            *value = source[*first];
        }
    }
}

/// The samples that an interpolated value is made of.
const TAPS: usize = 12;

/// How high the sound is in each block, between its samples too: looked at in four
/// places, as BS.1770-4, annex 2, has it, where it can be above the ceiling.
fn peaks(samples: &[f32], ceiling: f32) -> Vec<f32> {
    let filters = interpolators();
    let loud = ceiling / 2.0;
    let highest = |block: &[f32]| block.iter().fold(0.0_f32, |most, at| most.max(at.abs()));
    let mut peaks: Vec<f32> = samples.chunks(BLOCK).map(highest).collect();
    // Before and after it there is nothing.
    let mut padded = vec![0.0; TAPS / 2 - 1];
    padded.extend(samples);
    padded.extend([0.0; TAPS / 2]);
    for (block, peak) in peaks
        .iter_mut()
        .enumerate()
        .filter(|(_, peak)| **peak > loud)
    {
        let start = block * BLOCK;
        for at in start.saturating_sub(1)..samples.len().min(start + BLOCK) {
            let around = &padded[at..at + TAPS];
            if around.iter().all(|sample| sample.abs() < loud) {
                continue;
            }
            for filter in &filters {
                let products = filter.iter().zip(around).map(|(weight, at)| weight * at);
                *peak = peak.max(products.sum::<f32>().abs());
            }
        }
    }
    peaks
}

/// Windowed sinc filters for one, two and three quarters of the way from one sample
/// to the next.
fn interpolators() -> [[f32; TAPS]; 3] {
    [0.25_f32, 0.5, 0.75].map(|way| {
        let mut taps: [f32; TAPS] = std::array::from_fn(|tap| {
            let x = tap as f32 - (TAPS / 2 - 1) as f32 - way;
            let angle = std::f32::consts::PI * x;
            let window = (angle / TAPS as f32).cos().powi(2);
            angle.sin() / angle * window
        });
        let sum: f32 = taps.iter().sum();
        taps.iter_mut().for_each(|tap| *tap /= sum);
        taps
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use hoiam_text::output::DEFAULT_LUFS;

    use super::*;

    const RATE: u32 = 22_050;

    /// Loudness in LUFS and true peak in dB, measured by the library.
    fn measured(pcm: &[i16]) -> (f64, f64) {
        let mut meter = EbuR128::new(1, RATE, Mode::I | Mode::TRUE_PEAK).unwrap();
        meter.add_frames_i16(pcm).unwrap();
        let peak = 20.0 * meter.true_peak(0).unwrap().log10();
        (meter.loudness_global().unwrap(), peak)
    }

    /// Something like a voice: pulses that ring, `hertz` times a second.
    fn voice(hertz: usize, loudest: f32, samples: usize) -> Vec<i16> {
        let period = RATE as usize / hertz;
        (0..samples)
            .map(|at| {
                let since = (at % period) as f32 / RATE as f32;
                let ring = (since * 700.0 * std::f32::consts::TAU).sin() * (-since * 400.0).exp();
                (ring * loudest * 32_767.0) as i16
            })
            .collect()
    }

    #[test]
    fn sentences_of_any_loudness_come_out_alike_and_below_the_ceiling() {
        let normalizer = LoudnessNormalizer::new(DEFAULT_LUFS, false, RATE).unwrap();
        let wanted = f64::from(DEFAULT_LUFS) + PAUSES_DB;
        for loudest in [0.02, 0.3, 1.0] {
            let (lufs, peak) = measured(&normalizer.level(&voice(120, loudest, 3 * RATE as usize)));
            assert!((lufs - wanted).abs() < 0.4, "{loudest}: {lufs} LUFS");
            assert!(peak <= -1.0, "{loudest}: {peak} dBTP");
        }
    }

    #[test]
    fn a_sentence_of_minutes_is_as_loud_in_all_its_parts() {
        let normalizer = LoudnessNormalizer::new(DEFAULT_LUFS, false, RATE).unwrap();
        let wanted = f64::from(DEFAULT_LUFS) + PAUSES_DB;
        let sentence = voice(120, 0.3, 125 * RATE as usize);
        let made = normalizer.level(&sentence);
        assert_eq!(made.len(), sentence.len());
        for part in made.chunks(25 * RATE as usize) {
            let (lufs, peak) = measured(part);
            assert!((lufs - wanted).abs() < 0.4 && peak <= -1.0, "{lufs} {peak}");
        }
    }

    #[test]
    fn a_word_shorter_than_a_block_of_the_measurement_is_as_loud_as_a_sentence() {
        let normalizer = LoudnessNormalizer::new(DEFAULT_LUFS, false, RATE).unwrap();
        let word = normalizer.level(&voice(120, 0.1, RATE as usize / 4));
        let (lufs, _) = measured(&word.repeat(12));
        let wanted = f64::from(DEFAULT_LUFS) + PAUSES_DB;
        assert!((lufs - wanted).abs() < 0.4, "{lufs} LUFS");
    }

    #[test]
    fn silence_stays_silence_and_zero_leaves_all_as_it_is() {
        let normalizer = LoudnessNormalizer::new(DEFAULT_LUFS, false, RATE).unwrap();
        assert_eq!(normalizer.level(&[0; 5000]), vec![0; 5000]);
        assert_eq!(normalizer.level(&[]), Vec::<i16>::new());
        assert!(LoudnessNormalizer::new(0.0, false, RATE).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_true_peak_of_any_sound_is_above_the_ceiling(
            hertz in 60_usize..400,
            loudest in 0.01_f32..1.0,
            length in 200_usize..30_000,
            lufs in -30_f32..-10.0,
            noise in prop::collection::vec(any::<i16>(), 0..600),
        ) {
            let mut sound = voice(hertz, loudest, length);
            sound.iter_mut().zip(&noise).for_each(|(to, from)| *to = to.saturating_add(from / 4));
            let made = LoudnessNormalizer::new(lufs, false, RATE).unwrap().level(&sound);
            prop_assert_eq!(made.len(), sound.len());
            let (_, peak) = measured(&made);
            prop_assert!(peak <= -1.0, "{} dBTP", peak);
        }

        #[test]
        fn the_lowest_within_reach_is_found(
            values in prop::collection::vec(0_f32..1.0, 1..60),
            reach in 1_usize..20,
        ) {
            let mut found = values.clone();
            lowest_within(&mut found, reach);
            for (at, lowest) in found.iter().enumerate() {
                let around = at.saturating_sub(reach)..values.len().min(at + reach + 1);
                let expected = values[around].iter().copied().fold(1.0, f32::min);
                prop_assert_eq!(*lowest, expected);
            }
        }
    }
}
