//! MPEG layer III by LAME.

use std::num::NonZeroU32;

use hoiam_text::output::valid_bitrates;
use hoiam_text::{SpeechError, Tags};
use mp3lame_encoder::{FlushGap, MonoPcm, ffi};

use super::info_tag::Stream;
use super::tags::id3;
use super::{Codec, failed};

/// An MP3 of constant bit rate with LAME's default quality.
pub(super) struct Mp3 {
    lame: mp3lame_encoder::Encoder,
    stream: Stream,
    tags: Vec<u8>,
    samples: u64,
    /// Without the tags.
    bytes: u64,
}

impl Mp3 {
    /// Writes what stands before the first frame of sound.
    pub(super) fn begin(
        sample_rate_hz: u32,
        bitrate_kbps: u32,
        tags: &Tags,
        out: &mut Vec<u8>,
    ) -> Result<Self, SpeechError> {
        let lame = lame(sample_rate_hz, bitrate_kbps)?;
        let stream = Stream::new(sample_rate_hz, bitrate_kbps);
        let tags = id3(tags);
        out.extend(&tags);
        out.extend(stream.placeholder());
        Ok(Self {
            lame,
            stream,
            tags,
            samples: 0,
            bytes: 0,
        })
    }
}

impl Codec for Mp3 {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError> {
        // The worst case, from lame.h.
        out.reserve(pcm.len() * 5 / 4 + 7200);
        let encoded = self.lame.encode_to_vec(MonoPcm(pcm), out);
        self.bytes += encoded.map_err(failed)? as u64;
        self.samples += pcm.len() as u64;
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError> {
        out.reserve(7200);
        // The other flush, `FlushNoGap`, leaves the last samples behind.
        let encoded = self.lame.flush_to_vec::<FlushGap>(out);
        self.bytes += encoded.map_err(failed)? as u64;
        let mut head = std::mem::take(&mut self.tags);
        head.extend(self.stream.tag(self.samples, self.bytes));
        Ok(head)
    }
}

fn lame(sample_rate_hz: u32, bitrate_kbps: u32) -> Result<mp3lame_encoder::Encoder, SpeechError> {
    if !valid_bitrates(sample_rate_hz).contains(&bitrate_kbps) {
        return Err(failed(format!(
            "MP3 at {sample_rate_hz} Hz cannot have {bitrate_kbps} kbit/s, only {:?}",
            valid_bitrates(sample_rate_hz)
        )));
    }
    let mut lame = mp3lame_encoder::Builder::new().ok_or_else(|| failed("no memory"))?;
    lame.set_num_channels(1).map_err(failed)?;
    lame.set_mode(mp3lame_encoder::Mode::Mono).map_err(failed)?;
    lame.set_sample_rate(sample_rate_hz).map_err(failed)?;
    // Else LAME resamples as it thinks best for the bit rate.
    lame.set_output_sample_rate(NonZeroU32::new(sample_rate_hz))
        .map_err(failed)?;
    set_bitrate(&mut lame, bitrate_kbps)?;
    keep_loudness(&mut lame, bitrate_kbps)?;
    // The tag is ours: see there why.
    lame.set_to_write_vbr_tag(false).map_err(failed)?;
    lame.build().map_err(failed)
}

/// At the bit rates where its coding makes the highest peaks higher, LAME turns the
/// sound down a little (`scale` in its presets.c). Here how loud it is has been
/// decided, and where the peaks may be: it is turned up by as much before.
#[expect(unsafe_code, reason = "the safe interface does not have it")]
fn keep_loudness(lame: &mut mp3lame_encoder::Builder, kbps: u32) -> Result<(), SpeechError> {
    let scale = match kbps {
        0..=176 => 0.95,
        177..=208 => 0.97,
        209..=240 => 0.98,
        _ => 1.0,
    };
    // SAFETY: the pointer is the builder's own, valid while it is borrowed, and
    // setting a number neither frees nor keeps it.
    match unsafe { ffi::lame_set_scale(lame.as_ptr(), 1.0 / scale) } {
        0 => Ok(()),
        code => Err(failed(format!("lame_set_scale: {code}"))),
    }
}

/// The safe interface's enumeration of bit rates lacks 56 and 144.
#[expect(
    unsafe_code,
    reason = "the safe interface cannot set every valid bit rate"
)]
fn set_bitrate(lame: &mut mp3lame_encoder::Builder, kbps: u32) -> Result<(), SpeechError> {
    let kbps = i32::try_from(kbps).map_err(failed)?;
    // SAFETY: the pointer is the builder's own, valid while it is borrowed,
    // and setting the bit rate neither frees nor keeps it.
    match unsafe { ffi::lame_set_brate(lame.as_ptr(), kbps) } {
        0 => Ok(()),
        code => Err(failed(format!("lame_set_brate: {code}"))),
    }
}
