//! How long a long text takes by a neural voice on an idle service: by one worker, by
//! two who share it, and once more after one of its sentences has changed.

use super::neural::{ENGLISH, NAME, VOICES, look_for_voice};
use super::{Progress, body, speak};
use crate::figure::{Figure, Goal, Samples};
use crate::receiver::Receiver;
use crate::service::{Role, Service};
use crate::{Options, Outcome};

/// So many times the text of 14 s.
const TIMES: usize = 5;

/// What is kept of the sentences; by default the driver turns the cache off.
const CACHE: &str = "1 GB";

/// Beside two workers one; beside a changed text the same when it was new.
pub async fn long(options: &Options) -> Outcome<Vec<Figure>> {
    look_for_voice()?;
    let (mut alone, mut shared) = (Samples::default(), Samples::default());
    let (mut new, mut changed) = (Samples::default(), Samples::default());
    for round in 0..options.rounds {
        alone.push(seconds(options, "1", "0", round, 1).await?[0]);
        shared.push(seconds(options, "2", "0", round, 1).await?[0]);
        let kept = seconds(options, "1", CACHE, round, 2).await?;
        new.push(kept[0]);
        changed.push(kept[1]);
    }
    let figure = |name: &str, ours, other: &'static str, others| {
        let name = format!("a text of 68 s by a neural voice, {name}: POST to callback");
        Figure::new(name, "s", ours, Goal::NONE).beside(other, others)
    };
    Ok(vec![
        figure("two idle workers", shared, "one worker", alone),
        figure("one sentence changed, one worker", changed, "new", new),
    ])
}

/// The times of so many texts, one after another, each of which differs from the one
/// before in one sentence. The first of all, which is not counted, loads the network.
async fn seconds(
    options: &Options,
    workers: &str,
    cache: &str,
    round: u16,
    texts: usize,
) -> Outcome<Vec<f64>> {
    let settings = [
        ("HOIAM__TTS__VOICES_DIR", VOICES),
        ("HOIAM__TTS__WORKERS", workers),
        ("HOIAM__CACHE__MAX_BYTES", cache),
    ];
    let service = Service::hoiam(options, Role::Tts, &settings).await?;
    let receiver = Receiver::start().await?;
    let body = |text: &str| body(&format!("piper/{NAME}"), "mp3", text, &receiver.url);
    let first = body("The network is loaded.");
    speak(&service, service.path, &receiver, 2, first).await?;
    let mut seconds = Vec::new();
    for number in 0..texts {
        let text = text(number);
        let progress = Progress::begin(&format!("text {number}, workers: {workers}"), round)?;
        let spoken = speak(&service, service.path, &receiver, 1, body(&text)).await?;
        seconds.push(spoken.took.as_secs_f64());
        progress.end(&format!("{:.1} s", spoken.took.as_secs_f64()))?;
    }
    service.stop().await?;
    Ok(seconds)
}

/// No sentence stands there twice, or it would come from the cache at once.
fn text(number: usize) -> String {
    let part = |part: usize| {
        ENGLISH
            .replace("ferry", &format!("ferry {part}"))
            .replace("visitors", &format!("visitors of {part}"))
            .replace("last boat", &format!("last boat of {part}"))
    };
    let parts: Vec<String> = (1..=TIMES).map(part).collect();
    parts
        .join(" ")
        .replace("ferry 3", &format!("ferry 3{number}"))
}
