//! How much the body that creates a task or a speech may ask for.

/// The largest `reference`, in characters.
pub(super) const MAX_REFERENCE_CHARACTERS: usize = 200;
/// The largest `metadata`, in bytes of JSON: a callback carries it and stays
/// under 20 kB.
pub(super) const MAX_METADATA_BYTES: usize = 4096;
/// The longest `timeout_s`: three days.
pub const MAX_TIMEOUT_S: u32 = 259_200;
/// The largest title of a file, in characters.
pub(super) const MAX_TITLE_CHARACTERS: usize = 200;
/// The most `segments`: a callback tells the times of each and stays under 20 kB.
pub(super) const MAX_SEGMENTS: usize = 200;
/// The longest `pause_after_ms`.
pub(super) const MAX_PAUSE_MS: u32 = 10_000;
/// Every bit rate that MPEG layer III knows, of all its sample rates; which
/// are valid for a voice is checked once the voice is known.
pub(super) const ALL_BITRATES: &[u32] = &[
    8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320,
];
