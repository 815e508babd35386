//! How late deadlines fire.

use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};

use super::Progress;
use super::throughput::VIETNAMESE;
use crate::figure::{Figure, Goal, Samples};
use crate::http::{self, Connection};
use crate::receiver::{BlackHole, Receiver};
use crate::sender::{Load, NUMBER, Until};
use crate::service::{Role, SECRET, Service};
use crate::{Options, Outcome};

/// One task in so many asks to be told, so that lateness is also seen from outside.
const TOLD: usize = 20;

/// How long after the last deadline to wait for the last task to time out.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is sent.
struct Plan {
    /// Open when the first deadline comes; those that are due are among them.
    open: u64,
    /// How many of them time out.
    due: u64,
    due_a_second: u32,
    timeout: Duration,
}

const FULL: Plan = Plan {
    open: 100_000,
    due: 10_000,
    due_a_second: 1_000,
    timeout: Duration::from_secs(15),
};

const QUICK: Plan = Plan {
    open: 2_000,
    due: 500,
    due_a_second: 500,
    timeout: Duration::from_secs(3),
};

/// The Backend alone, with a TTS service that takes connections and never answers:
/// tasks reach their deadline at an even rate amid many that are open for hours.
/// Late is `ended_at` − `deadline_at`, as the service itself reports them.
pub async fn deadlines(options: &Options) -> Outcome<Vec<Figure>> {
    let plan = if options.quick { QUICK } else { FULL };
    let (mut medians, mut p99s, mut most, mut told_p99s): (Samples, Samples, Samples, Samples) =
        Default::default();
    for round in 0..options.rounds {
        let black_hole = BlackHole::start().await?;
        let settings = [("HOIAM__BACKEND__TTS_URL", black_hole.url.as_str())];
        let service = Service::hoiam(options, Role::Backend, &settings).await?;
        let receiver = Receiver::start().await?;
        let progress = Progress::begin(&format!("deadlines, {} open tasks", plan.open), round)?;
        open_tasks(&service, plan.open - plan.due).await?;
        let_time_out(&service, &receiver, &plan).await?;
        let late = lateness_by_the_service(&service, &plan).await?;
        let told = lateness_by_the_receiver(&receiver, &plan).await?;
        progress.end(&format!(
            "late by {:.0} ms in the median, {:.0} ms p99",
            late.median(),
            late.percentile(99.0)
        ))?;
        medians.push(late.median());
        p99s.push(late.percentile(99.0));
        most.push(late.most());
        told_p99s.push(told.percentile(99.0));
        service.stop().await?;
    }
    let of = plan.open;
    let name = |what| format!("deadlines late, {of} open, {what}");
    Ok(vec![
        Figure::new(name("median"), "ms", medians, Goal::NONE),
        Figure::new(name("p99"), "ms", p99s, Goal::no_more(100.0, 20.0)),
        Figure::new(name("most"), "ms", most, Goal::NONE),
        Figure::new(
            name("p99 of callbacks received"),
            "ms",
            told_p99s,
            Goal::NONE,
        ),
    ])
}

/// Submits tasks that stay open for one to three hours.
pub async fn open_tasks(service: &Service, count: u64) -> Outcome<()> {
    let load = Load {
        bodies: open_for_hours(),
        ..Load::new(service.address, service.path, String::new())
    };
    load.send(Until::Sent(count)).await?;
    Ok(())
}

/// Bodies of tasks that stay open for one to three hours.
pub fn open_for_hours() -> Vec<String> {
    let hours = 3_600..10_800;
    let bodies = hours.step_by(97).map(|timeout_s| task(timeout_s, None));
    bodies.collect()
}

/// Submits the tasks that are due as evenly as they are to fall due, and waits
/// until the last one's deadline.
async fn let_time_out(service: &Service, receiver: &Receiver, plan: &Plan) -> Outcome<()> {
    let timeout_s = plan.timeout.as_secs();
    let mut bodies = vec![task(timeout_s, None); TOLD];
    bodies[0] = task(timeout_s, Some(&receiver.url));
    let load = Load {
        bodies,
        per_second: Some(plan.due_a_second),
        ..Load::new(service.address, service.path, String::new())
    };
    let sent = load.send(Until::Sent(plan.due)).await?;
    if sent.rate() < 0.9 * f64::from(plan.due_a_second) {
        eprintln!("  only {:.0} are due a second", sent.rate());
    }
    tokio::time::sleep(plan.timeout).await;
    Ok(())
}

/// A task that ends by its deadline, if nobody speaks it.
pub fn task(timeout_s: u64, callback_url: Option<&str>) -> String {
    json!({
        "text": VIETNAMESE, "voice": "espeak/vi", "timeout_s": timeout_s,
        "reference": NUMBER, "callback_url": callback_url,
    })
    .to_string()
}

async fn lateness_by_the_service(service: &Service, plan: &Plan) -> Outcome<Samples> {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let tasks = timed_out_tasks(service).await?;
        if tasks.len() as u64 >= plan.due {
            return tasks
                .iter()
                .map(|task| {
                    Ok(milliseconds(&task["ended_at"])? - milliseconds(&task["deadline_at"])?)
                })
                .collect();
        }
        if Instant::now() > give_up_at {
            return Err(format!("{} of {} tasks timed out", tasks.len(), plan.due).into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn timed_out_tasks(service: &Service) -> Outcome<Vec<Value>> {
    let mut connection = Connection::open(service.address).await?;
    let first_page = format!("{}?status=timed_out&limit=500", service.path);
    let mut page = first_page.clone();
    let mut tasks = Vec::new();
    loop {
        let answer = connection.exchange(&http::get(&page)).await?;
        let mut list = answer.json()?;
        let Value::Array(items) = list["items"].take() else {
            return Err(format!("GET {page}: {}", answer.first_line()).into());
        };
        tasks.extend(items);
        match list["next_cursor"].as_str() {
            Some(cursor) => page = format!("{first_page}&cursor={cursor}"),
            None => return Ok(tasks),
        }
    }
}

/// By the driver's own clock, with the callback's way included.
async fn lateness_by_the_receiver(receiver: &Receiver, plan: &Plan) -> Outcome<Samples> {
    let told = usize::try_from(plan.due)?.div_ceil(TOLD);
    receiver.wait_for(told).await?;
    let (wall, instant) = (crate::report::now(), Instant::now());
    let wall = wall.timestamp_millis() as f64;
    let received = receiver.take().first;
    received
        .iter()
        .map(|callback| {
            let event = callback.open(SECRET)?;
            if event["type"] != "task.timed_out" {
                return Err(format!("a callback says {event}").into());
            }
            let ago = (instant - callback.at).as_secs_f64() * 1_000.0;
            Ok(wall - ago - milliseconds(&event["data"]["deadline_at"])?)
        })
        .collect()
}

/// A time of the contract in milliseconds since the epoch.
fn milliseconds(time: &Value) -> Outcome<f64> {
    let text = time.as_str().ok_or("a time is missing")?;
    Ok(DateTime::parse_from_rfc3339(text)?.timestamp_millis() as f64)
}
