//! Work that is too long for the threads that serve: who is served by one of them would
//! wait for it.

use std::num::NonZero;
use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, web};
use tokio::sync::Semaphore;

use super::body::Body;
use crate::contract::{Code, Problem};

/// A body of so many bytes is read where it came: that takes less than a millisecond.
const SMALL: usize = 16 << 10;

/// Threads for such work, as many as half of the machine's cores. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool(Arc<Semaphore>);

impl Default for Pool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(cores.div_ceil(2))))
    }
}

/// What `read` makes of a body; where the body is large, on a thread of its own when it
/// is its turn.
///
/// # Errors
/// That of `read`; 503 while the service stops.
pub async fn read_body<T: Send + 'static>(
    request: &HttpRequest,
    body: Body,
    read: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let pool = request.app_data::<Data<Pool>>().map(Data::get_ref);
    let Some(Pool(threads)) = pool.filter(|_| body.len() > SMALL) else {
        return read(&body);
    };
    let thread = Arc::clone(threads).acquire_owned().await;
    let thread = thread.map_err(|_| Problem::new(Code::Unavailable, "It is stopping."))?;
    // The thread is taken for as long as it works, whether or not anybody waits.
    let work = web::block(move || {
        let _thread = thread;
        read(&body)
    });
    work.await
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))?
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[actix_rt::test]
    async fn large_bodies_are_read_by_other_threads_than_those_that_serve() {
        let pool = Data::new(Pool::default());
        let request = TestRequest::default().app_data(pool).to_http_request();
        let reads = async |bytes| {
            let body = Body::default().try_map(|_| Ok(vec![b' '; bytes])).unwrap();
            let read = |body: &[u8]| Ok((body.len(), std::thread::current().id()));
            read_body(&request, body, read).await.unwrap()
        };
        let here = std::thread::current().id();
        assert_eq!(reads(SMALL).await, (SMALL, here));
        let (length, thread) = reads(SMALL + 1).await;
        assert_eq!(length, SMALL + 1);
        assert_ne!(thread, here);
    }
}
