//! RIFF WAVE, and the bare samples of it.

use hoiam_text::{SaturatingFrom as _, SpeechError, Tags};

use super::Codec;
use super::tags::info_list;

/// What a RIFF WAVE file of PCM has before its samples, in bytes.
const WAV_HEAD_BYTES: usize = 44;

/// Stands for the size of a WAV file until it is known.
const UNKNOWN_BYTES: u64 = u32::MAX as u64;

/// A WAV file of 16 bit samples.
pub(super) struct Wav {
    sample_rate_hz: u32,
    bytes: u64,
    /// It stands behind the samples, where readers that expect 44 bytes before
    /// them do not meet it.
    tags: Vec<u8>,
}

impl Wav {
    /// Writes a head without the size.
    pub(super) fn begin(sample_rate_hz: u32, tags: &Tags, out: &mut Vec<u8>) -> Self {
        out.extend(wav_head(sample_rate_hz, UNKNOWN_BYTES, 0));
        Self {
            sample_rate_hz,
            bytes: 0,
            tags: info_list(tags),
        }
    }
}

impl Codec for Wav {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError> {
        self.bytes += 2 * pcm.len() as u64;
        write_samples(pcm, out);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError> {
        out.extend(&self.tags);
        let more_bytes = self.tags.len() as u64;
        Ok(wav_head(self.sample_rate_hz, self.bytes, more_bytes).to_vec())
    }
}

/// Samples without any head.
pub(super) struct Pcm;

impl Codec for Pcm {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError> {
        write_samples(pcm, out);
        Ok(())
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError> {
        Ok(Vec::new())
    }
}

fn write_samples(pcm: &[i16], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 2 * pcm.len(), 0);
    let written = out[start..].chunks_exact_mut(2);
    for (bytes, sample) in written.zip(pcm) {
        bytes.copy_from_slice(&sample.to_le_bytes());
    }
}

/// The head of a RIFF WAVE file of mono 16 bit PCM (Multimedia Programming
/// Interface and Data Specifications 1.0, IBM and Microsoft 1991, chapter 3).
/// Sizes that do not fit are the largest that do, which readers take for
/// "to the end of the file". `more_bytes` come behind the samples.
fn wav_head(sample_rate_hz: u32, data_bytes: u64, more_bytes: u64) -> [u8; WAV_HEAD_BYTES] {
    let fitting = |bytes: u64| u32::saturating_from(bytes);
    let mut head = [0; WAV_HEAD_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        head[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&fitting(data_bytes + more_bytes + 36).to_le_bytes());
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
