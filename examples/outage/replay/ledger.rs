//! What the provider knows of a key: its calls, its invoice, whether it is suspended.
//!
//! Plain functions of `(state, now)`; times are since the start of the morning.

use std::collections::VecDeque;
use std::time::Duration;

use super::timeline::LIMIT;

/// What so many calls cost: each 1,000 tokens of gpt-4.1, at 8.00 USD a million.
pub(crate) fn usd(calls: u64) -> f64 {
    calls as f64 * 0.008
}

/// The limit is over a sliding window of this length.
const WINDOW: Duration = Duration::from_secs(60);

/// A minute is abused if five times as many calls come too early in it as the key has: calls
/// that come before the time that the last 429 asked to wait for.
const EARLY_CALLS: u32 = 5 * LIMIT;

/// A key is suspended in the sixth abused minute on end: a few bad minutes may be an accident.
const ABUSED_MINUTES: u32 = 6;

/// For how long, counted from the last call: who keeps calling stays suspended.
const SUSPENDED_FOR: Duration = Duration::from_secs(600);

/// One key's account.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The calls accepted within the last window: when, and how much of the limit each takes.
    window: VecDeque<(Duration, u32)>,
    /// The latest time that a 429 asked to wait for.
    asked_to_wait: Duration,
    abuse: Abuse,
    suspended_until: Option<Duration>,
    pub(crate) invoice: Invoice,
}

/// What a key is billed for, and what it was answered instead.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Invoice {
    /// The calls accepted; each one's number is the count at that time.
    pub(crate) accepted: u64,
    pub(crate) answered_429: u64,
    pub(crate) answered_401: u64,
    pub(crate) suspended: bool,
}

/// Calls that came too early, counted by the minute.
#[derive(Debug, Default)]
struct Abuse {
    minute: u64,
    early: u32,
    /// How many minutes before this one, on end, were abused.
    before: u32,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Accepted { number: u64 },
    Limited { retry_after: Duration },
    Suspended,
}

/// What a key has left, as the `X-RateLimit-*` headers tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) calls: u32,
    /// How long it is until all of the limit is free.
    pub(crate) reset: Duration,
}

impl Ledger {
    /// A call comes, while the key may make `limit` calls a minute.
    pub(crate) fn admit(&mut self, now: Duration, limit: u32) -> Admission {
        if let Some(until) = &mut self.suspended_until {
            if now < *until {
                *until = now + SUSPENDED_FOR;
                self.invoice.answered_401 += 1;
                return Admission::Suspended;
            }
            self.suspended_until = None;
        }
        if now < self.asked_to_wait && self.abuse.early_call(now) {
            self.suspended_until = Some(now + SUSPENDED_FOR);
            self.invoice.suspended = true;
            self.invoice.answered_401 += 1;
            return Admission::Suspended;
        }
        match self.free_in(now, limit) {
            Duration::ZERO => {
                self.window.push_back((now, share(limit)));
                self.invoice.accepted += 1;
                Admission::Accepted { number: self.invoice.accepted }
            }
            wait => {
                // As the header says it.
                let retry_after = Duration::from_secs(whole_seconds(wait));
                self.asked_to_wait = self.asked_to_wait.max(now + retry_after);
                self.invoice.answered_429 += 1;
                Admission::Limited { retry_after }
            }
        }
    }

    pub(crate) fn left(&self, now: Duration, limit: u32) -> Left {
        let last = self.window.back().map_or(now, |(at, _)| *at + WINDOW);
        Left {
            calls: LIMIT.saturating_sub(self.used()) / share(limit),
            reset: last.saturating_sub(now),
        }
    }

    /// How long it is until there is room for a call.
    fn free_in(&mut self, now: Duration, limit: u32) -> Duration {
        while self.window.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.window.pop_front();
        }
        let mut used = self.used();
        let mut calls = self.window.iter();
        let mut wait = Duration::ZERO;
        while used + share(limit) > LIMIT {
            let Some((at, share)) = calls.next() else { return WINDOW };
            used -= share;
            wait = *at + WINDOW - now;
        }
        wait
    }

    fn used(&self) -> u32 {
        self.window.iter().map(|(_, share)| share).sum()
    }
}

impl Abuse {
    /// A call has come too early. Whether that was one too many.
    fn early_call(&mut self, now: Duration) -> bool {
        let minute = now.as_secs() / 60;
        if minute != self.minute {
            let on_end = minute == self.minute + 1 && self.early > EARLY_CALLS;
            self.before = if on_end { self.before + 1 } else { 0 };
            (self.minute, self.early) = (minute, 0);
        }
        self.early += 1;
        self.early > EARLY_CALLS && self.before + 1 >= ABUSED_MINUTES
    }
}

/// How much of the window a call takes. Under half the limit each call counts twice, so that a key
/// that has used half of the one has used half of the other.
fn share(limit: u32) -> u32 {
    LIMIT.div_ceil(limit)
}

/// A time as `Retry-After` and `X-RateLimit-Reset` give it, never too short.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn admitted(ledger: &mut Ledger, now: Duration, limit: u32, calls: u32) -> u32 {
        let accepted = |admission| matches!(admission, Admission::Accepted { .. });
        (0..calls).map(|_| u32::from(accepted(ledger.admit(now, limit)))).sum()
    }

    #[test]
    fn the_window_slides() {
        let mut ledger = Ledger::default();
        assert_eq!(admitted(&mut ledger, at(0.0), LIMIT, 40), 40);
        assert_eq!(admitted(&mut ledger, at(30.0), LIMIT, 40), 20);
        let limited = Admission::Limited { retry_after: at(10.0) };
        assert_eq!(ledger.admit(at(50.5), LIMIT), limited, "9.5 s, in whole seconds");
        assert_eq!(ledger.left(at(50.5), LIMIT), Left { calls: 0, reset: at(39.5) });
        assert_eq!(admitted(&mut ledger, at(60.0), LIMIT, 60), 40);
        assert_eq!(ledger.invoice.accepted, 100);
    }

    #[test]
    fn under_half_the_limit_a_call_counts_twice() {
        let mut ledger = Ledger::default();
        assert_eq!(admitted(&mut ledger, at(0.0), LIMIT, 40), 40);
        assert_eq!(admitted(&mut ledger, at(1.0), LIMIT / 2, 40), 10);
        assert_eq!(admitted(&mut ledger, at(60.0), LIMIT / 2, 40), 20);
    }

    #[test]
    fn only_abuse_for_minutes_on_end_suspends_and_silence_lifts_it() {
        let mut ledger = Ledger::default();
        let mut abuse = |minute: u32| {
            admitted(&mut ledger, WINDOW * minute, LIMIT, LIMIT + 1 + EARLY_CALLS + 1);
            ledger.invoice.suspended
        };
        // A quiet minute begins the count anew.
        for minute in [0, 1, 2, 3, 4, 6, 7, 8, 9, 10] {
            assert!(!abuse(minute), "in minute {minute}");
        }
        assert!(abuse(11));
        let last = WINDOW * 11;
        assert_eq!(ledger.admit(last + SUSPENDED_FOR - at(1.0), LIMIT), Admission::Suspended);
        let billed = ledger.invoice.accepted;
        assert_eq!(ledger.admit(last + SUSPENDED_FOR, LIMIT), Admission::Suspended, "it called");
        let quiet = last + SUSPENDED_FOR * 2;
        assert_eq!(ledger.admit(quiet, LIMIT), Admission::Accepted { number: billed + 1 });
    }

    #[test]
    fn who_comes_when_notified_is_not_early() {
        let mut ledger = Ledger::default();
        let mut now = at(0.0);
        for _ in 0..20 * LIMIT {
            match ledger.admit(now, LIMIT) {
                Admission::Limited { retry_after } => now += retry_after,
                Admission::Accepted { .. } => {}
                Admission::Suspended => panic!("suspended at {now:?}"),
            }
        }
        assert_eq!(ledger.abuse.early, 0);
    }
}
