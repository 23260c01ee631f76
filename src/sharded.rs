//! State that is split by thread, so that cores don't share its cache lines.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::CachePadded;

/// The number of shards. If there are more threads, some share one.
const SHARDS: usize = 16;

/// One `T` per thread, each on cache lines of its own.
#[derive(Debug, Default)]
pub(crate) struct Sharded<T>([CachePadded<T>; SHARDS]);

impl<T> Sharded<T> {
    /// Returns this thread's shard.
    #[inline]
    pub(crate) fn local(&self) -> &T {
        &self.0[shard()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &shard.0)
    }
}

/// A shared value whose references are counted per thread. Each thread also has its own `L`.
///
/// Every call in flight holds a reference to its layer's state. Threads that write one common
/// reference count twice a call slow each other down: see the table of speed tricks in
/// ARCHITECTURE.md.
#[derive(Debug)]
pub(crate) struct ShardedArc<T, L = ()> {
    value: Arc<T>,
    refs: [OnceLock<ShardRef<T, L>>; SHARDS],
}

/// A reference to the value of a [`ShardedArc`], counted by the thread that created it.
#[derive(Debug)]
pub(crate) struct ShardRef<T, L = ()>(Arc<Shard<T, L>>);

/// Aligned, so that the reference count, which precedes it, has a cache line to itself.
#[derive(Debug)]
#[repr(align(64))]
struct Shard<T, L> {
    value: Arc<T>,
    local: L,
}

impl<T, L: Default> ShardedArc<T, L> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Arc::new(value), refs: [const { OnceLock::new() }; SHARDS] }
    }

    /// Returns a reference that this thread counts.
    #[inline]
    pub(crate) fn shard_ref(&self) -> ShardRef<T, L> {
        let new_shard = || Shard { value: Arc::clone(&self.value), local: L::default() };
        self.refs[shard()].get_or_init(|| ShardRef(Arc::new(new_shard()))).clone()
    }

    /// Returns whether any reference exists.
    pub(crate) fn is_referenced(&self) -> bool {
        self.shards().any(|shard| Arc::strong_count(&shard.0) > 1)
    }

    /// Iterates over the local values of all threads that have created a reference.
    pub(crate) fn locals(&self) -> impl Iterator<Item = &L> {
        self.shards().map(ShardRef::local)
    }

    fn shards(&self) -> impl Iterator<Item = &ShardRef<T, L>> {
        self.refs.iter().filter_map(OnceLock::get)
    }
}

impl<T, L> ShardRef<T, L> {
    /// Returns the local value of the thread that created this reference.
    #[inline]
    pub(crate) fn local(&self) -> &L {
        &self.0.local
    }
}

impl<T, L> Deref for ShardedArc<T, L> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T, L> Clone for ShardRef<T, L> {
    #[inline]
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, L> Deref for ShardRef<T, L> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0.value
    }
}

/// Returns this thread's shard number, which never changes.
#[inline]
fn shard() -> usize {
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);

    let mut shard = SHARD.get();
    if shard >= SHARDS {
        shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        SHARD.set(shard);
    }
    shard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharded_arc_counts_references_of_all_threads() {
        let sharded = ShardedArc::<_, AtomicUsize>::new(String::from("value"));
        assert!(!sharded.is_referenced());
        let first = sharded.shard_ref();
        assert!(sharded.is_referenced());
        drop(first);
        let second = std::thread::scope(|scope| {
            let thread = scope.spawn(|| sharded.shard_ref());
            thread.join().expect("the thread only creates a reference")
        });
        assert!(sharded.is_referenced());
        assert_eq!(second.as_str(), "value");
        second.local().fetch_add(1, Ordering::Relaxed);
        drop(second);
        assert!(!sharded.is_referenced());
        let locals: Vec<_> = sharded.locals().map(|local| local.load(Ordering::Relaxed)).collect();
        assert_eq!((locals.len(), locals.iter().sum()), (2, 1));
    }

    #[test]
    fn shard_ref_outlives_sharded_arc() {
        let sharded = ShardedArc::<_>::new(String::from("value"));
        let weak = Arc::downgrade(&sharded);
        let shard_ref = sharded.shard_ref();
        drop(sharded);
        assert_eq!(shard_ref.as_str(), "value");
        drop(shard_ref);
        assert_eq!(weak.strong_count(), 0);
    }
}
