//! Vietnamese words of several syllables, which are written with blanks in
//! them: `kinh tế`, `công nghệ thông tin`.
//!
//! Nothing in the letters tells them from neighbours, so they are listed, in
//! `compounds.txt`: one a line, sorted by code points, in lower case. What is as
//! often two words is left out.

use std::collections::HashSet;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;

/// The most syllables of a word in the list.
pub(super) const LONGEST: usize = 6;

static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let spelled = |line: &str| line.split(' ').map(spelling).collect::<Vec<_>>().join(" ");
    include_str!("compounds.txt").lines().map(spelled).collect()
});

/// For each of these syllables, in their `spelling`, whether it and the next
/// are in one word. Punctuation parts words, so the caller asks for what stands
/// between two signs.
///
/// Every word that is found counts, also two that overlap: in `thành công cụ`
/// neither `thành công` nor `công cụ` is split. To choose one, as the longest
/// from the left, would now and then split the other, which is the right one;
/// a place less to break at costs nothing.
pub(super) fn joined(syllables: &[&str]) -> Vec<bool> {
    let mut joined = vec![false; syllables.len()];
    let mut word = String::new();
    for from in 0..syllables.len() {
        word.clear();
        for (at, syllable) in syllables.iter().enumerate().skip(from).take(LONGEST) {
            if at > from {
                word.push(' ');
            }
            word.push_str(syllable);
            if at > from && KNOWN.contains(&word) {
                joined[from..at].fill(true);
            }
        }
        // `xanh xanh`, `từ từ`: what is said twice is one word.
        joined[from] |= syllables.get(from + 1) == Some(&syllables[from]);
    }
    joined
}

/// A syllable as it is looked up: composed, in lower case, and in one of the
/// spellings where there are two, `hoà` for `hòa` and `kĩ` for `kỹ`.
pub(super) fn spelling(syllable: &str) -> String {
    let small: String = syllable.nfc().flat_map(char::to_lowercase).collect();
    let mut letters: Vec<char> = small.chars().collect();
    if let [.., first, second] = &mut letters[..]
        && let Some((plain, moved)) = moved_tone(*first, *second)
    {
        (*first, *second) = (plain, moved);
    }
    if let ["h" | "k" | "l" | "m" | "s" | "t" | "qu", _] = split_last(&small)[..]
        && let Some(last) = letters.last_mut()
    {
        *last = same_place("yýỳỷỹỵ", "iíìỉĩị", *last).unwrap_or(*last);
    }
    letters.into_iter().collect()
}

/// `òa` is written as `oà`, `ủy` as `uỷ`: the tone on the other vowel.
fn moved_tone(first: char, second: char) -> Option<(char, char)> {
    let plain = match first {
        'ó' | 'ò' | 'ỏ' | 'õ' | 'ọ' => 'o',
        'ú' | 'ù' | 'ủ' | 'ũ' | 'ụ' => 'u',
        _ => return None,
    };
    let moved = match (plain, second) {
        ('o', 'a') => same_place("óòỏõọ", "áàảãạ", first),
        ('o', 'e') => same_place("óòỏõọ", "éèẻẽẹ", first),
        ('u', 'y') => same_place("úùủũụ", "ýỳỷỹỵ", first),
        _ => None,
    };
    Some((plain, moved?))
}

/// What stands in `to` where the letter stands in `from`.
fn same_place(from: &str, to: &str, letter: char) -> Option<char> {
    let place = from.chars().position(|c| c == letter)?;
    to.chars().nth(place)
}

/// All but the last letter, and that.
fn split_last(text: &str) -> [&str; 2] {
    let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
    [&text[..last], &text[last..]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parted(text: &str) -> String {
        let written: Vec<&str> = text.split(' ').collect();
        let spelled: Vec<String> = written.iter().map(|one| spelling(one)).collect();
        let spelled: Vec<&str> = spelled.iter().map(String::as_str).collect();
        let joined = joined(&spelled);
        let blanks = joined.iter().map(|joined| if *joined { "_" } else { " " });
        let parts = written
            .iter()
            .zip(blanks)
            .map(|(one, blank)| format!("{one}{blank}"));
        parts.collect::<String>().trim_end().to_owned()
    }

    #[test]
    fn the_list_is_sorted_and_of_words_in_lower_case() {
        let lines: Vec<&str> = include_str!("compounds.txt").lines().collect();
        assert!(lines.is_sorted_by(|a, b| a < b), "sorted, and none twice");
        for line in &lines {
            let syllables = line.split(' ').count();
            assert!((2..=LONGEST).contains(&syllables), "{line:?}");
            let is_small = |c: char| c == ' ' || (c.is_alphabetic() && c.is_lowercase());
            assert!(line.chars().all(is_small), "{line:?}");
            assert!(unicode_normalization::is_nfc(line), "{line:?}");
        }
        assert_eq!(KNOWN.len(), lines.len(), "one spelling of each is enough");
    }

    #[test]
    fn words_of_several_syllables_are_found_in_any_spelling() {
        for (text, expected) in [
            (
                "ngành Kinh tế phát triển nhanh",
                "ngành Kinh_tế phát_triển nhanh",
            ),
            (
                "ngành công nghệ thông tin này",
                "ngành công_nghệ_thông_tin này",
            ),
            ("dần trở thành công cụ", "dần trở_thành_công_cụ"),
            ("đi từ từ ra", "đi từ_từ ra"),
            ("hoà bình hòa bình", "hoà_bình hòa_bình"),
            ("kĩ thuật kỹ thuật", "kĩ_thuật kỹ_thuật"),
            ("Uỷ ban Ủy ban", "Uỷ_ban Ủy_ban"),
            ("một con mèo đen", "một con mèo đen"),
            ("", ""),
        ] {
            assert_eq!(parted(text), expected);
            let decomposed: String = text.nfd().collect();
            assert_eq!(parted(&decomposed).nfc().collect::<String>(), expected);
        }
    }
}
