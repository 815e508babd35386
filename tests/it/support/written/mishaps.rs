//! What happens to a text on its way: scanners, keyboards, converters.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::Dice;

/// One mishap, to all of a text or here and there.
pub fn mar(dice: &mut Dice, text: &str) -> String {
    match dice.below(20) {
        0 | 1 => text.nfd().collect(),
        2 => text.nfd().filter(|c| !is_combining_mark(*c)).collect(),
        3 => text.to_uppercase(),
        4 => text.replace('\n', "\r\n"),
        5 => text.chars().map(full_width).collect(),
        6 => text.replace(' ', "\u{a0}"),
        7 => as_latin_1(text),
        8 => text.replace(' ', ""),
        9 => text.replace('\n', " "),
        10 => text.replace([' ', '\n'], "-"),
        11 => scanned(dice, text),
        12 => {
            let once = scanned(dice, text);
            scanned(dice, &once)
        }
        13 => sprinkled(dice, text, INVISIBLE),
        14 => sprinkled(dice, text, MARKS),
        15 => sprinkled(
            dice,
            text,
            &[
                "\u{301}", "\u{303}", "\u{323}", "\u{336}", "\u{489}", "\u{20dd}",
            ],
        ),
        16 => text.chars().flat_map(|c| [c, ' ']).collect(),
        17 => cut(dice, text),
        18 => format!("\u{feff}{text}"),
        _ => text.split(' ').flat_map(|word| [word, "  "]).collect(),
    }
}

const INVISIBLE: &[&str] = &[
    "\u{200b}", "\u{200c}", "\u{200d}", "\u{2060}", "\u{ad}", "\u{200e}", "\u{200f}", "\u{202e}",
    "\u{feff}", "\u{fe0f}", "\u{fffd}", "\u{e000}", "\u{0}", "\u{7}", "\u{34f}",
];

const MARKS: &[&str] = &[
    "-", "-", "\"-", "(-", "'", "’", ".", ",", "*", "_", "|", "|-", "/", "\\", "~", "^", "`", "´",
    "¨", "¬", "¦", "·", "•", "°", "§", "%", "&", "#", "@", "<", ">", "[[", "]]", "{", "}", "=",
    "+", "…", "–", "—", "\"", "“", "”", "«", "»", "?", "!", ";", ":", "€", "™", "†", "\t", "\n",
];

fn full_width(c: char) -> char {
    let moved = u32::from(c) + 0xFEE0;
    match c {
        '!'..='~' => char::from_u32(moved).unwrap_or(c),
        ' ' => '\u{3000}',
        _ => c,
    }
}

/// UTF-8 that was taken for Latin-1: `Ã©` for `é`.
fn as_latin_1(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

fn sprinkled(dice: &mut Dice, text: &str, with: &[&str]) -> String {
    let often = dice.between(3, 20);
    let mut sprinkled = String::new();
    for c in text.chars() {
        if dice.once_in(often) {
            sprinkled.push_str(dice.pick(with));
        }
        sprinkled.push(c);
    }
    sprinkled
}

/// What a scanner reads: letters taken for others, words cut at the line's end, dirt.
fn scanned(dice: &mut Dice, text: &str) -> String {
    let often = dice.between(3, 20);
    let mut scanned = String::new();
    for c in text.chars() {
        if !dice.once_in(often) {
            scanned.push(c);
            continue;
        }
        match c {
            'l' | 'I' | '1' | '|' => scanned.push_str(dice.pick(&["l", "I", "1", "|", "!"])),
            'O' | '0' | 'o' => scanned.push_str(dice.pick(&["O", "0", "o", "°", "Q"])),
            'm' => scanned.push_str("rn"),
            'f' => scanned.push_str(dice.pick(&["ﬁ", "ﬂ", "ﬀ", "ſ"])),
            's' | 'S' | '5' => scanned.push_str(dice.pick(&["S", "5", "ſ", "$"])),
            'b' => scanned.push_str(dice.pick(&["6", "h", "ß"])),
            ' ' => scanned.push_str(dice.pick(&["", "  ", " . ", " ' ", " _ ", "\n", "\u{a0}"])),
            '\n' => {
                scanned.push_str(dice.pick(&["-\n", "\u{ad}\n", "¬\n", "\n\n- 12 -\n\n", "\u{c}"]))
            }
            _ => {
                scanned.push_str(dice.pick(&[
                    "-\n", "- ", "·", "~", "^", "'", "`", "\u{ad}", "¿", "\\", "«",
                ]));
                scanned.push(c);
            }
        }
    }
    scanned
}

/// Its first or its last part, from anywhere.
fn cut(dice: &mut Dice, text: &str) -> String {
    let at = dice.index(text.chars().count() + 1);
    match dice.once_in(2) {
        true => text.chars().take(at).collect(),
        false => text.chars().skip(at).collect(),
    }
}
