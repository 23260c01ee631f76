use std::error::Error;

use super::Alerts;
use super::alerts::Shared;
use super::measure::Begun;
use crate::classify::Verdict;
use crate::stripe::Handle;

/// One call, from its beginning until it is answered or dropped.
pub(super) struct Call {
    alerts: Handle<Shared>,
    begun: Begun,
}

impl Call {
    #[inline]
    pub(super) fn begin(alerts: &Alerts) -> Self {
        let alerts = alerts.shared.handle();
        Self { begun: alerts.begin(), alerts }
    }

    /// Its caller got this.
    #[inline]
    pub(super) fn ended(&mut self, verdict: &Verdict, error: Option<&(dyn Error + 'static)>) {
        // The future may be kept for long after.
        self.alerts.end(&mut self.begun);
        self.alerts.outcome(self.begun, verdict, error);
    }
}

impl Drop for Call {
    #[inline]
    fn drop(&mut self) {
        self.alerts.end(&mut self.begun);
    }
}
