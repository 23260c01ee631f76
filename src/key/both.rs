use std::borrow::Cow;
use std::fmt;

use super::{Key, KeyRef};

/// One state for each pair of values of two keys.
///
/// ```
/// use tower_upstream::key::{ByBoth, ByCredential, ByRegion};
/// use tower_upstream::{Quota, RateLimitLayer};
///
/// // The provider counts each credential's calls in each region.
/// let limit = RateLimitLayer::builder(Quota::per_minute(60))
///     .key(ByBoth(ByCredential, ByRegion))
///     .build()?;
/// # let _ = limit;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
///
/// Pairs nest: `ByBoth(ByTenant, ByBoth(ByCredential, ByRegion))`. The inner one is
/// then shown as a hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByBoth<A, B>(pub A, pub B);

impl<A, B, Req> Key<Req> for ByBoth<A, B>
where
    A: Key<Req>,
    B: Key<Req>,
{
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        KeyRef::both(self.0.key(request), self.1.key(request))
    }
}

/// Two keys at once. Made by [`KeyRef::both`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Both<'a>(Part<'a>, Part<'a>);

/// One half of a pair: a [`KeyRef`] that isn't a pair itself, as that would need an allocation.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Part<'a> {
    Shared,
    Text(Cow<'a, str>),
    Number(u64),
    Hash(u64),
}

impl KeyRef<'_> {
    /// Both keys at once. Where both are [`Shared`](Self::Shared), so is the pair.
    #[must_use]
    pub fn both(a: Self, b: Self) -> Self {
        match (Part::of(a), Part::of(b)) {
            (Part::Shared, Part::Shared) => Self::Shared,
            (a, b) => Self::Both(Both(a, b)),
        }
    }
}

impl Both<'_> {
    pub(super) fn parts(&self) -> (KeyRef<'_>, KeyRef<'_>) {
        (self.0.as_key(), self.1.as_key())
    }
}

impl<'a> Part<'a> {
    fn of(key: KeyRef<'a>) -> Self {
        match key {
            KeyRef::Shared => Self::Shared,
            KeyRef::Text(text) => Self::Text(text),
            KeyRef::Number(number) => Self::Number(number),
            KeyRef::Hash(hash) => Self::Hash(hash),
            KeyRef::Both(both) => Self::Hash(super::salted(&both)),
        }
    }

    fn as_key(&self) -> KeyRef<'_> {
        match self {
            Self::Shared => KeyRef::Shared,
            Self::Text(text) => KeyRef::text(&**text),
            Self::Number(number) => KeyRef::Number(*number),
            Self::Hash(hash) => KeyRef::Hash(*hash),
        }
    }
}

impl fmt::Display for Both<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.as_key(), self.1.as_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_notified_separately_and_shown() {
        let (a, b, shard) = (KeyRef::text("a"), KeyRef::text("b"), KeyRef::Number(7));
        let both = |a: &KeyRef<'static>, b: &KeyRef<'static>| KeyRef::both(a.clone(), b.clone());
        assert_eq!(both(&a, &b), both(&a, &b));
        assert_ne!(both(&a, &b), both(&b, &a));
        assert_eq!(both(&a, &shard).to_string(), "a/7");
        assert_eq!(both(&KeyRef::Shared, &b).to_string(), "all/b");
        assert_eq!(KeyRef::both(KeyRef::Shared, KeyRef::Shared), KeyRef::Shared);
        // A pair in a pair is a hash, and the same one each time.
        let nested = |inner| KeyRef::both(KeyRef::text("x"), inner);
        assert_eq!(nested(both(&a, &b)), nested(both(&a, &b)));
        assert_ne!(nested(both(&a, &b)), nested(both(&b, &a)));
        assert!(nested(both(&a, &b)).to_string().starts_with("x/#"));
    }
}
