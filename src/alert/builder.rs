use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::alerts::{Desk, Shared};
use super::dispatch::{Deliver, Delivery, Lane};
use super::history::History;
use super::lifecycle::{Lifecycle, Sinks, Times};
use super::rule::Rules;
use super::{Alerts, Severity, Sink};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Listener, Observer};
use crate::sync::Mutex;

/// Builds [`Alerts`].
#[must_use]
pub struct AlertsBuilder {
    service: String,
    sinks: Vec<(Arc<dyn Deliver>, Severity)>,
    rules: Rules,
    times: Times,
    keys: usize,
    queue: usize,
    history: usize,
    delivery_timeout: Duration,
    listener: Listener,
}

impl AlertsBuilder {
    /// How many alerts a queue holds at most.
    const LONGEST_QUEUE: usize = 1 << 20;

    pub(super) fn new() -> Self {
        Self {
            service: "tower-upstream".to_owned(),
            sinks: Vec::new(),
            rules: Rules { timeout_retries: 3 },
            times: Times {
                repeat: Duration::from_secs(3600),
                settle: Duration::from_secs(300),
                quiet: Duration::from_secs(300),
            },
            keys: 1024,
            queue: 1024,
            history: 256,
            delivery_timeout: Duration::from_secs(60),
            listener: Listener::default(),
        }
    }

    /// Whose alerts these are: shown in messages, and the start of their keys. Give each
    /// program its own. Default: `tower-upstream`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Tells this sink of what is at least so severe, through this HTTP service.
    ///
    /// The service is any tower client, as `hyper_util`'s legacy client over `Full<Bytes>` with
    /// tower's `MapRequest`. Each alert is sent up to five times, as a
    /// [`RetryLayer`](crate::RetryLayer) does, obeying `Retry-After`; don't give it the client that
    /// the alerts are about.
    pub fn sink<S, B>(mut self, sink: impl Sink, least: Severity, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
    {
        self.sinks.push((Arc::new(Delivery::new(sink, service)), least));
        self
    }

    /// A timeout after more retries than this is critical. Default: 3.
    pub fn timeout_retries(mut self, retries: u32) -> Self {
        self.rules.timeout_retries = retries;
        self
    }

    /// How long what goes on is told only once. Default: 1 hour. `Duration::MAX`: for good.
    pub fn repeat_interval(mut self, interval: Duration) -> Self {
        self.times.repeat = interval;
        self
    }

    /// What fires again this soon after it was told, though resolved in between, is held back
    /// until then; if it is over by then, nobody hears of it. What is more severe isn't held.
    /// Default: 5 minutes.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.times.settle = time;
        self
    }

    /// What nobody tells the end of (timeouts, failed calls, a refused credential) is over
    /// when it hasn't been seen for this long. Default: 5 minutes.
    pub fn quiet_time(mut self, time: Duration) -> Self {
        self.times.quiet = time;
        self
    }

    /// How many different alerts are known at most; past that, what is over or was seen
    /// longest ago is forgotten, and may be told again. Default: 1024; 0 means 1.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How many alerts wait for each sink at most. Past that they are dropped, and counted. An
    /// eighth is kept for what is critical and for what is over. Default: 1024.
    pub fn queue(mut self, alerts: usize) -> Self {
        self.queue = alerts;
        self
    }

    /// How many alerts [`Alerts::history`] keeps. Default: 256.
    pub fn history(mut self, alerts: usize) -> Self {
        self.history = alerts;
        self
    }

    /// How long a sink may take for an alert, all attempts together; one attempt has a quarter
    /// of it. Default: 60 s.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Who hears of alerts raised, resolved and dropped.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.listener = Listener::new(observer);
        self
    }

    /// The alerts. Needs no runtime: what is seen before there is one waits in the queues.
    ///
    /// # Errors
    ///
    /// If a sink can't work (a webhook that isn't a URL), there are more than 64 of them, or the
    /// queue has room for none or for more than a million.
    pub fn build(self) -> Result<Alerts, InvalidConfig> {
        if self.sinks.len() > Sinks::MOST {
            let (many, most) = (self.sinks.len(), Sinks::MOST);
            return Err(InvalidConfig::new(format!(
                "{many} sinks are too many; up to {most} work"
            )));
        }
        if !(1..=Self::LONGEST_QUEUE).contains(&self.queue) {
            return Err(InvalidConfig::new(format!(
                "a queue for {} alerts can't be; it holds from 1 to {}",
                self.queue,
                Self::LONGEST_QUEUE
            )));
        }
        self.sinks.iter().try_for_each(|(sink, _)| sink.check())?;
        let lane = |(sink, least)| Lane::new(sink, least, self.queue, self.delivery_timeout);
        let desk = Desk {
            lifecycle: Lifecycle::new(self.keys, self.times),
            history: History::new(self.history),
            lanes: self.sinks.into_iter().map(lane).collect(),
            wakes_at: None,
        };
        Ok(Alerts::new(Shared {
            service: self.service.into(),
            rules: self.rules,
            listener: self.listener,
            desk: Mutex::new(desk),
            tally: Arc::default(),
            keeper: Arc::default(),
        }))
    }
}

impl fmt::Debug for AlertsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they can hold secrets.
        f.debug_struct("AlertsBuilder")
            .field("service", &self.service)
            .field("rules", &self.rules)
            .field("times", &self.times)
            .field("keys", &self.keys)
            .field("queue", &self.queue)
            .field("history", &self.history)
            .field("delivery_timeout", &self.delivery_timeout)
            .finish_non_exhaustive()
    }
}
