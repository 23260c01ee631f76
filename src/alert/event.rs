use std::fmt;

use super::Alert;
#[cfg(feature = "tracing")]
use super::Severity;

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
    /// A sink's queue was full, and it doesn't hear of it this time.
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

#[cfg(feature = "tracing")]
impl AlertEvent<'_> {
    /// Writes a line, at the level of the severity and with what the alert says as fields.
    pub(crate) fn log(&self) {
        // A level is a constant to `tracing`.
        macro_rules! log {
            ($level:ident, $sink:expr, $($message:tt)+) => {
                tracing::event!(
                    target: "tower_upstream::alert",
                    tracing::Level::$level,
                    kind = self.alert.kind.as_str(),
                    severity = self.alert.severity.as_str(),
                    resolved = self.alert.resolved,
                    key = %self.alert.key,
                    service = %self.alert.service,
                    region = self.alert.region.as_deref(),
                    sink = $sink,
                    $($message)+
                )
            };
        }
        let (message, none) = (&self.alert.message, None::<&str>);
        match (self.kind, self.alert.severity) {
            (AlertEventKind::Raised, Severity::Critical) => log!(ERROR, none, "{message}"),
            (AlertEventKind::Raised, Severity::Warning) => log!(WARN, none, "{message}"),
            (AlertEventKind::Raised, Severity::Info) | (AlertEventKind::Resolved, _) => {
                log!(INFO, none, "{message}");
            }
            (AlertEventKind::Dropped { sink } | AlertEventKind::Failed { sink }, _) => {
                log!(WARN, sink, "{self}");
            }
        }
    }
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
