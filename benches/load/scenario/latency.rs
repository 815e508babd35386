//! How long one short text takes when nobody else asks for anything.

use std::time::{Duration, Instant};

use super::{PEER, Progress, body, result_of};
use crate::figure::{Figure, Goal, Samples};
use crate::http::{self, Connection};
use crate::receiver::Receiver;
use crate::sender::NUMBER;
use crate::service::{Role, Service};
use crate::{Options, Outcome};

/// Between two texts: the service has put the one before away.
const PAUSE: Duration = Duration::from_millis(50);

/// The service's first texts load the library and check the callback's URL.
const WARM_UP: usize = 3;

/// From before the POST until the callback is received.
pub async fn short(options: &Options) -> Outcome<Vec<Figure>> {
    let tries = if options.quick { 10 } else { 100 };
    let (mut hoiam, mut peer): (Waits, Waits) = Default::default();
    for round in 0..options.rounds {
        let service = Service::hoiam(options, Role::Tts, &[]).await?;
        wait_for_each("hoiam", service, tries, round, &mut hoiam).await?;
        if options.peers {
            let service = Service::fastapi_celery().await?;
            wait_for_each(PEER, service, tries, round, &mut peer).await?;
        }
    }
    let goal = Goal::no_more(25.0, 8.0);
    Ok(vec![
        Figure::new("one short text, idle, median", "ms", hoiam.medians, goal)
            .beside(PEER, peer.medians),
        Figure::new("one short text, idle, p99", "ms", hoiam.p99s, Goal::NONE)
            .beside(PEER, peer.p99s),
    ])
}

/// One sample of each for a round.
#[derive(Default)]
struct Waits {
    medians: Samples,
    p99s: Samples,
}

async fn wait_for_each(
    name: &str,
    service: Service,
    tries: usize,
    round: u16,
    waits: &mut Waits,
) -> Outcome<()> {
    let receiver = Receiver::start().await?;
    let mut connection = Connection::open(service.address).await?;
    let progress = Progress::begin(&format!("{tries} short texts, {name}"), round)?;
    let mut samples = Samples::default();
    for turn in 0..WARM_UP + tries {
        tokio::time::sleep(PAUSE).await;
        let body = body("espeak/vi", "mp3", "Xin chào các bạn.", &receiver.url);
        let body = body.replace(NUMBER, &turn.to_string());
        let waited = wait_for_one(&service, &mut connection, &receiver, &body).await?;
        if turn >= WARM_UP {
            samples.push(waited.as_secs_f64() * 1_000.0);
        }
    }
    let (median, p99) = (samples.median(), samples.percentile(99.0));
    progress.end(&format!("median {median:.1} ms, p99 {p99:.1} ms"))?;
    waits.medians.push(median);
    waits.p99s.push(p99);
    service.stop().await
}

async fn wait_for_one(
    service: &Service,
    connection: &mut Connection,
    receiver: &Receiver,
    body: &str,
) -> Outcome<Duration> {
    let request = http::post(service.path, body);
    let started = Instant::now();
    let answer = connection.exchange(&request).await?;
    if answer.status() != 202 {
        return Err(format!("POST {}: {}", service.path, answer.first_line()).into());
    }
    receiver.wait_for(1).await?;
    let callbacks = receiver.take();
    let callback = callbacks.first.first().ok_or("no callback came")?;
    result_of(callback)?;
    Ok(callback.at - started)
}
