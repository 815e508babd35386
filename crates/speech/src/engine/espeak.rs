//! eSpeak NG as an engine: small, fast, and it speaks most languages.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Mutex;

use hoiam_text::normalize::NormalizedText;
use hoiam_text::segmentation::{Sentence, cost_of, is_blank};
use hoiam_text::{SpeechError, Voice};
use unicode_normalization::char::is_combining_mark;

use super::super::sink::SentenceSink;
use super::alignment::{self, Event};
use super::espeak_text::{self, EspeakText};
use super::libespeak::{self, LibEspeak, OpenError, USUAL_RATE, VoiceFile, lock};
use super::mnemonics::{Mnemonics, MnemonicsError};
use super::{Engine, SpeakOptions, failed};

pub(super) const NAME: &str = "espeak";

/// The fewest and most words a minute that eSpeak takes.
const RATE_LIMITS: (f32, f32) = (80.0, 450.0);

/// eSpeak reads 800 bytes and 300 words at once, and cuts what is longer anywhere,
/// within a letter and `[[…]]` too. A text is cut at the first blank behind so many
/// bytes, which is where no sentence is that is read as it is written …
const MOST_BYTES: usize = 700;

/// … one with phonemes sooner, since the names of one word are many …
const MOST_BYTES_WITH_SOUNDS: usize = 600;

/// … one without blanks in any case …
const MOST_BYTES_WITHOUT_BLANKS: usize = 780;

/// … one that has to be cut behind a mark, if there is one this far …
const MOST_BYTES_AT_A_MARK: usize = 400;

/// … and one of very short words behind so many, as the library counts them.
const MOST_WORDS: usize = espeak_text::MOST_WORDS - 50;

/// eSpeak keeps 1,000 sounds between two marks and drops what comes behind them. That
/// many have never been heard of a text that costs less than this …
const SURELY_READ: u32 = 400;

/// … and of any other it has dropped something where it reports none of so many words.
/// Those that it reads as one with the word before them are three at most.
const WORDS_UNREAD: usize = 5;

/// eSpeak NG. All values share the one library of the process.
pub(super) struct Espeak {
    library: &'static Mutex<LibEspeak>,
    voices: Vec<Voice>,
    /// For each of the voices what selects it.
    identifiers: Vec<String>,
    /// The sounds of the last voice that was to say phonemes.
    sounds: Option<(String, Mnemonics)>,
}

impl Espeak {
    /// Opens the library and its data.
    pub(super) fn open() -> Result<Self, &'static OpenError> {
        let library = libespeak::open()?;
        let library_now = lock(library);
        let sample_rate_hz = library_now.sample_rate_hz();
        let (voices, identifiers) = library_now
            .voices()
            .into_iter()
            .map(|file| {
                let voice = voice(&file, sample_rate_hz, library_now.version());
                (voice, file.identifier)
            })
            .unzip();
        Ok(Self {
            library,
            voices,
            identifiers,
            sounds: None,
        })
    }

    /// The sounds of a voice, of which one is kept, since asking for them takes
    /// longer than a sentence.
    fn sounds(&mut self, identifier: &str) -> Result<&Mnemonics, MnemonicsError> {
        let kept = self.sounds.take().filter(|(known, _)| known == identifier);
        let sounds = match kept {
            Some(kept) => kept,
            None => {
                let of_voice = Mnemonics::of(&mut lock(self.library), identifier)?;
                (identifier.to_owned(), of_voice)
            }
        };
        Ok(&self.sounds.insert(sounds).1)
    }

    /// What of a sentence is phonemes, by eSpeak's own names, at their places in
    /// the text that is read.
    fn mnemonics(
        &mut self,
        identifier: &str,
        spoken: &NormalizedText,
    ) -> Result<Sounds, SpeechError> {
        if spoken.sounds.is_empty() {
            return Ok(Sounds::new());
        }
        let sounds = self.sounds(identifier).map_err(failed)?;
        let named = |(at, ipa): (&usize, &String)| match sounds.of_ipa(ipa) {
            Ok(names) => Ok((*at, names)),
            Err(symbol) => Err(super::no_sound(symbol, &sounds.known(symbol))),
        };
        spoken.sounds.iter().map(named).collect()
    }

    fn identifier(&self, voice: &Voice) -> Result<&str, SpeechError> {
        let at = self.voices.iter().position(|known| known.id == voice.id);
        match at.and_then(|at| self.identifiers.get(at)) {
            Some(identifier) => Ok(identifier),
            None => Err(SpeechError::UnknownVoice {
                voice: voice.id.clone(),
            }),
        }
    }
}

impl Engine for Espeak {
    fn name(&self) -> &'static str {
        NAME
    }

    fn voices(&self) -> &[Voice] {
        &self.voices
    }

    fn can_say(&mut self, voice: &Voice, phonemes: &str) -> Result<(), SpeechError> {
        let identifier = self.identifier(voice)?.to_owned();
        let spoken = NormalizedText {
            sounds: [(0, phonemes.to_owned())].into(),
            ..NormalizedText::default()
        };
        self.mnemonics(&identifier, &spoken).map(|_| ())
    }

    fn speak(
        &mut self,
        voice: &Voice,
        sentences: &[Sentence],
        options: &SpeakOptions,
        sink: &mut dyn SentenceSink,
    ) -> Result<(), SpeechError> {
        let identifier = self.identifier(voice)?.to_owned();
        let (slowest, fastest) = RATE_LIMITS;
        let rate = (USUAL_RATE as f32 * options.speed)
            .round()
            .clamp(slowest, fastest) as u32;
        for sentence in sentences {
            if sink.has(sentence)? {
                continue;
            }
            let spoken = options.spoken(sentence);
            let sounds = self.mnemonics(&identifier, &spoken)?;
            let (mut pcm, mut events) = (Vec::new(), Vec::new());
            let mut parts: VecDeque<EspeakText> = readable(&spoken, &sounds).into();
            while let Some(part) = parts.pop_front() {
                let heard = lock(self.library)
                    .speak(&identifier, rate, &part, !sounds.is_empty())
                    .map_err(failed)?;
                let left_off = left_off(&part, &heard.events);
                if let Some(place) = left_off.filter(|_| sounds.is_empty()) {
                    let (read, unread) = part.parted_at(place);
                    parts.push_front(unread);
                    parts.push_front(read);
                    continue;
                }
                events.extend(in_sentence(&part, &heard.events, pcm.len()));
                pcm.extend(heard.pcm);
            }
            let words = alignment::align(sentence, &events, pcm.len());
            sink.add(sentence, &pcm, &words)?;
        }
        Ok(())
    }
}

/// A voice is named after its file, `aav/vi` → `espeak/vi`: the languages that
/// files claim are not unique.
fn voice(file: &VoiceFile, sample_rate_hz: u32, version: &str) -> Voice {
    let name = file.identifier.rsplit('/').next().unwrap_or_default();
    let gender = match file.gender {
        1 => Some("male".into()),
        2 => Some("female".into()),
        _ => None,
    };
    Voice {
        id: format!("{NAME}/{}", name.to_lowercase()),
        engine: NAME.into(),
        language: super::bcp_47(&file.language),
        name: file.name.replace('_', " ").trim().to_owned(),
        gender,
        sample_rate_hz,
        licence: Some("GPL-3.0-or-later".into()),
        speakers: Vec::new(),
        version: Some(version.to_owned()),
        is_costly: false,
    }
}

/// Phonemes by eSpeak's own names, at their places in the text that is read.
type Sounds = BTreeMap<usize, String>;

/// A sentence as eSpeak is given it, with the names of phonemes in `[[…]]`: in one
/// part, unless what is said is too long.
fn readable(spoken: &NormalizedText, sounds: &Sounds) -> Vec<EspeakText> {
    let mut parts = Parts {
        is_long: spoken.text.len() > MOST_BYTES,
        has_sounds: !sounds.is_empty(),
        ..Parts::default()
    };
    let (mut behind_sounds, mut before) = (false, ' ');
    for (at, (&origin, c)) in spoken.origins.iter().zip(spoken.text.chars()).enumerate() {
        if let Some(names) = sounds.get(&at) {
            // eSpeak sees `[[` only at the start of a word.
            for word in names.split(' ') {
                parts.cut_if_full(word.len());
                parts.part.push(' ', origin);
                parts.part.push_phonemes(word, origin);
            }
            (behind_sounds, before) = (true, c);
            continue;
        }
        // A mark that is parted from what it ends would end nothing.
        if std::mem::take(&mut behind_sounds) && !".,;:?!…".contains(c) {
            parts.part.push(' ', origin);
        }
        if is_blank(c) {
            parts.cut_at_blank(before);
        } else if !is_combining_mark(c) {
            parts.cut_anywhere(c.len_utf8());
        }
        // What people write in brackets is text.
        let is_bracket = c == '[' && !sounds.is_empty();
        parts.part.push(if is_bracket { '(' } else { c }, origin);
        before = c;
    }
    parts.cut();
    parts.done
}

/// What eSpeak is given one after another.
#[derive(Default)]
struct Parts {
    done: Vec<EspeakText>,
    part: EspeakText,
    /// It is more than one part.
    is_long: bool,
    has_sounds: bool,
}

impl Parts {
    fn cut(&mut self) {
        self.done.push(std::mem::take(&mut self.part));
    }

    /// Phonemes of so many bytes come.
    fn cut_if_full(&mut self, bytes: usize) {
        if self.part.len() + bytes > MOST_BYTES_WITH_SOUNDS {
            self.cut();
        }
    }

    /// A blank comes, behind this character.
    fn cut_at_blank(&mut self, before: char) {
        let most = match self.has_sounds {
            true => MOST_BYTES_WITH_SOUNDS,
            false => MOST_BYTES,
        };
        let bytes = self.part.len();
        let is_mark = ",;:.?!".contains(before);
        let is_good = self.is_long && is_mark && bytes > MOST_BYTES_AT_A_MARK;
        if bytes > most || self.part.words() > MOST_WORDS || is_good {
            self.cut();
        }
    }

    /// A character of so many bytes comes that does not belong to the one before it.
    fn cut_anywhere(&mut self, bytes: usize) {
        let is_full = self.part.words() > espeak_text::MOST_WORDS;
        if is_full || self.part.len() + bytes > MOST_BYTES_WITHOUT_BLANKS {
            self.cut();
        }
    }
}

/// Where a part has to be cut because not all of it was read: where the last word begins
/// that was reported before many that were not. It may itself have been read by half.
fn left_off(part: &EspeakText, events: &[Event]) -> Option<usize> {
    if cost_of(part.as_str()) < SURELY_READ {
        return None;
    }
    let places = events
        .iter()
        .filter_map(|event| event.position.checked_sub(1));
    let reported: HashSet<usize> = places.collect();
    let (mut last, mut unread) = (0, 0);
    // Of the word that is being looked at.
    let (mut start, mut is_settled) = (0, false);
    for (at, c) in part.as_str().chars().enumerate() {
        if is_blank(c) {
            (start, is_settled) = (at + 1, false);
        } else if reported.contains(&at) {
            (last, unread, is_settled) = (start, 0, true);
        } else if c.is_alphanumeric() && !is_settled {
            unread += 1;
            is_settled = true;
        }
        if unread >= WORDS_UNREAD {
            return (last > 0).then_some(last);
        }
    }
    None
}

/// The events of a part with the positions of the sentence, those that point
/// nowhere left out; the part begins at `sample`. eSpeak counts positions from 1.
fn in_sentence(part: &EspeakText, events: &[Event], sample: usize) -> Vec<Event> {
    let moved = events.iter().filter_map(|event| {
        Some(Event {
            position: part.origin(event.position.checked_sub(1)?)?,
            sample: sample + event.sample,
        })
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spoken(text: &str) -> NormalizedText {
        NormalizedText {
            text: text.to_owned(),
            origins: (0..text.chars().count()).collect(),
            sounds: BTreeMap::new(),
        }
    }

    fn parts(text: &str) -> Vec<String> {
        let parts = readable(&spoken(text), &Sounds::new());
        parts.iter().map(|part| part.as_str().to_owned()).collect()
    }

    #[test]
    fn a_sentence_that_is_read_as_it_is_written_is_one_part() {
        let text = "một hai, ba bốn. ".repeat(30);
        let mut end = text.floor_char_boundary(MOST_BYTES);
        end = text[..end].trim_end().len();
        assert_eq!(parts(&text[..end]).len(), 1);
    }

    #[test]
    fn a_longer_one_is_cut_behind_a_mark() {
        let text = "one two three, four five six. ".repeat(60);
        let parts = parts(&text);
        assert!(parts.len() > 2);
        for part in &parts[..parts.len() - 1] {
            assert!(part.ends_with([',', '.']), "{part}");
        }
    }

    /// With these words reported, counted from 0.
    fn left_off_in(text: &str, reported: impl Fn(usize) -> bool) -> Option<String> {
        let part = EspeakText::of(text, false).remove(0);
        let starts = text.match_indices(' ').map(|(byte, _)| byte + 1);
        let starts = [0].into_iter().chain(starts).enumerate();
        let events = starts
            .filter(|(word, _)| reported(*word))
            .map(|(_, byte)| Event {
                position: text[..byte].chars().count() + 1,
                sample: 0,
            });
        let place = left_off(&part, &events.collect::<Vec<_>>())?;
        Some(part.parted_at(place).1.as_str().to_owned())
    }

    #[test]
    fn a_part_is_cut_where_many_words_were_not_reported() {
        let text = ["слово"; 40].join(" ");
        let rest = |words: usize| Some(["слово"; 40][words..].join(" "));
        assert_eq!(left_off_in(&text, |_| true), None);
        assert_eq!(left_off_in(&text, |word| word < 30), rest(29));
        assert_eq!(
            left_off_in(&text, |word| !(20..30).contains(&word)),
            rest(19)
        );
        assert_eq!(left_off_in(&text, |word| word % 4 == 0), None);
        assert_eq!(left_off_in(&text, |_| false), None);
        assert_eq!(
            left_off_in("một hai ba bốn năm sáu bảy", |word| word < 1),
            None
        );
        let marks = ["слово"; 20].join(" ") + &" %".repeat(30);
        assert_eq!(left_off_in(&marks, |word| word < 20), None);
    }

    proptest! {
        #[test]
        fn no_part_is_longer_than_is_read_and_nothing_is_lost(
            text in "([a-c]{1,3}|[ữ字]{1,90}|%{1,9}|[,.]|a b c d e f )( ?([a-c]{1,3}|[ữ字]{1,90}|%{1,9}|[,.]|a b c d e f )){0,300}",
        ) {
            let parts = parts(&text);
            for part in &parts {
                prop_assert!(part.len() < 800, "{}", part.len());
                prop_assert!(part.split(' ').count() <= 300);
            }
            let written = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(written(&parts.concat()), written(&text));
        }
    }
}
