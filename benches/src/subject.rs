//! Measured services as trait objects.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::marker::PhantomData;
use std::mem::size_of;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Service;

use crate::content::Content;

/// A service of requests with body `B` that can be measured.
pub trait Serves<B>:
    Service<Request<B>, Response = Response<()>, Future: Send> + Clone + Send + 'static
{
}

impl<B, S> Serves<B> for S where
    S: Service<Request<B>, Response = Response<()>, Future: Send> + Clone + Send + 'static
{
}

/// Outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Rejected,
    /// Still pending when the caller drops the future.
    Waiting,
}

/// When each of the tasks that share one state clones the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloned {
    ATask,
    ACall,
}

/// Sizes of a service and its future, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub service: usize,
    pub future: usize,
}

impl Sizes {
    pub fn of<B, S: Service<Request<B>>>(_: &S) -> Self {
        Self { service: size_of::<S>(), future: size_of::<S::Future>() }
    }
}

/// Number of tasks that share one state.
pub const TASKS: u32 = 64;

/// Limit of time for all tasks, far above the normal time: on two threads, calls of tower-resilience's
/// open circuit sometimes don't end.
const LONGEST: Duration = Duration::from_secs(1);

/// A service that is measured.
pub trait Subject: Send {
    /// Makes this number of calls, one after the other, of a service that was cloned once.
    ///
    /// # Panics
    ///
    /// If a call ends in an unexpected outcome.
    fn call(&mut self, calls: u64);

    /// Returns the time that 64 tasks take to make this number of calls each, at most 1 s.
    ///
    /// # Panics
    ///
    /// If a call ends in an unexpected outcome.
    fn crowd(&self, runtime: &Runtime, calls: u64, cloned: Cloned) -> Duration;

    fn sizes(&self) -> Sizes;
}

pub(crate) struct Measured<S, B> {
    service: S,
    outcome: Outcome,
    content: PhantomData<fn(B)>,
}

impl<S, B> Measured<S, B> {
    pub(crate) fn new(service: S, outcome: Outcome) -> Self {
        Self { service, outcome, content: PhantomData }
    }
}

impl<S: Serves<B>, B: Content> Subject for Measured<S, B> {
    fn call(&mut self, calls: u64) {
        for _ in 0..calls {
            // Everything is ready, so a single poll does what `await` would do.
            let call = pin!(call(&mut self.service));
            let outcome = match call.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => Outcome::Waiting,
            };
            assert_eq!(outcome, self.outcome);
        }
    }

    fn crowd(&self, runtime: &Runtime, calls: u64, cloned: Cloned) -> Duration {
        let task = |mut service: S, outcome| async move {
            for _ in 0..calls {
                let seen = match cloned {
                    Cloned::ATask => call(&mut service).await,
                    Cloned::ACall => call(&mut service.clone()).await,
                };
                assert_eq!(seen, outcome);
            }
        };
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            tasks.spawn_on(task(self.service.clone(), self.outcome), runtime.handle());
        }
        // After that, the tasks are cancelled.
        _ = runtime.block_on(async { timeout(LONGEST, tasks.join_all()).await });
        start.elapsed()
    }

    fn sizes(&self) -> Sizes {
        Sizes::of::<B, S>(&self.service)
    }
}

/// Readies the service, calls it once, and drops the response.
#[inline]
pub(crate) async fn call<B: Content, S: Serves<B>>(service: &mut S) -> Outcome {
    if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
        return Outcome::Rejected;
    }
    // Pinned where it is returned: a future that is awaited by value may be moved first.
    let future = pin!(service.call(B::request()));
    match black_box(future.await) {
        Ok(_) => Outcome::Completed,
        Err(_) => Outcome::Rejected,
    }
}
