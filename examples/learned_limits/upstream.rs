//! A server with a limit of its own, which it keeps strictly and tells in headers. It
//! shares no code with the crate.

use std::collections::VecDeque;
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

/// How the server counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Windows {
    /// From fixed instants on, and tells when the next one is.
    Fixed,
    /// Back from each instant, and tells when all that was used will be back.
    Sliding,
    /// The same, and tells when the next unit will be back.
    SlidingByUnit,
}

/// What it counted in the window that it is in.
#[derive(Debug)]
pub(crate) struct Upstream {
    windows: Windows,
    limit: usize,
    window: Duration,
    start: Instant,
    accepted: VecDeque<Instant>,
    pub(crate) answered: usize,
    pub(crate) refused: usize,
}

impl Upstream {
    pub(crate) fn new(windows: Windows, limit: usize, window: Duration) -> Self {
        let (start, accepted) = (Instant::now(), VecDeque::new());
        Self { windows, limit, window, start, accepted, answered: 0, refused: 0 }
    }

    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Counts an arrival: the answer's head.
    pub(crate) fn arrive(&mut self) -> Response<()> {
        let now = Instant::now();
        let into = (now - self.start).as_nanos() % self.window.as_nanos();
        let into = Duration::from_nanos(u64::try_from(into).expect("less than a window"));
        let (fixed, window) = (matches!(self.windows, Windows::Fixed), self.window);
        let is_over = |at: Instant| if fixed { now - at > into } else { now - at >= window };
        while self.accepted.front().is_some_and(|at| is_over(*at)) {
            self.accepted.pop_front();
        }
        let accepted = self.accepted.len() < self.limit;
        if accepted {
            self.accepted.push_back(now);
            self.answered += 1;
        } else {
            self.refused += 1;
        }
        let back = match self.windows {
            Windows::Fixed => window - into,
            Windows::Sliding => window - (now - *self.accepted.back().expect("it counts")),
            Windows::SlidingByUnit => window - (now - self.accepted[0]),
        };
        // In whole seconds, as most do.
        let back = back.as_secs() + u64::from(back.subsec_nanos() > 0);
        let response = Response::builder()
            .header("ratelimit-limit", self.limit)
            .header("ratelimit-remaining", self.limit.saturating_sub(self.accepted.len()))
            .header("ratelimit-reset", back);
        let response = match accepted {
            true => response.status(200),
            false => response.status(429).header("retry-after", back),
        };
        response.body(()).expect("valid headers")
    }
}
