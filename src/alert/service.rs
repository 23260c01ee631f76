use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::Alerts;
use super::call::Call;
use super::future::ResponseFuture;
use super::measure::Begun;
use crate::classify::Classify;
use crate::error::BoxError;

/// A service whose answers are judged. Made by [`AlertLayer`](super::AlertLayer).
#[derive(Debug)]
pub struct Alerting<S, C> {
    inner: S,
    alerts: Alerts,
    classifier: C,
    /// The call that is being made, until its future has it. Here, and not in the frame that makes
    /// it, which would have it to clean up should the inner call panic: the inner future, the largest
    /// of all, can be written where it stays only where there is nothing to clean up.
    call: Option<Call>,
}

/// A clone makes no call yet.
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

    /// Ready when the inner service is. That it failed to get ready is an end that a call of
    /// the caller's comes to, and is judged as one.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let result = ready!(self.inner.poll_ready(cx)).map_err(Into::into);
        if let Err(error) = &result {
            let verdict = self.classifier.classify(Err(&**error));
            self.alerts.shared.outcome(&Begun::default(), &verdict, Some(&**error));
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
