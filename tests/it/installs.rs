//! `hoiam voices install`, ended before it was done.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::cli::{assert_refused, hoiam, names_in};
use super::support::{Peer, Reaction, eventually};

const NAME: &str = "en_US-slow-low";

/// A list with one voice, whose model begins to come and never ends.
fn store() -> Peer {
    let entry = |bytes: u64| serde_json::json!({ "size_bytes": bytes, "md5_digest": "00" });
    let list = serde_json::json!({ NAME: { "files": {
        format!("a/{NAME}.onnx"): entry(1_000_000),
        format!("a/{NAME}.onnx.json"): entry(100),
    } } });
    let list = std::sync::Arc::new(list.to_string().into_bytes());
    let peer = Peer::receiver();
    peer.react(move |request| match request.path.as_str() {
        "/voices.json" => Reaction::Body(std::sync::Arc::clone(&list)),
        _ => Reaction::BytesThenSilence(
            "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nsome".to_owned(),
        ),
    });
    peer
}

/// An installation that has begun to write, and ignores no signal, whatever ignores
/// them here.
fn begun(folder: &Path, index: &str) -> Child {
    let child = Command::new("env")
        .arg("--default-signal=HUP,INT,TERM")
        .arg(env!("CARGO_BIN_EXE_hoiam"))
        .current_dir(folder)
        .args(["voices", "install", NAME, "--set", index])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("it has begun", || {
        let parts = std::fs::read_dir(folder.join("data/voices")).ok()?;
        let mut parts = parts.map(|part| part.unwrap().path());
        let model = parts.next()?.join(format!("{NAME}.onnx"));
        std::fs::metadata(model).ok().filter(|file| file.len() > 0)
    });
    child
}

#[test]
fn an_installation_that_is_ended_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let store = store();
    let index = format!("tts.voices_index={}", store.url("/voices.json"));
    let left = || names_in(&here.join("data/voices"));
    for signal in ["-TERM", "-INT", "-HUP"] {
        let child = begun(here, &index);
        let id = child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.unwrap().success());
        let ended = child.wait_with_output().unwrap();
        assert_refused(&ended, 1, "stopped by a signal");
        assert!(left().is_empty(), "{signal}: {:?}", left());
    }
    // Nothing can be done at such an end, but the next command does it, and leaves
    // alone what is still being written.
    let mut killed = begun(here, &index);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(left().len(), 1);
    let _ = hoiam(here, &["voices", "install", "--list", "--set", &index]);
    assert!(left().is_empty(), "{:?}", left());
    let mut alive = begun(here, &index);
    let _ = hoiam(here, &["voices", "install", "--list", "--set", &index]);
    assert_eq!(left().len(), 1);
    alive.kill().unwrap();
    alive.wait().unwrap();
}
