//! `grpc-retry-pushback-ms`.

use std::time::Duration;

use http::HeaderMap;

/// What a gRPC server pushes back with.
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

/// A negative or malformed value means *do not retry* (gRFC A6), unlike every other hint.
pub(super) fn parse(headers: &HeaderMap) -> Option<Pushback> {
    let value = headers.get("grpc-retry-pushback-ms")?;
    let millis = value.to_str().ok().and_then(|text| text.trim().parse::<u32>().ok());
    Some(millis.map_or(Pushback::DoNotRetry, |millis| {
        Pushback::Wait(Duration::from_millis(millis.into()))
    }))
}
