//! A server that handles a fixed number of requests per second, turns the others away, and fails for a
//! while.

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
    /// How many requests it can handle in a second.
    capacity: usize,
    /// The seconds during which it fails.
    outage: Range<usize>,
    seconds: Arc<Mutex<Vec<Second>>>,
}

/// How many requests arrived in one second, and how many were turned away.
#[derive(Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) arrived: usize,
    pub(crate) rejected: usize,
}

impl Server {
    /// Needs tokio's clock.
    pub(crate) fn new(capacity: usize, outage: Range<usize>) -> Self {
        Self { started: Instant::now(), capacity, outage, seconds: Arc::default() }
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        self.seconds.lock().expect("no thread panicked").clone()
    }

    fn answer(&self) -> StatusCode {
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
        *response.status_mut() = self.answer();
        ready(Ok(response))
    }
}
