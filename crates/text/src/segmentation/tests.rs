use proptest::prelude::*;

use super::sentences::{MAX_BYTES, MAX_CHARS, MAX_COST};
use super::*;
use crate::testing::processor_time;

fn words_of(text: &str) -> Vec<String> {
    let tokens = sentences(text)
        .into_iter()
        .flat_map(|sentence| sentence.words);
    tokens.map(|token| token.text).collect()
}

fn sentences_of(text: &str) -> Vec<String> {
    let texts = sentences(text).into_iter().map(|sentence| sentence.text);
    texts.collect()
}

#[test]
fn numbers_contractions_abbreviations_and_addresses_are_one_word_each() {
    assert_eq!(
        words_of("Có 1.500.000 hay 3,14? I don’t, don't. (TP.HCM) TP.HCM!"),
        [
            "Có",
            "1.500.000",
            "hay",
            "3,14",
            "I",
            "don’t",
            "don't",
            "TP.HCM",
            "TP.HCM"
        ]
    );
    assert_eq!(
        words_of(
            "Viết cho an.nguyen+tts@vi-du.com.vn, xem (https://vi-du.vn/a-b?c=1&d=2), www.vi-du.vn."
        ),
        [
            "Viết",
            "cho",
            "an.nguyen+tts@vi-du.com.vn",
            "xem",
            "https://vi-du.vn/a-b?c=1&d=2",
            "www.vi-du.vn"
        ]
    );
}

#[test]
fn an_address_inside_text_without_spaces_ends_where_its_characters_end() {
    assert_eq!(
        words_of("看https://x.org/a好"),
        ["看", "https://x.org/a", "好"]
    );
}

#[test]
fn no_word_ends_before_a_mark_that_belongs_to_its_last_letter() {
    // U+05C9 is a mark of a newer Unicode than the one that words are cut by.
    let found = sentences("a\u{5b8}\u{5c9}צ b\u{5c9}\u{5b8}");
    let words: Vec<&str> = found[0].words.iter().map(|word| &*word.text).collect();
    assert_eq!(words, ["a\u{5b8}\u{5c9}", "צ", "b\u{5c9}\u{5b8}"]);
}

#[test]
fn punctuation_and_emoji_are_no_words() {
    assert_eq!(words_of("A — b … « c » 😀 🅰 d_e"), ["A", "b", "c", "d_e"]);
}

#[test]
fn offsets_count_code_points_of_the_source() {
    let text = "😀\u{1} Chào\r\nbạn 👨‍👩‍👧 ơi";
    let chars: Vec<char> = text.chars().collect();
    for sentence in sentences(text) {
        for word in sentence.words {
            let at_offsets: String = chars[word.char_start..word.char_end].iter().collect();
            assert_eq!(at_offsets, word.text);
        }
    }
    assert_eq!(words_of(text), ["Chào", "bạn", "ơi"]);
}

#[test]
fn sentences_end_at_terminators_before_white_space() {
    assert_eq!(
        sentences_of("Xin chào. Bạn khỏe không? Tốt lắm! \"Vâng.\" Hết"),
        [
            "Xin chào.",
            "Bạn khỏe không?",
            "Tốt lắm!",
            "\"Vâng.\"",
            "Hết"
        ]
    );
    assert_eq!(sentences_of("你好。世界！"), ["你好。", "世界！"]);
}

#[test]
fn decimals_abbreviations_initials_and_numbered_lines_do_not_end_a_sentence() {
    for one in [
        "Giá là 3.5 triệu.",
        "Ở TP. Hồ Chí Minh và Q. Ba.",
        "Dr. Smith met Mr. J. R. Jones.",
        "The U.S. Army came at 5 p.m. Monday.",
        "1. Mở đầu",
    ] {
        assert_eq!(sentences_of(one), [one]);
    }
    assert_eq!(
        sentences_of("Sinh năm 1990. Lớn lên ở Huế."),
        ["Sinh năm 1990.", "Lớn lên ở Huế."]
    );
}

#[test]
fn an_ellipsis_or_a_quotation_goes_on_in_lower_case_only() {
    assert_eq!(
        sentences_of("Chờ đã... rồi đi… nhé"),
        ["Chờ đã... rồi đi… nhé"]
    );
    assert_eq!(sentences_of("Chờ đã… Rồi đi."), ["Chờ đã…", "Rồi đi."]);
    assert_eq!(sentences_of("“Sao?” anh hỏi."), ["“Sao?” anh hỏi."]);
}

#[test]
fn a_line_ends_a_sentence_unless_it_only_wraps() {
    assert_eq!(sentences_of("Một dòng\nHai dòng"), ["Một dòng", "Hai dòng"]);
    assert_eq!(sentences_of("Một dòng\r\nđi tiếp"), ["Một dòng  đi tiếp"]);
    assert_eq!(sentences_of("tiêu đề\n\nđi tiếp"), ["tiêu đề", "đi tiếp"]);
}

#[test]
fn what_has_no_word_is_no_sentence() {
    assert_eq!(sentences_of("... *** 😀\n\n!\n"), Vec::<String>::new());
    assert_eq!(sentences_of("---\nA."), ["A."]);
}

#[test]
fn a_long_sentence_is_cut_at_punctuation_then_at_white_space() {
    let clause = "một hai ba bốn năm sáu bảy tám chín mười";
    let with_commas = vec![clause; 20].join(", ");
    for sentence in sentences_of(&with_commas).iter().rev().skip(1) {
        assert!(sentence.ends_with("mười,"), "{sentence}");
    }
    let without = vec![clause; 20].join(" ");
    let pieces = sentences_of(&without);
    assert_eq!(pieces.join(" "), without);
    assert!(pieces.len() > 1);
}

#[test]
fn a_word_longer_than_a_sentence_runs_on_and_keeps_its_letters() {
    let text = format!("dài {} hết", "ă".repeat(5000));
    let sentences = sentences(&text);
    let parts: Vec<&Token> = sentences
        .iter()
        .flat_map(|sentence| &sentence.words)
        .filter(|token| token.text.starts_with('ă'))
        .collect();
    assert!(!parts[0].continues);
    assert!(parts[1..].iter().all(|part| part.continues));
    let letters: usize = parts
        .iter()
        .map(|part| part.char_end - part.char_start)
        .sum();
    assert_eq!(letters, 5000);
}

#[test]
fn control_characters_and_emoji_are_spaces_for_the_engine() {
    assert_eq!(sentences_of("a\0b\u{1}\u{7f}c 😀d"), ["a b  c  d"]);
}

#[test]
fn a_plain_sentence_has_letters_digits_and_marks_in_their_places() {
    for (written, plain) in [
        ("Giá: \"-5%\" (3.500đ), hết!", "Giá:   5    3 500đ , hết!"),
        ("e-mail don't @x…", "e mail don t  x "),
        ("क्-क ไม่", "क् क ไม่"),
        ("Xin chào, bạn.", "Xin chào, bạn."),
    ] {
        let sentence = sentences(written).remove(0);
        let made = sentence.plain();
        assert_eq!(made.text, plain);
        assert_eq!(made.plain(), made);
        assert_eq!(made.words, sentence.words);
    }
}

#[test]
fn only_letters_and_digits_are_speech() {
    for silent in [
        "",
        " \n\t",
        "...!?",
        "😀👍🏽 👨‍👩‍👧 🇻🇳 🅰",
        "→ © $ %",
        "\u{0}\u{200b}\u{feff}",
    ] {
        assert!(!has_speech(silent), "{silent:?}");
    }
    for spoken in ["a", "7", "... ơ", "😀 ok", "你"] {
        assert!(has_speech(spoken), "{spoken:?}");
    }
}

#[test]
fn vietnamese_is_told_from_english_by_its_letters() {
    for vietnamese in [
        "Xin chào",
        "Hồi âm",
        "Video về iPhone 15 Pro Max và Samsung Galaxy",
        "Toi di cho, con bạn?",
    ] {
        assert!(looks_vietnamese(vietnamese), "{vietnamese}");
    }
    for other in [
        "",
        "2024",
        "Hello world",
        "The café has a naïve résumé",
        "I visited São Paulo in May",
        "The president Hồ read the declaration of independence on a square in the capital city",
    ] {
        assert!(!looks_vietnamese(other), "{other}");
    }
}

#[test]
fn a_hostile_text_takes_no_quadratic_time() {
    for piece in [
        "a", ".", "9", "(", "\n", " ", "😀", "a.", "!a", "\u{301}", "@", "://", "x@y.z", "\"",
        "。", "a\n",
    ] {
        let text: String = piece.chars().cycle().take(100_000).collect();
        // Quadratic, it would take many minutes.
        let began = processor_time();
        sentences(&text);
        looks_vietnamese(&text);
        let took = processor_time() - began;
        assert!(took.as_secs() < 60, "{piece:?} took {took:?}");
    }
}

/// Any text, and texts made of what the tokenizer looks at.
fn texts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "Ơ",
        "chào",
        "TP.",
        "HCM",
        "1.",
        "3,14",
        ".",
        "...",
        "…",
        "!",
        "\"",
        "(",
        ")",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\u{1}",
        "\0",
        "😀",
        "👨‍👩‍👧",
        "。",
        "，",
        "好",
        "שלום",
        "e\u{301}\u{302}",
        "x@y.z",
        "https://a.b/c",
        "://",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]);
    let mixed = prop::collection::vec(part, 0..200).prop_map(|parts| parts.concat());
    prop_oneof![any::<String>(), mixed]
}

proptest! {
    #[test]
    fn sentences_are_bounded_in_order_and_exact(text in texts()) {
        let chars: Vec<char> = text.chars().collect();
        let mut sentence_end = 0;
        let mut word_end = 0;
        for sentence in sentences(&text) {
            let length = sentence.text.chars().count();
            prop_assert!(length <= MAX_CHARS && sentence.text.len() <= MAX_BYTES);
            prop_assert!(sentence.char_start >= sentence_end);
            sentence_end = sentence.char_start + length;
            prop_assert!(!sentence.words.is_empty());
            for word in &sentence.words {
                let source: String = chars[word.char_start..word.char_end].iter().collect();
                prop_assert_eq!(&source, &word.text);
                prop_assert!(has_speech(&source) || word.continues);
                prop_assert!(word.char_start >= word_end.max(sentence.char_start));
                prop_assert!(!word.continues || word.char_start == sentence.char_start);
                word_end = word.char_end;
                prop_assert!(word_end <= sentence_end);
            }
        }
    }

    #[test]
    fn every_letter_and_digit_is_in_exactly_one_word(text in texts()) {
        let spoken = |text: &str| text.chars().filter(|c| is_spoken(*c)).collect::<String>();
        prop_assert_eq!(spoken(&words_of(&text).concat()), spoken(&text));
    }

    #[test]
    fn a_text_with_speech_has_a_sentence_and_one_without_has_none(text in texts()) {
        prop_assert_eq!(has_speech(&text), !sentences(&text).is_empty());
    }

    #[test]
    fn no_text_makes_the_guess_of_the_language_panic(text in texts()) {
        looks_vietnamese(&text);
    }
}

#[test]
fn what_ends_a_sentence_is_no_part_of_the_next_word() {
    // A vowel sign without a letter makes one piece with whatever is before it.
    let words: Vec<Vec<String>> = sentences("！ൊ")
        .into_iter()
        .map(|sentence| sentence.words.into_iter().map(|word| word.text).collect())
        .collect();
    assert_eq!(words, [["ൊ"]]);
}

#[test]
fn pauses_are_between_sentences_and_longer_between_paragraphs() {
    let pauses = |text: &str| -> Vec<Pause> {
        sentences(text)
            .iter()
            .map(|sentence| sentence.pause)
            .collect()
    };
    use Pause::{None, Paragraph, Sentence};
    assert_eq!(
        pauses("Một. Hai!\nBa\n- Bốn"),
        [None, Sentence, Sentence, Sentence]
    );
    assert_eq!(
        pauses("Một.\n\nHai.\r\nBa.\r\n\r\nBốn."),
        [None, Paragraph, Sentence, Paragraph]
    );
    let long = "một hai ba bốn ".repeat(40);
    assert!(pauses(&long).iter().all(|pause| *pause == None));
    assert_eq!(pauses("Một. !!!\n\n... Hai."), [None, Paragraph]);
}

#[test]
fn what_people_write_is_not_cut_for_what_is_said() {
    for letter in ["a", "ữ", "ж", "ع", "字", "ก", "한", "क", "あ", "შ"] {
        let most = MAX_CHARS.min(MAX_BYTES / letter.len());
        assert_eq!(sentences(&letter.repeat(most)).len(), 1, "{letter}");
    }
    let prices = "Tháng 12 năm 2024 giá là 1.250.000 đồng, tăng 12,5% so với 2023. ";
    assert_eq!(sentences(&prices.repeat(5)).len(), 5);
}

#[test]
fn a_sentence_of_which_too_much_is_said_is_cut_between_what_is_said_as_one() {
    let text = "New York, ".repeat(30);
    let mut costs: Vec<u32> = text.chars().map(cost).collect();
    for term in costs.chunks_mut(10) {
        term[..8].fill(0);
        term[0] = 300;
    }
    let sentences = sentences_at(&text, &costs);
    assert_eq!(sentences.len(), 6);
    for sentence in &sentences {
        let words: Vec<&str> = sentence.words.iter().map(|word| &*word.text).collect();
        assert_eq!(words, ["New", "York"].repeat(5));
    }
}

#[test]
fn what_is_said_as_one_is_one_sentence_however_much_it_is() {
    let costs = [4 * MAX_COST, 0, 4 * MAX_COST, 0];
    let spoken = sentences_at("abcd", &costs);
    let texts: Vec<&str> = spoken.iter().map(|one| &*one.text).collect();
    assert_eq!(texts, ["ab", "cd"]);
}

proptest! {
    #[test]
    fn nothing_is_lost_where_a_sentence_is_cut_for_what_is_said(
        text in texts(),
        factor in 0_u32..200,
    ) {
        let costs: Vec<u32> = text.chars().map(|c| cost(c) * factor).collect();
        let cut = sentences_at(&text, &costs);
        let spoken = |text: &str| text.chars().filter(|c| is_spoken(*c)).collect::<String>();
        let read: String = cut.iter().map(|sentence| spoken(&sentence.text)).collect();
        prop_assert_eq!(read, spoken(&text));
        for sentence in &cut {
            let of_sentence = costs.iter().skip(sentence.char_start);
            let characters = sentence.text.chars().count();
            let said: u32 = of_sentence.take(characters).sum();
            prop_assert!(said <= MAX_COST || characters == 1, "{}", said);
        }
    }
}
