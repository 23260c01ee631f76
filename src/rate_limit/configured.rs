use super::Quota;
use super::meter::{Meter, Rate};

/// A limit as it is configured.
#[derive(Debug)]
pub(super) enum ConfiguredLimit {
    Known(Meter),
    /// No limit is configured. Until the learned tells one, a call passes once in a while.
    Unknown {
        next: u64,
        /// The meter of the quota before this, as it was then.
        before: Option<Box<Meter>>,
        /// How many units had been sent by then.
        sent: u64,
    },
}

impl ConfiguredLimit {
    pub(super) fn new(quota: &Quota) -> Self {
        if quota.taught {
            Self::Unknown { next: 0, before: None, sent: 0 }
        } else {
            Self::Known(Meter::since(0, quota))
        }
    }

    /// How many units may be taken at once.
    pub(super) fn capacity(&self) -> u32 {
        match self {
            Self::Known(meter) => meter.capacity(),
            Self::Unknown { .. } => u32::MAX,
        }
    }

    /// How many units pass in what time, in the long run, if that is known.
    pub(super) fn rate(&self) -> Option<Rate> {
        match self {
            Self::Known(meter) => Some(meter.rate()),
            Self::Unknown { .. } => None,
        }
    }

    /// Puts another quota in force from now on. `sent` units were ever sent; of them the learned's
    /// limit, if it is known, still counts `observed`.
    pub(super) fn change(&mut self, now: u64, quota: &Quota, sent: u64, observed: Option<u64>) {
        match (&mut *self, quota.taught) {
            (Self::Unknown { .. }, true) => {}
            (Self::Known(meter), false) => meter.change(now, quota),
            (Self::Known(meter), true) => {
                let before = std::mem::replace(meter, Meter::since(now, quota));
                *self = Self::Unknown { next: 0, before: Some(Box::new(before)), sent };
            }
            (Self::Unknown { before, sent: known, .. }, false) => {
                let mut meter = match before.take() {
                    Some(mut before) => {
                        before.change(now, quota);
                        *before
                    }
                    None => Meter::since(now, quota),
                };
                // When the units since then were sent isn't known. They count as sent now, which is
                // the latest possible, and as no more than the capacity.
                let meanwhile = observed.unwrap_or(u64::MAX).min(sent - *known);
                meter.send(now, meanwhile.min(meter.capacity().into()));
                *self = Self::Known(meter);
            }
        }
    }
}
