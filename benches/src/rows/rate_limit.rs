use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, RateLimiter};
use http::Request;
use tower::{Layer, Service};
use tower_resilience::ratelimiter::RateLimiterLayer as TheirLayer;
use tower_upstream::{Quota, RateLimitLayer};

use super::{Row, no_op_observer, ours, peer};
use crate::bare::Bare;

/// A rate above what can be measured, per second.
pub(super) const PLENTY: u32 = 1_000_000_000;

pub(super) fn rows() -> Vec<Row> {
    [
        ours(("rate_limit", "paced, 10⁹ a second"), |observed| layer(observed).layer(Bare)),
        // The log has its maximum length, and every entry has expired.
        ours(("rate_limit_strict", "strict, the longest log"), |observed| {
            built(Quota::new(u32::MAX, Duration::from_nanos(1)), observed).layer(Bare)
        }),
        peer(("governor", "governor 0.10, 10⁹ a second"), || Governed::new(Bare)),
        peer(
            ("tower_resilience_rate_limiter", "tower-resilience 0.13, 10⁹ a second, fixed window"),
            || theirs().layer(Bare),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn layer(observed: bool) -> RateLimitLayer {
    built(Quota::per_second(PLENTY).burst(PLENTY), observed)
}

fn built(quota: Quota, observed: bool) -> RateLimitLayer {
    let builder = RateLimitLayer::builder(quota);
    let builder = if observed { builder.observer(no_op_observer()) } else { builder };
    builder.build().expect("valid settings")
}

pub(super) fn theirs() -> TheirLayer {
    TheirLayer::per_second(PLENTY as usize).build().expect("a valid configuration")
}

/// governor's check as a service, on the standard library's clock.
#[derive(Clone)]
struct Governed<S> {
    limiter: Arc<DefaultDirectRateLimiter>,
    inner: S,
}

impl<S> Governed<S> {
    fn new(inner: S) -> Self {
        let plenty = NonZeroU32::new(PLENTY).expect("not zero");
        let limiter = RateLimiter::direct(governor::Quota::per_second(plenty));
        Self { limiter: Arc::new(limiter), inner }
    }
}

impl<B, S> Service<Request<B>> for Governed<S>
where
    S: Service<Request<B>, Future: Unpin>,
{
    type Response = S::Response;
    type Error = Limited<S::Error>;
    type Future = Checked<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Limited::Inner)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Checked(self.limiter.check().is_ok().then(|| self.inner.call(request)))
    }
}

/// The inner service's future, or `None` if governor refused the call.
struct Checked<F>(Option<F>);

enum Limited<E> {
    Refused,
    Inner(E),
}

impl<T, E, F: Future<Output = Result<T, E>> + Unpin> Future for Checked<F> {
    type Output = Result<T, Limited<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Some(inner) => Pin::new(inner).poll(cx).map_err(Limited::Inner),
            None => Poll::Ready(Err(Limited::Refused)),
        }
    }
}
