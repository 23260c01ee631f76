//! The reference: plain lists of what happened, counted anew each time, in whole
//! milliseconds. Slow and obvious.

use tower_upstream::circuit_breaker::{CircuitState, OpenReason};

use crate::config::{Config, Recovery};
use crate::taken::{AllTaken, Taken};

/// How a call ended, as the table of verdicts has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    Success,
    /// With a hint of so many milliseconds.
    Failure(u64),
    /// Not the upstream's fault, and proof that it is alive.
    Alive,
    Neutral,
}

/// What a call was let through as.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ticket {
    /// Which model_state let it through: the how many-eth.
    pub(crate) model_state: u64,
    pub(crate) probe: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Admitted {
    Passes(Ticket),
    Rejected(Option<u64>),
}

#[derive(Debug)]
enum ModelState {
    Closed,
    Open { until: u64 },
    HalfOpen { in_flight: u64, ended: Vec<bool>, asked: u64, last: u64 },
    Recovering { asked: Vec<u64>, passed: u64 },
    Forced { open: bool },
}

#[derive(Debug)]
pub(crate) struct Model {
    config: Config,
    model_state: ModelState,
    /// The how many-eth model_state this is, and since when.
    pub(crate) number: u64,
    pub(crate) since: u64,
    /// What this model_state took in, and a ramp before it.
    taken: AllTaken,
    /// How long it was open at each opening of this streak.
    doublings: u32,
    held: u64,
    pub(crate) reason: Option<OpenReason>,
    pub(crate) calls: u64,
    pub(crate) successes: u64,
    pub(crate) last_failure: Option<u64>,
    /// Every change of state that must be observed.
    pub(crate) observed: Vec<(CircuitState, CircuitState)>,
}

impl Model {
    pub(crate) fn new(config: Config, now: u64) -> Self {
        Self {
            config,
            model_state: ModelState::Closed,
            number: 0,
            since: now,
            taken: AllTaken::new(config, now),
            doublings: 0,
            held: 0,
            reason: None,
            calls: 0,
            successes: 0,
            last_failure: None,
            observed: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> CircuitState {
        match self.model_state {
            ModelState::Closed => CircuitState::Closed,
            ModelState::Open { .. } => CircuitState::Open,
            ModelState::HalfOpen { .. } => CircuitState::HalfOpen,
            ModelState::Recovering { .. } => CircuitState::RampUp,
            ModelState::Forced { open: true } => CircuitState::ForcedOpen,
            ModelState::Forced { open: false } => CircuitState::ForcedClosed,
        }
    }

    /// When time alone changes the state.
    pub(crate) fn until(&self) -> Option<u64> {
        match self.model_state {
            ModelState::Open { until } => Some(until),
            ModelState::Recovering { .. } => Some(self.since + self.config.ramp),
            _ => None,
        }
    }

    /// An open circuit with jitter: so long, as is seen, within what is allowed.
    pub(crate) fn opened_until(&mut self, seen: u64) {
        if let ModelState::Open { until } = &mut self.model_state {
            let longest = *until + self.held * self.config.jitter / 100 + 1;
            assert!((*until..=longest).contains(&seen), "open until {seen}, not {until}");
            *until = seen;
        }
    }

    fn enter(&mut self, model_state: ModelState, now: u64) {
        let from = self.state();
        (self.model_state, self.since) = (model_state, now);
        self.number += 1;
        self.taken = AllTaken::new(self.config, now);
        let to = self.state();
        if from != to {
            self.observed.push((from, to));
        }
    }

    pub(crate) fn force(&mut self, open: bool, now: u64) {
        let already = matches!(self.model_state, ModelState::Forced { open: held } if held == open);
        self.enter(ModelState::Forced { open }, now);
        if open && !already {
            self.reason = Some(OpenReason::Forced);
        }
    }

    pub(crate) fn reset(&mut self, now: u64) {
        (self.doublings, self.held) = (0, 0);
        self.enter(ModelState::Closed, now);
    }

    pub(crate) fn begin(&mut self, now: u64) -> Admitted {
        if let ModelState::Open { until } = self.model_state {
            if now < until {
                return Admitted::Rejected(Some(until - now));
            }
            match self.config.recovery {
                Recovery::Time => self.recover(now),
                _ => self.half_open(now),
            }
        }
        if matches!(self.model_state, ModelState::Recovering { .. })
            && now >= self.since + self.config.ramp
        {
            let ramp = std::mem::replace(&mut self.taken, AllTaken::new(self.config, now));
            self.enter(ModelState::Closed, now);
            self.taken = ramp;
        }
        let (probes, lease) = (self.probes(), self.config.lease);
        let (since, ramp) = (self.since, self.config.ramp);
        let probe = match &mut self.model_state {
            ModelState::Closed | ModelState::Forced { open: false } => false,
            ModelState::Open { .. } | ModelState::Forced { open: true } => {
                return Admitted::Rejected(None);
            }
            ModelState::Recovering { asked, passed } => {
                // The first passes, and then one for each whole ramp that the callers' times add up to.
                asked.push(now - since);
                if asked.iter().sum::<u64>() < *passed * ramp {
                    return Admitted::Rejected(None);
                }
                *passed += 1;
                false
            }
            ModelState::HalfOpen { in_flight, ended, last, .. } => {
                if *in_flight + ended.len() as u64 == probes {
                    if now < *last + lease {
                        return Admitted::Rejected(None);
                    }
                    // Another round: a new model_state of the same state.
                    self.half_open(now);
                    self.since = since;
                }
                let ModelState::HalfOpen { in_flight, last, .. } = &mut self.model_state else {
                    unreachable!("half-open")
                };
                *in_flight += 1;
                *last = now;
                true
            }
        };
        Admitted::Passes(Ticket { model_state: self.number, probe })
    }

    fn half_open(&mut self, now: u64) {
        self.enter(
            ModelState::HalfOpen { in_flight: 0, ended: Vec::new(), asked: 0, last: now },
            now,
        );
    }

    fn recover(&mut self, now: u64) {
        let model_state = match self.config.ramp {
            0 => ModelState::Closed,
            _ => ModelState::Recovering { asked: Vec::new(), passed: 0 },
        };
        self.enter(model_state, now);
    }

    fn probes(&self) -> u64 {
        match self.config.recovery {
            Recovery::Time => 0,
            Recovery::Successes { probes, .. } | Recovery::Rate { probes, .. } => probes,
        }
    }

    /// A call has ended, `took` after it was sent.
    pub(crate) fn end(&mut self, ticket: Ticket, outcome: Outcome, took: u64, now: u64) {
        self.calls += 1;
        self.successes += u64::from(outcome == Outcome::Success);
        if let Outcome::Failure(_) = outcome {
            self.last_failure = Some(now);
        }
        if ticket.model_state != self.number {
            return;
        }
        let slow = self.config.slow.is_some_and(|(from, _)| took >= from);
        if ticket.probe {
            self.probed(outcome, slow, now);
        } else if matches!(self.model_state, ModelState::Closed | ModelState::Recovering { .. }) {
            self.take(outcome, slow, now);
        }
    }

    /// A call was dropped by its caller.
    pub(crate) fn abandon(&mut self, ticket: Ticket, took: u64, now: u64) {
        let too_long = self.config.abandoned_after.is_some_and(|after| took >= after);
        let outcome = if too_long { Outcome::Failure(0) } else { Outcome::Neutral };
        self.end(ticket, outcome, took, now);
    }

    fn probed(&mut self, outcome: Outcome, slow: bool, now: u64) {
        let until = self.until_asked(outcome, now);
        let ModelState::HalfOpen { in_flight, ended, asked, .. } = &mut self.model_state else {
            unreachable!("a probe of this model_state")
        };
        *in_flight -= 1;
        let succeeded = match outcome {
            Outcome::Neutral => return,
            Outcome::Success | Outcome::Alive => !slow,
            Outcome::Failure(_) => false,
        };
        ended.push(succeeded);
        *asked = until.max(*asked);
        let asked = *asked;
        let good = ended.iter().filter(|succeeded| **succeeded).count() as u64;
        let bad = ended.len() as u64 - good;
        let (closes, opens) = match self.config.recovery {
            Recovery::Time => unreachable!("no probes"),
            Recovery::Successes { successes, .. } => (good >= successes, bad > 0),
            // Those that aren't in yet may all be good.
            Recovery::Rate { probes, at } => {
                (good * 100 >= at * probes, (probes - bad) * 100 < at * probes)
            }
        };
        if opens {
            self.open(OpenReason::Probe, asked, now);
        } else if closes {
            self.recover(now);
        }
    }

    fn take(&mut self, outcome: Outcome, slow: bool, now: u64) {
        let failed = match outcome {
            Outcome::Neutral | Outcome::Alive => return,
            Outcome::Success => false,
            Outcome::Failure(_) => true,
        };
        let asked = self.until_asked(outcome, now);
        if let Some(reason) = self.taken.take(Taken { at: now, failed, slow, asked }) {
            self.open(reason, self.taken.asked(), now);
        }
    }

    /// Until when a server that replies so is left alone.
    fn until_asked(&self, outcome: Outcome, now: u64) -> u64 {
        match outcome {
            Outcome::Failure(asked) if asked > 0 => now + asked.min(self.config.hint_cap),
            _ => 0,
        }
    }

    /// Opens it, at least until it was `asked` for.
    fn open(&mut self, reason: OpenReason, asked: u64, now: u64) {
        let longest = |doublings: u32| {
            (0..doublings)
                .fold(self.config.open_for, |time, _| (time * 2).min(self.config.open_max))
        };
        if matches!(self.model_state, ModelState::Closed | ModelState::Recovering { .. }) {
            // Health takes a doubling back each time that it was closed for as long as it was open.
            let mut healthy = now - self.since;
            while self.doublings > 0 && (self.held == 0 || healthy >= self.held) {
                if self.held == 0 && healthy == 0 {
                    break;
                }
                healthy -= self.held;
                self.doublings -= 1;
            }
        }
        self.held =
            longest(self.doublings).max(asked.saturating_sub(now).min(self.config.hint_cap));
        if longest(self.doublings + 1) > longest(self.doublings) {
            self.doublings += 1;
        }
        self.reason = Some(reason);
        self.enter(ModelState::Open { until: now + self.held }, now);
    }

    /// What counts towards opening, in a row or leaky.
    pub(crate) fn failures(&self) -> u64 {
        self.taken.failures()
    }
}
