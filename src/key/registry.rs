//! One state a key, in bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::{KeyRef, salted};
use crate::time::{self, Instant};

/// A state that a registry can hold, and let go of.
pub(crate) trait Keyed: Sized {
    /// Returns whether it is in use, such as by a call.
    fn is_referenced(state: &Arc<Self>) -> bool {
        Arc::strong_count(state) > 1
    }

    /// Whether the state may be evictions. On `true` the registry drops it, so one that keeps a
    /// limit must admit no call from here on. A state that remembers a failing upstream or a spent
    /// quota doesn't retire.
    fn retires(&self, now: Instant) -> bool;
}

/// The states of all keys.
///
/// Bounded: once it is full, a new key takes the place of an idle one or, where none is idle,
/// shares the common state. So a flood of keys can neither use up the memory nor push out a state
/// that matters.
pub(crate) struct Registry<V> {
    common: Arc<V>,
    /// By a salted hash of 64 bits. Two keys with the same hash would share a state; among some
    /// thousands of keys that is less likely than a fault of the hardware.
    keyed: RwLock<States<V>>,
    /// How often states were evictions.
    evictions: AtomicU64,
    capacity: usize,
    make: Box<dyn Fn(&KeyRef<'_>) -> V + Send + Sync>,
}

struct States<V> {
    by_hash: HashMap<u64, Arc<RegistryEntry<V>>, BuildHasherDefault<Hashed>>,
    /// Until then, idle states aren't looked for: there were none shortly before.
    look_from: Option<Instant>,
}

/// A hasher for keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes are stored")
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How long a full registry in which no state was idle isn't searched again.
const PAUSE: Duration = Duration::from_secs(1);

impl<V: Keyed> Registry<V> {
    pub(crate) fn new(
        capacity: usize,
        make: impl Fn(&KeyRef<'_>) -> V + Send + Sync + 'static,
    ) -> Self {
        Self {
            common: Arc::new(make(&KeyRef::Shared)),
            keyed: RwLock::new(States { by_hash: HashMap::default(), look_from: None }),
            evictions: AtomicU64::new(0),
            capacity,
            make: Box::new(make),
        }
    }

    /// The state that calls without a key share.
    pub(crate) fn common(&self) -> &Arc<V> {
        &self.common
    }

    /// The state of `key`, made if it is new.
    pub(crate) fn get(&self, key: &KeyRef<'_>) -> Arc<V> {
        let entry = if matches!(key, KeyRef::Shared) { None } else { self.entry(key) };
        Arc::clone(entry.as_ref().map_or(&self.common, |entry| &entry.state))
    }

    /// The state of `key`, if there is one.
    pub(crate) fn find(&self, key: &KeyRef<'_>) -> Option<Arc<V>> {
        if matches!(key, KeyRef::Shared) {
            return Some(Arc::clone(&self.common));
        }
        self.find_filed(salted(key)).map(|entry| Arc::clone(&entry.state))
    }

    /// The state of `key`, made if it is new. `last` saves the look-up if it is the same key. It
    /// doesn't keep the state: one that isn't [held](Keyed::is_referenced) may be evictions before it is
    /// used.
    #[inline]
    pub(crate) fn by_last<'a>(&'a self, key: KeyRef<'_>, last: &'a mut LastKey<V>) -> &'a V {
        match key {
            KeyRef::Shared => &self.common,
            key => self.own_by_last(&key, last),
        }
    }

    #[inline(never)]
    fn own_by_last<'a>(&'a self, key: &KeyRef<'_>, last: &'a mut LastKey<V>) -> &'a V {
        if !last.is(key, self.evictions.load(Ordering::Acquire)) {
            self.look_up(key, last);
        }
        last.state().unwrap_or(&self.common)
    }

    #[inline(never)]
    fn look_up(&self, key: &KeyRef<'_>, last: &mut LastKey<V>) {
        // Read before the look-up: if a state is evictions from here on, the count will differ.
        let evictions = self.evictions.load(Ordering::Acquire);
        last.set(self.entry(key), evictions);
    }

    /// The key's own state, made if it is new. `None` if there is no room for it.
    fn entry(&self, key: &KeyRef<'_>) -> Option<Arc<RegistryEntry<V>>> {
        let hash = salted(key);
        self.find_filed(hash).or_else(|| self.insert(hash, key))
    }

    fn find_filed(&self, hash: u64) -> Option<Arc<RegistryEntry<V>>> {
        let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        keyed.by_hash.get(&hash).map(Arc::clone)
    }

    fn insert(&self, hash: u64, key: &KeyRef<'_>) -> Option<Arc<RegistryEntry<V>>> {
        let mut keyed = self.keyed.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = keyed.by_hash.get(&hash) {
            return Some(Arc::clone(known));
        }
        if keyed.by_hash.len() >= self.capacity {
            let before = keyed.by_hash.len();
            let made = keyed.make_room(self.capacity);
            if keyed.by_hash.len() < before {
                self.evictions.fetch_add(1, Ordering::Release);
            }
            if !made {
                return None;
            }
        }
        let state = Arc::new((self.make)(key));
        let entry = Arc::new(RegistryEntry { key: key.kept(), state });
        keyed.by_hash.insert(hash, Arc::clone(&entry));
        Some(entry)
    }

    /// All states. The common one comes first.
    pub(crate) fn all(&self) -> Vec<Arc<V>> {
        let keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        let states = keyed.by_hash.values().map(|entry| &entry.state);
        std::iter::once(&self.common).chain(states).map(Arc::clone).collect()
    }
}

impl<V: Keyed> States<V> {
    /// Drops all idle states, not just one, so that one scan makes room for as many new keys. A
    /// scan that makes no room isn't repeated for a while, or a flood of new keys would keep
    /// everybody waiting for scans.
    fn make_room(&mut self, capacity: usize) -> bool {
        let now = time::now();
        if self.look_from.is_some_and(|from| now < from) {
            return false;
        }
        self.by_hash.retain(|_, entry| V::is_referenced(&entry.state) || !entry.state.retires(now));
        let made = self.by_hash.len() < capacity;
        self.look_from = (!made).then(|| time::after(now, PAUSE));
        made
    }
}

impl<V> fmt::Debug for Registry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Busy(bool);

    impl Keyed for Busy {
        fn retires(&self, _: Instant) -> bool {
            !self.0
        }
    }

    #[test]
    fn one_state_a_key() {
        let registry = Registry::new(10, |_| Busy(false));
        let (a, b) = (KeyRef::text("7"), KeyRef::Number(7));
        assert!(Arc::ptr_eq(&registry.get(&a), &registry.get(&a)));
        assert!(!Arc::ptr_eq(&registry.get(&a), &registry.get(&b)));
        assert!(Arc::ptr_eq(&registry.get(&KeyRef::Shared), registry.common()));
    }

    #[test]
    fn idle_states_make_room_and_busy_ones_stay() {
        let registry = Registry::new(2, |key| Busy(*key == KeyRef::text("busy")));
        let busy = Arc::as_ptr(&registry.get(&KeyRef::text("busy")));
        for number in 0..1_000 {
            registry.get(&KeyRef::Number(number));
            assert!(registry.all().len() <= 3);
        }
        assert_eq!(Arc::as_ptr(&registry.get(&KeyRef::text("busy"))), busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_new_keys_does_not_scan_each_time() {
        struct Counted(Arc<AtomicUsize>);

        impl Keyed for Counted {
            fn retires(&self, _: Instant) -> bool {
                self.0.fetch_add(1, Ordering::Relaxed);
                false
            }
        }

        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let registry = Registry::new(100, move |_| Counted(Arc::clone(&count)));
        for number in 0..10_000 {
            registry.get(&KeyRef::Number(number));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 100);
        tokio::time::advance(PAUSE).await;
        registry.get(&KeyRef::Number(10_000));
        assert_eq!(asked.load(Ordering::Relaxed), 200);
    }

    #[test]
    fn a_state_in_use_is_never_evicted() {
        let registry = Registry::new(1, |_| Busy(false));
        let used = registry.get(&KeyRef::text("a"));
        assert!(Arc::ptr_eq(&registry.get(&KeyRef::text("b")), registry.common()));
        assert!(Arc::ptr_eq(&registry.get(&KeyRef::text("a")), &used));
    }

    #[test]
    fn the_last_key_is_found_again_until_its_state_is_evicted() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let registry = Registry::new(1, move |_| Numbered(count.fetch_add(1, Ordering::Relaxed)));
        let mut last = LastKey::default();
        let mut number = |key| registry.by_last(KeyRef::text(key), &mut last).0;
        // The first is the common one.
        assert_eq!((number("a"), number("a")), (1, 1));
        assert_eq!((number("b"), number("b")), (2, 2));
        assert_eq!((number("a"), made.load(Ordering::Relaxed)), (3, 4));
    }

    #[test]
    fn the_common_state_is_no_keys_last_one() {
        let registry = Registry::new(0, |_| Busy(true));
        let mut last = LastKey::default();
        for key in ["a", "b"] {
            let state = registry.by_last(KeyRef::text(key), &mut last);
            assert_eq!(std::ptr::from_ref(state), Arc::as_ptr(registry.common()));
        }
        assert!(last.state().is_none());
    }

    /// Only calls hold it, and there are none here.
    struct Numbered(usize);

    impl Keyed for Numbered {
        fn is_referenced(_: &Arc<Self>) -> bool {
            false
        }

        fn retires(&self, _: Instant) -> bool {
            true
        }
    }

    #[test]
    fn a_full_registry_of_busy_states_shares_the_common_one() {
        let registry = Registry::new(1, |_| Busy(true));
        registry.get(&KeyRef::text("a"));
        assert!(Arc::ptr_eq(&registry.get(&KeyRef::text("b")), registry.common()));
    }
}
