//! PCM in, an audio file out, as it comes.

use std::num::NonZeroU32;

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
    Mp3(mp3lame_encoder::Encoder),
    Wav {
        sample_rate_hz: u32,
        data_bytes: u64,
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
        let mut encoded = Vec::new();
        let codec = match format {
            Format::Mp3 => Codec::Mp3(lame(sample_rate_hz, bitrate_kbps)?),
            Format::Wav => {
                encoded.extend(wav_head(sample_rate_hz, u64::from(u32::MAX)));
                Codec::Wav {
                    sample_rate_hz,
                    data_bytes: 0,
                }
            }
        };
        Ok(Self { codec, encoded })
    }

    /// Encodes the next samples and sends what is ready to the sink.
    pub fn encode(&mut self, pcm: &[i16], sink: &mut dyn Sink) -> Result<(), SpeechError> {
        match &mut self.codec {
            Codec::Mp3(lame) => {
                // The worst case, from lame.h.
                self.encoded.reserve(pcm.len() * 5 / 4 + 7200);
                lame.encode_to_vec(MonoPcm(pcm), &mut self.encoded)
                    .map_err(encoder_failed)?;
            }
            Codec::Wav { data_bytes, .. } => {
                self.encoded
                    .extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
                *data_bytes += 2 * pcm.len() as u64;
            }
        }
        self.send(sink)
    }

    /// Sends the last bytes to the sink and answers the file's real first
    /// bytes.
    pub fn finish(mut self, sink: &mut dyn Sink) -> Result<Vec<u8>, SpeechError> {
        if let Codec::Mp3(lame) = &mut self.codec {
            self.encoded.reserve(7200);
            // The other flush, `FlushNoGap`, leaves the last samples behind.
            lame.flush_to_vec::<FlushGap>(&mut self.encoded)
                .map_err(encoder_failed)?;
        }
        self.send(sink)?;
        Ok(match &self.codec {
            Codec::Mp3(lame) => {
                let mut tag = Vec::with_capacity(lame.lame_tag_size());
                lame.lame_tag_encode_to_vec(&mut tag);
                tag
            }
            Codec::Wav {
                sample_rate_hz,
                data_bytes,
            } => wav_head(*sample_rate_hz, *data_bytes).to_vec(),
        })
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
    // The tag has the encoder's delay and padding, which players need to play
    // without gaps and to tell the length.
    lame.set_to_write_vbr_tag(true).map_err(encoder_failed)?;
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
