use std::net::{Ipv4Addr, SocketAddr};

use hoiam_text::Said;

use super::*;

const KEY: &str = "0123456789abcdef";
const SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn from_file(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_sources(Some((Path::new("hoiam.toml"), text)), &[], &[])
}

fn from_flags(flags: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_sources(None, &[], &pairs(flags))
}

/// The only error there is, as text.
fn only_error(result: Result<Config, ConfigErrors>) -> String {
    let errors = result.unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    errors.0[0].to_string()
}

#[test]
fn the_reference_alone_is_a_valid_configuration() {
    let config = from_flags(&[]).unwrap();
    assert_eq!(config.role, Role::All);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:4640");
    assert_eq!(config.server.public_url.as_str(), "http://127.0.0.1:4640/");
    assert_eq!(config.backend.tts_url, config.server.public_url);
    assert_eq!(config.backend.callback_base_url, config.server.public_url);
    assert_eq!(config.backend.task_timeout_s, 3_600);
    assert_eq!(config.tts.default_timeout_s, 86_400);
    assert_eq!(config.tts.max_characters, 100_000);
    assert_eq!(config.tts.default_voices["vi"], "espeak/vi");
    assert_eq!(config.callback.hold_s, 900);
    assert_eq!(config.links.ttl_s, 48 * 3_600);
    assert_eq!(config.retention.files_s, 7 * 86_400);
    assert_eq!(config.retention.rows_s, 30 * 86_400);
    assert_eq!(config.limits.body_bytes, 2 << 20);
    assert_eq!(config.limits.audio_bytes, 4_000_000_000);
    assert_eq!(config.limits.min_free_bytes, 100_000_000);
    assert!(config.tts.workers >= 1 && config.server.workers >= 1);
    assert!(config.data_dir.is_absolute());
}

#[test]
fn the_default_schedule_is_12_attempts_over_23_h_21_min() {
    let callback = from_flags(&[]).unwrap().callback;
    assert_eq!(callback.schedule.len(), 12);
    assert_eq!(in_words(callback.schedule_total_s()), "23 h 21 min 26 s");
}

#[test]
fn later_layers_win_and_each_value_knows_its_source() {
    let file = "[tts]\nmax_attempts = 5\nworkers = 3\n\n[callback]\nhold_s = \"10 min\"\n";
    let config = Config::from_sources(
        Some((Path::new("hoiam.toml"), file)),
        &pairs(&[
            ("HOIAM__TTS__WORKERS", "4"),
            ("HOIAM__QUEUE__MAX_JOBS", "7"),
            ("HOME", "x"),
        ]),
        &pairs(&[("queue.max_jobs", "8")]),
    )
    .unwrap();
    assert_eq!((config.tts.max_attempts, config.tts.workers), (5, 4));
    assert_eq!((config.queue.max_jobs, config.callback.hold_s), (8, 600));
    let source = |key| config.source(key).unwrap().to_string();
    assert_eq!(source("tts.max_attempts"), "hoiam.toml:2");
    assert_eq!(source("callback.hold_s"), "hoiam.toml:6");
    assert_eq!(source("tts.workers"), "env HOIAM__TTS__WORKERS");
    assert_eq!(source("queue.max_jobs"), "flag");
    assert_eq!(source("server.listen"), "derived");
    assert_eq!(source("links.ttl_s"), "default");
}

#[test]
fn lists_and_tables_are_written_with_commas_where_there_is_one_line() {
    let config = from_flags(&[
        ("callback.schedule", "0, 1,5 min"),
        ("callback.allow_cidrs", "10.0.0.0/8,192.168.1.7"),
        ("tts.aliases", "linh=espeak/vi, joe=piper/en_US-joe-medium"),
        ("tts.default_voices.fr", "espeak/fr"),
    ])
    .unwrap();
    let seconds: Vec<u64> = config
        .callback
        .schedule
        .iter()
        .map(Duration::as_secs)
        .collect();
    assert_eq!(seconds, [0, 1, 300]);
    assert_eq!(config.callback.allow_cidrs[1].to_string(), "192.168.1.7/32");
    assert_eq!(config.tts.aliases["joe"], "piper/en_US-joe-medium");
    let languages: Vec<&str> = config
        .tts
        .default_voices
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        languages,
        ["en", "fr", "vi"],
        "one language set leaves the others"
    );
}

#[test]
fn origins_of_pages_are_kept_as_browsers_write_them() {
    let given = "https://App.example.com/,http://localhost:5173,https://a.example:443";
    let config = from_flags(&[("server.cors_origins", given)]).unwrap();
    let expected = [
        "https://app.example.com",
        "http://localhost:5173",
        "https://a.example",
    ];
    assert_eq!(config.server.cors_origins, expected);
    for wrong in [
        "*",
        "null",
        "app.example.com",
        "https://a.example/page",
        "https://user@a.example",
        "https://a.example/?x",
        "file:///tmp/page.html",
    ] {
        let told = only_error(from_flags(&[("server.cors_origins", wrong)]));
        assert!(told.contains("the origin of a page"), "{told}");
    }
}

#[test]
fn what_is_said_for_a_term_is_words_or_phonemes_between_slashes() {
    let config = from_flags(&[
        ("tts.pronunciations", "GPT=gi pi ti, vi:SQL=/ˈsiːkwəl/"),
        ("tts.pronunciations.piper/x:km/h", "cây số"),
    ])
    .unwrap();
    let said = config.tts.pronunciations;
    assert_eq!(said["GPT"], Said::Words("gi pi ti".into()));
    assert_eq!(said["vi:SQL"], Said::Phonemes("ˈsiːkwəl".into()));
    assert_eq!(said["piper/x:km/h"], Said::Words("cây số".into()));
    let told = |key: &str, value: &str| {
        let key = format!("tts.pronunciations.{key}");
        let errors = from_flags(&[(&key, value)]).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert_eq!(errors.0[0].key, key);
        errors.to_string()
    };
    let not_ipa = told("vi:SQL", "/s'i:/");
    assert!(not_ipa.contains("marks of stress and length"), "{not_ipa}");
    let of_all = told("SQL", "/siː/");
    assert!(of_all.contains("\"vi:SQL\""), "{of_all}");
    let table = told("vi:SQL.phonemes", "siː");
    assert!(table.contains("phonemes between slashes"), "{table}");
    let both = from_file("[tts.pronunciations]\nSQL = '/siː/'\n'vi:SQL' = { phonemes = 'siː' }");
    assert_eq!(both.unwrap_err().0.len(), 2, "all are told at once");
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let empty = pairs(&[
        ("HOIAM__TTS__WORKERS", ""),
        ("HOIAM__CALLBACK__SCHEDULE", " "),
    ]);
    let config = Config::from_sources(None, &empty, &[]).unwrap();
    assert_eq!(config.callback.schedule.len(), 12);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name_in_its_own_spelling() {
    let told = only_error(from_file("[tts]\nwokers = 2\n"));
    assert_eq!(
        told,
        "tts.wokers (hoiam.toml:2): there is no such key; did you mean tts.workers?"
    );

    let variable = pairs(&[("HOIAM__CALLBAK__HOLD_S", "1")]);
    let told = only_error(Config::from_sources(None, &variable, &[]));
    assert!(
        told.ends_with("did you mean HOIAM__CALLBACK__HOLD_S?"),
        "{told}"
    );

    let told = only_error(from_flags(&[("listen", "127.0.0.1:1")]));
    assert!(told.ends_with("did you mean server.listen?"), "{told}");

    let told = only_error(from_file("[weather]\nrain = true\n"));
    assert!(told.contains("hoiam config"), "{told}");
}

#[test]
fn every_error_is_told_at_once_with_key_source_and_what_is_allowed() {
    let errors = from_flags(&[
        ("tts.wokers", "2"),
        ("role", "bakend"),
        ("server.listen", "localhost"),
        ("callback.schedule", "1,2 fortnights,x"),
        ("queue.max_bytes", "1 PB"),
        ("tts.aliases.linh", "vi"),
        ("callback.total_timeout_s", "2"),
        ("retention.rows_s", "1 h"),
    ])
    .unwrap_err();
    let keys: Vec<&str> = errors.0.iter().map(|error| error.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "tts.wokers",
            "role",
            "server.listen",
            "tts.aliases.linh",
            "queue.max_bytes",
            "callback.schedule",
            "callback.schedule",
        ]
    );
    assert!(
        errors
            .0
            .iter()
            .all(|error| error.source == Some(Source::Flag))
    );
    assert!(
        errors
            .to_string()
            .contains(r#"role (flag): "bakend" is not allowed; it must be "all""#)
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let told = only_error(from_file("[tts]\nworkers = = 2\n"));
    assert!(
        told.contains("hoiam.toml") && told.contains("line 2"),
        "{told}"
    );
}

#[test]
fn a_list_where_one_value_belongs_is_refused() {
    let told = only_error(from_file("[tts]\nworkers = [1, 2]\n"));
    assert!(told.contains("one value, not a list"), "{told}");
}

#[test]
fn role_tts_alone_listens_on_its_own_port_and_role_backend_looks_for_it_there() {
    let alone = |role| from_flags(&[("role", role), ("callback.secrets", SECRET)]).unwrap();
    assert_eq!(alone("tts").server.listen.port(), 4641);
    assert_eq!(alone("backend").server.listen.port(), 4640);
    assert_eq!(
        alone("backend").backend.tts_url.as_str(),
        "http://127.0.0.1:4641/"
    );
}

#[test]
fn a_role_that_runs_alone_needs_a_secret() {
    let told = only_error(from_flags(&[("role", "tts")]));
    assert!(told.starts_with("callback.secrets: is required"), "{told}");
    assert!(told.contains("head -c 32 /dev/urandom"), "{told}");
}

#[test]
fn secrets_and_api_keys_are_checked_and_never_repeated() {
    let errors = from_flags(&[
        ("callback.secrets", "whsec_c2hvcnQ=,secret-of-mine"),
        ("server.api_keys", "too-short"),
        ("backend.tts_api_key", "with white space in it"),
        ("alerts.callback_url", "example.com/path-of-mine"),
    ])
    .unwrap_err();
    assert_eq!(errors.0.len(), 5, "{errors}");
    for part in [
        "path-of-mine",
        "c2hvcnQ",
        "secret-of-mine",
        "too-short",
        "white space in",
    ] {
        assert!(!errors.to_string().contains(part), "{errors}");
    }
}

#[test]
fn default_headers_are_checked_as_those_of_requests_and_never_repeated() {
    let config = from_flags(&[("callback.default_headers.X-Key", "a, b")]).unwrap();
    let sent = [("x-key".to_owned(), "a, b".to_owned())];
    assert_eq!(config.callback.default_headers.to_vec(), sent);
    for (name, value) in [("host", "of-mine"), ("x-key", "of-mine\r\nx: y")] {
        let key = format!("callback.default_headers.{name}");
        let told = only_error(from_flags(&[(&key, value)]));
        assert!(told.starts_with(&key), "{told}");
        assert!(!told.contains("of-mine"), "{told}");
    }
}

#[test]
fn listings_hide_every_secret() {
    let config = from_flags(&[
        ("callback.default_headers.authorization", "Bearer of-mine"),
        ("callback.secrets", SECRET),
        ("server.api_keys", KEY),
        ("backend.tts_api_key", "another-key-of-16"),
        ("alerts.callback_url", "https://example.com/path-of-mine"),
    ])
    .unwrap();
    let shown = serde_json::to_string(&config.rows()).unwrap() + &format!("{config:?}");
    for hidden in [SECRET, KEY, "another-key-of-16", "of-mine"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
    let secrets = config
        .rows()
        .into_iter()
        .find(|row| row.key == "callback.secrets")
        .unwrap();
    assert_eq!(
        secrets.value,
        Value::List(vec!["whsec_…(hidden)".to_owned()])
    );
}

#[test]
fn in_role_all_the_backend_uses_the_first_api_key_only_where_it_speaks_to_another() {
    let keys = format!("{KEY},{KEY}-two");
    let key = |more: &[(&str, &str)]| {
        let flags = [&[("server.api_keys", keys.as_str())], more].concat();
        let key = from_flags(&flags).unwrap().backend.tts_api_key;
        key.map(|key| key.reveal().to_owned())
    };
    let elsewhere = ("backend.tts_url", "http://192.0.2.1:4641");
    let callbacks = ("backend.callback_base_url", "http://192.0.2.2:4640");
    assert_eq!(key(&[]), None);
    assert_eq!(key(&[elsewhere, callbacks]).as_deref(), Some(KEY));
    let alone = [("role", "backend"), ("callback.secrets", SECRET)];
    assert_eq!(key(&alone), None);
}

#[test]
fn a_file_of_keys_protects_a_listener_as_a_configured_key_does() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        ("server.listen", "0.0.0.0:80"),
        ("server.public_url", "http://example.com"),
        ("data_dir", folder.path().to_str().unwrap()),
    ];
    let told = only_error(from_flags(&flags));
    assert!(told.contains("hoiam keys add"), "{told}");
    std::fs::write(folder.path().join("keys.json"), r#"{"keys":[]}"#).unwrap();
    assert!(from_flags(&flags).unwrap().asks_for_keys());
    let of_backend = ("backend.tts_api_key", KEY);
    let alone = [("role", "tts"), ("callback.secrets", SECRET), of_backend];
    assert!(from_flags(&alone).unwrap().asks_for_keys());
    assert!(!from_flags(&[of_backend]).unwrap().asks_for_keys());
}

#[test]
fn others_are_served_only_with_a_key_or_a_clear_word() {
    let open = [
        ("server.listen", "0.0.0.0:80"),
        ("server.public_url", "http://example.com"),
    ];
    let told = only_error(from_flags(&open));
    assert!(told.contains("there is no API key"), "{told}");
    for word in [
        ("server.api_keys", KEY),
        ("server.allow_unauthenticated", "true"),
    ] {
        let mut flags = open.to_vec();
        flags.push(word);
        assert!(from_flags(&flags).is_ok());
    }
}

#[test]
fn a_wildcard_listener_needs_a_public_url() {
    let mut flags = vec![("server.listen", "[::]:80"), ("server.api_keys", KEY)];
    let told = only_error(from_flags(&flags));
    assert!(told.starts_with("server.public_url: is required"), "{told}");

    flags.push(("server.public_url", "https://example.com/voice"));
    let config = from_flags(&flags).unwrap();
    assert_eq!(
        config.server.public_url.as_str(),
        "https://example.com/voice/"
    );
    assert_eq!(
        config.backend.callback_base_url.as_str(),
        "http://[::1]/",
        "to itself by loopback"
    );
}

#[test]
fn a_backend_whose_tts_service_is_elsewhere_says_where_it_is_itself() {
    let mut flags = vec![
        ("role", "backend"),
        ("callback.secrets", SECRET),
        ("backend.tts_url", "http://tts.internal:4641"),
    ];
    let told = only_error(from_flags(&flags));
    assert!(
        told.starts_with("backend.callback_base_url: is required"),
        "{told}"
    );
    flags.push(("backend.callback_base_url", "http://backend.internal:4640"));
    assert!(from_flags(&flags).is_ok());
}

#[test]
fn port_0_becomes_the_bound_port_in_everything_derived_from_it() {
    let bound = SocketAddr::from((Ipv4Addr::LOCALHOST, 39_999));
    let config = from_flags(&[("server.listen", "127.0.0.1:0")])
        .unwrap()
        .bound(bound);
    let own = "http://127.0.0.1:39999/";
    assert_eq!(config.server.listen, bound);
    assert_eq!(config.server.public_url.as_str(), own);
    assert_eq!(config.backend.callback_base_url.as_str(), own);
    assert_eq!(config.backend.tts_url.as_str(), own);
    let row = config
        .rows()
        .into_iter()
        .find(|row| row.key == "backend.tts_url")
        .unwrap();
    assert_eq!(row.value, Value::One(own.to_owned()));

    let given = [
        ("server.listen", "127.0.0.1:0"),
        ("backend.tts_url", "http://127.0.0.1:1"),
    ];
    let config = from_flags(&given).unwrap().bound(bound);
    assert_eq!(
        config.backend.tts_url.as_str(),
        "http://127.0.0.1:1/",
        "what was given stays"
    );
}

#[test]
fn windows_that_contradict_each_other_are_refused_with_the_arithmetic() {
    let told = only_error(from_flags(&[("links.ttl_s", "84085")]));
    assert!(
        told.contains("add up to 23 h 21 min 26 s") && told.contains("84086"),
        "{told}"
    );
    assert!(from_flags(&[("links.ttl_s", "84086")]).is_ok());

    let told = only_error(from_flags(&[("retention.files_s", "87685")]));
    assert!(
        told.contains("1 d 21 min 26 s") && told.contains("87686"),
        "{told}"
    );
    assert!(from_flags(&[("retention.files_s", "87686")]).is_ok());

    let told = only_error(from_flags(&[("retention.rows_s", "6 d")]));
    assert!(
        told.contains("is 6 d, shorter than retention.files_s, which is 7 d"),
        "{told}"
    );

    let told = only_error(from_flags(&[("callback.total_timeout_s", "4")]));
    assert!(
        told.contains("is 4 s, shorter than callback.connect_timeout_s"),
        "{told}"
    );

    let told = only_error(from_file("callback.schedule = []\n"));
    assert!(told.contains("no callback would ever be sent"), "{told}");
}

#[test]
fn the_library_of_onnx_runtime_is_a_file_or_nothing() {
    assert_eq!(from_flags(&[]).unwrap().tts.onnxruntime_library, None);
    let named = from_flags(&[("tts.onnxruntime_library", "/lib/libonnxruntime.so")]);
    let library = named.unwrap().tts.onnxruntime_library.unwrap();
    assert_eq!(library, Path::new("/lib/libonnxruntime.so"));
}
