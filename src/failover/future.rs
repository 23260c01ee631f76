use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::Rules;
use super::region::Place;
use super::route::Target;
use super::service::Shared;
use super::serving::{TellRegion, Untold};
use super::set::RegionSet;
use super::{FailoverEventKind, RegionsExhausted};
use crate::classify::{Cause, Class, Classify, Verdict};
use crate::error::BoxError;
use crate::replay::Replay;
use crate::scope::{self, CallScope, Tried};
use crate::spare::CallWhenReady;
use crate::time::{self, Instant};

pin_project! {
    /// The future of a [`Failover`](super::Failover) and of
    /// [`FailoverServices`](super::FailoverServices).
    #[project = Project]
    pub struct ResponseFuture<S, Req, C, R, T = Untold>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        // The attempt in one region. If that fails, and another may do better,
        // the next region's takes its place.
        #[pin]
        call: CallWhenReady<S, Req>,
        journey: Journey,
        kept: Option<R::Kept>,
        // How a request is rewritten, unless each region has a client.
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: Arc<Shared<S, C, R, T>>,
    }

    impl<S, Req, C, R, T> PinnedDrop for ResponseFuture<S, Req, C, R, T>
    where
        S: Service<Req>,
        R: Replay<Req>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Not abandoned by its caller, but ended by a retry for taking too long.
            if this.call.was_called() && !this.journey.answered && CallScope::has_expired() {
                let timeout = Verdict::transient().cause_is(Cause::Timeout);
                this.journey.failed(&this.shared.set, &this.shared.rules, &timeout);
            }
        }
    }
}

/// Where a call has been.
pub(super) struct Journey {
    scope: CallScope,
    pub(super) region: usize,
    /// A retry above makes the attempts.
    retried: bool,
    idempotent: bool,
    called_at: Option<Instant>,
    answered: bool,
}

impl Journey {
    pub(super) fn new(
        scope: CallScope,
        places: &[Place],
        region: usize,
        retried: bool,
        idempotent: bool,
    ) -> Self {
        let scope = scope.at_region(places[region].name);
        Self { scope, region, retried, idempotent, called_at: None, answered: false }
    }

    /// Calls a client that is ready.
    pub(super) fn call<T>(&mut self, call: impl FnOnce() -> T) -> T {
        self.called_at = Some(time::now());
        self.scope.call(call)
    }

    /// Takes in that the attempt in this region failed. The region, if there is
    /// one, that may do better; a retry above hears of it.
    fn failed(&self, set: &RegionSet, rules: &Rules, verdict: &Verdict) -> Option<usize> {
        if rules.is_regions_fault(verdict) {
            set.failed(self.region, verdict);
        } else if verdict.class() == Class::Rejected {
            // The request was at fault, and the region is alive.
            set.succeeded(self.region, None);
        }
        let tried = self.tried();
        let goes_on = rules.may_do_better_elsewhere(verdict) && tried.len() < rules.max_attempts;
        let next = if goes_on { set.choose(&tried, true) } else { None };
        if self.retried {
            scope::note_region(self.region, next.is_some());
        }
        next
    }

    /// The regions tried so far, this one included.
    fn tried(&self) -> Tried {
        let mut tried = self.scope.tried();
        tried.push(self.region);
        tried
    }

    /// When the attempt in this region was sent, time in our own queues apart.
    fn sent_at(&self) -> Option<Instant> {
        self.scope.sent_at().or(self.called_at)
    }
}

impl<S, Req, C, R, T> ResponseFuture<S, Req, C, R, T>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    pub(super) fn new(
        call: CallWhenReady<S, Req>,
        journey: Journey,
        kept: Option<R::Kept>,
        route: Option<fn(&mut Req, &Target<'_>)>,
        shared: Arc<Shared<S, C, R, T>>,
    ) -> Self {
        Self { call, journey, kept, route, shared }
    }
}

impl<S, Req, C, R, T> Future for ResponseFuture<S, Req, C, R, T>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    T: TellRegion<S::Response>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // As often as there are regions to try, which is bounded.
        loop {
            let Journey { scope, called_at, .. } = &mut *this.journey;
            let call = this.call.as_mut();
            let result = ready!(scope.poll(|| {
                call.poll_with(cx, |service, request| {
                    *called_at = Some(time::now());
                    scope::call_later(true, || service.call(request))
                })
            }));
            this.journey.answered = true;
            if let Some(mut output) = this.answered(result.map_err(Into::into)) {
                if let Ok(response) = &mut output {
                    let region = this.shared.set.places()[this.journey.region].name;
                    this.shared.telling.tell(response, region);
                }
                return Poll::Ready(output);
            }
        }
    }
}

impl<S, Req, C, R, T> Project<'_, S, Req, C, R, T>
where
    S: Service<Req> + Clone,
    C: Classify<S::Response>,
    R: Replay<Req>,
{
    /// What goes to the caller after an answer. `None`: nothing yet, the next
    /// region is being called.
    fn answered(
        &mut self,
        result: Result<S::Response, BoxError>,
    ) -> Option<Result<S::Response, BoxError>> {
        let (set, journey) = (&self.shared.set, &mut *self.journey);
        let region = journey.region;
        let seen = result.as_ref().map_err(|error| &**error as _);
        let verdict = self.shared.classifier.classify(seen);
        if verdict.is_success() {
            let took = |sent| time::now().saturating_duration_since(sent);
            let sent_at = journey.sent_at().filter(|_| set.latency_is_by_calls());
            set.succeeded(region, sent_at.map(took));
            return Some(result);
        }
        let next = journey.failed(set, &self.shared.rules, &verdict);
        if !self.journey.retried
            && let Some(next) = next.filter(|_| self.is_safe(&verdict))
            && self.go_on(next, verdict)
        {
            return None;
        }
        let tried = self.journey.tried();
        match result {
            Err(last) if next.is_none() && tried.len() > 1 => {
                let set = &self.shared.set;
                let tried = tried.iter().map(|region| set.places()[region].name).collect();
                Some(Err(RegionsExhausted::new(tried, last).into()))
            }
            result => Some(result),
        }
    }

    fn is_safe(&self, verdict: &Verdict) -> bool {
        self.journey.idempotent || self.shared.rules.non_idempotent || verdict.is_unprocessed()
    }

    /// Calls the next region, if the request can be sent again.
    fn go_on(&mut self, next: usize, verdict: Verdict) -> bool {
        let journey = &mut *self.journey;
        let attempt = journey.scope.tried().len() + 2;
        let last = attempt >= self.shared.rules.max_attempts;
        let again = self.kept.take().and_then(|kept| self.shared.replay.again(kept, last));
        let Some((mut request, kept)) = again else { return false };
        let set = &self.shared.set;
        set.tell(journey.region, FailoverEventKind::FailedOver { cause: verdict.cause() });
        *self.kept = kept;
        if let Some(route) = self.route {
            route(&mut request, &Target::new(set.places(), next));
        }
        journey.scope = journey.scope.leave(journey.region).at_region(set.places()[next].name);
        journey.region = next;
        journey.answered = false;
        self.call.set(CallWhenReady::new(self.shared.client(next), request));
        true
    }
}

impl<S, Req, C, R, T> fmt::Debug for ResponseFuture<S, Req, C, R, T>
where
    S: Service<Req>,
    R: Replay<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
