//! What happens that morning, and when: the only place that knows.

use std::ops::Range;
use std::time::Duration;

/// A provider's regions; the first is the primary.
pub(crate) const REGIONS: [&str; 3] = ["us-west-2", "eu-west-1", "ap-southeast-1"];

/// How a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    /// It accepts calls, invoices them, and never replies.
    Hangs,
    /// Nobody listens.
    Refuses,
    /// Its gateway replies 503: no call is accepted.
    Fails,
}

/// A part of the morning.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) lasts: Duration,
    pub(crate) regions: [Condition; 3],
    /// How many calls a minute a key may make, over all regions.
    pub(crate) limit: u32,
}

use Condition::{Fails, Hangs, Refuses, Well};

/// A key's limit, when all is well.
pub(crate) const LIMIT: u32 = 60;

/// Seventeen minutes.
pub(crate) const PHASES: [Stage; 6] = [
    stage("all is well", 60, [Well, Well, Well], LIMIT),
    stage("the primary accepts and hangs", 420, [Hangs, Well, Well], LIMIT),
    stage("the limit is halved", 60, [Well, Well, Well], LIMIT / 2),
    stage("two regions are down", 150, [Refuses, Refuses, Well], LIMIT),
    stage("no region replies", 60, [Refuses, Refuses, Fails], LIMIT),
    stage("all is well again", 270, [Well, Well, Well], LIMIT),
];

const fn stage(name: &'static str, seconds: u64, regions: [Condition; 3], limit: u32) -> Stage {
    Stage { name, lasts: Duration::from_secs(seconds), regions, limit }
}

/// How long the morning is.
pub(crate) fn length() -> Duration {
    PHASES.iter().map(|stage| stage.lasts).sum()
}

/// The stages and when each is.
pub(crate) fn stages() -> impl Iterator<Item = (Range<Duration>, &'static Stage)> {
    PHASES.iter().scan(Duration::ZERO, |begins, stage| {
        let span = *begins..*begins + stage.lasts;
        *begins = span.end;
        Some((span, stage))
    })
}

/// The stage so long after the start; the last one goes on.
pub(crate) fn at(elapsed: Duration) -> &'static Stage {
    let mut running = stages().filter(|(span, _)| span.contains(&elapsed));
    running.next().map_or(&PHASES[PHASES.len() - 1], |(_, stage)| stage)
}

/// When, from then on, a region will first refuse connections, or not; `None`: never.
pub(crate) fn next(from: Duration, region: usize, refuses: bool) -> Option<Duration> {
    stages()
        .find(|(span, stage)| span.end > from && (stage.regions[region] == Refuses) == refuses)
        .map(|(span, _)| span.start.max(from))
}

/// The span in which no region replies.
pub(crate) fn none_replies() -> Range<Duration> {
    let dark = |stage: &Stage| stage.regions.iter().all(|region| *region != Well);
    let mut spans = stages().filter(|(_, stage)| dark(stage)).map(|(span, _)| span);
    spans.next().expect("a stage without a region that is well")
}
