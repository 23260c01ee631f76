use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::ready_race::ReadyRace;
use super::request_state::RequestState;
use super::route::Target;
use super::selection::LazyNow;
use super::shared::Shared;
use super::waiting::RegionWaiters;
use crate::classify::Classify;
use crate::error::{BoxError, NoRegionAvailable, RegionsExhausted};
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
        request_state: RequestState,
        saved: Option<R::SavedRequest>,
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
            if this.request_state.under_way().is_some() {
                let (shared, called) = (this.shared, matches!(&*this.state, State::Calling { .. }));
                this.request_state.breaks_off(&shared.set, called, |region| shared.can_call(region));
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
        ReadyRace { waiting: Box<ReadyRace<S, Req>> },
        // No region is fit, and the call waits for one. → `ReadyRace`, or `RegionWaiters` again. Boxed as well.
        RegionWaiters { waiting: Pin<Box<RegionWaiters<Req>>> },
        // No region is fit, and the call fails here. The last state.
        Rejected { error: Option<NoRegionAvailable> },
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
        request_state: RequestState,
        saved: Option<R::SavedRequest>,
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self {
        Self { state: State::Calling { future }, request_state, saved, route, shared }
    }

    /// A call whose region has a client that isn't ready.
    pub(super) fn ready_race(
        request: Req,
        request_state: RequestState,
        saved: Option<R::SavedRequest>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self
    where
        S: Clone,
    {
        let state = State::ready_race(request, &request_state, &shared);
        Self { state, request_state, saved, route: None, shared }
    }

    /// A call for which no region is fit.
    pub(super) fn waiting(
        request: Req,
        request_state: RequestState,
        saved: Option<R::SavedRequest>,
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: ShardRef<Shared<S, C, R>>,
    ) -> Self {
        let state = State::waiting(request, &request_state, &shared);
        Self { state, request_state, saved, route, shared }
    }
}

impl<S, Req> State<S, Req>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
{
    /// Waits until a fresh handle on the region's client is ready.
    fn ready_race<C, R>(
        request: Req,
        request_state: &RequestState,
        shared: &Shared<S, C, R>,
    ) -> Self
    where
        S: Clone,
    {
        let client = shared.client(request_state.region());
        Self::ReadyRace {
            waiting: Box::new(ReadyRace::new(request_state.region(), client, request)),
        }
    }

    /// Waits for a region, or turns the call away.
    fn waiting<C, R>(request: Req, request_state: &RequestState, shared: &Shared<S, C, R>) -> Self {
        // Before anything else, so that it notified of every region that is back from now on.
        let sooner = shared.set.notified();
        match shared.wait(request_state) {
            Ok(until) => Self::RegionWaiters {
                waiting: Box::pin(RegionWaiters::new(until, sooner, request)),
            },
            Err(error) => Self::Rejected { error: Some(error) },
        }
    }
}

type PollResult<Res> = Poll<Result<Res, BoxError>>;

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
            let result = match this.state.project() {
                StateProject::Calling { future } => {
                    this.request_state.scope.poll(|| future.poll(cx).map_err(Into::into))
                }
                _ => match self.as_mut().project().poll_ready(cx) {
                    None => continue,
                    Some(result) => result,
                },
            };
            let Poll::Ready(ended) = &result else { return result };
            let this = self.as_mut().project();
            let shared = &**this.shared;
            let Some(region_state) = this.request_state.is_over(&shared.set) else { return result };
            let seen = ended.as_ref().map_err(|error| &**error as _);
            let verdict = shared.classifier.classify(seen);
            if verdict.is_success() {
                this.request_state.succeeded(&shared.set, region_state);
                return result;
            }
            if let Some(result) = self.as_mut().project().failed(&verdict, result) {
                return result;
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
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Option<PollResult<S::Response>> {
        match self.state.as_mut().project() {
            StateProject::Calling { .. } => None,
            StateProject::ReadyRace { waiting } => {
                let shared: &Shared<S, C, R> = self.shared;
                let request_state = &mut *self.request_state;
                let criteria = request_state.criteria(request_state.scope.tried(), false);
                let next = |waited_for| shared.next_client(criteria, waited_for);
                let is_out = |region| shared.set.is_out(region);
                let failed = |region, error: &BoxError| {
                    shared.set.unready(region, &shared.classifier.classify(Err(&**error)));
                };
                let notified = || shared.set.notified();
                let polled =
                    request_state.scope.poll(|| waiting.poll(cx, next, is_out, failed, notified));
                let Poll::Ready((region, ready)) = polled else { return Some(Poll::Pending) };
                request_state.moves_to(region, &shared.set);
                let (client, request) = match ready {
                    Ok(ready) => ready,
                    Err(error) => return Some(Poll::Ready(Err(error))),
                };
                let within = request_state.calling(&shared.set, &LazyNow::default());
                let future = client.call(request);
                drop(within);
                self.state.set(State::Calling { future });
                None
            }
            StateProject::RegionWaiters { waiting } => {
                let Poll::Ready(request) = waiting.as_mut().poll(cx) else {
                    return Some(Poll::Pending);
                };
                self.set_out(request);
                None
            }
            StateProject::Rejected { error } => {
                let error = error.take().expect("polled after it was done");
                Some(Poll::Ready(Err(error.into())))
            }
        }
    }

    /// → `ReadyRace` if there is a region for the call now, otherwise `RegionWaiters` or `Rejected`.
    fn set_out(&mut self, request: Req) {
        let criteria = self.request_state.criteria(self.request_state.scope.tried(), false);
        match self.shared.look_around(criteria, &LazyNow::default()) {
            Some((region, region_state, attempt)) => {
                self.request_state.goes_to(region, region_state, attempt);
                self.call(request);
            }
            None => self.state.set(State::waiting(request, self.request_state, self.shared)),
        }
    }

    /// → `ReadyRace`, in the request's region.
    fn call(&mut self, mut request: Req) {
        let region = self.request_state.region();
        if let Some(route) = self.route {
            route(&mut request, &self.shared.set.target(region));
        }
        self.state.set(State::ready_race(request, self.request_state, self.shared));
    }

    /// Returns what the caller gets after a failure of this verdict, or `None` if the next region is
    /// called instead.
    fn failed(
        &mut self,
        verdict: &Verdict,
        result: PollResult<S::Response>,
    ) -> Option<PollResult<S::Response>> {
        let (shared, request_state) = (&*self.shared, &*self.request_state);
        let goes_on = request_state.failed(&shared.set, verdict, |region| shared.can_call(region));
        if goes_on && !request_state.is_retried() && self.is_safe(verdict) && self.go_on(verdict) {
            return None;
        }
        let (set, tried) = (&self.shared.set, self.request_state.tried());
        if goes_on || tried.len() == 1 {
            return Some(result);
        }
        let exhausted = |last| RegionsExhausted::new(set.outcomes(tried, verdict.cause()), last);
        Some(result.map_err(|last| exhausted(last).into()))
    }

    fn is_safe(&self, verdict: &Verdict) -> bool {
        let config = &self.shared.set.settings.config;
        self.request_state.idempotent || config.non_idempotent || verdict.is_unprocessed()
    }

    /// Calls the next region, if one is left and the request can be sent again. Returns whether it did.
    fn go_on(&mut self, verdict: &Verdict) -> bool {
        let (shared, request_state) = (&*self.shared, &mut *self.request_state);
        let set = &shared.set;
        let left = request_state.region();
        if request_state.scope.deadline().is_some_and(|deadline| deadline <= time::now()) {
            return false;
        }
        let last = request_state.next_is_last();
        let again = self.saved.take().and_then(|saved| shared.replay.restore(saved, last));
        let Some((request, saved)) = again else { return false };
        let criteria = request_state.criteria(request_state.tried(), true);
        let Some((region, region_state, attempt)) = shared.choose(&criteria, &LazyNow::default())
        else {
            return false;
        };
        request_state.scope =
            request_state.scope.leave(left, verdict.cause() == Cause::CircuitOpen);
        request_state.goes_to(region, region_state, attempt);
        set.failed_over(left, verdict.cause());
        *self.saved = saved;
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
