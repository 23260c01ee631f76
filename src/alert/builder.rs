use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::alerts::Shared;
use super::dispatch::{Deliver, Delivery, SinkQueue};
use super::lifecycle::{Lifecycle, Times};
use super::measure::Meter;
use super::observation::{Recipients, Sinks};
use super::rule::Rules;
use super::state::{AlertState, History};
use super::{Alerts, Rule, Sink, Slo};
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Observer, Observers, Severity};
use crate::sync::Mutex;

/// Builds [`Alerts`].
///
/// A clone shares its sinks with the original, and each of the two makes alerts of its own.
#[derive(Clone)]
#[must_use]
pub struct AlertsBuilder {
    service: String,
    sinks: Vec<(Arc<dyn Deliver>, Severity)>,
    rules: Vec<Rule>,
    objectives: Vec<Slo>,
    times: Times,
    keys: usize,
    queue: usize,
    history: usize,
    delivery_timeout: Duration,
    observers: Observers,
}

impl AlertsBuilder {
    /// The most alerts that a queue can be given room for.
    const LONGEST_QUEUE: usize = 1 << 20;

    pub(super) fn new() -> Self {
        Self {
            service: "tower-upstream".to_owned(),
            sinks: Vec::new(),
            rules: Rule::standard(),
            objectives: Vec::new(),
            times: Times {
                group: Duration::from_secs(1),
                repeat: Duration::from_secs(3600),
                settle: Duration::from_secs(300),
                quiet: Duration::from_secs(300),
            },
            keys: 1024,
            queue: 1024,
            history: 256,
            delivery_timeout: Duration::from_secs(300),
            observers: Observers::default(),
        }
    }

    /// The name of the service that the alerts are about. It is shown in messages and begins their keys.
    /// Give each program its own. Default: `tower-upstream`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Tells this sink of what is of severity `least` or worse, through this HTTP service.
    ///
    /// The service is any tower client, such as `hyper_util`'s legacy client over `Full<Bytes>` with tower's
    /// `MapRequest`. What isn't accepted is sent again, as a [`RetryLayer`](crate::RetryLayer) does, until
    /// the [timeout](Self::delivery_timeout). Nothing is sent before the time that a `Retry-After` asks for
    /// (an hour at most). Don't give it the client that the alerts are about.
    ///
    /// With reqwest:
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use tower::service_fn;
    /// use tower_upstream::BoxError;
    /// use tower_upstream::alert::{Alerts, PagerDuty, Severity, Slack};
    ///
    /// # fn main() -> Result<(), BoxError> {
    /// let http = reqwest::Client::new();
    /// let http = service_fn(move |message: Request<Bytes>| {
    ///     let http = http.clone();
    ///     async move {
    ///         let answer = http.execute(message.try_into()?).await?;
    ///         Ok::<_, BoxError>(Response::<reqwest::Body>::from(answer))
    ///     }
    /// });
    /// let alerts = Alerts::builder()
    ///     .service("checkout")
    ///     .sink(Slack::new("https://hooks.slack.com/services/.."), Severity::Info, http.clone())
    ///     .sink(PagerDuty::new("routing key"), Severity::Critical, http)
    ///     .build()?;
    /// # let _ = alerts;
    /// # Ok(()) }
    /// # main().unwrap()
    /// # }
    /// ```
    #[allow(clippy::needless_pass_by_value)] // as every layer takes a service
    pub fn sink<S, B>(mut self, sink: impl Sink, least: Severity, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
    {
        self.sinks.push((Arc::new(Delivery::new(sink, &service)), least));
        self
    }

    /// Replaces the rules. Default: [`Rule::standard`].
    pub fn rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules = rules.into_iter().collect();
        self
    }

    /// Adds a rule.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Adds an objective, with alerts on how fast its error budget is spent.
    pub fn slo(mut self, objective: Slo) -> Self {
        self.objectives.push(objective);
        self
    }

    /// How long an alert waits for others before it is notified. Those of one kind are notified in one message, if
    /// the sink can do that. A cause that comes meanwhile mutes what only follows from it. What is over by
    /// then isn't notified at all. Default: 1 second; 0 notify each at once.
    pub fn group_wait(mut self, time: Duration) -> Self {
        self.times.group = time;
        self
    }

    /// How often an alert that goes on is notified again. Default: 1 hour; less than 1 second means 1 second.
    /// `Duration::MAX` means never.
    pub fn repeat_interval(mut self, interval: Duration) -> Self {
        self.times.repeat = interval.max(Duration::from_secs(1));
        self
    }

    /// Holds back what is resolved and fires again until this time after it was notified. If it is over by then,
    /// nobody hears of it. What is more severe than before isn't held back. Default: 5 minutes.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.times.settle = time;
        self
    }

    /// How long it must not be seen to be over, if no event notify its end: timeouts, failed calls, a refused
    /// credential. Default: 5 minutes; the least is the [wait for others](Self::group_wait).
    pub fn quiet_time(mut self, time: Duration) -> Self {
        self.times.quiet = time;
        self
    }

    /// How many different alerts are known at most. To make room for a new one, what is over is forgotten,
    /// then what is less severe; the end of that is never notified. If there is neither, the new one isn't notified.
    /// Default: 1024; 0 means 1.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How many alerts wait for each sink at most. More are dropped, and counted; what goes on is offered
    /// again when it is seen again, or a minute later. An eighth of the places is kept for what is critical
    /// and for what is over. Default: 1024.
    pub fn queue(mut self, alerts: usize) -> Self {
        self.queue = alerts;
        self
    }

    /// How many alerts [`Alerts::history`] keeps. Default: 256.
    pub fn history(mut self, alerts: usize) -> Self {
        self.history = alerts;
        self
    }

    /// How long a sink may take for a message, all attempts together. One attempt has a quarter of that, 15 s
    /// at most. An alert that wasn't taken by then has failed. If it goes on, it is notified with the next
    /// [repeat](Self::repeat_interval); an end isn't notified again. What comes meanwhile waits in the queue.
    /// Default: 5 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Hears of alerts that are raised, resolved, dropped, or not taken by a sink, such as
    /// `TracingObserver`, which writes them to the program's log.
    ///
    /// It hears of an alert when it is notified, even if no sink is to receive of it. An alert is muted only for sinks that receive of its cause: with no
    /// sink at all, the observer hears of the cause and of all that follows from it.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers = Observers::new(observer);
        self
    }

    /// Builds the alerts. This needs no runtime: what is seen before there is one waits in the queues.
    ///
    /// # Errors
    ///
    /// If a sink (a webhook that isn't a URL), a rule or an objective (a share above 1) can't work; if the
    /// service has no name; if there are more than 64 sinks; if the queue has room for none or for more than
    /// 1,048,576 alerts; or if the delivery timeout is 0.
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
        if self.service.trim().is_empty() {
            return Err(InvalidConfig::new(
                "a service without a name can't be distinguished from others; give it one",
            ));
        }
        if self.delivery_timeout.is_zero() {
            return Err(InvalidConfig::new("a sink can't take an alert in no time; give it some"));
        }
        self.sinks.iter().try_for_each(|(sink, _)| sink.check())?;
        self.rules.iter().try_for_each(Rule::check)?;
        self.objectives.iter().try_for_each(Slo::check)?;
        let times = Times { quiet: self.times.quiet.max(self.times.group), ..self.times };
        let meter = Meter::new(&self.rules, &self.objectives)?;
        let recipients = Recipients::new(self.sinks.iter().map(|(_, least)| *least));
        let sink_queue = |(sink, _)| {
            SinkQueue::new(sink, self.queue, self.delivery_timeout, self.observers.clone())
        };
        let state = AlertState::new(
            self.service.into(),
            &times,
            Lifecycle::new(self.keys, times, recipients),
            History::new(self.history),
            self.sinks.into_iter().map(sink_queue).collect(),
        );
        Ok(Alerts::new(Shared {
            rules: Rules::new(self.rules),
            meter,
            observers: self.observers,
            state: Mutex::new(state),
            counters: Arc::default(),
            scheduler: Arc::default(),
        }))
    }
}

impl fmt::Debug for AlertsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they can hold secrets.
        f.debug_struct("AlertsBuilder")
            .field("service", &self.service)
            .field("rules", &self.rules)
            .field("objectives", &self.objectives)
            .field("times", &self.times)
            .field("keys", &self.keys)
            .field("queue", &self.queue)
            .field("history", &self.history)
            .field("delivery_timeout", &self.delivery_timeout)
            .finish_non_exhaustive()
    }
}
