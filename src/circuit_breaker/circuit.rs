//! One circuit, shared by all calls that go through it.

use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use super::permit::Permit;
use super::rules::Rules;
use super::state::{Admission, CircuitState, Machine, Transition};
use super::stats::Stats;
use super::status::CircuitStatus;
use super::trip::RateTrip;
use super::word::Word;
use super::{CircuitEvent, CircuitEventKind, CircuitOpen, Count};
use crate::classify::{Cause, Verdict};
use crate::event::Event;
use crate::key::Keyed;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::time::{self, Instant};

/// One circuit.
///
/// The [`Machine`] behind the lock decides; the word is what calls see of it
/// without the lock, and is written only while holding it, except for the
/// counts of a closed circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    word: AtomicU64,
    machine: Mutex<Inner>,
    rate: Option<Mutex<RateTrip>>,
    stats: Stats,
    name: Arc<str>,
    common: Arc<Common>,
}

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// Why it last opened.
    cause: Cause,
    /// Whether it is counted as [tripped](Common::is_any_tripped).
    counted: bool,
}

impl Circuit {
    pub(super) fn new(name: Arc<str>, common: Arc<Common>) -> Self {
        let now = time::now();
        let machine = Machine::new(now);
        let word = Word::new(machine.generation(), machine.state()).pack();
        Self {
            word: AtomicU64::new(word),
            machine: Mutex::new(Inner { machine, cause: Cause::Unknown, counted: false }),
            rate: common.rules.rate.map(|rate| Mutex::new(RateTrip::new(rate, now))),
            stats: Stats::new(now),
            name,
            common,
        }
    }

    /// Lets a call through, or says why not.
    #[inline]
    pub(super) fn admit(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        if word.state == CircuitState::Closed {
            return Ok(Permit::new(Arc::clone(self), word.generation, false));
        }
        self.admit_slowly()
    }

    #[cold]
    fn admit_slowly(self: &Arc<Self>) -> Result<Permit, CircuitOpen> {
        let now = time::now();
        let (admission, transition, generation, cause) = {
            let mut inner = self.machine.lock();
            let (admission, transition) = inner.machine.admit(&self.common.rules, now);
            self.publish(&mut inner, now);
            (admission, transition, inner.machine.generation(), inner.cause)
        };
        self.tell(transition, cause);
        match admission {
            Admission::Pass { probe } => Ok(Permit::new(Arc::clone(self), generation, probe)),
            Admission::Reject { retry_after } => {
                self.event(|| CircuitEventKind::Rejected { retry_after });
                Err(CircuitOpen::new(Arc::clone(&self.name), cause, retry_after))
            }
        }
    }

    /// Whether it is still in the state that granted a permit of this generation.
    pub(super) fn is_at(&self, generation: u32) -> bool {
        Word::unpack(self.word.load(Ordering::Acquire)).generation == generation
    }

    /// What a verdict counts as here.
    #[inline]
    pub(super) fn count(&self, verdict: &Verdict) -> Count {
        self.common.rules.count.count(verdict)
    }

    /// Takes in how a call that was let through has ended.
    #[inline]
    pub(super) fn report(&self, generation: u32, probe: bool, count: Count, verdict: &Verdict) {
        self.stats.record(count);
        if probe {
            self.probed(generation, count.of_probe(verdict), verdict);
        } else if count != Count::Neutral && self.reaches_a_threshold(generation, count) {
            self.trip(generation, verdict);
        }
    }

    /// Takes in that a call was dropped before it ended.
    pub(super) fn abandoned(&self, generation: u32, probe: bool) {
        self.stats.record(Count::Neutral);
        if probe {
            self.probed(generation, Count::Neutral, &Verdict::transient());
        }
    }

    /// Counts a result of a closed circuit; true if that must open it.
    #[inline]
    fn reaches_a_threshold(&self, generation: u32, count: Count) -> bool {
        let mut packed = self.word.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(packed);
            if word.generation != generation || word.state != CircuitState::Closed {
                return false;
            }
            let (counts, trips) = self.common.rules.counts.after(word.counts, count);
            if trips {
                return true;
            }
            if counts == word.counts {
                break;
            }
            let next = Word { counts, ..word }.pack();
            match self.word.compare_exchange_weak(packed, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(changed) => packed = changed,
            }
        }
        let Some(rate) = &self.rate else { return false };
        let now = time::now();
        rate.lock().record(count, generation, now)
    }

    #[cold]
    fn trip(&self, generation: u32, verdict: &Verdict) {
        self.change(verdict, |machine, rules, now, asked| {
            machine.trip(rules, now, generation, asked)
        });
    }

    #[cold]
    fn probed(&self, generation: u32, count: Count, verdict: &Verdict) {
        self.change(verdict, |machine, rules, now, asked| {
            machine.probed(rules, now, generation, count, asked)
        });
    }

    /// Closes the circuit and forgets its failures.
    pub(super) fn reset(&self) {
        self.change(&Verdict::success(), |machine, _, now, _| machine.reset(now));
    }

    fn change(
        &self,
        verdict: &Verdict,
        decide: impl FnOnce(&mut Machine, &Rules, Instant, Option<Duration>) -> Option<Transition>,
    ) {
        let now = time::now();
        let transition = {
            let mut inner = self.machine.lock();
            let asked = verdict.hint().retry_after;
            let transition = decide(&mut inner.machine, &self.common.rules, now, asked);
            if transition.is_some_and(|transition| transition.to == CircuitState::Open) {
                inner.cause = verdict.cause();
            }
            self.publish(&mut inner, now);
            transition
        };
        self.tell(transition, verdict.cause());
    }

    /// Makes the machine's state what calls see; called with its lock held.
    fn publish(&self, inner: &mut Inner, now: Instant) {
        let (generation, state) = (inner.machine.generation(), inner.machine.state());
        if self.is_at(generation) {
            return;
        }
        self.word.store(Word::new(generation, state).pack(), Ordering::Release);
        if let Some(rate) = &self.rate {
            rate.lock().clear(generation, now);
        }
        self.count_tripped(inner, state != CircuitState::Closed);
    }

    fn count_tripped(&self, inner: &mut Inner, tripped: bool) {
        let counted = std::mem::replace(&mut inner.counted, tripped);
        self.common.count_tripped(counted, tripped);
    }

    /// Stops holding up the calls of other circuits (see
    /// [`poll_ready`](super::CircuitBreaker)) if nobody has called this one for
    /// long. It stays open: its next call is a probe.
    pub(super) fn rest(&self, now: Instant) {
        let mut inner = self.machine.lock();
        if self.is_past(&inner, now) {
            self.count_tripped(&mut inner, false);
        }
    }

    /// Whether what it knows is too old to matter.
    fn is_past(&self, inner: &Inner, now: Instant) -> bool {
        let mattered = inner.machine.mattered();
        mattered
            .max(self.stats.last_failure())
            .is_none_or(|last| time::after(last, self.common.rules.memory()) <= now)
    }

    /// Tells a change of state; called without the lock.
    fn tell(&self, transition: Option<Transition>, cause: Cause) {
        let Some(transition) = transition else { return };
        self.event(|| match transition.to {
            CircuitState::Open => CircuitEventKind::Opened { cause, open_for: transition.open_for },
            CircuitState::HalfOpen => CircuitEventKind::HalfOpened,
            CircuitState::Closed => CircuitEventKind::Closed,
        });
    }

    fn event(&self, kind: impl FnOnce() -> CircuitEventKind) {
        self.common
            .listener
            .tell(|| Event::CircuitBreaker(CircuitEvent { circuit: &self.name, kind: kind() }));
    }

    /// How the circuit is now.
    pub(super) fn status(&self) -> CircuitStatus {
        let inner = self.machine.lock();
        let word = Word::unpack(self.word.load(Ordering::Acquire));
        let totals = self.stats.totals();
        CircuitStatus {
            name: Arc::clone(&self.name),
            state: inner.machine.state(),
            since: inner.machine.since(),
            until: inner.machine.until(),
            cause: inner.cause,
            calls: totals.calls,
            successes: totals.successes,
            // One of the two is zero unless both policies are on.
            failure_count: word.counts.consecutive.max(word.counts.leaky),
            last_failure: self.stats.last_failure(),
        }
    }
}

impl Keyed for Circuit {
    /// One that has failed lately matters, whatever its state; one that failed
    /// long ago must not take a place for ever.
    fn is_idle(&self, now: Instant) -> bool {
        self.is_past(&self.machine.lock(), now)
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.count_tripped(&mut self.machine.lock(), false);
    }
}
