//! `grpc-retry-pushback-ms`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

/// What a gRPC server asks for by its pushback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    Wait(Duration),
    DoNotRetry,
}

impl Pushback {
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Self::Wait(wait) => Some(wait),
            Self::DoNotRetry => None,
        }
    }
}

/// Unlike with every other hint, a negative or malformed value means *do not retry* (gRFC A6). So do
/// several values, as in gRPC's own clients.
pub(super) fn parse(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all("grpc-retry-pushback-ms").iter();
    let value = values.next()?;
    let wait = if values.next().is_none() { millis(value) } else { None };
    Some(wait.map_or(Pushback::DoNotRetry, Pushback::Wait))
}

/// Reads a signed 32-bit number (A6). Zero is valid, and means *at once*.
fn millis(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    // `i32::from_str` takes a plus sign, which A6 doesn't.
    let millis: i32 = if text.starts_with('+') { None } else { text.parse().ok() }?;
    u64::try_from(millis).ok().map(Duration::from_millis)
}
