use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower_service::Service;

use super::future::ResponseFuture;
use super::route::Route;
use super::selection::LazyNow;
use super::set::Slots;
use super::shared::{Clients, Shared};
use super::{FailoverLayer, Region};
use crate::classify::Classify;
use crate::error::{BoxError, InvalidConfig};
use crate::head::HttpResponse;
use crate::key::{AllCalls, Key};
use crate::replay::Replay;
use crate::scope::CallScope;
use crate::sharded::ShardedArc;
use crate::unready_clone::UnreadyClone;

/// A service that rewrites each request to the region that takes it. Made by [`FailoverLayer`] as a
/// layer.
#[derive(Debug)]
pub struct Failover<S, C, R, K = AllCalls> {
    inner: S,
    key: K,
    shared: Arc<ShardedArc<Shared<S, C, R>>>,
}

/// A service that holds one client a region. Made by [`FailoverLayer::services`].
#[derive(Debug)]
pub struct FailoverServices<S, C, R, K = AllCalls> {
    key: K,
    last: Option<LastKey<S>>,
    shared: Arc<ShardedArc<Shared<S, C, R>>>,
}

/// The client that this handle called last. Kept, since its layers remember their own last look-up.
#[derive(Debug)]
struct LastKey<S> {
    region: usize,
    generation: usize,
    client: S,
}

impl<S: Clone, C: Clone, R: Clone, K: Clone> Failover<S, C, R, K> {
    pub(super) fn new(inner: S, layer: &FailoverLayer<C, R, K>) -> Self {
        let shared = Shared::new(Clients::One(UnreadyClone::new(&inner)), layer);
        Self { inner, key: layer.key.clone(), shared }
    }
}

impl<S: Clone, C: Clone, R: Clone, K: Clone> FailoverServices<S, C, R, K> {
    pub(super) fn new(services: impl Iterator<Item = S>, layer: &FailoverLayer<C, R, K>) -> Self {
        let clients = Slots::new(services.map(|service| UnreadyClone::new(&service)));
        let shared = Shared::new(Clients::Each(clients), layer);
        Self { key: layer.key.clone(), last: None, shared }
    }
}

impl<S: Clone, C, R, K> FailoverServices<S, C, R, K> {
    /// Adds a region and its client to this service and all its clones. Other services of the same layer
    /// don't call the region until they are given a client of their own, in the same way.
    ///
    /// The layer's [handle](super::FailoverHandle) makes all other changes. A region that was removed
    /// there, and is added again under its old name and base, keeps its state and gets this client.
    ///
    /// # Errors
    ///
    /// As [`FailoverHandle::add`](super::FailoverHandle::add), except that a region which is there
    /// already and has no client here is given this one.
    pub fn add(&self, region: Region, service: &S) -> Result<(), InvalidConfig> {
        self.shared.add(region, service)
    }
}

impl<S: Clone, C, R, K> FailoverServices<S, C, R, K> {
    /// This region's client: the one that this handle called last, or a fresh one.
    fn client(&mut self, region: usize) -> &mut S {
        let generation = self.shared.generation();
        let same = |last: &LastKey<S>| (last.region, last.generation) == (region, generation);
        if !self.last.as_ref().is_some_and(same) {
            self.last = None;
        }
        let fresh = || LastKey { region, generation, client: self.shared.client(region) };
        &mut self.last.get_or_insert_with(fresh).client
    }
}

/// A clone isn't ready: readiness stays with the handle that was readied.
impl<S: Clone, C, R, K: Clone> Clone for Failover<S, C, R, K> {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { inner: self.inner.clone(), key: self.key.clone(), shared }
    }
}

impl<S, C, R, K: Clone> Clone for FailoverServices<S, C, R, K> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), last: None, shared: Arc::clone(&self.shared) }
    }
}

impl<S, Req, C, R, K> Service<Req> for Failover<S, C, R, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    K: Key<Req>,
    Req: Route,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R>;

    /// Ready when the inner service is.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let (shared, now) = (self.shared.shard_ref(), LazyNow::default());
        let mut request_state = shared.set_out(&self.key, &request, &now);
        let before = request_state.before_future(&shared.set);
        let saved = shared.keep(before.request_state, &mut request);
        let Some(region) = before.request_state.under_way() else {
            // The call waits, so it won't use the readiness of this client: let go of it.
            self.inner = shared.client(before.request_state.region());
            before.passes();
            return ResponseFuture::waiting(
                request,
                request_state,
                saved,
                Some(Req::route),
                shared,
            );
        };
        request.route(&shared.set.target(region));
        let within = before.request_state.calling(&shared.set, &now);
        let future = self.inner.call(request);
        drop(within);
        before.passes();
        ResponseFuture::calling(future, request_state, saved, Some(Req::route), shared)
    }
}

impl<S, Req, C, R, K> Service<Req> for FailoverServices<S, C, R, K>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response>,
    R: Replay<Req>,
    K: Key<Req>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ResponseFuture<S, Req, C, R>;

    /// Always ready. Which client a call needs is known only when the call is made, and a
    /// region that never gets ready must not hold up the others.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let (shared, now) = (self.shared.shard_ref(), LazyNow::default());
        let mut request_state = shared.set_out(&self.key, &request, &now);
        let before = request_state.before_future(&shared.set);
        let saved = shared.keep(before.request_state, &mut request);
        let Some(region) = before.request_state.under_way() else {
            before.passes();
            return ResponseFuture::waiting(request, request_state, saved, None, shared);
        };
        let client = self.client(region);
        // No waker: if the client isn't ready, the future waits for a fresh one.
        if let Poll::Ready(Ok(())) = client.poll_ready(&mut Context::from_waker(Waker::noop())) {
            let within = before.request_state.calling(&shared.set, &now);
            let future = client.call(request);
            drop(within);
            before.passes();
            return ResponseFuture::calling(future, request_state, saved, None, shared);
        }
        // This handle of the client may have a place in a queue, so it is dropped.
        self.last = None;
        before.passes();
        ResponseFuture::ready_race(request, request_state, saved, shared)
    }
}

/// The name of the region that served a response, in its extensions where
/// [`insert_into`](Self::insert_into) put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServingRegion(pub &'static str);

impl ServingRegion {
    /// Puts the region into a response's extensions. For tower's `map_response`, between the
    /// failover and its client:
    ///
    /// ```
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_upstream::BoxError;
    /// use tower_upstream::failover::{FailoverLayer, Region, Regions, ServingRegion};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let regions = Regions::new([Region::new("us-west-2", "https://api.example.com/v1")])?;
    /// let client = ServiceBuilder::new()
    ///     .layer(FailoverLayer::new(regions))
    ///     .map_response(ServingRegion::insert_into)
    ///     .service(service_fn(|_: http::Request<()>| async {
    ///         Ok::<_, BoxError>(http::Response::new(()))
    ///     }));
    ///
    /// let result = client.oneshot(http::Request::get("/models").body(())?).await?;
    /// assert_eq!(result.extensions().get(), Some(&ServingRegion("us-west-2")));
    /// # Ok(()) }
    /// ```
    ///
    /// Of failovers above one another, the lowest one's region. Where none is above, or what stands
    /// between is [out of the call's scope](crate::scope#where-it-reaches-and-where-not), such as
    /// tower's `Buffer`, the response stays as it is.
    #[must_use]
    pub fn insert_into<Res: HttpResponse>(mut response: Res) -> Res {
        let region = CallScope::current().and_then(|scope| scope.region());
        if let (Some(region), Some(extensions)) = (region, response.extensions_mut()) {
            extensions.insert(Self(region));
        }
        response
    }
}
