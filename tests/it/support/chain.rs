//! Both services as processes of their own, with a proxy on each way between
//! them, so that a test can break either.

use serde_json::{Value, json};

use super::http::Client;
use super::peer::Peer;
use super::service::{Service, Setup};

/// Backend → `to_tts` → TTS service → `to_backend` → Backend.
pub struct Chain {
    pub backend: Service,
    pub tts: Service,
    /// Hand-overs, pulls, fetches and abandons pass here.
    pub to_tts: Peer,
    /// Callbacks and their checks pass here.
    pub to_backend: Peer,
}

impl Chain {
    /// Starts both with the settings of tests.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(Service::backend(), Service::tts())
    }

    /// Starts both with settings of the test's own.
    #[track_caller]
    pub fn start_with(backend: Setup, tts: Setup) -> Self {
        let (to_tts, to_backend) = (Peer::proxy(), Peer::proxy());
        let tts = tts.start();
        to_tts.pass_on_to(tts.address());
        let backend = backend
            .set("backend.tts_url", to_tts.url(""))
            .set("backend.callback_base_url", to_backend.url(""))
            .start();
        to_backend.pass_on_to(backend.address());
        Self {
            backend,
            tts,
            to_tts,
            to_backend,
        }
    }

    /// A client of the Backend.
    pub fn client(&self) -> Client {
        self.backend.client()
    }

    /// Submits a task for a silent second and gives its path.
    #[track_caller]
    pub fn submit(&self, more: Value) -> String {
        submit(&self.client(), more)
    }

    /// The path of a task's speech.
    pub fn speech(task: &str) -> String {
        task.replace("/v1/tasks/", "/v1/speech/")
    }
}

/// Submits a task, a silent second unless `more` says otherwise; its path.
#[track_caller]
pub fn submit(client: &Client, more: Value) -> String {
    let mut body = json!({ "text": "Xin chào.", "voice": "test/silence", "format": "wav" });
    for (key, value) in more.as_object().expect("an object") {
        body[key] = value.clone();
    }
    let task = client.post("/v1/tasks", &body).expect(202).json();
    format!("/v1/tasks/{}", task["id"].as_str().expect("an id"))
}
