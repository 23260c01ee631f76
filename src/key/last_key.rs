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
    entry: Arc<RegistryEntry<V>>,
    /// How often the registry had evictions states at the look-up. If it has since, this state may
    /// be among them.
    evictions: u64,
}

/// A key and its state, as a registry files them.
#[derive(Debug)]
pub(super) struct RegistryEntry<V> {
    pub(super) key: KeyRef<'static>,
    pub(super) state: Arc<V>,
}

impl<V> LastKey<V> {
    /// Whether it was this key, and no state has been evictions since.
    #[inline]
    pub(super) fn is(&self, key: &KeyRef<'_>, evictions: u64) -> bool {
        let is_key = |entry: &RegistryEntry<V>| match (&entry.key, key) {
            // Compared in line: most keys are texts, those of hosts and regions.
            (KeyRef::Text(entry), KeyRef::Text(text)) => **entry == **text,
            (entry, key) => entry == key,
        };
        let found = self.0.as_ref();
        found.is_some_and(|found| found.evictions == evictions && is_key(&found.entry))
    }

    /// Its state. `None` if the key has no state of its own.
    #[inline]
    pub(super) fn state(&self) -> Option<&V> {
        self.0.as_ref().map(|found| &*found.entry.state)
    }

    pub(super) fn set(&mut self, entry: Option<Arc<RegistryEntry<V>>>, evictions: u64) {
        self.0 = entry.map(|entry| Found { entry, evictions });
    }
}

impl<V> Default for LastKey<V> {
    fn default() -> Self {
        Self(None)
    }
}
