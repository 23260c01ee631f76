//! How things are written for people.

use std::time::Duration;

use super::replay::receivers::Received;

/// `07:35`
pub(crate) fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// In a line of a screen: a message that tells of several alerts is cut.
pub(crate) fn alert(received: &Received) -> String {
    const LONGEST: usize = 96;
    let Received { sink, severity, at, text, .. } = received;
    let line = format!("{}  {sink:<9}  {severity:<8}  {text}", time(*at));
    match line.char_indices().nth(LONGEST - 1) {
        Some((end, _)) if line.chars().count() > LONGEST => format!("{}…", &line[..end]),
        _ => line,
    }
}
