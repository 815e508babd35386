//! Synthesis from end to end, with the real eSpeak NG.

use hoiam_synthesizer::engines::Setup;
use hoiam_text::{Format, Output, subtitles};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

use super::*;

mod drift;

fn engines(test_voices: bool) -> Engines {
    Engines::open(&Setup {
        test_voices,
        ..Setup::default()
    })
}

/// A sink that keeps everything.
#[derive(Default)]
pub(super) struct Recorder {
    bytes: Vec<u8>,
    progress: Vec<(u32, u32)>,
    /// Asks to stop once so many sentences are done.
    stop_at: Option<u32>,
}

impl Sink for Recorder {
    fn audio(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn progress(&mut self, done: u32, total: u32) -> bool {
        self.progress.push((done, total));
        self.stop_at != Some(done)
    }
}

impl Recorder {
    /// The whole file, once its first bytes are known.
    pub(super) fn file(mut self, head: &[u8]) -> Vec<u8> {
        self.bytes[..head.len()].copy_from_slice(head);
        self.bytes
    }
}

/// The sample rate and the gapless samples of a mono file.
pub(super) fn decode(file: Vec<u8>) -> (u32, Vec<f32>) {
    let stream = MediaSourceStream::new(Box::new(std::io::Cursor::new(file)), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, Default::default(), Default::default())
        .unwrap();
    let track = format.default_track(TrackType::Audio).unwrap();
    let codec = track.codec_params.as_ref().unwrap().audio().unwrap();
    let rate = codec.sample_rate.unwrap();
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(codec, &AudioDecoderOptions::default())
        .unwrap();
    let mut samples = Vec::new();
    let mut part = Vec::new();
    while let Some(packet) = format.next_packet().unwrap() {
        decoder
            .decode(&packet)
            .unwrap()
            .copy_to_vec_interleaved(&mut part);
        samples.append(&mut part);
    }
    (rate, samples)
}

/// A file of 64 kbit/s, as loud as the voices are.
pub(super) fn output(format: Format) -> Output {
    Output {
        format,
        loudness_lufs: 0.0,
        ..Output::default()
    }
}

fn request(voice: &str, text: &str) -> Request {
    Request::plain(text, voice, output(Format::Wav))
}

/// What was said and the samples of the result, once everything that must hold
/// for every text has been checked.
fn spoken(request: &Request) -> (Synthesis, Vec<f32>) {
    let mut engines = engines(true);
    let mut recorder = Recorder::default();
    let spoken = speak(&mut engines, request, &mut recorder).unwrap();

    let (_, total) = recorder.progress[0];
    let expected: Vec<_> = (0..=total).map(|done| (done, total)).collect();
    recorder.progress.dedup();
    assert_eq!(recorder.progress, expected);

    let (rate, samples) = decode(recorder.file(&spoken.head));
    assert_eq!(rate, spoken.sample_rate_hz);
    let decoded_ms = samples.len() as u64 * 1000 / u64::from(rate);
    assert!(
        decoded_ms.abs_diff(spoken.duration_ms) <= 30,
        "{decoded_ms}"
    );
    check_words(request, &spoken);
    check_sound(&spoken, &samples);
    (spoken, samples)
}

/// Words are exactly those of the text, in order, and never overlap.
fn check_words(request: &Request, spoken: &Synthesis) {
    let chars: Vec<char> = request.segments[0].text.chars().collect();
    let mut now = 0;
    let mut sentence = 0;
    for word in &spoken.words {
        let source: String = chars[word.char_start as usize..word.char_end as usize]
            .iter()
            .collect();
        assert_eq!(source, word.text);
        assert!(
            now <= word.start_ms && word.start_ms <= word.end_ms,
            "{word:?}"
        );
        assert!(word.end_ms <= spoken.duration_ms && word.sentence >= sentence);
        now = word.end_ms;
        sentence = word.sentence;
    }
}

/// The first and the last word are where the sound begins and ends.
fn check_sound(spoken: &Synthesis, samples: &[f32]) {
    // -50 dB below full scale.
    let audible = |sample: &f32| sample.abs() > 0.003_163;
    let ms = |at: usize| at as u64 * 1000 / u64::from(spoken.sample_rate_hz);
    let Some(first) = samples.iter().position(audible) else {
        return;
    };
    let last = samples.iter().rposition(audible).unwrap();
    let start_ms = spoken.words[0].start_ms;
    let end_ms = spoken.words[spoken.words.len() - 1].end_ms;
    assert!(
        start_ms.abs_diff(ms(first)) <= 100,
        "{start_ms} {}",
        ms(first)
    );
    assert!(
        end_ms >= ms(last) && end_ms <= spoken.duration_ms,
        "{end_ms} {}",
        ms(last)
    );
}

fn texts(spoken: &Synthesis) -> Vec<&str> {
    spoken.words.iter().map(|word| &*word.text).collect()
}

fn refused(request: &Request) -> SpeechError {
    speak(&mut engines(true), request, &mut Recorder::default()).unwrap_err()
}

#[test]
fn vietnamese_with_numbers_and_english_words_has_a_time_for_each_word() {
    let text = "Xin chào TP.HCM! Năm 2024 có 1.500.000 người dùng iPhone, giá $20. Đẹp lắm!";
    let (spoken, _) = spoken(&request("espeak/vi", text));
    assert_eq!(
        texts(&spoken),
        [
            "Xin",
            "chào",
            "TP.HCM",
            "Năm",
            "2024",
            "có",
            "1.500.000",
            "người",
            "dùng",
            "iPhone",
            "giá",
            "20",
            "Đẹp",
            "lắm"
        ]
    );
    // A number takes as long as the words that it is read as.
    let long_ms = |at: usize| spoken.words[at].end_ms - spoken.words[at].start_ms;
    assert!(long_ms(4) > 900 && long_ms(6) > 900, "{:?}", spoken.words);
    for at in 0..spoken.words.len() {
        assert!(long_ms(at) > 50, "{:?}", spoken.words[at]);
    }
}

#[test]
fn what_is_read_in_other_words_keeps_its_own_and_gets_their_time() {
    let text = "Giá 30.000đ, ngày 15/04/2024 tại TP.HCM.";
    let (spoken, _) = spoken(&request("espeak/vi", text));
    let length = |word: &str| {
        let found = spoken.words.iter().find(|found| found.text == word);
        let found = found.unwrap_or_else(|| panic!("{word} is not among {:?}", spoken.words));
        found.end_ms - found.start_ms
    };
    // `tháng tư`, `năm hai nghìn không trăm hai mươi tư`, `thành phố Hồ Chí
    // Minh`: two, eight and five syllables.
    let syllable = length("04") / 2;
    assert!((100..500).contains(&syllable), "{syllable} ms");
    for (word, syllables) in [("2024", 8), ("TP.HCM", 5)] {
        let expected = syllable * syllables;
        let length = length(word);
        assert!(
            (expected / 2..expected * 2).contains(&length),
            "{word} takes {length} ms"
        );
    }
}

#[test]
fn words_that_espeak_does_not_report_get_a_time_of_their_own() {
    let text = "Hello -- world, the red-haired U.S. army don't care.";
    let (spoken, _) = spoken(&request("espeak/en", text));
    assert_eq!(
        texts(&spoken),
        [
            "Hello", "world", "the", "red", "haired", "U.S", "army", "don't", "care"
        ]
    );
    assert!(spoken.words.iter().all(|word| word.end_ms > word.start_ms));
}

#[test]
fn mp3_is_as_long_as_it_says() {
    let mut asked = request("espeak/vi", "Hồi âm: bạn gửi văn bản. Giọng nói trả về!");
    asked.output.format = Format::Mp3;
    for kbps in [8, 32, 64, 160] {
        asked.output.bitrate_kbps = kbps;
        spoken(&asked);
    }
}

/// Not to the sample: eSpeak's noise and the length of its pauses depend a
/// little on what was spoken before.
#[test]
fn a_repeated_request_sounds_the_same() {
    let asked = request("espeak/vi", "Hồi âm là hồi âm. Hello!");
    let first = spoken(&asked).0;
    spoken(&request(
        "espeak/en",
        "Something else in between, 42 times.",
    ));
    let second = spoken(&asked).0;
    assert_eq!(texts(&first), texts(&second));
    assert!(first.duration_ms.abs_diff(second.duration_ms) < 150);
}

#[test]
fn speed_is_heard() {
    let mut asked = request("espeak/vi", "Một hai ba bốn năm sáu bảy tám chín mười.");
    let mut duration = |speed| {
        asked.segments[0].speed = speed;
        spoken(&asked).0.duration_ms
    };
    let (slow, normal, fast) = (duration(0.5), duration(1.0), duration(2.0));
    assert!(
        slow * 10 > normal * 15 && normal * 10 > fast * 15,
        "{slow} {normal} {fast}"
    );
}

#[test]
fn one_word_is_enough() {
    assert_eq!(texts(&spoken(&request("espeak/vi", "Chào")).0), ["Chào"]);
    assert_eq!(
        texts(&spoken(&request("espeak/en", "\n \"a\"...")).0),
        ["a"]
    );
}

#[test]
fn a_word_of_5000_letters_is_spoken_whole() {
    let text = format!("Từ {} hết.", "ba".repeat(2500));
    let (spoken, _) = spoken(&request("espeak/vi", &text));
    assert_eq!(spoken.words.len(), 3);
    assert_eq!(spoken.words[1].text.chars().count(), 5000);
    // eSpeak alone drops all but the first 160 bytes.
    assert!(spoken.words[1].end_ms - spoken.words[1].start_ms > 60_000);
}

#[test]
fn letters_that_a_voice_reads_by_their_names_are_read_to_the_last() {
    for (voice, word, words) in [
        ("espeak/en-us", "λόγος ", 60),
        ("espeak/vi", "слово ", 60),
        ("espeak/en-us", "かな ", 90),
    ] {
        let duration_ms = |words: usize| {
            let mut asked = request(voice, &word.repeat(words));
            asked.segments[0].speed = 2.0;
            spoken(&asked).0.duration_ms
        };
        let (some, all) = (duration_ms(words / 6), duration_ms(words));
        assert!(all > some * 5, "{word} by {voice}: {some} and {all} ms");
    }
}

#[test]
fn hostile_texts_are_spoken_as_text() {
    for text in [
        "مرحبا بالعالم hello שלום עולם",
        "\u{202e}ngược\u{202c} a\u{200b}b \u{feff}c",
        "a\0b\u{1}c\u{1}5S\u{1b}[31m d\u{7f}\u{85}e",
        "Xin 😀 chào 👨‍👩‍👧 bạn 🇻🇳!",
        "<speak>a</speak> <audio src=\"/etc/passwd\"/> &amp; &lt; <!-- x --> <![CDATA[y]]>",
        "[[h@l'oU]] [[ft]]",
        "e\u{301}\u{302}\u{303}\u{304} Z\u{351}\u{36f}\u{300}algo",
        "%%% 100% --- *** a",
        "你好，世界。こんにちは",
    ] {
        for voice in ["espeak/vi", "espeak/en"] {
            spoken(&request(voice, text));
        }
    }
}

#[test]
fn markup_and_phonemes_are_read_out_and_not_obeyed() {
    let plain = spoken(&request("espeak/en", "a b c")).0.duration_ms;
    for markup in ["<break time=\"9s\"/> a", "[[_:9000]] a b c"] {
        let took = spoken(&request("espeak/en", markup)).0.duration_ms;
        assert!(took > plain && took < 9000, "{markup}: {took}");
    }
    let (spoken, _) = spoken(&request("espeak/en", "<speak>yes</speak> &amp;"));
    assert_eq!(texts(&spoken), ["speak", "yes", "speak", "amp"]);
}

#[test]
fn what_a_control_character_commands_is_not_obeyed() {
    // 0x01 and then "80S" sets the speed in eSpeak, to less than half. The
    // same text does not always take the same number of samples there: one
    // pause was seen to vary by 40 ms.
    let command = spoken(&request("espeak/en", "a \u{1}80S b")).0;
    let plain = spoken(&request("espeak/en", "a  80S b")).0;
    assert!(
        command.duration_ms.abs_diff(plain.duration_ms) <= 200,
        "{} ms and {} ms",
        command.duration_ms,
        plain.duration_ms
    );
}

#[test]
fn cues_are_in_time_with_the_sound() {
    let text = "Hồi âm là dịch vụ chuyển văn bản thành giọng nói. 😀 \"Không ai phải chờ ai cả!\" anh nói.";
    let (spoken, _) = spoken(&request("espeak/vi", text));
    let cues = subtitles::cues(
        subtitles::Style::STANDARD,
        text,
        &spoken.words,
        "vi",
        spoken.duration_ms,
    );
    let last = cues.len() - 1;
    assert_eq!(cues[0].start_ms, spoken.words[0].start_ms);
    let last_word = &spoken.words[spoken.words.len() - 1];
    assert!((last_word.end_ms..=spoken.duration_ms).contains(&cues[last].end_ms));
}

#[test]
fn long_texts_are_spoken_piece_by_piece() {
    /// A sink that keeps nothing but the largest piece.
    #[derive(Default)]
    struct Meter {
        largest: usize,
        bytes: u64,
    }
    impl Sink for Meter {
        fn audio(&mut self, bytes: &[u8]) -> std::io::Result<()> {
            self.largest = self.largest.max(bytes.len());
            self.bytes += bytes.len() as u64;
            Ok(())
        }
        fn progress(&mut self, _: u32, _: u32) -> bool {
            true
        }
    }
    let mut engines = engines(false);
    let hostile = ["a", "9", "ễ", "+ a", "1 ", "a. "].map(|piece| (piece, 10_000));
    for (piece, length) in hostile.into_iter().chain([("Xin chào các bạn ", 100_000)]) {
        let text: String = piece.chars().cycle().take(length).collect();
        let mut meter = Meter::default();
        let spoken = speak(&mut engines, &request("espeak/vi", &text), &mut meter).unwrap();
        let tags = meter.bytes - 44 - spoken_bytes(&spoken);
        assert!(tags < 100, "{piece:?}: {tags}");
        // One sentence: 400 characters at less than half a second each.
        assert!(meter.largest < 400 * 22_050, "{piece:?}: {}", meter.largest);
    }
}

/// Samples of a WAV file in bytes, by the sizes in its head.
fn spoken_bytes(spoken: &Synthesis) -> u64 {
    let size: [u8; 4] = spoken.head[40..44].try_into().unwrap();
    u64::from(u32::from_le_bytes(size))
}

#[test]
fn a_sink_that_says_no_cancels_between_sentences() {
    let mut recorder = Recorder {
        stop_at: Some(2),
        ..Recorder::default()
    };
    let asked = request("espeak/en", "One. Two. Three. Four.");
    let error = speak(&mut engines(false), &asked, &mut recorder).unwrap_err();
    assert_eq!(error, SpeechError::Canceled);
    assert_eq!(recorder.progress, [(0, 4), (1, 4), (2, 4)]);
}

#[test]
fn voices_have_unique_ids_and_language_tags() {
    let voices = engines(false).voices();
    let find = |id: &str| voices.iter().find(|voice| voice.id == id).unwrap();
    assert_eq!(find("espeak/vi").language, "vi");
    assert_eq!(find("espeak/en").language, "en-GB");
    assert_eq!(find("espeak/en-us").language, "en-US");
    assert_eq!(find("espeak/vi-vn-x-south").language, "vi-VN-x-south");
    assert!(
        voices
            .iter()
            .all(|voice| voice.sample_rate_hz == 22_050 && voice.engine == "espeak")
    );
    let mut ids: Vec<&str> = voices.iter().map(|voice| &*voice.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), voices.len());
}

#[test]
fn every_voice_of_the_list_speaks() {
    let mut engines = engines(false);
    for voice in engines.voices() {
        let asked = request(&voice.id, "Test 42");
        let spoken = speak(&mut engines, &asked, &mut Recorder::default());
        assert!(spoken.is_ok(), "{}: {spoken:?}", voice.id);
    }
}

#[test]
fn a_voice_that_nobody_has_is_unknown() {
    for voice in [
        "",
        "espeak",
        "espeak/",
        "espeak/../vi",
        "espeak/vi+f1",
        "espeak/VI",
        "x/vi",
        "test/slow-",
        "test/slow-600001",
    ] {
        let unknown = SpeechError::UnknownVoice {
            voice: voice.into(),
        };
        assert_eq!(refused(&request(voice, "a")), unknown);
    }
    let mut without = engines(false);
    let error = speak(
        &mut without,
        &request("test/silence", "a"),
        &mut Recorder::default(),
    );
    assert!(matches!(error, Err(SpeechError::UnknownVoice { .. })));
}

#[test]
fn test_silence_is_one_second_with_its_words_spread_evenly() {
    let (spoken, samples) = spoken(&request("test/silence", "Một hai. Ba bốn năm!"));
    assert_eq!(spoken.duration_ms, 1000);
    assert!(samples.iter().all(|sample| *sample == 0.0));
    let times: Vec<_> = spoken
        .words
        .iter()
        .map(|word| (word.start_ms, word.end_ms))
        .collect();
    assert_eq!(
        times,
        [(0, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
    );
}

#[test]
fn test_fail_fails_and_test_slow_can_be_canceled() {
    let failed = refused(&request("test/fail", "a"));
    assert!(matches!(failed, SpeechError::EngineFailed { .. }));

    let mut recorder = Recorder {
        stop_at: Some(0),
        ..Recorder::default()
    };
    let slow = request("test/slow-600000", "a");
    let error = speak(&mut engines(true), &slow, &mut recorder).unwrap_err();
    assert_eq!(error, SpeechError::Canceled);

    let began = std::time::Instant::now();
    assert_eq!(spoken(&request("test/slow-60", "a")).0.duration_ms, 1000);
    assert!(began.elapsed().as_millis() >= 60);
}

#[test]
fn a_bit_rate_that_the_voice_cannot_have_is_refused() {
    let mut asked = request("espeak/vi", "a");
    asked.output.format = Format::Mp3;
    asked.output.bitrate_kbps = 320;
    assert!(matches!(refused(&asked), SpeechError::EngineFailed { .. }));
}

/// The silences of at least 250 ms between two sounds, in milliseconds.
fn silences(text: &str) -> Vec<usize> {
    let mut recorder = Recorder::default();
    let asked = request("espeak/vi", text);
    let spoken = speak(&mut engines(false), &asked, &mut recorder).unwrap();
    let (rate, samples) = decode(recorder.file(&spoken.head));
    let loud = |sample: &f32| sample.abs() > 0.003_162;
    let first = samples.iter().position(loud).unwrap();
    let (mut silences, mut quiet) = (Vec::new(), 0);
    for sample in &samples[first..] {
        if loud(sample) {
            silences.push(quiet * 1000 / rate as usize);
            quiet = 0;
        } else {
            quiet += 1;
        }
    }
    silences.retain(|ms| *ms >= 250);
    silences
}

#[test]
fn the_pauses_between_sentences_and_paragraphs_are_ours() {
    let silences = silences("Một hai. Ba bốn!\n\nNăm sáu? Bảy tám.");
    let expected = [400, 800, 400];
    assert_eq!(silences.len(), expected.len(), "{silences:?}");
    for (silence, expected) in silences.iter().zip(expected) {
        assert!(silence.abs_diff(expected) <= 25, "{silences:?}");
    }
}

fn segment(voice: &str, text: &str) -> Segment {
    Request::plain(text, voice, Output::default())
        .segments
        .remove(0)
}

#[test]
fn a_dialogue_is_one_audio_whose_segments_and_words_can_be_told_apart() {
    let mut asked = request("espeak/vi", "Chào bạn.");
    asked.numbered = true;
    asked.segments[0].pause_after_ms = Some(1500);
    asked
        .segments
        .push(segment("espeak/en", "Hello. How are you?"));
    asked.segments.push(segment("test/silence", "..a.."));
    asked.segments[2].pause_after_ms = Some(700);
    let mut recorder = Recorder::default();
    let spoken = speak(&mut engines(true), &asked, &mut recorder).unwrap();

    let told: Vec<_> = spoken
        .words
        .iter()
        .map(|word| (word.segment, &*word.text))
        .collect();
    let expected = [
        (Some(0), "Chào"),
        (Some(0), "bạn"),
        (Some(1), "Hello"),
        (Some(1), "How"),
        (Some(1), "are"),
        (Some(1), "you"),
        (Some(2), "a"),
    ];
    assert_eq!(told, expected);
    let offsets: Vec<_> = spoken.words.iter().map(|word| word.char_start).collect();
    assert_eq!(offsets, [0, 5, 0, 7, 11, 15, 2]);
    let sentences: Vec<_> = spoken.words.iter().map(|word| word.sentence).collect();
    assert_eq!(sentences, [0, 0, 1, 2, 2, 2, 3]);

    let [vi, en, silence] = spoken.segments[..] else {
        panic!("{:?}", spoken.segments);
    };
    assert_eq!([vi.index, en.index, silence.index], [0, 1, 2]);
    // 70 ms of a pause are around the sentences.
    assert!((en.start_ms - vi.end_ms).abs_diff(1430) <= 1);
    // Nobody has asked for a pause before silence.
    assert_eq!(silence.start_ms, en.end_ms);
    assert!((silence.end_ms - silence.start_ms).abs_diff(1000) <= 1);
    assert!((spoken.duration_ms - silence.end_ms).abs_diff(630) <= 1);
    let gap = spoken.words[2].start_ms - spoken.words[1].end_ms;
    assert!(gap.abs_diff(1500) <= 60, "{gap}");
}

#[test]
fn the_sample_rate_can_be_chosen() {
    let asked = request("espeak/en", "One, two, three, four, five.");
    for rate in [8_000, 16_000, 48_000] {
        let mut other = asked.clone();
        other.output.sample_rate_hz = Some(rate);
        assert_eq!(spoken(&other).0.sample_rate_hz, rate);
    }
}

#[test]
fn files_are_as_loud_as_asked_whatever_their_format() {
    let text = "The ferry leaves twice a day. Yes! If you miss the last boat, there is a small \
        hotel behind the harbour, with a view of the whole bay and of the mountains beyond it.";
    for (format, lufs, tolerance) in [
        (Format::Wav, -16.0, 0.5),
        (Format::Mp3, -16.0, 0.5),
        (Format::Flac, -23.0, 0.5),
        // Here much must be limited, which cannot all be given back.
        (Format::Mp3, -14.0, 0.8),
    ] {
        let mut asked = request("espeak/en", text);
        asked.output.format = format;
        asked.output.loudness_lufs = lufs;
        let mut recorder = Recorder::default();
        let spoken = speak(&mut engines(false), &asked, &mut recorder).unwrap();
        let (rate, samples) = decode(recorder.file(&spoken.head));
        let mode = ebur128::Mode::I | ebur128::Mode::TRUE_PEAK;
        let mut meter = ebur128::EbuR128::new(1, rate, mode).unwrap();
        meter.add_frames_f32(&samples).unwrap();
        let off = meter.loudness_global().unwrap() - f64::from(lufs);
        let peak = 20.0 * meter.true_peak(0).unwrap().log10();
        assert!(
            off.abs() <= tolerance,
            "{} {lufs}: off by {off:.2} LU",
            format.name()
        );
        assert!(peak <= -1.0, "{} {lufs}: {peak:.2} dBTP", format.name());
    }
}

fn with_terms(voice: &str, text: &str, terms: &[(&str, &str)]) -> Request {
    let mut asked = request(voice, text);
    let one = |(term, phonemes): &(&str, &str)| Pronunciation {
        term: (*term).into(),
        said: Said::Phonemes((*phonemes).into()),
        match_case: false,
    };
    asked.segments[0].pronunciations = terms.iter().map(one).collect();
    asked
}

#[test]
fn espeak_says_its_own_phonemes_as_the_word_and_others_otherwise() {
    let text = "The nuclear option. \"Nuclear\" or (nuclear), nuclear? [[h@l'oU]] nuclear!";
    let of = |ipa: &str| spoken(&with_terms("espeak/en-us", text, &[("nuclear", ipa)])).0;
    let plain = spoken(&request("espeak/en-us", text)).0;
    let same = of("nˈuːklɪɹ");
    let near = |one: u64, other: u64| one.abs_diff(other) <= 60;
    assert_eq!(same.words.len(), plain.words.len());
    for (own, usual) in same.words.iter().zip(&plain.words) {
        assert_eq!(own.text, usual.text);
        let (own_ms, usual_ms) = (own.end_ms - own.start_ms, usual.end_ms - usual.start_ms);
        assert!(near(own_ms, usual_ms), "{own:?} {usual:?}");
    }
    let longer = of("nuːklɪˈɑːɹɪ nuːklɪˈɑːɹɪ");
    for (own, usual) in longer.words.iter().zip(&plain.words) {
        let (own_ms, usual_ms) = (own.end_ms - own.start_ms, usual.end_ms - usual.start_ms);
        match own.text.eq_ignore_ascii_case("nuclear") {
            true => assert!(own_ms > usual_ms + 400, "{own:?} {usual:?}"),
            false => assert!(near(own_ms, usual_ms), "{own:?} {usual:?}"),
        }
    }
}

#[test]
fn a_sentence_full_of_long_phonemes_keeps_the_times_of_its_words() {
    let text = "mot X hai X ba X bon X nam.";
    let ipa = format!("{} {}", "taːme".repeat(20), "taːme".repeat(19));
    let said = spoken(&with_terms("espeak/vi", text, &[("X", &ipa)])).0;
    let terms = said.words.iter().filter(|word| word.text == "X");
    let lengths: Vec<u64> = terms.map(|word| word.end_ms - word.start_ms).collect();
    // 80 vowels: no less than 80 ms each, and none is lost for the others.
    assert!(lengths.iter().all(|ms| *ms > 80 * 80), "{lengths:?}");
    let others = said.words.iter().filter(|word| word.text != "X");
    assert!(
        others
            .map(|word| word.end_ms - word.start_ms)
            .all(|ms| ms < 1000)
    );
}

#[test]
fn phonemes_that_a_voice_cannot_say_are_refused_before_anything_is_spoken() {
    let refused = |voice: &str, text: &str, ipa: &str| {
        let mut recorder = Recorder::default();
        let asked = with_terms(voice, text, &[("SQL", ipa)]);
        let result = speak(&mut engines(true), &asked, &mut recorder);
        assert!(recorder.bytes.is_empty() || result.is_ok());
        result.map(|_| ()).map_err(|error| error.to_string())
    };
    let told = refused("espeak/en-us", "Good. Use SQL.", "ˈsʘl").unwrap_err();
    for part in ["espeak/en-us", "/ˈsʘl/", "`SQL`", "`ʘ`", " ʃ ", "`say`"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let absent = refused("espeak/en-us", "Use SQLite.", "ˈsʘl");
    assert_eq!(absent, Ok(()), "only what the text has is looked at");
    assert_eq!(refused("test/silence", "SQL", "ˈsʘl"), Ok(()));
}
