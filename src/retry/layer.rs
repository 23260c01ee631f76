use tower_layer::Layer;

use super::config::Config;
use super::{Retry, RetryBuilder};
use crate::classify::HttpClassifier;
use crate::replay::HttpReplay;

/// Retries failed requests where that is safe and may help.
///
/// The [module](super) explains when, with an example. All clones, and the services that they make,
/// share one budget. Alone, the layer sets no deadline; [`UpstreamLayer`](crate::UpstreamLayer) sets 2
/// minutes.
#[derive(Clone, Debug)]
#[must_use]
pub struct RetryLayer<C = HttpClassifier, R = HttpReplay> {
    pub(crate) config: Config<C, R>,
}

impl RetryLayer {
    /// Creates a layer that makes at most 3 attempts, waits from 250 ms, doubling up to 10 s, with
    /// full jitter, and obeys hints of up to 60 s. Its budget allows retries for a fifth of the
    /// requests.
    pub fn new() -> Self {
        Self { config: Config::new() }
    }

    /// Returns a builder with the same defaults.
    pub fn builder() -> RetryBuilder {
        RetryBuilder::new()
    }
}

impl<C, R> RetryLayer<C, R> {
    /// Returns a builder with this layer's settings. The layers that it builds share this layer's
    /// budget.
    pub fn into_builder(self) -> RetryBuilder<C, R> {
        RetryBuilder { config: self.config }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, C, R> Layer<S> for RetryLayer<C, R>
where
    S: Clone,
    C: Clone,
    R: Clone,
{
    type Service = Retry<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, self.config.clone())
    }
}
