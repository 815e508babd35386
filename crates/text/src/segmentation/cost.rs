//! How much is said for what is written, before anybody has said it.
//!
//! The unit is a letter of a word: 70 ms at the usual speed. A digit is a word or two,
//! a symbol is said by its name, and so is a letter of a script that a voice does not
//! read. The numbers are what eSpeak NG 1.51 takes for them, rounded up (`en-us`, each
//! by itself), but for scripts that many people write: there a voice of another script
//! takes up to three times as much, and a voice of theirs less.

/// How much is said for one character.
pub fn cost(c: char) -> u32 {
    match c {
        '0'..='9' => 7,
        ' '..='~' if c.is_ascii_alphabetic() || " .,;:!?'\"()-".contains(c) => 1,
        ' '..='~' => 6,
        // Latin, with Vietnamese and the combining marks.
        '\u{C0}'..='\u{17F}' | 'Ơ' | 'ơ' | 'Ư' | 'ư' | '\u{300}'..='\u{36F}' => 1,
        '\u{1E00}'..='\u{1EFF}' => 1,
        // Quotes, dashes, and the marks of Chinese and Japanese.
        '\u{2010}'..='\u{2027}' | '\u{3000}'..='\u{3011}' => 1,
        // Greek to Arabic.
        '\u{370}'..='\u{6FF}' => 4,
        // The scripts of India to Georgia, the Khmer one, those of China, Japan and
        // Korea.
        '\u{900}'..='\u{11FF}'
        | '\u{1780}'..='\u{17FF}'
        | '\u{3040}'..='\u{9FFF}'
        | '\u{AC00}'..='\u{D7AF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FF00}'..='\u{FFEF}' => 6,
        _ if super::is_blank(c) => 1,
        _ if c < '\u{370}' => 10,
        _ => 20,
    }
}

/// How much is said for a text.
pub fn cost_of(text: &str) -> u32 {
    text.chars().map(cost).sum()
}
