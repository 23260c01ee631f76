use super::Quota;
use super::meter::{Meter, Rate};

/// What is configured.
#[derive(Debug)]
pub(super) enum Ceiling {
    Known(Meter),
    /// Nothing, and until the server tells something, one call passes in a while.
    Unknown {
        next: u64,
        /// What was known before, as it was then.
        before: Option<Box<Meter>>,
        /// How many units had been sent until then.
        sent: u64,
    },
}

impl Ceiling {
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

    /// Another quota from now on; so many units were ever sent, of which the server's limit
    /// still counts what is told.
    pub(super) fn change(&mut self, now: u64, quota: &Quota, sent: u64, told: Option<u64>) {
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
                // When what was sent meanwhile was sent isn't known: now, at the latest, and no
                // more than is ever passed at once.
                let meanwhile = told.unwrap_or(u64::MAX).min(sent - *known);
                meter.send(now, meanwhile.min(meter.capacity().into()));
                *self = Self::Known(meter);
            }
        }
    }
}
