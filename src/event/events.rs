use std::fmt;
use std::time::Duration;

use super::alert::Alert;
use super::declare::events;
use super::retry::Decision;
use super::{Level, Severity};
use crate::error::{CircuitState, OpenReason};
use crate::verdict::{Cause, Class, Verdict};

events! {
    /// The retry layer decided about a failed attempt.
    struct RetryDecided<'a> {
        /// The layer's name.
        upstream: &'a str, bounded;
        /// The number of the failed attempt; the first is 1.
        attempt: u32, unbounded;
        /// The verdict about the attempt's result.
        verdict: Verdict, bounded;
        /// The decision.
        decision: Decision, bounded;
    }
    level(event) = match event.decision {
        Decision::Stop(_) => Level::Warn,
        Decision::Return | Decision::Retry { .. } => Level::Debug,
    };
    text(event, f) = {
        write!(f, "{}: attempt {} failed ({}", event.upstream, event.attempt, event.verdict.cause())?;
        if let (Class::CircuitOpen, Some(wait)) =
            (event.verdict.class(), event.verdict.hint().retry_after)
        {
            write!(f, " for another {wait:.1?}")?;
        }
        match event.decision {
            Decision::Return => f.write_str("): returned"),
            Decision::Retry { wait: Duration::ZERO } => f.write_str("): retry at once"),
            Decision::Retry { wait } => write!(f, "): retry in {wait:.1?}"),
            Decision::Stop(reason) => write!(f, "): not retried: {reason}"),
        }
    };

    /// A circuit changed its state.
    struct CircuitChanged<'a> {
        /// The circuit's name.
        circuit: &'a str, unbounded;
        /// The state before.
        from: CircuitState, bounded;
        /// The state after.
        to: CircuitState, bounded;
        /// The generation of the new state. It increases with each change and wraps to zero after
        /// 8 million. Events of two threads may arrive out of order.
        generation: u32, unbounded;
        /// Why the circuit opened last; `None` if it never has.
        reason: Option<OpenReason>, bounded;
        /// The cause of the last result before it opened last.
        cause: Cause, bounded;
        /// The time for which it stays open at least, if it opened: [`Duration::MAX`] if it is held
        /// open. Zero for other changes.
        open_for: Duration, unbounded;
    }
    level(event) = if event.to.is_open() { Level::Warn } else { Level::Info };
    text(event, f) = {
        write!(f, "circuit {} ", event.circuit)?;
        match event.to {
            CircuitState::Open | CircuitState::ForcedOpen => {
                f.write_str("opened")?;
                match event.reason {
                    Some(reason) => write!(f, ": {reason} ({})", event.cause)?,
                    None => write!(f, ": {}", event.cause)?,
                }
                match event.open_for {
                    Duration::MAX => Ok(()),
                    open_for => write!(f, ", retry in {open_for:.1?}"),
                }
            }
            CircuitState::HalfOpen => f.write_str("half-open: probing"),
            CircuitState::RampUp => f.write_str("ramping up: a growing share of the calls passes"),
            CircuitState::Closed | CircuitState::ForcedClosed => f.write_str("closed"),
        }
    };

    /// A circuit rejected a call.
    struct CircuitRejected<'a> {
        /// The circuit's name.
        circuit: &'a str, unbounded;
        /// The generation of its state.
        generation: u32, unbounded;
        /// Why it opened.
        reason: OpenReason, bounded;
        /// The time until a call may pass, if known.
        retry_after: Option<Duration>, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        write!(f, "circuit {} rejected a call", event.circuit)?;
        match event.retry_after {
            Some(wait) => write!(f, ", retry in {wait:.1?}"),
            None => Ok(()),
        }
    };

    /// A circuit in a dry run let a call pass that it would otherwise have rejected.
    struct CircuitWouldReject<'a> {
        /// The circuit's name.
        circuit: &'a str, unbounded;
        /// The generation of its state.
        generation: u32, unbounded;
        /// Why it opened.
        reason: OpenReason, bounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = write!(f, "circuit {} would reject a call (dry run)", event.circuit);

    /// A call waits for a permit of a rate limiter.
    struct LimitWaiting<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The estimated wait.
        wait: Duration, unbounded;
        /// The number of calls before it in the queue.
        ahead: usize, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        let Self { limiter, wait, ahead } = event;
        write!(f, "rate limit {limiter}: a call waits about {wait:.1?} behind {ahead} others")
    };

    /// A rate limiter rejected a call.
    struct LimitRejected<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The estimated time until the call would pass.
        retry_after: Duration, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        let Self { limiter, retry_after } = event;
        write!(f, "rate limit {limiter}: rejected a call, retry in {retry_after:.1?}")
    };

    /// A rate limiter rejected a call that costs more than can ever pass at once.
    struct LimitAboveQuota<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The call's cost in units.
        cost: u32, unbounded;
        /// The number of units that can pass at once.
        capacity: u32, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        let Self { limiter, cost, capacity } = event;
        write!(f, "rate limit {limiter}: rejected a call that costs {cost}, at most {capacity} pass")
    };

    /// A rate limiter's throttle gate closed: the server requested a pause.
    struct GateClosed<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The length of the pause.
        pause: Duration, unbounded;
    }
    level(_event) = Level::Warn;
    text(event, f) = {
        let Self { limiter, pause } = event;
        write!(f, "rate limit {limiter}: the server requested a pause of {pause:.1?}")
    };

    /// A call that was never sent refunded its units of all quotas.
    struct PermitRefunded<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The refunded units of the first quota.
        cost: u32, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = write!(f, "rate limit {}: refunded {}", event.limiter, event.cost);

    /// A call cost more or less than it was charged.
    struct PermitSettled<'a> {
        /// The limiter's name.
        limiter: &'a str, unbounded;
        /// The name of the quota, or the resource that it counts.
        limit: &'a str, bounded;
        /// The units that were charged before the call.
        charged: u32, unbounded;
        /// The units that the call cost.
        used: u32, unbounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        let Self { limiter, limit, charged, used } = event;
        write!(f, "rate limit {limiter}: a call cost {used} {limit}, not {charged}")
    };

    /// A region's health or membership changed.
    struct RegionChanged<'a> {
        /// The layer's name.
        upstream: &'a str, bounded;
        /// The region's name.
        region: &'a str, bounded;
        /// The change.
        change: RegionChange, bounded;
    }
    level(event) = match event.change {
        RegionChange::Out { .. } => Level::Warn,
        RegionChange::Healthy | RegionChange::Added | RegionChange::Removed => Level::Info,
    };
    text(event, f) = {
        write!(f, "{}: region {} ", event.upstream, event.region)?;
        match event.change {
            RegionChange::Out { cause, out_for } => write!(f, "out for {out_for:.1?}: {cause}"),
            RegionChange::Healthy => f.write_str("healthy"),
            RegionChange::Added => f.write_str("added"),
            RegionChange::Removed => f.write_str("removed"),
        }
    };

    /// Every region is out.
    struct AllRegionsOut<'a> {
        /// The layer's name.
        upstream: &'a str, bounded;
    }
    level(_event) = Level::Warn;
    text(event, f) = write!(f, "{}: all regions are out", event.upstream);

    /// A failover sent a failed call to another region. Below a retry layer,
    /// [`RetryDecided`] reports that instead, unless the region's client failed to become ready.
    struct FailedOver<'a> {
        /// The layer's name.
        upstream: &'a str, bounded;
        /// The name of the region that failed.
        region: &'a str, bounded;
        /// The cause of the failure.
        cause: Cause, bounded;
    }
    level(_event) = Level::Debug;
    text(event, f) = {
        let Self { upstream, region, cause } = event;
        write!(f, "{upstream}: region {region} failed ({cause}), trying another region")
    };

    /// An alert was raised, raised again, changed its severity, or was resolved.
    struct AlertChanged<'a> {
        /// The alert.
        alert: &'a Alert, unbounded;
        /// The change.
        change: AlertChange, bounded;
    }
    level(event) = match (event.change, event.alert.severity) {
        (AlertChange::Raised, Severity::Critical) => Level::Error,
        (AlertChange::Raised, Severity::Warning) => Level::Warn,
        (AlertChange::Raised, Severity::Info) | (AlertChange::Resolved, _) => Level::Info,
    };
    text(event, f) = {
        let Alert { kind, severity, message, .. } = event.alert;
        match event.change {
            AlertChange::Raised => write!(f, "{severity} alert, {kind}: {message}"),
            AlertChange::Resolved => write!(f, "alert resolved, {kind}: {message}"),
        }
    };

    /// The delivery of an alert to a sink ended.
    struct AlertDelivered<'a> {
        /// The alert.
        alert: &'a Alert, unbounded;
        /// The sink's name.
        sink: &'a str, bounded;
        /// The result.
        result: DeliveryResult, bounded;
    }
    level(event) = match event.result {
        DeliveryResult::Sent => Level::Debug,
        DeliveryResult::Failed | DeliveryResult::Dropped => Level::Warn,
    };
    text(event, f) = {
        let (Alert { kind, severity, .. }, sink) = (event.alert, event.sink);
        write!(f, "{severity} alert, {kind}, ")?;
        match event.result {
            DeliveryResult::Sent => write!(f, "sent to {sink}"),
            DeliveryResult::Failed => write!(f, "not delivered: {sink} did not accept it"),
            DeliveryResult::Dropped => write!(f, "dropped: the queue of {sink} is full"),
        }
    };
}

/// A change of a region's health or membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionChange {
    /// The region failed and is out: it gets no calls for a while, unless an operator overrides that.
    Out {
        /// The cause of the failure.
        cause: Cause,
        /// The time for which it is out at least, unless a health check succeeds earlier.
        out_for: Duration,
    },
    /// The region is healthy again and takes its share of the calls.
    Healthy,
    /// The region was added, or taken back in, and takes calls.
    Added,
    /// The region was removed.
    Removed,
}

/// A change of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlertChange {
    /// It was raised, raised again after the repeat interval, or became more severe.
    Raised,
    /// Its condition ended.
    Resolved,
}

/// The result of the delivery of an alert to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryResult {
    /// The sink accepted it.
    Sent,
    /// The sink rejected it, or did not accept it within the delivery timeout.
    Failed,
    /// The sink's queue was full.
    Dropped,
}

#[cfg(feature = "tracing")]
pub(super) use trace_event;

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn events_table_in_docs_is_current() {
        let mut table = String::from("| event | meaning | fields |\n|---|---|---|\n");
        for (name, fields, doc) in TABLE {
            let fields: Vec<_> = fields
                .iter()
                .map(|(field, cardinality)| match *cardinality {
                    "bounded" => format!("`{field}`"),
                    _ => format!("`{field}`\\*"),
                })
                .collect();
            let doc = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            writeln!(table, "| [`{name}`] | {doc} | {} |", fields.join(", ")).unwrap();
        }
        table += "\nA field with \\* has an unbounded number of values and must not become a metric label.\n";
        assert_eq!(table, include_str!("events.md"), "replace events.md by:\n{table}");
    }
}
