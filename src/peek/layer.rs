use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::body::BodyPrefix;
use super::config::Config;
use super::service::Peek;
use crate::error::InvalidConfig;
use crate::verdict::Verdict;

/// Reads the beginning of failed responses, so that all layers know their cause.
///
/// The [module](super) describes which responses it reads and which formats it understands.
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekLayer {
    config: Config,
}

impl PeekLayer {
    /// Creates a layer that reads responses with a status of 400 or more: up to 64 KiB, for at most
    /// a second.
    pub fn new() -> Self {
        Self { config: Config::default() }
    }

    /// Returns a builder with the same defaults.
    pub fn builder() -> PeekBuilder {
        PeekBuilder { config: Config::default() }
    }
}

impl Default for PeekLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for PeekLayer {
    type Service = Peek<S>;

    fn layer(&self, inner: S) -> Peek<S> {
        Peek::new(inner, Arc::new(self.config.clone()))
    }
}

/// A builder of a [`PeekLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekBuilder {
    config: Config,
}

impl PeekBuilder {
    /// Sets how many bytes of a body are read at most. Default: 64 KiB. A body with a longer size
    /// hint isn't read.
    ///
    /// The frame that exceeds the limit is kept whole, and no further one is read.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.config.limit = bytes;
        self
    }

    /// Sets how long a body may take after its head. Default: 1 s. After that, the response is passed
    /// on with a verdict on the data read so far.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// Also looks for errors in successes whose content type is JSON. Such a response is passed on
    /// only after it has been read.
    pub fn also_successes(mut self) -> Self {
        self.config.successes = true;
        self
    }

    /// Also reads gRPC responses up to their trailers, which contain the status. Use it for unary
    /// calls only: a streamed response would be delayed until it ends, or reaches the limit or the
    /// timeout.
    pub fn grpc_unary(mut self) -> Self {
        self.config.grpc = true;
        self
    }

    /// Sets a closure that decides first about a response that was read. If it returns `None`, the
    /// defaults decide. A gRPC status in trailers that were [read](Self::grpc_unary) has precedence.
    ///
    /// The verdict is used as it is. To keep a hint of the head, such as `Retry-After`, add it:
    /// `Verdict::throttled().with_hint(Hint::from_headers(response.headers()))`.
    ///
    /// ```
    /// use tower_upstream::PeekLayer;
    /// use tower_upstream::classify::Verdict;
    ///
    /// let spent = |response: &tower_upstream::peek::BodyPrefix<'_>| {
    ///     let text = str::from_utf8(response.body()).ok()?;
    ///     text.contains("credit balance is too low").then(Verdict::quota_exhausted)
    /// };
    /// let peek = PeekLayer::builder().classify_body_fn(spent).build()?;
    /// # let _ = peek;
    /// # Ok::<_, tower_upstream::InvalidConfig>(())
    /// ```
    pub fn classify_body_fn<F>(mut self, f: F) -> Self
    where
        F: Fn(&BodyPrefix<'_>) -> Option<Verdict> + Send + Sync + 'static,
    {
        self.config.classify_body = Some(Arc::new(f));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// If the limit or the timeout is zero, so that nothing could be read.
    pub fn build(self) -> Result<PeekLayer, InvalidConfig> {
        if self.config.limit == 0 || self.config.timeout.is_zero() {
            return Err(InvalidConfig::new(
                "a peek limit or timeout of zero reads nothing; raise it or remove the layer",
            ));
        }
        Ok(PeekLayer { config: self.config })
    }
}
