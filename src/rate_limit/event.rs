use std::fmt;
use std::time::Duration;

/// Something that a rate limiter did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RateLimitEvent<'a> {
    /// The limiter's name.
    pub limiter: &'a str,
    /// What it did.
    pub kind: RateLimitEventKind,
}

/// What a rate limiter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RateLimitEventKind {
    /// A call has to wait.
    Waiting {
        /// For about how long.
        wait: Duration,
        /// How many calls wait before it.
        ahead: usize,
    },
    /// A call was turned away.
    Rejected {
        /// How long until it would pass.
        retry_after: Duration,
    },
    /// A call was turned away that costs more than can ever be taken at once.
    AboveQuota {
        /// What it costs.
        cost: u32,
        /// The most that can be taken at once.
        capacity: u32,
    },
    /// The server asked for a pause: no call passes until it is over.
    GateClosed {
        /// How long.
        pause: Duration,
    },
    /// A call that never left gave back what it had taken, of all quotas.
    Refunded {
        /// How much of the first quota.
        cost: u32,
    },
    /// A call cost more or less than was taken for it.
    Settled {
        /// The quota's name, or what it counts.
        limit: &'static str,
        /// What was taken.
        taken: u32,
        /// What it cost.
        used: u32,
    },
}

impl fmt::Display for RateLimitEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rate limit {}: ", self.limiter)?;
        match self.kind {
            RateLimitEventKind::Waiting { wait, ahead } => {
                write!(f, "a call waits about {wait:.1?} behind {ahead} others")
            }
            RateLimitEventKind::Rejected { retry_after } => {
                write!(f, "turned a call away that could pass in {retry_after:.1?}")
            }
            RateLimitEventKind::AboveQuota { cost, capacity } => {
                write!(f, "turned a call away that costs {cost} of at most {capacity}")
            }
            RateLimitEventKind::GateClosed { pause } => {
                write!(f, "closed for {pause:.1?} at the server's word")
            }
            RateLimitEventKind::Refunded { cost } => write!(f, "{cost} given back"),
            RateLimitEventKind::Settled { limit, taken, used } => {
                write!(f, "a call cost {used} {limit}, not {taken}")
            }
        }
    }
}
