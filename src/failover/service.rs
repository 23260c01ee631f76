use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use super::FailoverLayer;
use super::future::{Journey, ResponseFuture};
use super::layer::Rules;
use super::route::{Route, Target};
use super::serving::{TellRegion, Untold};
use super::set::RegionSet;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::replay::Replay;
use crate::scope::CallScope;
use crate::spare::{CallWhenReady, Spare};

/// A service whose requests are rewritten to the region that takes them. Made by
/// [`FailoverLayer`] as a layer.
#[derive(Debug)]
pub struct Failover<S, C, R, T = Untold> {
    inner: S,
    shared: Arc<Shared<S, C, R, T>>,
}

/// A service that holds one client a region. Made by [`FailoverLayer::services`].
#[derive(Debug)]
pub struct FailoverServices<S, C, R, T = Untold> {
    shared: Arc<Shared<S, C, R, T>>,
}

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared<S, C, R, T> {
    clients: Clients<S>,
    pub(super) set: Arc<RegionSet>,
    pub(super) rules: Rules,
    pub(super) classifier: C,
    pub(super) replay: R,
    pub(super) telling: T,
}

#[derive(Debug)]
enum Clients<S> {
    One(Spare<S>),
    Each(Box<[Spare<S>]>),
}

impl<S: Clone, C: Clone, R: Clone, T: Clone> Shared<S, C, R, T> {
    fn new(clients: Clients<S>, layer: &FailoverLayer<C, R, T>) -> Arc<Self> {
        Arc::new(Self {
            clients,
            set: Arc::clone(&layer.set),
            rules: layer.rules,
            classifier: layer.classifier.clone(),
            replay: layer.replay.clone(),
            telling: layer.telling.clone(),
        })
    }
}

impl<S: Clone, C, R, T> Shared<S, C, R, T> {
    /// A fresh handle on this region's client.
    pub(super) fn client(&self, region: usize) -> S {
        match &self.clients {
            Clients::One(client) => client.fresh(),
            Clients::Each(clients) => clients[region].fresh(),
        }
    }
}

impl<S: Clone, C: Clone, R: Clone, T: Clone> Failover<S, C, R, T> {
    pub(super) fn new(inner: S, layer: &FailoverLayer<C, R, T>) -> Self {
        let shared = Shared::new(Clients::One(Spare::new(&inner)), layer);
        Self { inner, shared }
    }
}

impl<S: Clone, C: Clone, R: Clone, T: Clone> FailoverServices<S, C, R, T> {
    pub(super) fn new(services: impl Iterator<Item = S>, layer: &FailoverLayer<C, R, T>) -> Self {
        let clients = services.map(|service| Spare::new(&service)).collect();
        Self { shared: Shared::new(Clients::Each(clients), layer) }
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C, R, T> Clone for Failover<S, C, R, T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, C, R, T> Clone for FailoverServices<S, C, R, T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S, Req, C, R, T> Service<Req> for Failover<S, C, R, T>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    T: TellRegion<S::Response>,
    Req: Route,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R, T>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (mut journey, mut request, kept) = self.shared.set_out(request);
        request.route(&Target::new(self.shared.set.places(), journey.region));
        let future = journey.call(|| self.inner.call(request));
        let call = CallWhenReady::calling(future);
        ResponseFuture::new(call, journey, kept, Some(Req::route), Arc::clone(&self.shared))
    }
}

impl<S, Req, C, R, T> Service<Req> for FailoverServices<S, C, R, T>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    T: TellRegion<S::Response>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R, T>;

    /// Always ready: which client a call needs is known only when it is made, and a
    /// region that never gets ready must not hold up the others.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let (journey, request, kept) = self.shared.set_out(request);
        let call = CallWhenReady::new(self.shared.client(journey.region), request);
        ResponseFuture::new(call, journey, kept, None, Arc::clone(&self.shared))
    }
}

impl<S, C, R, T> Shared<S, C, R, T> {
    /// Chooses the first region. Under a retry, which keeps the copy and counts
    /// the attempts, there is one attempt; else what it takes for more is kept.
    fn set_out<Req>(&self, request: Req) -> (Journey, Req, Option<R::Kept>)
    where
        R: Replay<Req>,
    {
        self.set.called();
        let outer = CallScope::offered();
        let scope = CallScope::begin(outer, None);
        // The primary, should a retry come by with all of them tried.
        let failed = scope.attempt() > 1;
        let region = self.set.choose(&scope.tried(), failed).unwrap_or_default();
        let retried = outer.is_some_and(|outer| outer.has_retry());
        let idempotent = !retried && self.replay.is_idempotent(&request);
        let journey = Journey::new(scope, self.set.places(), region, retried, idempotent);
        if retried || self.rules.max_attempts <= 1 || self.set.places().len() == 1 {
            return (journey, request, None);
        }
        let (request, kept) = self.replay.keep(request);
        (journey, request, kept)
    }
}
