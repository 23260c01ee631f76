//! One stream of typed events from every layer.
//!
//! Logs, metrics and alerts are [`Observer`]s of the same [`Event`]s. A layer without an observer
//! pays one branch. Events carry names, numbers and kinds of failure; never an error's text, a
//! body, a credential or a full URL.
//!
//! ```
//! # #[cfg(feature = "retry")] {
//! use tower_upstream::{RetryLayer, event::{Event, observer_fn}};
//!
//! let retry = RetryLayer::new().observer(observer_fn(|event: &Event<'_>| println!("{event}")));
//! # let _ = retry;
//! # }
//! ```

use std::fmt;
use std::sync::Arc;

/// Something that a layer did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The retry layer decided about a failed attempt.
    #[cfg(feature = "retry")]
    Retry(crate::retry::RetryEvent<'a>),
    /// A circuit changed state, or turned a call away.
    #[cfg(feature = "circuit-breaker")]
    CircuitBreaker(crate::circuit_breaker::CircuitEvent<'a>),
    /// A rate limiter made a call wait, turned it away, or was told to wait.
    #[cfg(feature = "rate-limit")]
    RateLimit(crate::rate_limit::RateLimitEvent<'a>),
    /// A region was lost or is back, or a call went to another one.
    #[cfg(feature = "failover")]
    Failover(crate::failover::FailoverEvent<'a>),
    /// An alert was raised or resolved, or a sink didn't take it.
    #[cfg(feature = "alert")]
    Alert(crate::alert::AlertEvent<'a>),
    #[doc(hidden)]
    _Lifetime(std::marker::PhantomData<&'a ()>, std::convert::Infallible),
}

impl Event<'_> {
    /// Whether a log should show it by default: a retry that was given up, a circuit that opened, a pause
    /// that the server asked for, a lost region, and an alert that is worse than information, or that a
    /// sink won't hear of.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        match self {
            #[cfg(feature = "retry")]
            Self::Retry(event) => matches!(event.decision, crate::retry::Decision::Stop(_)),
            #[cfg(feature = "circuit-breaker")]
            Self::CircuitBreaker(event) => {
                use crate::circuit_breaker::CircuitEventKind as Kind;
                matches!(event.kind, Kind::Opened { .. })
            }
            #[cfg(feature = "rate-limit")]
            Self::RateLimit(event) => {
                use crate::rate_limit::RateLimitEventKind as Kind;
                matches!(event.kind, Kind::GateClosed { .. })
            }
            #[cfg(feature = "failover")]
            Self::Failover(event) => {
                use crate::failover::FailoverEventKind as Kind;
                matches!(event.kind, Kind::Lost { .. } | Kind::AllLost)
            }
            #[cfg(feature = "alert")]
            Self::Alert(event) => {
                use crate::alert::{AlertEventKind as Kind, Severity};
                match event.kind {
                    Kind::Raised => event.alert.severity > Severity::Info,
                    Kind::Resolved => false,
                    Kind::Dropped { .. } | Kind::Failed { .. } => true,
                }
            }
            Self::_Lifetime(_, never) => match *never {},
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, #[allow(unused_variables)] f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "retry")]
            Self::Retry(event) => event.fmt(f),
            #[cfg(feature = "circuit-breaker")]
            Self::CircuitBreaker(event) => event.fmt(f),
            #[cfg(feature = "rate-limit")]
            Self::RateLimit(event) => event.fmt(f),
            #[cfg(feature = "failover")]
            Self::Failover(event) => event.fmt(f),
            #[cfg(feature = "alert")]
            Self::Alert(event) => event.fmt(f),
            Self::_Lifetime(_, never) => match *never {},
        }
    }
}

/// Hears every [`Event`] of the layers that it is given to.
///
/// It is called outside locks, mostly on the caller's task; a layer's own tasks (health checks,
/// alerts that come due) call it too. It must be quick and not block: hand slow work to a bounded
/// queue. If it panics, the call that caused the event panics.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't an observer",
    note = "wrap a closure as `observer_fn(|event: &Event<'_>| ..)`"
)]
pub trait Observer: Send + Sync + 'static {
    /// Hears one event.
    fn observe(&self, event: &Event<'_>);
}

/// Hears nothing.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}

/// Tells every event to both, the first one first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&self, event: &Event<'_>) {
        self.0.observe(event);
        self.1.observe(event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }
}

/// A closure as an observer. Made by [`observer_fn`].
#[derive(Clone, Copy)]
pub struct ObserverFn<F>(F);

/// Makes an observer of a closure.
pub const fn observer_fn<F>(f: F) -> ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    ObserverFn(f)
}

impl<F> fmt::Debug for ObserverFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObserverFn")
    }
}

impl<F> Observer for ObserverFn<F>
where
    F: Fn(&Event<'_>) + Send + Sync + 'static,
{
    fn observe(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

/// Writes every event to `tracing`, under the target `tower_upstream`.
///
/// What [is a warning](Event::is_warning) is written as one, the rest as debug. Alerts have the target
/// `tower_upstream::alert`, and their kind, severity, key, service and region as fields: one that is
/// critical is an error, one that is a warning is written as that, information and ends are information.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver;

#[cfg(feature = "tracing")]
impl TracingObserver {
    /// Makes an observer that writes events to `tracing`.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(feature = "tracing")]
impl Observer for TracingObserver {
    fn observe(&self, event: &Event<'_>) {
        #[cfg(feature = "alert")]
        if let Event::Alert(event) = event {
            return event.log();
        }
        if event.is_warning() {
            tracing::warn!(target: "tower_upstream", "{event}");
        } else {
            tracing::debug!(target: "tower_upstream", "{event}");
        }
    }
}

/// The observer that a layer was given, if any.
#[derive(Clone, Default)]
pub(crate) struct Observers(Option<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Tells every event to both, this one first.
    pub(crate) fn and(self, other: &Self) -> Self {
        match (self.0, other.0.clone()) {
            (Some(one), Some(other)) => Self::new((one, other)),
            (one, other) => Self(one.or(other)),
        }
    }

    /// Tells the event, which is only made if somebody listens.
    #[inline]
    pub(crate) fn emit<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(observer) = &self.0 {
            observer.observe(&event());
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Some(Observer)" } else { "None" })
    }
}
