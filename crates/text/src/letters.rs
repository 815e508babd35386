//! Letters, digits and signs that are written in another form of their own: wide (`Ａ`,
//! `４７`, as East Asian keyboards have them), narrow (`ｶﾞ`), and the bold, slanted and
//! other alphabets of mathematics (`𝗕𝗼𝗹𝗱`), which people use where they have no others.
//! Engines have no sound for most of them, and no rule of reading finds them.

use std::borrow::Cow;

use unicode_normalization::char::{compose, decompose_compatible};

/// The text with the usual form of each, one character for one.
///
/// These are the characters of Halfwidth and Fullwidth Forms and of Mathematical
/// Alphanumeric Symbols that are one other character by NFKC (UAX #15). Others that NFKC
/// changes say something else than what it makes of them: `²`, `½`, `①`.
#[must_use]
pub fn in_usual_forms(text: &str) -> Cow<'_, str> {
    if !text.chars().any(has_usual_form) {
        return Cow::Borrowed(text);
    }
    let (mut usual, mut before, mut is_in_run) = (String::new(), ' ', false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let is_beside = is_in_run || (has_usual_form(next) && !is_east_asian_mark(next));
        let stays =
            is_east_asian_mark(c) && (!is_beside || is_east_asian(before) || is_east_asian(next));
        let is_letter = |one: &char| !is_sound_mark(*one) || joins(usual.chars().next_back(), *one);
        let one = usual_form(c).filter(|one| !stays && is_letter(one));
        is_in_run = one.is_some();
        usual.push(one.unwrap_or(c));
        before = c;
    }
    Cow::Owned(usual)
}

fn has_usual_form(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ffee}' | '\u{1d400}'..='\u{1d7ff}')
}

fn usual_form(c: char) -> Option<char> {
    if !has_usual_form(c) {
        return None;
    }
    let (mut first, mut length) = (c, 0);
    decompose_compatible(c, |one| {
        first = one;
        length += 1;
    });
    (length == 1).then_some(first)
}

/// The marks that make `ガ` of `カ`, `パ` of `ハ`. In their narrow form they are letters,
/// and stay so where they have nothing to be joined to.
fn is_sound_mark(c: char) -> bool {
    matches!(c, '\u{3099}' | '\u{309a}')
}

fn joins(before: Option<char>, mark: char) -> bool {
    before.is_some_and(|before| compose(before, mark).is_some())
}

/// Marks whose wide form is the usual one beside East Asian letters: there it ends a
/// sentence without a blank behind it, which the narrow one does not.
fn is_east_asian_mark(c: char) -> bool {
    matches!(
        c,
        '！' | '（' | '）' | '，' | '．' | '：' | '；' | '？' | '～'
    )
}

fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{2fff}' | '\u{3001}'..='\u{faff}'
            | '\u{ff61}'..='\u{ffdc}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_narrow_and_mathematical_forms_become_the_usual_ones() {
        for (text, usual) in [
            ("４７，４７　＋　２　＝　８", "47,47　+　2　=　8"),
            ("ｔｈươｎｇ đứｎｇ ｃó", "thương đứng có"),
            ("００：０１：４７，４４１", "00:01:47,441"),
            ("（ｎ．） Ｔｈａｏ．", "(n.) Thao."),
            ("𝗕𝗼̂̉ 𝒔𝒖𝒏𝒈 𝟮𝟬𝟮𝟲 𝛼", "Bo\u{302}\u{309} sung 2026 α"),
            ("ｶﾞｷﾞ｡", "カ\u{3099}キ\u{3099}。"),
            ("￥５００ ￦", "¥500 ₩"),
        ] {
            assert_eq!(in_usual_forms(text), usual);
        }
    }

    #[test]
    fn what_says_something_else_and_east_asian_marks_stay() {
        for text in [
            "m² ½ ① Ⅳ ﬁ ª",
            "你好！我是（他），对：不？",
            "Xin chào！Tạm biệt",
            "はい～",
            "￣",
            " ﾟ ﾞ",
        ] {
            assert_eq!(in_usual_forms(text), text);
        }
        assert_eq!(in_usual_forms("我用ＡＰＰ！好"), "我用APP！好");
    }

    #[test]
    fn each_character_is_one_character_and_no_letter_is_lost() {
        for c in ('\u{ff00}'..='\u{ffff}').chain('\u{1d3f0}'..='\u{1d810}') {
            let text = format!("a{c}１");
            let usual = in_usual_forms(&text);
            assert_eq!(usual.chars().count(), 3, "{c}");
            let is_letter = usual.chars().nth(1).is_some_and(char::is_alphanumeric);
            assert!(is_letter || !c.is_alphanumeric(), "{c}");
        }
    }
}
