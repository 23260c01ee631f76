use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower_service::Service;

use super::future::ResponseFuture;
use super::journey::Journey;
use super::route::Route;
use super::search::{Moment, Search};
use super::serving::{TellRegion, Untold};
use super::set::RegionSet;
use super::slots::Slots;
use super::{FailoverLayer, Region};
use crate::classify::Classify;
use crate::error::{BoxError, InvalidConfig};
use crate::key::{AllCalls, Key};
use crate::replay::{Override, Replay};
use crate::scope::{CallScope, Tried};
use crate::spare::Spare;
use crate::stripe::Spread;
use crate::time;

/// A service whose requests are rewritten to the region that takes them. Made by
/// [`FailoverLayer`] as a layer.
#[derive(Debug)]
pub struct Failover<S, C, R, T = Untold, K = AllCalls> {
    inner: S,
    key: K,
    shared: Arc<Spread<Shared<S, C, R, T>>>,
}

/// A service that holds one client a region. Made by [`FailoverLayer::services`].
#[derive(Debug)]
pub struct FailoverServices<S, C, R, T = Untold, K = AllCalls> {
    key: K,
    shared: Arc<Spread<Shared<S, C, R, T>>>,
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared<S, C, R, T> {
    clients: Clients<S>,
    pub(super) set: Arc<RegionSet>,
    pub(super) classifier: C,
    pub(super) replay: R,
    pub(super) telling: T,
}

#[derive(Debug)]
enum Clients<S> {
    One(Spare<S>),
    /// By the region's number.
    Each(Slots<Spare<S>>),
}

impl<S: Clone, C: Clone, R: Clone, T: Clone> Shared<S, C, R, T> {
    fn new<K>(clients: Clients<S>, layer: &FailoverLayer<C, R, T, K>) -> Arc<Spread<Self>> {
        Arc::new(Spread::new(Self {
            clients,
            set: Arc::clone(&layer.set),
            classifier: layer.classifier.clone(),
            replay: layer.replay.clone(),
            telling: layer.telling.clone(),
        }))
    }
}

impl<S: Clone, C, R, T> Shared<S, C, R, T> {
    /// A fresh handle on this region's client.
    pub(super) fn client(&self, region: usize) -> S {
        match &self.clients {
            Clients::One(client) => client.fresh(),
            Clients::Each(clients) => {
                clients.get(region).expect("a region without a client isn't chosen").fresh()
            }
        }
    }
}

impl<S: Clone, C: Clone, R: Clone, T: Clone, K: Clone> Failover<S, C, R, T, K> {
    pub(super) fn new(inner: S, layer: &FailoverLayer<C, R, T, K>) -> Self {
        let shared = Shared::new(Clients::One(Spare::new(&inner)), layer);
        Self { inner, key: layer.key.clone(), shared }
    }
}

impl<S: Clone, C: Clone, R: Clone, T: Clone, K: Clone> FailoverServices<S, C, R, T, K> {
    pub(super) fn new(
        services: impl Iterator<Item = S>,
        layer: &FailoverLayer<C, R, T, K>,
    ) -> Self {
        let clients = Slots::new(services.map(|service| Spare::new(&service)));
        Self { key: layer.key.clone(), shared: Shared::new(Clients::Each(clients), layer) }
    }
}

impl<S: Clone, C, R, T, K> FailoverServices<S, C, R, T, K> {
    /// Adds a region and its client, which all clones of this service have then. Other services
    /// of the same layer don't call it until they are given a client of their own, in the same way.
    ///
    /// All else is changed by the layer's [handle](super::FailoverHandle). A region that was removed
    /// there, and comes back under its old name and base, has its state still, and this client.
    ///
    /// # Errors
    ///
    /// As [`FailoverHandle::add`](super::FailoverHandle::add); but a region that is there already,
    /// and has no client here, is given this one.
    pub fn add(&self, region: Region, service: &S) -> Result<(), InvalidConfig> {
        let Clients::Each(clients) = &self.shared.clients else { return Ok(()) };
        let number = self.shared.set.add_unless(region, |number| clients.get(number).is_none())?;
        if !clients.put(number, Spare::new(service))
            && let Some(client) = clients.get(number)
        {
            client.replace(service);
        }
        Ok(())
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C, R, T, K: Clone> Clone for Failover<S, C, R, T, K> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { inner: self.inner.clone(), key: self.key.clone(), shared }
    }
}

impl<S, C, R, T, K: Clone> Clone for FailoverServices<S, C, R, T, K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, Req, C, R, T, K> Service<Req> for Failover<S, C, R, T, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    T: TellRegion<S::Response>,
    K: Key<Req>,
    Req: Route,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R, T>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let moment = Moment::default();
        let shared = self.shared.handle();
        let mut journey = shared.journey(&self.key, &request, &moment);
        shared.set_out(&mut journey, &moment);
        let mut kept = None;
        if shared.may_go_on(&journey) {
            (request, kept) = shared.replay.keep(request);
        }
        if !journey.is_under_way() {
            // It lets go of the readiness that it won't use.
            self.inner = shared.client(journey.region());
            return ResponseFuture::waiting(request, journey, kept, Some(Req::route), shared);
        }
        request.route(&shared.set.target(journey.region()));
        let future = journey.call(&shared.set, || self.inner.call(request));
        ResponseFuture::calling(future, journey, kept, Some(Req::route), shared)
    }
}

impl<S, Req, C, R, T, K> Service<Req> for FailoverServices<S, C, R, T, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    T: TellRegion<S::Response>,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R, T>;

    /// Always ready: which client a call needs is known only when it is made, and a
    /// region that never gets ready must not hold up the others.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let moment = Moment::default();
        let shared = self.shared.handle();
        let mut journey = shared.journey(&self.key, &request, &moment);
        shared.set_out(&mut journey, &moment);
        let mut kept = None;
        if shared.may_go_on(&journey) {
            (request, kept) = shared.replay.keep(request);
        }
        if !journey.is_under_way() {
            return ResponseFuture::waiting(request, journey, kept, None, shared);
        }
        let mut client = shared.client(journey.region());
        // Nobody need be woken: where it isn't ready, the future asks another handle.
        match client.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let future = journey.call(&shared.set, || client.call(request));
                ResponseFuture::calling(future, journey, kept, None, shared)
            }
            _ => ResponseFuture::readying(request, journey, kept, shared),
        }
    }
}

impl<S, C, R, T> Shared<S, C, R, T> {
    /// Whether there is a client for this region.
    pub(super) fn can_call(&self, region: usize) -> bool {
        match &self.clients {
            Clients::One(_) => true,
            Clients::Each(clients) => clients.get(region).is_some(),
        }
    }

    /// A call begins. Under a retry, which keeps the copy and counts the attempts, there is one
    /// attempt. Under another failover, which has the retry for its own regions, there is a loop
    /// here, as without one.
    fn journey<Req>(&self, key: &impl Key<Req>, request: &Req, moment: &Moment) -> Journey
    where
        R: Replay<Req>,
    {
        self.set.called();
        let sticky = key.key(request).hashed();
        let most = self.set.settings.rules.max_attempts;
        match CallScope::offered() {
            Some(outer) if outer.retry_moves() => Journey::new(outer, true, false, most, sticky),
            outer => {
                let Override { deadline, max_attempts } = self.replay.overrides(request);
                let deadline = deadline.map(|deadline| time::after(moment.get(), deadline));
                let scope = CallScope::begin(outer, deadline).among_new_regions();
                let asked = max_attempts.map_or(usize::MAX, |most| most as usize);
                let idempotent = self.replay.is_idempotent(request);
                Journey::new(scope, false, idempotent, most.min(asked), sticky)
            }
        }
    }

    /// Chooses the first region.
    #[inline]
    fn set_out(&self, journey: &mut Journey, moment: &Moment) {
        let preferred = self.set.preferred().filter(|(region, _)| self.can_call(*region));
        match preferred.filter(|_| journey.is_first()) {
            Some((region, state)) => journey.goes_to(region, state, state.begins(0)),
            None => self.look_around(journey, moment),
        }
    }

    #[cold]
    fn look_around(&self, journey: &mut Journey, moment: &Moment) {
        let search = journey.search(journey.scope.tried(), journey.scope.attempt() > 1);
        // Should a retry come by with all of them tried, it begins anew.
        let anew = Search { tried: Tried::NONE, again: true, ..search };
        if !self.choose(journey, &search, moment) && search.tried.len() > 0 {
            self.choose(journey, &anew, moment);
        }
    }

    /// Sends the journey to the region that is the best now. False: there is none.
    pub(super) fn choose(&self, journey: &mut Journey, search: &Search, moment: &Moment) -> bool {
        while let Some(region) = self.set.find(search, moment, |region| self.can_call(region)) {
            let state = self.set.state(region);
            if let Some(begun) = self.set.begins(state, moment) {
                journey.goes_to(region, state, begun);
                return true;
            }
        }
        false
    }

    /// The client of the region that is the next choice, of those that take calls.
    pub(super) fn next_client(&self, mut search: Search, waited_for: Tried) -> Option<(usize, S)>
    where
        S: Clone,
    {
        // There are no others where all have one.
        let Clients::Each(_) = &self.clients else { return None };
        waited_for.iter().for_each(|region| search.tried.push(region));
        let moment = Moment::default();
        let region = self.set.find_well(&search, &moment, |region| self.can_call(region))?;
        Some((region, self.client(region)))
    }

    /// Whether another attempt may follow here, so that a copy must be kept.
    fn may_go_on(&self, journey: &Journey) -> bool {
        !journey.is_retried() && !journey.is_last() && self.set.slots.get(1).is_some()
    }
}
