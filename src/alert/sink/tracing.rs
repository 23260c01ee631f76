use std::sync::Arc;
use std::time::Duration;

use super::shown;
use crate::alert::deliver::{Deliver, Outcome, Outcoming};
use crate::alert::{Alert, Severity};
use crate::error::InvalidConfig;

/// The program's own log.
pub(in crate::alert) struct Tracing;

impl Deliver for Tracing {
    fn name(&self) -> &'static str {
        "tracing"
    }

    fn check(&self) -> Result<(), InvalidConfig> {
        Ok(())
    }

    fn most(&self) -> usize {
        1
    }

    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    fn deliver(self: Arc<Self>, alerts: Vec<Arc<Alert>>, _: Duration) -> Outcoming {
        Box::pin(async move {
            for alert in alerts {
                write(&alert);
            }
            Outcome { accepted: true, ..Outcome::default() }
        })
    }
}

fn write(alert: &Alert) {
    // A level is a constant to `tracing`.
    macro_rules! write_at {
        ($level:ident) => {
            tracing::event!(
                target: "tower_upstream::alert",
                tracing::Level::$level,
                kind = alert.kind.as_str(),
                severity = alert.severity.as_str(),
                resolved = alert.resolved,
                key = %alert.key,
                service = %alert.service,
                region = alert.region.as_deref(),
                "{}",
                alert.message
            )
        };
    }
    match shown(alert) {
        Severity::Critical => write_at!(ERROR),
        Severity::Warning => write_at!(WARN),
        Severity::Info => write_at!(INFO),
    }
}
