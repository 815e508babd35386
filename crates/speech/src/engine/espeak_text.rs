//! Text as eSpeak NG can be given it.
//!
//! The C library (1.51, as Debian has it) looks neither for the end of all of its
//! buffers nor for what it does not find, so some texts end the process:
//!
//! - A hyphen before a letter, with nothing before the hyphen that the library knows as
//!   a letter or digit (`"-Chào`, `①-Chào`), has Vietnamese, Danish and other voices
//!   look for a vowel where there is none. Such a hyphen becomes a blank.
//! - A long run without a blank (`s'` 68 times, `%` 168 times) is more than the
//!   buffer of a word's sounds holds. It keeps 160 bytes of a word anyway and drops
//!   the rest, so a run is cut: at its last mark, or else before its last letter.
//! - Single letters with dots (`g.g.`) are looked up as one abbreviation, in buffers of
//!   80 and 160 bytes, also over blanks, commas and ends of sentences. After so many
//!   bytes of them without a word of two letters the next dots become blanks.
//! - Of several marks without a blank (`€,`) it takes the name of one, in languages that
//!   have no rule for it, for an ending, of a length that nobody has set, and cuts that
//!   off, whatever it is and lies before it; a long name does not fit there either. So
//!   marks are parted by blanks, but for dots and what ends a sentence together (`?!`).
//! - It keeps 300 words of a clause, and looks behind the last one for more of an
//!   abbreviation or of an expression that its dictionary has. A word is anything that
//!   is parted from what is beside it, so `a,b` is three. A text has fewer, or is parted.

use hoiam_text::segmentation::is_blank;
use unicode_normalization::char::is_combining_mark;

/// The most code points without a blank.
const MAX_RUN: usize = 40;

/// The most bytes without a blank.
const MAX_RUN_BYTES: usize = 76;

/// The most bytes of letters with dots without a word between them, so that the longest
/// run fits behind them.
const MAX_DOTTED_BYTES: usize = 80;

/// A text of so many words, as the library counts them, has room for one more and for
/// what is looked up behind it.
pub(super) const MOST_WORDS: usize = 270;

/// A text of so many bytes has room for one more run, of the 800 bytes that the library
/// reads at once.
const MOST_BYTES: usize = 700;

/// A text that the library can be given, with the way back to where it comes from.
#[derive(Debug, Default)]
pub(super) struct EspeakText {
    text: String,
    /// For each code point of `text`, which one of the source it is.
    origins: Vec<usize>,
    /// Where the run that is being written begins, in code points and in bytes.
    run: (usize, usize),
    /// The end of the last mark of that run, in the same.
    mark: Option<(usize, usize)>,
    /// How many letters and digits were written last, one after another.
    letters: usize,
    /// How many bytes of letters with dots since there were two.
    dotted: usize,
    /// How many words there are at most, as the library counts them.
    words: usize,
    /// How many capitals were written last, one after another.
    capitals: usize,
}

impl EspeakText {
    /// A text whose `[[…]]`, if there are any, are phonemes with `mnemonics` and text
    /// without. It is one, unless it is more than the library reads at once.
    pub(super) fn of(text: &str, mnemonics: bool) -> Vec<Self> {
        let mut done = Vec::new();
        let mut made = Self::default();
        let mut rest = text;
        let mut at = 0;
        while let Some(c) = rest.chars().next() {
            let is_phonemes = mnemonics && rest.starts_with("[[");
            let end = is_phonemes.then(|| rest.find("]]")).flatten();
            let phonemes = end.map(|end| end + 2);
            let length = phonemes.unwrap_or(c.len_utf8());
            if made.is_full() && !is_combining_mark(c) {
                done.push(std::mem::take(&mut made));
            }
            match phonemes {
                Some(length) => made.push_phonemes(&rest[..length], at),
                None => made.push(c, at),
            }
            at += rest[..length].chars().count();
            rest = &rest[length..];
        }
        done.push(made);
        done
    }

    /// How many words it has at most, as the library counts them.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    fn is_full(&self) -> bool {
        self.text.len() > MOST_BYTES || self.words > MOST_WORDS
    }

    /// As the library is given it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Which code point of the source the one at this place is.
    pub(super) fn origin(&self, at: usize) -> Option<usize> {
        self.origins.get(at).copied()
    }

    /// The same in two, of which the second begins at this place.
    pub(super) fn parted_at(&self, place: usize) -> (Self, Self) {
        let mut parts = (Self::default(), Self::default());
        for (at, (c, origin)) in self.text.chars().zip(&self.origins).enumerate() {
            let part = if at < place {
                &mut parts.0
            } else {
                &mut parts.1
            };
            part.push(c, *origin);
        }
        parts
    }

    /// Appends a code point of the source.
    pub(super) fn push(&mut self, c: char, origin: usize) {
        let c = match self.is_one_dot_too_many(c) {
            true => ' ',
            false => c,
        };
        // The library takes more for letters than there are: marks, signs of Braille.
        if !is_blank(c) && !c.is_numeric() && !c.is_ascii_punctuation() {
            self.part_hyphen();
        }
        if is_blank(c) {
            self.put(c, origin);
            return self.begin_run();
        }
        self.part_marks(c);
        let before = self.text.chars().next_back();
        self.words += usize::from(!before.is_some_and(|before| is_one_word(before, c)));
        // `ABc` is read as `A Bc`.
        self.words += usize::from(c.is_lowercase() && self.capitals > 1);
        self.capitals = if c.is_uppercase() {
            self.capitals + 1
        } else {
            0
        };
        self.put(c, origin);
        while self.run_is_too_long() {
            self.cut_run();
        }
        if !c.is_alphanumeric() && !is_combining_mark(c) {
            self.mark = Some(self.end());
        }
    }

    /// Appends phonemes by the library's own names, whose number is bounded by whoever
    /// makes them.
    pub(super) fn push_phonemes(&mut self, names: &str, origin: usize) {
        names.chars().for_each(|c| self.put(c, origin));
        self.words += 1;
        self.begin_run();
    }

    fn put(&mut self, c: char, origin: usize) {
        self.text.push(c);
        self.origins.push(origin);
    }

    fn end(&self) -> (usize, usize) {
        (self.origins.len(), self.text.len())
    }

    fn begin_run(&mut self) {
        self.run = self.end();
        self.mark = None;
    }

    fn is_one_dot_too_many(&mut self, c: char) -> bool {
        // Those beyond the first plane are read by their names, each as a word.
        let is_letter = c.is_alphanumeric() && c.len_utf8() < 4;
        self.letters = if is_letter { self.letters + 1 } else { 0 };
        let before = self.text.trim_end_matches(is_blank).chars().next_back();
        let is_decimal = self.text.ends_with(|before: char| before.is_ascii_digit());
        match c {
            // Some languages have another letter in place of one, with more bytes.
            '.' if !is_decimal => self.dotted += before.map_or(0, char::len_utf8).max(2) + 1,
            _ if self.letters > 1 => self.dotted = 0,
            _ => {}
        }
        c == '.' && !is_decimal && self.dotted > MAX_DOTTED_BYTES
    }

    /// A letter comes. A hyphen before it becomes a blank, unless a letter or a digit
    /// is before that.
    fn part_hyphen(&mut self) {
        let Some(before) = self.text.strip_suffix('-') else {
            return;
        };
        if !before.ends_with(joins) {
            self.text.replace_range(before.len().., " ");
            self.begin_run();
        }
    }

    /// A mark comes. From one before it a blank parts it.
    fn part_marks(&mut self, c: char) {
        let run = &self.text[self.run.1..];
        let Some(before) = run.chars().next_back() else {
            return;
        };
        let is_mark = |c: char| !c.is_alphanumeric() && !is_combining_mark(c);
        let ends_both = |marks: &str| marks.contains(before) && marks.contains(c);
        if is_mark(before) && is_mark(c) && !ends_both(".") && !ends_both("?!") {
            let origin = self.origins.last().copied().unwrap_or_default();
            self.put(' ', origin);
            self.begin_run();
        }
    }

    /// Where the last letter of the run begins; it is not the first one.
    fn last_letter(&self) -> (usize, usize) {
        let run = self.text[self.run.1..].char_indices();
        let places = (self.run.0..).zip(run.map(|(byte, c)| (self.run.1 + byte, c)));
        let others = places.skip(1).map(|(point, (byte, c))| ((point, byte), c));
        let last = others.clone().last();
        let letter = others.filter(|(_, c)| !is_combining_mark(*c)).last();
        letter.or(last).map_or(self.end(), |(place, _)| place)
    }

    fn run_is_too_long(&self) -> bool {
        self.origins.len() - self.run.0 > MAX_RUN || self.text.len() - self.run.1 > MAX_RUN_BYTES
    }

    /// Puts a blank behind the run's last mark, or else before its last code point that
    /// does not belong to the one before it.
    fn cut_run(&mut self) {
        let (point, byte) = self.mark.take().unwrap_or_else(|| self.last_letter());
        let origin = self.origins[point - 1];
        self.text.insert(byte, ' ');
        self.origins.insert(point, origin);
        self.run = (point + 1, byte + 1);
    }
}

/// Whether a hyphen behind it joins it to a letter. Those that surely do: what else is a
/// letter, a digit or a mark to Unicode is not always one to the library.
fn joins(c: char) -> bool {
    match c {
        '\0'..='\u{24F}' | '\u{370}'..='\u{482}' | '\u{1E00}'..='\u{1EFF}' => {
            c.is_alphabetic() || c.is_ascii_digit()
        }
        _ => false,
    }
}

/// Whether the library takes both for parts of one word, where one comes behind the
/// other. It parts letters from all else, digits too, and scripts, and parts words
/// before a capital; of signs each may be one.
fn is_one_word(before: char, c: char) -> bool {
    // Those of the second range count as such in voices of Latin letters only.
    let is_latin = |c: char| matches!(c, ..'\u{250}' | '\u{1e00}'..='\u{1eff}');
    let is_camel = before.is_lowercase() && c.is_uppercase();
    let are_letters = is_in_word(before) && is_in_word(c);
    let are_digits = before.is_ascii_digit() && c.is_ascii_digit();
    let is_one_script = is_latin(before) == is_latin(c) || is_combining_mark(c);
    are_digits || (are_letters && is_one_script && !is_camel)
}

/// Letters that are no words themselves, and the marks on letters that the library takes
/// for letters. Of marks with more bytes 800 bytes cannot have too many.
fn is_in_word(c: char) -> bool {
    match c {
        '\u{300}'..='\u{36f}' | '\u{5b0}'..='\u{5c2}' | '\u{64b}'..='\u{65e}' | '\u{670}' => true,
        c if is_combining_mark(c) => c.len_utf8() > 2,
        c => c.is_alphabetic() && c < '\u{3040}',
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As one text.
    fn one(text: &str, mnemonics: bool) -> EspeakText {
        EspeakText::of(text, mnemonics).remove(0)
    }

    fn safe(text: &str) -> String {
        one(text, false).as_str().to_owned()
    }

    #[test]
    fn a_hyphen_that_begins_a_word_is_a_blank_and_any_other_stays() {
        for (text, expected) in [
            ("Anh nói: \"-Chào em.\"", "Anh nói: \"  Chào em. \""),
            ("“-Chào anh”", "“  Chào anh”"),
            ("(-a", "(  a"),
            ("|-r", "|  r"),
            ("---लच्छेद", "- -  लच्छेद"),
            ("-a-b", " a-b"),
            ("COVID-19, e-mail, F-16", "COVID-19, e-mail, F-16"),
            ("giảm -5%", "giảm -5%"),
            ("a - b", "a - b"),
            ("cà-phê, bệ-nh, по-русски", "cà-phê, bệ-nh, по-русски"),
            ("x\u{301}-e", "x\u{301} e"),
            (
                "①-mì, m²-mì, a\u{20dd}-b, ɒ-a",
                "① mì, m² mì, a\u{20dd} b, ɒ a",
            ),
            ("क्-क", "क् क"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn marks_are_parted_but_for_dots_and_what_ends_a_sentence_together() {
        for (text, expected) in [
            ("1 €, 2", "1 € , 2"),
            ("《,×,“|", "《 , × , “ |"),
            ("(5%), \"so\".", "(5% ) , \"so\" ."),
            ("Wait... what?! 'No'", "Wait... what?! 'No'"),
            ("it's 1,000.5 a-b", "it's 1,000.5 a-b"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn a_long_run_is_cut_at_its_last_mark_or_else_anywhere() {
        let url = "https://example.com/a-path-that-is-long/and-has-words";
        assert_eq!(
            safe(url),
            "https: / /example.com/a-path-that-is-long/and- has-words"
        );
        assert_eq!(
            safe(&"a".repeat(90)),
            [40, 40, 10].map(|n| "a".repeat(n)).join(" ")
        );
        let thai = "กิ".repeat(20);
        assert!(safe(&thai).contains(' ') && !safe(&thai).contains(" ิ"));
        let stacked = "e\u{301}".repeat(30);
        assert!(!safe(&stacked).contains(" \u{301}"), "{}", safe(&stacked));
        assert_eq!(
            safe(&"𐐀".repeat(20)),
            ["𐐀".repeat(19), "𐐀".into()].join(" ")
        );
    }

    #[test]
    fn dotted_letters_without_a_word_between_them_lose_their_dots_after_a_while() {
        let dotted = |number: usize, text: &str| text.repeat(number);
        for (letter, most) in [("g", 26), ("é", 26), ("ა", 20), ("𐐀", 16)] {
            let (with, without) = (format!("{letter}. "), format!("{letter}  "));
            assert_eq!(
                safe(&dotted(40, &with)),
                dotted(most, &with) + &dotted(40 - most, &without)
            );
        }
        let decimals = dotted(40, "8.5, ");
        assert_eq!(safe(&decimals), decimals);
        assert_eq!(
            safe(&(dotted(20, "g., ") + "ab" + &dotted(20, " g."))),
            dotted(20, "g. , ") + "ab" + &dotted(20, " g.")
        );
    }

    #[test]
    fn phonemes_by_the_librarys_own_names_stay_as_they_are() {
        let names = format!("a [[{}]], -b", ["a-"; 30].join("|-"));
        let made = one(&names, true);
        assert_eq!(made.as_str(), names.replace(" -b", "  b"));
        assert_eq!(one("[[-a", true).as_str(), "[ [  a");
    }

    /// What people write, and what they do not.
    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => any::<char>().prop_map(String::from),
            3 => "[a-zàđ1-9]{1,60}",
            3 => "[-\"'“(|.,%*&]{1,60}",
            1 => " +",
            1 => "[\u{900}-\u{97f}\u{e00}-\u{e7f}\u{4e00}-\u{4eff}]{1,60}",
            1 => "(g\\.|s'){1,90}",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn a_text_of_too_many_words_is_parted() {
        let words = |text: &str| {
            let made = EspeakText::of(text, false);
            let words: Vec<usize> = made.iter().map(EspeakText::words).collect();
            assert!(
                words.iter().all(|words| *words <= MOST_WORDS + 2),
                "{words:?}"
            );
            words.iter().sum::<usize>()
        };
        assert_eq!(words("Xin chào, các bạn! It's 8 o'clock, COVID-19."), 18);
        for (piece, each) in [
            ("a,", 2),
            ("1,", 2),
            ("1a", 2),
            ("aж", 2),
            ("ב֑", 2),
            ("字", 1),
            ("%", 1),
            ("…", 1),
            ("Ba", 1),
            ("ABc", 2),
        ] {
            assert_eq!(words(&piece.repeat(200)), 200 * each, "{piece}");
        }
    }

    proptest! {
        #[test]
        fn no_run_is_long_and_no_hyphen_begins_a_word(text in texts()) {
            let made = EspeakText::of(&text, false);
            for run in made.iter().flat_map(|made| made.as_str().split(is_blank)) {
                prop_assert!(run.chars().count() <= MAX_RUN, "{run:?}");
                prop_assert!(run.len() <= MAX_RUN_BYTES, "{run:?}");
                let mut before = ' ';
                let chars: Vec<char> = run.chars().collect();
                for pair in chars.windows(2) {
                    let is_letter = !pair[1].is_numeric() && !pair[1].is_ascii_punctuation();
                    prop_assert!(pair[0] != '-' || !is_letter || joins(before), "{run:?}");
                    before = pair[0];
                }
            }
        }

        #[test]
        fn every_code_point_stays_and_knows_where_it_comes_from(text in texts()) {
            let made = EspeakText::of(&text, false);
            let source: Vec<char> = text.chars().collect();
            let mut next = 0;
            let places = |made: &EspeakText| made.as_str().chars().collect::<Vec<_>>();
            let placed = made.iter().flat_map(|made| {
                let chars = places(made).into_iter().enumerate();
                chars.map(|(at, c)| (at, c, made.origin(at).unwrap()))
            });
            for (at, c, origin) in placed {
                let blanked = "-.".contains(source[next.min(source.len() - 1)]) && c == ' ';
                if origin == next && (c == source[next] || blanked) {
                    next += 1;
                } else {
                    prop_assert!(c == ' ' && origin + 1 == next, "{c:?} at {at}");
                }
            }
            prop_assert_eq!(next, source.len());
        }
    }
}
