use std::fmt;

use super::Alert;

/// Something that the alerts did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AlertEvent<'a> {
    /// The alert that it is about.
    pub alert: &'a Alert,
    /// What happened to it.
    pub kind: AlertEventKind,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlertEventKind {
    /// It was raised, raised again after the repeat interval, or got more severe.
    Raised,
    /// What it was about is over.
    Resolved,
    /// A sink's queue was full, and it won't hear of it.
    Dropped {
        /// The sink's name.
        sink: &'static str,
    },
    /// A sink refused it, or didn't take it [in time](super::AlertsBuilder::delivery_timeout).
    Failed {
        /// The sink's name.
        sink: &'static str,
    },
}

impl fmt::Display for AlertEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Alert { kind, severity, message, .. } = self.alert;
        match self.kind {
            AlertEventKind::Raised => write!(f, "{severity} alert, {kind}: {message}"),
            AlertEventKind::Resolved => write!(f, "alert resolved, {kind}: {message}"),
            AlertEventKind::Dropped { sink } => {
                write!(f, "{severity} alert, {kind}, dropped: the queue of {sink} is full")
            }
            AlertEventKind::Failed { sink } => {
                write!(f, "{severity} alert, {kind}, failed: {sink} didn't take it")
            }
        }
    }
}
