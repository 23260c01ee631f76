//! Whether a region is fit to be called: plain functions of what was seen, and when.

use std::time::Duration;

use crate::time::{self, Instant};

/// How long a region that fails is left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooldown {
    /// At first.
    pub(super) first: Duration,
    /// And at most, as it doubles each time that the region fails again.
    pub(super) most: Duration,
    /// The longest that the server's own word can make it.
    pub(super) hint_cap: Duration,
}

/// A region's health.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Health {
    /// Until when the region isn't chosen. It only moves later, until a success.
    out_until: Option<Instant>,
    /// How often in a row it was taken out.
    times: u32,
    /// When the last check was over.
    last_check: Option<Instant>,
}

/// A change that people may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Lost { out_for: Duration },
    Back,
}

impl Health {
    pub(super) fn out_until(&self) -> Option<Instant> {
        self.out_until
    }

    pub(super) fn last_check(&self) -> Option<Instant> {
        self.last_check
    }

    /// A check is over, whatever it found.
    pub(super) fn checked(&mut self, now: Instant) {
        self.last_check = Some(now);
    }

    /// A call or a check succeeded.
    pub(super) fn succeeded(&mut self) -> Option<Change> {
        self.times = 0;
        self.out_until.take().map(|_| Change::Back)
    }

    /// A call or a check failed; `asked` is how long the server asked to be left alone,
    /// or how long it is until the next check.
    pub(super) fn failed(
        &mut self,
        cooldown: &Cooldown,
        asked: Option<Duration>,
        now: Instant,
    ) -> Option<Change> {
        let first = self.out_until.is_none();
        let again = self.out_until.is_some_and(|until| until <= now);
        // A failure of a call that was in flight when the region was taken out
        // says no more than the one that took it out.
        let times = if first || again { self.times } else { self.times.saturating_sub(1) };
        let doubled = 1u32.checked_shl(times).unwrap_or(u32::MAX);
        let out_for = cooldown.first.saturating_mul(doubled).min(cooldown.most);
        let out_for = out_for.max(asked.unwrap_or_default());
        if first || again {
            self.times = self.times.saturating_add(1);
        }
        let until = time::after(now, out_for);
        self.out_until = Some(self.out_until.map_or(until, |before| before.max(until)));
        first.then_some(Change::Lost { out_for })
    }
}

/// A latency smoothed as TCP smooths its round trips (RFC 6298): an eighth of
/// the new one and seven of the old.
pub(super) fn smoothed(old: Option<Duration>, new: Duration) -> Duration {
    old.map_or(new, |old| old.saturating_sub(old / 8).saturating_add(new / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Cooldown = Cooldown {
        first: Duration::from_secs(10),
        most: Duration::from_secs(60),
        hint_cap: Duration::MAX,
    };

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_failure_takes_it_out_and_a_success_brings_it_back() {
        let (mut health, now) = (Health::default(), time::now());
        assert_eq!(health.succeeded(), None);
        assert_eq!(health.failed(&COOLDOWN, None, now), Some(Change::Lost { out_for: secs(10) }));
        assert_eq!(health.out_until(), Some(now + secs(10)));
        assert_eq!(health.succeeded(), Some(Change::Back));
        assert_eq!(health.out_until(), None);
    }

    #[test]
    fn cooldowns_grow_while_it_fails_again_and_again() {
        let (mut health, mut now) = (Health::default(), time::now());
        for expected in [10, 20, 40, 60, 60] {
            health.failed(&COOLDOWN, None, now);
            assert_eq!(health.out_until(), Some(now + secs(expected)));
            now += secs(expected);
        }
        health.succeeded();
        health.failed(&COOLDOWN, None, now);
        assert_eq!(health.out_until(), Some(now + secs(10)));
    }

    #[test]
    fn the_calls_in_flight_when_it_failed_count_once() {
        let (mut health, now) = (Health::default(), time::now());
        assert!(health.failed(&COOLDOWN, None, now).is_some());
        for _ in 0..100 {
            assert_eq!(health.failed(&COOLDOWN, None, now), None);
        }
        assert_eq!(health.out_until(), Some(now + secs(10)));
    }

    #[test]
    fn it_is_out_for_as_long_as_the_server_asks_and_only_moves_later() {
        let (mut health, now) = (Health::default(), time::now());
        health.failed(&COOLDOWN, Some(secs(300)), now);
        assert_eq!(health.out_until(), Some(now + secs(300)));
        health.failed(&COOLDOWN, Some(secs(5)), now + secs(1));
        assert_eq!(health.out_until(), Some(now + secs(300)));
    }

    #[test]
    fn extremes_do_not_overflow() {
        let cooldown =
            Cooldown { first: Duration::MAX, most: Duration::MAX, hint_cap: Duration::MAX };
        let mut health = Health::default();
        for _ in 0..100 {
            health.failed(&cooldown, Some(Duration::MAX), time::now());
        }
        assert!(smoothed(Some(Duration::MAX), Duration::MAX) > secs(1));
    }
}
