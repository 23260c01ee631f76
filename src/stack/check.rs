//! Checks that the layers' settings work together, as a plain function of them.

use std::time::Duration;

use crate::error::InvalidConfig;

/// The settings that matter to more than one layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) attempts: u32,
    pub(super) attempt_timeout: Duration,
    /// `None`: no limit.
    pub(super) deadline: Option<Duration>,
    /// The longest server's hint that the retry waits for.
    pub(super) hint_cap: Duration,
    /// The longest pause that the limiter makes after a server's hint.
    pub(super) max_pause: Duration,
    /// How many failures can open a circuit.
    pub(super) failures_to_open: u32,
    /// The number of circuits over which one call's attempts are distributed; at least one.
    pub(super) circuits: usize,
}

impl Settings {
    pub(super) fn check(self) -> Result<(), InvalidConfig> {
        self.check_times()?;
        self.check_circuit()?;
        self.check_pause()
    }

    fn check_times(self) -> Result<(), InvalidConfig> {
        let Self { attempt_timeout, deadline, .. } = self;
        if attempt_timeout.is_zero() || deadline == Some(Duration::ZERO) {
            return Err(InvalidConfig::new(
                "a call needs some time: attempt_timeout and deadline are above zero",
            ));
        }
        match deadline {
            Some(deadline) if attempt_timeout >= deadline => Err(InvalidConfig::new(format!(
                "an attempt may take {attempt_timeout:?} and the whole call {deadline:?}, so that no attempt \
                 ever times out in time to be repeated; lower attempt_timeout or raise deadline"
            ))),
            _ => Ok(()),
        }
    }

    fn check_circuit(self) -> Result<(), InvalidConfig> {
        let circuits = u32::try_from(self.circuits).unwrap_or(u32::MAX);
        let attempts = self.attempts.div_ceil(circuits.max(1));
        if self.failures_to_open >= attempts {
            return Ok(());
        }
        Err(InvalidConfig::new(format!(
            "a circuit opens after {} failures, and one call makes up to {attempts} attempts on it, \
             so that one bad request closes it to all others; raise the circuit's threshold to \
             {attempts} or lower the retry's max_attempts",
            self.failures_to_open
        )))
    }

    fn check_pause(self) -> Result<(), InvalidConfig> {
        let waited_for = self.hint_cap.min(self.deadline.unwrap_or(Duration::MAX));
        if self.max_pause >= waited_for {
            return Ok(());
        }
        Err(InvalidConfig::new(format!(
            "the limiter pauses for at most {:?}, while the retry obeys a hint of up to \
             {waited_for:?}; raise max_pause or lower hint_cap",
            self.max_pause
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const GOOD: Settings = Settings {
        attempts: 3,
        attempt_timeout: secs(30),
        deadline: Some(secs(120)),
        hint_cap: secs(60),
        max_pause: secs(3600),
        failures_to_open: 5,
        circuits: 1,
    };

    #[test]
    fn what_works_together_and_what_does_not() {
        let table = [
            (GOOD, None),
            (Settings { attempt_timeout: secs(119), ..GOOD }, None),
            (Settings { attempt_timeout: secs(120), ..GOOD }, Some("lower attempt_timeout")),
            (Settings { attempt_timeout: Duration::MAX, ..GOOD }, Some("lower attempt_timeout")),
            (Settings { attempt_timeout: Duration::MAX, deadline: None, ..GOOD }, None),
            (Settings { attempt_timeout: secs(0), ..GOOD }, Some("above zero")),
            (Settings { deadline: Some(secs(0)), ..GOOD }, Some("above zero")),
            // One call may open the circuit with its last attempt, not with an earlier one.
            (Settings { failures_to_open: 3, ..GOOD }, None),
            (Settings { failures_to_open: 2, ..GOOD }, Some("threshold to 3")),
            (Settings { failures_to_open: 2, circuits: 2, ..GOOD }, None),
            (Settings { failures_to_open: 1, circuits: 2, ..GOOD }, Some("threshold to 2")),
            (Settings { failures_to_open: 1, circuits: 3, ..GOOD }, None),
            (Settings { attempts: 0, failures_to_open: 1, ..GOOD }, None),
            (Settings { attempts: u32::MAX, ..GOOD }, Some("max_attempts")),
            (Settings { max_pause: secs(59), ..GOOD }, Some("raise max_pause")),
            (Settings { max_pause: secs(60), ..GOOD }, None),
            // What the deadline cuts off is never waited for.
            (Settings { hint_cap: Duration::MAX, ..GOOD }, None),
            (Settings { hint_cap: Duration::MAX, deadline: None, ..GOOD }, Some("lower hint_cap")),
        ];
        for (settings, expected) in table {
            let refused = settings.check().err().map(|error| error.to_string());
            match (expected, &refused) {
                (None, None) => {}
                (Some(part), Some(message)) if message.contains(part) => {}
                _ => panic!("{settings:?}: {refused:?}"),
            }
        }
    }
}
