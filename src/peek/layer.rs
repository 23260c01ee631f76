use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::rules::Rules;
use super::{BodyPrefix, Peek};
use crate::verdict::Verdict;

/// Reads a piece of responses that fail, so that all layers know why.
///
/// The [module](super) says what it reads and understands.
#[derive(Clone, Debug)]
#[must_use]
pub struct PeekLayer {
    rules: Rules,
}

impl PeekLayer {
    /// Reads responses with a status of 400 or more: up to 64 KiB, for at most a second.
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

    /// How many bytes of a body are read at most. Default: 64 KiB. A body whose size hint is longer isn't
    /// read.
    ///
    /// The frame that passes the limit is saved whole, and then no more is read.
    pub fn limit(mut self, bytes: usize) -> Self {
        self.rules.limit = bytes;
        self
    }

    /// How long a body may take after its head. Default: 1 s. Then the response is passed on, judged by
    /// what was read.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = timeout;
        self
    }

    /// Also looks for errors in successes whose content type is JSON. Such a response is passed on only
    /// after it has been read.
    pub fn also_successes(mut self) -> Self {
        self.rules.successes = true;
        self
    }

    /// Also reads gRPC responses up to their trailers, which tell the status. Use it for unary calls
    /// only: a streamed response would be held back until it ends, or reaches the limit or the timeout.
    pub fn grpc_unary(mut self) -> Self {
        self.rules.grpc = true;
        self
    }

    /// Asks this closure first what a response that was read means. If it returns `None`, the
    /// defaults decide. Trailers with a gRPC status that were [read](Self::grpc_unary) come before it.
    ///
    /// The verdict is used as it is. To keep a hint of the head, such as `Retry-After`, add it:
    /// `Verdict::throttled().with_hint(Hint::from_headers(response.headers()))`.
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
        F: Fn(&BodyPrefix<'_>) -> Option<Verdict> + Send + Sync + 'static,
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
