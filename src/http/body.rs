//! Reading the body of a request, the only way there is: within its time, at no less
//! than a least rate, and within what all bodies and those of one address may hold.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use actix_web::web::{Bytes, Payload};
use actix_web::{HttpMessage, HttpRequest, http::header};
use futures_util::{Stream, StreamExt};
use hoiam_api::{Code, Problem};
use tokio::time::{Instant, timeout_at};

use super::ledger::{Address, Full, Hold, Ledger};

/// For so long a body may be slow, as where a packet is lost.
const GRACE: Duration = Duration::from_secs(10);
/// Bytes a second that a body must have brought beyond its grace, on the average.
const LEAST_RATE: u64 = 1_000;

/// What bodies may take. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BodyBounds {
    /// `limits.body_timeout_s`.
    pub timeout: Duration,
    /// The bytes of bodies that are held.
    pub ledger: Ledger,
}

/// The bounds for one request, which the edge leaves in its extensions.
#[derive(Clone, Debug)]
pub struct Account {
    /// Those of all.
    pub bounds: BodyBounds,
    /// Whose share it takes; `None` takes of nobody's.
    pub address: Option<Address>,
    /// How far the request's body was read.
    pub read: Rc<Cell<Progress>>,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// Nobody asked for it.
    #[default]
    None,
    /// Not to its end.
    Begun,
    /// To its end.
    Whole,
}

/// A whole body. What it holds counts until it is dropped.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Vec<u8>,
    hold: Option<Hold>,
}

impl Body {
    /// The same, changed.
    ///
    /// # Errors
    /// That of `change`.
    pub fn try_map(
        self,
        change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>, Problem>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            bytes: change(self.bytes)?,
            hold: self.hold,
        })
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 above the limit, 400 when it breaks off, 408 when it is too slow, 429 or 503
/// while its address, or all, have too much under way.
pub async fn read(request: &HttpRequest, payload: Payload, limit: usize) -> Result<Body, Problem> {
    let account = request.extensions().get::<Account>().cloned();
    let note = |progress| {
        if let Some(account) = &account {
            account.read.set(progress);
        }
    };
    note(Progress::Begun);
    let too_large = || {
        Problem::new(
            Code::TooLarge,
            format!("The body may have at most {limit} bytes."),
        )
    };
    let declared = request.headers().get(header::CONTENT_LENGTH);
    let declared: Option<usize> = declared.and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut body = Body {
        hold: account.as_ref().map(|account| account.take()).transpose()?,
        ..Body::default()
    };
    let mut pace = Pace::new(account.as_ref().map(|account| account.bounds.timeout));
    let mut payload = payload;
    while let Some(chunk) = pace.next(&mut payload).await? {
        if body.bytes.len() + chunk.len() > limit {
            return Err(too_large());
        }
        if let Some(hold) = &mut body.hold {
            hold.grow(chunk.len() as u64).map_err(too_much)?;
        }
        body.bytes.extend_from_slice(&chunk);
    }
    note(Progress::Whole);
    Ok(body)
}

impl Account {
    /// For a request of which nothing was read yet.
    #[must_use]
    pub fn new(bounds: BodyBounds, address: Option<Address>) -> Self {
        Self {
            bounds,
            address,
            read: Rc::default(),
        }
    }

    fn take(&self) -> Result<Hold, Problem> {
        let hold = self.bounds.ledger.take(self.address, 0);
        hold.map_err(too_much)
    }
}

/// The answer to what would hold too much.
fn too_much(full: Full) -> Problem {
    match full {
        Full::Address => Problem::new(
            Code::TooManyRequests,
            "The bodies under way from this address are too many bytes (limits.bodies_bytes). Send fewer at a time.",
        ),
        Full::All => Problem::new(
            Code::Unavailable,
            "The bodies under way are too many bytes (limits.bodies_bytes). Try again.",
        ),
    }
}

/// How fast a body comes.
struct Pace {
    began: Instant,
    timeout: Duration,
    received: u64,
}

impl Pace {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            began: Instant::now(),
            timeout: timeout.unwrap_or(Duration::MAX),
            received: 0,
        }
    }

    /// Until when the next bytes must have come; `None` where the clock has no such
    /// instant.
    fn until(&self) -> Option<Instant> {
        let earned = Duration::from_millis(self.received.saturating_mul(1_000) / LEAST_RATE);
        let allowed = GRACE.saturating_add(earned).min(self.timeout);
        self.began.checked_add(allowed)
    }

    /// The next bytes; `None` at the end. Bytes that are there are never too late.
    async fn next<E: std::fmt::Display>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, Problem> {
        let next = match self.until() {
            Some(until) => timeout_at(until, body.next())
                .await
                .map_err(|_| too_slow())?,
            None => body.next().await,
        };
        let chunk = next.transpose().map_err(|error| {
            Problem::new(Code::Malformed, format!("The body broke off: {error}."))
        })?;
        self.received += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }
}

fn too_slow() -> Problem {
    Problem::new(
        Code::BodyTooSlow,
        format!(
            "The body took too long: it must come within limits.body_timeout_s, and at {LEAST_RATE} bytes a second \
             after the first {} s. Send it again.",
            GRACE.as_secs()
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use tokio::time::sleep;

    use super::*;

    /// Reads a body of which `chunk` bytes come each second, and says how many came, and
    /// after how long it was given up.
    async fn read_slowly(chunk: usize, seconds: u64) -> (u64, Option<Duration>) {
        let mut body = Box::pin(stream::unfold(0, |second| async move {
            sleep(Duration::from_secs(1)).await;
            let bytes = Bytes::from(vec![b' '; chunk]);
            (second < seconds).then_some((Ok::<_, Infallible>(bytes), second + 1))
        }));
        let mut pace = Pace::new(Some(Duration::from_secs(60)));
        loop {
            match pace.next(&mut body).await {
                Ok(Some(_)) => {}
                Ok(None) => return (pace.received, None),
                Err(problem) => {
                    assert_eq!(problem.code, Code::BodyTooSlow);
                    return (pace.received, Some(pace.began.elapsed()));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_must_come_at_the_least_rate_and_within_its_time() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (chunk, length, received, given_up) in [
            (2_000, 50, 100_000, None),
            // Small ones may take their grace.
            (1, 9, 9, None),
            (1, 100, 10, seconds(10)),
            (0, 100, 0, seconds(10)),
            // Half of the rate lasts for nearly twice the grace.
            (500, 100, 9_500, seconds(19)),
            // No rate is good for longer than the whole may take.
            (2_000, 100, 120_000, seconds(60)),
        ] {
            let (came, after) = read_slowly(chunk, length).await;
            let after = after.map(|after| Duration::from_secs(after.as_secs()));
            assert_eq!(after, given_up, "{chunk} {length}");
            let near = came.abs_diff(received) <= chunk as u64;
            assert!(near, "{came} of {received}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_there_are_never_too_late() {
        let mut body = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"x"))]);
        let mut pace = Pace::new(Some(Duration::from_secs(1)));
        sleep(Duration::from_secs(100)).await;
        assert!(pace.next(&mut body).await.unwrap().is_some());
    }
}
