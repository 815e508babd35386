//! The child's side: the hidden subcommand `hoiam synthesizer SETUP`.
//!
//! The main thread opens the engines, takes frames off standard input and
//! speaks; between two sentences it looks whether a cancelation has come. A
//! second thread sleeps until the input ends, and then leaves at once.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hoiam_synthesizer::limits;
use hoiam_synthesizer::protocol::{
    self, FrameReader, FrameWriter, FromChild, FromParent, Hello, MAX_AUDIO_BYTES, Prefetched,
    Progress, ProtocolError, Setup, Speak,
};
use hoiam_text::{SpeechError, Synthesis};

use crate::{Engines, Sink, SpokenSentence, engine};

/// Small messages are gathered until they are as many bytes as a pipe holds …
const FLUSH_AT_BYTES: usize = 64 * 1024;

/// … or until the last flush is so long ago.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

/// sysexits.h: the command was used wrongly.
const EXIT_USAGE: u8 = 64;
/// sysexits.h: the input was not what it should be.
const EXIT_DATA: i32 = 65;
/// sysexits.h: an error of the operating system.
const EXIT_OS: u8 = 71;

/// Serves the parent until it closes our input. To be called with the one
/// argument of the subcommand, the [`Setup`] as JSON, before the process has
/// started a thread or opened a file.
pub fn run(setup: &str) -> ExitCode {
    let Ok(setup) = Setup::from_argument(setup) else {
        eprintln!("`hoiam synthesizer` is started by the service itself, not by hand");
        return ExitCode::from(EXIT_USAGE);
    };
    let Err(error) = serve(&setup);
    eprintln!("the synthesizer gives up: {error}");
    ExitCode::from(EXIT_OS)
}

/// Ends only with an error: at the end of the input the process leaves.
fn serve(setup: &Setup) -> Result<Infallible, ProtocolError> {
    let output = limits::private_stdout().map_err(ProtocolError::Io)?;
    limits::die_with_parent(setup.parent_pid).map_err(ProtocolError::Io)?;
    let mut limits = limits::apply(setup, &output);
    let files = engine::load_libraries(&setup.engines);
    limits.push(limits::read_only(&files));

    leave_at_end_of_input().map_err(ProtocolError::Io)?;
    let mut input = Input::open().map_err(ProtocolError::Io)?;

    let mut engines = Engines::open(&setup.engines);
    let mut output = FrameWriter::new(output);
    let hello = Hello {
        protocol: protocol::VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        voices: engines.voices(),
        unavailable: engines.unavailable(),
        limits,
    };
    output.push(0, &FromChild::Hello(hello.fitted()))?;
    output.flush_blocking()?;

    loop {
        let (request_id, speak) = input.next_request();
        limits::allow_cpu(speak.cpu_s).map_err(ProtocolError::Io)?;
        let reply = Reply {
            output: &mut output,
            input: &mut input,
            request_id,
            tells_sentences: speak.tell_sentences,
            flushed_at: Instant::now(),
        };
        reply.answer(&mut engines, &speak)?;
    }
}

/// Starts the thread that ends this process when the parent wants nothing more
/// from it, or is gone; also in the middle of a sentence.
fn leave_at_end_of_input() -> io::Result<()> {
    std::thread::Builder::new()
        .name("input-end".to_owned())
        .spawn(|| match limits::wait_for_hang_up(io::stdin()) {
            Ok(()) => limits::leave(0),
            Err(error) => eprintln!("the end of the input will not be seen: {error}"),
        })
        .map(drop)
}

/// What the parent sends.
struct Input {
    frames: FrameReader<File>,
    /// Requests that came while another was being spoken.
    waiting: VecDeque<(u32, Speak)>,
    /// The last one that was called off.
    canceled: u32,
    /// The one that is being spoken.
    open: u32,
    /// Sentences of it that others speak; `None` while they do.
    prefetched: HashMap<u32, Option<SpokenSentence>>,
    /// The samples of one of those, as they come.
    samples: Vec<i16>,
}

impl Input {
    fn open() -> io::Result<Self> {
        // Not std's own handle, whose buffer cannot be seen to be empty.
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self {
            frames: FrameReader::new(File::from(stdin)),
            waiting: VecDeque::new(),
            canceled: 0,
            open: 0,
            prefetched: HashMap::new(),
            samples: Vec::new(),
        })
    }

    /// Waits for the next request.
    fn next_request(&mut self) -> (u32, Speak) {
        loop {
            if let Some(request) = self.waiting.pop_front() {
                self.open = request.0;
                let reserved = request.1.reserved.iter();
                self.prefetched = reserved.map(|sentence| (*sentence, None)).collect();
                self.samples.clear();
                return request;
            }
            self.take();
        }
    }

    /// Whether this request has been called off by now.
    fn cancels(&mut self, request_id: u32) -> bool {
        while self.frames.is_ready(limits::is_readable) {
            self.take();
        }
        self.canceled == request_id
    }

    fn note(&mut self, news: Prefetched) {
        match news {
            Prefetched::Reserved(sentence) => {
                self.prefetched.insert(sentence, None);
            }
            Prefetched::Made(sentence, words) => {
                let pcm = std::mem::take(&mut self.samples);
                let made = SpokenSentence { pcm, words };
                self.prefetched.insert(sentence, Some(made));
            }
            Prefetched::Failed(sentence) => {
                self.prefetched.remove(&sentence);
            }
        }
    }

    /// A sentence that somebody else speaks; waits for it.
    fn prefetched(&mut self, request_id: u32, sentence: u32) -> Option<SpokenSentence> {
        // What is before it came too late.
        self.prefetched.retain(|known, _| *known >= sentence);
        while !self.cancels(request_id) {
            match self.prefetched.remove(&sentence)? {
                Some(made) => return Some(made),
                None => {
                    self.prefetched.insert(sentence, None);
                    self.take();
                }
            }
        }
        None
    }

    /// Waits for a frame and keeps what it says.
    fn take(&mut self) {
        match self.frames.next_blocking() {
            Ok(Some((id, FromParent::Cancel))) => self.canceled = id,
            Ok(Some((id, FromParent::Speak(speak)))) => self.waiting.push_back((id, speak)),
            Ok(Some((id, FromParent::Prefetched(news)))) if id == self.open => self.note(news),
            Ok(Some((id, FromParent::Samples(bytes)))) if id == self.open => {
                let samples = bytes.chunks_exact(2);
                self.samples
                    .extend(samples.map(|two| i16::from_le_bytes([two[0], two[1]])));
            }
            // The request was over before it came.
            Ok(Some((_, FromParent::Prefetched(_) | FromParent::Samples(_)))) => {}
            Ok(None) => limits::leave(0),
            Err(error) => {
                eprintln!("the synthesizer was sent {error}");
                limits::leave(EXIT_DATA);
            }
        }
    }
}

/// The answer to one request, while it is being made.
struct Reply<'a> {
    output: &'a mut FrameWriter<File>,
    input: &'a mut Input,
    request_id: u32,
    tells_sentences: bool,
    flushed_at: Instant,
}

impl Reply<'_> {
    /// Speaks, and tells the parent how it ended. An error means that the
    /// parent cannot be told anything any more.
    fn answer(mut self, engines: &mut Engines, speak: &Speak) -> Result<(), ProtocolError> {
        let Speak {
            request,
            only,
            plain,
            ..
        } = speak;
        let answered = match only {
            None => crate::speak(engines, request, &mut self).map(Answer::Synthesis),
            Some(only) => crate::speak_sentence(engines, request, *only, *plain).map(Answer::Made),
        };
        match answered {
            Ok(Answer::Synthesis(spoken)) => self.spoken(spoken)?,
            Ok(Answer::Made(made)) => self.made(made)?,
            Err(_) if self.is_canceled() => self.push(&FromChild::Failed(SpeechError::Canceled))?,
            Err(error) => self.push(&FromChild::Failed(error))?,
        }
        self.output.flush_blocking()
    }

    fn made(&mut self, made: SpokenSentence) -> Result<(), ProtocolError> {
        self.samples(&made.pcm)?;
        self.push(&FromChild::Made(made.words))
    }

    fn samples(&mut self, pcm: &[i16]) -> Result<(), ProtocolError> {
        for part in pcm.chunks(MAX_AUDIO_BYTES / 2) {
            let bytes: Vec<u8> = part
                .iter()
                .flat_map(|sample| sample.to_le_bytes())
                .collect();
            self.push(&FromChild::Samples(bytes.into()))?;
        }
        Ok(())
    }

    fn spoken(&mut self, mut spoken: Synthesis) -> Result<(), ProtocolError> {
        let words = std::mem::take(&mut spoken.words);
        for part in protocol::word_parts(&words) {
            self.push(&FromChild::Words(part.to_vec()))?;
        }
        self.push(&FromChild::Synthesis(spoken))
    }

    /// Gathers a message. Few messages cost one write in the end, many do not
    /// pile up, and none waits long behind the work on the next sentence.
    fn push(&mut self, message: &FromChild) -> Result<(), ProtocolError> {
        self.output.push(self.request_id, message)?;
        self.flush_if_due()
    }

    fn flush_if_due(&mut self) -> Result<(), ProtocolError> {
        if self.output.pending_bytes() >= FLUSH_AT_BYTES || self.flushed_at.elapsed() >= FLUSH_AFTER
        {
            self.output.flush_blocking()?;
            self.flushed_at = Instant::now();
        }
        Ok(())
    }

    fn is_canceled(&mut self) -> bool {
        self.input.cancels(self.request_id)
    }
}

/// What came of a request.
enum Answer {
    Synthesis(Synthesis),
    Made(SpokenSentence),
}

impl Sink for Reply<'_> {
    fn audio(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_canceled() {
            return Err(io::Error::other("canceled"));
        }
        for part in bytes.chunks(MAX_AUDIO_BYTES) {
            self.output
                .push_audio(self.request_id, part)
                .and_then(|()| self.flush_if_due())
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn prefetched(&mut self, sentence: u32) -> Option<SpokenSentence> {
        if !self.input.prefetched.contains_key(&sentence) {
            return None;
        }
        // Whoever we wait for goes by what is heard of us.
        self.output.flush_blocking().ok()?;
        self.input.prefetched(self.request_id, sentence)
    }

    fn sentence(&mut self, sentence: u32, pcm: &[i16], words: &[Range<usize>]) {
        if self.tells_sentences {
            let told = self.samples(pcm);
            // A parent that cannot be told this will not get the audio either.
            let _ = told.and_then(|()| self.push(&FromChild::Sentence(sentence, words.to_vec())));
        }
    }

    fn progress(&mut self, done: u32, total: u32) -> bool {
        let told = self.push(&FromChild::Progress(Progress { done, total }));
        told.is_ok() && !self.is_canceled()
    }
}
