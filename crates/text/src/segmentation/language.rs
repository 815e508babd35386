//! Languages: which of the two default ones a text is in, and which contains which.

use unicode_segmentation::UnicodeSegmentation;

/// Whether a text is Vietnamese rather than English, by its letters: at least
/// one word in ten has a letter that only Vietnamese uses, or one in four is a
/// single syllable with a letter that it shares with French or Portuguese. A
/// Vietnamese name or a French loan word does not make an English text
/// Vietnamese. The text is in NFC.
pub fn looks_vietnamese(text: &str) -> bool {
    let mut words = 0;
    let mut score = 0;
    for word in text.unicode_words() {
        let word = word.to_lowercase();
        words += usize::from(word.chars().any(char::is_alphabetic));
        if word.chars().any(is_only_vietnamese) {
            score += 10;
        } else if word.chars().any(is_shared) && is_one_syllable(&word) {
            score += 4;
        }
    }
    score > 0 && score >= words
}

/// Whether what is of the language `tag` is of `language` too (both BCP 47, in
/// any case): `en-US` is of `en`, but `en` is not of `en-US`, nor `eno` of `en`.
pub fn is_of(tag: &str, language: &str) -> bool {
    let tag = tag.to_lowercase();
    let rest = tag.strip_prefix(&language.to_lowercase());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// ă, đ, ơ, ư and the vowels with two marks or with a hook or a dot below
/// (Latin Extended Additional, U+1EA0 to U+1EF9).
fn is_only_vietnamese(c: char) -> bool {
    matches!(c, 'ă' | 'đ' | 'ơ' | 'ư' | '\u{1EA0}'..='\u{1EF9}')
}

fn is_shared(c: char) -> bool {
    "àáâãèéêìíĩòóôõùúũý".contains(c)
}

/// Vietnamese writes each syllable as a word of its own: one group of vowels,
/// seven letters at most (`nghiêng`).
fn is_one_syllable(word: &str) -> bool {
    let is_vowel = |c: char| "aeiouy".contains(c) || is_shared(c);
    let mut groups = 0;
    let mut in_group = false;
    for c in word.chars() {
        groups += usize::from(is_vowel(c) && !in_group);
        in_group = is_vowel(c);
    }
    groups == 1 && word.chars().count() <= 7
}
