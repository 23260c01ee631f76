use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::call::Call;
use crate::classify::Classify;
use crate::error::BoxError;

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
