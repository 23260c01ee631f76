//! A server that keeps a strict limit and reports it in headers. It shares no code with the crate.

use std::collections::VecDeque;
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

/// The windows in which the server counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Windows {
    /// Fixed windows. Reports when the next one begins.
    Fixed,
    /// A window that ends at each instant. Reports when all used units will be available again.
    Sliding,
    /// The same window. Reports when the next unit will be available again.
    SlidingByUnit,
}

/// The server's state.
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

    /// Counts a request, and returns the response.
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
        // In whole seconds, like most servers.
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
