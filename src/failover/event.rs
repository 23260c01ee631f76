use std::fmt;
use std::time::Duration;

use crate::classify::Cause;

/// Something that happened to a region.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FailoverEvent<'a> {
    /// The layer's name.
    pub name: &'a str,
    /// The region's name; empty if the event is about all regions.
    pub region: &'a str,
    /// What happened.
    pub kind: FailoverEventKind,
}

/// What happened to a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailoverEventKind {
    /// It failed, and isn't chosen for a while, unless it is forced in.
    Lost {
        /// What the failure was.
        cause: Cause,
        /// For how long at least, unless a health check finds otherwise.
        out_for: Duration,
    },
    /// It has proved itself on trial, and takes its share of the calls again.
    Back,
    /// It was added, or put in again, and takes calls.
    Added,
    /// It was removed, lost or not.
    Removed,
    /// Every region is lost, and none is back. [`WhenAllOut`](super::WhenAllOut) says what calls do then.
    AllLost,
    /// A call failed here, and goes to another region. Under a retry the retry's own event says so,
    /// except where the region's client failed to get ready.
    FailedOver {
        /// What the failure was.
        cause: Cause,
    },
}

impl fmt::Display for FailoverEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, region, .. } = self;
        write!(f, "{name}, ")?;
        match self.kind {
            FailoverEventKind::Lost { cause, out_for } => {
                write!(f, "region {region} lost for {out_for:.1?}: {cause}")
            }
            FailoverEventKind::Back => write!(f, "region {region} is back"),
            FailoverEventKind::Added => write!(f, "region {region} was added"),
            FailoverEventKind::Removed => write!(f, "region {region} was removed"),
            FailoverEventKind::AllLost => f.write_str("all regions lost"),
            FailoverEventKind::FailedOver { cause } => {
                write!(f, "region {region}: {cause}; another region is tried")
            }
        }
    }
}
