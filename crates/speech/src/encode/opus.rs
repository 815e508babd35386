//! Opus in Ogg (RFC 6716, RFC 7845).

use std::ptr::NonNull;

use hoiam_text::{SaturatingFrom as _, SpeechError, Tags};
use ogg::{PacketWriteEndInfo, PacketWriter};
use unsafe_libopus::{
    OPUS_APPLICATION_AUDIO, OPUS_GET_LOOKAHEAD_REQUEST, OPUS_OK, OPUS_SET_BITRATE_REQUEST,
    OpusEncoder, opus_encode, opus_encoder_create, opus_encoder_ctl, opus_encoder_destroy,
};

use super::{Codec, failed, tags};

/// Packets a second: 20 ms each, which the RFCs recommend.
const PACKETS_A_SECOND: u32 = 50;

/// Granule positions count at this rate, whatever the rate of the source
/// (RFC 7845, section 4).
const GRANULES_A_SECOND: u64 = 48_000;

/// The largest packet that RFC 6716 knows for 20 ms: 1275 bytes.
const PACKET_BYTES: usize = 1275;

/// Files of one stream each need no number to be told apart.
const SERIAL: u32 = 1;

/// A page holds a second, so that players find their way in a long file.
const PACKETS_A_PAGE: u64 = 50;

/// An Ogg file with one Opus stream.
pub(super) struct Opus {
    encoder: Encoder,
    pages: PacketWriter<'static, Vec<u8>>,
    sample_rate_hz: u32,
    /// Samples that do not fill a packet yet.
    waiting: Vec<i16>,
    /// The last packet, kept back because the end is marked on it.
    last: Option<Vec<u8>>,
    packets: u64,
    samples: u64,
    pre_skip: u64,
}

impl Opus {
    /// Writes the two packets of the head.
    pub(super) fn begin(
        sample_rate_hz: u32,
        bitrate_kbps: u32,
        tags: &Tags,
        out: &mut Vec<u8>,
    ) -> Result<Self, SpeechError> {
        let encoder = Encoder::new(sample_rate_hz, bitrate_kbps)?;
        let pre_skip = encoder.lookahead()? * GRANULES_A_SECOND / u64::from(sample_rate_hz);
        let mut opus = Self {
            encoder,
            pages: PacketWriter::new(Vec::new()),
            sample_rate_hz,
            waiting: Vec::new(),
            last: None,
            packets: 0,
            samples: 0,
            pre_skip,
        };
        for packet in [id_header(pre_skip, sample_rate_hz), comment_header(tags)] {
            opus.write(packet, PacketWriteEndInfo::EndPage, 0)?;
        }
        out.append(opus.pages.inner_mut());
        Ok(opus)
    }

    fn packet_samples(&self) -> usize {
        (self.sample_rate_hz / PACKETS_A_SECOND) as usize
    }

    /// Encodes the next 20 ms and writes the packet before it.
    fn packet(&mut self, samples: &[i16]) -> Result<(), SpeechError> {
        let packet = self.encoder.encode(samples)?;
        if let Some(last) = self.last.replace(packet) {
            let end = match self.packets.is_multiple_of(PACKETS_A_PAGE) {
                true => PacketWriteEndInfo::EndPage,
                false => PacketWriteEndInfo::NormalPacket,
            };
            let granule = self.packets * GRANULES_A_SECOND / u64::from(PACKETS_A_SECOND);
            self.write(last, end, granule)?;
        }
        self.packets += 1;
        Ok(())
    }

    fn write(
        &mut self,
        packet: Vec<u8>,
        end: PacketWriteEndInfo,
        granule: u64,
    ) -> Result<(), SpeechError> {
        let written = self.pages.write_packet(packet, SERIAL, end, granule);
        written.map_err(failed)
    }
}

impl Codec for Opus {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) -> Result<(), SpeechError> {
        self.samples += pcm.len() as u64;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.extend(pcm);
        let whole = waiting.chunks_exact(self.packet_samples());
        self.waiting = whole.remainder().to_vec();
        for samples in whole {
            self.packet(samples)?;
        }
        out.append(self.pages.inner_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<Vec<u8>, SpeechError> {
        // The encoder is behind by its lookahead: silence brings out the rest.
        let end = self.pre_skip + self.samples * GRANULES_A_SECOND / u64::from(self.sample_rate_hz);
        let packet_granules = GRANULES_A_SECOND / u64::from(PACKETS_A_SECOND);
        while self.packets * packet_granules < end {
            let mut samples = std::mem::take(&mut self.waiting);
            samples.resize(self.packet_samples(), 0);
            self.packet(&samples)?;
        }
        if let Some(last) = self.last.take() {
            // A position before the packet's own end cuts off what is too much.
            self.write(last, PacketWriteEndInfo::EndStream, end)?;
        }
        out.append(self.pages.inner_mut());
        Ok(Vec::new())
    }
}

/// RFC 7845, section 5.1.
fn id_header(pre_skip: u64, sample_rate_hz: u32) -> Vec<u8> {
    let mut header = b"OpusHead".to_vec();
    // Version 1, one channel.
    header.extend([1, 1]);
    header.extend(u16::saturating_from(pre_skip).to_le_bytes());
    header.extend(sample_rate_hz.to_le_bytes());
    // No gain, mono or stereo without a table.
    header.extend([0, 0, 0]);
    header
}

/// RFC 7845, section 5.2.
fn comment_header(tags: &Tags) -> Vec<u8> {
    let mut header = b"OpusTags".to_vec();
    let mut text = |text: &str| {
        header.extend(u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        header.extend(text.as_bytes());
    };
    text("libopus 1.3.1");
    let comments = tags::comments(tags);
    let count = u32::try_from(comments.len()).unwrap_or(0);
    header.extend(count.to_le_bytes());
    for (name, value) in comments {
        let comment = format!("{name}={value}");
        header.extend(u32::try_from(comment.len()).unwrap_or(0).to_le_bytes());
        header.extend(comment.as_bytes());
    }
    header
}

/// libopus's encoder for one channel.
struct Encoder(NonNull<OpusEncoder>);

#[expect(unsafe_code, reason = "libopus has the interface of C")]
impl Encoder {
    fn new(sample_rate_hz: u32, bitrate_kbps: u32) -> Result<Self, SpeechError> {
        let rate = i32::try_from(sample_rate_hz).map_err(failed)?;
        let bits = i32::try_from(bitrate_kbps * 1000).map_err(failed)?;
        let mut code = OPUS_OK;
        // SAFETY: `code` outlives the call; a null pointer is seen below.
        let made = unsafe { opus_encoder_create(rate, 1, OPUS_APPLICATION_AUDIO, &mut code) };
        let Some(made) = NonNull::new(made) else {
            return Err(failed(format!("Opus cannot be made of {rate} Hz ({code})")));
        };
        let encoder = Self(made);
        // SAFETY: the encoder is valid, and the request takes a number.
        let code = unsafe { opus_encoder_ctl!(made.as_ptr(), OPUS_SET_BITRATE_REQUEST, bits) };
        match code {
            OPUS_OK => Ok(encoder),
            code => Err(failed(format!(
                "Opus cannot have {bitrate_kbps} kbit/s ({code})"
            ))),
        }
    }

    /// By how many samples of the source the sound comes late.
    fn lookahead(&self) -> Result<u64, SpeechError> {
        let mut samples = 0_i32;
        // SAFETY: the encoder is valid, and `samples` outlives the call.
        let code =
            unsafe { opus_encoder_ctl!(self.0.as_ptr(), OPUS_GET_LOOKAHEAD_REQUEST, &mut samples) };
        match code {
            OPUS_OK => u64::try_from(samples).map_err(failed),
            code => Err(failed(format!("Opus does not tell its delay ({code})"))),
        }
    }

    /// One packet of 20 ms.
    fn encode(&mut self, samples: &[i16]) -> Result<Vec<u8>, SpeechError> {
        let mut packet = vec![0; PACKET_BYTES];
        let count = i32::try_from(samples.len()).map_err(failed)?;
        // SAFETY: the encoder is valid; it reads `count` samples of one channel and
        // writes at most as many bytes as the packet has.
        let bytes = unsafe {
            opus_encode(
                self.0.as_ptr(),
                samples.as_ptr(),
                count,
                packet.as_mut_ptr(),
                PACKET_BYTES as i32,
            )
        };
        match usize::try_from(bytes) {
            Ok(bytes) => {
                packet.truncate(bytes);
                Ok(packet)
            }
            Err(_) => Err(failed(format!("Opus cannot encode this ({bytes})"))),
        }
    }
}

#[expect(unsafe_code, reason = "libopus has the interface of C")]
impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: it was made by `opus_encoder_create` and is dropped once.
        unsafe { opus_encoder_destroy(self.0.as_ptr()) };
    }
}
