//! What it costs a service that many wait for news of it.

use std::time::Duration;

use super::Progress;
use super::lateness::{open_for_hours, task};
use crate::figure::{Figure, Goal, Samples};
use crate::http::{self, Connection};
use crate::receiver::BlackHole;
use crate::sender::{CONNECTIONS, Load, NUMBER, Until};
use crate::service::{Role, Service};
use crate::{Options, Outcome};

/// How many wait, one half of them by an event stream, the other by `Prefer: wait`.
const WAITERS: usize = 1_000;
/// The longest wait that is granted; what is measured meanwhile takes less.
const WAIT_S: u64 = 60;

/// `POST /v1/tasks` to the Backend alone, with a TTS service that takes connections and
/// never answers, so that nobody's wait ends: before, while, and after a thousand wait.
pub async fn waiters(options: &Options) -> Outcome<Vec<Figure>> {
    let time = Duration::from_secs(if options.quick { 1 } else { 8 });
    let (mut with, mut without): (Samples, Samples) = Default::default();
    for round in 0..options.rounds {
        let black_hole = BlackHole::start().await?;
        let settings = [("HOIAM__BACKEND__TTS_URL", black_hole.url.as_str())];
        let service = Service::hoiam(options, Role::Backend, &settings).await?;
        rate(&service, time / 4).await?;
        let progress = Progress::begin(&format!("{WAITERS} waiters"), round)?;
        let before = rate(&service, time).await?;
        let waiters = wait(&service).await?;
        let meanwhile = rate(&service, time).await?;
        drop(waiters);
        let after = rate(&service, time).await?;
        progress.end(&format!(
            "{meanwhile:.0} a second, {before:.0} before and {after:.0} after"
        ))?;
        with.push(meanwhile);
        without.push(before);
        without.push(after);
        service.stop().await?;
    }
    let name = format!("submissions, {CONNECTIONS} connections, {WAITERS} waiters");
    let goal = Goal::times_the_other(Some(0.9), None);
    Ok(vec![
        Figure::new(name, "a second", with, goal).beside("nobody waits", without),
    ])
}

async fn rate(service: &Service, time: Duration) -> Outcome<f64> {
    let load = Load {
        bodies: open_for_hours(),
        ..Load::new(service.address, service.path, String::new())
    };
    Ok(load.send(Until::Passed(time)).await?.rate())
}

/// Connections that wait, each for a task of its own.
async fn wait(service: &Service) -> Outcome<Vec<Connection>> {
    let mut waiting = Vec::with_capacity(WAITERS);
    let mut submitting = Connection::open(service.address).await?;
    for number in 0..WAITERS / 2 {
        let body = task(3_600, None).replace(NUMBER, &format!("watched {number}"));
        let accepted = submitting
            .exchange(&http::post(service.path, &body))
            .await?;
        let id = accepted.json()?;
        let id = id["id"].as_str().ok_or("a task has no id")?;
        let path = format!("{}/{id}/events", service.path);
        let mut stream = Connection::open(service.address).await?;
        let accept = "Accept: text/event-stream";
        stream
            .write(&http::with_header(http::get(&path), accept))
            .await?;
        let head = stream.head().await?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(format!("{path}: {head}").into());
        }
        waiting.push(stream);
    }
    let open = open_tasks(&mut submitting).await? + (WAITERS / 2) as u64;
    for number in 0..WAITERS / 2 {
        let body = task(3_600, None).replace(NUMBER, &format!("awaited {number}"));
        let prefer = format!("Prefer: wait={WAIT_S}");
        let request = http::with_header(http::post(service.path, &body), &prefer);
        let mut wait = Connection::open(service.address).await?;
        wait.write(&request).await?;
        waiting.push(wait);
    }
    while open_tasks(&mut submitting).await? < open {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(waiting)
}

/// How many tasks have not ended.
async fn open_tasks(connection: &mut Connection) -> Outcome<u64> {
    let metrics = connection.exchange(&http::get("/metrics")).await?;
    let metrics = String::from_utf8(metrics.body)?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("hoiam_open{service=\"backend\"} "));
    Ok(line.ok_or("/metrics has no hoiam_open")?.parse()?)
}
