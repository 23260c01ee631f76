use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::Alerts;
use super::call::Call;
use super::future::ResponseFuture;
use super::measure::Pending;
use crate::classify::Classify;
use crate::error::BoxError;

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
