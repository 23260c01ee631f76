use std::task::{Context, Poll, ready};

use tower_service::Service;

use super::Alerts;
use super::call::Call;
use super::future::ResponseFuture;
use super::measure::Begun;
use crate::classify::Classify;
use crate::error::BoxError;

/// A service whose answers are judged. Made by [`AlertLayer`](super::AlertLayer).
#[derive(Clone, Debug)]
pub struct Alerting<S, C> {
    inner: S,
    alerts: Alerts,
    classifier: C,
}

impl<S, C> Alerting<S, C> {
    pub(super) fn new(inner: S, alerts: Alerts, classifier: C) -> Self {
        Self { inner, alerts, classifier }
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
        let call = Call::begin(&self.alerts);
        let future = self.inner.call(request);
        ResponseFuture::new(future, call, self.classifier.clone())
    }
}
