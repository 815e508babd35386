//! The audio file that is asked for.

use serde::{Deserialize, Serialize};

/// Bit rates of MPEG-1 layer III in kbit/s (ISO/IEC 11172-3, table B.1).
pub const MPEG_1: &[u32] = &[
    32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
];

/// Bit rates of MPEG-2 layer III at the lower sample rates (ISO/IEC 13818-3,
/// 2.4.2.3).
pub const MPEG_2: &[u32] = &[8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/// MPEG-2.5, an extension with the table of MPEG-2; LAME goes up to 64.
const MPEG_2_5: &[u32] = &[8, 16, 24, 32, 40, 48, 56, 64];

/// Bit rates of Opus for one channel in kbit/s (RFC 6716, section 2.1.1), those of
/// MP3 among them.
const OPUS: &[u32] = &[
    8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256,
];

/// The sample rates that a file can have: those of MP3, which are all in use.
pub const SAMPLE_RATES: &[u32] = &[
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
];

/// The sample rates that Opus takes (RFC 6716, section 2.1.3).
const OPUS_SAMPLE_RATES: &[u32] = &[8_000, 12_000, 16_000, 24_000, 48_000];

/// The largest file: the head of a WAV has 32 bits for its size.
pub const MAX_AUDIO_BYTES: u64 = 1 << 32;

/// What is asked of a file of speech: AES TD1008 and Apple's podcasts have -16 LUFS
/// for it.
pub const DEFAULT_LUFS: f32 = -16.0;

/// What may be asked for; below is whispering, above is distortion.
pub const LUFS: std::ops::RangeInclusive<f32> = -30.0..=-10.0;

/// What file is made of a speech.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The container and codec.
    pub format: Format,
    /// Kilobits a second, for formats that have a bit rate.
    pub bitrate_kbps: u32,
    /// Samples a second; that of the voices if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate_hz: Option<u32>,
    /// How loud every sentence is made; 0 leaves it as the voice speaks.
    pub loudness_lufs: f32,
    /// What the file says about itself.
    #[serde(default)]
    pub tags: Tags,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            format: Format::Mp3,
            bitrate_kbps: 64,
            sample_rate_hz: None,
            loudness_lufs: DEFAULT_LUFS,
            tags: Tags::default(),
        }
    }
}

/// What a file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tags {
    /// What players show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// The container and codec of an audio file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// MPEG layer III, constant bit rate, with the LAME tag.
    Mp3,
    /// RIFF WAVE, 16 bit little-endian PCM.
    Wav,
    /// Opus in Ogg.
    Opus,
    /// FLAC, 16 bit.
    Flac,
    /// 16 bit little-endian PCM and nothing else.
    Pcm,
}

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

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Mp3, Self::Wav, Self::Opus, Self::Flac, Self::Pcm];

    /// Its name, which is also how the names of its files end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Pcm => "pcm",
        }
    }

    /// The format with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The type of its files, as HTTP names it. Bare samples have none that says
    /// which they are.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Wav => "audio/wav",
            Self::Opus => "audio/ogg; codecs=opus",
            Self::Flac => "audio/flac",
            Self::Pcm => "application/octet-stream",
        }
    }

    /// Whether what comes out is not the samples that went in.
    pub fn is_lossy(self) -> bool {
        !self.bitrates(48_000).is_empty()
    }

    /// The bit rates, in kbit/s, that it can have with this sample rate; none where
    /// it has no bit rate to choose.
    pub fn bitrates(self, sample_rate_hz: u32) -> &'static [u32] {
        match self {
            Self::Mp3 => valid_bitrates(sample_rate_hz),
            Self::Opus => OPUS,
            Self::Wav | Self::Flac | Self::Pcm => &[],
        }
    }

    /// The sample rates that it can have.
    pub fn sample_rates(self) -> &'static [u32] {
        match self {
            Self::Opus => OPUS_SAMPLE_RATES,
            _ => SAMPLE_RATES,
        }
    }

    /// The sample rate of a file of voices that have this one: the same, or the
    /// next higher that the format can have.
    pub fn sample_rate(self, voice_hz: u32) -> u32 {
        match self {
            Self::Mp3 | Self::Opus => {
                let rates = self.sample_rates();
                let next = rates.iter().find(|rate| **rate >= voice_hz);
                next.or(rates.last()).copied().unwrap_or(voice_hz)
            }
            Self::Wav | Self::Flac | Self::Pcm => voice_hz,
        }
    }
}
