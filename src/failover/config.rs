//! What a failover is set to, and when a call goes to another region.

use std::sync::Arc;
use std::time::Duration;

use super::HealthChecks;
use super::health::Recovery;
use super::selection::WhenAllOut;
use crate::event::Observers;
use crate::verdict::{Class, Verdict};

/// The settings of a layer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) recovery: Recovery,
    pub(super) when_all_out: WhenAllOut,
    pub(super) config: Config,
    pub(super) observers: Observers,
    pub(super) checks: Option<HealthChecks>,
    pub(super) seed: Option<u64>,
}

/// When a call goes to another region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) max_attempts: usize,
    pub(super) non_idempotent: bool,
    pub(super) quota_per_region: bool,
    pub(super) hint_threshold: Duration,
}

impl Config {
    /// Whether the region is at fault, so that calls should leave it alone for a while.
    pub(super) fn is_regions_fault(&self, verdict: &Verdict) -> bool {
        match verdict.class() {
            Class::CircuitOpen => true,
            Class::Throttled => self.leaves_when_throttled(verdict),
            _ => verdict.is_upstream_failure(),
        }
    }

    /// Whether another region may do better. Not if the request is at fault or its credential is
    /// down: the response would be the same everywhere.
    pub(super) fn may_do_better_elsewhere(&self, verdict: &Verdict) -> bool {
        verdict.hint().should_retry != Some(false) && self.is_regions_fault(verdict)
    }

    fn leaves_when_throttled(&self, verdict: &Verdict) -> bool {
        let asked = verdict.hint().retry_after;
        self.quota_per_region || asked.is_some_and(|asked| asked >= self.hint_threshold)
    }
}
