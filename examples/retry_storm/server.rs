//! A server that handles a fixed number of requests per second, rejects the others, and fails during
//! an outage.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tokio::time::Instant;
use tower::Service;

#[derive(Clone)]
pub(crate) struct Server {
    started: Instant,
    /// The number of requests that it can handle in a second.
    capacity: usize,
    /// The seconds during which it fails.
    outage: Range<usize>,
    seconds: Arc<Mutex<Vec<Second>>>,
}

/// The number of requests that arrived in one second, and of those rejected.
#[derive(Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) arrived: usize,
    pub(crate) rejected: usize,
}

impl Server {
    /// Creates a server whose time starts now, by tokio's clock.
    pub(crate) fn new(capacity: usize, outage: Range<usize>) -> Self {
        Self { started: Instant::now(), capacity, outage, seconds: Arc::default() }
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        self.seconds.lock().expect("no thread panicked").clone()
    }

    fn status(&self) -> StatusCode {
        let now = usize::try_from(self.started.elapsed().as_secs()).expect("a short run");
        let mut seconds = self.seconds.lock().expect("no thread panicked");
        if seconds.len() <= now {
            seconds.resize(now + 1, Second::default());
        }
        let second = &mut seconds[now];
        second.arrived += 1;
        if self.outage.contains(&now) || second.arrived > self.capacity {
            second.rejected += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        StatusCode::OK
    }
}

impl Service<Request<()>> for Server {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(());
        *response.status_mut() = self.status();
        ready(Ok(response))
    }
}
