//! Random numbers, which a seed makes repeatable.

use std::fmt;
use std::sync::Arc;

use fastrand::Rng;

use crate::sync::Mutex;

/// A source of random numbers: the thread's generator, or a seeded one that all clones share.
#[derive(Clone, Default)]
pub(crate) struct RandomSource(Option<Arc<Mutex<Rng>>>);

impl RandomSource {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(Rng::with_seed(seed)))))
    }

    pub(crate) fn is_seeded(&self) -> bool {
        self.0.is_some()
    }

    /// Calls `draw` with the generator and returns its result.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        match &self.0 {
            Some(seeded) => draw(&mut seeded.lock()),
            None => draw(&mut Rng::new()),
        }
    }
}

impl From<Option<u64>> for RandomSource {
    /// Creates a seeded source, or an unseeded one for `None`.
    fn from(seed: Option<u64>) -> Self {
        seed.map_or_else(Self::default, Self::seeded)
    }
}

impl fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_seeded() { "seeded" } else { "unseeded" })
    }
}
