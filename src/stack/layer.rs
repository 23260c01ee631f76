use std::sync::Arc;
use std::time::Duration;

use tower::timeout::Timeout;
use tower::util::option_layer;
use tower_layer::Layer;

use super::UpstreamBuilder;
use super::service::{Attempt, Growing, Upstream, UpstreamServices};
use crate::alert::{AlertLayer, Alerts};
use crate::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
use crate::classify::HttpClassifier;
use crate::error::InvalidConfig;
use crate::failover::{FailoverHandle, FailoverLayer, Target};
use crate::key::{ByCredential, ByRegion};
use crate::rate_limit::{RateLimitHandle, RateLimitLayer, UnitCost};
use crate::replay::{HttpReplay, NoReplay};
use crate::retry::RetryLayer;

/// The recommended stack: alert, retry, failover, rate limit, circuit breaker and attempt timeout,
/// checked against each other.
///
/// The [module](super) says what is in it, and has an example. All clones, and the services that
/// they make, share all state.
#[derive(Clone, Debug)]
#[must_use]
pub struct UpstreamLayer<
    C = HttpClassifier,
    R = HttpReplay,
    K = ByCredential,
    B = ByRegion,
    W = UnitCost,
> {
    pub(super) alert: Option<AlertLayer<C>>,
    pub(super) retry: RetryLayer<C, R>,
    pub(super) failover: Option<FailoverLayer<C, NoReplay>>,
    pub(super) rate_limit: RateLimitLayer<C, K, W>,
    pub(super) circuit_breaker: CircuitBreakerLayer<C, B>,
    pub(super) attempt_timeout: Duration,
}

impl UpstreamLayer {
    /// Starts to configure a stack.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::new()
    }
}

impl<C, R, K, B, W> UpstreamLayer<C, R, K, B, W> {
    /// Returns the alerts, if there are any.
    #[must_use]
    pub fn alerts(&self) -> Option<&Alerts> {
        self.alert.as_ref().map(AlertLayer::alerts)
    }

    /// Returns a handle to see and to change the regions, if there are any.
    #[must_use]
    pub fn failover(&self) -> Option<FailoverHandle> {
        self.failover.as_ref().map(FailoverLayer::handle)
    }

    /// Returns a handle to see and to change the limiters.
    #[must_use]
    pub fn rate_limit(&self) -> RateLimitHandle {
        self.rate_limit.handle()
    }

    /// Returns a handle to see and to change the circuits. Its
    /// [`status`](CircuitBreakerHandle::status) is that of the worst circuit.
    #[must_use]
    pub fn circuit_breaker(&self) -> CircuitBreakerHandle {
        self.circuit_breaker.handle()
    }
}

impl<C: Clone, R: Clone, K: Clone, B: Clone, W: Clone> UpstreamLayer<C, R, K, B, W> {
    /// Puts the stack over this client. Does what [`Layer::layer`] does, without that trait in scope.
    pub fn over<S: Clone>(&self, client: S) -> Upstream<S, C, R, K, B, W> {
        self.layer(client)
    }

    /// Puts the stack over one client per region. A tonic channel needs this, as it reaches one
    /// region only. `make` is called once per region; [`add`](UpstreamServices::add) adds regions later.
    ///
    /// ```
    /// # use tower::{BoxError, service_fn, ServiceExt};
    /// # use tower_upstream::failover::{Region, Regions};
    /// # use tower_upstream::{InvalidConfig, UpstreamLayer};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), BoxError> {
    /// let regions = Regions::new([
    ///     Region::new("us-west-2", "https://api.example.com"),
    ///     Region::new("eu-west-1", "https://eu-api.example.com").priority(2),
    /// ])?;
    /// let upstream = UpstreamLayer::builder().regions(regions).build()?;
    /// let client = upstream.services(|region| {
    ///     // With tonic: Channel::builder(region.uri()).connect_lazy()
    ///     let status = if region.name() == "us-west-2" { 503 } else { 200 };
    ///     service_fn(move |_: http::Request<()>| async move {
    ///         http::Response::builder().status(status).body(())
    ///     })
    /// })?;
    /// # assert_eq!(client.oneshot(http::Request::new(())).await?.status(), 200);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the stack was given no regions.
    pub fn services<S: Clone>(
        &self,
        mut make: impl FnMut(&Target<'_>) -> S,
    ) -> Result<UpstreamServices<S, C, R, K, B, W>, InvalidConfig> {
        let failover = self.failover.as_ref().ok_or_else(|| {
            InvalidConfig::new("a client a region needs regions: give the builder `.regions(..)`")
        })?;
        let services = failover.services(|region| self.attempt(make(region)));
        let stack = option_layer(self.alert.clone()).layer(self.retry.layer(services.clone()));
        let regions = Arc::new(Growing { services, layer: self.clone() });
        Ok(UpstreamServices { stack, regions })
    }

    /// The layers that an attempt passes on its way to the client.
    pub(super) fn attempt<S: Clone>(&self, client: S) -> Attempt<S, C, K, B, W> {
        let client = Timeout::new(client, self.attempt_timeout);
        self.rate_limit.layer(self.circuit_breaker.layer(client))
    }
}

impl<S: Clone, C: Clone, R: Clone, K: Clone, B: Clone, W: Clone> Layer<S>
    for UpstreamLayer<C, R, K, B, W>
{
    type Service = Upstream<S, C, R, K, B, W>;

    fn layer(&self, client: S) -> Self::Service {
        let attempt = self.attempt(client);
        let attempt = option_layer(self.failover.clone()).layer(attempt);
        let stack = option_layer(self.alert.clone()).layer(self.retry.layer(attempt));
        Upstream { stack }
    }
}
