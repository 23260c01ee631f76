use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::rules::Rules;
use super::{Excerpt, Peek};
use crate::classify::Verdict;

/// Reads a piece of responses that fail, so that all layers know why.
///
/// See the [module](super) for what it reads and understands.
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekLayer {
    rules: Rules,
}

impl PeekLayer {
    /// Reads responses of a status of 400 or more: up to 64 KiB, for at most a second.
    pub fn new() -> Self {
        let rules = Rules {
            limit: 64 * 1024,
            timeout: Duration::from_secs(1),
            successes: false,
            grpc: false,
            judge: None,
        };
        Self { rules }
    }

    /// Up to how many bytes are read. Default: 64 KiB. A body that says it is longer isn't read.
    ///
    /// The piece of a body that passes the limit is kept, and no more is read.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.rules.limit = bytes;
        self
    }

    /// How long a body may take from its head on. Default: 1 s. After that the response is handed on
    /// as far as it came.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = timeout;
        self
    }

    /// Also looks for errors in successes whose content type is JSON. They are handed on when they
    /// have been read.
    pub fn also_successes(mut self) -> Self {
        self.rules.successes = true;
        self
    }

    /// Also reads gRPC responses up to their trailers, which tell the status. For unary calls:
    /// what streams would be held back until it ends, or up to limit and timeout.
    pub fn grpc_unary(mut self) -> Self {
        self.rules.grpc = true;
        self
    }

    /// Asks this first what a response that was read means, unless it has trailers with a gRPC status
    /// that are [read](Self::grpc_unary). `None`: what is understood by default.
    ///
    /// The verdict is taken as it is. For what the head asked for beside it, such as a `Retry-After`, give it
    /// that hint: `Verdict::throttled().hint_is(Hint::from_headers(response.headers()))`.
    ///
    /// ```
    /// use tower_upstream::PeekLayer;
    /// use tower_upstream::classify::Verdict;
    ///
    /// let peek = PeekLayer::new().judge_fn(|response| {
    ///     let text = str::from_utf8(response.body()).ok()?;
    ///     text.contains("credit balance is too low").then(Verdict::quota_exhausted)
    /// });
    /// # let _ = peek;
    /// ```
    pub fn judge_fn<F>(mut self, f: F) -> Self
    where
        F: Fn(&Excerpt<'_>) -> Option<Verdict> + Send + Sync + 'static,
    {
        self.rules.judge = Some(Arc::new(f));
        self
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
        Peek::new(inner, Arc::new(self.rules.clone()))
    }
}
