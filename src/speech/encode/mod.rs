//! PCM in, an audio file out, as it comes.

use std::num::NonZeroU32;

mod info_tag;

use info_tag::Stream;
use mp3lame_encoder::{FlushGap, MonoPcm, ffi};

use super::{Format, Sink, SpeechError};

/// Bit rates of MPEG-1 layer III in kbit/s (ISO/IEC 11172-3, table B.1).
const MPEG_1: &[u32] = &[
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
];

/// Bit rates of MPEG-2 layer III at the lower sample rates (ISO/IEC 13818-3,
/// 2.4.2.3).
const MPEG_2: &[u32] = &[8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// MPEG-2.5, an extension with the table of MPEG-2; LAME goes up to 64.
const MPEG_2_5: &[u32] = &[8, 16, 24, 32, 40, 48, 56, 64];

/// What a RIFF WAVE file of PCM has before its samples, in bytes.
const WAV_HEAD_BYTES: usize = 44;

/// Stands for the size of a WAV file until it is known.
const UNKNOWN_BYTES: u64 = u32::MAX as u64;

/// The bit rates, in kbit/s, that an MP3 with this sample rate can have; none
/// if there is no MP3 with this sample rate.
pub fn valid_bitrates(sample_rate_hz: u32) -> &'static [u32] {
    match sample_rate_hz {
        32_000 | 44_100 | 48_000 => MPEG_1,
        16_000 | 22_050 | 24_000 => MPEG_2,
        8_000 | 11_025 | 12_000 => MPEG_2_5,
        _ => &[],
    }
}

/// Encodes mono 16 bit PCM into one file, piece by piece.
///
/// The first bytes of a file tell its length, so they can be written only at
/// the end: [`Encoder::finish`] answers them, to replace as many bytes at
/// offset 0. Until then the file can be played, but its length is unknown.
pub struct Encoder {
    codec: Codec,
    /// Encoded and not yet with the sink; kept for its capacity.
    encoded: Vec<u8>,
}

enum Codec {
    Mp3 {
        lame: mp3lame_encoder::Encoder,
        stream: Stream,
        samples: u64,
        /// Without the tag.
        bytes: u64,
    },
    Wav {
        sample_rate_hz: u32,
        bytes: u64,
    },
}

impl Encoder {
    /// Starts a file. MP3 is of constant bit rate with LAME's default quality,
    /// and keeps the sample rate. A bit rate that is not among
    /// [`valid_bitrates`] is refused; WAV has none and takes any.
    pub fn new(
        format: Format,
        sample_rate_hz: u32,
        bitrate_kbps: u32,
    ) -> Result<Self, SpeechError> {
        let (codec, encoded) = match format {
            Format::Mp3 => {
                let lame = lame(sample_rate_hz, bitrate_kbps)?;
                let stream = Stream::new(sample_rate_hz, bitrate_kbps);
                let (samples, bytes) = (0, 0);
                let codec = Codec::Mp3 {
                    lame,
                    stream,
                    samples,
                    bytes,
                };
                (codec, stream.placeholder())
            }
            Format::Wav => {
                let bytes = 0;
                let codec = Codec::Wav {
                    sample_rate_hz,
                    bytes,
                };
                (codec, wav_head(sample_rate_hz, UNKNOWN_BYTES).to_vec())
            }
        };
        Ok(Self { codec, encoded })
    }

    /// Encodes the next samples and sends what is ready to the sink.
    pub fn encode(&mut self, pcm: &[i16], sink: &mut dyn Sink) -> Result<(), SpeechError> {
        match &mut self.codec {
            Codec::Mp3 {
                lame,
                samples,
                bytes,
                ..
            } => {
                // The worst case, from lame.h.
                self.encoded.reserve(pcm.len() * 5 / 4 + 7200);
                let encoded = lame.encode_to_vec(MonoPcm(pcm), &mut self.encoded);
                *bytes += encoded.map_err(encoder_failed)? as u64;
                *samples += pcm.len() as u64;
            }
            Codec::Wav { bytes, .. } => {
                let start = self.encoded.len();
                self.encoded.resize(start + 2 * pcm.len(), 0);
                let encoded = self.encoded[start..].chunks_exact_mut(2);
                for (bytes, sample) in encoded.zip(pcm) {
                    bytes.copy_from_slice(&sample.to_le_bytes());
                }
                *bytes += 2 * pcm.len() as u64;
            }
        }
        self.send(sink)
    }

    /// Sends the last bytes to the sink and answers the file's real first
    /// bytes.
    pub fn finish(mut self, sink: &mut dyn Sink) -> Result<Vec<u8>, SpeechError> {
        let head = match &mut self.codec {
            Codec::Mp3 {
                lame,
                stream,
                samples,
                bytes,
            } => {
                self.encoded.reserve(7200);
                // The other flush, `FlushNoGap`, leaves the last samples
                // behind.
                let encoded = lame.flush_to_vec::<FlushGap>(&mut self.encoded);
                *bytes += encoded.map_err(encoder_failed)? as u64;
                stream.tag(*samples, *bytes)
            }
            Codec::Wav {
                sample_rate_hz,
                bytes,
            } => wav_head(*sample_rate_hz, *bytes).to_vec(),
        };
        self.send(sink)?;
        Ok(head)
    }

    fn send(&mut self, sink: &mut dyn Sink) -> Result<(), SpeechError> {
        let sent = sink.audio(&self.encoded);
        self.encoded.clear();
        sent.map_err(|error| SpeechError::Output {
            detail: error.to_string(),
        })
    }
}

fn lame(sample_rate_hz: u32, bitrate_kbps: u32) -> Result<mp3lame_encoder::Encoder, SpeechError> {
    if !valid_bitrates(sample_rate_hz).contains(&bitrate_kbps) {
        return Err(encoder_failed(format!(
            "MP3 at {sample_rate_hz} Hz cannot have {bitrate_kbps} kbit/s, only {:?}",
            valid_bitrates(sample_rate_hz)
        )));
    }
    let mut lame = mp3lame_encoder::Builder::new().ok_or_else(|| encoder_failed("no memory"))?;
    lame.set_num_channels(1).map_err(encoder_failed)?;
    lame.set_mode(mp3lame_encoder::Mode::Mono)
        .map_err(encoder_failed)?;
    lame.set_sample_rate(sample_rate_hz)
        .map_err(encoder_failed)?;
    // Else LAME resamples as it thinks best for the bit rate.
    lame.set_output_sample_rate(NonZeroU32::new(sample_rate_hz))
        .map_err(encoder_failed)?;
    set_bitrate(&mut lame, bitrate_kbps)?;
    // The tag is ours: see there why.
    lame.set_to_write_vbr_tag(false).map_err(encoder_failed)?;
    lame.build().map_err(encoder_failed)
}

/// The safe interface's enumeration of bit rates lacks 56 and 144.
#[expect(
    unsafe_code,
    reason = "the safe interface cannot set every valid bit rate"
)]
fn set_bitrate(lame: &mut mp3lame_encoder::Builder, kbps: u32) -> Result<(), SpeechError> {
    let kbps = i32::try_from(kbps).map_err(encoder_failed)?;
    // SAFETY: the pointer is the builder's own, valid while it is borrowed,
    // and setting the bit rate neither frees nor keeps it.
    match unsafe { ffi::lame_set_brate(lame.as_ptr(), kbps) } {
        0 => Ok(()),
        code => Err(encoder_failed(format!("lame_set_brate: {code}"))),
    }
}

fn encoder_failed(error: impl std::fmt::Display) -> SpeechError {
    SpeechError::EngineFailed {
        detail: format!("the MP3 encoder: {error}"),
    }
}

/// The head of a RIFF WAVE file of mono 16 bit PCM (Multimedia Programming
/// Interface and Data Specifications 1.0, IBM and Microsoft 1991, chapter 3).
/// Sizes that do not fit are the largest that do, which readers take for
/// "to the end of the file".
fn wav_head(sample_rate_hz: u32, data_bytes: u64) -> [u8; WAV_HEAD_BYTES] {
    let fitting = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut head = [0; WAV_HEAD_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        head[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&fitting(data_bytes + 36).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16_u32.to_le_bytes());
    // PCM, one channel.
    put(&1_u16.to_le_bytes());
    put(&1_u16.to_le_bytes());
    put(&sample_rate_hz.to_le_bytes());
    put(&(2 * sample_rate_hz).to_le_bytes());
    // Bytes a frame, bits a sample.
    put(&2_u16.to_le_bytes());
    put(&16_u16.to_le_bytes());
    put(b"data");
    put(&fitting(data_bytes).to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{Recorder, decode};
    use super::*;

    const RATES: [u32; 9] = [
        8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
    ];

    fn encoded(format: Format, rate: u32, kbps: u32, pieces: &[&[i16]]) -> Vec<u8> {
        let mut recorder = Recorder::default();
        let mut encoder = Encoder::new(format, rate, kbps).unwrap();
        for piece in pieces {
            encoder.encode(piece, &mut recorder).unwrap();
        }
        let head = encoder.finish(&mut recorder).unwrap();
        recorder.file(&head)
    }

    /// A tone of 440 Hz.
    fn tone(rate: u32, samples: usize) -> Vec<i16> {
        (0..samples)
            .map(|at| {
                let turns = 440.0 * at as f32 / rate as f32;
                ((turns * std::f32::consts::TAU).sin() * 8000.0) as i16
            })
            .collect()
    }

    #[test]
    fn mp3_keeps_rate_and_length_at_every_valid_bit_rate() {
        for rate in RATES {
            let pcm = tone(rate, rate as usize / 2);
            for kbps in valid_bitrates(rate) {
                let (decoded_rate, samples) = decode(encoded(Format::Mp3, rate, *kbps, &[&pcm]));
                assert_eq!(decoded_rate, rate);
                let off = samples.len().abs_diff(pcm.len()) * 1000 / rate as usize;
                assert!(off <= 30, "{rate} Hz, {kbps} kbit/s: off by {off} ms");
            }
        }
    }

    #[test]
    fn the_last_samples_are_in_the_mp3() {
        let mut pcm = vec![0; 22_050];
        pcm.extend(tone(22_050, 400));
        let (_, samples) = decode(encoded(Format::Mp3, 22_050, 64, &[&pcm]));
        let end = &samples[samples.len().min(22_050)..];
        let loudest = end
            .iter()
            .fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
        assert!(
            loudest > 0.1,
            "the loudest of the last samples is {loudest}"
        );
    }

    #[test]
    fn bit_rates_that_mpeg_does_not_have_are_refused() {
        for (rate, kbps) in [
            (22_050, 0),
            (22_050, 320),
            (44_100, 8),
            (22_051, 64),
            (8_000, 128),
        ] {
            let refused = Encoder::new(Format::Mp3, rate, kbps);
            assert!(matches!(refused, Err(SpeechError::EngineFailed { .. })));
        }
        assert!(Encoder::new(Format::Wav, 22_051, 0).is_ok());
    }

    #[test]
    fn wav_says_its_real_sizes() {
        let file = encoded(Format::Wav, 22_050, 0, &[&[1, -2], &[3]]);
        assert_eq!(file.len(), 44 + 6);
        assert_eq!(file[4..8], 42_u32.to_le_bytes());
        assert_eq!(file[40..44], 6_u32.to_le_bytes());
        assert_eq!(file[44..], [1, 0, 0xFE, 0xFF, 3, 0]);
    }

    #[test]
    fn a_sink_that_fails_ends_the_work() {
        struct Full;
        impl Sink for Full {
            fn audio(&mut self, _: &[u8]) -> std::io::Result<()> {
                Err(std::io::Error::other("disk full"))
            }
            fn progress(&mut self, _: u32, _: u32) -> bool {
                true
            }
        }
        let mut encoder = Encoder::new(Format::Wav, 22_050, 0).unwrap();
        let detail = "disk full".to_owned();
        assert_eq!(
            encoder.encode(&[1], &mut Full),
            Err(SpeechError::Output { detail })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_samples_in_any_pieces_keep_their_length(
            pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..4000), 1..6)
        ) {
            let pieces: Vec<&[i16]> = pieces.iter().map(Vec::as_slice).collect();
            let pcm = pieces.concat();
            let (_, samples) = decode(encoded(Format::Wav, 22_050, 0, &pieces));
            prop_assert_eq!(samples.len(), pcm.len());
            for (decoded, sample) in samples.iter().zip(&pcm) {
                prop_assert_eq!((decoded * 32_768.0) as i16, *sample);
            }
            let (_, samples) = decode(encoded(Format::Mp3, 22_050, 64, &pieces));
            prop_assert!(samples.len().abs_diff(pcm.len()) <= 22_050 * 30 / 1000);
        }
    }
}
