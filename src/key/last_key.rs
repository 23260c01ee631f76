use std::sync::Arc;

use super::KeyRef;

/// The key that one service looked up last, and its state. A client mostly calls one upstream.
///
/// A look-up in the registry costs a hash, and a lock that all threads write. This costs a
/// comparison.
#[derive(Debug)]
pub(crate) struct LastKey<V>(Option<Found<V>>);

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
    pub(super) key: KeyRef<'static>,
    pub(super) state: Arc<V>,
}

impl<V> LastKey<V> {
    /// Whether it was this key, and no state has been forgotten since.
    #[inline]
    pub(super) fn is(&self, key: &KeyRef<'_>, forgotten: u64) -> bool {
        let is_key = |filed: &Filed<V>| match (&filed.key, key) {
            // Compared in line: most keys are texts, those of hosts and regions.
            (KeyRef::Text(filed), KeyRef::Text(text)) => **filed == **text,
            (filed, key) => filed == key,
        };
        let found = self.0.as_ref();
        found.is_some_and(|found| found.forgotten == forgotten && is_key(&found.filed))
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

impl<V> Default for LastKey<V> {
    fn default() -> Self {
        Self(None)
    }
}
