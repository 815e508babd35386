//! Frames between the service and its child, both directions, and what a child makes
//! of sentences that others are said to have made.

use std::fmt::Debug;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Mutex;

use bytes::BytesMut;
use hoiam_speech::{Engines, Sink, SpokenSentence, speak};
use hoiam_synthesizer::engines::Setup;
use hoiam_synthesizer::protocol::{
    FrameReader, FromChild, FromParent, MAX_FRAME_BYTES, Message, Prefetched, ProtocolError,
    decode, encode, word_parts,
};
use hoiam_text::{Format, Output, Request};

pub fn check(data: &[u8]) {
    let from_child = frames::<FromChild>(data);
    for (_, message) in from_child {
        match message {
            FromChild::Hello(hello) => {
                let mut out = Vec::new();
                encode(0, &FromChild::Hello(hello.fitted()), &mut out).expect("it fits");
            }
            FromChild::Words(words) => {
                assert!(word_parts(&words).all(|part| !part.is_empty()));
                assert_eq!(word_parts(&words).flatten().count(), words.len());
            }
            FromChild::Made(words) | FromChild::Sentence(_, words) => put_together(words),
            _ => {}
        }
    }
    for (_, message) in frames::<FromParent>(data) {
        match message {
            FromParent::Prefetched(Prefetched::Made(_, words)) => put_together(words),
            FromParent::Speak(speak) => {
                speak.request.places();
            }
            _ => {}
        }
    }
}

/// Gives as many bytes a read as the first one says.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let few = out.len().min(self.1);
        Read::read(&mut self.0, &mut out[..few])
    }
}

fn read_all<M: Message>(source: impl Read) -> (Vec<(u32, M)>, Option<String>) {
    let mut reader = FrameReader::new(source);
    let mut messages = Vec::new();
    loop {
        match reader.next_blocking() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, None),
            Err(error) => return (messages, Some(error.to_string())),
        }
    }
}

/// They are the same however they come, and written again they are the same.
fn frames<M: Message + PartialEq + Debug>(data: &[u8]) -> Vec<(u32, M)> {
    let (messages, error) = read_all::<M>(data);
    let few = usize::from(data.first().copied().unwrap_or_default()) + 1;
    assert_eq!(read_all::<M>(Drip(data, few)), (messages, error));
    // With a right length more is read.
    let (mut all, _) = read_all::<M>(data);
    if let Some((_, rest)) = data.split_first_chunk::<4>() {
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut buffer = BytesMut::from(&[&length[..], rest].concat()[..]);
        match decode::<M>(&mut buffer) {
            Ok(Some(message)) => {
                assert!(buffer.is_empty());
                all.push(message);
            }
            Ok(None) => panic!("a whole frame"),
            Err(ProtocolError::Length(said)) => {
                assert!(said == rest.len() && !(5..=MAX_FRAME_BYTES).contains(&said));
            }
            Err(error) => assert!(error.to_string().len() < 200),
        }
    }
    for (id, message) in &all {
        let mut written = Vec::new();
        if encode(*id, message, &mut written).is_err() {
            assert!(written.is_empty());
            continue;
        }
        let mut buffer = BytesMut::from(&written[..]);
        let (again_id, again) = decode::<M>(&mut buffer).expect("a frame").expect("whole");
        assert_eq!((again_id, &again), (*id, message));
        let mut twice = Vec::new();
        encode(*id, &again, &mut twice).expect("a frame");
        assert_eq!(twice, written);
    }
    all
}

/// Of a text whose first sentence others have made, and how many bytes came of it.
struct Joined(Option<SpokenSentence>, usize);

impl Sink for Joined {
    fn audio(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1 += bytes.len();
        Ok(())
    }

    fn progress(&mut self, _: u32, _: u32) -> bool {
        true
    }

    fn prefetched(&mut self, sentence: u32) -> Option<SpokenSentence> {
        self.0.take_if(|_| sentence == 0)
    }
}

/// A sentence that was made elsewhere says where its words are heard, and may lie.
fn put_together(words: Vec<Range<usize>>) {
    static ENGINES: Mutex<Option<Engines>> = Mutex::new(None);
    let mut engines = ENGINES.lock().unwrap();
    let engines = engines.get_or_insert_with(|| {
        Engines::open(&Setup {
            test_voices: true,
            ..Setup::default()
        })
    });
    let output = Output {
        format: Format::Pcm,
        ..Output::default()
    };
    let request = Request::plain("Một hai ba bốn. Năm.", "test/silence", output);
    let tone = (0..4_000_i16).map(|at| if at / 500 % 2 == 0 { 0 } else { at % 50 * 300 });
    let made = SpokenSentence {
        pcm: tone.collect(),
        words,
    };
    let mut sink = Joined(Some(made), 0);
    let spoken = speak(engines, &request, &mut sink).expect("it is spoken");
    assert!(spoken.words.len() <= 5);
    for word in spoken.words {
        assert!(word.end_ms <= spoken.duration_ms + 1, "{word:?}");
    }
    assert!(sink.1 < 1_000_000);
}
