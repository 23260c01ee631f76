//! How things are written for people.

use std::time::Duration;

use super::replay::receivers::Heard;

/// `07:35`
pub(crate) fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

pub(crate) fn alert(heard: &Heard) -> String {
    let Heard { sink, severity, at, text, .. } = heard;
    format!("{}  {sink:<9}  {severity:<8}  {text}", time(*at))
}
