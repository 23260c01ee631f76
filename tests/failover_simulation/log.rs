//! What was sent where, when, and how it ended.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Response};
use tokio::time::Instant;
use tower::BoxError;
use tower_upstream::cause_ref;

/// One request on its way to one host.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The call that it belongs to; none for a health check.
    pub(crate) call: Option<u32>,
    pub(crate) host: String,
    pub(crate) began: Duration,
    pub(crate) end: Option<(Duration, End)>,
    /// The host has read it.
    pub(crate) arrived: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Status(u16, Option<Duration>),
    Broke,
    /// There was no connection.
    Refused,
    /// Its caller no longer waits for it.
    Dropped,
}

impl Attempt {
    /// Whether the region was at fault.
    pub(crate) fn is_fault(&self) -> bool {
        match self.end {
            Some((_, End::Status(status, _))) => status >= 500,
            Some((_, End::Broke | End::Refused | End::Dropped)) => true,
            None => false,
        }
    }

    pub(crate) fn succeeded(&self) -> bool {
        matches!(self.end, Some((_, End::Status(status, _))) if status < 400)
    }

    /// Whether its sender knows that the host didn't act on it.
    pub(crate) fn is_unprocessed(&self) -> bool {
        let Some((_, end)) = self.end else { return false };
        matches!(end, End::Refused | End::Status(429, _) | End::Status(503, Some(_)))
    }

    pub(crate) fn ended(&self) -> Duration {
        self.end.map_or(Duration::MAX, |(at, _)| at)
    }

    /// Until when the host asked to be left alone.
    pub(crate) fn asked_until(&self) -> Option<Duration> {
        match self.end {
            Some((at, End::Status(_, Some(wait)))) => Some(at + wait),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) start: Instant,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), attempts: Arc::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn all(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap().clone()
    }

    pub(crate) fn begins(&self, host: &str, headers: &HeaderMap) -> UnderWay {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push(Attempt {
            call: number(headers, "x-call"),
            host: host.to_owned(),
            began: self.now(),
            end: None,
            arrived: false,
        });
        UnderWay { number: attempts.len() - 1, log: self.clone() }
    }

    pub(crate) fn arrived(&self, headers: &HeaderMap) {
        let attempt = number(headers, "x-attempt").expect("each attempt is numbered");
        self.attempts.lock().unwrap()[attempt as usize].arrived = true;
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// An attempt that hasn't ended. Dropped, it ends.
pub(crate) struct UnderWay {
    number: usize,
    log: Log,
}

impl UnderWay {
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn ends<B>(self, result: &Result<Response<B>, BoxError>) {
        self.note(match result {
            Ok(response) => {
                let wait = number(response.headers(), "retry-after");
                End::Status(response.status().as_u16(), wait.map(|s| Duration::from_secs(s.into())))
            }
            Err(error) => match cause_ref::<io::Error>(&**error).map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => End::Refused,
                _ => End::Broke,
            },
        });
    }

    fn note(&self, end: End) {
        let now = self.log.now();
        self.log.attempts.lock().unwrap()[self.number].end.get_or_insert((now, end));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.note(End::Dropped);
    }
}
