//! How the rules of a language are applied to a text.

use regex_lite::{Captures, Regex};

use crate::pronunciations::{self, Replacement};

/// What a match is read as: for groups of the pattern, in order, the words.
/// What stands between two of them belongs to the first. A group without words
/// stays as it is: it is there only to be looked at, and ends the one before it.
pub(super) type Said = Vec<(usize, String)>;

/// One rule: where its pattern is found and its function has an answer, that
/// is what is said.
pub(super) struct Rule {
    pattern: Regex,
    read: fn(&Captures<'_>) -> Option<Said>,
    /// It finds nothing in a text without a digit.
    is_of_digits: bool,
}

impl Rule {
    /// A rule without a pattern that can be read would be a bug of ours, which
    /// the tests of each language find.
    #[expect(clippy::expect_used, reason = "patterns are constants")]
    pub(super) fn new(pattern: &str, read: fn(&Captures<'_>) -> Option<Said>) -> Self {
        Self {
            pattern: Regex::new(pattern).expect("a pattern"),
            read,
            is_of_digits: false,
        }
    }

    /// Such a rule is spared where there is no digit.
    pub(super) fn of_digits(mut self) -> Self {
        self.is_of_digits = true;
        self
    }
}

/// The addresses that both languages know by their form: of the web, of mail.
pub(super) const ADDRESSES: [&str; 2] = [
    r"(?:https?://|www\.)[^\s<>]*[A-Za-z0-9/]",
    r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
];

/// What of a web or mail address is read: not how it is fetched.
pub(super) fn bare_address(text: &str) -> &str {
    let text = text.trim_start_matches("https://");
    text.trim_start_matches("http://").trim_end_matches('/')
}

/// Digit by digit; a plus is said, what only groups is not.
pub(super) fn digits(text: &str, names: &[&str], plus: &str) -> String {
    let name = |c: char| match c {
        '+' => Some(plus),
        _ => names.get(c.to_digit(10)? as usize).copied(),
    };
    text.chars().filter_map(name).collect::<Vec<_>>().join(" ")
}

/// The value of a Roman numeral in its regular form.
pub(super) fn roman(text: &str) -> Option<u32> {
    const SIGNS: [(u32, &str); 9] = [
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let (mut value, mut rest) = (0, text);
    for (worth, sign) in SIGNS {
        while let Some(after) = rest.strip_prefix(sign) {
            (value, rest) = (value + worth, after);
        }
    }
    // Only the regular form is written back as it was read.
    let mut back = (String::new(), value);
    for (worth, sign) in SIGNS {
        while back.1 >= worth {
            back = (back.0 + sign, back.1 - worth);
        }
    }
    (rest.is_empty() && value > 0 && back.0 == text).then_some(value)
}

/// The whole match is read as this.
pub(super) fn whole(said: impl Into<String>) -> Option<Said> {
    Some(vec![(0, said.into())])
}

/// The text of a group; empty if it has no part in the match.
pub(super) fn group<'t>(found: &Captures<'t>, number: usize) -> &'t str {
    found.get(number).map_or("", |group| group.as_str())
}

/// Whether any rule could find something: most sentences have nothing to be
/// found, and a look costs less than all the rules.
fn may_have_readings(text: &str) -> bool {
    // A full stop at the end tells nothing, but behind a short word.
    let last_word = text.trim_end_matches('.').rsplit(' ').next();
    let text = match last_word.is_some_and(|word| word.chars().count() <= 5) {
        true => text,
        false => text.trim_end_matches('.'),
    };
    // Short forms that are written without a full stop.
    const SHORT: [&str; 12] = [
        "Mr", "Mrs", "Ms", "Dr", "Prof", "Capt", "Sgt", "Lt", "St", "Mt", "vs", "aka",
    ];
    if text.split(' ').any(|word| SHORT.contains(&word)) {
        return true;
    }
    let is_capital = |c: char| c.is_uppercase();
    let mut before = ' ';
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let is_alone = !before.is_alphanumeric() && !next.is_alphanumeric();
        if c.is_ascii_digit()
            || "&@.+=/#<>*`–²³½⅓⅔¼¾".contains(c)
            || (c == '-' && is_capital(next))
            || (is_capital(c) && (is_capital(next) || (is_alone && "IVXLC".contains(c))))
        {
            return true;
        }
        before = c;
    }
    false
}

/// Applies the rules: what an earlier one has found, a later one leaves alone.
pub(super) fn apply(text: &str, rules: &[Rule]) -> Vec<Replacement> {
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    if !may_have_readings(text) {
        return Vec::new();
    }
    let has_digits = text.contains(char::is_numeric);
    for rule in rules {
        if rule.is_of_digits && !has_digits {
            continue;
        }
        let mut from = 0;
        while let Some(captures) = rule.pattern.captures_at(text, from) {
            let Some(all) = captures.get(0).filter(|all| !all.is_empty()) else {
                break;
            };
            let said = (rule.read)(&captures);
            let parts = said.map_or_else(Vec::new, |said| parts(&captures, said));
            let end = parts.last().map_or(all.end(), |(_, end, _)| *end);
            let is_free = |(start, end, _): &(usize, usize, String)| {
                found.iter().all(|(s, e, _)| end <= s || e <= start)
            };
            let is_whole = stands_alone(text, all.start(), end);
            if parts.is_empty() || !is_whole || !parts.iter().all(is_free) {
                // What begins one character later may be a match of its own.
                from = all.start() + text[all.start()..].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            // What is only context may be the context of the next match too.
            from = end;
            found.extend(parts);
        }
    }
    found.sort();
    in_code_points(text, found)
}

fn parts(captures: &Captures<'_>, said: Said) -> Vec<(usize, usize, String)> {
    let end = captures.get(0).map_or(0, |all| all.end());
    let starts: Vec<usize> = said
        .iter()
        .filter_map(|(group, _)| captures.get(*group).map(|group| group.start()))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([end]);
    let spans = starts.iter().copied().zip(ends);
    spans
        .zip(said)
        .filter(|(_, (_, said))| !said.is_empty())
        .map(|((start, end), (_, said))| (start, end, said))
        .collect()
}

/// Whether a match is not a part of something longer: of a word, or of a number
/// with dots, commas, slashes, colons or dashes in it.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let (first, last) = (
        text[start..].chars().next().unwrap_or(' '),
        text[..end].chars().next_back().unwrap_or(' '),
    );
    let mut before = text[..start].chars().rev();
    let mut after = text[end..].chars();
    let joins = |c: char| ".,/:-–".contains(c);
    let goes_on = |inner: char, next: Option<char>, second: Option<char>| match next {
        Some(next) if next.is_alphanumeric() => inner.is_alphanumeric(),
        Some(next) if joins(next) && inner.is_ascii_digit() => {
            second.is_some_and(|second| second.is_ascii_digit())
        }
        _ => false,
    };
    // In `2-1` the dash is no sign.
    if "-−".contains(first) && text[..start].ends_with(char::is_alphanumeric) {
        return false;
    }
    !goes_on(first, before.next(), before.next()) && !goes_on(last, after.next(), after.next())
}

fn in_code_points(text: &str, found: Vec<(usize, usize, String)>) -> Vec<Replacement> {
    let (mut bytes, mut chars) = (0, 0);
    let mut to_chars = |at: usize| {
        chars += text[bytes..at].chars().count();
        bytes = at;
        chars
    };
    found
        .into_iter()
        .map(|(start, end, said)| Replacement {
            span: to_chars(start)..to_chars(end),
            said: pronunciations::Said::Words(said),
        })
        .collect()
}
