use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::cost::{OneEach, Settle};
use super::permit::Permit;
use super::queue::Ticket;
use crate::classify::{Classify, Verdict};
use crate::error::BoxError;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C, W = OneEach>
    where
        S: Service<Req>,
    {
        // With a permit: readying the inner service if it waited, then waiting for the answer.
        #[pin]
        call: CallWhenReady<S, Req>,
        entry: Entry,
        // What takes in the answer.
        classifier: C,
        cost: W,
        scoped: bool,
    }
}

/// How far a call has got past the limiter.
enum Entry {
    // In the line; then it has passed, or is refused. Boxed: it is rare, and larger than all
    // else that every call's future holds.
    Waits(Pin<Box<Ticket>>),
    // Has its permit.
    Passed(Permit),
    // Turned away: answers at the first poll.
    Refused(Option<BoxError>),
}

impl<S: Service<Req>, Req, C, W> ResponseFuture<S, Req, C, W> {
    #[inline]
    pub(super) fn calling(future: S::Future, permit: Permit, classifier: C, cost: W) -> Self {
        let (call, entry) = (CallWhenReady::calling(future), Entry::Passed(permit));
        Self { call, entry, classifier, cost, scoped: false }
    }

    pub(super) fn waiting(ticket: Ticket, call: (S, Req), classifier: C, cost: W) -> Self {
        let (call, entry) = (CallWhenReady::new(call.0, call.1), Entry::Waits(Box::pin(ticket)));
        Self { call, entry, classifier, cost, scoped: CallScope::offered().is_some() }
    }

    pub(super) fn refused(error: BoxError, classifier: C, cost: W) -> Self {
        let (call, entry) = (CallWhenReady::Ended, Entry::Refused(Some(error)));
        Self { call, entry, classifier, cost, scoped: false }
    }
}

impl<S, Req, C, W> Future for ResponseFuture<S, Req, C, W>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    W: Settle<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if !matches!(this.entry, Entry::Passed(_)) {
            ready!(this.entry.poll(cx))?;
        }
        let scoped = *this.scoped;
        let answer = ready!(this.call.poll_with(cx, |service, request| {
            this.entry.sent();
            scope::call_later(scoped, || service.call(request))
        }));
        // Judged where it lies: an answer is large, and each move of it a copy.
        Poll::Ready(match answer {
            Ok(mut response) => {
                this.entry.take_in(&mut response, this.classifier, this.cost);
                Ok(response)
            }
            Err(error) => {
                let error = error.into();
                this.entry.settle(&this.classifier.classify(Err(&*error)));
                Err(error)
            }
        })
    }
}

impl Entry {
    /// Waits for the permit.
    #[cold]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Waits(ticket) => *self = Self::Passed(ready!(ticket.as_mut().poll(cx))?),
            Self::Passed(_) => {}
            Self::Refused(error) => {
                let error = error.take().expect("polled after it was done");
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The call is being sent.
    fn sent(&mut self) {
        if let Self::Passed(permit) = self {
            permit.sent();
        }
    }

    /// Takes in what a response tells.
    #[inline]
    fn take_in<Res, C, W>(&mut self, response: &mut Res, classifier: &C, cost: &W)
    where
        C: Classify<Res>,
        W: Settle<Res>,
    {
        let Self::Passed(permit) = self else {
            return;
        };
        let verdict = classifier.classify(Ok(response));
        permit.settle(&verdict);
        if let Some(headers) = classifier.headers(response) {
            permit.learn(headers);
        }
        if !verdict.never_left() {
            cost.settle(response, || permit.usage());
        }
    }

    /// Takes in how the call failed.
    #[cold]
    fn settle(&mut self, verdict: &Verdict) {
        if let Self::Passed(permit) = self {
            permit.settle(verdict);
        }
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
