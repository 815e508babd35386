//! Work that is too long for the threads that serve: who is served by one of them would
//! wait for it.

use std::collections::HashMap;
use std::error::Error;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest};
use hoiam_api::{Code, Problem};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

use super::body::{Account, Body};
use super::ledger::{Address, Full, Hold, Ledger};
use crate::locks::lock;

/// A body of so many bytes is read where it came: that takes less than a millisecond.
const SMALL: usize = 16 << 10;
/// Requests that may wait for their turn, and those of one address: waiting costs no
/// more than their connections and bodies do.
const MOST_IN_LINE: u64 = 1_024;
const MOST_IN_LINE_EACH: u64 = MOST_IN_LINE / 4;

/// Threads for such work, as many as half of the machine's cores. Cheap to clone.
///
/// Of one address only as many as there are threads are in the line for them, and the
/// others stand behind those: so who comes with one is not behind all of somebody else's.
#[derive(Clone, Debug)]
pub struct Pool {
    most: usize,
    threads: Arc<Semaphore>,
    of_address: Arc<Mutex<HashMap<Address, Arc<Semaphore>>>>,
    line: Ledger,
}

impl Default for Pool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self::new(cores.div_ceil(2))
    }
}

/// A turn to work.
#[derive(Debug)]
pub struct Turn {
    _thread: OwnedSemaphorePermit,
    _of_address: Option<OwnedSemaphorePermit>,
    _in_line: Hold,
}

impl Pool {
    fn new(most: usize) -> Self {
        Self {
            most,
            threads: Arc::new(Semaphore::new(most)),
            of_address: Arc::default(),
            line: Ledger::new(MOST_IN_LINE, MOST_IN_LINE_EACH),
        }
    }

    /// That of the service.
    ///
    /// # Errors
    /// 500 where it has none.
    pub fn of(request: &HttpRequest) -> Result<&Self, Problem> {
        let pool = request.app_data::<Data<Self>>().map(Data::get_ref);
        pool.ok_or_else(|| Problem::new(Code::Internal, "There are no threads for this."))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// 429 or 503 while its address has, or all have, too much waiting.
    pub async fn turn(&self, address: Option<Address>) -> Result<Turn, Problem> {
        let in_line = self.line.take(address, 1).map_err(|full| match full {
            Full::Address => Problem::new(
                Code::TooManyRequests,
                format!(
                    "At most {MOST_IN_LINE_EACH} large bodies and files to be rendered may wait for one address. Send \
                     fewer at a time."
                ),
            ),
            Full::All => Problem::new(
                Code::Unavailable,
                "Too many large bodies and files to be rendered are waiting. Try again.",
            ),
        })?;
        // Nobody closes them.
        let closed = |error: AcquireError| Problem::new(Code::Internal, error.to_string());
        let of_address = match address {
            Some(address) => Some(self.share(address).acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        Ok(Turn {
            _thread: thread.map_err(closed)?,
            _of_address: of_address,
            _in_line: in_line,
        })
    }

    fn share(&self, address: Address) -> Arc<Semaphore> {
        let mut shares = lock(&self.of_address);
        // Of those that have neither a turn nor wait for one nothing has to be known.
        shares.retain(|_, share| Arc::strong_count(share) > 1);
        let share = shares.entry(address);
        let share = share.or_insert_with(|| Arc::new(Semaphore::new(self.most)));
        Arc::clone(share)
    }
}

/// Whose share a request takes.
pub fn address(request: &HttpRequest) -> Option<Address> {
    request.extensions().get::<Account>()?.address
}

/// What `work` comes to on a thread of its own, which gives way to those that serve. The
/// turn lasts for as long as that works, whether or not anybody waits.
///
/// # Errors
/// That of `work`; 500 where no thread does it.
///
/// # Panics
/// Where `work` does.
pub async fn work<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let (done, answer) = oneshot::channel();
    let no_thread = |error: &dyn Error| {
        Problem::new(
            Code::Internal,
            format!("There is no thread for this: {error}"),
        )
    };
    // Not one of the runtime's: a thread that gives way does so for good.
    let thread = std::thread::Builder::new()
        .name("http-pool".to_owned())
        .spawn(move || {
            give_way();
            let outcome = catch_unwind(AssertUnwindSafe(work));
            drop(turn);
            // Nobody may wait any more.
            let _ = done.send(outcome);
        });
    thread.map_err(|error| no_thread(&error))?;
    let outcome = answer.await.map_err(|error| no_thread(&error))?;
    // Whoever serves the request says which one it was.
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// This thread gets a third of what another one does where both want a core: five steps
/// of niceness weigh 335 against 1,024 (`sched_prio_to_weight` of Linux).
fn give_way() {
    // SAFETY: nice takes no pointer, and on Linux it is for the calling thread alone. To be
    // nicer is allowed to everybody.
    #[expect(unsafe_code, reason = "std has no call for it")]
    let _ = unsafe { libc::nice(5) };
}

/// What `read` makes of a body; where the body is large, on a thread of its own when it
/// is its turn.
///
/// # Errors
/// Those of `read`, [`Pool::of`] and [`Pool::turn`].
pub async fn read_body<T: Send + 'static>(
    request: &HttpRequest,
    body: Body,
    read: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let pool = Pool::of(request)?;
    if body.len() <= SMALL {
        return read(&body);
    }
    let turn = pool.turn(address(request)).await?;
    work(turn, move || read(&body)).await
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use actix_web::test::TestRequest;
    use futures_util::FutureExt as _;

    use super::*;

    fn large() -> Body {
        let body = Body::default().try_map(|_| Ok(vec![b' '; SMALL + 1]));
        body.unwrap()
    }

    fn request() -> HttpRequest {
        let pool = Data::new(Pool::default());
        TestRequest::default().app_data(pool).to_http_request()
    }

    #[actix_rt::test]
    async fn large_bodies_are_read_by_other_threads_than_those_that_serve() {
        let request = request();
        let reads = async |body| {
            let read = |body: &[u8]| Ok((body.len(), std::thread::current().id()));
            read_body(&request, body, read).await.unwrap()
        };
        let here = std::thread::current().id();
        let small = large().try_map(|body| Ok(body[1..].to_vec())).unwrap();
        assert_eq!(reads(small).await, (SMALL, here));
        let (length, thread) = reads(large()).await;
        assert_eq!(length, SMALL + 1);
        assert_ne!(thread, here);
    }

    #[actix_rt::test]
    async fn threads_that_read_give_way_to_those_that_serve() {
        let request = request();
        let niceness = |_: &[u8]| {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 19th field; the second may have blanks within its parentheses.
            let behind_name = stat.rsplit_once(") ").unwrap().1;
            let niceness = behind_name.split(' ').nth(16).unwrap();
            Ok(niceness.parse::<i32>().unwrap())
        };
        let here = niceness(&[]).unwrap();
        let there = read_body(&request, large(), niceness).await.unwrap();
        assert_eq!(there, (here + 5).min(19));
    }

    #[actix_rt::test]
    async fn a_panic_of_a_reader_is_one_of_the_thread_that_serves() {
        let request = request();
        let read = read_body(&request, large(), |_| -> Result<(), _> { panic!("odd") });
        let panic = AssertUnwindSafe(read).catch_unwind().await.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"odd"));
    }

    #[actix_rt::test]
    async fn without_threads_nothing_is_read() {
        let request = TestRequest::default().to_http_request();
        let refused = read_body(&request, Body::default(), |_| Ok(())).await;
        assert_eq!(refused.unwrap_err().code, Code::Internal);
    }

    fn address(text: &str) -> Option<Address> {
        let ip: IpAddr = text.parse().unwrap();
        Some(ip.into())
    }

    #[test]
    fn one_address_has_a_part_of_the_line_and_who_leaves_makes_room() {
        let pool = Pool::new(1);
        let one = address("192.0.2.1");
        let first = pool.turn(one).now_or_never().unwrap().unwrap();
        let waiting = (1..MOST_IN_LINE_EACH).map(|_| {
            let mut turn = Box::pin(pool.turn(one));
            assert!(
                turn.as_mut().now_or_never().is_none(),
                "there is one thread"
            );
            turn
        });
        let mut waiting: Vec<_> = waiting.collect();
        let code = |address| {
            let turn = pool.turn(address).now_or_never();
            turn.map(|turn| turn.err().map(|problem| problem.code))
        };
        assert_eq!(code(one), Some(Some(Code::TooManyRequests)));
        assert_eq!(code(address("192.0.2.2")), None, "another's waits");
        waiting.pop();
        assert_eq!(code(one), None);
        drop(first);
        let next = waiting.first_mut().unwrap().as_mut().now_or_never();
        assert!(next.unwrap().is_ok(), "whoever came first is next");
    }

    #[test]
    fn who_comes_with_one_is_not_behind_all_of_another_address() {
        const THREADS: usize = 3;
        let pool = Pool::new(THREADS);
        let [many, one] = ["192.0.2.1", "192.0.2.2"].map(address);
        let works: Vec<Turn> = (0..THREADS)
            .map(|_| {
                pool.turn(many)
                    .now_or_never()
                    .expect("alone it has all")
                    .unwrap()
            })
            .collect();
        let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(pool.turn(many))).collect();
        let mut other = Box::pin(pool.turn(one));
        let mut has_turn = || {
            let of_many = waiting
                .iter_mut()
                .any(|turn| turn.as_mut().now_or_never().is_some());
            (of_many, other.as_mut().now_or_never().map(Result::unwrap))
        };
        assert!(matches!(has_turn(), (false, None)));
        drop(works);
        let (_, turn) = has_turn();
        assert!(turn.is_some(), "it is next");
        drop(turn);
        drop((waiting, other));
        assert!(pool.turn(one).now_or_never().is_some());
        assert_eq!(
            pool.of_address.lock().unwrap().len(),
            1,
            "who has gone is forgotten"
        );
    }
}
