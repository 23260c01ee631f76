use std::error::Error;
use std::fmt;

use super::Alerts;
use super::alerts::Shared;
use super::measure::Pending;
use crate::sharded::ShardRef;
use crate::verdict::Verdict;

/// One call, from its beginning until it is answered or dropped.
pub(super) struct Call {
    alerts: ShardRef<Shared>,
    begun: Pending,
}

impl Call {
    #[inline]
    pub(super) fn begin(alerts: &Alerts) -> Self {
        let alerts = alerts.shared.shard_ref();
        Self { begun: alerts.begin(), alerts }
    }

    /// Takes in what the caller got.
    #[inline]
    pub(super) fn ended(&mut self, verdict: &Verdict, error: Option<&(dyn Error + 'static)>) {
        // Not left to the drop: the future may be kept for long after it has answered.
        self.land();
        self.alerts.outcome(&self.begun, verdict, error);
    }

    /// Notes that the call isn't in flight any more.
    #[inline]
    fn land(&mut self) {
        if self.begun.is_in_flight() {
            self.alerts.end(&mut self.begun);
        }
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        self.land();
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call(..)")
    }
}
