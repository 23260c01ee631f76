//! `std`'s synchronisation, or loom's when models are checked.

use std::fmt;
#[cfg(not(all(test, loom)))]
use std::sync::Mutex as Raw;
use std::sync::PoisonError;

#[cfg(all(test, loom))]
use loom::sync::Mutex as Raw;

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::MutexGuard;
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

#[cfg(all(test, loom))]
pub(crate) use loom::sync::MutexGuard;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A mutex without poisoning.
///
/// What mutexes guard in this crate is changed in one step, or is a count that stays meaningful. So
/// a panic while one is held must not fail every later call.
#[derive(Default)]
pub(crate) struct Mutex<T>(Raw<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Raw::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// A value on cache lines that it shares with nothing: 128 bytes, since processors fetch
/// lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct CachePadded<T>(pub(crate) T);
