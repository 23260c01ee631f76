//! What a handle shows, as data: names in kebab-case, times in whole milliseconds, and what isn't
//! known as null.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::{CircuitStatus, CircuitTransition};
use crate::error::{CircuitState, OpenReason};
use crate::verdict::Cause;

impl Serialize for CircuitStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ago = |since| millis(self.at.saturating_duration_since(since));
        let until = self.until.map(|until| millis(until.saturating_duration_since(self.at)));
        let cause = (self.cause != Cause::Unknown).then(|| self.cause.to_string());
        let mut data = serializer.serialize_struct("CircuitStatus", 12)?;
        data.serialize_field("name", &*self.name)?;
        data.serialize_field("state", &self.state)?;
        data.serialize_field("generation", &self.generation)?;
        data.serialize_field("since-ms", &ago(self.since))?;
        data.serialize_field("retry-after-ms", &until)?;
        data.serialize_field("reason", &self.reason)?;
        data.serialize_field("cause", &cause)?;
        data.serialize_field("calls", &self.calls)?;
        data.serialize_field("successes", &self.successes)?;
        data.serialize_field("success-rate", &self.success_rate())?;
        data.serialize_field("failure-count", &self.failure_count)?;
        data.serialize_field("last-failure-ms", &self.last_failure.map(ago))?;
        data.end()
    }
}

impl Serialize for CircuitTransition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let open_for = (self.open_for != Duration::MAX).then(|| millis(self.open_for));
        let mut data = serializer.serialize_struct("CircuitTransition", 6)?;
        data.serialize_field("circuit", &*self.circuit)?;
        data.serialize_field("from", &self.from)?;
        data.serialize_field("to", &self.to)?;
        data.serialize_field("generation", &self.generation)?;
        data.serialize_field("reason", &self.reason)?;
        data.serialize_field("open-for-ms", &open_for)?;
        data.end()
    }
}

impl Serialize for CircuitState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Serialize for OpenReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
