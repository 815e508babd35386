//! Texts as people write them, made by chance: the same one for the same seed.

mod forms;
mod mishaps;
pub mod random;
mod words;

pub use words::{LANGUAGES, Language};

use super::dice::Dice;

/// A text, and what it is written in.
pub struct Written {
    pub language: &'static Language,
    /// Which form, for people.
    pub form: &'static str,
    pub text: String,
}

impl Written {
    /// Number `number` of a row that `seed` begins. Three in ten are Vietnamese.
    pub fn of(seed: u64, number: u64) -> Self {
        let mut writer = Writer::new(seed, number);
        let (form, write) = forms::FORMS[writer.dice.index(forms::FORMS.len())];
        let mut text = write(&mut writer);
        while writer.dice.once_in(3) {
            text = mishaps::mar(&mut writer.dice, &text);
        }
        Self {
            language: writer.language,
            form,
            text,
        }
    }
}

/// Writes in one language.
struct Writer {
    dice: Dice,
    language: &'static Language,
}

impl Writer {
    fn new(seed: u64, number: u64) -> Self {
        // One roll apart, so that two numbers have nothing in common.
        let mut dice = Dice(seed ^ Dice(number).roll());
        let language = match dice.once_in(4) {
            true => &LANGUAGES[0],
            false => &LANGUAGES[dice.index(LANGUAGES.len())],
        };
        Self { dice, language }
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        self.dice.pick(among)
    }

    fn of_list(&mut self, list: &'static str) -> &'static str {
        let number = list.split_whitespace().count();
        let at = self.dice.index(number);
        list.split_whitespace().nth(at).unwrap()
    }

    fn word(&mut self) -> &'static str {
        self.of_list(self.language.words)
    }

    fn name(&mut self) -> &'static str {
        self.of_list(self.language.names)
    }

    /// A word of any of the languages.
    fn foreign(&mut self) -> &'static str {
        let language = &LANGUAGES[self.dice.index(LANGUAGES.len())];
        self.of_list(language.words)
    }

    fn words(&mut self, least: u64, most: u64) -> String {
        let number = self.dice.between(least, most);
        let words: Vec<&str> = (0..number).map(|_| self.word()).collect();
        words.join(self.language.blank)
    }

    /// A few words, with a name, a number or something in brackets now and then.
    fn clause(&mut self) -> String {
        let words = self.words(1, 8);
        let blank = self.language.blank;
        match self.dice.below(14) {
            0 => format!("{words}{blank}{}", self.name()),
            1 => format!("{words} {} {}", self.number(), self.word()),
            2 => format!("{words} ({})", self.words(1, 3)),
            3 => format!("{words} {} {}", self.foreign(), self.foreign()),
            4 => {
                let (open, close) = self.quotes();
                format!("{words} {open}{}{close}", self.words(1, 4))
            }
            5 => {
                let dash = self.pick(&[" - ", " – ", " — ", "—", "-", "--", "/", "…", "..."]);
                format!("{words}{dash}{}", self.words(1, 4))
            }
            6 => format!("{} {words}", capital(self.name())),
            _ => words,
        }
    }

    fn sentence(&mut self) -> String {
        let [comma, stop, cry, ask] = self.language.marks;
        let [opens_cry, opens_ask] = self.language.opens;
        let parts: Vec<String> = (0..self.dice.between(1, 3))
            .map(|_| self.clause())
            .collect();
        let inner = capital(&parts.join(&format!("{comma}{}", self.after_mark())));
        match self.dice.below(8) {
            0 => format!("{opens_cry}{inner}{cry}"),
            1 => format!("{opens_ask}{inner}{ask}"),
            2 => inner + self.pick(&["...", "…", "?!", "!!!", "?..", "!…", ";", ":", " -", ""]),
            _ => inner + stop,
        }
    }

    /// Wide marks have their blank in them.
    fn after_mark(&self) -> &'static str {
        self.language.blank
    }

    fn sentences(&mut self, least: u64, most: u64) -> String {
        let number = self.dice.between(least, most);
        let sentences: Vec<String> = (0..number).map(|_| self.sentence()).collect();
        sentences.join(self.after_mark())
    }

    fn number(&mut self) -> String {
        let any = self.dice.below(10_000_000);
        let (small, cents) = (any % 1000, any % 100);
        match self.dice.below(9) {
            0 => format!("{}", any % 10),
            1 => format!("{small}"),
            2 => format!("{small}.{cents:02}"),
            3 => format!("{small},{cents}"),
            4 => format!("{}.{small:03}.{:03}", any % 90 + 1, any / 10_000),
            5 => format!("{},{small:03}", any % 90 + 1),
            6 => format!("-{cents}"),
            7 => format!("{} {small:03}", any % 90 + 1),
            _ => format!("{any}"),
        }
    }

    fn quotes(&mut self) -> (&'static str, &'static str) {
        const QUOTES: [(&str, &str); 14] = [
            ("\"", "\""),
            ("“", "”"),
            ("„", "“"),
            ("«", "»"),
            ("« ", " »"),
            ("»", "«"),
            ("‹", "›"),
            ("'", "'"),
            ("‘", "’"),
            ("「", "」"),
            ("『", "』"),
            ("《", "》"),
            ("``", "''"),
            ("\"", "”"),
        ];
        QUOTES[self.dice.index(QUOTES.len())]
    }

    fn lines(&mut self, least: u64, most: u64, line: impl Fn(&mut Self, u64) -> String) -> String {
        let number = self.dice.between(least, most);
        let lines: Vec<String> = (1..=number).map(|at| line(self, at)).collect();
        lines.join("\n")
    }
}

/// With a capital letter at its start.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().into_iter().flat_map(char::to_uppercase);
    first.chain(chars).collect()
}
