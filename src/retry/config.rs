use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::backoff::Backoff;
use super::budget::{Budget, RetryBudget};
use super::decision::{HintUse, Policy};
use crate::classify::HttpClassifier;
use crate::error::InvalidConfig;
use crate::event::Observers;
use crate::random::RandomSource;
use crate::replay::{HttpReplay, Replay};
use crate::unready_clone::UnreadyClone;

/// State that all clones of a service share.
#[derive(Debug)]
pub(super) struct Shared<S, C, R> {
    pub(super) unready: UnreadyClone<S>,
    pub(super) config: Config<C, R>,
}

/// The settings of a retry layer.
#[derive(Clone)]
pub(crate) struct Config<C, R> {
    pub(super) name: Arc<str>,
    pub(crate) policy: Policy,
    pub(super) budget: Option<Arc<dyn Budget>>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    /// Whether a layer below has an attempt timeout.
    pub(crate) timed_below: bool,
    pub(super) credential_error: bool,
    pub(super) keep_last_response: bool,
    pub(super) attempt_headers: AttemptHeaders,
    pub(super) random: RandomSource,
    pub(crate) observers: Observers,
    pub(crate) classifier: C,
    pub(crate) replay: R,
}

impl Config<HttpClassifier, HttpReplay> {
    pub(super) fn new() -> Self {
        Self {
            name: Arc::from("upstream"),
            policy: Policy {
                max_attempts: 3,
                backoff: Backoff::default(),
                hint_use: HintUse::Floor,
                hint_cap: Duration::from_secs(60),
                non_idempotent: false,
                fail_fast: false,
                retry_if: None,
            },
            budget: Some(Arc::new(RetryBudget::default())),
            deadline: None,
            attempt_timeout: None,
            timed_below: false,
            credential_error: false,
            keep_last_response: false,
            attempt_headers: AttemptHeaders::default(),
            random: RandomSource::default(),
            observers: Observers::default(),
            classifier: HttpClassifier::new(),
            replay: HttpReplay::new(),
        }
    }
}

impl<C, R> Config<C, R> {
    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        if self.policy.max_attempts == 0 {
            return Err(InvalidConfig::new(
                "max_attempts is 0, so nothing is sent; set at least 1",
            ));
        }
        for (name, time) in [("deadline", self.deadline), ("attempt_timeout", self.attempt_timeout)]
        {
            if time == Some(Duration::ZERO) {
                let message = format!("{name} is zero, so every call fails; set a longer time");
                return Err(InvalidConfig::new(message));
            }
        }
        Ok(())
    }

    /// Replaces the classifier and the replay strategy.
    pub(super) fn map<C2, R2>(self, f: impl FnOnce(C, R) -> (C2, R2)) -> Config<C2, R2> {
        let (classifier, replay) = f(self.classifier, self.replay);
        Config {
            name: self.name,
            policy: self.policy,
            budget: self.budget,
            deadline: self.deadline,
            attempt_timeout: self.attempt_timeout,
            timed_below: self.timed_below,
            credential_error: self.credential_error,
            keep_last_response: self.keep_last_response,
            attempt_headers: self.attempt_headers,
            random: self.random,
            observers: self.observers,
            classifier,
            replay,
        }
    }

    /// Returns whether calls have a deadline, unless a request overrides it.
    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline < Duration::MAX)
    }

    /// Returns whether attempts have a timeout that ends before the deadline.
    pub(super) fn has_attempt_timeout(&self) -> bool {
        let is_shorter = |timeout| self.deadline.is_none_or(|deadline| timeout < deadline);
        self.timed_below || self.attempt_timeout.is_some_and(is_shorter)
    }

    /// Adds this layer's headers to the first attempt's request, with an idempotency key only if the
    /// request may be `repeated`. Returns whether the request has such a key.
    pub(super) fn write_headers<Req>(&self, request: &mut Req, repeated: bool) -> bool
    where
        R: Replay<Req>,
    {
        self.write_retry_count(request, 0);
        let (Some(name), true) = (&self.attempt_headers.idempotency_key, repeated) else {
            return false;
        };
        let Some(headers) = self.replay.headers_mut(request) else { return false };
        if headers.contains_key(name) {
            return true;
        }
        let bits = if self.random.is_seeded() {
            self.random.draw(|random| random.u128(..))
        } else {
            unique_bits()
        };
        // An insert fails if the headers are full.
        HeaderValue::try_from(uuid(bits)).is_ok_and(|key| headers.try_insert(name, key).is_ok())
    }

    /// Writes the number of the retry, 0 for the first attempt, if the layer is configured to and the
    /// headers have room.
    pub(super) fn write_retry_count<Req>(&self, request: &mut Req, retry: u32)
    where
        R: Replay<Req>,
    {
        if let Some(name) = &self.attempt_headers.retry_count
            && let Some(headers) = self.replay.headers_mut(request)
        {
            _ = headers.try_insert(name, HeaderValue::from(retry));
        }
    }
}

impl<C, R> std::fmt::Debug for Config<C, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("deadline", &self.deadline)
            .field("attempt_timeout", &self.attempt_timeout)
            .finish_non_exhaustive()
    }
}

/// The names of the headers that the layer adds to requests, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptHeaders {
    pub(super) idempotency_key: Option<HeaderName>,
    pub(super) retry_count: Option<HeaderName>,
}

impl AttemptHeaders {
    pub(super) fn any(&self) -> bool {
        self.idempotency_key.is_some() || self.retry_count.is_some()
    }
}

/// Returns random bits that are unique across processes. They come from the keys of the standard
/// library's hash maps, which the operating system generates.
fn unique_bits() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(()));
    half() << 64 | half()
}

/// Returns a random UUID (RFC 9562 §5.4), of version 4 and the usual variant.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (time, rest) = hex.split_at(8);
    format!("{time}-{}-{}-{}-{}", &rest[..4], &rest[4..8], &rest[8..12], &rest[12..])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uuid_from_bits_has_version_4() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let sample = uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(sample, "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn unique_bits_across_threads_never_repeat() {
        let keys = || (0..10_000).map(|_| unique_bits()).collect::<HashSet<_>>();
        let other = std::thread::spawn(keys).join().unwrap();
        assert_eq!(keys().union(&other).count(), 20_000);
        // Both halves are random.
        assert_eq!(keys().iter().map(|bits| bits << 64).collect::<HashSet<_>>().len(), 10_000);
    }
}
