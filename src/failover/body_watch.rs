//! Detects responses whose body stalls or breaks off after a good head.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::set::RegionSet;
use crate::scope::CallScope;
use crate::time::{self, Sleep};
use crate::verdict::{Cause, Verdict};

/// Takes out regions whose bodies stall or break off. Made by
/// [`FailoverHandle::watch_bodies`](super::FailoverHandle::watch_bodies).
///
/// The caller gets the body as it is, stalled or not: a request whose response has begun to arrive isn't
/// sent again. But the next calls go elsewhere.
#[derive(Clone, Debug)]
pub struct BodyWatchLayer {
    set: Arc<RegionSet>,
    stall: Duration,
}

impl BodyWatchLayer {
    pub(super) fn new(set: Arc<RegionSet>, stall: Duration) -> Self {
        Self { set, stall }
    }
}

impl<S> Layer<S> for BodyWatchLayer {
    type Service = BodyWatch<S>;

    fn layer(&self, inner: S) -> BodyWatch<S> {
        BodyWatch { inner, layer: self.clone() }
    }
}

/// A service whose responses' bodies are watched. Made by [`BodyWatchLayer`].
#[derive(Clone, Debug)]
pub struct BodyWatch<S> {
    inner: S,
    layer: BodyWatchLayer,
}

impl<S, Req, B> Service<Req> for BodyWatch<S>
where
    S: Service<Req, Response = Response<B>>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = S::Error;
    type Future = BodyWatchFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let BodyWatchLayer { set, stall } = &self.layer;
        let region = CallScope::current().and_then(|scope| scope.region());
        let region = region.and_then(|name| set.number(name));
        let watch = region.map(|region| WaiterHandle {
            set: Arc::clone(set),
            region,
            generation: set.origin.nanos(time::now()),
            stall: *stall,
        });
        BodyWatchFuture { future: self.inner.call(request), watch }
    }
}

/// The region that a body comes from. Gone once the body has stalled or broken off.
struct WaiterHandle {
    set: Arc<RegionSet>,
    region: usize,
    generation: u64,
    stall: Duration,
}

impl WaiterHandle {
    fn failed(self, cause: Cause) {
        let verdict = Verdict::transient().with_cause(cause);
        self.set.failed(self.region, &verdict, self.generation);
    }
}

pin_project! {
    /// The future of a [`BodyWatch`].
    pub struct BodyWatchFuture<F> {
        #[pin]
        future: F,
        watch: Option<WaiterHandle>,
    }
}

impl<F, B, E> Future for BodyWatchFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<WatchedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let watch = this.watch.take();
        Poll::Ready(Ok(response.map(|body| WatchedBody { body, timer: None, watch })))
    }
}

pin_project! {
    /// A body that reports to its region if it stalls or breaks off.
    pub struct WatchedBody<B> {
        #[pin]
        body: B,
        // Runs while the caller waits for the next frame.
        #[pin]
        timer: Option<Sleep>,
        watch: Option<WaiterHandle>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let polled = this.body.poll_frame(cx);
        if polled.is_ready() {
            this.timer.set(None);
        }
        match &polled {
            Poll::Ready(Some(Err(_))) => {
                if let Some(watch) = this.watch.take() {
                    watch.failed(Cause::Connection);
                }
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                let Some(WaiterHandle { stall, .. }) = this.watch else { return polled };
                if this.timer.is_none() {
                    let stalls = time::after(time::now(), *stall);
                    this.timer.set(Some(time::sleep_until(stalls)));
                }
                if time::poll_timer(this.timer.as_mut(), cx).is_ready()
                    && let Some(watch) = this.watch.take()
                {
                    watch.failed(Cause::Timeout);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<F> fmt::Debug for BodyWatchFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWatchFuture").finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for WatchedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedBody").finish_non_exhaustive()
    }
}
