//! Texts that nobody writes.

use super::Dice;

/// Number `number` of a row that `seed` begins, with something in it to speak.
pub fn text(seed: u64, number: u64) -> String {
    let mut dice = Dice(seed ^ Dice(number ^ 0x5EED).roll());
    let mut text = match dice.below(6) {
        0 => anything(&mut dice),
        1 => of_blocks(&mut dice),
        2 => repeated(&mut dice),
        3 => marks_and_figures(&mut dice),
        4 => ascii(&mut dice),
        _ => letters_with_marks(&mut dice),
    };
    if dice.once_in(2) {
        text.insert(0, 'a');
    }
    text.push_str(dice.pick(&["a", "-a", "7", " ơ", "é.", "я", "好"]));
    text
}

/// Ranges that have what people can type, and some that have what they cannot.
const BLOCKS: &[(u32, u32)] = &[
    (0x20, 0x7F),
    (0x80, 0x24F),
    (0x250, 0x36F),
    (0x370, 0x3FF),
    (0x400, 0x52F),
    (0x530, 0x58F),
    (0x590, 0x5FF),
    (0x600, 0x6FF),
    (0x700, 0x8FF),
    (0x900, 0x97F),
    (0x980, 0x9FF),
    (0xA00, 0xAFF),
    (0xB00, 0xBFF),
    (0xC00, 0xCFF),
    (0xD00, 0xDFF),
    (0xE00, 0xEFF),
    (0xF00, 0xFFF),
    (0x1000, 0x109F),
    (0x10A0, 0x10FF),
    (0x1100, 0x11FF),
    (0x1200, 0x139F),
    (0x13A0, 0x13FF),
    (0x1780, 0x17FF),
    (0x1E00, 0x1EFF),
    (0x1F00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2070, 0x20CF),
    (0x20D0, 0x214F),
    (0x2150, 0x23FF),
    (0x2460, 0x25FF),
    (0x2600, 0x27BF),
    (0x2800, 0x28FF),
    (0x3000, 0x30FF),
    (0x3100, 0x33FF),
    (0x4E00, 0x4FFF),
    (0xA640, 0xA7FF),
    (0xAC00, 0xADFF),
    (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF),
    (0xFE00, 0xFFFD),
    (0x10000, 0x103FF),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1F6FF),
    (0x20000, 0x200FF),
    (0xE0000, 0xE007F),
];

fn within(dice: &mut Dice, (from, to): (u32, u32)) -> char {
    let at = u32::try_from(dice.between(from.into(), to.into())).unwrap();
    char::from_u32(at).unwrap_or(' ')
}

fn within_one_of(dice: &mut Dice, blocks: &[(u32, u32)]) -> char {
    let block = blocks[dice.index(blocks.len())];
    within(dice, block)
}

fn block(dice: &mut Dice) -> (u32, u32) {
    BLOCKS[dice.index(BLOCKS.len())]
}

fn anything(dice: &mut Dice) -> String {
    (0..dice.between(1, 12))
        .map(|_| within(dice, (0, 0x0010_FFFF)))
        .collect()
}

fn of_blocks(dice: &mut Dice) -> String {
    let blocks = [block(dice), block(dice), (0x20, 0x40)];
    (0..dice.between(1, 20))
        .map(|_| within_one_of(dice, &blocks))
        .collect()
}

fn repeated(dice: &mut Dice) -> String {
    let piece: String = (0..dice.between(1, 4))
        .map(|_| match dice.once_in(2) {
            true => within(dice, (0x20, 0x7E)),
            false => within_one_of(dice, BLOCKS),
        })
        .collect();
    let most = if dice.once_in(8) { 200 } else { 20 };
    piece.repeat(usize::try_from(dice.between(2, most)).unwrap())
}

fn marks_and_figures(dice: &mut Dice) -> String {
    const PIECES: &[&str] = &[
        "-", "--", "\"", "'", "(", ")", "[", "]", "{", "}", ".", "..", ",", ";", ":", "!", "?",
        "|", "/", "\\", "*", "%", "&", "#", "@", "$", "€", "+", "=", "~", "^", "_", "<", ">", "`",
        "°", "–", "—", "…", "“", "”", "«", "»", "¿", "¡", "·", "0", "1", "7", "42", "007", "1.000",
        "3,14", "½", "²", "٣", "५", "Ⅳ", " ", " ", "\n", "\t",
    ];
    (0..dice.between(1, 30))
        .map(|_| dice.pick(PIECES))
        .collect()
}

fn ascii(dice: &mut Dice) -> String {
    (0..dice.between(1, 60))
        .map(|_| within(dice, (0x20, 0x7E)))
        .collect()
}

/// Combining marks where they belong to nothing, and more than belong there.
fn letters_with_marks(dice: &mut Dice) -> String {
    const MARKS: &[(u32, u32)] = &[
        (0x300, 0x36F),
        (0x483, 0x489),
        (0x591, 0x5C7),
        (0x610, 0x61A),
        (0x64B, 0x65F),
        (0x6D6, 0x6ED),
        (0x900, 0x903),
        (0x93A, 0x94F),
        (0x981, 0x983),
        (0xB3E, 0xB4D),
        (0xC3E, 0xC4D),
        (0xD3E, 0xD4D),
        (0xDCA, 0xDDF),
        (0xE31, 0xE3A),
        (0xE47, 0xE4E),
        (0x102B, 0x103E),
        (0x17B4, 0x17D3),
        (0x200B, 0x200F),
        (0x20D0, 0x20F0),
        (0x3099, 0x309A),
        (0xFE00, 0xFE0F),
    ];
    let block = block(dice);
    (0..dice.between(1, 24))
        .map(|_| match dice.below(5) {
            0 => within(dice, block),
            1 => '-',
            2 => ' ',
            _ => within_one_of(dice, MARKS),
        })
        .collect()
}
