use super::Budget;
use crate::sync::{AtomicU64, Ordering};
use crate::verdict::Verdict;

/// Stops all retries while the upstream fails more than it answers: gRPC's retry throttling.
///
/// It is a bucket of tokens, full at first. Each failed attempt takes a token, even if it isn't
/// retried, and each request adds a fraction of one. Retries are made while the bucket is more than
/// half full. Unlike a [`RetryBudget`](super::RetryBudget) it doesn't bound the load that retries add
/// while few attempts fail.
///
/// From gRFC A6, "Throttling Retry Attempts and Hedged RPCs". Differs: a request adds its
/// fraction when it begins, not when it succeeds, so that a success costs nothing.
///
/// ```
/// use tower_upstream::RetryLayer;
/// use tower_upstream::retry::RetryThrottle;
///
/// let retry = RetryLayer::new().budget(RetryThrottle::new(10, 0.1));
/// # let _ = retry;
/// ```
#[derive(Debug)]
pub struct RetryThrottle {
    /// Counted in thousandths of a token, as are the others: gRPC uses three decimals of the ratio.
    max: u64,
    ratio: u64,
    tokens: AtomicU64,
}

const TOKEN: u64 = 1000;
const TOKEN_F64: f64 = 1000.0;

impl RetryThrottle {
    /// A bucket of `max_tokens` tokens, to which each request adds `token_ratio` tokens: gRPC's
    /// `maxTokens` and `tokenRatio`.
    ///
    /// With zero tokens there are no retries. A ratio that is negative or not a number is taken as zero.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates
    pub fn new(max_tokens: u32, token_ratio: f64) -> Self {
        let max = u64::from(max_tokens) * TOKEN;
        let ratio = ((token_ratio * TOKEN_F64).round() as u64).min(max);
        Self { max, ratio, tokens: AtomicU64::new(max) }
    }

    /// Returns whether retries are made now.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.tokens.load(Ordering::Relaxed) > self.max / 2
    }
}

impl Budget for RetryThrottle {
    fn deposit(&self) {
        // Most of the time it is full, and nothing needs to be written.
        if self.tokens.load(Ordering::Relaxed) < self.max {
            let add = |tokens: u64| Some((tokens + self.ratio).min(self.max));
            _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    fn failed(&self, _: &Verdict) {
        let take = |tokens: u64| Some(tokens.saturating_sub(TOKEN));
        _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }

    fn withdraw(&self, _: &Verdict) -> bool {
        self.allows()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(throttle: &RetryThrottle, times: u32) {
        (0..times).for_each(|_| throttle.failed(&Verdict::transient()));
    }

    #[test]
    fn retries_stop_at_half() {
        let throttle = RetryThrottle::new(10, 0.1);
        fail(&throttle, 4);
        assert!(throttle.withdraw(&Verdict::transient()), "asking takes nothing");
        assert!(throttle.allows());
        fail(&throttle, 1);
        assert!(!throttle.withdraw(&Verdict::transient()));
    }

    #[test]
    fn requests_bring_them_back() {
        let throttle = RetryThrottle::new(10, 0.125);
        fail(&throttle, 1_000);
        (0..40).for_each(|_| throttle.deposit());
        assert!(!throttle.allows(), "five tokens are half");
        throttle.deposit();
        assert!(throttle.allows());
        (0..10_000).for_each(|_| throttle.deposit());
        fail(&throttle, 5);
        assert!(!throttle.allows(), "there are never more than ten");
    }

    #[test]
    fn extremes() {
        assert!(!RetryThrottle::new(0, 1.0).allows());
        for ratio in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            let throttle = RetryThrottle::new(1, ratio);
            fail(&throttle, 1);
            throttle.deposit();
            assert!(!throttle.allows(), "{ratio}");
        }
        let throttle = RetryThrottle::new(u32::MAX, f64::INFINITY);
        fail(&throttle, 1);
        throttle.deposit();
        assert!(throttle.allows());
    }
}
