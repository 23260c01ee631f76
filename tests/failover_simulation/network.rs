//! Hosts that fail by a timetable, with HTTP/1.1 over virtual connections in between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout_at};
use tower::BoxError;

use super::log::Log;

const HOP: Duration = Duration::from_millis(1);

/// What a host does for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Does {
    Serves(Duration),
    /// Nobody listens.
    Refuses,
    /// Nothing comes back, not even for a connection.
    Drops,
    /// Takes the request and never replies.
    Hangs,
    /// Takes the request and breaks the connection.
    CutsOff,
    /// Breaks the connection within a response's body.
    Truncates,
    Replies(u16, Option<u64>),
}

impl Does {
    fn at_random(random: &mut Rng) -> Self {
        let wait = random.u64(1..20);
        match random.u8(..12) {
            0 => Self::Refuses,
            1 => Self::Drops,
            2 => Self::Hangs,
            3 => Self::CutsOff,
            4 => Self::Truncates,
            5 => Self::Serves(Duration::from_millis(random.u64(500..3_000))),
            6 => Self::Replies(500, None),
            7 => Self::Replies(503, None),
            8 => Self::Replies(503, Some(wait)),
            9 => Self::Replies(429, Some(wait)),
            10 => Self::Replies(429, None),
            _ => Self::Replies(401, None),
        }
    }

    const fn serves_well(self) -> bool {
        matches!(self, Self::Serves(time) if time.as_millis() <= 100)
    }

    /// Whether connections end when it begins.
    const fn breaks(self) -> bool {
        matches!(self, Self::Refuses | Self::CutsOff)
    }
}

/// What a host does until when.
#[derive(Debug)]
pub(crate) struct Timetable(Vec<(Duration, Does)>);

impl Timetable {
    pub(crate) fn at_random(random: &mut Rng, length: Duration) -> Self {
        let good = Does::Serves(Duration::from_millis(random.u64(5..100)));
        let mut table = Vec::new();
        let mut until = Duration::ZERO;
        while until < length {
            until += Duration::from_millis(random.u64(1..60_000));
            table.push((until, good));
            let bad = Does::at_random(random);
            // Some go on and off.
            for _ in 0..if random.u8(..4) == 0 { 6 } else { 1 } {
                until += Duration::from_millis(random.u64(1..15_000));
                table.push((until, bad));
                until += Duration::from_millis(random.u64(1..500));
                table.push((until, good));
            }
        }
        Self(table)
    }

    fn at(&self, now: Duration) -> Does {
        self.0.iter().find(|(until, _)| now < *until).map_or(Does::Refuses, |(_, does)| *does)
    }

    /// Whether it serves all the time between the two.
    pub(crate) fn serves(&self, from: Duration, to: Duration) -> bool {
        let begins = |index: usize| index.checked_sub(1).map_or(Duration::ZERO, |i| self.0[i].0);
        let overlaps = |index: usize, until| begins(index) <= to && from < until;
        let mut during = self.0.iter().enumerate().filter(|(i, (until, _))| overlaps(*i, *until));
        during.all(|(_, (_, does))| does.serves_well())
    }

    /// When connections break the next time.
    fn breaks_after(&self, now: Duration) -> Option<Duration> {
        let next = self.0.windows(2).find(|pair| pair[0].0 >= now && pair[1].1.breaks());
        next.map(|pair| pair[0].0)
    }
}

#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) hosts: Arc<BTreeMap<String, Timetable>>,
    pub(crate) log: Log,
}

impl Network {
    /// One attempt, on a connection of its own, to this host or the one that it names.
    pub(crate) async fn send(
        self,
        mut request: Request<Full<Bytes>>,
        host: Option<String>,
    ) -> Result<Response<Incoming>, BoxError> {
        let host = host.or_else(|| request.uri().host().map(Into::into)).expect("a host");
        let attempt = self.log.begins(&host, request.headers());
        request.headers_mut().insert("x-attempt", attempt.number().into());
        let result = self.exchange(host, request).await;
        attempt.ends(&result);
        result
    }

    fn does(&self, host: &str) -> Does {
        self.hosts.get(host).map_or(Does::Refuses, |host| host.at(self.log.now()))
    }

    async fn exchange(
        &self,
        host: String,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, BoxError> {
        sleep(HOP).await;
        match self.does(&host) {
            Does::Refuses => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Does::Drops => return std::future::pending().await,
            _ => {}
        }
        let (near, far) = tokio::io::duplex(1 << 16);
        let network = self.clone();
        let handler = service_fn(move |request| network.clone().serve(host.clone(), request));
        tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(far), handler));
        let (mut sender, connection) = client::handshake(TokioIo::new(near)).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }

    async fn serve(
        self,
        host: String,
        request: Request<Incoming>,
    ) -> Result<Response<UnsyncBoxBody<Bytes, io::Error>>, io::Error> {
        self.log.arrived(request.headers());
        let broken = || io::Error::from(io::ErrorKind::ConnectionReset);
        let body = |text: &'static str| Full::from(text).map_err(|no| match no {}).boxed_unsync();
        let reply = async {
            Ok(match self.does(&host) {
                Does::Serves(time) => {
                    sleep(time).await;
                    Response::new(body("well"))
                }
                Does::Hangs | Does::Drops => std::future::pending().await,
                Does::Refuses | Does::CutsOff => return Err(broken()),
                Does::Truncates => {
                    let half = Frame::data(Bytes::from_static(b"half"));
                    let body = StreamBody::new(stream::iter([Ok(half), Err(broken())]));
                    Response::new(body.boxed_unsync())
                }
                Does::Replies(status, wait) => {
                    let mut response = Response::builder().status(status);
                    if let Some(wait) = wait {
                        response = response.header("retry-after", wait);
                    }
                    response.body(body("")).unwrap()
                }
            })
        };
        match self.hosts[&host].breaks_after(self.log.now()) {
            Some(breaks) => {
                let breaks = self.log.start + breaks;
                timeout_at(breaks.max(Instant::now()), reply).await.map_err(|_| broken())?
            }
            None => reply.await,
        }
    }
}
