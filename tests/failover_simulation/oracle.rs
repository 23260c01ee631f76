//! What must hold, found out from the log and the timetables alone.

use std::time::Duration;

use super::log::{Attempt, End};
use super::network::Network;
use super::{COOLDOWN, LONGEST_COOLDOWN, Plan};

/// A call, and what became of it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: u32,
    /// Sent twice it does no more than sent once.
    pub(crate) safe: bool,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Status(u16),
    Failed(String),
    Cancelled,
}

pub(crate) fn check(plan: &Plan, network: &Network, calls: &[Call]) -> Result<(), String> {
    let all = network.log.all();
    for call in calls {
        let own: Vec<&Attempt> = all.iter().filter(|a| a.call == Some(call.number)).collect();
        let observed = |what: &str| Err(format!("{what}\n{call:?}\n{}", lines(&own)));
        if !call.safe && sent_twice(&own) {
            return observed(
                "a call that isn't safe to repeat was sent after it may have been processed",
            );
        }
        if let Some(host) = missed(plan, network, &all, call, &own) {
            return observed(&format!("a call failed that {host} would have served"));
        }
        for (index, attempt) in own.iter().enumerate() {
            let tried = &own[..index];
            if let Some(fit) = better(plan, &all, attempt, tried) {
                let host = &attempt.host;
                return observed(&format!(
                    "attempt {index} went to {host}, known dead, and {fit} was fit"
                ));
            }
        }
    }
    Ok(())
}

fn sent_twice(own: &[&Attempt]) -> bool {
    own.iter().rev().skip(1).any(|attempt| attempt.arrived && !attempt.is_unprocessed())
}

/// A host that was well all the time while a call failed that could have gone there.
fn missed<'a>(
    plan: &'a Plan,
    network: &Network,
    all: &[Attempt],
    call: &Call,
    own: &[&Attempt],
) -> Option<&'a String> {
    let failed = match call.outcome {
        Outcome::Status(status) => status >= 400,
        Outcome::Failed(_) => true,
        Outcome::Cancelled => false,
    };
    let repeatable = call.safe || own.iter().all(|attempt| attempt.is_unprocessed());
    // A dead credential and, where the quota is one for all, a 429 are replies.
    let ended_it = |attempt: &&Attempt| match attempt.end {
        Some((_, End::Status(401, _))) => true,
        Some((_, End::Status(429, _))) => !plan.quota_per_region,
        _ => false,
    };
    if !failed || !repeatable || own.iter().any(ended_it) || call.ended - call.began > plan.deadline
    {
        return None;
    }
    let asked_to_wait = |host: &str| {
        let asks = all.iter().filter(|attempt| attempt.host == host && attempt.began <= call.ended);
        asks.filter_map(Attempt::asked_until).any(|until| until + COOLDOWN >= call.began)
    };
    // A circuit stays open for a while after its host is well again.
    let from = call.began.saturating_sub(plan.circuits_stay_open);
    plan.hosts
        .iter()
        .find(|host| network.hosts[*host].serves(from, call.ended) && !asked_to_wait(host))
}

/// A region that was fit when an attempt went to one that was known dead.
fn better<'a>(
    plan: &'a Plan,
    all: &[Attempt],
    attempt: &Attempt,
    tried: &[&Attempt],
) -> Option<&'a String> {
    let at = attempt.began;
    let known_dead = sent_to(all, &attempt.host).any(|failure| {
        let ended = failure.ended();
        let cooled = ended.saturating_add(COOLDOWN);
        let out_until = failure.asked_until().unwrap_or_default().max(cooled);
        let well_since = sent_to(all, &attempt.host)
            .any(|a| a.succeeded() && a.began > failure.began && a.began <= at);
        let is_fault = |a: &Attempt| a.is_fault() && !plan.cancelled(a);
        // What was sent before the region was taken out says no more than what took it out.
        let is_late = sent_to(all, &attempt.host)
            .any(|a| is_fault(a) && (failure.began..ended).contains(&a.ended()));
        is_fault(failure)
            && !is_late
            && ended < at
            && at < out_until.min(ended + LONGEST_COOLDOWN)
            && !well_since
    });
    let is_fit = |host: &&String| {
        let mut sent = sent_to(all, host);
        let quiet = sent.all(|a| {
            let over = a.ended().saturating_add(LONGEST_COOLDOWN * 2) < at;
            over || a.succeeded() || a.began >= at
        });
        quiet && **host != attempt.host && !tried.iter().any(|a| a.host == **host)
    };
    known_dead.then(|| plan.hosts.iter().find(is_fit)).flatten()
}

fn sent_to<'a>(all: &'a [Attempt], host: &'a str) -> impl Iterator<Item = &'a Attempt> {
    all.iter().filter(move |attempt| attempt.host == host)
}

fn lines(attempts: &[&Attempt]) -> String {
    attempts.iter().map(|attempt| format!("    {attempt:?}\n")).collect()
}
