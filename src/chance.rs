//! Chance, which a seed makes repeatable.

use std::sync::Arc;

use fastrand::Rng;

use crate::sync::Mutex;

/// Where random numbers come from: the thread's generator, or a seeded one that all clones share.
#[derive(Clone, Default)]
pub(crate) struct Chance(Option<Arc<Mutex<Rng>>>);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(Rng::with_seed(seed)))))
    }

    pub(crate) fn is_seeded(&self) -> bool {
        self.0.is_some()
    }

    /// What `draw` makes of the generator.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        match &self.0 {
            Some(seeded) => draw(&mut seeded.lock()),
            None => draw(&mut Rng::new()),
        }
    }
}

impl From<Option<u64>> for Chance {
    /// `None`: no seed.
    fn from(seed: Option<u64>) -> Self {
        seed.map_or_else(Self::default, Self::seeded)
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_seeded() { "seeded" } else { "by chance" })
    }
}
