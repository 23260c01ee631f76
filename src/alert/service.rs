use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Alerts;
use super::alerts::Shared;
use super::measure::Pending;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::sharded::ShardRef;
use crate::verdict::Verdict;

/// A service whose answers are judged. Made by [`AlertLayer`](super::AlertLayer).
#[derive(Debug)]
pub struct Alerting<S, C> {
    inner: S,
    alerts: Alerts,
    classifier: C,
    /// The call that is being made, until its future has it. It isn't a local of `call`, which would have to
    /// drop it if the inner call panics. Without anything to drop, the compiler can write the inner
    /// future, which is large, to its final place at once.
    call: Option<Call>,
}

/// A clone has no call under way.
impl<S: Clone, C: Clone> Clone for Alerting<S, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.alerts.clone(), self.classifier.clone())
    }
}

impl<S, C> Alerting<S, C> {
    pub(super) fn new(inner: S, alerts: Alerts, classifier: C) -> Self {
        Self { inner, alerts, classifier, call: None }
    }
}

impl<S, Req, C> Service<Req> for Alerting<S, C>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S::Future, C>;

    /// Ready when the inner service is. An inner service that fails to get ready ends the caller's call, and
    /// is judged as that.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let result = ready!(self.inner.poll_ready(cx)).map_err(Into::into);
        if let Err(error) = &result {
            let verdict = self.classifier.classify(Err(&**error));
            self.alerts.shared.outcome(&Pending::default(), &verdict, Some(&**error));
        }
        Poll::Ready(result)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.call = Some(Call::begin(&self.alerts));
        let future = self.inner.call(request);
        ResponseFuture::new(future, self.call.take(), self.classifier.clone())
    }
}

/// One call, from its beginning until it is answered or dropped.
pub(super) struct Call {
    alerts: ShardRef<Shared>,
    begun: Pending,
}

impl Call {
    #[inline]
    pub(super) fn begin(alerts: &Alerts) -> Self {
        let alerts = alerts.shared.shard_ref();
        Self { begun: alerts.begin(), alerts }
    }

    /// Takes in what the caller got.
    #[inline]
    pub(super) fn ended(&mut self, verdict: &Verdict, error: Option<&(dyn Error + 'static)>) {
        // Not left to the drop: the future may be kept for long after it has answered.
        self.land();
        self.alerts.outcome(&self.begun, verdict, error);
    }

    /// Notes that the call isn't in flight any more.
    #[inline]
    fn land(&mut self) {
        if self.begun.is_in_flight() {
            self.alerts.end(&mut self.begun);
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        self.land();
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}

pin_project! {
    #[project = Projection]
    /// The future of an [`Alerting`](super::Alerting) service: the inner one's, whose
    /// output is judged.
    pub struct ResponseFuture<F, C> {
        #[pin]
        inner: F,
        call: Option<Call>,
        classifier: C,
    }
}

impl<F, C> ResponseFuture<F, C> {
    #[inline]
    pub(super) fn new(inner: F, call: Option<Call>, classifier: C) -> Self {
        Self { inner, call, classifier }
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
        let answer = inner.poll(cx);
        // Judge the answer where it lies: it is large, and each move copies it.
        if let (Poll::Ready(Ok(response)), Some(call)) = (&answer, &mut *call) {
            call.ended(&classifier.classify(Ok(response)), None);
        }
        answer.map_err(|error| {
            let error = error.into();
            if let Some(call) = call {
                call.ended(&classifier.classify(Err(&*error)), Some(&*error));
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
