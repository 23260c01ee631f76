use std::sync::Arc;
use std::task::{Context, Poll};

use tower::timeout::Timeout;
use tower::util::Either;
use tower_service::Service;

use super::UpstreamLayer;
use crate::alert::AlertService;
use crate::circuit_breaker::CircuitBreaker;
use crate::classify::{Classify, HttpClassifier};
use crate::error::{BoxError, InvalidConfig};
use crate::failover::{Failover, FailoverServices, Region, Route};
use crate::head::HttpRequest;
use crate::key::{ByCredential, ByRegion, Key};
use crate::rate_limit::{Cost, RateLimit, Settle, UnitCost};
use crate::replay::{HttpReplay, NoReplay, Replay};
use crate::retry::Retry;

/// The layers that an attempt passes on its way to the client.
pub(super) type Attempt<S, C, K, B, W> = RateLimit<Tripping<S, C, B>, C, K, W>;
pub(super) type Tripping<S, C, B> = CircuitBreaker<Timeout<S>, C, B>;

/// The layers that repeat attempts, in several regions if there are any.
pub(super) type Retrying<S, C, R, K, B, W> =
    Retry<Optional<Failover<Attempt<S, C, K, B, W>, C, NoReplay>, Attempt<S, C, K, B, W>>, C, R>;
pub(super) type RetryingServices<S, C, R, K, B, W> = Retry<InRegions<S, C, K, B, W>, C, R>;
type InRegions<S, C, K, B, W> = FailoverServices<Attempt<S, C, K, B, W>, C, NoReplay>;

/// A layer that is optional; without it, the service that it would be over.
type Optional<Layer, Inner> = Either<Layer, Inner>;
type Alerted<S, C> = Optional<AlertService<S, C>, S>;

/// A client behind all layers of the stack. Made by [`UpstreamLayer`](super::UpstreamLayer).
///
/// Its clones share all state. See the [module](super) for an example.
#[derive(Clone, Debug)]
pub struct Upstream<
    S,
    C = HttpClassifier,
    R = HttpReplay,
    K = ByCredential,
    B = ByRegion,
    W = UnitCost,
> {
    pub(super) stack: Alerted<Retrying<S, C, R, K, B, W>, C>,
}

/// Like [`Upstream`], over one client per region. Made by
/// [`UpstreamLayer::services`](super::UpstreamLayer::services).
#[derive(Clone, Debug)]
pub struct UpstreamServices<
    S,
    C = HttpClassifier,
    R = HttpReplay,
    K = ByCredential,
    B = ByRegion,
    W = UnitCost,
> {
    pub(super) stack: Alerted<RetryingServices<S, C, R, K, B, W>, C>,
    pub(super) regions: Arc<Growing<S, C, R, K, B, W>>,
}

/// What adding a region needs.
#[derive(Debug)]
pub(super) struct Growing<S, C, R, K, B, W> {
    pub(super) services: InRegions<S, C, K, B, W>,
    pub(super) layer: UpstreamLayer<C, R, K, B, W>,
}

impl<S: Clone, C: Clone, R: Clone, K: Clone, B: Clone, W: Clone>
    UpstreamServices<S, C, R, K, B, W>
{
    /// Adds a region, and its client behind the same layers, to all clones of this service. See
    /// [`FailoverServices::add`]. To remove or change regions use [`UpstreamLayer::failover`].
    ///
    /// # Errors
    ///
    /// As [`FailoverHandle::add`](crate::failover::FailoverHandle::add).
    pub fn add(&self, region: Region, client: &S) -> Result<(), InvalidConfig> {
        let Growing { services, layer } = &*self.regions;
        services.add(region, &layer.attempt(client.clone()))
    }
}

impl<S, Req, C, R, K, B, W> Service<Req> for Upstream<S, C, R, K, B, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
    R: Replay<Req> + Clone,
    K: Key<Req> + Clone,
    B: Key<Req> + Clone,
    W: Cost<Req> + Settle<S::Response> + Clone,
    Req: HttpRequest + Route,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = <Alerted<Retrying<S, C, R, K, B, W>, C> as Service<Req>>::Future;

    /// Ready at once if calls have a deadline, as they do by default: the call itself then waits for
    /// the client. Without a deadline, ready when the client is, or when a circuit isn't closed.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.stack.call(request)
    }
}

impl<S, Req, C, R, K, B, W> Service<Req> for UpstreamServices<S, C, R, K, B, W>
where
    S: Service<Req> + Clone,
    S::Error: Into<BoxError>,
    C: Classify<S::Response> + Clone,
    R: Replay<Req> + Clone,
    K: Key<Req> + Clone,
    B: Key<Req> + Clone,
    W: Cost<Req> + Settle<S::Response> + Clone,
    Req: HttpRequest,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = <Alerted<RetryingServices<S, C, R, K, B, W>, C> as Service<Req>>::Future;

    /// Always ready: which client a call needs is known only when it is made.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.stack.call(request)
    }
}
