//! How bytes become the input of a target: files that people can read and write.

use std::borrow::Cow;

use hoiam_text::{Pronunciation, Said};

/// What parts a text from the terms of its dictionary.
const TERMS: &str = "\n==\n";

/// Options, a byte each, in the first line; behind it a text. Behind a line `==` a term
/// of the dictionary a line, `TERM=WORDS` or `TERM/PHONEMES`.
pub struct Input<'a> {
    options: &'a [u8],
    pub text: Cow<'a, str>,
    pub terms: Vec<Pronunciation>,
}

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let end = data.iter().position(|byte| *byte == b'\n');
        let (options, rest) = data.split_at(end.unwrap_or(0));
        let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        let mut text = String::from_utf8_lossy(rest);
        let mut terms = Vec::new();
        if let Some((before, behind)) = text.split_once(TERMS) {
            terms = behind.lines().filter_map(term).collect();
            text = Cow::Owned(before.to_owned());
        }
        Self {
            options,
            text,
            terms,
        }
    }

    /// 0 where it is not given.
    pub fn option(&self, at: usize) -> u8 {
        self.options.get(at).copied().unwrap_or_default()
    }

    /// As a small number: that of a digit, of other bytes any.
    pub fn number(&self, at: usize) -> u64 {
        u64::from(self.option(at).wrapping_sub(b'0'))
    }
}

/// Bounded as requests are.
fn term(line: &str) -> Option<Pronunciation> {
    let at = line.find(['=', '/'])?;
    let (term, said) = (&line[..at], &line[at + 1..]);
    let said: String = said.chars().take(200).collect();
    Some(Pronunciation {
        term: term.chars().take(200).collect(),
        said: match line[at..].starts_with('=') {
            true => Said::Words(said),
            false => Said::Phonemes(said),
        },
        match_case: term.starts_with('!'),
    })
}
