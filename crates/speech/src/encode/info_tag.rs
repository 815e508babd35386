//! The frame in front of an MP3 that tells its length and its gaps.
//!
//! A decoder starts late and ends on a whole frame; only this tag says what to
//! cut off at both ends. LAME writes it itself, but not where one frame of the
//! bit rate is too small for it, which is so below 56 kbit/s at 22,050 Hz.
//! Here it gets a frame of its own bit rate that is large enough.

use hoiam_text::SaturatingFrom as _;
use hoiam_text::output::{MPEG_1, MPEG_2, valid_bitrates};

/// LAME's delay: how many samples an MP3 has before the first of the source.
const DELAY: u64 = 576;

/// The tag's own size, from "Info" to its checksum.
const TAG_BYTES: usize = 156;

/// What all frames of one file share (ISO/IEC 11172-3, 2.4.1.3 and 2.4.2.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    sample_rate_hz: u32,
    bitrate_kbps: u32,
}

impl Stream {
    /// The rates must be valid together.
    pub(super) fn new(sample_rate_hz: u32, bitrate_kbps: u32) -> Self {
        Self {
            sample_rate_hz,
            bitrate_kbps,
        }
    }

    /// A frame of silence that keeps the place of the tag.
    pub(super) fn placeholder(self) -> Vec<u8> {
        let kbps = self.tag_bitrate_kbps();
        let mut frame = self.frame_header(kbps).to_vec();
        frame.resize(self.frame_bytes(kbps), 0);
        frame
    }

    /// The tag for a file of so many samples and so many bytes behind the tag
    /// ("MP3 Info Tag, revision 1", Gabriel Bouvigne; fields that nobody reads
    /// are left zero).
    pub(super) fn tag(self, samples: u64, audio_bytes: u64) -> Vec<u8> {
        let frames = self.frames(audio_bytes);
        let padding = (frames * self.frame_samples()).saturating_sub(DELAY + samples);
        let mut frame = self.placeholder();
        let file_bytes = frame.len() as u64 + audio_bytes;

        let mut tag = Vec::with_capacity(TAG_BYTES);
        tag.extend(b"Info");
        // Frames, bytes, table of contents and quality follow.
        tag.extend(15_u32.to_be_bytes());
        tag.extend(fitting(frames).to_be_bytes());
        tag.extend(fitting(file_bytes).to_be_bytes());
        // At each percent of the time, where in the file, in 256ths.
        tag.extend((0..100_u32).map(|percent| (percent * 256 / 100) as u8));
        tag.extend(0_u32.to_be_bytes());
        tag.extend(b"LAME3.100");
        // Revision 0, constant bit rate; lowpass, peak and gains unknown.
        tag.extend([1, 0]);
        tag.extend([0; 9]);
        tag.push(self.bitrate_kbps.min(255) as u8);
        // Twelve bits each.
        let gaps = (DELAY.min(0xFFF) << 12) | padding.min(0xFFF);
        tag.extend(&gaps.to_be_bytes()[5..]);
        tag.extend([0; 4]);
        tag.extend(fitting(file_bytes).to_be_bytes());
        tag.extend([0; 2]);

        let start = 4 + self.side_info_bytes();
        frame[start..start + tag.len()].copy_from_slice(&tag);
        let checked = start + tag.len();
        let sum = crc_16(&frame[..checked]).to_be_bytes();
        frame[checked..checked + 2].copy_from_slice(&sum);
        frame
    }

    /// How many frames so many bytes are. Frames differ by at most one byte of
    /// padding, which keeps the whole to the bit rate.
    fn frames(self, bytes: u64) -> u64 {
        let seconds_of_bits = bytes * 8 * u64::from(self.sample_rate_hz);
        let frame_bits = self.frame_samples() * u64::from(self.bitrate_kbps) * 1000;
        (seconds_of_bits + frame_bits / 2) / frame_bits
    }

    /// The lowest bit rate, from the file's own up, whose frame holds the tag.
    fn tag_bitrate_kbps(self) -> u32 {
        let needed = 4 + self.side_info_bytes() + TAG_BYTES;
        let rates = valid_bitrates(self.sample_rate_hz).iter().copied();
        rates
            .filter(|kbps| *kbps >= self.bitrate_kbps)
            .find(|kbps| self.frame_bytes(*kbps) >= needed)
            .unwrap_or(self.bitrate_kbps)
    }

    fn frame_bytes(self, kbps: u32) -> usize {
        let bits_each_second = kbps as usize * 1000;
        self.frame_samples() as usize / 8 * bits_each_second / self.sample_rate_hz as usize
    }

    fn is_mpeg_1(self) -> bool {
        self.sample_rate_hz >= 32_000
    }

    fn frame_samples(self) -> u64 {
        if self.is_mpeg_1() { 1152 } else { 576 }
    }

    /// Of a mono frame.
    fn side_info_bytes(self) -> usize {
        if self.is_mpeg_1() { 17 } else { 9 }
    }

    /// Layer III, no checksum, no padding, mono, an original.
    fn frame_header(self, kbps: u32) -> [u8; 4] {
        let version = match self.sample_rate_hz {
            32_000.. => 0b11,
            16_000.. => 0b10,
            _ => 0b00,
        };
        // The three rates of each version have the same order.
        let rate = match self.sample_rate_hz {
            11_025 | 22_050 | 44_100 => 0,
            12_000 | 24_000 | 48_000 => 1,
            _ => 2,
        };
        let table = if self.is_mpeg_1() { MPEG_1 } else { MPEG_2 };
        let index = table.iter().take_while(|listed| **listed <= kbps).count() as u8;
        [0xFF, 0xE3 | version << 3, index << 4 | rate << 2, 0xC4]
    }
}

fn fitting(size: u64) -> u32 {
    u32::saturating_from(size)
}

/// CRC-16/ARC, as LAME's.
fn crc_16(bytes: &[u8]) -> u16 {
    let mut crc = 0;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xA001
            } else {
                crc >> 1
            };
        }
    }
    crc
}
