//! The child's side: the hidden subcommand `hoiam synthesizer SETUP`.
//!
//! Two threads. One takes frames off standard input all the time, so that a
//! cancelation is seen while a text is being spoken, and leaves at once when
//! the input ends. The main thread opens the engines and speaks.

use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::speech::{self, Engines, Request, Sink, SpeechError, Spoken};
use crate::synthesizer::limits;
use crate::synthesizer::protocol::{
    self, FrameReader, FrameWriter, FromChild, FromParent, Hello, MAX_AUDIO_BYTES, Progress,
    ProtocolError, Setup, Speak,
};

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
    match serve(&setup) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the synthesizer gives up: {error}");
            ExitCode::from(EXIT_OS)
        }
    }
}

fn serve(setup: &Setup) -> Result<(), ProtocolError> {
    let output = limits::private_stdout().map_err(ProtocolError::Io)?;
    limits::die_with_parent(setup.parent_pid).map_err(ProtocolError::Io)?;
    let limits = limits::apply(setup, &output);

    let canceled = Arc::new(AtomicU32::new(0));
    let requests = listen(Arc::clone(&canceled)).map_err(ProtocolError::Io)?;

    let mut engines = Engines::open(setup.test_voices);
    let mut output = FrameWriter::new(output);
    let hello = Hello {
        protocol: protocol::VERSION,
        build: env!("CARGO_PKG_VERSION").to_owned(),
        voices: engines.voices(),
        unavailable: engines.unavailable(),
        limits,
    };
    output.push(0, &FromChild::Hello(hello))?;
    output.flush_blocking()?;

    for (request_id, speak) in requests {
        limits::allow_cpu(speak.cpu_s).map_err(ProtocolError::Io)?;
        let reply = Reply {
            output: &mut output,
            request_id,
            canceled: &canceled,
            flushed_at: Instant::now(),
        };
        reply.speak(&mut engines, &speak.request)?;
    }
    Ok(())
}

/// Starts the thread that takes frames: requests come out of the channel in
/// order, the id of a canceled one is put in `canceled`.
fn listen(canceled: Arc<AtomicU32>) -> io::Result<mpsc::Receiver<(u32, Speak)>> {
    let (requests, received) = mpsc::channel();
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(move || {
            let mut input = FrameReader::new(io::stdin().lock());
            loop {
                match input.next_blocking() {
                    Ok(Some((id, FromParent::Cancel))) => canceled.store(id, Ordering::Relaxed),
                    Ok(Some((id, FromParent::Speak(speak)))) => {
                        if requests.send((id, speak)).is_err() {
                            return;
                        }
                    }
                    // The parent wants nothing more from us, or is gone.
                    Ok(None) => limits::leave(0),
                    Err(error) => {
                        eprintln!("the synthesizer was sent {error}");
                        limits::leave(EXIT_DATA);
                    }
                }
            }
        })?;
    Ok(received)
}

/// The answer to one request, while it is being made.
struct Reply<'a> {
    output: &'a mut FrameWriter<File>,
    request_id: u32,
    canceled: &'a AtomicU32,
    flushed_at: Instant,
}

impl Reply<'_> {
    /// Speaks, and tells the parent how it ended. An error means that the
    /// parent cannot be told anything any more.
    fn speak(mut self, engines: &mut Engines, request: &Request) -> Result<(), ProtocolError> {
        match speech::speak(engines, request, &mut self) {
            Ok(spoken) => self.spoken(spoken)?,
            Err(_) if self.is_canceled() => self.push(&FromChild::Failed(SpeechError::Canceled))?,
            Err(error) => self.push(&FromChild::Failed(error))?,
        }
        self.output.flush_blocking()
    }

    fn spoken(&mut self, mut spoken: Spoken) -> Result<(), ProtocolError> {
        let words = std::mem::take(&mut spoken.words);
        for part in protocol::word_parts(&words) {
            self.push(&FromChild::Words(part.to_vec()))?;
        }
        self.push(&FromChild::Spoken(spoken))
    }

    /// Gathers a message. Few messages cost one write in the end, many do not
    /// pile up, and none waits long behind the work on the next sentence.
    fn push(&mut self, message: &FromChild) -> Result<(), ProtocolError> {
        self.output.push(self.request_id, message)?;
        if self.output.pending_bytes() >= FLUSH_AT_BYTES || self.flushed_at.elapsed() >= FLUSH_AFTER
        {
            self.output.flush_blocking()?;
            self.flushed_at = Instant::now();
        }
        Ok(())
    }

    fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed) == self.request_id
    }
}

impl Sink for Reply<'_> {
    fn audio(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_canceled() {
            return Err(io::Error::other("canceled"));
        }
        for part in bytes.chunks(MAX_AUDIO_BYTES) {
            self.push(&FromChild::Audio(Bytes::copy_from_slice(part)))
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn progress(&mut self, done: u32, total: u32) -> bool {
        let told = self.push(&FromChild::Progress(Progress { done, total }));
        told.is_ok() && !self.is_canceled()
    }
}
