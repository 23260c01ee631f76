//! State that each thread keeps a part of, so that cores don't share its cache lines.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than this share parts.
const STRIPES: usize = 16;

/// Sixteen parts, each on cache lines of its own.
#[derive(Debug, Default)]
pub(crate) struct Striped<T>([Padded<T>; STRIPES]);

/// 128 bytes, since processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Striped<T> {
    /// This thread's part.
    #[inline]
    pub(crate) fn mine(&self) -> &T {
        &self.0[stripe()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

/// A number below [`STRIPES`] that stays a thread's.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let mine = MINE.get();
    if mine < STRIPES {
        return mine;
    }
    let mine = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    MINE.set(mine);
    mine
}
