//! Texts that nobody has written, of what a speech engine may stumble over: letters and
//! marks of all scripts, digits, symbols, endings, dots, hyphens, runs of each, and what
//! looks like markup. The same seed makes the same text everywhere.

/// Numbers that look as if by chance (splitmix64, Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `end`, which is at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of them; there is at least one.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// First and last code points of what is written together: a script, a kind of symbols.
#[rustfmt::skip]
const BLOCKS: &[(u32, u32)] = &[
    // Latin, four times as often as others, and with accents and the letters of Vietnamese.
    (0x61, 0x7A), (0x61, 0x7A), (0x61, 0x7A), (0x41, 0x7A),
    (0xC0, 0x17F), (0x180, 0x24F), (0x1E00, 0x1EFF), (0x1EA0, 0x1EF9),
    (0x370, 0x3FF), (0x1F00, 0x1FFF), (0x400, 0x45F), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x750, 0x77F), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC),
    (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F), (0xA80, 0xAFF), (0xB00, 0xB7F),
    (0xB80, 0xBFF), (0xC00, 0xC7F), (0xC80, 0xCFF), (0xD00, 0xD7F), (0xD80, 0xDFF),
    (0xE00, 0xE5B), (0xE80, 0xEDF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1780, 0x17FF),
    (0x3040, 0x30FF), (0x3130, 0x318F), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xA980, 0xA9DF), (0x2C00, 0x2C5F), (0x10450, 0x1047F), (0xF8D0, 0xF8FF),
    // Marks that go on letters, and letters that look like marks.
    (0x300, 0x36F), (0x250, 0x2FF), (0x1D00, 0x1DBF), (0x200B, 0x200F),
    // Digits of several scripts, numbers, and letters in other shapes.
    (0x30, 0x39), (0x30, 0x39), (0x660, 0x669), (0x966, 0x96F), (0x2070, 0x209C),
    (0x2150, 0x218B), (0x2460, 0x24FF), (0xFF01, 0xFFEE), (0x1D400, 0x1D7FF), (0xFB00, 0xFB06),
    // Punctuation and symbols.
    (0x21, 0x2F), (0x21, 0x40), (0x5B, 0x60), (0x7B, 0x7E), (0xA1, 0xBF), (0x2010, 0x205E),
    (0x20A0, 0x20C0), (0x2100, 0x214F), (0x2190, 0x22FF), (0x2500, 0x25FF), (0x2600, 0x27BF),
    (0x2800, 0x28FF), (0x3000, 0x303F), (0x1D100, 0x1D1FF), (0x1F300, 0x1FAFF),
    // What no font shows.
    (0x00, 0x1F), (0x7F, 0xA0), (0x2028, 0x202E), (0x2060, 0x206F), (0xE000, 0xE0FF),
    (0xFE00, 0xFE0F), (0xFFF0, 0xFFFD), (0xE0000, 0xE007F), (0x10000, 0x10FFF),
];

/// What rules of engines look for, and what people write that looks like that.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    " ", " ", " ", ". ", ", ", "; ", ": ", "? ", "! ", "… ", "\n", "\n\n", "\t", "\u{a0}", "\u{3000}",
    "-", "--", "—", "'", "’", "\"", "“", "”", "«", "(", ")", "[", "]", "{", "}", "<", ">", "|",
    "/", "\\", "_", "*", "&", "%", "#", "@", "+", "=", "~", "^", "`", "$", "€", "£", "₫", "°",
    ".", ",", ":", ";", "?", "!", "…", "·", "•", "、", "。", "「", "」", "،", "؟", "।", "॥", "՞", "¿", "¡",
    "s'", "'s", "g.", "U.S.", "e.g.", "a.m.", "Mr. ", "Dr. ", "St. ", "No. ", "TP.HCM", "1. ", "1) ", "a) ",
    "-a", "(-", "\"-", "|-", "-5", "5-", "1-2", "a-b", "11-a", "1st", "2nd", "3-й", "1ª", "1.º", "5e", "20º", "1.000,5",
    "3.14", "1,000,000", "1.000.000", "0", "00", "007", "10", "11", "100", "1000", "1001", "21000", "999999",
    "1000000", "1234567890", "12345678901234567890", "1e9", "0x1F", "1/2", "½", "8:30", "8h30", "15/04/2024",
    "IV", "XVIII", "MMXXIV", "iii", "v.", "x", "%", "5%", "$5", "5kg", "km²", "C++", "A4", "AC/DC", "e-mail",
    "http://a.b/c?d=e&f=g#h", "a@b.c", "www.a.b", "C:\\a\\b", "#tag", "@name", ":-)", "<3", "->", "=>", "...", "…",
    "&amp;", "&lt;", "&#38;", "&#x26;", "&nbsp;", "<b>", "</b>", "<br/>", "<speak>", "<say-as interpret-as='characters'>",
    "<prosody rate='slow'>", "<voice xml:lang='ru'>", "<!-- ", "]]>", "<?xml", "[[", "]]", "[[h@l'oU]]", "[[_]]", "\u{1}", "\u{1}+10S", "\u{1b}[31m",
    "the ", "of the ", "I ", "a ", "to be ", "wherever ", "nationalizationally", "antidisestablishmentarianism",
    "Chào em ", "không ", "nghiêng ", "đường ", "người ", "Übergrößenträger", "Donaudampfschifffahrtsgesellschaft",
    "l'", "d'", "qu'", "aujourd'hui ", "des ", "c'est-à-dire ", "los ", "año ", "não ", "čtyři ", "siedemdziesiąt ",
    "привет ", "человек ", "здравствуйте ", "Ελλάδα ", "مرحبا ", "السلام ", "سلام ", "שלום ", "नमस्ते ", "लच्छेद", "क्ष", "বাংলা ",
    "தமிழ் ", "ಕನ್ನಡ ", "മലയാളം ", "සිංහල ", "สวัสดี ", "မြန်မာ ", "ქართული ", "አማርኛ ", "你好", "我们", "今日は", "안녕하세요 ", "ईघ", "ϖ",
    "\u{301}", "\u{300}", "\u{303}", "\u{327}", "\u{94d}", "\u{200d}", "\u{200c}", "\u{ad}", "\u{feff}", "\u{fe0f}", "\u{20e3}", "👨‍👩‍👧", "🇻🇳", "🅰", "😀", "♥", "☎",
];

/// A text of up to so many pieces, at least one.
pub fn text(random: &mut Random, most_pieces: usize) -> String {
    let pieces = 1 + random.below(most_pieces);
    (0..pieces).map(|_| piece(random)).collect()
}

/// The same text with one to four changes.
pub fn changed(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..1 + random.below(4) {
        change(&mut chars, random);
    }
    chars.into_iter().collect()
}

/// A word, a mark, some letters, or a run of any of these.
fn piece(random: &mut Random) -> String {
    let piece = match random.below(3) {
        0 => letters(random),
        _ => (*random.one_of(PIECES)).to_owned(),
    };
    match random.below(12) {
        0 => piece.repeat(2 + random.below(4)),
        1 => piece.repeat(1 + random.below(100)),
        _ => piece,
    }
}

/// Of one block, as long as words are, and now and then longer.
fn letters(random: &mut Random) -> String {
    let (first, last) = *random.one_of(BLOCKS);
    let most = *random.one_of(&[1, 3, 8, 8, 20, 60]);
    let length = 1 + random.below(most);
    let one = |_| char::from_u32(first + random.below((last - first + 1) as usize) as u32);
    (0..length).filter_map(one).collect()
}

fn change(chars: &mut Vec<char>, random: &mut Random) {
    let at = random.below(chars.len() + 1);
    let length = random.below(chars.len() - at + 1).min(1 + random.below(12));
    let part = at..at + length;
    match random.below(9) {
        0 | 1 => drop(chars.splice(at..at, piece(random).chars())),
        2 => drop(chars.splice(part, piece(random).chars())),
        3 | 4 => drop(chars.drain(part)),
        5 => {
            let run = chars[part.clone()].repeat(1 + random.below(40));
            drop(chars.splice(part, run));
        }
        6 => {
            let to = random.below(chars.len() + 1);
            let copy = chars[part].to_vec();
            drop(chars.splice(to..to, copy));
        }
        7 => chars[part].reverse(),
        _ => {
            let upper = random.below(2) == 0;
            for c in &mut chars[part] {
                let other = match upper {
                    true => c.to_uppercase().next(),
                    false => c.to_lowercase().next(),
                };
                *c = other.unwrap_or(*c);
            }
        }
    }
}
