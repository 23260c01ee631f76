use std::time::Duration;

use crate::hint::Resource;

/// How many calls, or units of [cost](super::RateLimitBuilder::cost_fn), may be
/// sent in what time.
///
/// ```
/// use tower_upstream::Quota;
///
/// // At most 60 in any minute, whatever minute one looks at: the whole 60 may
/// // go at once, and then none for a minute.
/// let strict = Quota::per_minute(60);
///
/// // One a second, and up to 10 at once after a lull. In its first minute this
/// // passes 69 calls: right for smoothing, wrong for a provider's limit of 60.
/// let paced = Quota::per_minute(60).burst(10);
/// # let _ = (strict, paced);
/// ```
///
/// A quota of 0 lets nothing through that costs anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Quota {
    pub(super) limit: u32,
    pub(super) window: Duration,
    pub(super) burst: Option<u32>,
    pub(super) margin: Option<Duration>,
    pub(super) label: Label,
    pub(super) taught: bool,
}

impl Quota {
    /// At most `limit` in any second.
    pub const fn per_second(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(1))
    }

    /// At most `limit` in any minute.
    pub const fn per_minute(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(60))
    }

    /// At most `limit` in any hour.
    pub const fn per_hour(limit: u32) -> Self {
        Self::new(limit, Duration::from_secs(3600))
    }

    /// At most `limit` in any `window`.
    pub const fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, burst: None, margin: None, label: Label::Unsaid, taught: false }
    }

    /// No limit on this side: calls wait only while the server has asked for a pause.
    ///
    /// That is so for calls of one unit each. Where calls [cost](super::RateLimitBuilder::cost_fn)
    /// more, 2³² − 1 units pass at once, and then a billion a second.
    pub const fn unlimited() -> Self {
        Self::per_second(u32::MAX).burst(u32::MAX)
    }

    /// A limit that isn't known here: whatever the server's answers tell.
    ///
    /// It begins with one call a second, until an answer tells how much is
    /// [left](crate::hint#limits), and keeps that pace if none ever does. The
    /// [module](super#what-the-learned-says) says what is learned from then on. A burst or a margin
    /// has no effect.
    pub const fn taught() -> Self {
        Self { taught: true, ..Self::per_second(1) }
    }

    /// Paced instead of strict: at the quota's rate, one every
    /// `window / limit`, and up to `burst` at once after a lull.
    ///
    /// The burst comes on top: in a window up to `limit + burst - 1` pass. A burst of 0 lets
    /// nothing through that costs anything.
    ///
    /// The time for a unit is kept in whole nanoseconds, rounded up so that the quota is never
    /// exceeded. With many millions of units a second that makes it slower: 600 million a second
    /// become 500.
    pub const fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(burst);
        self
    }

    /// By how much a strict window is longer here than at the server. Default:
    /// a hundredth of the window.
    ///
    /// The server counts when calls *arrive*. A call that is slow to get there, as it has to
    /// connect first, and fast ones a window later could be in one window for the server, though
    /// not for the client.
    pub const fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// What it counts, which is also its name. It is [taught](super#what-the-learned-says) what the
    /// learned's answers tell of this resource. Default: requests or, where calls have a
    /// [cost](super::RateLimitBuilder::cost_fn), something that no server knows of.
    pub const fn of(mut self, resource: Resource) -> Self {
        self.label = Label::Of(resource);
        self
    }

    /// Names what it counts, if no server knows of that, such as `cents`. The name is shown in
    /// errors, events and status.
    pub const fn named(mut self, name: &'static str) -> Self {
        self.label = Label::Named(name);
        self
    }

    /// The window as it is kept here.
    pub(super) fn kept_window(&self) -> Duration {
        self.window.saturating_add(self.margin.unwrap_or(self.window / 100))
    }
}

/// What a quota counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Unsaid,
    Of(Resource),
    Named(&'static str),
}

impl Label {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unsaid => "units",
            Self::Of(Resource::Requests) => "requests",
            Self::Of(Resource::Tokens) => "tokens",
            Self::Of(Resource::InputTokens) => "input tokens",
            Self::Of(Resource::OutputTokens) => "output tokens",
            Self::Of(Resource::Other) => "others",
            Self::Named(name) => name,
        }
    }

    /// The resource by which the server's answers tell of it.
    pub(super) fn resource(self) -> Option<Resource> {
        match self {
            Self::Of(resource) => Some(resource),
            Self::Unsaid | Self::Named(_) => None,
        }
    }

    /// This label or, if none was set, `default`.
    pub(super) fn or(self, default: Self) -> Self {
        if self == Self::Unsaid { default } else { self }
    }
}
