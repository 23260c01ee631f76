use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::cost::{OneEach, Settle};
use super::permit::{Permit, Usage};
use super::queue::Ticket;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::scope::{self, CallScope};
use crate::spare::CallWhenReady;

pin_project! {
    /// The future of a [`RateLimit`](super::RateLimit).
    pub struct ResponseFuture<S, Req, C, W = OneEach>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req>,
        permit: Option<Permit>,
        // What takes in the answer.
        judge: Option<(C, W)>,
        scoped: bool,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        // In the line; with a permit it becomes `Called`.
        Waiting { #[pin] ticket: Ticket, call: Option<(S, Req)> },
        // Has its permit: readying the inner service if it waited, then waiting for the answer.
        Called { #[pin] call: CallWhenReady<S, Req> },
        // Turned away: answers at the first poll.
        Failed { error: Option<BoxError> },
    }
}

impl<S: Service<Req>, Req, C, W> ResponseFuture<S, Req, C, W> {
    pub(super) fn calling(future: S::Future, permit: Permit, judge: (C, W)) -> Self {
        let state = State::Called { call: CallWhenReady::calling(future) };
        Self { state, permit: Some(permit), judge: Some(judge), scoped: false }
    }

    pub(super) fn waiting(ticket: Ticket, service: S, request: Req, judge: (C, W)) -> Self {
        let scoped = CallScope::offered().is_some();
        let state = State::Waiting { ticket, call: Some((service, request)) };
        Self { state, permit: None, judge: Some(judge), scoped }
    }

    pub(super) fn failed(error: BoxError) -> Self {
        let state = State::Failed { error: Some(error) };
        Self { state, permit: None, judge: None, scoped: false }
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
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Waiting { ticket, call } => match ready!(ticket.poll(cx)) {
                    Ok(permit) => {
                        *this.permit = Some(permit);
                        let (service, request) = call.take().expect("polled after it was done");
                        let call = CallWhenReady::new(service, request);
                        this.state.set(State::Called { call });
                    }
                    Err(rejection) => return Poll::Ready(Err(rejection)),
                },
                StateProject::Called { call } => {
                    let (scoped, permit) = (*this.scoped, &mut *this.permit);
                    let result = ready!(call.poll_with(cx, |service, request| {
                        if let Some(permit) = permit {
                            permit.sent();
                        }
                        scope::call_later(scoped, || service.call(request))
                    }));
                    let mut result = result.map_err(Into::into);
                    if let (Some(permit), Some(judge)) = (this.permit.take(), this.judge.take()) {
                        take_in(&mut result, permit, &judge);
                    }
                    return Poll::Ready(result);
                }
                StateProject::Failed { error } => {
                    let error = error.take().expect("polled after it was done");
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// What the limiter takes in of an answer.
#[inline]
fn take_in<Res, C, W>(result: &mut Result<Res, BoxError>, permit: Permit, judge: &(C, W))
where
    C: Classify<Res>,
    W: Settle<Res>,
{
    let (classifier, cost) = judge;
    let seen = result.as_ref().map_err(|error| &**error as _);
    let verdict = classifier.classify(seen);
    permit.settle(&verdict);
    let Ok(response) = result else {
        return;
    };
    if let Some(headers) = classifier.headers(response) {
        permit.learn(headers);
    }
    if !verdict.never_left() {
        cost.settle(response, || Usage::new(permit));
    }
}

impl<S: Service<Req>, Req, C, W> fmt::Debug for ResponseFuture<S, Req, C, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
