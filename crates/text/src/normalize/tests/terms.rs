//! What the terms of a dictionary come to in a text that is read.

use crate::normalize::{Language, NormalizedText};
use crate::pronunciations::{Dictionary, Pronunciation};
use crate::testing::{sounds, term};

fn said(text: &str, terms: &[Pronunciation]) -> String {
    NormalizedText::of(text, Some(Language::Vietnamese), &Dictionary::new(terms)).text
}

#[test]
fn whole_words_are_replaced_in_any_case_unless_the_case_matters() {
    let gpt = [term("gpt", "gi pi ti")];
    assert_eq!(said("GPT, gpt và GPTs", &gpt), "gi pi ti, gi pi ti và GPTs");
    let exact = Pronunciation {
        match_case: true,
        ..term("It", "ai ti")
    };
    assert_eq!(said("It it", &[exact]), "ai ti it");
}

#[test]
fn the_longest_term_wins_and_of_equals_the_first() {
    let terms = [
        term("AI", "ây ai"),
        term("open ai", "âu bần ây ai"),
        term("ai", "không"),
    ];
    assert_eq!(said("Open AI và AI", &terms), "âu bần ây ai và ây ai");
}

#[test]
fn a_term_comes_before_the_rules_and_leaves_them_the_rest() {
    let terms = [term("5kg", "năm cân")];
    assert_eq!(said("5kg và 6kg", &terms), "năm cân và sáu ki lô gam");
    assert_eq!(
        said("C++ rất hay", &[term("C++", "xê cộng cộng")]),
        "xê cộng cộng rất hay"
    );
}

#[test]
fn what_is_said_stands_where_the_term_does() {
    let spoken = NormalizedText::of(
        "Ở NASA đó",
        None,
        &Dictionary::new(&[term("NASA", "na sa")]),
    );
    assert_eq!(spoken.text, "Ở na sa đó");
    assert_eq!(spoken.origins, [0, 1, 2, 2, 2, 2, 2, 6, 7, 8]);
}

#[test]
fn phonemes_are_one_letter_of_the_text_that_is_read() {
    let terms = [sounds("open ai", "ˈoʊpən"), term("SQL", "ét quy eo")];
    let spoken = NormalizedText::of(
        "Xem Open AI2, (open AI) SQL.",
        None,
        &Dictionary::new(&terms),
    );
    assert_eq!(spoken.text, "Xem Open AI2, (ə) ét quy eo.");
    let at = spoken.text.chars().position(|c| c == '(').unwrap() + 1;
    assert_eq!(spoken.origins[at], 15);
    assert_eq!(spoken.sounds, [(at, "ˈoʊpən".to_owned())].into());
}
