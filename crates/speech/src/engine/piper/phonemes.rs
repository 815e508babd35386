//! What a sentence sounds like, in the symbols that models are trained on, and
//! where each of its words begins among them.

use std::ops::Range;

use hoiam_text::ipa::{self, is_stress, is_vowel};
use hoiam_text::normalize::NormalizedText;
use hoiam_text::segmentation::{Sentence, is_blank};
use unicode_normalization::UnicodeNormalization;

use super::super::libespeak::LibEspeakError;

/// A sentence in symbols.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    /// Decomposed (NFD), with a blank between two words.
    pub symbols: Vec<char>,
    /// The words that have a sound, in order.
    pub words: Vec<WordStart>,
    /// How many symbols there are up to the end of each clause.
    pub clause_ends: Vec<usize>,
}

impl Read {
    /// In parts of at most so many symbols, cut at the end of a clause if there
    /// is one, else between two words.
    pub(super) fn parts(self, most: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut rest, mut words) = (0, self.words.as_slice());
        while rest < self.symbols.len() {
            let end = self.cut(rest, most);
            let own = words.partition_point(|word| word.symbol < end);
            let (inside, others) = words.split_at(own);
            parts.push(Self {
                symbols: self.symbols[rest..end].to_vec(),
                words: inside
                    .iter()
                    .map(|word| WordStart {
                        symbol: word.symbol - rest,
                        ..*word
                    })
                    .collect(),
                clause_ends: Vec::new(),
            });
            words = others;
            rest = end;
            // The blank between two parts is not spoken.
            while self.symbols.get(rest) == Some(&' ') {
                rest += 1;
            }
        }
        parts
    }

    fn cut(&self, rest: usize, most: usize) -> usize {
        if self.symbols.len() - rest <= most {
            return self.symbols.len();
        }
        let fits = |end: &usize| *end > rest && *end <= rest + most;
        let starts = self.words.iter().map(|word| word.symbol);
        let clause = self.clause_ends.iter().copied().filter(fits).max();
        clause
            .or_else(|| starts.filter(fits).max())
            .unwrap_or(rest + most)
    }
}

/// Where a word begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordStart {
    /// In the text that is read: code points.
    pub position: usize,
    /// Among the symbols.
    pub symbol: usize,
}

/// Gives the phonemes of a text, without punctuation; whether what stands in
/// `[[…]]` is phonemes by eSpeak's own names is the second thing that it is told.
type Phonemize<'a> = dyn FnMut(&str, bool) -> Result<String, LibEspeakError> + 'a;

/// The text itself as symbols, for voices that were trained on letters.
pub(super) fn letters(sentence: &Sentence, spoken: &NormalizedText) -> Read {
    let mut read = Read::default();
    let mut pieces = pieces(sentence, spoken).into_iter().peekable();
    for (position, c) in spoken.text.chars().enumerate() {
        if pieces.next_if(|piece| piece.start == position).is_some() {
            let symbol = read.symbols.len();
            read.words.push(WordStart { position, symbol });
        }
        read.symbols.extend(std::iter::once(c).nfd());
    }
    read
}

/// The phonemes of a sentence, clause by clause, each with its punctuation,
/// which models hear as intonation and pauses.
pub(super) fn read(
    sentence: &Sentence,
    spoken: &NormalizedText,
    phonemize: &mut Phonemize<'_>,
) -> Result<Read, LibEspeakError> {
    let chars: Vec<char> = spoken.text.chars().collect();
    let pieces = pieces(sentence, spoken);
    let mut read = Read::default();
    let clauses = clauses(&chars).into_iter();
    for clause in clauses.flat_map(|clause| within_bounds(clause, &chars, spoken)) {
        let heard = heard(clause.span.clone(), &chars, spoken, phonemize)?;
        if !heard.is_empty() {
            if !read.symbols.is_empty() && read.symbols.last() != Some(&' ') {
                read.symbols.push(' ');
            }
            let inside = pieces
                .iter()
                .filter(|piece| clause.span.contains(&piece.start));
            let mut expected = Vec::new();
            for piece in inside {
                let alone = self::heard(piece.clone(), &chars, spoken, phonemize)?;
                if !alone.is_empty() {
                    expected.push((piece.start, alone));
                }
            }
            let first = read.symbols.len();
            let words = starts(&heard, &expected).into_iter();
            read.words.extend(words.map(|word| WordStart {
                symbol: first + word.symbol,
                ..word
            }));
            read.symbols.extend(heard);
        }
        if let Some(mark) = clause.mark.filter(|_| !read.symbols.is_empty()) {
            read.symbols.push(mark);
        }
        read.clause_ends.push(read.symbols.len());
    }
    Ok(read)
}

/// A part of the text in symbols. Where it has phonemes of somebody's own,
/// eSpeak is given sounds that no word has, so that the words beside them are
/// read as beside any other, and they are put in their place.
fn heard(
    part: Range<usize>,
    chars: &[char],
    spoken: &NormalizedText,
    phonemize: &mut Phonemize<'_>,
) -> Result<Vec<char>, LibEspeakError> {
    let own: Vec<(usize, Vec<char>)> = spoken
        .sounds
        .range(part.clone())
        .map(|(at, ipa)| (*at, ipa::symbols(ipa)))
        .collect();
    if own.is_empty() {
        let text: String = chars[part].iter().collect();
        return Ok(symbols(&phonemize(&text, false)?));
    }
    let mut text = String::new();
    let mut next = own.iter().peekable();
    for at in part.clone() {
        match (next.next_if(|(own, _)| *own == at), chars[at]) {
            (Some((_, ipa)), _) => {
                text.push_str(stand_in(ipa));
                // A mark that is parted from what it ends would end nothing.
                text.push_str(
                    chars
                        .get(at + 1)
                        .map_or("", |c| mark(*c).map_or(" ", |_| "")),
                );
            }
            // What people write in brackets is text.
            (None, '[') => text.push('('),
            (None, c) => text.push(c),
        }
    }
    let mut around = symbols(&phonemize(&text, true)?);
    let mut whole = Vec::new();
    for (at, ipa) in &own {
        let stand_in = symbols(&phonemize(stand_in(ipa), true)?);
        let found = around
            .windows(stand_in.len().max(1))
            .position(|window| window == stand_in);
        let Some(found) = found else {
            return apart(part, *at, ipa, chars, spoken, phonemize);
        };
        let behind = around.split_off(found + stand_in.len());
        around.truncate(found);
        whole.append(&mut around);
        whole.extend(ipa);
        around = behind;
    }
    whole.append(&mut around);
    Ok(whole)
}

/// As [`heard`], with the words before and behind phonemes read for themselves.
fn apart(
    part: Range<usize>,
    at: usize,
    ipa: &[char],
    chars: &[char],
    spoken: &NormalizedText,
    phonemize: &mut Phonemize<'_>,
) -> Result<Vec<char>, LibEspeakError> {
    let before = heard(part.start..at, chars, spoken, phonemize)?;
    let behind = heard(at + 1..part.end, chars, spoken, phonemize)?;
    let parts = [before, ipa.to_vec(), behind];
    let parts: Vec<Vec<char>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(parts.join(&' '))
}

/// Sounds by eSpeak's own names that every voice has and no word, and that begin
/// as these do: what is before a vowel may be read otherwise (`the`, French
/// `les`).
fn stand_in(ipa: &[char]) -> &'static str {
    match ipa.iter().find(|symbol| !is_stress(**symbol)) {
        Some(first) if is_vowel(*first) => " [['a|m|a|m]]",
        _ => " [[m|'a|m|a|m]]",
    }
}

/// The words of the text that is read: from each blank to the next, and cut
/// where a word of ours begins (`red-haired` is two).
fn pieces(sentence: &Sentence, spoken: &NormalizedText) -> Vec<Range<usize>> {
    let mut own = sentence.words.iter().map(|word| word.char_start).peekable();
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut blank = true;
    for (at, (origin, c)) in spoken.origins.iter().zip(spoken.text.chars()).enumerate() {
        let mut starts = blank;
        while own
            .next_if(|start| *start <= sentence.char_start + origin)
            .is_some()
        {
            starts = true;
        }
        blank = is_blank(c);
        match pieces.last_mut() {
            _ if blank => {}
            Some(piece) if !starts => piece.end = at + 1,
            _ => pieces.push(at..at + 1),
        }
    }
    pieces
}

/// A part of a sentence, and the mark that ends it.
#[derive(Debug, PartialEq, Eq)]
struct Clause {
    span: Range<usize>,
    mark: Option<char>,
}

/// Cuts at the marks that are followed by a blank or by nothing, closing quotes
/// and brackets left out; one point cuts at the end only, since within a
/// sentence it is part of an abbreviation.
fn clauses(chars: &[char]) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let mut start = 0;
    for at in 0..chars.len() {
        let Some(mark) = mark(chars[at]) else {
            continue;
        };
        let rest = chars[at + 1..].iter().copied();
        let mut after = rest.skip_while(|c| is_closing(*c) || self::mark(*c).is_some());
        let next = after.next();
        let ends = next.is_none_or(is_blank) || is_full_width(chars[at]);
        let is_last = after.all(is_blank);
        let is_ellipsis = chars[at] == '.' && at.checked_sub(1).is_some_and(|at| chars[at] == '.');
        let cuts = match chars[at] {
            '.' if is_ellipsis => ends,
            '.' => ends && is_last,
            // A dash within a word or a range is no pause.
            c if is_dash(c) => ends && at.checked_sub(1).is_some_and(|at| is_blank(chars[at])),
            _ => ends,
        };
        if cuts {
            clauses.push(Clause {
                span: start..at + 1,
                mark: Some(if is_ellipsis { ',' } else { mark }),
            });
            start = at + 1;
        }
    }
    if start < chars.len() {
        clauses.push(Clause {
            span: start..chars.len(),
            mark: None,
        });
    }
    merge_marks(chars, clauses)
}

/// A clause in parts that eSpeak reads as a whole each, cut at blanks if there are
/// any. It cuts what is longer than 800 bytes anywhere.
fn within_bounds(clause: Clause, chars: &[char], spoken: &NormalizedText) -> Vec<Clause> {
    const MOST_BYTES: usize = 600;
    let bytes = |at: usize| match spoken.sounds.get(&at) {
        Some(ipa) => stand_in(&ipa::symbols(ipa)).len() + 1,
        None => chars[at].len_utf8(),
    };
    let (mut parts, mut gathered, mut blank) = (Vec::new(), 0, None);
    let mut start = clause.span.start;
    for at in clause.span.clone() {
        gathered += bytes(at);
        if gathered > MOST_BYTES && at > start {
            let end = blank.take().unwrap_or(at);
            parts.push(Clause {
                span: start..end,
                mark: None,
            });
            start = end;
            gathered = (start..=at).map(bytes).sum();
        }
        if is_blank(chars[at]) {
            blank = Some(at).filter(|at| *at > start);
        }
    }
    parts.push(Clause {
        span: start..clause.span.end,
        mark: clause.mark,
    });
    parts
}

/// `?!` and `...` end one clause, with the first mark.
fn merge_marks(chars: &[char], clauses: Vec<Clause>) -> Vec<Clause> {
    let mut merged: Vec<Clause> = Vec::new();
    for clause in clauses {
        let says = chars[clause.span.clone()]
            .iter()
            .any(|c| c.is_alphanumeric());
        match merged.last_mut() {
            Some(last) if !says => last.span.end = clause.span.end,
            _ => merged.push(clause),
        }
    }
    merged
}

/// What models know a mark as.
fn mark(c: char) -> Option<char> {
    Some(match c {
        '.' | '。' | '।' => '.',
        '?' | '？' | '؟' => '?',
        '!' | '！' => '!',
        ',' | '，' | '、' | '،' | '…' => ',',
        ':' | '：' => ':',
        ';' | '；' | '؛' | '—' | '–' => ';',
        _ => return None,
    })
}

fn is_full_width(c: char) -> bool {
    "。？！，、：；".contains(c)
}

fn is_dash(c: char) -> bool {
    matches!(c, '—' | '–')
}

fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | '”' | '’' | '»' | ')' | ']' | '」' | '』')
}

/// Phonemes as models know them: decomposed, without the names of languages
/// that eSpeak writes where it changes to another one.
fn symbols(phonemes: &str) -> Vec<char> {
    let mut symbols: Vec<char> = Vec::new();
    let mut in_name = false;
    for c in phonemes.nfd() {
        match c {
            '(' => in_name = true,
            ')' => in_name = false,
            _ if in_name => {}
            // Names leave two blanks behind, and clauses begin with one.
            c if is_blank(c) => {
                if symbols.last().is_some_and(|last| *last != ' ') {
                    symbols.push(' ');
                }
            }
            c => symbols.push(c),
        }
    }
    if symbols.last() == Some(&' ') {
        symbols.pop();
    }
    symbols
}

/// Where each word begins in what was heard, given what each sounds like alone.
///
/// eSpeak writes some words together (`of the`), and one number as many words,
/// so blanks do not tell. What is heard is laid beside what was expected, with
/// the fewest changes (Wagner and Fischer, 1974); blanks match only blanks.
fn starts(heard: &[char], expected: &[(usize, Vec<char>)]) -> Vec<WordStart> {
    let mut alone: Vec<(char, Option<usize>)> = Vec::new();
    for (word, (_, symbols)) in expected.iter().enumerate() {
        if word > 0 {
            alone.push((' ', None));
        }
        let mut first = Some(word);
        for symbol in symbols.iter().copied().filter(|symbol| !is_stress(*symbol)) {
            alone.push((symbol, if symbol == ' ' { None } else { first.take() }));
        }
    }
    let sounds: Vec<(usize, char)> = heard
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, symbol)| !is_stress(*symbol))
        .collect();
    let matched = matches(&alone, &sounds);
    let mut words = Vec::with_capacity(expected.len());
    for (&(_, first), at) in alone.iter().zip(matched) {
        let Some(word) = first else { continue };
        let Some(&(mut symbol, sound)) = sounds.get(at) else {
            continue;
        };
        symbol += usize::from(sound == ' ');
        // The mark of stress belongs to the sound behind it.
        while symbol > 0 && is_stress(heard[symbol - 1]) {
            symbol -= 1;
        }
        words.push(WordStart {
            position: expected[word].0,
            symbol,
        });
    }
    words
}

/// For each expected symbol the place of the heard one that it matches, or that
/// follows where it would stand.
fn matches(expected: &[(char, Option<usize>)], heard: &[(usize, char)]) -> Vec<usize> {
    /// No change of a blank into a sound is cheaper than leaving both out.
    const NEVER: u32 = 3;
    let (rows, columns) = (expected.len() + 1, heard.len() + 1);
    let mut costs = vec![0_u32; rows * columns];
    let change = |row: usize, column: usize| {
        let (one, other) = (expected[row].0, heard[column].1);
        match one == other {
            true => 0,
            false if (one == ' ') != (other == ' ') => NEVER,
            false => 1,
        }
    };
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let down = (row + 1 < rows).then(|| costs[(row + 1) * columns + column] + 1);
            let right = (column + 1 < columns).then(|| costs[row * columns + column + 1] + 1);
            let both = (row + 1 < rows && column + 1 < columns)
                .then(|| costs[(row + 1) * columns + column + 1] + change(row, column));
            costs[row * columns + column] =
                [down, right, both].into_iter().flatten().min().unwrap_or(0);
        }
    }
    let mut matched = Vec::with_capacity(expected.len());
    let (mut row, mut column) = (0, 0);
    while row + 1 < rows {
        let here = costs[row * columns + column];
        if column + 1 < columns {
            if costs[(row + 1) * columns + column + 1] + change(row, column) == here {
                matched.push(column);
                (row, column) = (row + 1, column + 1);
                continue;
            }
            if costs[row * columns + column + 1] + 1 == here {
                column += 1;
                continue;
            }
        }
        matched.push(column);
        row += 1;
    }
    matched
}
