//! Phonemes as people write them, in the International Phonetic Alphabet.
//!
//! Dictionaries write `həˈləʊ`, with the mark of stress before the syllable,
//! composed or decomposed, with dots between syllables; voices know `həlˈəʊ`,
//! with the mark before the vowel. So both are made one.

use unicode_normalization::UnicodeNormalization;

/// What is wrong with phonemes, as the end of a sentence that begins with
/// "must be".
pub const ALLOWED: &str = "the IPA of 1 to 200 characters, such as ˈsiːkwəl: lower-case letters, \
                           marks of stress and length (ˈ ˌ ː, not ' or :), no slashes or brackets";

/// The most characters; [`ALLOWED`] says it too.
const MAX_CHARACTERS: usize = 200;

/// The first and the second stress.
pub fn is_stress(c: char) -> bool {
    matches!(c, 'ˈ' | 'ˌ')
}

/// Whether a text is IPA. Which sounds a voice knows is another question.
pub fn is_ipa(text: &str) -> bool {
    text.chars().count() <= MAX_CHARACTERS
        && text.nfd().all(|c| is_letter(c) || is_sign(c))
        && text.nfd().any(is_letter)
}

/// The letters of IPA, decomposed: ç is c and a mark.
fn is_letter(c: char) -> bool {
    matches!(c, 'a'..='z' | '\u{250}'..='\u{2AF}' | '\u{1D00}'..='\u{1DBF}')
        || "æðøħŋœβθχⁿ".contains(c)
}

/// What stands at a letter: stress, length, tone, what is above and below it,
/// digits, which eSpeak NG writes for tones, and what parts syllables and words.
fn is_sign(c: char) -> bool {
    matches!(c, '0'..='9' | '\u{2B0}'..='\u{2FF}' | '\u{300}'..='\u{36F}' | ' ' | '.' | '‿')
}

/// A sign that only shades the letter before it (ʰ, ː, a tie, a bridge): a voice
/// that does not know it says the letter without. A tone is not one, since it
/// makes another word.
pub fn is_shade(c: char) -> bool {
    matches!(c, '\u{2B0}'..='\u{2E4}' | '\u{300}'..='\u{36F}') && !is_stress(c)
}

/// Whether it is a vowel, decomposed.
pub fn is_vowel(c: char) -> bool {
    "aeiouyæøœɐɑɒɔəɘɚɛɜɝɞɤɨɪɯɵɶʉʊʌʏᵻ".contains(c)
}

/// The symbols, as voices know them: decomposed, stress before the vowel, one
/// blank between two words.
pub fn symbols(text: &str) -> Vec<char> {
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    words.join(" ").chars().collect()
}

/// What is written in several ways, in the one that voices know.
fn usual(c: char) -> Vec<char> {
    let usual = match c {
        'g' => "ɡ",
        'ɝ' => "ɜ˞",
        'ʧ' => "tʃ",
        'ʤ' => "dʒ",
        'ʦ' => "ts",
        'ʣ' => "dz",
        _ => return vec![c],
    };
    usual.chars().collect()
}

fn word(text: &str) -> String {
    let mut symbols: Vec<char> = text
        .nfd()
        .filter(|c| !".‿".contains(*c))
        .flat_map(usual)
        .collect();
    let mut at = 0;
    while at < symbols.len() {
        let next = |wanted: fn(char) -> bool| {
            let rest = symbols.iter().skip(at + 1);
            rest.clone().position(|c| wanted(*c)).unwrap_or(usize::MAX)
        };
        let (vowel, mark) = (next(is_vowel), next(is_stress));
        // A syllable without a vowel (`ˈkr̩k`) keeps its mark where it is.
        if is_stress(symbols[at]) && vowel < mark {
            symbols[at..=at + vowel].rotate_left(1);
            at += vowel;
        }
        at += 1;
    }
    symbols.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        symbols(text).iter().collect()
    }

    #[test]
    fn stress_stands_before_the_vowel_and_syllables_are_not_parted() {
        assert_eq!(written("həˈləʊ"), "həlˈəʊ");
        assert_eq!(written("həlˈəʊ"), "həlˈəʊ");
        assert_eq!(written("ˌɪn.təˈnæʃ.nəl"), "ˌɪntənˈæʃnəl");
        assert_eq!(written("ˈstɹɛŋθ"), "stɹˈɛŋθ");
        assert_eq!(written("ˈkr̩k"), "ˈkr̩k");
        assert_eq!(written("ˈps"), "ˈps");
        assert_eq!(written(" les‿amˈi  bɔ̃ "), "lesamˈi bɔ\u{303}");
    }

    #[test]
    fn composed_and_decomposed_are_the_same_and_so_are_letters_of_two_forms() {
        assert_eq!(written("ˈʧɝʤ"), "tʃˈɜ˞dʒ");
        assert_eq!(written("ç\u{e3}g"), written("c\u{327}a\u{303}ɡ"));
    }

    #[test]
    fn what_is_not_ipa_is_known_by_its_characters() {
        for good in ["ˈsiːkwəl", "həlˈoʊ wˈɜːld", "t̪ˈo1j", "t͡ʃɔ̃ː", "saːj˧˥", "ᵻ"]
        {
            assert!(is_ipa(good), "{good}");
            assert!(is_ipa(&good.nfc().collect::<String>()), "{good}");
        }
        let long = "a".repeat(MAX_CHARACTERS + 1);
        let bad = [
            "", " ", "ˈ", "/siː/", "[siː]", "s'i:", "SQL", "ж", "đ", "[[h@]]", "a\n", &long,
        ];
        for bad in bad {
            assert!(!is_ipa(bad), "{bad}");
        }
    }
}
