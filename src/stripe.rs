//! State that each thread keeps a part of, so that cores don't share its cache lines.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::Apart;

/// The number of parts. If there are more threads, some share a part.
const STRIPES: usize = 16;

/// Sixteen parts, each on cache lines of its own.
#[derive(Debug, Default)]
pub(crate) struct Striped<T>([Apart<T>; STRIPES]);

impl<T> Striped<T> {
    /// This thread's part.
    #[inline]
    pub(crate) fn mine(&self) -> &T {
        &self.0[stripe()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|part| &part.0)
    }
}

/// A shared value with a reference count per thread. Each thread also has its own `P`.
///
/// Every call in flight holds a reference to its layer's state. With one count for all, which each
/// call writes twice, that would cost two threads more than all else that a layer does.
#[derive(Debug)]
pub(crate) struct Spread<T, P = ()> {
    value: Arc<T>,
    handles: [OnceLock<Handle<T, P>>; STRIPES],
}

/// A reference to a [`Spread`] value, counted by the thread that took it.
#[derive(Debug)]
pub(crate) struct Handle<T, P = ()>(Arc<Counted<T, P>>);

/// Aligned, so that the `Arc`'s reference count, which lies before it, has a cache line to itself.
#[derive(Debug)]
#[repr(align(64))]
struct Counted<T, P> {
    value: Arc<T>,
    part: P,
}

impl<T, P: Default> Spread<T, P> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Arc::new(value), handles: [const { OnceLock::new() }; STRIPES] }
    }

    #[inline]
    pub(crate) fn handle(&self) -> Handle<T, P> {
        match self.handles[stripe()].get() {
            Some(mine) => mine.clone(),
            None => self.first_handle(),
        }
    }

    #[cold]
    fn first_handle(&self) -> Handle<T, P> {
        let counted = || Counted { value: Arc::clone(&self.value), part: P::default() };
        let first = || Handle(Arc::new(counted()));
        self.handles[stripe()].get_or_init(first).clone()
    }

    /// Whether a handle is held by anybody.
    pub(crate) fn is_held(&self) -> bool {
        self.made().any(|handle| Arc::strong_count(&handle.0) > 1)
    }

    /// The parts of all threads that have taken a handle.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &P> {
        self.made().map(Handle::part)
    }

    fn made(&self) -> impl Iterator<Item = &Handle<T, P>> {
        self.handles.iter().filter_map(OnceLock::get)
    }
}

impl<T, P> Handle<T, P> {
    /// The part of the thread that took it.
    #[inline]
    pub(crate) fn part(&self) -> &P {
        &self.0.part
    }
}

impl<T, P> Deref for Spread<T, P> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

impl<T, P> Clone for Handle<T, P> {
    #[inline]
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T, P> Deref for Handle<T, P> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0.value
    }
}

/// This thread's number, below [`STRIPES`]. It never changes.
#[inline]
fn stripe() -> usize {
    #[cold]
    fn first() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mine = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        MINE.set(mine);
        mine
    }

    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine < STRIPES { mine } else { first() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_all_threads_are_counted() {
        let spread = Spread::<_, AtomicUsize>::new(String::from("value"));
        assert!(!spread.is_held());
        let one = spread.handle();
        assert!(spread.is_held());
        drop(one);
        let other = std::thread::scope(|scope| {
            let thread = scope.spawn(|| spread.handle());
            thread.join().expect("it only takes a handle")
        });
        assert!(spread.is_held());
        assert_eq!(other.as_str(), "value");
        other.part().fetch_add(1, Ordering::Relaxed);
        drop(other);
        assert!(!spread.is_held());
        let parts: Vec<_> = spread.parts().map(|part| part.load(Ordering::Relaxed)).collect();
        assert_eq!((parts.len(), parts.iter().sum()), (2, 1));
    }

    #[test]
    fn a_handle_outlives_the_rest() {
        let spread = Spread::<_>::new(String::from("value"));
        let weak = Arc::downgrade(&spread);
        let handle = spread.handle();
        drop(spread);
        assert_eq!(handle.as_str(), "value");
        drop(handle);
        assert_eq!(weak.strong_count(), 0);
    }
}
