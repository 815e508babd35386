//! The service's side: one [`Synthesizer`] is one child at a time.
//!
//! A request takes the child out of the handle and puts it back only after
//! the child's last word about it. Whatever else happens (a crash, garbage, a
//! limit, a future that is dropped in the middle) the child is dropped, which
//! kills it, and the next request starts a new one. So no request can ever be
//! given what belongs to an earlier one.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hoiam_text::{Request, SpeechError, Synthesis};
use tokio::net::unix::pipe;
use tokio::time::{Instant, timeout};

use crate::process::{self, Ended, Process};
use crate::protocol::{
    self, FrameReader, FrameWriter, FromChild, FromParent, Hello, MAX_AUDIO_BYTES, Prefetched,
    Progress, ProtocolError, Setup, Speak,
};
use crate::stats::{self, Monitor, Stats};
use crate::voice_files;
use crate::{engines, lock};

/// Every so many requests a child's memory is looked at. It grows slowly, and
/// looking costs as much as a short text.
const WEIGH_EVERY: u32 = 16;

/// The longest text that is sent ahead: far less than a pipe holds, so that
/// sending it can never block while the child wants to be read.
const MOST_AHEAD_BYTES: usize = 4096;

/// After the first failed start; doubled by each that follows.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// More than a sentence can be (`hoiam_text::segmentation`): ten minutes, where a slow voice reads
/// out the names of another script's letters.
const MAX_SENTENCE_BYTES: usize = 32 << 20;

/// The longest wait between two failed starts.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// What a child needs to know of the service's environment: where its
/// libraries and data are. All else may hold secrets, and the child works on
/// text from strangers.
const KEPT_ENVIRONMENT: [&str; 8] = [
    "ESPEAK_DATA_PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "PATH",
    "RTEN_NUM_THREADS",
    "RUST_BACKTRACE",
];

/// What a neural voice works with besides its model.
const NETWORK_BYTES: u64 = 256 << 20;

/// How children are started and when they are replaced.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program. The default is the running one, also if its file was
    /// replaced by an upgrade.
    pub program: PathBuf,
    /// Its arguments; the child's [`Setup`] comes after them.
    pub args: Vec<OsString>,
    /// What its engines are opened with.
    pub engines: engines::Setup,
    /// The most address space that a child may map.
    pub address_space_bytes: u64,
    /// A child is replaced after so many requests …
    pub recycle_after_requests: u32,
    /// … or when more memory than this is resident after one.
    pub recycle_above_rss_bytes: u64,
    /// How long a child may take to open its engines.
    pub start_timeout: Duration,
    /// How long a child may take to obey a cancelation before it is killed: a
    /// sentence of a slow voice.
    pub cancel_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            args: vec![OsString::from("synthesizer")],
            engines: engines::Setup::default(),
            address_space_bytes: 512 << 20,
            recycle_after_requests: 10_000,
            recycle_above_rss_bytes: 256 << 20,
            start_timeout: Duration::from_secs(10),
            cancel_grace: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// For these engines. Where there are neural voices, a child may use as much more
    /// memory as the largest of them needs.
    #[must_use]
    pub fn for_engines(engines: engines::Setup) -> Self {
        let folder = engines.voices_dir.as_deref();
        let models = folder.map(voice_files::find).unwrap_or_default();
        let bytes = models.iter().filter_map(|files| files.model_bytes().ok());
        let model_bytes = bytes.max().map_or(0, |model| NETWORK_BYTES + 4 * model);
        let plain = Self::default();
        Self {
            engines,
            address_space_bytes: plain.address_space_bytes + 2 * model_bytes,
            recycle_above_rss_bytes: plain.recycle_above_rss_bytes + model_bytes,
            ..plain
        }
    }
}

/// How long a request may take, from when a child is there. From a duration: the whole,
/// whatever its pieces take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// All of it, but for its [`Pauses`].
    pub whole: Duration,
    /// From one piece of the result to the next, but for pauses: a child that hangs on a
    /// long text is not waited for as long as the whole may take.
    pub piece: Duration,
    /// All of it, with its pauses.
    pub deadline: Duration,
}

impl TimeLimits {
    /// What the whole may take if there is no pause.
    fn longest(&self) -> Duration {
        self.whole.min(self.deadline)
    }
}

impl From<Duration> for TimeLimits {
    fn from(whole: Duration) -> Self {
        Self {
            whole,
            piece: whole,
            deadline: whole,
        }
    }
}

/// For how long a request's child was to wait for something that is none of the
/// request's business. Clones are the same pauses.
#[derive(Debug, Clone, Default)]
pub struct Pauses(Arc<Mutex<Paused>>);

#[derive(Debug, Default)]
struct Paused {
    before: Duration,
    since: Option<Instant>,
}

impl Pauses {
    /// A pause begins, unless there is one.
    pub fn begin(&self) {
        self.kept().since.get_or_insert_with(Instant::now);
    }

    /// It is over.
    pub fn end(&self) {
        let mut kept = self.kept();
        if let Some(since) = kept.since.take() {
            kept.before += since.elapsed();
        }
    }

    /// All of them until now.
    fn total(&self) -> Duration {
        let kept = self.kept();
        kept.before + kept.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn kept(&self) -> MutexGuard<'_, Paused> {
        lock(&self.0)
    }
}

/// Takes what a child makes while it makes it.
pub trait Events {
    /// The next bytes of the file. The child is held back until the future is
    /// ready; that time counts as the request's own. An error ends the work
    /// as [`SpeechError::Output`].
    fn audio(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>>;

    /// So many of so many sentences are done.
    fn progress(&mut self, done: u32, total: u32);

    /// What becomes of a sentence that others speak; waits until there is something
    /// to tell.
    fn prefetched(&mut self) -> impl Future<Output = SentenceUpdate> {
        std::future::pending()
    }

    /// Sentences of which is known from the start that [`Self::prefetched`] will tell.
    /// They are not asked for a request that was sent ahead.
    fn reserved(&self) -> Vec<u32> {
        Vec::new()
    }

    /// When the child was to wait, which no limit counts but the deadline.
    fn pauses(&self) -> Pauses {
        Pauses::default()
    }

    /// Whether [`Self::sentence`] is to be told; not of a request that was sent ahead.
    fn wants_sentences(&self) -> bool {
        false
    }

    /// A sentence, counted from 0, that this child has spoken.
    fn sentence(&mut self, _sentence: u32, _made: SentenceAudio) -> impl Future<Output = ()> {
        std::future::ready(())
    }
}

/// What becomes of a sentence, counted from 0, that another child speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentenceUpdate {
    /// It will be spoken there, and is to be waited for.
    Reserved(u32),
    /// It was spoken there.
    Made(u32, SentenceAudio),
    /// It was reserved, and is not spoken there after all.
    Failed(u32),
}

/// A sentence as a child has spoken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceAudio {
    /// 16 bit little-endian, with the voice's own sample rate.
    pub samples: Bytes,
    /// For each word of the sentence, from which to which sample it is heard.
    pub words: Vec<Range<usize>>,
}

/// Why no child could be started. It says nothing about any request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the synthesizer could not be started: {detail}")]
pub struct StartError {
    /// What went wrong, for people.
    pub detail: String,
    /// The last 4 KiB that the child wrote to its standard error.
    pub stderr_tail: String,
    /// How long to wait before the next try; a try before then is answered
    /// with this same error.
    pub retry_in: Duration,
}

/// Why a request was not spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpeakError {
    /// The engine says so; the child is well.
    #[error("the engine failed: {0}")]
    Engine(#[source] SpeechError),
    /// The child ended, or said something that cannot be understood.
    #[error("the synthesizer crashed: {how}")]
    Crashed {
        /// What was seen, for people.
        how: String,
        /// The last 4 KiB that the child wrote to its standard error. They
        /// can quote the text: not for logs.
        stderr_tail: String,
    },
    /// It took longer than it may, or more processor time.
    #[error("the synthesis took longer than {} s", limit.as_secs())]
    Overran {
        /// The wall-clock limit that was met, of those that were given.
        limit: Duration,
    },
    /// The caller asked to stop.
    #[error("the synthesis was canceled")]
    Canceled,
    /// There is no child; the request was not tried.
    #[error(transparent)]
    NotStarted(StartError),
}

impl SpeakError {
    /// Whether the text has cost the child that was to speak it: what was tried once
    /// is not to be tried again in the same way.
    #[must_use]
    pub fn has_cost_the_child(&self) -> bool {
        matches!(self, Self::Crashed { .. } | Self::Overran { .. })
    }
}

/// A child that can be given a request.
#[derive(Debug, Clone, Copy)]
pub struct Ready<'a> {
    /// What it said of itself.
    pub hello: &'a Hello,
    /// Whether it has not been given any request yet.
    pub is_new: bool,
}

/// Speaks one text at a time in a child process, which it starts when it is
/// needed and replaces when it is spent.
///
/// It belongs to the tokio runtime that first used it. Dropping it kills the
/// child.
#[derive(Debug)]
pub struct Synthesizer {
    options: Options,
    child: Option<Child>,
    /// See [`Synthesizer::expect`].
    next: Option<Request>,
    failed_starts: Option<FailedStarts>,
    monitor: Monitor,
}

/// The starts that failed since the last one that did not.
#[derive(Debug)]
struct FailedStarts {
    last: StartError,
    retry_at: Instant,
}

impl Synthesizer {
    /// Starts nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            child: None,
            next: None,
            failed_starts: None,
            monitor: Monitor::new(),
        }
    }

    /// The child as it is now.
    pub fn stats(&self) -> Stats {
        self.monitor.stats()
    }

    /// The same for others, also while a request is being spoken.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// How long no start will be tried because the last one failed; zero when
    /// one may be tried now.
    pub fn start_wait(&self) -> Duration {
        self.failed_starts
            .as_ref()
            .map_or(Duration::ZERO, |failed| {
                failed.retry_at.saturating_duration_since(Instant::now())
            })
    }

    /// Whether a child can be given a request at once.
    pub fn has_child(&self) -> bool {
        self.child
            .as_ref()
            .is_some_and(|child| !child.process.observed().has_ended())
    }

    /// Has a child ready, and tells what it said of itself.
    ///
    /// # Errors
    ///
    /// [`StartError`] when none can be started now.
    pub async fn ensure_started(&mut self) -> Result<Ready<'_>, StartError> {
        let child = self.take_child().await?;
        self.monitor.idle();
        let child = self.child.insert(child);
        Ok(Ready {
            hello: &child.hello,
            is_new: child.request_id == 0,
        })
    }

    /// Names the request that will probably be given after the next one. The
    /// child gets it together with that one, if it is short, and so need not
    /// wait between the two. Nothing depends on it: another one may be given,
    /// and one that is lost with its child is sent again.
    pub fn expect(&mut self, next: &Request) {
        self.next = (next.text_bytes() <= MOST_AHEAD_BYTES).then(|| next.clone());
    }

    /// Has one sentence of a request spoken, for the child that speaks the whole;
    /// with `plain`, letters, digits and plain marks of it only.
    ///
    /// # Errors
    ///
    /// As [`Synthesizer::speak`].
    pub async fn speak_sentence(
        &mut self,
        request: &Request,
        sentence: u32,
        plain: bool,
        wall_limit: Duration,
    ) -> Result<SentenceAudio, SpeakError> {
        // What was sent ahead is a whole.
        let child = self.take_child_for(None).await;
        let mut child = child.map_err(SpeakError::NotStarted)?;
        self.monitor.speaking();
        let answer = child.answer_sentence(request, (sentence, plain), wall_limit);
        let ending = timeout(wall_limit, answer).await;
        let ending = ending.unwrap_or(Err(Interruption::Overran(wall_limit)));
        self.settle(child, ending, wall_limit).await
    }

    /// Has the request spoken.
    ///
    /// `limits` begin when a child is there. `cancel` ends the work when
    /// it becomes ready; [`std::future::pending`] never does.
    ///
    /// # Errors
    ///
    /// [`SpeakError`]. After each of them the next request can be spoken.
    pub async fn speak(
        &mut self,
        request: &Request,
        limits: impl Into<TimeLimits>,
        events: &mut impl Events,
        cancel: impl Future<Output = ()>,
    ) -> Result<Synthesis, SpeakError> {
        let limits = limits.into();
        let next = self.next.take();
        // What was sent ahead knows of no reservation.
        let ahead = events.reserved().is_empty().then_some(request);
        let mut cancel = pin!(cancel);
        let mut child = tokio::select! {
            biased;
            () = &mut cancel => return Err(SpeakError::Canceled),
            child = self.take_child_for(ahead) => child.map_err(SpeakError::NotStarted)?,
        };
        self.monitor.speaking();
        let whole = TimeLeft::begin(limits.whole, events.pauses());
        let answer = whole.wait(child.answer(request, next, limits, events));
        let ending = tokio::select! {
            biased;
            answer = timeout(limits.deadline, answer) => match answer {
                Ok(answer) => answer.flatten(),
                Err(_) => Err(Interruption::Overran(limits.deadline)),
            },
            () = &mut cancel => Err(Interruption::Canceled),
        };
        self.settle(child, ending, limits.longest()).await
    }

    /// Ends the child, if there is one, and waits until it is gone.
    pub async fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            child.process.end().await;
        }
    }

    /// Keeps the child or ends it, after how it dealt with a request, and
    /// tells the caller. `limit` is that of the whole request.
    async fn settle<T>(
        &mut self,
        child: Child,
        ending: Result<Result<T, SpeechError>, Interruption>,
        limit: Duration,
    ) -> Result<T, SpeakError> {
        match ending {
            Ok(answer) => {
                self.keep(child);
                answer.map_err(SpeakError::Engine)
            }
            Err(Interruption::Canceled) => {
                self.call_off(child).await;
                Err(SpeakError::Canceled)
            }
            Err(Interruption::Output(error)) => {
                self.call_off(child).await;
                let detail = error.to_string();
                Err(SpeakError::Engine(SpeechError::Output { detail }))
            }
            Err(Interruption::Overran(limit)) => {
                child.process.end().await;
                Err(SpeakError::Overran { limit })
            }
            Err(Interruption::Broken(Broken::Gone)) => {
                let ended = child.process.wait_or_kill().await;
                if ended.spent_its_processor_time() {
                    return Err(SpeakError::Overran { limit });
                }
                Err(crashed(process::describe(ended.status), ended))
            }
            Err(Interruption::Broken(Broken::Unexpected(what))) => {
                Err(crashed(what, child.process.end().await))
            }
        }
    }

    /// A child that was sent no other request ahead than this one.
    async fn take_child_for(&mut self, ahead: Option<&Request>) -> Result<Child, StartError> {
        let mut child = self.take_child().await?;
        if child.ahead.is_none() || child.ahead.as_ref() == ahead {
            return Ok(child);
        }
        if let Ok(Ok(())) = timeout(self.options.cancel_grace, child.skip_ahead()).await {
            return Ok(child);
        }
        drop(child);
        self.take_child().await
    }

    /// The child that is there, or a new one.
    async fn take_child(&mut self) -> Result<Child, StartError> {
        if self.has_child()
            && let Some(child) = self.child.take()
        {
            return Ok(child);
        }
        self.child = None;
        if let Some(failed) = &self.failed_starts
            && !self.start_wait().is_zero()
        {
            return Err(StartError {
                retry_in: self.start_wait(),
                ..failed.last.clone()
            });
        }
        match Child::start(&self.options, &self.monitor).await {
            Ok(child) => {
                self.failed_starts = None;
                Ok(child)
            }
            Err((detail, stderr_tail)) => Err(self.start_failed(detail, stderr_tail)),
        }
    }

    fn start_failed(&mut self, detail: String, stderr_tail: String) -> StartError {
        let retry_in = self.failed_starts.as_ref().map_or(FIRST_RETRY, |failed| {
            LONGEST_RETRY.min(failed.last.retry_in * 2)
        });
        let error = StartError {
            detail,
            stderr_tail,
            retry_in,
        };
        self.failed_starts = Some(FailedStarts {
            last: error.clone(),
            retry_at: Instant::now() + retry_in,
        });
        error
    }

    /// Puts a child back that has said its last word about a request, unless
    /// it is spent.
    fn keep(&mut self, child: Child) {
        let worn = child.request_id >= self.options.recycle_after_requests;
        let bloated = || {
            stats::rss_bytes(child.process.observed().pid())
                .is_some_and(|bytes| bytes > self.options.recycle_above_rss_bytes)
        };
        let bloated = child.request_id % WEIGH_EVERY == 1 && bloated();
        if !worn && !bloated {
            self.monitor.idle();
            self.child = Some(child);
        }
    }

    /// Keeps the child if it stops when it is told to.
    async fn call_off(&mut self, mut child: Child) {
        match timeout(self.options.cancel_grace, child.obey_cancel()).await {
            Ok(Ok(())) => self.keep(child),
            _ => drop(child),
        }
    }
}

/// A child that has said hello.
#[derive(Debug)]
struct Child {
    process: Process,
    input: FrameWriter<pipe::Sender>,
    output: FrameReader<pipe::Receiver>,
    hello: Hello,
    /// The id of the last request, which is also their number so far.
    request_id: u32,
    /// Sent behind that one, with the next id.
    ahead: Option<Request>,
    _seen: Seen,
}

/// Keeps the monitor right when a child goes, on whatever way.
#[derive(Debug)]
struct Seen(Monitor);

impl Drop for Seen {
    fn drop(&mut self) {
        self.0.stopped();
    }
}

/// What kept a request from being answered.
#[derive(Debug)]
enum Interruption {
    Canceled,
    /// The limit that was met.
    Overran(Duration),
    Output(io::Error),
    Broken(Broken),
}

/// Why a child cannot be talked to any more.
#[derive(Debug)]
enum Broken {
    /// Its output ended, or a pipe failed: it ended or is about to.
    Gone,
    /// It said something that it should not have.
    Unexpected(String),
}

impl From<ProtocolError> for Broken {
    fn from(error: ProtocolError) -> Self {
        match error {
            // A frame is cut off when the child dies while it writes.
            ProtocolError::Io(_) | ProtocolError::Truncated => Self::Gone,
            error => Self::Unexpected(format!("it sent {error}")),
        }
    }
}

impl From<Broken> for Interruption {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// The time that is left of a limit, which does not count pauses.
struct TimeLeft {
    limit: Duration,
    since: Instant,
    /// All pauses until then.
    paused: Duration,
    pauses: Pauses,
}

impl TimeLeft {
    fn begin(limit: Duration, pauses: Pauses) -> Self {
        Self {
            limit,
            since: Instant::now(),
            paused: pauses.total(),
            pauses,
        }
    }

    fn left(&self) -> Duration {
        let paused = self.pauses.total().saturating_sub(self.paused);
        (self.limit + paused).saturating_sub(self.since.elapsed())
    }

    /// Waits for something, as long as there is time for it.
    async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Interruption> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout(self.left(), &mut work).await {
                return Ok(done);
            }
            // There may have been a pause meanwhile.
            if self.left().is_zero() {
                return Err(Interruption::Overran(self.limit));
            }
        }
    }
}

/// By when the next piece of a result has to come.
struct NextPiece {
    left: TimeLeft,
    /// Sentences that are known to be done.
    done: u32,
}

impl NextPiece {
    fn new(limit: Duration, pauses: Pauses) -> Self {
        Self {
            left: TimeLeft::begin(limit, pauses),
            done: 0,
        }
    }

    /// Waits for what may be one, as long as there is time for it.
    async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Interruption> {
        self.left.wait(work).await
    }

    /// Whether this is one. A child also says again how far it is, and that is none.
    fn is_piece(&mut self, message: &FromChild) -> bool {
        let FromChild::Progress(progress) = message else {
            return true;
        };
        let before = self.done;
        self.done = before.max(progress.done);
        self.done > before
    }

    /// A piece was taken: the next one has all the time again.
    fn begin(&mut self) {
        self.left = TimeLeft::begin(self.left.limit, self.left.pauses.clone());
    }
}

impl Child {
    /// Starts a process and waits for its hello. The error is what to tell
    /// people, and the child's last words.
    async fn start(options: &Options, monitor: &Monitor) -> Result<Self, (String, String)> {
        let started = Process::start(command(options))
            .await
            .map_err(|error| (error.to_string(), String::new()))?;
        let process = started.process;
        monitor.started(process.observed().clone());
        let seen = Seen(monitor.clone());
        let pipes = pipe::Sender::from_owned_fd(OwnedFd::from(started.stdin)).and_then(|input| {
            let output = pipe::Receiver::from_owned_fd(OwnedFd::from(started.stdout))?;
            Ok((FrameWriter::new(input), FrameReader::new(output)))
        });
        let (input, mut output) = pipes.map_err(|error| (error.to_string(), String::new()))?;
        match timeout(options.start_timeout, hello(&mut output)).await {
            Ok(Ok(hello)) => Ok(Self {
                process,
                input,
                output,
                hello,
                request_id: 0,
                ahead: None,
                _seen: seen,
            }),
            Ok(Err(Broken::Gone)) => {
                let ended = process.wait_or_kill().await;
                Err((process::describe(ended.status), ended.stderr_tail))
            }
            Ok(Err(Broken::Unexpected(detail))) => Err((detail, process.end().await.stderr_tail)),
            Err(_) => {
                let limit = options.start_timeout.as_millis();
                let detail = format!("it was not ready within {limit} ms");
                Err((detail, process.end().await.stderr_tail))
            }
        }
    }

    /// Sends the request, unless it was sent ahead, and the next one behind
    /// it, and takes the answer.
    async fn answer(
        &mut self,
        request: &Request,
        next: Option<Request>,
        limits: TimeLimits,
        events: &mut impl Events,
    ) -> Result<Result<Synthesis, SpeechError>, Interruption> {
        self.request_id += 1;
        let cpu_s = cpu_seconds(limits.longest());
        let speak = || Speak {
            reserved: events.reserved(),
            tell_sentences: events.wants_sentences(),
            ..Speak::whole(request.clone(), cpu_s)
        };
        if self.ahead.take().is_none()
            && let Err(error) = self.send(self.request_id, speak())
        {
            return Ok(Err(cannot_be_sent(&error)));
        }
        if let Some(next) = next {
            let sent = self.send(self.request_id + 1, Speak::whole(next.clone(), cpu_s));
            self.ahead = sent.is_ok().then_some(next);
        }
        let mut piece = NextPiece::new(limits.piece, events.pauses());
        let sent = piece.wait(self.input.flush()).await?;
        sent.map_err(Broken::from)?;
        let (mut words, mut samples) = (Vec::new(), BytesMut::new());
        loop {
            let message = piece.wait(self.next_while_told(events)).await??;
            let is_piece = piece.is_piece(&message);
            match message {
                FromChild::Progress(Progress { done, total }) => events.progress(done, total),
                FromChild::Audio(bytes) => {
                    let taken = events.audio(bytes).await;
                    taken.map_err(Interruption::Output)?;
                }
                // A word is at least one byte of the text, so this bounds them.
                FromChild::Words(part) if words.len() + part.len() <= request.text_bytes() => {
                    words.extend(part);
                }
                FromChild::Samples(bytes) if samples.len() < MAX_SENTENCE_BYTES => {
                    samples.extend_from_slice(&bytes);
                }
                FromChild::Sentence(sentence, words) => {
                    let samples = samples.split().freeze();
                    events
                        .sentence(sentence, SentenceAudio { samples, words })
                        .await;
                }
                FromChild::Synthesis(spoken) => return Ok(Ok(Synthesis { words, ..spoken })),
                FromChild::Failed(error) => return Ok(Err(error)),
                FromChild::Words(_) => return Err(unexpected("more words than the text has")),
                FromChild::Samples(_) => return Err(unexpected("more than a sentence")),
                FromChild::Made(_) => return Err(unexpected("a sentence and not the whole")),
                FromChild::Hello(_) => return Err(unexpected("a second hello")),
            }
            if is_piece {
                piece.begin();
            }
        }
    }

    /// Sends the request and takes one sentence of it.
    async fn answer_sentence(
        &mut self,
        request: &Request,
        (sentence, plain): (u32, bool),
        wall_limit: Duration,
    ) -> Result<Result<SentenceAudio, SpeechError>, Interruption> {
        self.request_id += 1;
        let cpu_s = cpu_seconds(wall_limit);
        let speak = Speak {
            only: Some(sentence),
            plain,
            ..Speak::whole(request.clone(), cpu_s)
        };
        if let Err(error) = self.send(self.request_id, speak) {
            return Ok(Err(cannot_be_sent(&error)));
        }
        self.input.flush().await.map_err(Broken::from)?;
        let mut samples = Vec::new();
        loop {
            match self.next().await? {
                FromChild::Samples(bytes) if samples.len() < MAX_SENTENCE_BYTES => {
                    samples.extend_from_slice(&bytes);
                }
                FromChild::Made(words) => {
                    let samples = samples.into();
                    return Ok(Ok(SentenceAudio { samples, words }));
                }
                FromChild::Failed(error) => return Ok(Err(error)),
                _ => return Err(unexpected("more than a sentence")),
            }
        }
    }

    fn send(&mut self, id: u32, speak: Speak) -> Result<(), ProtocolError> {
        self.input.push(id, &FromParent::Speak(speak))
    }

    /// The next message about the request that is open. Meanwhile the child is told
    /// what others do of it: it must be read from while it is written to, since it
    /// may be writing too.
    async fn next_while_told(&mut self, events: &mut impl Events) -> Result<FromChild, Broken> {
        loop {
            let is_sending = self.input.pending_bytes() > 0;
            tokio::select! {
                biased;
                message = self.output.next() => return self.of_open_request(message?),
                sent = self.input.flush_some(), if is_sending => sent?,
                news = events.prefetched(), if !is_sending => self.tell(news)?,
            }
        }
    }

    fn tell(&mut self, news: SentenceUpdate) -> Result<(), ProtocolError> {
        let id = self.request_id;
        let told = match news {
            SentenceUpdate::Reserved(sentence) => Prefetched::Reserved(sentence),
            SentenceUpdate::Failed(sentence) => Prefetched::Failed(sentence),
            SentenceUpdate::Made(sentence, SentenceAudio { samples, words }) => {
                let mut rest = samples;
                while !rest.is_empty() {
                    let part = rest.split_to(rest.len().min(MAX_AUDIO_BYTES));
                    self.input.push(id, &FromParent::Samples(part))?;
                }
                Prefetched::Made(sentence, words)
            }
        };
        self.input.push(id, &FromParent::Prefetched(told))
    }

    /// Has the child leave out what it was sent ahead, or throws away what it
    /// has made of it.
    async fn skip_ahead(&mut self) -> Result<(), Broken> {
        self.request_id += 1;
        self.ahead = None;
        self.obey_cancel().await
    }

    /// Tells the child to stop what it is doing, and waits for its last word
    /// about it.
    async fn obey_cancel(&mut self) -> Result<(), Broken> {
        if self.input.pending_bytes() > 0 {
            // The request itself was sent in part only.
            return Err(Broken::Gone);
        }
        self.input.push(self.request_id, &FromParent::Cancel)?;
        self.input.flush().await?;
        loop {
            if let FromChild::Synthesis(_) | FromChild::Made(_) | FromChild::Failed(_) =
                self.next().await?
            {
                return Ok(());
            }
        }
    }

    /// The next message about the request that is open.
    async fn next(&mut self) -> Result<FromChild, Broken> {
        let message = self.output.next().await?;
        self.of_open_request(message)
    }

    fn of_open_request(&self, message: Option<(u32, FromChild)>) -> Result<FromChild, Broken> {
        match message {
            Some((id, message)) if id == self.request_id => Ok(message),
            Some((id, _)) => {
                let detail = format!("it sent an answer to request {id}, which is not open");
                Err(Broken::Unexpected(detail))
            }
            None => Err(Broken::Gone),
        }
    }
}

fn cannot_be_sent(error: &ProtocolError) -> SpeechError {
    SpeechError::EngineFailed {
        detail: format!("the request cannot be sent: {error}"),
    }
}

fn unexpected(what: &str) -> Interruption {
    Interruption::Broken(Broken::Unexpected(format!("it sent {what}")))
}

/// The first message, which must be a hello in our version of the protocol.
async fn hello(output: &mut FrameReader<pipe::Receiver>) -> Result<Hello, Broken> {
    match output.next().await? {
        Some((_, FromChild::Hello(hello))) if hello.protocol == protocol::VERSION => Ok(hello),
        Some((_, FromChild::Hello(hello))) => Err(Broken::Unexpected(format!(
            "it speaks version {} of the protocol, this service version {}",
            hello.protocol,
            protocol::VERSION
        ))),
        Some(_) => Err(Broken::Unexpected("its first word was no hello".to_owned())),
        None => Err(Broken::Gone),
    }
}

fn command(options: &Options) -> Command {
    let setup = Setup {
        parent_pid: std::process::id(),
        engines: options.engines.clone(),
        address_space_bytes: options.address_space_bytes,
    };
    let mut command = Command::new(&options.program);
    command
        .arg0("hoiam")
        .args(&options.args)
        .arg(setup.to_argument())
        .env_clear()
        .envs([protocol::SMALL_ARENAS])
        .envs(
            KEPT_ENVIRONMENT
                .into_iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
    command
}

/// The processor time that goes with a wall-clock limit: all processors for
/// that long, and a little more, so that the wall clock is what ends a request
/// while the service is there to look at it.
fn cpu_seconds(wall_limit: Duration) -> u64 {
    /// Asked for once: each time it is asked, a dozen files of the control
    /// groups are read.
    static PROCESSORS: LazyLock<u64> = LazyLock::new(|| {
        std::thread::available_parallelism().map_or(1, |number| number.get() as u64)
    });
    (wall_limit.as_secs() + 5).saturating_mul(*PROCESSORS)
}

fn crashed(how: String, ended: Ended) -> SpeakError {
    SpeakError::Crashed {
        how,
        stderr_tail: ended.stderr_tail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after now the wait for the next piece ends.
    async fn ends_after(piece: &NextPiece) -> Duration {
        let began = Instant::now();
        let ended = piece.wait(std::future::pending::<()>()).await;
        assert!(matches!(ended, Err(Interruption::Overran(limit)) if limit == piece.left.limit));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_begins_anew_with_each_piece_and_not_with_a_repeated_progress() {
        let progress = |done| FromChild::Progress(Progress { done, total: 9 });
        let audio = || FromChild::Audio(Bytes::from_static(b"sound"));
        let seconds = Duration::from_secs;
        for (message, left) in [
            (progress(0), seconds(4)),
            (progress(1), seconds(10)),
            (audio(), seconds(10)),
        ] {
            let mut piece = NextPiece::new(seconds(10), Pauses::default());
            tokio::time::advance(seconds(6)).await;
            if piece.is_piece(&message) {
                piece.begin();
            }
            assert_eq!(ends_after(&piece).await, left, "{message:?}");
            assert!(!piece.is_piece(&progress(0)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_limit_does_not_go_on_during_a_pause() {
        let second = Duration::from_secs(1);
        let pauses = Pauses::default();
        let left = TimeLeft::begin(second, pauses.clone());
        let work = async {
            tokio::time::sleep(second / 2).await;
            pauses.begin();
            tokio::time::sleep(second * 60).await;
            pauses.end();
            tokio::time::sleep(second / 4).await;
        };
        assert!(left.wait(work).await.is_ok());
        let rest = left.wait(tokio::time::sleep(second / 2)).await;
        assert!(matches!(rest, Err(Interruption::Overran(limit)) if limit == second));
        assert!(pauses.total() >= second * 60);
    }
}
