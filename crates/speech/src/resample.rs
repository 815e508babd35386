//! From one sample rate to another.

use std::borrow::Cow;

use hoiam_text::SpeechError;
use rubato::audioadapter_buffers::owned::InterleavedOwned;
use rubato::{Async, FixedAsync, Resampler, SincInterpolationParameters, WindowFunction};

/// Long enough that what is lost lies above 90 % of the band, where speech has
/// hardly anything, and half the work of the library's default.
const FILTER_SAMPLES: usize = 128;

/// Samples that are converted at a time.
const CHUNK: usize = 1024;

/// The same sound with samples of another rate. Where it begins and ends does not
/// move by more than a sample.
pub(super) fn resample(
    pcm: &[i16],
    from_hz: u32,
    to_hz: u32,
) -> Result<Cow<'_, [i16]>, SpeechError> {
    if from_hz == to_hz || pcm.is_empty() {
        return Ok(Cow::Borrowed(pcm));
    }
    let ratio = f64::from(to_hz) / f64::from(from_hz);
    let filter = SincInterpolationParameters::new(FILTER_SAMPLES, WindowFunction::BlackmanHarris2);
    let mut resampler =
        Async::<f32>::new_sinc(ratio, 1.0, &filter, CHUNK, 1, FixedAsync::Input).map_err(failed)?;
    // As the resampler's own `process_all` does it, which would hold all of it as f32.
    let length = (ratio * pcm.len() as f64).ceil() as usize;
    let mut delay = resampler.output_delay();
    let mut made = Vec::with_capacity(length);
    let silence = std::iter::repeat(&[] as &[i16]);
    let mut chunks = pcm.chunks(CHUNK).chain(silence);
    while made.len() < length {
        let chunk = chunks.next().unwrap_or_default();
        let samples = chunk.iter().copied().map(f32::from);
        let samples = samples.chain(std::iter::repeat(0.0)).take(CHUNK).collect();
        let samples = InterleavedOwned::new_from(samples, 1, CHUNK).map_err(failed)?;
        let converted = resampler.process(&samples, None).map_err(failed)?;
        let converted = converted.take_data();
        let late = delay.min(converted.len());
        delay -= late;
        // A conversion from float to integer stops at either end of the range.
        let rounded = converted[late..].iter().map(|at| at.round() as i16);
        made.extend(rounded.take(length - made.len()));
    }
    Ok(Cow::Owned(made))
}

fn failed(error: impl std::fmt::Display) -> SpeechError {
    SpeechError::EngineFailed {
        detail: format!("the sample rate cannot be changed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone of 440 Hz at half of full scale.
    fn tone(rate: u32, samples: usize) -> Vec<i16> {
        let turn = 440.0 * std::f64::consts::TAU / f64::from(rate);
        (0..samples)
            .map(|at| ((at as f64 * turn).sin() * 16_384.0) as i16)
            .collect()
    }

    #[test]
    fn a_tone_stays_the_same_tone_in_the_same_place() {
        for (from, to) in [
            (22_050, 24_000),
            (22_050, 48_000),
            (48_000, 8_000),
            (16_000, 22_050),
        ] {
            let length = from as usize / 2;
            let source = tone(from, length);
            let made = resample(&source, from, to).unwrap();
            let expected = tone(to, to as usize / 2);
            assert!(made.len().abs_diff(expected.len()) <= 1, "{from} to {to}");
            // The filter has no sound to look at beyond either end.
            let inner = 400..expected.len() - 400;
            let worst = inner
                .map(|at| (i32::from(made[at]) - i32::from(expected[at])).abs())
                .max();
            // As much as the tone changes from one sample to the next.
            let step = (16_384.0 * 440.0 * std::f64::consts::TAU / f64::from(to)) as i32;
            assert!(worst < Some(step), "{from} to {to}: off by {worst:?}");
            let power = |samples: &[i16]| -> f64 {
                let inner = &samples[400..expected.len() - 400];
                inner.iter().map(|at| f64::from(*at).powi(2)).sum()
            };
            let louder = power(&made) / power(&expected);
            assert!((0.99..1.01).contains(&louder), "{from} to {to}: {louder}");
        }
    }

    #[test]
    fn a_long_sound_is_what_the_resampler_makes_of_it_at_once() {
        for (from, to, samples) in [
            (22_050, 48_000, 50_000),
            (48_000, 8_000, CHUNK),
            (16_000, 22_050, 3),
        ] {
            let source = tone(from, samples);
            let ratio = f64::from(to) / f64::from(from);
            let window = WindowFunction::BlackmanHarris2;
            let filter = SincInterpolationParameters::new(FILTER_SAMPLES, window);
            let fixed = FixedAsync::Input;
            let resampler = Async::<f32>::new_sinc(ratio, 1.0, &filter, CHUNK, 1, fixed);
            let whole = source.iter().copied().map(f32::from).collect();
            let whole = InterleavedOwned::new_from(whole, 1, samples).unwrap();
            let expected = resampler
                .unwrap()
                .process_all(&whole, samples, None)
                .unwrap();
            let expected = expected.take_data().into_iter().map(|at| at.round() as i16);
            let expected: Vec<i16> = expected.collect();
            assert_eq!(
                *resample(&source, from, to).unwrap(),
                expected,
                "{from} to {to}"
            );
        }
    }

    #[test]
    fn the_same_rate_changes_nothing_and_nothing_stays_nothing() {
        let pcm = tone(22_050, 100);
        assert_eq!(*resample(&pcm, 22_050, 22_050).unwrap(), pcm);
        assert!(resample(&[], 8_000, 48_000).unwrap().is_empty());
    }
}
