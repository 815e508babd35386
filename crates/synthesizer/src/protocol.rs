//! What parent and child say to each other over the child's standard input
//! and output.
//!
//! A frame is, in little-endian order:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 4 | length of all that follows, 5 to 1 MiB ([`MAX_FRAME_BYTES`]) |
//! | 1 | kind of message |
//! | 4 | id of the request it belongs to; 0 for [`FromChild::Hello`] |
//! | … | payload: raw bytes for audio, JSON for everything else |
//!
//! The child speaks first ([`FromChild::Hello`]). The parent then sends
//! [`FromParent::Speak`], one short one ahead of its turn at most, and may send
//! [`FromParent::Cancel`] while it waits. The child answers them one after
//! another, each with any number of [`FromChild::Progress`], [`FromChild::Audio`],
//! [`FromChild::Words`], [`FromChild::Samples`] and [`FromChild::Sentence`], and ends
//! with exactly one [`FromChild::Synthesis`], [`FromChild::Made`] or [`FromChild::Failed`].
//!
//! A long text may be spoken by several children: one has the whole, and is told of
//! sentences that others speak or have spoken before ([`FromParent::Prefetched`]) and
//! brought their samples.

use std::io::{self, Read, Write};
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use hoiam_text::{Request, SpeechError, Synthesis, Voice, Word};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::engines;

/// Raised whenever a message changes its meaning. Both ends are normally the
/// same binary; the check matters when another program was configured.
pub const VERSION: u32 = 4;

/// The most that a frame's length field may say.
pub const MAX_FRAME_BYTES: usize = 1 << 20;

/// The most audio that is put in one frame.
pub const MAX_AUDIO_BYTES: usize = 256 * 1024;

/// How much JSON one [`FromChild::Words`] aims at; far enough below
/// [`MAX_FRAME_BYTES`] for one more very long word.
const WORDS_FRAME_BYTES: usize = 256 * 1024;

/// How much JSON a [`Hello`] may have of voices, and of what is not there; with what
/// else it has far below [`MAX_FRAME_BYTES`].
const VOICES_BYTES: usize = 704 * 1024;
const UNAVAILABLE_BYTES: usize = 192 * 1024;

/// The length field itself.
const LENGTH_BYTES: usize = 4;

/// Kind and request id.
const HEADER_BYTES: usize = 5;

/// The kind of [`FromChild::Audio`].
const AUDIO: u8 = 3;

/// How much is asked of the operating system in one read: a pipe's usual
/// capacity.
const READ_BYTES: usize = 64 * 1024;

/// What the parent sets in the child's environment: else the allocator maps
/// 1 GiB before `main`, and more than the child's limit leaves it no room.
pub const SMALL_ARENAS: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32MiB");

/// What the parent tells the child on its command line, as one JSON argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The process that the child must not outlive.
    pub parent_pid: u32,
    /// What its engines are opened with.
    pub engines: engines::Setup,
    /// The most address space that the child may map (`RLIMIT_AS`).
    pub address_space_bytes: u64,
}

impl Setup {
    /// As it stands on the command line.
    pub fn to_argument(&self) -> String {
        // Numbers and a flag cannot fail to be written; an empty argument
        // would be refused by the child.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Takes it off the command line.
    ///
    /// # Errors
    ///
    /// Where it is not what [`Setup::to_argument`] makes.
    pub fn from_argument(argument: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(argument)
    }
}

/// One thing that a child tried to take away from itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// A stable name, such as `no_core_dumps`.
    pub name: String,
    /// Why it did not take effect; null when it did.
    pub error: Option<String>,
}

impl Limit {
    /// What came of trying it.
    pub(crate) fn new(name: &str, result: io::Result<()>) -> Self {
        Self {
            name: name.to_owned(),
            error: result.err().map(|error| error.to_string()),
        }
    }
}

/// A child's first words: what it is and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the child.
    pub protocol: u32,
    /// Version of the crate that the child was built from.
    pub build: String,
    /// Every voice that can be asked for.
    pub voices: Vec<Voice>,
    /// Engines that cannot be used here, each with the reason for people.
    pub unavailable: Vec<(String, String)>,
    /// What the child tried to take away from itself, and whether it worked.
    pub limits: Vec<Limit>,
}

impl Hello {
    /// Leaves out what would not fit in a frame, the last voices first: with too many
    /// of them a child speaks with those that it could tell of.
    #[must_use]
    pub fn fitted(mut self) -> Self {
        let kept = how_many_fit(&self.voices, VOICES_BYTES);
        let left_out = self.voices.split_off(kept);
        let why = "there are more voices than a service can tell of; remove some";
        let left_out = left_out.into_iter().map(|voice| (voice.id, why.to_owned()));
        self.unavailable.extend(left_out);
        let kept = how_many_fit(&self.unavailable, UNAVAILABLE_BYTES);
        let more = self.unavailable.split_off(kept).len();
        if more > 0 {
            let told = format!("{more} more cannot be used");
            self.unavailable.push(("voices".to_owned(), told));
        }
        self
    }
}

/// How many of the first of these are so much JSON together.
fn how_many_fit<T: Serialize>(all: &[T], most_bytes: usize) -> usize {
    let mut bytes = 0;
    let fits = |one: &&T| {
        let json = serde_json::to_vec(one);
        // With the comma behind it.
        bytes += json.map_or(most_bytes, |json| json.len()) + 1;
        bytes <= most_bytes
    };
    all.iter().take_while(fits).count()
}

/// One text to be spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speak {
    /// What is to be spoken.
    pub request: Request,
    /// How much processor time it may take, in seconds over all threads.
    pub cpu_s: u64,
    /// Of all sentences only this one, counted from 0, as bare samples: another
    /// child speaks the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<u32>,
    /// That one with letters, digits and plain marks only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
    /// Sentences that are reserved from the start, as by [`Prefetched::Reserved`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved: Vec<u32>,
    /// Whether each sentence that the child speaks is wanted by itself too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tell_sentences: bool,
}

impl Speak {
    /// All of a request, by this child alone.
    pub fn whole(request: Request, cpu_s: u64) -> Self {
        Self {
            request,
            cpu_s,
            only: None,
            plain: false,
            reserved: Vec::new(),
            tell_sentences: false,
        }
    }
}

/// A sentence of the open request that is none of the child's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prefetched {
    /// Somebody speaks it. It is to be waited for.
    Reserved(u32),
    /// Its samples have come, as [`FromParent::Samples`]. For each word from which
    /// to which of them it is heard.
    Made(u32, Vec<Range<usize>>),
    /// Whoever has reserved it has failed.
    Failed(u32),
}

/// So many of so many sentences are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Sentences that are done.
    pub done: u32,
    /// Sentences of the whole text.
    pub total: u32,
}

/// What the child says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromChild {
    /// First of all, once.
    Hello(Hello),
    /// After each sentence.
    Progress(Progress),
    /// The next bytes of the file.
    Audio(Bytes),
    /// The next words of the result: those of a long text do not fit in one
    /// frame.
    Words(Vec<Word>),
    /// The end, when it went well. Its own list of words is empty: they came
    /// before, in [`FromChild::Words`].
    Synthesis(Synthesis),
    /// The end of a single sentence, when it went well: for each word from which to
    /// which sample it is heard. The samples came before, in [`FromChild::Samples`].
    Made(Vec<Range<usize>>),
    /// The next samples of a single sentence, 16 bit little-endian.
    Samples(Bytes),
    /// A sentence of the whole by itself, counted from 0, as [`FromChild::Made`].
    Sentence(u32, Vec<Range<usize>>),
    /// The end, when it did not.
    Failed(SpeechError),
}

/// What the parent says.
#[derive(Debug, Clone, PartialEq)]
pub enum FromParent {
    /// Speak this, after what was asked for before.
    Speak(Speak),
    /// Stop what was asked for under this id.
    Cancel,
    /// News of a sentence of it.
    Prefetched(Prefetched),
    /// The next samples of a sentence that was made elsewhere, 16 bit little-endian.
    Samples(Bytes),
}

/// Why a frame could not be written, read or understood.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The length field is below 5 or above [`MAX_FRAME_BYTES`].
    #[error("a frame of {0} bytes (allowed: {HEADER_BYTES} to {MAX_FRAME_BYTES})")]
    Length(usize),
    /// No message of this direction has this kind.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
    /// The payload is not the JSON that its kind has. Of the JSON error only where it
    /// is, and it is no source: its text can quote what was to be spoken, which is not
    /// for logs.
    #[error("a payload that cannot be understood (column {})", .0.column())]
    Payload(serde_json::Error),
    /// The stream ended in the middle of a frame.
    #[error("the stream ended in the middle of a frame")]
    Truncated,
    /// The pipe failed.
    #[error("the pipe failed: {0}")]
    Io(#[source] io::Error),
}

/// One direction's messages: how each becomes a kind and a payload, and back.
pub trait Message: Sized {
    /// The frame's kind.
    fn kind(&self) -> u8;
    /// Appends the payload to `out`.
    fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError>;
    /// Makes the message of a frame's kind and payload.
    fn from_payload(kind: u8, payload: Bytes) -> Result<Self, ProtocolError>;
}

impl Message for FromChild {
    fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => 1,
            Self::Progress(_) => 2,
            Self::Audio(_) => AUDIO,
            Self::Words(_) => 4,
            Self::Synthesis(_) => 5,
            Self::Failed(_) => 6,
            Self::Made(_) => 7,
            Self::Samples(_) => 8,
            Self::Sentence(..) => 9,
        }
    }

    fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Hello(hello) => write_json(hello, out),
            Self::Progress(progress) => write_json(progress, out),
            Self::Audio(bytes) | Self::Samples(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Self::Words(words) => write_json(words, out),
            Self::Synthesis(spoken) => write_json(spoken, out),
            Self::Failed(error) => write_json(error, out),
            Self::Made(words) => write_json(words, out),
            Self::Sentence(sentence, words) => write_json(&(sentence, words), out),
        }
    }

    fn from_payload(kind: u8, payload: Bytes) -> Result<Self, ProtocolError> {
        match kind {
            1 => read_json(&payload).map(Self::Hello),
            2 => read_json(&payload).map(Self::Progress),
            AUDIO => Ok(Self::Audio(payload)),
            4 => read_json(&payload).map(Self::Words),
            5 => read_json(&payload).map(Self::Synthesis),
            6 => read_json(&payload).map(Self::Failed),
            7 => read_json(&payload).map(Self::Made),
            8 => Ok(Self::Samples(payload)),
            9 => read_json(&payload).map(|(sentence, words)| Self::Sentence(sentence, words)),
            _ => Err(ProtocolError::Kind(kind)),
        }
    }
}

impl Message for FromParent {
    fn kind(&self) -> u8 {
        match self {
            Self::Speak(_) => 64,
            Self::Cancel => 65,
            Self::Prefetched(_) => 66,
            Self::Samples(_) => 67,
        }
    }

    fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        match self {
            Self::Speak(speak) => write_json(speak, out),
            Self::Cancel => Ok(()),
            Self::Prefetched(news) => write_json(news, out),
            Self::Samples(bytes) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn from_payload(kind: u8, payload: Bytes) -> Result<Self, ProtocolError> {
        match kind {
            64 => read_json(&payload).map(Self::Speak),
            65 => Ok(Self::Cancel),
            66 => read_json(&payload).map(Self::Prefetched),
            67 => Ok(Self::Samples(payload)),
            _ => Err(ProtocolError::Kind(kind)),
        }
    }
}

fn write_json(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
    serde_json::to_writer(out, value).map_err(ProtocolError::Payload)
}

fn read_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(ProtocolError::Payload)
}

/// Splits the words of a result into parts that each fit in one
/// [`FromChild::Words`].
pub fn word_parts(words: &[Word]) -> impl Iterator<Item = &[Word]> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest
            .iter()
            .take_while(|word| {
                bytes += most_json_bytes(word);
                bytes <= WORDS_FRAME_BYTES
            })
            .count();
        // At least one word, however long, or this would never end.
        let (part, after) = rest.split_at(fitting.max(1).min(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// An upper bound of a word's JSON: the names and five numbers of at most 20
/// digits take less than 200 bytes, and JSON writes one byte as at most six.
fn most_json_bytes(word: &Word) -> usize {
    200 + 6 * word.text.len()
}

/// Appends one frame to `out`. After an error `out` is as it was.
///
/// # Errors
///
/// [`ProtocolError::Length`] when the message does not fit in a frame.
pub fn encode(
    request_id: u32,
    message: &impl Message,
    out: &mut Vec<u8>,
) -> Result<(), ProtocolError> {
    frame(request_id, message.kind(), out, |out| {
        message.write_payload(out)
    })
}

fn frame(
    request_id: u32,
    kind: u8,
    out: &mut Vec<u8>,
    write_payload: impl FnOnce(&mut Vec<u8>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    let start = out.len();
    let body = start + LENGTH_BYTES;
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.push(kind);
    out.extend_from_slice(&request_id.to_le_bytes());
    let written = write_payload(out).and_then(|()| length_field(out.len() - body));
    match written {
        Ok(length) => out[start..body].copy_from_slice(&length),
        Err(_) => out.truncate(start),
    }
    written.map(|_| ())
}

fn length_field(length: usize) -> Result<[u8; LENGTH_BYTES], ProtocolError> {
    match u32::try_from(length) {
        Ok(field) if length <= MAX_FRAME_BYTES => Ok(field.to_le_bytes()),
        _ => Err(ProtocolError::Length(length)),
    }
}

/// Takes the first frame off the front of `buffer`; `None` when it is not
/// there whole yet. After an error the stream cannot be trusted any more.
///
/// # Errors
///
/// Anything but [`ProtocolError::Truncated`] and [`ProtocolError::Io`].
pub fn decode<M: Message>(buffer: &mut BytesMut) -> Result<Option<(u32, M)>, ProtocolError> {
    let Some(field) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*field) as usize;
    if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length) {
        return Err(ProtocolError::Length(length));
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    let mut frame = buffer.split_to(length).freeze();
    let kind = frame.get_u8();
    let request_id = frame.get_u32_le();
    M::from_payload(kind, frame).map(|message| Some((request_id, message)))
}

/// Takes frames off a pipe. It never holds more than one frame and one read.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
}

impl<R> FrameReader<R> {
    /// Nothing is read before the first frame is asked for.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
        }
    }

    /// Whether a message, or a part of one, is here, or the source has one as
    /// far as `readable` can tell.
    pub fn is_ready(&self, readable: impl FnOnce(&R) -> bool) -> bool {
        !self.buffer.is_empty() || readable(&self.source)
    }

    /// What the end of the stream means: fine between two frames only.
    fn at_end<T>(&self) -> Result<Option<T>, ProtocolError> {
        if self.buffer.is_empty() {
            Ok(None)
        } else {
            Err(ProtocolError::Truncated)
        }
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// The next message with its request id; `None` at the end of the stream.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Any [`ProtocolError`]; the stream is of no use after one.
    pub async fn next<M: Message>(&mut self) -> Result<Option<(u32, M)>, ProtocolError> {
        loop {
            if let Some(message) = decode(&mut self.buffer)? {
                return Ok(Some(message));
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.source.read_buf(&mut self.buffer).await;
            if read.map_err(ProtocolError::Io)? == 0 {
                return self.at_end();
            }
        }
    }
}

impl<R: Read> FrameReader<R> {
    /// The same for a thread that may block.
    ///
    /// # Errors
    ///
    /// Any [`ProtocolError`]; the stream is of no use after one.
    pub fn next_blocking<M: Message>(&mut self) -> Result<Option<(u32, M)>, ProtocolError> {
        let mut chunk = [0; READ_BYTES];
        loop {
            if let Some(message) = decode(&mut self.buffer)? {
                return Ok(Some(message));
            }
            match self.source.read(&mut chunk) {
                Ok(0) => return self.at_end(),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ProtocolError::Io(error)),
            }
        }
    }
}

/// Puts frames on a pipe: [`FrameWriter::push`] gathers, flushing writes all
/// that was gathered at once.
#[derive(Debug)]
pub struct FrameWriter<W> {
    sink: W,
    pending: Vec<u8>,
}

impl<W> FrameWriter<W> {
    /// Nothing is written before the first flush.
    pub fn new(sink: W) -> Self {
        Self {
            sink,
            pending: Vec::new(),
        }
    }

    /// Gathers one message.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Length`] when the message does not fit in a frame;
    /// nothing was gathered then.
    pub fn push(&mut self, request_id: u32, message: &impl Message) -> Result<(), ProtocolError> {
        encode(request_id, message, &mut self.pending)
    }

    /// Gathers one [`FromChild::Audio`] of borrowed bytes.
    ///
    /// # Errors
    ///
    /// As [`FrameWriter::push`].
    pub fn push_audio(&mut self, request_id: u32, bytes: &[u8]) -> Result<(), ProtocolError> {
        frame(request_id, AUDIO, &mut self.pending, |out| {
            out.extend_from_slice(bytes);
            Ok(())
        })
    }

    /// Bytes that wait to be flushed.
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Writes what was gathered. When the future is dropped, a part of a frame
    /// may have been written: the pipe is of no use then.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Io`].
    pub async fn flush(&mut self) -> Result<(), ProtocolError> {
        let written = self.sink.write_all(&self.pending).await;
        self.pending.clear();
        written.map_err(ProtocolError::Io)
    }

    /// Writes as much of what was gathered as the pipe takes now, at least a byte.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Io`].
    pub async fn flush_some(&mut self) -> Result<(), ProtocolError> {
        let written = self.sink.write(&self.pending).await;
        self.pending.drain(..written.map_err(ProtocolError::Io)?);
        Ok(())
    }
}

impl<W: Write> FrameWriter<W> {
    /// The same for a thread that may block.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Io`].
    pub fn flush_blocking(&mut self) -> Result<(), ProtocolError> {
        let written = self.sink.write_all(&self.pending);
        self.pending.clear();
        written.map_err(ProtocolError::Io)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hoiam_text::Output;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn word() -> impl Strategy<Value = Word> {
        (any::<String>(), any::<[u64; 2]>(), any::<[u32; 3]>()).prop_map(|(text, ms, at)| Word {
            text,
            start_ms: ms[0],
            end_ms: ms[1],
            char_start: at[0],
            char_end: at[1],
            sentence: at[2],
            segment: None,
        })
    }

    fn from_child() -> impl Strategy<Value = FromChild> {
        let hello = (any::<String>(), vec(any::<(String, String)>(), 0..3)).prop_map(
            |(build, unavailable)| {
                FromChild::Hello(Hello {
                    protocol: VERSION,
                    build: build.clone(),
                    voices: Vec::new(),
                    unavailable,
                    limits: vec![Limit {
                        name: build,
                        error: None,
                    }],
                })
            },
        );
        let progress = any::<(u32, u32)>()
            .prop_map(|(done, total)| FromChild::Progress(Progress { done, total }));
        let audio = vec(any::<u8>(), 0..200).prop_map(|bytes| FromChild::Audio(bytes.into()));
        let samples = vec(any::<u8>(), 0..200).prop_map(|bytes| FromChild::Samples(bytes.into()));
        let sentence = (any::<u32>(), vec(any::<Range<usize>>(), 0..5))
            .prop_map(|(sentence, words)| FromChild::Sentence(sentence, words));
        let words = vec(word(), 0..5).prop_map(FromChild::Words);
        let spoken = (any::<u64>(), vec(any::<u8>(), 0..50)).prop_map(|(duration_ms, head)| {
            FromChild::Synthesis(Synthesis {
                duration_ms,
                sample_rate_hz: 22_050,
                channels: 1,
                words: Vec::new(),
                segments: Vec::new(),
                head,
            })
        });
        let failed = any::<String>()
            .prop_map(|detail| FromChild::Failed(SpeechError::EngineFailed { detail }));
        prop_oneof![
            hello, progress, audio, samples, sentence, words, spoken, failed
        ]
    }

    fn from_parent() -> impl Strategy<Value = FromParent> {
        let speak =
            (any::<String>(), 0.5f32..2.0, any::<u64>()).prop_map(|(text, speed, cpu_s)| {
                FromParent::Speak(Speak {
                    request: {
                        let output = Output::default();
                        let mut request = Request::plain(text, "test/silence", output);
                        request.segments[0].speed = speed;
                        request
                    },
                    cpu_s,
                    only: None,
                    plain: cpu_s % 3 == 0,
                    reserved: vec![cpu_s as u32],
                    tell_sentences: cpu_s % 2 == 0,
                })
            });
        prop_oneof![speak, Just(FromParent::Cancel)]
    }

    fn encoded<M: Message>(messages: &[(u32, M)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (id, message) in messages {
            encode(*id, message, &mut out).unwrap();
        }
        out
    }

    /// Gives one byte a read.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let one = out.len().min(1);
            Read::read(&mut self.0, &mut out[..one])
        }
    }

    fn read_all<M: Message>(source: impl Read) -> (Vec<(u32, M)>, Option<ProtocolError>) {
        let mut reader = FrameReader::new(source);
        let mut messages = Vec::new();
        loop {
            match reader.next_blocking() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => return (messages, None),
                Err(error) => return (messages, Some(error)),
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_child_says_arrives(messages in vec((any::<u32>(), from_child()), 0..6)) {
            let bytes = encoded(&messages);
            let (whole, error) = read_all(&bytes[..]);
            prop_assert!(error.is_none());
            prop_assert_eq!(&whole, &messages);
            let (dripped, error) = read_all(Drip(&bytes));
            prop_assert!(error.is_none());
            prop_assert_eq!(&dripped, &messages);
        }

        #[test]
        fn what_a_parent_says_arrives(messages in vec((any::<u32>(), from_parent()), 0..6)) {
            let (arrived, error) = read_all(&encoded(&messages)[..]);
            prop_assert!(error.is_none());
            prop_assert_eq!(arrived, messages);
        }

        #[test]
        fn a_stream_that_is_cut_off_gives_whole_messages_and_then_an_error(
            messages in vec((any::<u32>(), from_child()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = encoded(&messages);
            let (arrived, error) = read_all::<FromChild>(&bytes[..cut.index(bytes.len())]);
            prop_assert!(arrived.len() < messages.len());
            prop_assert_eq!(&arrived[..], &messages[..arrived.len()]);
            let between_two = encoded(&arrived).len() == cut.index(bytes.len());
            prop_assert_eq!(error.is_none(), between_two);
        }

        #[test]
        fn garbage_ends_in_an_error_and_holds_little_memory(bytes in vec(any::<u8>(), 1..4000)) {
            let mut reader = FrameReader::new(&bytes[..]);
            while let Ok(Some(_)) = reader.next_blocking::<FromChild>() {}
            prop_assert!(reader.buffer.capacity() <= 4 * READ_BYTES);
            let (_, error) = read_all::<FromParent>(&bytes[..]);
            prop_assert!(error.is_some() || bytes.len() >= LENGTH_BYTES + HEADER_BYTES);
        }

        #[test]
        fn a_message_with_garbage_for_a_payload_is_an_error_or_a_message(
            kind in any::<u8>(),
            payload in vec(any::<u8>(), 0..200),
        ) {
            // Neither panics; what is known must be refused unless it is JSON.
            let known = (1..=9).contains(&kind);
            let payload = Bytes::from(payload);
            prop_assert!(known || FromChild::from_payload(kind, payload.clone()).is_err());
            let known = (64..=67).contains(&kind);
            prop_assert!(known || FromParent::from_payload(kind, payload).is_err());
        }

        #[test]
        fn parts_of_words_are_the_words_and_each_fits_in_a_frame(
            words in vec(word(), 0..40),
            stretch in 1usize..3000,
        ) {
            let mut words = words;
            if let Some(word) = words.first_mut() {
                word.text = "\u{1}".repeat(stretch * 50);
            }
            let mut out = Vec::new();
            for part in word_parts(&words) {
                prop_assert!(!part.is_empty());
                prop_assert!(encode(1, &FromChild::Words(part.to_vec()), &mut out).is_ok());
            }
            prop_assert_eq!(word_parts(&words).flatten().count(), words.len());
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused_before_anything_is_reserved() {
        for length in [0, 4, MAX_FRAME_BYTES as u32 + 1, u32::MAX] {
            let bytes = [&length.to_le_bytes()[..], &[3; 20]].concat();
            let mut reader = FrameReader::new(&bytes[..]);
            let error = reader.next_blocking::<FromChild>().unwrap_err();
            assert!(
                matches!(error, ProtocolError::Length(said) if said == length as usize),
                "{error}"
            );
            assert!(reader.buffer.capacity() <= READ_BYTES);
        }
    }

    #[test]
    fn a_frame_is_as_large_as_allowed_and_no_larger() {
        let most = MAX_FRAME_BYTES - HEADER_BYTES;
        let mut out = vec![9];
        let too_large = FromChild::Audio(vec![0; most + 1].into());
        assert!(matches!(
            encode(1, &too_large, &mut out),
            Err(ProtocolError::Length(_))
        ));
        assert_eq!(out, [9], "nothing of it was written");
        let largest = FromChild::Audio(vec![7; most].into());
        let (arrived, error) = read_all(&encoded(&[(1, largest.clone())])[..]);
        assert!(error.is_none());
        assert_eq!(arrived, [(1, largest)]);
    }

    #[test]
    fn a_hello_fits_in_a_frame_whatever_there_is_to_tell() {
        let voice = |at: usize| Voice {
            id: format!("piper/{at}"),
            engine: "piper".into(),
            language: "x".into(),
            name: "x".into(),
            gender: None,
            sample_rate_hz: 22_050,
            licence: None,
            speakers: vec!["\u{1}".repeat(100); 100],
            version: None,
            is_costly: true,
        };
        let hello = |voices: usize, missing: usize| Hello {
            protocol: VERSION,
            build: String::new(),
            voices: (0..voices).map(voice).collect(),
            unavailable: vec![("x".into(), "\"".repeat(500)); missing],
            limits: Vec::new(),
        };
        let few = hello(3, 3);
        assert_eq!(few.clone().fitted(), few);
        for (voices, missing) in [(1000, 0), (0, 10_000), (1000, 10_000)] {
            let whole = hello(voices, missing);
            let mut out = Vec::new();
            assert!(encode(0, &FromChild::Hello(whole.clone()), &mut out).is_err());
            let fitted = whole.fitted();
            assert!(encode(0, &FromChild::Hello(fitted.clone()), &mut out).is_ok());
            assert_eq!(
                fitted.voices[..],
                hello(voices, 0).voices[..fitted.voices.len()]
            );
            assert!(voices == 0 || fitted.voices.len() > 8);
            if missing == 0 {
                let told = fitted.voices.len() + fitted.unavailable.len();
                assert_eq!(told, voices, "each is told of");
                continue;
            }
            let (last, told) = fitted.unavailable.last().unwrap();
            assert_eq!(last, "voices");
            let left_out = voices - fitted.voices.len() + missing - (fitted.unavailable.len() - 1);
            assert_eq!(told, &format!("{left_out} more cannot be used"));
        }
    }

    #[test]
    fn a_setup_survives_the_command_line() {
        let setup = Setup {
            parent_pid: u32::MAX,
            engines: engines::Setup {
                test_voices: true,
                voices_dir: Some("/voices".into()),
                threads: 2,
                onnxruntime_library: Some("/libonnxruntime.so".into()),
            },
            address_space_bytes: u64::MAX,
        };
        assert_eq!(Setup::from_argument(&setup.to_argument()).unwrap(), setup);
        assert!(Setup::from_argument("").is_err());
    }

    #[test]
    fn an_error_does_not_quote_what_was_said() {
        let error = FromParent::from_payload(64, Bytes::from_static(b"\"a secret\"")).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
