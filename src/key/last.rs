use std::sync::Arc;

use super::{Both, KeyRef};

/// The key that one service looked up last, and its state. A client mostly calls one upstream.
///
/// A look-up in the registry costs a hash, and a lock that all threads write. This costs a
/// comparison.
#[derive(Debug)]
pub(crate) struct Last<V>(Option<Found<V>>);

#[derive(Debug)]
struct Found<V> {
    filed: Arc<Filed<V>>,
    /// How often the registry had forgotten states at the look-up. If it has since, this state may
    /// be among them.
    forgotten: u64,
}

/// A key and its state, as a registry files them.
#[derive(Debug)]
pub(super) struct Filed<V> {
    pub(super) key: KeptKey,
    pub(super) state: Arc<V>,
}

impl<V> Last<V> {
    /// Whether it was this key, and no state has been forgotten since.
    #[inline]
    pub(super) fn is(&self, key: &KeyRef<'_>, forgotten: u64) -> bool {
        let is_it = |found: &Found<V>| found.forgotten == forgotten && found.filed.key.is(key);
        self.0.as_ref().is_some_and(is_it)
    }

    /// Its state. `None` if the key has no state of its own.
    #[inline]
    pub(super) fn state(&self) -> Option<&V> {
        self.0.as_ref().map(|found| &*found.filed.state)
    }

    pub(super) fn set(&mut self, filed: Option<Arc<Filed<V>>>, forgotten: u64) {
        self.0 = filed.map(|filed| Found { filed, forgotten });
    }
}

impl<V> Default for Last<V> {
    fn default() -> Self {
        Self(None)
    }
}

/// A key that outlives its request.
#[derive(Debug)]
pub(super) enum KeptKey {
    Shared,
    Text(Box<str>),
    Authority(Box<str>),
    Number(u64),
    Both(Box<(Self, Self)>),
}

impl KeptKey {
    pub(super) fn new(key: &KeyRef<'_>) -> Self {
        match key {
            KeyRef::Shared => Self::Shared,
            KeyRef::Text(text) => Self::Text((&**text).into()),
            KeyRef::Authority(authority) => Self::Authority((*authority).into()),
            KeyRef::Number(number) => Self::Number(*number),
            KeyRef::Both(both) => {
                let (a, b) = both.parts();
                Self::Both(Box::new((Self::new(&a), Self::new(&b))))
            }
        }
    }

    #[inline]
    fn is(&self, key: &KeyRef<'_>) -> bool {
        match (self, key) {
            (Self::Shared, KeyRef::Shared) => true,
            (Self::Text(kept), KeyRef::Text(text)) => **kept == **text,
            (Self::Authority(kept), KeyRef::Authority(authority)) => **kept == **authority,
            (Self::Number(kept), KeyRef::Number(number)) => kept == number,
            (Self::Both(kept), KeyRef::Both(both)) => Self::are(kept, both),
            _ => false,
        }
    }

    /// Kept out of line: pairs are rare, and comparing them is long.
    #[inline(never)]
    fn are(kept: &(Self, Self), both: &Both<'_>) -> bool {
        let (a, b) = both.parts();
        kept.0.is(&a) && kept.1.is(&b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_the_key_that_it_was_made_of_and_no_other() {
        let keys = [
            KeyRef::Shared,
            KeyRef::text("a"),
            KeyRef::text("b"),
            KeyRef::Authority("a"),
            KeyRef::Number(1),
            KeyRef::Number(2),
            KeyRef::both(KeyRef::text("a"), KeyRef::Number(1)),
            KeyRef::both(KeyRef::text("a"), KeyRef::Number(2)),
            KeyRef::both(KeyRef::Number(1), KeyRef::text("a")),
        ];
        for key in &keys {
            let kept = KeptKey::new(key);
            assert!(keys.iter().all(|other| kept.is(other) == (key == other)), "{key}");
        }
    }
}
