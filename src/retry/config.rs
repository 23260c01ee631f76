use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Backoff;
use super::budget::{Budget, RetryBudget};
use super::decision::{HintUse, Policy};
use crate::classify::HttpClassifier;
use crate::error::InvalidConfig;
use crate::event::Observers;
use crate::random::RandomSource;
use crate::replay::{HttpReplay, Replay};

/// The settings of a retry layer.
#[derive(Clone)]
pub(crate) struct Config<C, R> {
    pub(super) name: Arc<str>,
    pub(crate) policy: Policy,
    pub(super) budget: Option<Arc<dyn Budget>>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    /// Whether a layer below ends attempts that take too long.
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

    /// Changes the classifier and the replay strategy.
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

    /// Writes this layer's headers into the first attempt's request, with an idempotency key only
    /// if it may be `repeated`. Returns whether the request has such a key then.
    #[inline(never)]
    pub(super) fn stamp<Req>(&self, request: &mut Req, repeated: bool) -> bool
    where
        R: Replay<Req>,
    {
        self.count(request, 0);
        let bits = || {
            let drawn = || self.random.draw(|random| random.u128(..));
            if self.random.is_seeded() { drawn() } else { unique_bits() }
        };
        let headers = self.headers_mut(request).filter(|_| repeated);
        headers.is_some_and(|headers| self.attempt_headers.key(headers, bits))
    }

    /// Writes into the request which retry it is, if the layer is set to.
    pub(super) fn count<Req>(&self, request: &mut Req, retry: u32)
    where
        R: Replay<Req>,
    {
        if let Some(headers) = self.headers_mut(request) {
            self.attempt_headers.count(headers, retry);
        }
    }

    /// Whether calls have a deadline, unless a request overrides it.
    pub(super) fn is_bounded(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline < Duration::MAX)
    }

    /// Whether an attempt has a timeout that ends before the deadline.
    pub(super) fn attempts_end(&self) -> bool {
        let ends = |timeout| self.deadline.is_none_or(|deadline| timeout < deadline);
        self.timed_below || self.attempt_timeout.is_some_and(ends)
    }

    /// Returns the request's headers if there is something to write into them.
    fn headers_mut<'a, Req>(&self, request: &'a mut Req) -> Option<&'a mut HeaderMap>
    where
        R: Replay<Req>,
    {
        if self.attempt_headers.any() { self.replay.headers_mut(request) } else { None }
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

/// The names of the headers that are written, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptHeaders {
    pub(super) idempotency_key: Option<HeaderName>,
    pub(super) retry_count: Option<HeaderName>,
}

impl AttemptHeaders {
    /// Whether anything is written.
    pub(super) fn any(&self) -> bool {
        self.idempotency_key.is_some() || self.retry_count.is_some()
    }

    /// Gives a request an idempotency key, if that is set, the caller gave it none, and the headers have
    /// room. Returns whether the request has a key then.
    pub(super) fn key(&self, headers: &mut HeaderMap, bits: impl FnOnce() -> u128) -> bool {
        let Some(name) = &self.idempotency_key else { return false };
        if !headers.contains_key(name) {
            let Ok(key) = HeaderValue::try_from(uuid(bits())) else { return false };
            return headers.try_insert(name, key).is_ok();
        }
        true
    }

    /// Writes which retry this is, with 0 for the first attempt, if the headers have room.
    pub(super) fn count(&self, headers: &mut HeaderMap, retry: u32) {
        if let Some(name) = &self.retry_count {
            _ = headers.try_insert(name, HeaderValue::from(retry));
        }
    }
}

/// Returns bits that no other call gets, not even in another process. They come from the keys that the
/// standard library seeds its hash maps with, which the operating system makes.
pub(super) fn unique_bits() -> u128 {
    let half = || u128::from(RandomState::new().hash_one(()));
    half() << 64 | half()
}

/// A random UUID (RFC 9562 §5.4), of version 4 and the usual variant.
fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (time, rest) = hex.split_at(8);
    format!("{time}-{}-{}-{}-{}", &rest[..4], &rest[4..8], &rest[8..12], &rest[12..])
}

#[cfg(test)]
mod attempt_headers_tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_a_random_uuid() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let sample = uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(sample, "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn no_two_are_the_same() {
        let keys = || (0..10_000).map(|_| unique_bits()).collect::<HashSet<_>>();
        let other = std::thread::spawn(keys).join().unwrap();
        assert_eq!(keys().union(&other).count(), 20_000);
        // Each half is as random as the other.
        assert_eq!(keys().iter().map(|bits| bits << 64).collect::<HashSet<_>>().len(), 10_000);
    }
}
