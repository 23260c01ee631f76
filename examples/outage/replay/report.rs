//! What came of the morning, in numbers that servers and clients counted.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};

use super::Morning;
use super::customer::{Customer, Outcome};
use super::ledger::usd;
use super::provider::SLOWEST;
use super::receivers::Received;
use super::timeline;

/// What came of it for everybody.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// Naive, by hand, layered.
    pub(crate) clients: [ClientReport; 3],
    pub(crate) alerts: Vec<Received>,
}

/// What came of it for one client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientReport {
    pub(crate) name: &'static str,
    /// What was asked for.
    pub(crate) logical_requests: u64,
    /// What of that was on the wire at least once.
    pub(crate) sent_requests: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    /// What failed without ever having been on the wire.
    pub(crate) rejected_locally: u64,
    /// How often something was sent, also to where nobody listened.
    pub(crate) wire_attempts: u64,
    pub(crate) spend_usd: f64,
    /// Billed, and nobody got the reply.
    pub(crate) wasted_usd: f64,
    pub(crate) answered_429: u64,
    pub(crate) answered_401: u64,
    pub(crate) key_suspended: bool,
    /// The longest time without a success.
    pub(crate) longest_gap: Duration,
    /// Of the successes, from when they were asked for; `None` if there were none.
    pub(crate) p50: Option<Duration>,
    pub(crate) p99: Option<Duration>,
    /// Wire attempts.
    pub(crate) by_region: BTreeMap<&'static str, u64>,
    pub(crate) outside: Outside,
}

/// The same, the span in which no region replies left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outside {
    /// Of the requests that could be answered before it began or were asked for after it.
    pub(crate) success_share: f64,
    /// The longest time without a success, what of that is within the span left out.
    pub(crate) longest_gap: Duration,
}

impl Report {
    pub(crate) fn of(morning: &Morning) -> Self {
        let clients = morning.customers.each_ref().map(|customer| ClientReport::of(customer));
        let mut alerts = morning.receivers.received();
        // Those of one instant come in no certain order.
        let order = |received: &Received| {
            (received.at, received.sink, received.kind.clone(), received.text.clone())
        };
        alerts.sort_by_key(order);
        Self { clients, alerts }
    }

    /// As the issue has it.
    pub(crate) fn json(&self) -> Value {
        let clients: BTreeMap<_, _> =
            self.clients.iter().map(|client| (client.name, client.json())).collect();
        let alert = |received: &Received| {
            json!({
                "sink": received.sink,
                "severity": received.severity,
                "kind": received.kind,
                "at_s": seconds(received.at),
            })
        };
        json!({ "clients": clients, "alerts": self.alerts.iter().map(alert).collect::<Vec<_>>() })
    }
}

impl ClientReport {
    fn of(customer: &Customer) -> Self {
        let (outcomes, invoice) = (customer.outcomes(), customer.invoice());
        let sent = customer.sent();
        let successes: Vec<&Outcome> =
            outcomes.iter().filter(|outcome| outcome.answered.is_some()).collect();
        let got: HashSet<u64> = successes.iter().filter_map(|success| success.answered).collect();
        let mut latencies: Vec<Duration> =
            successes.iter().map(|success| success.ended - success.offered).collect();
        latencies.sort();
        let logical_requests = count(outcomes.len());
        let dark = timeline::none_replies();
        let nothing = Duration::ZERO..Duration::ZERO;
        Self {
            name: customer.name,
            logical_requests,
            sent_requests: sent.requests,
            succeeded: count(successes.len()),
            failed: count(outcomes.len() - successes.len()),
            rejected_locally: logical_requests - sent.requests,
            wire_attempts: sent.attempts,
            spend_usd: usd(invoice.accepted),
            wasted_usd: usd(invoice.accepted - count(got.len())),
            answered_429: invoice.answered_429,
            answered_401: invoice.answered_401,
            key_suspended: invoice.suspended,
            longest_gap: longest_gap(&successes, &nothing),
            p50: percentile(&latencies, 50),
            p99: percentile(&latencies, 99),
            by_region: sent.by_region,
            outside: Outside {
                success_share: success_share(&outcomes, &dark),
                longest_gap: longest_gap(&successes, &dark),
            },
        }
    }

    /// Wire attempts over requests that were sent.
    pub(crate) fn amplification(&self) -> f64 {
        ratio(self.wire_attempts, self.sent_requests)
    }

    fn json(&self) -> Value {
        json!({
            "logical_requests": self.logical_requests,
            "sent_requests": self.sent_requests,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "rejected_locally": self.rejected_locally,
            "wire_attempts": self.wire_attempts,
            "amplification": rounded(self.amplification()),
            "spend_usd": rounded(self.spend_usd),
            "wasted_usd": rounded(self.wasted_usd),
            "answered_429": self.answered_429,
            "answered_401": self.answered_401,
            "key_suspended": self.key_suspended,
            "longest_gap_s": seconds(self.longest_gap),
            "p50_ms": self.p50.map(millis),
            "p99_ms": self.p99.map(millis),
            "by_region": self.by_region,
        })
    }
}

/// Of the requests that weren't asked for in the span, nor so shortly before it that a region that
/// is well may take until it begins to reply.
fn success_share(outcomes: &[Outcome], dark: &Range<Duration>) -> f64 {
    let left_out = dark.start - SLOWEST..dark.end;
    let outside = outcomes.iter().filter(|outcome| !left_out.contains(&outcome.offered));
    let succeeded = outside.clone().filter(|outcome| outcome.answered.is_some());
    ratio(count(succeeded.count()), count(outside.count()))
}

/// The longest time between two successes, or one and the start or end of the morning, what of it
/// is in the span not counted.
fn longest_gap(successes: &[&Outcome], left_out: &Range<Duration>) -> Duration {
    let mut instants: Vec<Duration> = successes.iter().map(|success| success.ended).collect();
    instants.extend([Duration::ZERO, timeline::length()]);
    instants.sort();
    let gap = |pair: &[Duration]| {
        let (from, to) = (pair[0], pair[1]);
        let within = to.min(left_out.end).saturating_sub(from.max(left_out.start));
        to - from - within
    };
    instants.windows(2).map(gap).max().unwrap_or_default()
}

/// The smallest that so many of a hundred don't exceed.
fn percentile(sorted: &[Duration], of_hundred: usize) -> Option<Duration> {
    let rank = (sorted.len() * of_hundred).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn count(many: usize) -> u64 {
    many as u64
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1000.0)
}

/// To three places.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
