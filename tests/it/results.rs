//! What comes out: audio that an independent decoder reads, subtitles that an
//! independent parser reads, and times that fit the sound.

use serde_json::{Value, json};
use subtp::srt::SubRip;
use subtp::vtt::{VttBlock, WebVtt};
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

use super::support::http::Client;
use super::support::service::Service;

/// Below this a sample counts as silence: −50 dB of full scale.
const SILENCE: f32 = 0.003_162;

/// What an independent decoder makes of an audio file.
pub struct Decoded {
    rate: u32,
    pub samples: Vec<f32>,
}

impl Decoded {
    pub fn of(file: &[u8]) -> Self {
        let source = Box::new(std::io::Cursor::new(file.to_vec()));
        let stream = MediaSourceStream::new(source, Default::default());
        let mut format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), Default::default())
            .unwrap();
        let track = format.default_track(TrackType::Audio).unwrap();
        let codec = track.codec_params.as_ref().unwrap().audio().unwrap();
        let rate = codec.sample_rate.unwrap();
        let mut decoder = symphonia::default::get_codecs()
            .make_audio_decoder(codec, &AudioDecoderOptions::default())
            .unwrap();
        let (mut samples, mut part) = (Vec::new(), Vec::new());
        while let Some(packet) = format.next_packet().unwrap() {
            decoder
                .decode(&packet)
                .unwrap()
                .copy_to_vec_interleaved(&mut part);
            samples.append(&mut part);
        }
        Self { rate, samples }
    }

    fn ms(&self, samples: usize) -> i64 {
        i64::try_from(samples * 1000).unwrap() / i64::from(self.rate)
    }

    pub fn duration_ms(&self) -> i64 {
        self.ms(self.samples.len())
    }

    /// Whether anything is to be heard in each 5 ms.
    pub fn loud_every_5_ms(&self) -> Vec<bool> {
        let rate = self.rate as usize;
        let is_loud = |samples: &[f32]| samples.iter().any(|sample| sample.abs() > SILENCE);
        (0..self.samples.len() * 200 / rate)
            .map(|step| is_loud(&self.samples[step * rate / 200..(step + 1) * rate / 200]))
            .collect()
    }

    fn first_sound_ms(&self) -> i64 {
        self.ms(self
            .samples
            .iter()
            .position(|sample| sample.abs() > SILENCE)
            .unwrap())
    }

    fn last_sound_ms(&self) -> i64 {
        self.ms(self
            .samples
            .iter()
            .rposition(|sample| sample.abs() > SILENCE)
            .unwrap())
    }
}

#[derive(Debug)]
struct Cue {
    start_ms: i64,
    end_ms: i64,
    text: String,
}

fn ms(hours: u8, minutes: u8, seconds: u8, milliseconds: u16) -> i64 {
    ((i64::from(hours) * 60 + i64::from(minutes)) * 60 + i64::from(seconds)) * 1000
        + i64::from(milliseconds)
}

fn srt_cues(text: &str) -> Vec<Cue> {
    let parsed = SubRip::parse(text).unwrap();
    let cue = |cue: &subtp::srt::SrtSubtitle| Cue {
        start_ms: ms(
            cue.start.hours,
            cue.start.minutes,
            cue.start.seconds,
            cue.start.milliseconds,
        ),
        end_ms: ms(
            cue.end.hours,
            cue.end.minutes,
            cue.end.seconds,
            cue.end.milliseconds,
        ),
        text: cue.text.join("\n"),
    };
    parsed.subtitles.iter().map(cue).collect()
}

fn vtt_texts(text: &str) -> Vec<String> {
    let parsed = WebVtt::parse(text).unwrap();
    let texts = parsed.blocks.iter().filter_map(|block| match block {
        VttBlock::Que(cue) => Some(cue.payload.join("\n")),
        _ => None,
    });
    texts.collect()
}

fn without_white_space(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .collect()
}

pub fn spoken(client: &Client, body: &Value) -> Value {
    let created = client.post("/v1/speech", body).expect(202).json();
    let path = format!("/v1/speech/{}", created["id"].as_str().unwrap());
    client.wait_for_status(&path, "completed")
}

/// Speaks a text and checks everything that must hold for every text.
pub fn check(client: &Client, text: &str, format: &str, voice: Option<&str>) -> Value {
    let speech = spoken(
        client,
        &json!({ "text": text, "format": format, "voice": voice }),
    );
    let path = format!("/v1/speech/{}", speech["id"].as_str().unwrap());
    let audio = client.get(&format!("{path}/audio.{format}")).expect(200);
    assert_eq!(
        audio.body().len(),
        usize::try_from(speech["audio"]["bytes"].as_u64().unwrap()).unwrap()
    );
    let sound = Decoded::of(audio.body());
    let duration_ms = speech["audio"]["duration_ms"].as_i64().unwrap();
    assert!(
        (sound.duration_ms() - duration_ms).abs() <= 30,
        "{text}: {} {duration_ms}",
        sound.duration_ms()
    );

    let srt = client.get(&format!("{path}/subtitles.srt")).expect(200);
    let cues = srt_cues(srt.text());
    let (first, last) = (cues.first().unwrap(), cues.last().unwrap());
    assert!(
        (first.start_ms - sound.first_sound_ms()).abs() <= 100,
        "{text}: {first:?} {}",
        sound.first_sound_ms()
    );
    // The mp3 encoder smears the last sound by up to one of its blocks.
    assert!(
        last.end_ms >= sound.last_sound_ms() - 30,
        "{text}: {last:?} {}",
        sound.last_sound_ms()
    );
    assert!(last.end_ms <= duration_ms, "{text}: {last:?} {duration_ms}");
    for pair in cues.windows(2) {
        assert!(pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
    }
    let joined: String = cues.iter().map(|cue| cue.text.as_str()).collect();
    // SubRip knows no escapes, so an arrow that would look like a time line is
    // written as one character.
    let expected = without_white_space(text).replace("-->", "→");
    assert_eq!(without_white_space(&joined), expected);

    let vtt = client.get(&format!("{path}/subtitles.vtt")).expect(200);
    assert_eq!(vtt_texts(vtt.text()).len(), cues.len());

    let file = |name: &str| client.get(&format!("{path}/{name}")).expect(200);
    let karaoke = file("subtitles.karaoke.vtt");
    assert_eq!(vtt_texts(karaoke.text()).len(), cues.len());
    let ass = file("subtitles.ass").text().matches("\nDialogue: ").count();
    assert_eq!(ass, cues.len());
    let short = srt_cues(file("subtitles.short.srt").text());
    assert_eq!(
        vtt_texts(file("subtitles.short.vtt").text()).len(),
        short.len()
    );
    let ass = file("subtitles.short.ass")
        .text()
        .matches("\nDialogue: ")
        .count();
    assert_eq!(ass, short.len());

    let times = client.get(&format!("{path}/words.json")).expect(200).json();
    assert_eq!(times["duration_ms"], speech["audio"]["duration_ms"]);
    let marks = file("marks.jsonl")
        .text()
        .matches(r#""type":"word""#)
        .count();
    assert_eq!(marks, times["words"].as_array().unwrap().len());
    let characters: Vec<char> = text.chars().collect();
    for word in times["words"].as_array().unwrap() {
        let at = |name: &str| usize::try_from(word[name].as_u64().unwrap()).unwrap();
        let there: String = characters[at("char_start")..at("char_end")]
            .iter()
            .collect();
        assert_eq!(word["text"], there);
        assert!(at("start_ms") <= at("end_ms"));
    }
    speech
}

/// The words of a `words.json` as they are written.
fn shown(words: &Value) -> Vec<&str> {
    let words = words["words"].as_array().unwrap().iter();
    words.map(|word| word["text"].as_str().unwrap()).collect()
}

#[test]
fn vietnamese_with_tone_marks_and_english_words_in_it() {
    let service = Service::all().start();
    let text = "Xin chào các bạn! Hôm nay chúng ta nói về machine learning và deep learning. Giá là 1.500.000 đồng.";
    let speech = check(&service.client(), text, "mp3", None);
    assert_eq!(speech["resolved_voice"], "espeak/vi");
    assert_eq!(speech["language"], "vi");
}

#[test]
fn english_as_mp3_and_as_wav() {
    let service = Service::all().start();
    let text = "Good morning, everybody. It's 8:30, and the U.S. price is $3.14 - isn't it? See https://example.com/a?b=c.";
    let speech = check(&service.client(), text, "mp3", None);
    assert_eq!(speech["resolved_voice"], "espeak/en-us");
    check(&service.client(), text, "wav", None);
}

#[test]
fn decomposed_vietnamese_is_spoken_and_timed_as_it_was_sent() {
    use unicode_normalization::UnicodeNormalization;
    let service = Service::all().start();
    let sent: String = "Tiếng Việt có sáu thanh điệu.".nfd().collect();
    let speech = check(&service.client(), &sent, "wav", None);
    assert_eq!(speech["resolved_voice"], "espeak/vi");
}

#[test]
fn unusual_texts_are_spoken() {
    let service = Service::all().start();
    let client = service.client();
    for text in [
        "một",
        "a",
        "7",
        &"a".repeat(5000),
        "שלום עולם, مرحبا بالعالم",
        "tab\there\nand a\u{0}null\u{7}bell\u{200b}zero",
        "so 🙂 happy 🎉!",
        "<speak>&amp; [[h@'loU]] --> {x}",
        "Wait... what?! \"Quoted\" (in brackets) — dash.",
    ] {
        check(&client, text, "wav", None);
    }
}

#[test]
fn a_term_is_said_as_the_request_wants_and_shown_as_it_is_written() {
    let service = Service::all()
        .set("tts.pronunciations", "vi:SQL=ét quy eo rất là dài")
        .start();
    let client = service.client();
    let long = "một câu nói dài hơn nhiều so với ba chữ cái";
    let body = |pronunciations: Value| {
        json!({"text": "Dùng GPT nhé.", "voice": "espeak/vi", "format": "wav",
            "pronunciations": pronunciations})
    };
    let duration = |speech: &Value| speech["audio"]["duration_ms"].as_u64().unwrap();
    let plain = spoken(&client, &body(Value::Null));
    let said = spoken(&client, &body(json!([{"term": "gpt", "say": long}])));
    assert!(duration(&said) > duration(&plain) + 1000, "{said} {plain}");
    let words = client
        .get(&format!(
            "/v1/speech/{}/words.json",
            said["id"].as_str().unwrap()
        ))
        .expect(200)
        .json();
    assert_eq!(shown(&words), ["Dùng", "GPT", "nhé"]);

    // Over both services, and with what the configuration has for all.
    let create = json!({"text": "Dùng GPT và SQL.", "voice": "espeak/vi", "format": "wav",
        "pronunciations": [{"term": "GPT", "say": long}]});
    let task = client.post("/v1/tasks", &create).expect(202).json();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let task = client.wait_for_status(&path, "completed");
    assert!(duration(&task) > duration(&said) + 300, "{task} {said}");

    let faulty = json!([{"term": "a", "say": "!"}, {"term": "b"}, {"term": "", "say": "c"}]);
    let refused = client.post("/v1/tasks", &body(faulty)).expect(422).json();
    let pointers: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        [
            "/pronunciations/0/say",
            "/pronunciations/1",
            "/pronunciations/2/term"
        ]
    );
}

#[test]
fn phonemes_are_said_in_a_request_a_segment_and_the_configuration() {
    let service = Service::all()
        .set(
            "tts.pronunciations",
            "en:GUI=/ˌɡjuːwiːˌɡjuːwiːˌɡjuːwiːˈɡuːi/",
        )
        .start();
    let client = service.client();
    let duration = |speech: &Value| speech["audio"]["duration_ms"].as_u64().unwrap();
    let body = |pronunciations: Value| {
        json!({"text": "We use SQL now.", "voice": "espeak/en-us", "format": "wav",
            "pronunciations": pronunciations})
    };
    let term = |ipa: &str| json!([{"term": "sql", "phonemes": ipa}]);
    let plain = spoken(&client, &body(Value::Null));
    let short = spoken(&client, &body(term("ˈsiːkwəl")));
    let word = json!({"text": "We use sequel now.", "voice": "espeak/en-us", "format": "wav"});
    let word = spoken(&client, &word);
    assert!(
        duration(&short).abs_diff(duration(&word)) <= 25,
        "{short} {word}"
    );
    assert!(duration(&short) + 50 < duration(&plain), "{short} {plain}");
    let again = spoken(&client, &body(term("ˈsiːkwəl")));
    assert_eq!(again["cached"], true);
    assert_eq!(again["audio"]["sha256"], short["audio"]["sha256"]);
    let other = spoken(&client, &body(term("ˈsækwəl")));
    assert_eq!(other["cached"], false, "other phonemes are another sound");
    assert_ne!(other["audio"]["sha256"], short["audio"]["sha256"]);
    let path = format!("/v1/speech/{}", short["id"].as_str().unwrap());
    let words = client.get(&format!("{path}/words.json")).expect(200).json();
    assert_eq!(shown(&words), ["We", "use", "SQL", "now"]);
    let subtitle = client.get(&format!("{path}/subtitles.srt")).expect(200);
    assert!(subtitle.text().contains("We use SQL now."));

    // Over both services, for one segment of two, and from the configuration.
    let long = "siːkwəlsiːkwəlsiːkwəlˈsiːkwəl";
    let create = json!({"voice": "espeak/en-us", "format": "wav", "segments": [
        {"text": "SQL.", "pronunciations": [{"term": "SQL", "phonemes": long}]},
        {"text": "SQL."}, {"text": "GUI."}]});
    let task = client.post("/v1/tasks", &create).expect(202).json();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let task = client.wait_for_status(&path, "completed");
    let length = |at: usize| {
        let segment = &task["segments"][at];
        segment["end_ms"].as_u64().unwrap() - segment["start_ms"].as_u64().unwrap()
    };
    assert!(length(0) > length(1) + 300, "{task}");
    assert!(length(2) > length(1) + 300, "{task}");

    let strange = json!({"text": "SQL.", "voice": "espeak/en-us", "pronunciations": term("ʘu")});
    let task = client.post("/v1/tasks", &strange).expect(202).json();
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let failed = client.wait_for_status(&path, "failed");
    assert_eq!(failed["error"]["code"], "unknown_phonemes");
    let detail = failed["error"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("`SQL`") && detail.contains("`ʘ`"),
        "{detail}"
    );

    let both = json!([{"term": "a", "say": "b", "phonemes": "b"}]);
    let faulty = json!({"segments": [{"text": "a"}, {"text": "b", "pronunciations": both}],
        "pronunciations": term("/siː/")});
    for path in ["/v1/tasks", "/v1/speech"] {
        let refused = client.post(path, &faulty).expect(422).json();
        let told: Vec<(&str, &str)> = refused["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| {
                let text = |name: &str| error[name].as_str().unwrap();
                (text("pointer"), text("code"))
            })
            .collect();
        let expected = [
            ("/segments/1/pronunciations/0", "say_and_phonemes"),
            ("/pronunciations/0/phonemes", "invalid_phonemes"),
        ];
        assert_eq!(told, expected);
    }
}

#[test]
fn slower_speech_takes_longer() {
    let service = Service::all().start();
    let client = service.client();
    let duration = |speed: f64| {
        let speech = spoken(
            &client,
            &json!({ "text": "One two three four five six.", "speed": speed }),
        );
        speech["audio"]["duration_ms"].as_u64().unwrap()
    };
    assert!(duration(0.5) > duration(1.0) && duration(1.0) > duration(2.0));
}

#[test]
fn a_part_of_the_audio_can_be_asked_for_and_a_known_one_is_not_sent_again() {
    let service = Service::all().start();
    let client = service.client();
    let speech = spoken(
        &client,
        &json!({ "text": "Part of it.", "voice": "test/silence", "format": "wav" }),
    );
    let path = format!("/v1/speech/{}/audio.wav", speech["id"].as_str().unwrap());
    let whole = client.get(&path).expect(200);
    let part = client
        .send("GET", &path, &[("range", "bytes=0-3")], None)
        .expect(206);
    assert_eq!(part.body(), b"RIFF");
    let total = whole.body().len();
    assert_eq!(
        part.header("content-range"),
        Some(format!("bytes 0-3/{total}").as_str())
    );
    let tag = whole.header("etag").unwrap().to_owned();
    client
        .send("GET", &path, &[("if-none-match", &tag)], None)
        .expect(304);
    let behind = client.send("GET", &path, &[("range", "bytes=999999999-")], None);
    let size = format!("bytes */{total}");
    assert_eq!(behind.header("content-range"), Some(size.as_str()));
    behind.expect_problem(416, "range_not_satisfiable");
    for name in ["subtitles.srt", "marks.jsonl", "words.json"] {
        let path = path.replace("audio.wav", name);
        let known = client.get(&path).expect(200);
        let length = known.header("content-length").unwrap();
        assert_eq!(length, known.body().len().to_string());
        let known = known.header("etag").unwrap();
        assert_ne!(known, tag, "{name}");
        let asks = [("if-none-match", known)];
        client.send("GET", &path, &asks, None).expect(304);
    }
}

/// Resident memory of a process in bytes, without what it shares. `smaps_rollup` knows
/// better, and is closed to other processes of the same user.
#[track_caller]
fn own_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.map_or(0, |kibibytes| kibibytes * 1024)
}

fn own_memory_of_all(service: &Service) -> u64 {
    let system = service.client().get("/v1/system").expect(200).json();
    let actors = system["actors"].as_array().unwrap();
    let children = actors
        .iter()
        .flat_map(|actor| actor["children"].as_array().unwrap().clone());
    let pids = children.filter_map(|child| u32::try_from(child["pid"].as_u64()?).ok());
    pids.chain([service.pid()]).map(own_memory).sum()
}

#[test]
fn a_text_of_100_000_characters_is_spoken_with_bounded_memory_and_visible_progress() {
    let service = Service::all().start();
    let client = service.client();
    let sentence = "Đây là một câu tiếng Việt khá dài để thử giới hạn. ";
    let mut text = sentence.repeat(100_000 / sentence.chars().count());
    text.push('x');
    let created = client
        .post(
            "/v1/speech",
            // Evening out the loudness takes long in a program that is not optimised.
            &json!({ "text": text, "format": "wav", "loudness_lufs": 0 }),
        )
        .expect(202)
        .json();
    let path = format!("/v1/speech/{}", created["id"].as_str().unwrap());
    let (mut most, mut progress) = (0, Vec::<u64>::new());
    // However long it takes, it goes on.
    let done = loop {
        let so_far = progress.last().copied();
        let speech = super::support::eventually("the long text goes on", || {
            most = most.max(own_memory_of_all(&service));
            let speech = client.get(&path).expect(200).json();
            if let Some(done) = speech["progress"]["sentences_done"].as_u64() {
                progress.push(done);
            }
            let goes_on = progress.last().copied() > so_far || speech["audio"].is_object();
            goes_on.then_some(speech)
        });
        if speech["audio"].is_object() {
            break speech;
        }
    };
    assert!(most < 300 * 1024 * 1024, "{most} bytes at most");
    progress.dedup();
    assert!(progress.len() > 2 && progress.is_sorted(), "{progress:?}");
    assert!(
        done["audio"]["duration_ms"].as_u64().unwrap() > 3_600_000,
        "{}",
        done["audio"]
    );
    let srt = client.get(&format!("{path}/subtitles.srt")).expect(200);
    assert!(srt_cues(srt.text()).len() > 1000);
}
