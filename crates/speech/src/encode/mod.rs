//! PCM in, an audio file out, as it comes.

mod flac;
mod info_tag;
mod mp3;
mod opus;
mod tags;
mod wav;

use hoiam_text::{Format, Output, SpeechError};

use super::sink::Sink;

/// One codec with its container.
trait Codec {
    /// Encodes the next samples and appends what is ready.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError>;

    /// Appends the last bytes and answers the file's real first bytes.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError>;
}

/// Encodes mono 16 bit PCM into one file, piece by piece.
///
/// The first bytes of most files tell their length, so they can be written only at
/// the end: [`Encoder::finish`] answers them, to replace as many bytes at
/// offset 0. Until then the file can be played, but its length is unknown.
pub struct Encoder {
    codec: Box<dyn Codec>,
    /// Encoded and not yet with the sink; kept for its capacity.
    encoded: Vec<u8>,
}

impl Encoder {
    /// Starts a file of samples of this rate. A bit rate that is not among
    /// [`Format::bitrates`] is refused; formats that have none take any.
    pub fn new(output: &Output, sample_rate_hz: u32) -> Result<Self, SpeechError> {
        let (kbps, tags) = (output.bitrate_kbps, &output.tags);
        let mut encoded = Vec::new();
        let out = &mut encoded;
        let codec: Box<dyn Codec> = match output.format {
            Format::Mp3 => Box::new(mp3::Mp3::begin(sample_rate_hz, kbps, tags, out)?),
            Format::Wav => Box::new(wav::Wav::begin(sample_rate_hz, tags, out)),
            Format::Opus => Box::new(opus::Opus::begin(sample_rate_hz, kbps, tags, out)?),
            Format::Flac => Box::new(flac::Flac::begin(sample_rate_hz, tags, out)?),
            Format::Pcm => Box::new(wav::Pcm),
        };
        Ok(Self { codec, encoded })
    }

    /// Encodes the next samples and sends what is ready to the sink.
    pub fn encode(&mut self, pcm: &[i16], sink: &mut dyn Sink) -> Result<(), SpeechError> {
        self.codec.encode(pcm, &mut self.encoded)?;
        self.send(sink)
    }

    /// Sends the last bytes to the sink and answers the file's real first
    /// bytes.
    pub fn finish(mut self, sink: &mut dyn Sink) -> Result<Vec<u8>, SpeechError> {
        let head = self.codec.finish(&mut self.encoded)?;
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

fn failed(error: impl std::fmt::Display) -> SpeechError {
    SpeechError::EngineFailed {
        detail: format!("the encoder: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{Recorder, decode, output};
    use hoiam_text::Tags;
    use hoiam_text::output::valid_bitrates;

    use super::*;

    const RATES: [u32; 9] = [
        8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
    ];

    fn encoded(format: Format, rate: u32, kbps: u32, pieces: &[&[i16]]) -> Vec<u8> {
        let mut recorder = Recorder::default();
        let output = Output {
            bitrate_kbps: kbps,
            ..output(format)
        };
        let mut encoder = Encoder::new(&output, rate).unwrap();
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
                let inner = rate as usize / 8..rate as usize * 3 / 8;
                let power = |at: f32| (at * 32_768.0).powi(2);
                let before: f32 = pcm[inner.clone()]
                    .iter()
                    .map(|at| f32::from(*at).powi(2))
                    .sum();
                let after: f32 = samples[inner].iter().copied().map(power).sum();
                let louder = 10.0 * (after / before).log10();
                assert!(louder.abs() < 0.2, "{rate} Hz, {kbps} kbit/s: {louder} dB");
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
            let output = Output {
                bitrate_kbps: kbps,
                ..output(Format::Mp3)
            };
            let refused = Encoder::new(&output, rate);
            assert!(matches!(refused, Err(SpeechError::EngineFailed { .. })));
        }
        assert!(Encoder::new(&output(Format::Wav), 22_051).is_ok());
    }

    #[test]
    fn wav_says_its_real_sizes() {
        let file = encoded(Format::Wav, 22_050, 0, &[&[1, -2], &[3]]);
        let bytes = u32::try_from(file.len()).unwrap() - 8;
        assert_eq!(file[4..8], bytes.to_le_bytes());
        assert_eq!(file[40..44], 6_u32.to_le_bytes());
        assert_eq!(file[44..50], [1, 0, 0xFE, 0xFF, 3, 0]);
        assert_eq!(&file[50..54], b"LIST");
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
        let mut encoder = Encoder::new(&output(Format::Wav), 22_050).unwrap();
        let detail = "disk full".to_owned();
        assert_eq!(
            encoder.encode(&[1], &mut Full),
            Err(SpeechError::Output { detail })
        );
    }

    /// What FFmpeg's and Xiph's decoders would make of an Ogg Opus file: its samples
    /// at 48 kHz without what comes before the start and after the end.
    #[expect(unsafe_code, reason = "libopus has the interface of C")]
    fn decode_opus(file: &[u8]) -> Vec<i16> {
        use unsafe_libopus::{opus_decode, opus_decoder_create, opus_decoder_destroy};
        let mut packets = ogg::PacketReader::new(std::io::Cursor::new(file));
        let head = packets.read_packet().unwrap().unwrap().data;
        assert_eq!(&head[..8], b"OpusHead");
        let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
        assert_eq!(
            &packets.read_packet().unwrap().unwrap().data[..8],
            b"OpusTags"
        );
        let mut code = 0;
        let decoder = unsafe { opus_decoder_create(48_000, 1, &mut code) };
        let (mut samples, mut end) = (Vec::new(), 0);
        while let Some(packet) = packets.read_packet().unwrap() {
            let mut part = vec![0_i16; 960];
            let bytes = i32::try_from(packet.data.len()).unwrap();
            let made = unsafe {
                opus_decode(
                    &mut *decoder,
                    packet.data.as_ptr(),
                    bytes,
                    part.as_mut_ptr(),
                    960,
                    0,
                )
            };
            assert_eq!(made, 960);
            samples.append(&mut part);
            end = packet.absgp_page();
        }
        unsafe { opus_decoder_destroy(decoder) };
        samples.truncate(usize::try_from(end).unwrap());
        samples.split_off(pre_skip)
    }

    #[test]
    fn opus_keeps_length_and_sound_at_every_rate() {
        for rate in Format::Opus.sample_rates().iter().copied() {
            let pcm = tone(rate, rate as usize / 3 + 7);
            let samples = decode_opus(&encoded(
                Format::Opus,
                rate,
                64,
                &[&pcm[..500], &pcm[500..]],
            ));
            let expected = pcm.len() * 48_000 / rate as usize;
            assert!(
                samples.len().abs_diff(expected) <= 1,
                "{rate}: {}",
                samples.len()
            );
            // Where the tone goes through zero, so do the samples.
            let loudest = samples[4800..9600].iter().max().unwrap();
            assert!((6500..9500).contains(loudest), "{rate}: {loudest}");
        }
    }

    #[test]
    fn flac_keeps_every_sample() {
        let pcm = tone(22_050, 10_000);
        let file = encoded(Format::Flac, 22_050, 0, &[&pcm[..3000], &pcm[3000..]]);
        let (rate, samples) = decode(file);
        assert_eq!((rate, samples.len()), (22_050, pcm.len()));
        for (decoded, sample) in samples.iter().zip(&pcm) {
            assert_eq!((decoded * 32_768.0) as i16, *sample);
        }
    }

    #[test]
    fn pcm_is_samples_and_nothing_else() {
        assert_eq!(
            encoded(Format::Pcm, 22_050, 0, &[&[1, -2]]),
            [1, 0, 0xFE, 0xFF]
        );
    }

    #[test]
    fn files_say_what_they_are() {
        let tagged = Output {
            tags: Tags {
                title: Some("Chào buổi sáng".into()),
                language: Some("vi".into()),
            },
            ..output(Format::Mp3)
        };
        for (format, title, language) in [
            (Format::Mp3, "\0C\0h\0à\0o", "\0vie"),
            (Format::Wav, "INAM", "vie"),
            (Format::Opus, "TITLE=Chào buổi sáng", "LANGUAGE=vi"),
            (Format::Flac, "TITLE=Chào buổi sáng", "LANGUAGE=vi"),
        ] {
            let mut recorder = Recorder::default();
            let rate = format.sample_rate(22_050);
            let mut encoder = Encoder::new(
                &Output {
                    format,
                    ..tagged.clone()
                },
                rate,
            )
            .unwrap();
            encoder.encode(&tone(rate, 4000), &mut recorder).unwrap();
            let head = encoder.finish(&mut recorder).unwrap();
            let file = recorder.file(&head);
            let has = |text: &str| {
                // "à" in UTF-16 is its code point and a zero.
                let wanted: Vec<u8> = match format {
                    Format::Mp3 => text.chars().map(|c| c as u8).collect(),
                    _ => text.into(),
                };
                file.windows(wanted.len()).any(|part| part == wanted)
            };
            assert!(has(title) && has(language), "{}", format.name());
        }
    }

    proptest! {
        // Characters from U+E000 on have no part in any language's letters, but
        // for a few compatible forms.
        #[test]
        fn no_title_looks_like_the_begin_of_sound(title in "[^\u{e000}-\u{ffff}]{0,40}") {
            let tag = tags::id3(&Tags {
                title: Some(title),
                language: Some("vi".into()),
            });
            let is_sync = |pair: &[u8]| pair[0] == 0xFF && pair[1] >= 0xE0;
            prop_assert!(!tag.windows(2).any(is_sync));
        }
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
            let (_, samples) = decode(encoded(Format::Flac, 22_050, 0, &pieces));
            prop_assert_eq!(samples.len(), pcm.len());
            let samples = decode_opus(&encoded(Format::Opus, 24_000, 64, &pieces));
            prop_assert_eq!(samples.len(), pcm.len() * 2);
            let (_, samples) = decode(encoded(Format::Mp3, 22_050, 64, &pieces));
            prop_assert!(samples.len().abs_diff(pcm.len()) <= 22_050 * 30 / 1000);
        }
    }
}
