use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tower::Layer;
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};
use tower_resilience::retry::{RetryBudgetBuilder, RetryLayer as TheirRetryLayer};
use tower_upstream::RetryLayer;

use super::{Row, no_op_observer, ours, peer, typed};
use crate::bare::Bare;
use crate::content::Content;
use crate::subject::Serves;

pub(super) fn rows() -> Vec<Row> {
    [
        ours(("retry", "4 attempts, with a budget"), |observed| layer(observed).layer(Bare)),
        peer(("tower_retry", "tower 0.5, 4 attempts, TpsBudget::default()"), || {
            tower().layer(Bare)
        }),
        typed(
            ("tower_resilience_retry", "tower-resilience 0.13, 4 attempts, token bucket"),
            || theirs::<(), _>(Bare),
            || theirs::<Bytes, _>(Bare),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn layer(observed: bool) -> RetryLayer {
    let builder = RetryLayer::builder();
    let builder = if observed { builder.observer(no_op_observer()) } else { builder };
    builder.build().expect("the settings are valid")
}

pub(super) fn tower() -> tower::retry::RetryLayer<TowerPolicy> {
    let budget = Arc::new(TpsBudget::default());
    tower::retry::RetryLayer::new(TowerPolicy { budget, left: ATTEMPTS - 1 })
}

/// The default of `RetryLayer`.
const ATTEMPTS: usize = 4;

/// A policy with a budget, as in tower's documentation.
#[derive(Clone)]
pub struct TowerPolicy {
    budget: Arc<TpsBudget>,
    left: usize,
}

impl<B: Clone, Res, E> Policy<Request<B>, Res, E> for TowerPolicy {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        if self.left == 0 || !self.budget.withdraw() {
            return None;
        }
        self.left -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

/// Returns tower-resilience's retry with the default token bucket.
pub(super) fn theirs<B, S>(inner: S) -> impl Serves<B, Error = S::Error>
where
    B: Content + Clone,
    S: Serves<B, Error: Send>,
{
    let bucket = RetryBudgetBuilder::new().token_bucket().build().expect("valid defaults");
    let layer: TheirRetryLayer<Request<B>, _, _> = TheirRetryLayer::builder()
        .max_attempts(ATTEMPTS)
        .exponential_backoff(Duration::from_millis(100))
        .budget(bucket)
        .build();
    layer.layer(inner)
}
