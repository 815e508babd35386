//! How much a second: submissions, speeches, tasks, seconds of audio.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{PEER, Progress, Spoken, body, result_of, silence, speak};
use crate::figure::{Figure, Goal, Samples};
use crate::http::{self, Connection};
use crate::receiver::Receiver;
use crate::sender::{CONNECTIONS, Load, Until};
use crate::service::{Role, Service, peer_script};
use crate::{Options, Outcome};

/// Both engines and both encoders write mp3 at this constant rate.
const BYTES_A_SECOND_OF_MP3: f64 = 64_000.0 / 8.0;

/// 7.8 s long as libespeak-ng 1.51 speaks it.
pub const VIETNAMESE: &str = "Hồi âm nhận văn bản và trả lại giọng nói. Bạn gửi một câu, \
    dịch vụ đọc câu ấy thành tiếng rồi gọi lại cho bạn khi tệp âm thanh sẵn sàng.";

/// `POST /v1/speech` over 64 connections, workers running, each with a callback to
/// come. "At least" is relative to the peer; the aim is half of what the same
/// server answers to a POST that it reads to the end and refuses: no row, no fsync.
pub async fn submissions(options: &Options) -> Outcome<Vec<Figure>> {
    let time = Duration::from_secs(if options.quick { 1 } else { 10 });
    let (mut hoiam, mut refused, mut peer) = Default::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::Tts, &[]).await?;
        refused_submissions(&service, time, round, &mut refused).await?;
        accepted_submissions("hoiam", service, time, round, &mut hoiam).await?;
        if options.peers {
            let service = Service::fastapi_celery().await?;
            accepted_submissions(PEER, service, time, round, &mut peer).await?;
        }
    }
    let name = format!("submissions, {CONNECTIONS} connections");
    let beside_refusals = Figure::new(
        &name,
        "a second",
        hoiam.clone(),
        Goal::times_the_other(None, Some(0.5)),
    );
    let beside_peer = Figure::new(
        &name,
        "a second",
        hoiam,
        Goal::times_the_other(Some(5.0), None),
    );
    Ok(vec![
        beside_peer.beside(PEER, peer),
        beside_refusals.beside("POST refused with 422", refused),
    ])
}

async fn accepted_submissions(
    name: &str,
    service: Service,
    time: Duration,
    round: u16,
    samples: &mut Samples,
) -> Outcome<()> {
    let receiver = Receiver::start().await?;
    let body = silence(&receiver.url);
    let load = |body| Load::new(service.address, service.path, body);
    load(body.clone()).send(Until::Passed(time / 10)).await?;
    let progress = Progress::begin(&format!("submissions, {name}"), round)?;
    let rate = load(body).send(Until::Passed(time)).await?.rate();
    progress.end(&format!("{rate:.0} a second"))?;
    samples.push(rate);
    service.stop().await
}

async fn refused_submissions(
    service: &Service,
    time: Duration,
    round: u16,
    samples: &mut Samples,
) -> Outcome<()> {
    // As long as an accepted one, but of a format that does not exist.
    let body = silence("http://127.0.0.1:9/callback").replace("\"wav\"", "\"waw\"");
    let progress = Progress::begin("refused POSTs", round)?;
    let load = Load {
        expect: 422,
        ..Load::new(service.address, service.path, body)
    };
    let rate = load.send(Until::Passed(time / 2)).await?.rate();
    progress.end(&format!("{rate:.0} a second"))?;
    samples.push(rate);
    Ok(())
}

/// The TTS service alone: from the first POST to the last callback of a batch of
/// one-second silences, each written to disk and told by a signed callback. The
/// peer's null engine writes no file.
pub async fn speeches(options: &Options) -> Outcome<Vec<Figure>> {
    let (hoiam_count, peer_count) = if options.quick {
        (500, 100)
    } else {
        (6_000, 1_500)
    };
    let (mut hoiam, mut peer) = Default::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::Tts, &[]).await?;
        whole_batch("hoiam", service, hoiam_count, round, &mut hoiam).await?;
        if options.peers {
            let service = Service::fastapi_celery().await?;
            whole_batch(PEER, service, peer_count, round, &mut peer).await?;
        }
    }
    let goal = Goal::times_the_other(Some(8.0), Some(25.0));
    Ok(vec![
        Figure::new("speeches, TTS service alone", "a second", hoiam, goal).beside(PEER, peer),
    ])
}

/// Both services: task, hand-over, speech, callback, files fetched, the client's
/// callback.
pub async fn chain(options: &Options) -> Outcome<Vec<Figure>> {
    let count = if options.quick { 300 } else { 10_000 };
    let mut hoiam = Samples::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::All, &[]).await?;
        whole_batch("hoiam, both services", service, count, round, &mut hoiam).await?;
    }
    let goal = Goal::no_less(250.0, 1_000.0);
    Ok(vec![Figure::new(
        "tasks, full chain",
        "a second",
        hoiam,
        goal,
    )])
}

async fn whole_batch(
    name: &str,
    service: Service,
    count: u64,
    round: u16,
    samples: &mut Samples,
) -> Outcome<()> {
    let receiver = Receiver::start().await?;
    let body = silence(&receiver.url);
    speak(
        &service,
        service.path,
        &receiver,
        count.div_ceil(50),
        body.clone(),
    )
    .await?;
    let progress = Progress::begin(&format!("a batch of {count}, {name}"), round)?;
    let spoken = speak(&service, service.path, &receiver, count, body).await?;
    let rate = count as f64 / spoken.took.as_secs_f64();
    progress.end(&format!("{rate:.0} a second"))?;
    audio_is_there(&service, &spoken).await?;
    samples.push(rate);
    service.stop().await
}

/// Fetches one result, so that no service is measured that only says it is done.
/// The peer offers no files.
async fn audio_is_there(service: &Service, spoken: &Spoken) -> Outcome<()> {
    let last = spoken.callbacks.last().ok_or("no callback came")?;
    let result = result_of(last)?;
    let audio = &result["audio"];
    let Some(url) = audio["url"].as_str() else {
        return Ok(());
    };
    let path = url
        .split_once("://")
        .and_then(|(_, rest)| Some(&rest[rest.find('/')?..]))
        .ok_or_else(|| format!("audio.url is {url}"))?;
    let mut connection = Connection::open(service.address).await?;
    let answer = connection.exchange(&http::get(path)).await?;
    let length = answer.body.len() as u64;
    if answer.status() != 200 || audio["bytes"].as_u64() != Some(length) {
        let first_line = answer.first_line();
        return Err(format!("{path}: {first_line}, {length} bytes, but said {audio}").into());
    }
    Ok(())
}

/// Seconds of audio a second with espeak and LAME's default quality at 64 kbit/s:
/// a short text, where starting up counts, and a long one. One ruler for all three:
/// the bytes of mp3 that came out.
pub async fn espeak(options: &Options) -> Outcome<Vec<Figure>> {
    let (short_count, long_count) = if options.quick { (20, 2) } else { (600, 40) };
    let long = format!("{VIETNAMESE}\n\n").repeat(16);
    let mut figures = espeak_with("7.8 s text", VIETNAMESE, short_count, options).await?;
    figures.extend(espeak_with("2 min text", &long, long_count, options).await?);
    Ok(figures)
}

async fn espeak_with(
    what: &str,
    text: &str,
    count: u64,
    options: &Options,
) -> Outcome<Vec<Figure>> {
    let (mut hoiam, mut peer, mut bare) = Default::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::Tts, &[]).await?;
        seconds_of_audio("hoiam", service, text, count, round, &mut hoiam).await?;
        if options.peers {
            let service = Service::fastapi_celery().await?;
            seconds_of_audio(PEER, service, text, count / 2, round, &mut peer).await?;
            bare_loop(text, count, round, &mut bare).await?;
        }
    }
    let name = format!("audio seconds, espeak mp3, {what}");
    let limit = Goal::times_the_other(Some(0.85), Some(0.97));
    let figure = |goal| Figure::new(&name, "a second", hoiam.clone(), goal);
    let mut figures = vec![figure(limit).beside("bare loop", bare)];
    if options.peers {
        figures.push(figure(Goal::NONE).beside(PEER, peer));
    }
    Ok(figures)
}

async fn seconds_of_audio(
    name: &str,
    service: Service,
    text: &str,
    count: u64,
    round: u16,
    samples: &mut Samples,
) -> Outcome<()> {
    let receiver = Receiver::start().await?;
    let body = body("espeak/vi", "mp3", text, &receiver.url);
    // The first texts load the library.
    speak(&service, service.path, &receiver, 4, body.clone()).await?;
    let progress = Progress::begin(&format!("{count} texts, {name}"), round)?;
    let spoken = speak(&service, service.path, &receiver, count, body).await?;
    let mut bytes = 0;
    for callback in &spoken.callbacks {
        let result = result_of(callback)?;
        bytes += result["audio"]["bytes"].as_u64().ok_or("no audio.bytes")?;
    }
    let rate = audio_rate(bytes, spoken.took);
    let each = bytes as f64 / BYTES_A_SECOND_OF_MP3 / count as f64;
    progress.end(&format!(
        "{rate:.0} audio seconds a second, {each:.2} s each"
    ))?;
    audio_is_there(&service, &spoken).await?;
    samples.push(rate);
    service.stop().await
}

async fn bare_loop(text: &str, count: u64, round: u16, samples: &mut Samples) -> Outcome<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let progress = Progress::begin(&format!("{count} texts, bare loop"), round)?;
    let started = Instant::now();
    let output = peer_script("bare_loop.sh")
        .arg(file.path())
        .arg(count.to_string())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    let took = started.elapsed();
    if !output.status.success() {
        return Err(format!("bare_loop.sh ended with {}", output.status).into());
    }
    let rate = audio_rate(String::from_utf8(output.stdout)?.trim().parse()?, took);
    progress.end(&format!("{rate:.0} audio seconds a second"))?;
    samples.push(rate);
    Ok(())
}

fn audio_rate(bytes_of_mp3: u64, took: Duration) -> f64 {
    bytes_of_mp3 as f64 / BYTES_A_SECOND_OF_MP3 / took.as_secs_f64()
}
