use std::sync::Arc;
use std::time::Duration;

use super::OpenDuration;
use super::circuit::{Circuit, SharedConfig};
use super::circuits::Circuits;
use super::config::Config;
use super::count::{CountingPolicy, CredentialRejections};
use super::observers::CircuitObservers;
use super::permit::CircuitPermit;
use super::trip::CountTrip;
use crate::error::CircuitOpen;
use crate::key::KeyRef;
use crate::random::RandomSource;
use crate::time;

/// When a credential that the upstream refuses is left unused, and for how long.
///
/// ```
/// use tower_upstream::CircuitBreakerLayer;
/// use tower_upstream::circuit_breaker::CredentialLatch;
///
/// // Nothing more is sent until the latch is reset, or uses another key.
/// let latch = CredentialLatch::new().refusals(5).no_probe();
/// let breaker = CircuitBreakerLayer::builder().latch(latch).build()?;
/// # let _ = breaker;
/// # Ok::<_, tower_upstream::InvalidConfig>(())
/// ```
///
/// See the [module](super#latch) for what it does and why.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct CredentialLatch {
    refusals: u32,
    probe_after: OpenDuration,
}

impl CredentialLatch {
    /// Latches after 2 refusals in a row, and sends a probe after 10 minutes, then 20, 40 and so on
    /// up to 2 hours, each up to a tenth later at random.
    pub const fn new() -> Self {
        const TEN_MINUTES: Duration = Duration::from_secs(600);
        const TWO_HOURS: Duration = Duration::from_secs(7_200);
        Self { refusals: 2, probe_after: OpenDuration::doubling(TEN_MINUTES).max(TWO_HOURS) }
    }

    /// How many refusals in a row, without a success in between, latch a credential: from 1 to
    /// 524,287. The first rejection after a quiet time isn't counted: it makes the breaker start to
    /// watch credentials.
    pub const fn refusals(mut self, refusals: u32) -> Self {
        self.refusals = refusals;
        self
    }

    /// When one call is let through as a probe, since a suspension may lift by itself.
    pub fn probe_after(mut self, time: impl Into<OpenDuration>) -> Self {
        self.probe_after = time.into();
        self
    }

    /// Lets no probe through: only another credential, or a
    /// [reset](super::CircuitBreakerHandle::reset), ends it.
    pub const fn no_probe(mut self) -> Self {
        self.probe_after = OpenDuration::fixed(Duration::MAX);
        self
    }

    /// The config of a credential's circuit.
    pub(super) fn config(&self, dry_run: bool) -> Config {
        Config {
            counts: CountTrip { consecutive: Some(self.refusals), leaky: None },
            counting: CountingPolicy::CredentialRejections,
            open_for: self.probe_after,
            // A server that says when the quota is back is believed, up to a day at a time.
            hint_cap: Duration::from_secs(86_400),
            // One probe is sent per interval. So a probe that its caller drops has failed, and one
            // that never ends keeps its slot for the length of the first interval.
            abandoned_after: Some(Duration::ZERO),
            probe_lease: self.probe_after.first().max(Duration::from_secs(60)),
            dry_run,
            ..Config::default()
        }
    }
}

impl Default for CredentialLatch {
    fn default() -> Self {
        Self::new()
    }
}

/// The circuits of credentials.
///
/// While no credential is refused, calls don't look at theirs, and pay one atomic load. The first
/// rejection makes the layer watch credentials, until none has been refused for a while.
#[derive(Debug)]
pub(super) struct Latches {
    circuits: Circuits,
    refusals: Arc<CredentialRejections>,
}

impl Latches {
    /// How long credentials are watched after the last rejection, if none is latched.
    const WATCH: Duration = Duration::from_secs(600);
    /// How long an unused latched credential keeps the watch going, which costs each call a hash.
    /// After that a burst would be sent until the first rejection.
    const WATCH_LATCHED: Duration = Duration::from_secs(86_400);

    pub(super) fn new(
        name: &Arc<str>,
        max_keys: usize,
        config: Config,
        observers: CircuitObservers,
        random: RandomSource,
        refusals: Arc<CredentialRejections>,
    ) -> Self {
        let common = SharedConfig::new(config, observers, random, Arc::clone(&refusals));
        let name = format!("{name}/credential").into();
        let circuits = Circuits::new(name, max_keys, common, false);
        Self { circuits, refusals }
    }

    pub(super) fn circuits(&self) -> &Circuits {
        &self.circuits
    }

    #[inline]
    pub(super) fn is_watching(&self) -> bool {
        self.refusals.any()
    }

    /// Lets a call with this credential through, or says why not. `Ok(None)`: no latch applies.
    /// That includes calls whose credential can't be seen, as a new key can't be distinguished from the
    /// old one.
    pub(super) fn admit(
        &self,
        credential: &KeyRef<'_>,
    ) -> Result<Option<Box<CircuitPermit>>, Box<CircuitOpen>> {
        if !self.keep_watching() || matches!(credential, KeyRef::Shared) {
            return Ok(None);
        }
        let circuit = self.circuits.get_own(credential);
        circuit.map(|circuit| Circuit::admit(&circuit).map(Box::new)).transpose()
    }

    fn keep_watching(&self) -> bool {
        let (last, quiet_for) = self.refusals.last();
        if quiet_for >= time::nanos(Self::WATCH_LATCHED) {
            self.circuits.release_idle();
        }
        if quiet_for < time::nanos(Self::WATCH) || self.circuits.is_any_open() {
            return true;
        }
        // Successes aren't seen while nobody watches, so refusals from before must not add up with
        // later ones. Forgotten before the watch ends, so that what the next watch counts is kept.
        self.circuits.reset_counts();
        self.refusals.clear(last);
        false
    }
}
