//! Symbols, numbers and files, with the real eSpeak NG and without a network;
//! the network of a real voice is in `tests/it/neural.rs`.

use std::path::Path;

use hoiam_synthesizer::voice_files::VoiceFiles;
use hoiam_text::normalize::{Language, NormalizedText};
use hoiam_text::pronunciations::{Dictionary, Pronunciation, Said};
use hoiam_text::segmentation::sentences;
use proptest::prelude::*;

use unicode_normalization::UnicodeNormalization;

use super::phonemes::{Read, WordStart, letters, read};
use super::voice::{VoiceConfig, VoiceConfigError};
use super::*;

/// A voice that knows a few symbols: `t͡ʃ` is one of two characters and a tie,
/// `r` is replaced by `ɹ`.
const CONFIG: &str = r#"{
    "audio": {"sample_rate": 22050, "quality": "medium"},
    "espeak": {"voice": "en-us"},
    "language": {"code": "en_US"},
    "inference": {"noise_scale": 0.5, "length_scale": 1.5, "noise_w": 0.25},
    "phoneme_type": "espeak",
    "phoneme_map": {"r": ["ɹ"]},
    "phoneme_id_map": {"_": [0], "^": [1], "$": [2], " ": [3], "a": [10], "ɹ": [11],
        "t": [12], "t͡ʃ": [13, 14], "ˈ": [15], ".": [16]},
    "num_speakers": 3,
    "speaker_id_map": {"anna": 2, "ben": 0, "carl": 1},
    "hop_length": 256
}"#;

fn config() -> VoiceConfig {
    VoiceConfig::parse(CONFIG).unwrap()
}

/// Read as eSpeak reads English.
fn english(text: &str) -> (String, Vec<(String, String)>) {
    read_by(text, "en-us", Language::English)
}

/// The symbols, and each word of the text that is read with what it sounds like.
fn read_by(text: &str, voice: &str, language: Language) -> (String, Vec<(String, String)>) {
    read_with(text, voice, language, &Dictionary::default())
}

fn read_with(
    text: &str,
    voice: &str,
    language: Language,
    dictionary: &Dictionary,
) -> (String, Vec<(String, String)>) {
    let mut library = lock(libespeak::open().unwrap());
    let mut phonemize = |text: &str, mnemonics| library.phonemes(voice, text, mnemonics);
    let sentence = sentences(text).remove(0);
    let spoken = NormalizedText::of(&sentence.text, Some(language), dictionary);
    let read = read(&sentence, &spoken, &mut phonemize).unwrap();
    (read.symbols.iter().collect(), words(&spoken.text, &read))
}

fn words(text: &str, read: &Read) -> Vec<(String, String)> {
    let end = WordStart {
        position: text.chars().count(),
        symbol: read.symbols.len(),
    };
    let ends = read.words.iter().skip(1).chain([&end]);
    let one = |(word, next): (&WordStart, &WordStart)| {
        let written = text.chars().skip(word.position);
        let written: String = written.take(next.position - word.position).collect();
        let sound: String = read.symbols[word.symbol..next.symbol].iter().collect();
        (written.trim().to_owned(), sound.trim().to_owned())
    };
    read.words.iter().zip(ends).map(one).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    expected.iter().map(owned).collect()
}

#[test]
fn a_sentence_is_begun_padded_and_ended_and_unknown_symbols_are_left_out() {
    let symbols: Vec<char> = "aˈx t".chars().collect();
    let ids = config().ids(&symbols);
    assert_eq!(ids.ids, [1, 0, 10, 0, 15, 0, 3, 0, 12, 0, 2]);
    let places: Vec<_> = (0..6).map(|symbol| ids.place(symbol)).collect();
    assert_eq!(
        places,
        [Some(2), Some(4), Some(6), Some(6), Some(8), None],
        "an unknown symbol is where the next one begins"
    );
}

#[test]
fn the_longest_symbol_wins_and_a_replaced_one_is_the_other() {
    let symbols: Vec<char> = "t͡ʃr".chars().collect();
    let ids = config().ids(&symbols);
    assert_eq!(ids.ids, [1, 0, 13, 0, 14, 0, 11, 0, 2]);
    assert!(!ids.is_silent());
    assert!(config().ids(&[' ', 'x']).is_silent());
}

#[test]
fn speed_shortens_and_noise_stays() {
    assert_eq!(config().scales(1.0), [0.5, 1.5, 0.25]);
    assert_eq!(config().scales(2.0), [0.5, 0.75, 0.25]);
}

#[test]
fn speakers_are_known_by_name_in_the_order_of_their_numbers() {
    let voice = config().describe("piper/en_US-some_name-medium".into(), None);
    assert_eq!(voice.speakers, ["ben", "carl", "anna"]);
    assert_eq!(voice.name, "some name, medium, 3 speakers");
    assert_eq!(voice.language, "en-US");
    assert_eq!(config().first_speaker(), Some(0));
    assert_eq!(config().speaker("anna"), Some(2));
    assert_eq!(config().speaker("dora"), None);
}

#[test]
fn a_description_that_cannot_be_used_says_why() {
    let without = |what: &str, with: &str| VoiceConfig::parse(&CONFIG.replace(what, with));
    let error = |changed: Result<VoiceConfig, VoiceConfigError>| changed.unwrap_err().to_string();
    assert!(error(VoiceConfig::parse("{}")).contains("audio"));
    assert!(error(without(r#""^": [1], "#, "")).contains("`^`"));
    assert!(error(without("22050", "100")).contains("100 Hz"));
    assert!(
        error(without(
            r#""espeak",
"#,
            r#""pinyin",
"#
        ))
        .contains("pinyin")
    );
    assert!(error(without(r#""espeak": {"voice": "en-us"},"#, "")).contains("espeak.voice"));
}

#[test]
fn a_description_beyond_all_bounds_is_refused_whatever_of_it_is() {
    let refused = |what: &str, with: &str| {
        let changed = CONFIG.replace(what, with);
        assert_ne!(changed, CONFIG, "{what}");
        let error = VoiceConfig::parse(&changed).unwrap_err().to_string();
        assert!(error.len() < 200, "{error}");
        error
    };
    let speakers = r#""num_speakers": 3"#;
    let most = refused(speakers, r#""num_speakers": 4294967295"#);
    assert!(most.contains("more than 10000 speakers"), "{most}");
    refused(speakers, r#""num_speakers": 2"#);
    refused(r#""anna": 2"#, r#""anna": -1"#);
    refused("anna", &"a".repeat(101));
    refused("anna", r"\u001b[2J");
    // Nobody could ask for her.
    refused("anna", "an:na");
    let names = |count: usize| (3..count).map(|n| format!(r#""{n:090}": 0, "#));
    let many: String = names(2000).collect();
    refused(r#""anna""#, &format!(r#"{many}"anna""#));
    let symbols: String = (0..4096).map(|n| format!(r#""s{n}": [1], "#)).collect();
    refused(r#""_": [0]"#, &format!(r#"{symbols}"_": [0]"#));
    refused(r#""a": [10]"#, &format!(r#""{}": [10]"#, "a".repeat(17)));
    refused("[10]", &format!("[{}1]", "1, ".repeat(8)));
    refused("[10]", "[-1]");
    refused("[10]", "[65536]");
    refused(r#"["ɹ"]"#, &format!(r#"["{}"]"#, "ɹ".repeat(17)));
    refused("en_US", &"x".repeat(101));
    refused("medium", r"a\nb");
    refused(r#""en-us""#, &format!(r#""{}""#, "e".repeat(41)));
    for (what, with) in [
        (r#""noise_scale": 0.5"#, r#""noise_scale": 1e39"#),
        (r#""noise_scale": 0.5"#, r#""noise_scale": -1"#),
        (r#""length_scale": 1.5"#, r#""length_scale": 0"#),
        (r#""length_scale": 1.5"#, r#""length_scale": 11"#),
        (r#""noise_w": 0.25"#, r#""noise_w": 1e9"#),
    ] {
        refused(what, with);
    }
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let voice = || VoiceFiles::of(at("a.onnx")).unwrap();
    let link = |to: &str, name: &str| {
        let _ = std::fs::remove_file(at(name));
        std::os::unix::fs::symlink(to, at(name)).unwrap();
    };
    let write = |name: &str, text: &[u8]| {
        let _ = std::fs::remove_file(at(name));
        std::fs::write(at(name), text).unwrap();
    };
    write("a.onnx", b"");
    write("a.onnx.json", CONFIG.as_bytes());
    write("MODEL_CARD", b"License: CC0\x1b[2J\n");
    assert!(files::read(&voice()).is_ok());
    assert_eq!(files::licence(&voice()).as_deref(), Some("CC0[2J"));

    // Neither ends, and a pipe does not even begin.
    link("/dev/zero", "MODEL_CARD");
    assert_eq!(files::licence(&voice()), None);
    std::fs::remove_file(at("MODEL_CARD")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(at("MODEL_CARD"))
        .status();
    assert!(made.unwrap().success());
    assert_eq!(files::licence(&voice()), None);
    link("/dev/zero", "a.onnx.json");
    assert!(
        files::read(&voice())
            .unwrap_err()
            .to_string()
            .contains("no file")
    );
    link(at("MODEL_CARD").to_str().unwrap(), "a.onnx.json");
    assert!(
        files::read(&voice())
            .unwrap_err()
            .to_string()
            .contains("no file")
    );
    write("a.onnx.json", &[b' '; (1 << 20) + 1]);
    assert!(
        files::read(&voice())
            .unwrap_err()
            .to_string()
            .contains("too large")
    );
    // What an error quotes is not told at length.
    let quoted = format!(r#"{{"audio": "{}"}}"#, "x".repeat(10_000));
    write("a.onnx.json", quoted.as_bytes());
    assert!(files::read(&voice()).unwrap_err().to_string().len() < 1000);

    write("a.onnx.json", CONFIG.as_bytes());
    let huge = std::fs::File::create(at("a.onnx")).unwrap();
    huge.set_len(1 << 40).unwrap();
    assert!(
        files::read(&voice())
            .unwrap_err()
            .to_string()
            .contains("1024 MiB")
    );
    link("/dev/zero", "a.onnx");
    assert!(
        files::read(&voice())
            .unwrap_err()
            .to_string()
            .contains("no file")
    );
    assert!(VoiceFiles::of(at("a\u{1b}[2J.onnx")).is_none());
}

#[test]
fn clauses_keep_their_marks() {
    let (symbols, _) = english("Hello, world; this is: a test!");
    assert_eq!(symbols, "həlˈoʊ, wˈɜːld; ðɪs ɪz: ɐ tˈɛst!");
    let (symbols, _) = english("He said \"stop\" and left.");
    assert_eq!(symbols, "hiː sˈɛd stˈɑːp ænd lˈɛft.");
    let (symbols, _) = english("Really?!");
    assert!(symbols.ends_with('?'), "{symbols}");
    let (symbols, _) = english("Wait... what");
    assert!(symbols.contains(", "), "{symbols}");
    let (symbols, _) = english("It is 3.5 km, e.g. here");
    assert!(!symbols.contains('.'), "{symbols}");
}

#[test]
fn each_word_has_its_own_sounds_also_where_espeak_writes_two_as_one() {
    let (_, words) = english("The end of the red-haired man.");
    let expected = [
        ("The", "ðɪ"),
        ("end", "ˈɛnd"),
        ("of", "ʌv"),
        ("the", "ðə"),
        ("red-", "ɹˈɛd"),
        ("haired", "hˈɛɹd"),
        ("man.", "mˈæn."),
    ];
    assert_eq!(words, pairs(&expected));
}

#[test]
fn long_sentences_are_spoken_in_parts_that_end_with_a_clause_or_a_word() {
    let (whole, words) = english("One two three, four five six seven, eight nine ten.");
    let read = || {
        let mut library = lock(libespeak::open().unwrap());
        let sentence = sentences("One two three, four five six seven, eight nine ten.").remove(0);
        let spoken = NormalizedText::of(&sentence.text, None, &Dictionary::default());
        read(&sentence, &spoken, &mut |text, mnemonics| {
            library.phonemes("en-us", text, mnemonics)
        })
        .unwrap()
    };
    let parts = |most: usize| read().parts(most);
    let text = |part: &Read| part.symbols.iter().collect::<String>();
    assert_eq!(text(&parts(1000)[0]), whole);
    for (most, count) in [(40, 2), (25, 3), (12, 6), (1, 41)] {
        let parts = parts(most);
        assert!(parts.iter().all(|part| part.symbols.len() <= most));
        assert!(parts.len() >= count, "{most}: {}", parts.len());
        let together: Vec<String> = parts.iter().map(text).collect();
        let same = |text: &str| text.replace(' ', "");
        assert_eq!(same(&together.concat()), same(&whole));
        let starts: usize = parts.iter().map(|part| part.words.len()).sum();
        assert_eq!(starts, words.len());
    }
    let ends: Vec<char> = parts(25)
        .iter()
        .map(|part| *part.symbols.last().unwrap())
        .collect();
    assert_eq!(ends, [',', ',', '.']);
}

#[test]
fn vietnamese_is_decomposed_and_names_of_languages_are_left_out() {
    let (symbols, words) = read_by("Xin chào computer", "vi", Language::Vietnamese);
    assert!(!symbols.contains('('), "{symbols}");
    let written: Vec<&str> = words.iter().map(|(written, _)| written.as_str()).collect();
    assert_eq!(written, ["Xin", "chào", "computer"]);
    assert!(words.iter().all(|(_, sound)| !sound.is_empty()));
    let nfd: String = symbols.nfd().collect();
    assert_eq!(symbols, nfd);
}

fn phonemes(terms: &[(&str, &str)]) -> Dictionary {
    let one = |(term, phonemes): &(&str, &str)| Pronunciation {
        term: (*term).into(),
        said: Said::Phonemes((*phonemes).into()),
        match_case: false,
    };
    Dictionary::new(&terms.iter().map(one).collect::<Vec<_>>())
}

fn english_with(text: &str, terms: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    read_with(text, "en-us", Language::English, &phonemes(terms))
}

#[test]
fn phonemes_that_espeak_itself_gives_change_nothing_and_others_only_their_term() {
    let text = "I use the nuclear option, of the (nuclear) club; \"nuclear\" it is. Is it nuclear?";
    for sentence in sentences(text) {
        let plain = english(&sentence.text);
        let same = english_with(&sentence.text, &[("nuclear", "nˈuːklɪɹ")]);
        assert_eq!(same.0, plain.0);
        let sounds = |(_, words): (String, Vec<(String, String)>)| -> Vec<String> {
            words.into_iter().map(|(_, sound)| sound).collect()
        };
        assert_eq!(sounds(same), sounds(plain.clone()), "each word has its own");
        let other = english_with(&sentence.text, &[("nuclear", "ˈnjuːklɪə")]);
        assert_eq!(other.0, plain.0.replace("nˈuːklɪɹ", "njˈuːklɪə"));
    }
}

#[test]
fn words_beside_phonemes_are_read_as_beside_what_is_heard() {
    let said = |ipa: &str| english_with("I use the SQL of it", &[("sql", ipa)]).0;
    assert_eq!(said("ˈsiːkwəl"), "aɪ jˈuːz ðə sˈiːkwəl ʌv ɪt");
    assert_eq!(said("ˌɛskjuːˈɛl"), "aɪ jˈuːz ðɪ ˌɛskjuːˈɛl ʌv ɪt");
    let (symbols, words) = english_with(
        "Open AI, [[h@]] and SQL!",
        &[("open ai", "ˈoʊpən ˌeɪˈaɪ"), ("SQL", "ˈsiːkwəl")],
    );
    assert!(symbols.starts_with("ˈoʊpən ˌeɪˈaɪ, "), "{symbols}");
    assert!(symbols.ends_with("ænd sˈiːkwəl!"), "{symbols}");
    let sounds: Vec<&str> = words.iter().map(|(_, sound)| sound.as_str()).collect();
    assert_eq!(sounds[0], "ˈoʊpən ˌeɪˈaɪ,", "one span");
    assert_eq!(sounds.last(), Some(&"sˈiːkwəl!"));
    let vietnamese = phonemes(&[("SQL", "e5t̪ kˈi1w")]);
    let (symbols, words) = read_with("Dùng SQL nhé", "vi", Language::Vietnamese, &vietnamese);
    let nfd: String = "e5t̪ kˈi1w".nfd().collect();
    assert!(symbols.contains(&format!(" {nfd} ")), "{symbols}");
    assert_eq!(words[1].1, nfd);
}

#[test]
fn where_the_place_of_phonemes_is_not_found_the_words_around_them_are_read_apart() {
    let sentence = sentences("a b X c X").remove(0);
    let spoken = NormalizedText::of(&sentence.text, None, &phonemes(&[("x", "siː")]));
    // A tongue that swallows what it is given by name.
    let mut phonemize = |text: &str, _| {
        let plain = text.split_whitespace().filter(|word| !word.contains('['));
        Ok(plain.collect::<Vec<_>>().join(" "))
    };
    let read = read(&sentence, &spoken, &mut phonemize).unwrap();
    assert_eq!(read.symbols.iter().collect::<String>(), "a b siː c siː");
    assert_eq!(read.words.len(), 5);
}

#[test]
fn letters_that_a_voice_does_not_know_are_told_and_shades_are_left_out() {
    let unknown = |ipa: &str| config().unknown(&ipa::symbols(ipa));
    assert_eq!(unknown("ˈt͡ʃaɹ ta"), None);
    assert_eq!(unknown("tʰaː"), None);
    assert_eq!(unknown("tax"), Some('x'));
    assert_eq!(unknown("ta˥"), Some('˥'));
    assert_eq!(config().known(), "a t t͡ʃ ɹ");
}

#[test]
fn a_voice_of_letters_refuses_phonemes() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, config: &str| {
        std::fs::write(folder.path().join(format!("{name}.onnx")), "").unwrap();
        std::fs::write(folder.path().join(format!("{name}.onnx.json")), config).unwrap();
    };
    put("sounds", CONFIG);
    put(
        "letters",
        &CONFIG.replace(r#""phoneme_type": "espeak""#, r#""phoneme_type": "text""#),
    );
    let (mut piper, _) = Piper::open(folder.path(), &Setup::default());
    let mut refused = |id: &str, ipa: &str| {
        let voice = piper.voice(id).unwrap();
        piper
            .can_say(&voice, ipa)
            .map_err(|error| error.to_string())
    };
    assert_eq!(refused("piper/sounds", "ˈta"), Ok(()));
    let told = refused("piper/sounds:anna", "ˈti").unwrap_err();
    assert!(told.contains("`i`") && told.contains("a t t͡ʃ ɹ"), "{told}");
    let told = refused("piper/letters", "ˈta").unwrap_err();
    assert!(told.contains("reads letters"), "{told}");
}

#[test]
fn voices_of_letters_read_the_text_itself() {
    let sentence = sentences("Tôi đi.").remove(0);
    let spoken = NormalizedText::of(&sentence.text, None, &Dictionary::default());
    let read = letters(&sentence, &spoken);
    assert_eq!(read.symbols.iter().collect::<String>(), "To\u{302}i đi.");
    assert_eq!(
        words(&spoken.text, &read)
            .iter()
            .map(|(_, sound)| sound.as_str())
            .collect::<Vec<_>>(),
        ["To\u{302}i", "đi."]
    );
}

#[test]
fn voices_are_found_beside_each_other_and_in_folders_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, CONFIG).unwrap();
    };
    for file in [
        "b.onnx",
        "b.onnx.json",
        "a/a.onnx",
        "a/a.onnx.json",
        ".c.1.part/c.onnx",
        "readme.txt",
    ] {
        put(file);
    }
    std::fs::write(
        folder.path().join("a/MODEL_CARD"),
        "# Model card\n\n* License: CC0\n",
    )
    .unwrap();
    let names: Vec<String> = find(folder.path()).into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["a", "b"]);
    std::fs::write(folder.path().join("b.onnx.json"), "{").unwrap();
    let (piper, unavailable) = Piper::open(folder.path(), &Setup::default());
    assert_eq!(piper.voices().len(), 1);
    assert_eq!(piper.voices()[0].licence.as_deref(), Some("CC0"));
    assert!(piper.voice("piper/a:carl").is_some());
    assert!(piper.voice("piper/a:nobody").is_none());
    assert_eq!(unavailable[0].0, "piper/b");
    assert!(
        unavailable[0].1.contains("b.onnx.json"),
        "{}",
        unavailable[0].1
    );
    assert!(find(Path::new("/nowhere")).is_empty());
}

#[test]
fn a_file_that_is_no_network_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("x.onnx");
    std::fs::write(&model, b"no network").unwrap();
    std::fs::write(folder.path().join("x.onnx.json"), CONFIG).unwrap();
    let error = Runtime::Rten.load(&model, 1).err().unwrap().to_string();
    assert!(error.contains("x.onnx is not the model"), "{error}");
}

proptest! {
    /// A tongue that sounds as it is written, and writes some words together.
    #[test]
    fn words_begin_where_they_are_heard_however_they_are_written_together(
        written in prop::collection::vec("[a-z]{1,8}", 1..12),
        together in prop::collection::vec(any::<bool>(), 12),
    ) {
        let text = written.join(" ");
        let heard: String = written
            .iter()
            .zip(&together)
            .map(|(word, together)| if *together { word.clone() } else { format!("{word} ") })
            .collect();
        let sentence = sentences(&text).remove(0);
        let spoken = NormalizedText::of(&sentence.text, None, &Dictionary::default());
        let mut phonemize = |asked: &str, _| {
            Ok(if asked == text { heard.clone() } else { asked.to_owned() })
        };
        let read = read(&sentence, &spoken, &mut phonemize).unwrap();
        let mut symbol = 0;
        for ((word, together), found) in written.iter().zip(&together).zip(&read.words) {
            prop_assert_eq!(found.symbol, symbol, "{} in {}", word, heard);
            symbol += word.len() + usize::from(!together);
        }
        prop_assert_eq!(read.words.len(), written.len());
    }
}
