use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::journey::Journey;
use super::readying::Readying;
use super::route::Target;
use super::search::Moment;
use super::shared::Shared;
use super::waiting::Waiting;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::error::{NoRegionAvailable, RegionsExhausted};
use crate::replay::Replay;
use crate::sharded::ShardRef;
use crate::time;
use crate::verdict::{Cause, Verdict};

pin_project! {
    /// The future of a [`Failover`](super::Failover) and of
    /// [`FailoverServices`](super::FailoverServices).
    #[project = Project]
    pub struct ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        #[pin]
        state: State<S, Req>,
        journey: Journey,
        kept: Option<R::Kept>,
        // How a request is rewritten, unless each region has a client.
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: ShardRef<Shared<S, C, R>>,
    }

    impl<S, Req, C, R> PinnedDrop for ResponseFuture<S, Req, C, R>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if this.journey.under_way().is_some() {
                let (shared, called) = (this.shared, matches!(&*this.state, State::Calling { .. }));
                this.journey.breaks_off(&shared.set, called, |region| shared.can_call(region));
            }
        }
    }
}

pin_project! {
    #[project = StateProject]
    enum State<S, Req>
    where
        S: Service<Req>,
    {
        // An attempt in one region. If it fails, and another region may do better, an attempt there
        // takes its place.
        Calling { #[pin] future: S::Future },
        // The region's client isn't ready. → `Calling`, there or in another region. Boxed, as it is rare
        // and holds a request: unboxed, every call's future would have room for one.
        Readying { waiting: Box<Readying<S, Req>> },
        // No region is fit, and the call waits for one. → `Readying`, or `Waiting` again. Boxed as well.
        Waiting { waiting: Pin<Box<Waiting<Req>>> },
        // No region is fit, and the call fails here. The last state.
        TurnedAway { error: Option<NoRegionAvailable> },
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    R: Replay<Req>,
{
    #[inline]
    pub(super) fn calling(
        future: S::Future,
        journey: Journey,
        kept: Option<R::Kept>,
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self {
        Self { state: State::Calling { future }, journey, kept, route, shared }
    }

    /// A call whose region has a client that isn't ready.
    #[cold]
    pub(super) fn readying(
        request: Req,
        journey: Journey,
        kept: Option<R::Kept>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self
    where
        S: Clone,
    {
        let state = State::readying(request, &journey, &shared);
        Self { state, journey, kept, route: None, shared }
    }

    /// A call for which no region is fit.
    #[cold]
    pub(super) fn waiting(
        request: Req,
        journey: Journey,
        kept: Option<R::Kept>,
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self {
        let state = State::waiting(request, &journey, &shared);
        Self { state, journey, kept, route, shared }
    }
}

impl<S, Req> State<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    /// Waits until a fresh handle on the region's client is ready.
    fn readying<C, R>(request: Req, journey: &Journey, shared: &Shared<S, C, R>) -> Self
    where
        S: Clone,
    {
        let client = shared.client(journey.region());
        Self::Readying { waiting: Box::new(Readying::new(journey.region(), client, request)) }
    }

    /// Waits for a region, or turns the call away.
    fn waiting<C, R>(request: Req, journey: &Journey, shared: &Shared<S, C, R>) -> Self {
        // Before anything else, so that it hears of every region that is back from now on.
        let sooner = shared.set.hears_of_back();
        match shared.wait(journey) {
            Ok(until) => Self::Waiting { waiting: Box::pin(Waiting::new(until, sooner, request)) },
            Err(error) => Self::TurnedAway { error: Some(error) },
        }
    }
}

type Answer<Res> = Poll<Result<Res, BoxError>>;

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Once for each region that is tried, of which there are few, and once for each wait.
        loop {
            let this = self.as_mut().project();
            let answer = match this.state.project() {
                StateProject::Calling { future } => {
                    this.journey.scope.poll(|| future.poll(cx).map_err(Into::into))
                }
                _ => match self.as_mut().project().poll_ready(cx) {
                    None => continue,
                    Some(answer) => answer,
                },
            };
            let Poll::Ready(result) = &answer else { return answer };
            let this = self.as_mut().project();
            let shared = &**this.shared;
            let Some(live) = this.journey.is_over(&shared.set) else { return answer };
            let seen = result.as_ref().map_err(|error| &**error as _);
            let verdict = shared.classifier.classify(seen);
            if verdict.is_success() {
                this.journey.succeeded(&shared.set, live);
                return answer;
            }
            if let Some(answer) = self.as_mut().project().failed(&verdict, answer) {
                return answer;
            }
        }
    }
}

impl<S, Req, C, R> Project<'_, S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    /// Takes the call one state further. Returns `None` if it did, and the new state is to be polled;
    /// otherwise what this poll returns.
    #[cold]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Option<Answer<S::Response>> {
        match self.state.as_mut().project() {
            StateProject::Calling { .. } => None,
            StateProject::Readying { waiting } => {
                let shared: &Shared<S, C, R> = self.shared;
                let journey = &mut *self.journey;
                let search = journey.search(journey.scope.tried(), false);
                let next = |waited_for| shared.next_client(search, waited_for);
                let is_out = |region| shared.set.is_out(region);
                let failed = |region, error: &BoxError| {
                    shared.set.unready(region, &shared.classifier.classify(Err(&**error)));
                };
                let hears = || shared.set.hears_of_back();
                let polled = journey.scope.poll(|| waiting.poll(cx, next, is_out, failed, hears));
                let Poll::Ready((region, ready)) = polled else { return Some(Poll::Pending) };
                journey.moves_to(region, &shared.set);
                let (client, request) = match ready {
                    Ok(ready) => ready,
                    Err(error) => return Some(Poll::Ready(Err(error))),
                };
                let within = journey.calling(&shared.set, &Moment::default());
                let future = client.call(request);
                drop(within);
                self.state.set(State::Calling { future });
                None
            }
            StateProject::Waiting { waiting } => {
                let Poll::Ready(request) = waiting.as_mut().poll(cx) else {
                    return Some(Poll::Pending);
                };
                self.set_out(request);
                None
            }
            StateProject::TurnedAway { error } => {
                let error = error.take().expect("polled after it was done");
                Some(Poll::Ready(Err(error.into())))
            }
        }
    }

    /// → `Readying` if there is a region for the call now, otherwise `Waiting` or `TurnedAway`.
    fn set_out(&mut self, request: Req) {
        let search = self.journey.search(self.journey.scope.tried(), false);
        match self.shared.look_around(search, &Moment::default()) {
            Some((region, live, begun)) => {
                self.journey.goes_to(region, live, begun);
                self.call(request);
            }
            None => self.state.set(State::waiting(request, self.journey, self.shared)),
        }
    }

    /// → `Readying`, in the journey's region.
    fn call(&mut self, mut request: Req) {
        let region = self.journey.region();
        if let Some(route) = self.route {
            route(&mut request, &self.shared.set.target(region));
        }
        self.state.set(State::readying(request, self.journey, self.shared));
    }

    /// Returns what the caller gets after a failure of this verdict, or `None` if the next region is
    /// called instead.
    #[cold]
    fn failed(
        &mut self,
        verdict: &Verdict,
        answer: Answer<S::Response>,
    ) -> Option<Answer<S::Response>> {
        let (shared, journey) = (&*self.shared, &*self.journey);
        let goes_on = journey.failed(&shared.set, verdict, |region| shared.can_call(region));
        if goes_on && !journey.is_retried() && self.is_safe(verdict) && self.go_on(verdict) {
            return None;
        }
        let (set, tried) = (&self.shared.set, self.journey.tried());
        if goes_on || tried.len() == 1 {
            return Some(answer);
        }
        let exhausted = |last| RegionsExhausted::new(set.outcomes(tried, verdict.cause()), last);
        Some(answer.map_err(|last| exhausted(last).into()))
    }

    fn is_safe(&self, verdict: &Verdict) -> bool {
        let rules = &self.shared.set.settings.rules;
        self.journey.idempotent || rules.non_idempotent || verdict.is_unprocessed()
    }

    /// Calls the next region, if one is left and the request can be sent again. Returns whether it did.
    fn go_on(&mut self, verdict: &Verdict) -> bool {
        let (shared, journey) = (&*self.shared, &mut *self.journey);
        let set = &shared.set;
        let left = journey.region();
        if journey.scope.deadline().is_some_and(|deadline| deadline <= time::now()) {
            return false;
        }
        let last = journey.next_is_last();
        let again = self.kept.take().and_then(|kept| shared.replay.again(kept, last));
        let Some((request, kept)) = again else { return false };
        let search = journey.search(journey.tried(), true);
        let Some((region, live, begun)) = shared.choose(&search, &Moment::default()) else {
            return false;
        };
        journey.scope = journey.scope.leave(left, verdict.cause() == Cause::CircuitOpen);
        journey.goes_to(region, live, begun);
        set.failed_over(left, verdict.cause());
        *self.kept = kept;
        self.call(request);
        true
    }
}

impl<S, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
