use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::alerts::Alerts;
use super::engine::Engine;
use super::rule::CallStart;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::sharded::ShardRef;
use crate::verdict::Verdict;

/// A service that evaluates the results of calls, created by [`AlertLayer`](super::AlertLayer).
#[derive(Debug)]
pub struct AlertService<S, C> {
    inner: S,
    alerts: Alerts,
    classifier: C,
    /// The call that begins, until its future owns it. As a local of `call` it would have to be dropped
    /// if the inner call panics, which costs a copy of the inner future.
    call: Option<Call>,
}

/// A clone has no call in progress.
impl<S: Clone, C: Clone> Clone for AlertService<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.alerts.clone(), self.classifier.clone())
    }
}

impl<S, C> AlertService<S, C> {
    pub(super) fn new(inner: S, alerts: Alerts, classifier: C) -> Self {
        Self { inner, alerts, classifier, call: None }
    }

    /// Returns a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req, C> Service<Req> for AlertService<S, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    /// Ready when the inner service is. Its error is evaluated as the result of a call.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let result = ready!(self.inner.poll_ready(cx)).map_err(Into::into);
        if let Err(error) = &result {
            let verdict = self.classifier.classify(Err(&**error));
            self.alerts.engine.result(&CallStart::default(), &verdict, Some(&**error));
        }
        Poll::Ready(result)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.call = Some(Call::begin(&self.alerts));
        let inner = self.inner.call(request);
        let (call, classifier) = (self.call.take(), self.classifier.clone());
        ResponseFuture { inner, call, classifier }
    }
}

/// One call, until it completes or is dropped.
struct Call {
    engine: ShardRef<Engine>,
    start: CallStart,
}

impl Call {
    #[inline]
    fn begin(alerts: &Alerts) -> Self {
        let engine = alerts.engine.shard_ref();
        Self { start: engine.begin(), engine }
    }

    /// Evaluates the result. The call is no longer in flight: the future may be kept after its completion.
    fn complete(&mut self, verdict: &Verdict, error: Option<&(dyn Error + 'static)>) {
        self.engine.end(&mut self.start);
        self.engine.result(&self.start, verdict, error);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.engine.end(&mut self.start);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}

pin_project! {
    #[project = Projection]
    /// The future of an [`AlertService`].
    pub struct ResponseFuture<F, C> {
        #[pin]
        inner: F,
        call: Option<Call>,
        classifier: C,
    }
}

impl<F, Res, E, C> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Res, E>>,
    E: Into<BoxError>,
    C: Classify<Res>,
{
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Projection { inner, call, classifier } = self.project();
        let result = inner.poll(cx);
        // The response is classified in place: it is large, and each move copies it.
        if let (Poll::Ready(Ok(response)), Some(call)) = (&result, &mut *call) {
            call.complete(&classifier.classify(Ok(response)), None);
        }
        result.map_err(|error| {
            let error = error.into();
            if let Some(call) = call {
                call.complete(&classifier.classify(Err(&*error)), Some(&*error));
            }
            error
        })
    }
}

impl<F, C> fmt::Debug for ResponseFuture<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
