//! The C library of eSpeak NG, opened at run time, behind a safe interface.
//!
//! Declarations after `speak_lib.h` of eSpeak NG 1.51 (API revision 12).

#![expect(unsafe_code, reason = "the one place where the C library is called")]

use std::ffi::{CStr, CString, NulError, c_char, c_int, c_short, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hoiam_text::SaturatingFrom as _;
use libloading::Library;

use super::alignment::Event;
use super::espeak_text::EspeakText;

const LIBRARY: &str = "libespeak-ng.so.1";

/// How much sound comes with one call back. eSpeak drops the word events of
/// one call that are more than 200 for each second of this.
const BUFFER_MS: c_int = 2000;

const AUDIO_OUTPUT_SYNCHRONOUS: c_int = 2;
const INITIALIZE_DONT_EXIT: c_int = 0x8000;
const POS_CHARACTER: c_int = 1;
const CHARS_UTF8: c_uint = 1;
const MNEMONICS: c_uint = 0x100;
const ENDPAUSE: c_uint = 0x1000;
const PARAMETER_RATE: c_int = 1;
const PHONEMES_IPA: c_int = 2;

/// Words a minute at the speed 1.0.
pub(super) const USUAL_RATE: u32 = 175;
const EVENT_LIST_TERMINATED: c_int = 0;
const EVENT_WORD: c_int = 1;

/// The library keeps one global state, so there is one of it in the process,
/// and it is never unloaded.
static LOADED: OnceLock<Result<Mutex<LibEspeak>, OpenError>> = OnceLock::new();

/// What the calls back of the synthesis that is going on have brought. Only
/// who holds the lock of [`LOADED`] synthesizes.
static HEARD: Mutex<Heard> = Mutex::new(Heard {
    pcm: Vec::new(),
    events: Vec::new(),
});

/// Why the library cannot be used: what is missing, and which package has it.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{LIBRARY} cannot be opened (Debian package libespeak-ng1): {0}")]
    Library(#[from] libloading::Error),
    /// Its answer instead of a sample rate.
    #[error("eSpeak NG finds no voice data (Debian package espeak-ng-data): error {0}")]
    NoData(c_int),
}

/// Why the library has not done what it was asked for; each but the first with the
/// function that says so.
#[derive(Debug, thiserror::Error)]
pub(super) enum LibEspeakError {
    #[error(transparent)]
    Text(#[from] NulError),
    #[error("{0}: internal error")]
    Internal(&'static str),
    #[error("{0}: buffer full")]
    BufferFull(&'static str),
    #[error("{0}: not found")]
    NotFound(&'static str),
    #[error("{0}: error {1}")]
    Other(&'static str, c_int),
}

/// The opened library.
pub(super) struct LibEspeak {
    set_voice: unsafe extern "C" fn(*const c_char) -> c_int,
    set_parameter: unsafe extern "C" fn(c_int, c_int, c_int) -> c_int,
    synth: Synth,
    list_voices: unsafe extern "C" fn(*const RawVoice) -> *const *const RawVoice,
    text_to_phonemes: TextToPhonemes,
    version: String,
    data_folder: PathBuf,
    sample_rate_hz: u32,
    /// What the last synthesis has told the library of `[[…]]`.
    reads_mnemonics: bool,
    /// The voice and rate that are set.
    set: Option<(String, u32)>,
    /// Keeps the functions where they are.
    _library: Library,
}

type Synth = unsafe extern "C" fn(
    *const c_void,
    usize,
    c_uint,
    c_int,
    c_uint,
    c_uint,
    *mut c_uint,
    *mut c_void,
) -> c_int;

type TextToPhonemes =
    unsafe extern "C" fn(*mut *const c_void, textmode: c_int, phonememode: c_int) -> *const c_char;

type FindData = unsafe extern "C" fn(*const c_char);
type Info = unsafe extern "C" fn(*mut *const c_char) -> *const c_char;
type Initialize = unsafe extern "C" fn(c_int, c_int, *const c_char, c_int) -> c_int;
type SynthCallback = unsafe extern "C" fn(*mut c_short, c_int, *const RawEvent) -> c_int;
type SetSynthCallback = unsafe extern "C" fn(SynthCallback);

/// `espeak_EVENT`.
#[repr(C)]
struct RawEvent {
    kind: c_int,
    unique_identifier: c_uint,
    text_position: c_int,
    length: c_int,
    audio_position: c_int,
    sample: c_int,
    user_data: *mut c_void,
    id: [u8; 8],
}

/// `espeak_VOICE`.
#[repr(C)]
struct RawVoice {
    name: *const c_char,
    languages: *const c_char,
    identifier: *const c_char,
    gender: u8,
    age: u8,
    variant: u8,
    unused: u8,
    score: c_int,
    spare: *mut c_void,
}

/// A voice as the library describes it.
pub(super) struct VoiceFile {
    /// The voice's file below the data folder, which selects it: `aav/vi`.
    pub identifier: String,
    /// For people, with `_` for spaces.
    pub name: String,
    /// The language it is best for, in lower case.
    pub language: String,
    /// 1 male, 2 female, 0 not said.
    pub gender: u8,
}

/// What one text sounds like.
pub(super) struct Heard {
    pub pcm: Vec<i16>,
    /// The word events, in order. Their positions count from 1, as eSpeak
    /// does; a 0 points nowhere.
    pub events: Vec<Event>,
}

/// Opens the library and its data, once for the process.
pub(super) fn open() -> Result<&'static Mutex<LibEspeak>, &'static OpenError> {
    let loaded = LOADED.get_or_init(|| LibEspeak::load().map(Mutex::new));
    loaded.as_ref()
}

/// Loads the library for good, with all that it is linked with, and finds its data.
/// Nothing is initialised, which would start a thread; and what is wrong with it is
/// told by who opens it.
pub(super) fn load_and_find_data() -> Option<PathBuf> {
    // SAFETY: as for `LibEspeak::load`; the function that looks for the data is one of
    // espeak_ng.h, without a path for those that were compiled in and the environment's.
    let folder = unsafe {
        let library = Library::new(LIBRARY).ok()?;
        let find: FindData = symbol(&library, "espeak_ng_InitializePath").ok()?;
        let info: Info = symbol(&library, "espeak_Info").ok()?;
        find(std::ptr::null());
        let mut folder = std::ptr::null();
        info(&raw mut folder);
        let folder = text(folder);
        std::mem::forget(library);
        folder
    };
    (!folder.is_empty()).then(|| PathBuf::from(folder))
}

/// A panic while the lock was held has left nothing half done here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LibEspeak {
    fn load() -> Result<Self, OpenError> {
        // SAFETY: the library is eSpeak NG, whose initialisers do nothing; the
        // types of the functions are those of its header; they are called only
        // while the library is loaded, which is for ever.
        let (initialize, set_callback, info, mut library) = unsafe {
            let library = Library::new(LIBRARY)?;
            let initialize: Initialize = symbol(&library, "espeak_Initialize")?;
            let set_callback: SetSynthCallback = symbol(&library, "espeak_SetSynthCallback")?;
            let info: Info = symbol(&library, "espeak_Info")?;
            let library = Self {
                set_voice: symbol(&library, "espeak_SetVoiceByName")?,
                set_parameter: symbol(&library, "espeak_SetParameter")?,
                synth: symbol(&library, "espeak_Synth")?,
                list_voices: symbol(&library, "espeak_ListVoices")?,
                text_to_phonemes: symbol(&library, "espeak_TextToPhonemes")?,
                version: text(info(std::ptr::null_mut())),
                data_folder: PathBuf::new(),
                sample_rate_hz: 0,
                reads_mnemonics: false,
                set: None,
                _library: library,
            };
            (initialize, set_callback, info, library)
        };
        // SAFETY: no data path means the one that was compiled in; the call
        // back has the type that the header asks for.
        let rate = unsafe {
            let rate = initialize(
                AUDIO_OUTPUT_SYNCHRONOUS,
                BUFFER_MS,
                std::ptr::null(),
                INITIALIZE_DONT_EXIT,
            );
            set_callback(hear);
            let mut data = std::ptr::null();
            info(&raw mut data);
            library.data_folder = PathBuf::from(text(data));
            rate
        };
        library.sample_rate_hz = u32::try_from(rate)
            .ok()
            .filter(|rate| *rate > 0)
            .ok_or(OpenError::NoData(rate))?;
        Ok(library)
    }

    /// As the library says it: `1.51`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Where its data is, once it has been found.
    pub(super) fn data_folder(&self) -> &Path {
        &self.data_folder
    }

    pub(super) fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// All voices but the variants and those that need MBROLA.
    pub(super) fn voices(&self) -> Vec<VoiceFile> {
        let mut voices = Vec::new();
        // SAFETY: without a specification the function answers an array that
        // ends with a null pointer and lives until the next call; the strings
        // of a voice live as long. `languages` begins with one byte of
        // priority and then the first language, ended by a zero.
        unsafe {
            let mut next = (self.list_voices)(std::ptr::null());
            while let Some(raw) = next.as_ref().and_then(|voice| voice.as_ref()) {
                voices.push(VoiceFile {
                    identifier: text(raw.identifier),
                    name: text(raw.name),
                    language: text(raw.languages.add(1)),
                    gender: raw.gender,
                });
                next = next.add(1);
            }
        }
        voices
    }

    /// Speaks one text, which must be short: all of its sound is held.
    ///
    /// `words_per_minute` is 80 to 450. With `mnemonics`, what stands in `[[…]]`
    /// is phonemes by eSpeak's own names.
    pub(super) fn speak(
        &mut self,
        identifier: &str,
        words_per_minute: u32,
        text: &EspeakText,
        mnemonics: bool,
    ) -> Result<Heard, LibEspeakError> {
        self.select(identifier, words_per_minute)?;
        self.synthesize(text, mnemonics)
    }

    fn synthesize(&mut self, text: &EspeakText, mnemonics: bool) -> Result<Heard, LibEspeakError> {
        self.reads_mnemonics = mnemonics;
        let flag = if mnemonics { MNEMONICS } else { 0 };
        let text = CString::new(text.as_str())?;
        let bytes = text.as_bytes_with_nul();
        // SAFETY: the text is valid for its length, which counts the zero at
        // its end; the identifier and the user data may be null; in
        // synchronous mode nothing of it is used after the call.
        let code = unsafe {
            (self.synth)(
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                POS_CHARACTER,
                0,
                CHARS_UTF8 | ENDPAUSE | flag,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        let mut heard = lock(&HEARD);
        let heard = Heard {
            pcm: std::mem::take(&mut heard.pcm),
            events: std::mem::take(&mut heard.events),
        };
        check("espeak_Synth", code)?;
        Ok(heard)
    }

    /// The phonemes of a text in IPA, with a blank between two words and the
    /// name of a language in parentheses where it changes. Punctuation is left
    /// out.
    ///
    /// `voice` is an identifier or a language: `en-us`. `mnemonics` is as for
    /// [`Self::speak`].
    pub(super) fn phonemes(
        &mut self,
        voice: &str,
        words: &str,
        mnemonics: bool,
    ) -> Result<String, LibEspeakError> {
        self.select(voice, USUAL_RATE)?;
        if self.reads_mnemonics != mnemonics {
            // This function has no such flag; it is as the last synthesis had it.
            self.synthesize(&EspeakText::default(), mnemonics)?;
        }
        let mut phonemes = String::new();
        for text in EspeakText::of(words, mnemonics) {
            self.append_phonemes(&text, &mut phonemes)?;
        }
        Ok(phonemes)
    }

    fn append_phonemes(
        &mut self,
        words: &EspeakText,
        phonemes: &mut String,
    ) -> Result<(), NulError> {
        let source = CString::new(words.as_str())?;
        let mut next = source.as_ptr().cast::<c_void>();
        while !next.is_null() {
            let before = next;
            let encoding = CHARS_UTF8 as c_int;
            // SAFETY: `next` points into `source`, which ends with a zero; the
            // function moves it behind the clause that it has read, or makes it
            // null at the end, and answers a C string that lasts until the next
            // call.
            let clause = unsafe {
                text((self.text_to_phonemes)(
                    &raw mut next,
                    encoding,
                    PHONEMES_IPA,
                ))
            };
            if !phonemes.is_empty() && !clause.is_empty() {
                phonemes.push(' ');
            }
            phonemes.push_str(clause.trim());
            if next == before {
                break;
            }
        }
        Ok(())
    }

    fn select(&mut self, identifier: &str, words_per_minute: u32) -> Result<(), LibEspeakError> {
        let wanted = (identifier.to_owned(), words_per_minute);
        if self.set.as_ref() == Some(&wanted) {
            return Ok(());
        }
        self.set = None;
        let name = CString::new(identifier)?;
        let rate = c_int::saturating_from(words_per_minute);
        // SAFETY: the name is a C string and is only read.
        check("espeak_SetVoiceByName", unsafe {
            (self.set_voice)(name.as_ptr())
        })?;
        // A voice brings its own rate, so this comes second.
        // SAFETY: plain numbers.
        check("espeak_SetParameter", unsafe {
            (self.set_parameter)(PARAMETER_RATE, rate, 0)
        })?;
        self.set = Some(wanted);
        Ok(())
    }
}

/// # Safety
///
/// `F` must be the type of the function with this name.
unsafe fn symbol<F: Copy>(library: &Library, name: &str) -> Result<F, libloading::Error> {
    // SAFETY: the caller vouches for the type.
    unsafe { library.get::<F>(name).map(|symbol| *symbol) }
}

/// The call back: the next samples, and the events that fall into them.
unsafe extern "C" fn hear(wav: *mut c_short, samples: c_int, events: *const RawEvent) -> c_int {
    let mut heard = lock(&HEARD);
    let samples = usize::try_from(samples).unwrap_or(0);
    if !wav.is_null() {
        // SAFETY: eSpeak gives this many samples.
        heard
            .pcm
            .extend_from_slice(unsafe { std::slice::from_raw_parts(wav, samples) });
    }
    let mut next = events;
    // SAFETY: eSpeak gives a list that ends with an event of the kind
    // "list terminated".
    while let Some(event) = unsafe { next.as_ref() } {
        match event.kind {
            EVENT_LIST_TERMINATED => break,
            EVENT_WORD => heard.events.push(Event {
                position: usize::try_from(event.text_position).unwrap_or(0),
                sample: usize::try_from(event.sample).unwrap_or(0),
            }),
            _ => {}
        }
        // SAFETY: the list has not ended.
        next = unsafe { next.add(1) };
    }
    0
}

fn check(function: &'static str, code: c_int) -> Result<(), LibEspeakError> {
    match code {
        0 => Ok(()),
        -1 => Err(LibEspeakError::Internal(function)),
        1 => Err(LibEspeakError::BufferFull(function)),
        2 => Err(LibEspeakError::NotFound(function)),
        _ => Err(LibEspeakError::Other(function, code)),
    }
}

/// # Safety
///
/// `text` must be null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: it is a C string, as the caller says.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
