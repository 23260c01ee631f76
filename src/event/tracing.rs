use std::fmt;

use super::events::trace_event;
use super::{Alert, AlertChanged, AlertDelivered, Event, Level, Observer};

/// An observer that writes every event to `tracing`, at its [level](Event::level).
///
/// The target is `tower_upstream`, and the fields of the record are the fields of the event. Alerts
/// have the target `tower_upstream::alert`, and as fields their kind, severity, key, service and
/// region.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver;

impl TracingObserver {
    /// Creates the observer.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Observer for TracingObserver {
    fn observe(&self, event: &Event<'_>) {
        let level = event.level();
        match event {
            Event::AlertChanged(AlertChanged { alert, .. }) => {
                trace_alert(level, alert, None, &alert.message);
            }
            Event::AlertDelivered(AlertDelivered { alert, sink, .. }) => {
                trace_alert(level, alert, Some(sink), event);
            }
            _ => match level {
                Level::Debug => trace_event!(event, DEBUG),
                Level::Info => trace_event!(event, INFO),
                Level::Warn => trace_event!(event, WARN),
                Level::Error => trace_event!(event, ERROR),
            },
        }
    }
}

fn trace_alert(level: Level, alert: &Alert, sink: Option<&str>, message: &dyn fmt::Display) {
    macro_rules! trace_at {
        ($level:ident) => {
            tracing::event!(
                target: "tower_upstream::alert",
                tracing::Level::$level,
                kind = alert.kind.name(),
                severity = alert.severity.name(),
                resolved = alert.resolved,
                key = %alert.key,
                service = %alert.service,
                region = alert.region.as_deref(),
                sink,
                "{message}"
            )
        };
    }
    match level {
        Level::Debug => trace_at!(DEBUG),
        Level::Info => trace_at!(INFO),
        Level::Warn => trace_at!(WARN),
        Level::Error => trace_at!(ERROR),
    }
}
