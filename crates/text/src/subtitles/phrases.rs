//! Which neighbouring words a reader wants to see together.
//!
//! Only what can be known from the words themselves: a number with what it
//! counts or is the number of, the parts of a name, Vietnamese words of several
//! syllables, and small words with what follows them.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::breaks::Break;
use super::compounds;
use super::function_words::{self, FunctionWords};

/// What is counted or measured, in lower case.
const UNITS: &[&str] = &[
    // Signs of both languages.
    "km",
    "m",
    "cm",
    "mm",
    "kg",
    "g",
    "l",
    "ml",
    "km/h",
    "m²",
    "m2",
    "m3",
    "°c",
    "%",
    "usd",
    "vnd",
    "vnđ",
    "đ",
    "kb",
    "mb",
    "gb",
    "tb",
    "w",
    "kw",
    "kwh",
    "am",
    "pm",
    "a.m",
    "p.m",
    // Vietnamese.
    "đồng",
    "nghìn",
    "ngàn",
    "trăm",
    "triệu",
    "tỷ",
    "tỉ",
    "tấn",
    "tạ",
    "lít",
    "mét",
    "ki-lô-mét",
    "giây",
    "phút",
    "giờ",
    "ngày",
    "tuần",
    "tháng",
    "năm",
    "tuổi",
    "người",
    "phần",
    "lần",
    "độ",
    "đô",
    "con",
    "cái",
    "chiếc",
    "bài",
    "tập",
    // English.
    "hundred",
    "thousand",
    "million",
    "billion",
    "percent",
    "dollars",
    "dollar",
    "euros",
    "pounds",
    "seconds",
    "second",
    "minutes",
    "minute",
    "hours",
    "hour",
    "days",
    "day",
    "weeks",
    "week",
    "months",
    "month",
    "years",
    "year",
    "times",
    "people",
    "miles",
    "feet",
    "inches",
    "metres",
    "meters",
    "kilometres",
    "kilometers",
    "degrees",
];

/// What stands before the number that names it, in lower case.
const NUMBERED: &[&str] = &[
    "ngày", "tháng", "năm", "quý", "chương", "phần", "tập", "bài", "số", "thứ", "lớp", "quận",
    "điều", "trang", "thế", "kỷ", "chapter", "part", "page", "section", "episode", "season",
    "number", "no", "room", "figure", "table",
];

/// A month stands on either side of its day.
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// What stands before the name of somebody or of a place, in lower case.
const TITLES: &[&str] = &[
    "ông",
    "bà",
    "anh",
    "chị",
    "em",
    "cô",
    "chú",
    "bác",
    "thầy",
    "vua",
    "tỉnh",
    "huyện",
    "xã",
    "phường",
    "quận",
    "phố",
    "đường",
    "sông",
    "núi",
    "hồ",
    "đảo",
    "chùa",
    "cầu",
    "chợ",
    "làng",
    "nước",
];

/// How good it is to break after each of these pieces of a text, if there is no
/// punctuation. `language` is BCP 47.
pub(super) fn breaks(pieces: &[&str], language: &str) -> Vec<Break> {
    let primary = language.split('-').next().unwrap_or_default();
    let is_vietnamese = primary.eq_ignore_ascii_case("vi");
    let is_english = primary.eq_ignore_ascii_case("en");
    let words: Vec<String> = pieces.iter().map(|piece| bare(piece)).collect();
    let compounds = match is_vietnamese {
        true => compounds_of(pieces, &words),
        false => vec![false; words.len()],
    };
    let function_words = match (is_vietnamese, is_english) {
        (true, _) => &function_words::VIETNAMESE,
        (_, true) => &function_words::ENGLISH,
        _ => &function_words::NONE,
    };
    let text = Text {
        pieces,
        words,
        compounds,
        function_words,
    };
    (0..pieces.len()).map(|at| text.break_after(at)).collect()
}

/// A piece without punctuation, composed and in lower case.
fn bare(piece: &str) -> String {
    let small: String = piece.nfc().flat_map(char::to_lowercase).collect();
    let is_around = |c: char| !c.is_alphanumeric() && !"%°²".contains(c);
    small.trim_matches(is_around).replace('’', "'")
}

/// For each piece, whether it and the next are in one Vietnamese word: between
/// one sign and the next.
fn compounds_of(pieces: &[&str], words: &[String]) -> Vec<bool> {
    let spelled: Vec<String> = words.iter().map(|word| compounds::spelling(word)).collect();
    let spelled: Vec<&str> = spelled.iter().map(String::as_str).collect();
    let is_end = |at: &usize| {
        let after = pieces.get(at + 1);
        pieces[*at].ends_with(is_sign) || after.is_none_or(|after| after.starts_with(is_sign))
    };
    let mut joined = Vec::with_capacity(words.len());
    for end in (0..pieces.len()).filter(is_end) {
        joined.extend(compounds::joined(&spelled[joined.len()..=end]));
    }
    joined
}

/// Neither a letter nor a digit, nor a mark on one.
fn is_sign(c: char) -> bool {
    !c.is_alphanumeric() && !is_combining_mark(c)
}

/// The pieces of a text, and what is known of them.
struct Text<'a> {
    pieces: &'a [&'a str],
    words: Vec<String>,
    /// For each piece, whether it and the next are in one word.
    compounds: Vec<bool>,
    function_words: &'static FunctionWords,
}

impl Text<'_> {
    fn break_after(&self, at: usize) -> Break {
        let (Some(before), Some(after)) = (self.pieces.get(at), self.pieces.get(at + 1)) else {
            return Break::Word;
        };
        let is_name_after = is_name(after);
        if self.compounds[at]
            || (is_name(before) && is_name_after)
            || self.is_counted(at)
            || self.is_numbered(at + 1)
        {
            return Break::Phrase;
        }
        let (word, next) = (self.word_until(at), self.word_from(at + 1));
        let is_title = is_name_after && TITLES.contains(&&self.words[at][..]);
        if is_title || self.counts_what_follows(at) || self.function_words.bind(&word, &next) {
            Break::Leading
        } else if self.function_words.begins(&next) {
            Break::Joint
        } else {
            Break::Word
        }
    }

    /// `20 km`, and `3 May`.
    fn is_counted(&self, at: usize) -> bool {
        let after = &self.words[at + 1][..];
        let is_unit = UNITS.contains(&after) || MONTHS.contains(&after);
        is_unit
            && is_number(self.pieces[at])
            && self.pieces[at].ends_with(|c: char| c.is_ascii_digit())
    }

    /// `Chapter 3`, `năm 2024`.
    fn is_numbered(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1).map(|before| &self.words[before][..]) else {
            return false;
        };
        is_number(self.pieces[at]) && (NUMBERED.contains(&before) || MONTHS.contains(&before))
    }

    /// `20 | customers`, but not what is a year or the number of something.
    fn counts_what_follows(&self, at: usize) -> bool {
        let is_year =
            self.words[at].len() == 4 && self.words[at].bytes().all(|b| b.is_ascii_digit());
        is_number(self.pieces[at]) && !is_year && !self.is_numbered(at)
    }

    /// The whole word that ends here.
    fn word_until(&self, at: usize) -> String {
        let before = self.compounds[..at].iter().rev().take(compounds::LONGEST);
        let from = at - before.take_while(|joined| **joined).count();
        self.words[from..=at].join(" ")
    }

    /// The whole word that begins here.
    fn word_from(&self, at: usize) -> String {
        let after = self.compounds[at..].iter().take(compounds::LONGEST);
        let to = at + after.take_while(|joined| **joined).count();
        self.words[at..=to].join(" ")
    }
}

fn is_number(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_ascii_digit())
}

/// Written with a capital and not with capitals alone, but for initials.
fn is_name(word: &str) -> bool {
    let mut letters = word.chars().filter(|c| c.is_alphanumeric());
    let capital = letters.next().is_some_and(char::is_uppercase);
    capital && !letters.any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with what stands at each blank: `_` for what is read as one, `>`
    /// behind what leads on, `|` before a good place to begin a line.
    fn marked(language: &str, text: &str) -> String {
        let pieces: Vec<&str> = text.split(' ').collect();
        let breaks = breaks(&pieces, language);
        let sign = |after: &Break| match after {
            Break::Phrase => '_',
            Break::Leading => '>',
            Break::Joint => '|',
            _ => ' ',
        };
        let signs = breaks.iter().map(sign);
        let parts = pieces.iter().zip(signs);
        let marked: String = parts
            .map(|(piece, sign)| format!("{piece}{sign}"))
            .collect();
        marked.trim_end().to_owned()
    }

    fn assert_marked(language: &str, expected: &str) {
        let text = expected.replace(['_', '>', '|'], " ");
        assert_eq!(marked(language, &text), expected);
    }

    #[test]
    fn a_number_stays_with_its_unit_and_with_what_it_names() {
        for language in ["vi", "en-US", "de"] {
            assert_marked(language, "xx 20_km. xx 30_% xx Chapter_7: xx 15_April");
            assert_marked(
                language,
                "xx 1.500_đồng xx 3_triệu, xx Năm_2024 xx chương_5",
            );
            assert_marked(language, "2024 xx km 20>yy");
        }
        assert_marked("en", "in>1966 whales");
        assert_marked("en", "section_3 whales");
    }

    #[test]
    fn the_parts_of_a_name_stay_together() {
        assert_marked("vi", "chào ông>Nguyễn_Văn_An xx");
        assert_marked("en", "xx John_Smith's xx HELLO WORLD xx");
        assert_marked("en", "xx Mr._Harrison xx");
        assert_marked("vi", "Anh xx");
    }

    #[test]
    fn words_of_several_syllables_stay_together_in_vietnamese_alone() {
        assert_marked("vi-VN", "kinh_tế Việt_Nam phát_triển");
        assert_marked("en", "kinh tế phát triển");
        // Punctuation ends a word.
        assert_marked("vi", "kinh, tế kinh (tế) \"kinh_tế\"");
        let decomposed: String = "kinh tế".nfd().collect();
        assert_eq!(
            breaks(&decomposed.split(' ').collect::<Vec<_>>(), "vi")[0],
            Break::Phrase
        );
    }

    #[test]
    fn small_words_stay_with_what_follows_them() {
        assert_marked("en", "house|in>the>garden|and>you");
        assert_marked("en", "They’ve>walked|because>it>rained");
        assert_marked("en", "saw it|and>it>was>good");
        assert_marked("vi", "chiếc>nhẫn>ấy");
        assert_marked("vi", "nhà|của>các>nhà đã>xong");
        // Within a longer word they are none.
        assert_marked("vi", "tuy_nhiên>nhà bên_trong nhà để_dành nhà");
        assert_marked("fr", "la maison de mon père");
        assert_marked("vi", "to the house");
    }
}
