//! What each thread knows of an open circuit.

use std::sync::{Arc, OnceLock};

use super::reason::Why;
use super::{CircuitOpen, CircuitState};
use crate::stripe::Striped;
use crate::sync::Mutex;
use crate::time::Instant;

/// Rejections that need neither the circuit's lock nor a count that other threads write.
///
/// Made when the circuit rejects its first call: most never do.
#[derive(Debug, Default)]
pub(super) struct Shut(OnceLock<Box<Striped<Mutex<Option<Known>>>>>);

/// Nothing about an open circuit changes before its time, but by a new generation.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) generation: u32,
    pub(super) until: Instant,
    pub(super) why: Option<Why>,
    /// The thread's own copy, which its errors share.
    pub(super) name: Arc<str>,
}

impl Shut {
    /// The rejection of a call at this time, if the circuit is still as this thread knows it.
    #[inline]
    pub(super) fn reject(
        &self,
        now: Instant,
        is_at: impl FnOnce(u32) -> bool,
    ) -> Option<(u32, Box<CircuitOpen>)> {
        let known = self.0.get()?.mine().lock();
        let known = known.as_ref().filter(|known| now < known.until && is_at(known.generation))?;
        Some((known.generation, Box::new(known.rejection(now))))
    }

    /// Remembers it for the next calls of this thread.
    pub(super) fn remember(&self, known: Known) {
        *self.0.get_or_init(Box::default).mine().lock() = Some(known);
    }
}

impl Known {
    fn rejection(&self, now: Instant) -> CircuitOpen {
        CircuitOpen::new(&self.name, CircuitState::Open, self.why, (now, Some(self.until)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time;

    #[test]
    fn it_rejects_in_its_time_and_generation_alone() {
        let (now, second) = (time::now(), Duration::from_secs(1));
        let known = Known { generation: 1, until: now + second, why: None, name: "a".into() };
        let shut = Shut::default();
        assert!(shut.reject(now, |_| true).is_none(), "nothing is known yet");
        shut.remember(known);
        let (generation, open) = shut.reject(now, |at| at == 1).unwrap();
        assert_eq!((generation, open.circuit(), open.retry_after()), (1, "a", Some(second)));
        assert_eq!(open.state(), CircuitState::Open);
        assert!(shut.reject(now, |at| at == 2).is_none());
        assert!(shut.reject(now + second, |_| true).is_none());
    }
}
