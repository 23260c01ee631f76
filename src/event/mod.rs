//! Typed events of every layer, and the observers that receive them.
//!
//! Logs, metrics and alerts are [`Observer`]s of the same [`Event`]s. A layer without an observer
//! pays one branch. Events contain names, numbers and kinds of failure; never an error's text, a
//! body, a credential or a full URL.
//!
//! ```
//! # #[cfg(feature = "retry")]
//! # fn main() -> Result<(), tower_upstream::InvalidConfig> {
//! use tower_upstream::RetryLayer;
//! use tower_upstream::event::{Event, observer_fn};
//!
//! let observer = observer_fn(|event: &Event<'_>| println!("{}: {event}", event.name()));
//! let retry = RetryLayer::builder().observer(observer).build()?;
//! # let _ = retry;
//! # Ok(()) }
//! # #[cfg(not(feature = "retry"))]
//! # fn main() {}
//! ```
//!
//! # Events
//!
#![doc = include_str!("events.md")]

mod alert;
mod declare;
mod events;
mod observer;
mod retry;
#[cfg(feature = "tracing")]
mod tracing;

pub use self::alert::{Alert, AlertKind, Severity};
pub use self::events::{
    AlertChange, AlertChanged, AlertDelivered, AllRegionsOut, CircuitChanged, CircuitRejected,
    CircuitWouldReject, DeliveryResult, Event, FailedOver, GateClosed, LimitAboveQuota,
    LimitRejected, LimitWaiting, PermitRefunded, PermitSettled, RegionChange, RegionChanged,
    RetryDecided,
};
pub(crate) use self::observer::Observers;
pub use self::observer::{Observer, ObserverFn, observer_fn};
pub use self::retry::{Decision, StopReason};
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;

/// The level at which a log shows an event by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Single decisions about calls.
    Debug,
    /// Changes of state that need no action.
    Info,
    /// Conditions that may need action.
    Warn,
    /// Critical alerts.
    Error,
}
