//! Inner services.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

/// An inner service that is ready and responds immediately.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(())))
    }
}

/// An inner service that clones the request, as every retry must.
#[derive(Clone, Copy, Debug)]
pub struct Copied(pub Bare);

impl<B: Clone> Service<Request<B>> for Copied {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request.clone());
        self.0.call(request)
    }
}

/// An inner service that fails a number of times and then succeeds, so that only an open circuit
/// explains later failures.
#[derive(Clone, Debug)]
pub struct FailsFirst(Arc<AtomicU32>);

impl FailsFirst {
    pub fn new(failures: u32) -> Self {
        Self(Arc::new(AtomicU32::new(failures)))
    }
}

impl<B> Service<Request<B>> for FailsFirst {
    type Response = Response<()>;
    type Error = io::Error;
    type Future = Ready<Result<Response<()>, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request);
        // Only read once the failures are used up, since many threads call it.
        if self.0.load(Ordering::Relaxed) == 0 {
            return ready(Ok(Response::new(())));
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        ready(Err(io::ErrorKind::ConnectionRefused.into()))
    }
}
