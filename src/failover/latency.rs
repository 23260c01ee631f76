//! A region's smoothed latency, which counts less as it gets older.

use std::time::Duration;

/// A smoothed latency and when it was last measured, in one word that threads share.
///
/// The upper half is the latency in microseconds. The lower half is when it was measured, in seconds
/// since the layer was made. 0: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latency(u64);

impl Latency {
    /// After this many seconds without a measurement the latency counts half, so that a region
    /// that was slow is tried again, and measured.
    pub(super) const HALF_TIME: u64 = 10;

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    const fn micros(self) -> u64 {
        self.0 >> 32
    }

    fn second(self) -> u64 {
        self.0 & u64::from(u32::MAX)
    }

    fn new(micros: u64, second: u64) -> Self {
        let most = u64::from(u32::MAX);
        Self(micros.clamp(1, most) << 32 | second.min(most))
    }

    /// As it was when last measured.
    pub(super) fn measured(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_micros(self.micros()))
    }

    /// What it counts in this second, in microseconds; 0 where nothing is known.
    pub(super) fn counts(self, second: u64) -> u64 {
        let idle = second.saturating_sub(self.second());
        let halvings = u32::try_from(idle / Self::HALF_TIME).unwrap_or(u32::MAX);
        self.micros().checked_shr(halvings).unwrap_or(0)
    }

    /// With one more measurement, smoothed as TCP smooths its round trips (RFC 6298): an eighth of the
    /// new one and seven eighths of what the old one counts now.
    ///
    /// `None` if it hardly differs from what was written in this same second: without the write, threads
    /// don't contend for it.
    pub(super) fn with(self, new: Duration, second: u64) -> Option<Self> {
        let new = u64::try_from(new.as_micros()).unwrap_or(u64::MAX);
        let old = self.counts(second);
        let smoothed = if self.0 == 0 { new } else { old - old / 8 + new / 8 };
        let next = Self::new(smoothed, second);
        let moved = next.micros().abs_diff(old) > old / 64;
        (moved || next.second() != self.second()).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn follows_what_is_measured() {
        let mut latency = Latency::default();
        assert_eq!((latency.measured(), latency.counts(9)), (None, 0));
        latency = latency.with(millis(80), 3).unwrap();
        assert_eq!(latency.measured(), Some(millis(80)));
        latency = latency.with(millis(160), 3).unwrap();
        assert_eq!(latency.measured(), Some(millis(90)));
        assert_eq!(latency.with(millis(90), 3), None);
        // Nothing is a measurement too.
        assert_eq!(Latency::default().with(Duration::ZERO, 0).unwrap().counts(0), 1);
    }

    #[test]
    fn counts_half_with_each_ten_seconds_of_silence() {
        let latency = Latency::default().with(millis(80), 5).unwrap();
        for (second, counts) in [(0, 80_000), (14, 80_000), (15, 40_000), (25, 20_000), (999, 0)] {
            assert_eq!(latency.counts(second), counts, "{second}");
        }
        // Not where it is measured again and again.
        let measured = (5..65).try_fold(latency, |latency, second| {
            Some(latency.with(millis(80), second).unwrap_or(latency))
                .filter(|l| l.counts(second) == 80_000)
        });
        assert!(measured.is_some());
        // What was forgotten weighs little against what is found now.
        assert_eq!(latency.with(millis(8), 45).unwrap().counts(45), 5_375);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let latency = Latency::default().with(Duration::MAX, u64::MAX).unwrap();
        assert_eq!(latency.counts(u64::MAX) >> 32, 0);
        assert!(
            latency.with(Duration::MAX, 0).is_none_or(|next| next.measured() > Some(millis(1)))
        );
    }
}
