//! The reference: what the module's documentation says of the latch, in whole minutes.

use tower_upstream::circuit_breaker::{CircuitState, OpenReason};

use crate::random::Random;

/// How a call ended, as far as it matters to a credential, and for how many minutes the
/// server asked to be left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Success,
    Refused(OpenReason, u64),
    Other(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) refusals: u32,
    /// After how long a probe passes, at first and at most; none: never.
    pub(super) probe_after: Option<(u64, u64)>,
}

impl Config {
    pub(super) fn random(random: &mut Random) -> Self {
        let first = random.from(1, 30);
        let probe_after = (!random.one_in(5)).then(|| (first, first * random.from(1, 10)));
        Self { refusals: random.from(1, 4) as u32, probe_after }
    }

    fn first(&self) -> u64 {
        self.probe_after.map_or(NEVER, |(first, _)| first)
    }

    fn max(&self) -> u64 {
        self.probe_after.map_or(NEVER, |(_, max)| max)
    }
}

/// Thirty years.
const NEVER: u64 = 30 * 365 * DAY;
const DAY: u64 = 24 * 60;
/// For how long credentials are watched after a refusal, and a circuit matters after its time.
const WHILE: u64 = 10;

/// What let a call pass: nobody looked, or its credential in this model_state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ticket(Option<(u64, bool)>);

const WATCHED: ModelState = ModelState::Watched { refused: 0, asked: 0 };

#[derive(Debug)]
enum ModelState {
    /// Refused so often in a row, and asked until when to be left alone.
    Watched {
        refused: u32,
        asked: u64,
    },
    Latched {
        until: u64,
    },
    Probing {
        since: u64,
    },
}

/// One credential that was looked at.
#[derive(Debug)]
pub(super) struct Credential {
    model_state: ModelState,
    number: u64,
    since: u64,
    /// How long it was latched at last, and how often that was doubled.
    held: u64,
    doublings: u32,
    last_refusal: Option<u64>,
    /// Nobody has used it for so long that it keeps nobody watching.
    at_rest: bool,
    pub(super) reason: Option<OpenReason>,
}

/// All credentials of a layer.
#[derive(Debug)]
pub(super) struct Model {
    config: Config,
    watching_since: Option<u64>,
    pub(super) credentials: Vec<Option<Credential>>,
}

impl Model {
    pub(super) fn new(config: Config, credentials: u64) -> Self {
        let credentials = (0..credentials).map(|_| None).collect();
        Self { config, watching_since: None, credentials }
    }

    /// What lets a call with this credential pass or, if it is turned away, when to come back.
    pub(super) fn begin(&mut self, name: Option<u64>, now: u64) -> Result<Ticket, Option<u64>> {
        self.stop_watching(now);
        let (Some(_), Some(name)) = (self.watching_since, name) else { return Ok(Ticket(None)) };
        let config = self.config;
        let credential =
            self.credentials[name as usize].get_or_insert_with(|| Credential::new(now));
        credential.begin(config, now).map(|passes| Ticket(Some(passes)))
    }

    /// Unless a credential was refused lately, or is latched.
    fn stop_watching(&mut self, now: u64) {
        let Some(since) = self.watching_since else { return };
        if now < since + WHILE {
            return;
        }
        if now >= since + DAY {
            let config = self.config;
            self.all().for_each(|credential| credential.rest(config, now));
        }
        if !self.all().any(|credential| credential.is_latched() && !credential.at_rest) {
            self.watching_since = None;
            self.all().for_each(Credential::forget);
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Credential> {
        self.credentials.iter_mut().flatten()
    }

    pub(super) fn end(&mut self, name: Option<u64>, ticket: Ticket, outcome: Outcome, now: u64) {
        if let Outcome::Refused(..) = outcome {
            self.watching_since = Some(now);
        }
        self.take(name, ticket, outcome, now);
    }

    /// Its caller drops a call that was sent.
    pub(super) fn abandon(&mut self, name: Option<u64>, ticket: Ticket, now: u64) {
        self.take(name, ticket, Outcome::Other(0), now);
    }

    fn take(&mut self, name: Option<u64>, ticket: Ticket, outcome: Outcome, now: u64) {
        let (Some(name), Some((number, probe))) = (name, ticket.0) else { return };
        let credential = self.credentials[name as usize].as_mut().expect("it let a call pass");
        if let Outcome::Refused(..) = outcome {
            credential.last_refusal = Some(now);
        }
        if number == credential.number {
            credential.end(self.config, outcome, probe, now);
        }
    }

    pub(super) fn reset(&mut self, name: Option<u64>, now: u64) {
        let all = self.credentials.iter_mut().enumerate();
        let named = all.filter(|(at, _)| name.is_none_or(|name| name == *at as u64));
        named.filter_map(|(_, credential)| credential.as_mut()).for_each(|credential| {
            (credential.held, credential.doublings) = (0, 0);
            credential.enter(WATCHED, now);
        });
    }
}

impl Credential {
    fn new(now: u64) -> Self {
        Self {
            model_state: WATCHED,
            number: 0,
            since: now,
            held: 0,
            doublings: 0,
            last_refusal: None,
            at_rest: false,
            reason: None,
        }
    }

    pub(super) fn state(&self) -> CircuitState {
        match self.model_state {
            ModelState::Watched { .. } => CircuitState::Closed,
            ModelState::Latched { .. } => CircuitState::Open,
            ModelState::Probing { .. } => CircuitState::HalfOpen,
        }
    }

    pub(super) fn until(&self) -> Option<u64> {
        match self.model_state {
            ModelState::Latched { until } => Some(until),
            ModelState::Watched { .. } | ModelState::Probing { .. } => None,
        }
    }

    fn is_latched(&self) -> bool {
        !matches!(self.model_state, ModelState::Watched { .. })
    }

    fn enter(&mut self, model_state: ModelState, now: u64) {
        (self.model_state, self.since, self.at_rest) = (model_state, now, false);
        self.number += 1;
    }

    /// Nobody watches for a success any more.
    fn forget(&mut self) {
        if let ModelState::Watched { .. } = self.model_state {
            self.model_state = WATCHED;
            self.number += 1;
        }
    }

    fn begin(&mut self, config: Config, now: u64) -> Result<(u64, bool), Option<u64>> {
        match self.model_state {
            ModelState::Watched { .. } => return Ok((self.number, false)),
            ModelState::Latched { until } if now < until => return Err(Some(until - now)),
            // One at a time, for as long as a latch lasts at first: that one hangs.
            ModelState::Probing { since } if now < since + config.first() => return Err(None),
            ModelState::Latched { .. } | ModelState::Probing { .. } => {}
        }
        self.enter(ModelState::Probing { since: now }, now);
        Ok((self.number, true))
    }

    fn end(&mut self, config: Config, outcome: Outcome, probe: bool, now: u64) {
        match (outcome, &mut self.model_state) {
            (Outcome::Success, ModelState::Watched { .. }) => self.model_state = WATCHED,
            (Outcome::Success, _) => self.enter(WATCHED, now),
            (Outcome::Refused(reason, minutes), ModelState::Watched { refused, asked }) => {
                *refused += 1;
                *asked = (*asked).max(now + minutes.min(DAY));
                if *refused == config.refusals {
                    let asked = asked.saturating_sub(now);
                    self.reason = Some(reason);
                    self.latch(config, asked, now);
                }
            }
            (Outcome::Refused(reason, asked), _) => {
                assert!(probe, "nothing else passes");
                self.reason = Some(reason);
                self.latch(config, asked, now);
            }
            (Outcome::Other(_), ModelState::Watched { .. }) => {}
            // A probe that proves nothing was one all the same.
            (Outcome::Other(asked), _) => self.latch(config, asked, now),
        }
    }

    fn latch(&mut self, config: Config, asked: u64, now: u64) {
        if !self.is_latched() && self.held > 0 {
            let healthy = (now - self.since) / self.held;
            self.doublings = self.doublings.saturating_sub(healthy.try_into().unwrap_or(u32::MAX));
        }
        let doubled =
            |times: u32| (0..times).fold(config.first(), |time, _| (time * 2).min(config.max()));
        self.held = doubled(self.doublings).max(asked.min(DAY));
        self.doublings += u32::from(doubled(self.doublings + 1) > doubled(self.doublings));
        self.enter(ModelState::Latched { until: now + self.held }, now);
    }

    fn rest(&mut self, config: Config, now: u64) {
        let mattered = match self.model_state {
            ModelState::Watched { .. } => None,
            ModelState::Latched { until } => Some(until),
            ModelState::Probing { since } => Some(since),
        };
        let last = mattered.max(self.last_refusal);
        self.at_rest |= last.is_none_or(|last| last + WHILE + config.first() <= now);
    }
}
