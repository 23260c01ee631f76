//! The headers that a retry writes into a request.

use std::hash::{BuildHasher, RandomState};

use http::{HeaderMap, HeaderName, HeaderValue};

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
mod tests {
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
