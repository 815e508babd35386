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
//! - Single letters with dots (`g.g.`) are looked up as one abbreviation, in a buffer
//!   of 160 bytes, also over blanks, commas and ends of sentences. After so many dots
//!   without a word of two letters the next ones become blanks.

use unicode_normalization::char::is_combining_mark;

use super::super::text::is_blank;

/// The most code points without a blank.
const MAX_RUN: usize = 40;

/// The most bytes without a blank.
const MAX_RUN_BYTES: usize = 76;

/// The most dots without a word between them: letters have up to four bytes, a dot one.
const MAX_DOTS: usize = 30;

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
    /// How many dots since there were two.
    dots: usize,
}

impl EspeakText {
    /// A text whose `[[…]]`, if there are any, are phonemes with `mnemonics` and text
    /// without.
    pub(super) fn of(text: &str, mnemonics: bool) -> Self {
        let mut made = Self::default();
        let mut rest = text;
        let mut at = 0;
        while let Some(c) = rest.chars().next() {
            let is_phonemes = mnemonics && rest.starts_with("[[");
            let end = is_phonemes.then(|| rest.find("]]")).flatten();
            let phonemes = end.map(|end| end + 2);
            let length = phonemes.unwrap_or(c.len_utf8());
            match phonemes {
                Some(length) => made.push_phonemes(&rest[..length], at),
                None => made.push(c, at),
            }
            at += rest[..length].chars().count();
            rest = &rest[length..];
        }
        made
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
        let is_decimal = self.text.ends_with(|before: char| before.is_ascii_digit());
        match c {
            '.' if !is_decimal => self.dots += 1,
            _ if self.letters > 1 => self.dots = 0,
            _ => {}
        }
        c == '.' && !is_decimal && self.dots > MAX_DOTS
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(text: &str) -> String {
        EspeakText::of(text, false).as_str().to_owned()
    }

    #[test]
    fn a_hyphen_that_begins_a_word_is_a_blank_and_any_other_stays() {
        for (text, expected) in [
            ("Anh nói: \"-Chào em.\"", "Anh nói: \" Chào em.\""),
            ("“-Chào anh”", "“ Chào anh”"),
            ("(-a", "( a"),
            ("|-r", "| r"),
            ("---लच्छेद", "-- लच्छेद"),
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
    fn a_long_run_is_cut_at_its_last_mark_or_else_anywhere() {
        let url = "https://example.com/a-path-that-is-long/and-has-words";
        assert_eq!(
            safe(url),
            "https://example.com/a-path-that-is-long/ and-has-words"
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
            safe(&"𝄞".repeat(20)),
            ["𝄞".repeat(19), "𝄞".into()].join(" ")
        );
    }

    #[test]
    fn dotted_letters_without_a_word_between_them_lose_their_dots_after_a_while() {
        let dotted = |number: usize, text: &str| text.repeat(number);
        assert_eq!(
            safe(&dotted(40, "g. ")),
            dotted(30, "g. ") + &dotted(10, "g  ")
        );
        let decimals = dotted(40, "8.5, ");
        assert_eq!(safe(&decimals), decimals);
        assert_eq!(
            safe(&(dotted(20, "g., ") + "ab" + &dotted(20, " g."))),
            dotted(20, "g., ") + "ab" + &dotted(20, " g.")
        );
    }

    #[test]
    fn phonemes_by_the_librarys_own_names_stay_as_they_are() {
        let names = format!("a [[{}]], -b", ["a-"; 30].join("|-"));
        let made = EspeakText::of(&names, true);
        assert_eq!(made.as_str(), names.replace(" -b", "  b"));
        assert_eq!(EspeakText::of("[[-a", true).as_str(), "[[ a");
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

    proptest! {
        #[test]
        fn no_run_is_long_and_no_hyphen_begins_a_word(text in texts()) {
            let made = EspeakText::of(&text, false);
            for run in made.as_str().split(is_blank) {
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
            for (at, c) in made.as_str().chars().enumerate() {
                let origin = made.origin(at).unwrap();
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
