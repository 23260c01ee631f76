use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::delivery::{AlertStats, DeliveryStats, SinkConfig, SinkWorker};
use super::engine::Engine;
use super::lifecycle::{Lifecycle, Times};
use super::rule::{Meter, Objective, Rule, RuleMatcher, Slo};
use super::sink::Sink;
use super::sinks::{SinkSet, Subscriptions};
use super::state::AlertState;
use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Event, Observer, Observers, Severity};
use crate::sharded::ShardedArc;
use crate::sync::Mutex;
use crate::time;

/// The alerts of one upstream: an observer of the other layers, and the handle that shows what fires.
///
/// Cheap to clone. Its tasks end when the last clone and the last [`AlertLayer`](super::AlertLayer) are
/// dropped and the queues are empty. See the [module](super) for an example.
///
/// Use one for each upstream, each with its own [service](AlertsBuilder::service) name: all observed
/// calls share one error budget, circuits or regions of one name are one alert, and a rejected credential
/// mutes all other alerts.
#[derive(Clone)]
pub struct Alerts {
    pub(super) engine: Arc<ShardedArc<Engine>>,
}

impl Alerts {
    /// Returns a builder with the [standard rules](Rule::standard) and no sink.
    pub fn builder() -> AlertsBuilder {
        AlertsBuilder::new()
    }

    /// Returns an observer for other layers: a clone, because `Alerts` is an [`Observer`].
    #[must_use]
    pub fn observer(&self) -> Self {
        self.clone()
    }

    /// Returns the counts of deliveries.
    #[must_use]
    pub fn stats(&self) -> AlertStats {
        self.engine.stats.get()
    }

    /// Returns the alerts that last, whether or not a sink was notified, oldest first.
    #[must_use]
    pub fn firing(&self) -> Vec<Arc<Alert>> {
        self.engine.state.lock().firing(time::now())
    }

    /// Returns the last alerts that were raised or resolved, whether or not a sink wanted them, oldest
    /// first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Alert>> {
        self.engine.state.lock().history()
    }

    /// Returns the status of the [objectives](Slo), in the order in which they were added.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let meter = self.engine.meter.as_ref();
        meter.map(|meter| meter.objectives(time::now())).unwrap_or_default()
    }

    /// Sends pending alerts without the [group wait](AlertsBuilder::group_wait), and waits until all queued
    /// alerts are delivered or have failed, at most for `timeout`. Returns whether nothing is left. Call it
    /// at the end of a program.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without time.
    pub async fn flush(&self, timeout: Duration) -> bool {
        let deadline = time::after(time::now(), timeout);
        self.engine.run(true);
        self.engine.state.lock().start_workers();
        // Events before there was a runtime started no scheduler.
        if !self.engine.scheduler.is_running() {
            self.engine.notify_scheduler();
        }
        time::timeout_at(deadline, self.engine.stats.wait_until_empty()).await.is_ok()
    }
}

/// Evaluates the events of other layers.
impl Observer for Alerts {
    fn observe(&self, event: &Event<'_>) {
        self.engine.event(event);
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they may contain secrets.
        f.debug_struct("Alerts")
            .field("rules", &self.engine.rules)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Builder of [`Alerts`].
///
/// A clone shares its sinks with the original; each of the two builds separate alerts.
#[derive(Clone)]
#[must_use]
pub struct AlertsBuilder {
    service: Arc<str>,
    sinks: Vec<SinkConfig>,
    rules: Vec<Rule>,
    objectives: Vec<Slo>,
    times: Times,
    max_keys: usize,
    queue: usize,
    history: usize,
    delivery_timeout: Duration,
    observers: Observers,
}

impl AlertsBuilder {
    fn new() -> Self {
        Self {
            service: env!("CARGO_PKG_NAME").into(),
            sinks: Vec::new(),
            rules: Rule::standard(),
            objectives: Vec::new(),
            times: Times {
                group_wait: Duration::from_secs(1),
                repeat: Duration::from_secs(3600),
                settle: Duration::from_secs(300),
                quiet: Duration::from_secs(300),
            },
            max_keys: 1024,
            queue: 1024,
            history: 256,
            delivery_timeout: Duration::from_secs(300),
            observers: Observers::default(),
        }
    }

    /// Sets the name of the service that the alerts are about: the start of their keys, and shown in
    /// messages. Each program needs its own. Default: `tower-upstream`.
    pub fn service(mut self, name: impl Into<Arc<str>>) -> Self {
        self.service = name.into();
        self
    }

    /// Adds a sink for alerts of at least this severity, which are sent through this HTTP service. At most
    /// 64 sinks.
    ///
    /// The service is any tower client, such as `hyper_util`'s legacy client over `Full<Bytes>` with
    /// tower's `MapRequest`. Requests that fail are repeated, as by a [`RetryLayer`](crate::RetryLayer),
    /// until the [timeout](Self::delivery_timeout). A `Retry-After` is obeyed up to an hour. Don't pass
    /// the client that the alerts are about.
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
    /// let http = service_fn(move |request: Request<Bytes>| {
    ///     let http = http.clone();
    ///     async move {
    ///         let response = http.execute(request.try_into()?).await?;
    ///         Ok::<_, BoxError>(Response::<reqwest::Body>::from(response))
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
    pub fn sink<S, B>(mut self, sink: impl Sink, min_severity: Severity, service: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Send + 'static,
    {
        self.sinks.push(SinkConfig::new(sink, min_severity, &service));
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

    /// Adds an objective, with alerts about the burn rate of its error budget.
    pub fn slo(mut self, objective: Slo) -> Self {
        self.objectives.push(objective);
        self
    }

    /// Sets the time that an alert waits for others of its kind, to be sent in one request if the sink
    /// supports that. Meanwhile a cause may mute its consequences. A condition that ends within this time
    /// is not sent. Default: 1 second; 0 sends at once.
    pub fn group_wait(mut self, time: Duration) -> Self {
        self.times.group_wait = time;
        self
    }

    /// Sets the interval at which an alert that lasts is repeated. Default: 1 hour; the minimum is 1
    /// second, `Duration::MAX` disables it.
    pub fn repeat_interval(mut self, interval: Duration) -> Self {
        self.times.repeat = interval.max(Duration::from_secs(1));
        self
    }

    /// Sets the time that suppresses flapping: an alert that fires again within this time of its last
    /// notification is delayed until then, and not sent if it ends before. A more severe one is not
    /// delayed. Default: 5 minutes.
    pub fn settle_time(mut self, time: Duration) -> Self {
        self.times.settle = time;
        self
    }

    /// Sets the time without an observation after which a condition has ended, if no event reports its
    /// end: timeouts, failed calls, a rejected credential. Default: 5 minutes; the minimum is the
    /// [group wait](Self::group_wait).
    pub fn quiet_time(mut self, time: Duration) -> Self {
        self.times.quiet = time;
        self
    }

    /// Sets the maximum number of different alerts. To make room for a new one, resolved ones are removed
    /// first, then less severe ones, whose end is never sent. If there is neither, the new one is not sent.
    /// Default: 1024; the minimum is 1.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// Sets the capacity of each sink's queue. Further alerts are dropped and counted; a condition that
    /// lasts is offered again at its next observation, or a minute later. An eighth is reserved for
    /// critical and resolved alerts. Default: 1024.
    pub fn queue(mut self, alerts: usize) -> Self {
        self.queue = alerts;
        self
    }

    /// Sets the number of alerts that [`Alerts::history`] keeps. Default: 256.
    pub fn history(mut self, alerts: usize) -> Self {
        self.history = alerts;
        self
    }

    /// Sets the timeout of a delivery, all attempts together. One attempt has a quarter of that, at most
    /// 15 s. An alert that was not accepted by then has failed: if its condition lasts, it is sent again
    /// after the [repeat interval](Self::repeat_interval); an end is not sent again. Meanwhile other
    /// alerts wait in the queue. Default: 5 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Sets an observer of alerts that are raised, resolved, dropped or not accepted by a sink, such as
    /// `TracingObserver`.
    ///
    /// It is notified even if no sink wants the alert. An alert is muted only for sinks that are notified of its cause: without
    /// a sink, the observer is notified of the cause and of all its consequences.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observers = Observers::new(observer);
        self
    }

    /// Builds the alerts. Needs no runtime: alerts wait in the queues until there is one.
    ///
    /// # Errors
    ///
    /// If a sink (such as a webhook that is not a URL), a rule or an objective (such as a share above 1)
    /// is invalid; if the service name is empty; if there are more than 64 sinks; if the queue's capacity
    /// is 0; or if the delivery timeout is 0.
    pub fn build(self) -> Result<Alerts, InvalidConfig> {
        let invalid = |message: String| Err(InvalidConfig::new(message));
        if self.sinks.len() > SinkSet::CAPACITY {
            return invalid(format!(
                "{} sinks are too many: at most {}",
                self.sinks.len(),
                SinkSet::CAPACITY
            ));
        }
        if self.queue == 0 {
            return invalid("the capacity of the queues is 0; set at least 1".to_owned());
        }
        if self.service.trim().is_empty() {
            return invalid("the service name is empty; give each program its own".to_owned());
        }
        if self.delivery_timeout.is_zero() {
            return invalid("the delivery timeout is 0; it must be positive".to_owned());
        }
        self.sinks.iter().try_for_each(|config| config.sink.check())?;
        self.rules.iter().try_for_each(Rule::check)?;
        self.objectives.iter().try_for_each(Slo::check)?;
        let times = Times { quiet: self.times.quiet.max(self.times.group_wait), ..self.times };
        let subscriptions = Subscriptions::new(self.sinks.iter().map(|config| config.min_severity));
        let delivery_stats = Arc::<DeliveryStats>::default();
        let worker = |config| {
            SinkWorker::new(config, self.queue, self.delivery_timeout, self.observers.clone())
        };
        let state = AlertState::new(
            self.service,
            Lifecycle::new(self.max_keys, times, subscriptions),
            self.history,
            self.sinks.into_iter().map(worker).collect(),
            Arc::clone(&delivery_stats),
        );
        let engine = Engine {
            meter: Meter::new(&self.rules, self.objectives)?,
            rules: RuleMatcher::new(self.rules),
            observers: self.observers,
            state: Mutex::new(state),
            stats: delivery_stats,
            scheduler: Arc::default(),
        };
        Ok(Alerts { engine: Arc::new(ShardedArc::new(engine)) })
    }
}

impl fmt::Debug for AlertsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither sinks nor services: they may contain secrets.
        f.debug_struct("AlertsBuilder")
            .field("service", &self.service)
            .field("rules", &self.rules)
            .field("objectives", &self.objectives)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}
