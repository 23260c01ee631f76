use std::fmt;

/// The state of a circuit: which calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Healthy: every call passes.
    Closed,
    /// Tripped: every call is answered at once with [`CircuitOpen`](super::CircuitOpen).
    Open,
    /// Probing: a few calls pass, and their results decide.
    HalfOpen,
    /// Recovered just now: a growing share of the calls passes.
    Recovering,
    /// InFlight open by its [handle](super::CircuitBreakerHandle): no call passes.
    ForcedOpen,
    /// InFlight closed by its [handle](super::CircuitBreakerHandle): every call
    /// passes, and none counts.
    ForcedClosed,
}

impl CircuitState {
    /// The name that logs, metrics and data show, such as `half-open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Recovering => "recovering",
            Self::ForcedOpen => "forced-open",
            Self::ForcedClosed => "forced-closed",
        }
    }

    /// A greater number is a worse state for callers.
    pub(super) const fn severity(self) -> u8 {
        match self {
            Self::ForcedClosed => 0,
            Self::Closed => 1,
            Self::Recovering => 2,
            Self::HalfOpen => 3,
            Self::Open => 4,
            Self::ForcedOpen => 5,
        }
    }

    /// Whether every call passes, whatever the time.
    #[inline]
    pub(super) const fn passes_all(self) -> bool {
        matches!(self, Self::Closed | Self::ForcedClosed)
    }

    /// Whether no call passes until it changes.
    pub(super) const fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::ForcedOpen)
    }

    /// Whether results count towards opening.
    #[inline]
    pub(super) const fn counts_results(self) -> bool {
        matches!(self, Self::Closed | Self::Recovering)
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
