//! Alerts: notifies people of conditions that need action, once, without a cost to callers.
//!
//! [`Alerts`] observes the [events](crate::event) of the other layers and, through its [`AlertLayer`],
//! the result of each call as its caller receives it. Alerts are sent to [`Slack`], [`PagerDuty`] or any
//! other [`Sink`], through a tower HTTP service.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::alert::{AlertLayer, Alerts, PagerDuty, Severity, Slack};
//! use tower_upstream::{BoxError, RetryLayer};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), BoxError> {
//! // Any tower HTTP client for bodies of `Bytes`.
//! let http = service_fn(|_: Request<Bytes>| async { Ok::<_, BoxError>(Response::new(())) });
//!
//! let alerts = Alerts::builder()
//!     .service("checkout")
//!     .sink(Slack::new("https://hooks.slack.com/services/.."), Severity::Info, http)
//!     .sink(PagerDuty::new("routing key"), Severity::Critical, http)
//!     .build()?;
//!
//! let mut client = ServiceBuilder::new()
//!     .layer(AlertLayer::new(&alerts))
//!     .layer(RetryLayer::builder().observer(alerts.observer()).build()?)
//!     // The credential is suspended.
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, BoxError>(Response::builder().status(401).body(())?)
//!     }));
//!
//! for _ in 0..100 {
//!     client.ready().await?.call(Request::new(())).await?;
//! }
//! assert!(alerts.flush(Duration::from_secs(5)).await);
//! assert_eq!(alerts.stats().sent, 2, "one for each sink");
//! assert_eq!(alerts.history()[0].severity, Severity::Critical);
//! # Ok(()) }
//! ```
//!
//! # Conditions
//!
//! [Rules](Rule) and objectives ([`Slo`]) define them. The default is [`Rule::standard`]:
//!
//! | condition | severity | resolved |
//! |---|---|---|
//! | a call timed out or passed its deadline after more than 3 retries | critical | not observed for 5 minutes |
//! | the upstream rejected the credential | critical | not observed for 5 minutes |
//! | the quota is exhausted (needs a classifier that detects it) | critical | not observed for 5 minutes |
//! | all regions are out | critical | a region is healthy again, or added |
//! | a region is out | warning | it is healthy again, or removed |
//! | a circuit is open | warning | it closes |
//! | another timeout, a call that failed or was rejected locally, a pause that the upstream requested | information | not observed for 5 minutes |
//!
//! These need a rule or an objective:
//!
//! | condition | rule | resolved |
//! |---|---|---|
//! | too many calls fail | [`Rule::error_ratio`] | within the limit |
//! | the median or a tail of the latency is too high | [`Rule::slow_median`], [`Rule::slow_tail`] | within the limit |
//! | calls hang | [`Rule::calls_hanging`] | all have ended |
//! | retries cost too much in a minute | [`Rule::retry_spend`] | within the limit |
//! | the error budget of an objective burns too fast | [`Slo`] | within the limit |
//!
//! No alert is raised for a success, a request that the upstream rejects as invalid, a call that its
//! caller drops, or a failure that a retry or failover recovers from. Only the retry layer's events
//! contain the number of retries: it needs the observer.
//!
//! # Notifications
//!
//! A condition must last for the [hold time](Rule::lasting) of its rule, and a
//! [second](AlertsBuilder::group_wait) in which others may join it. If it ends earlier, no sink is
//! notified. Sinks are notified once, again when the severity rises, each
//! [hour](AlertsBuilder::repeat_interval) while it lasts, and when it is resolved.
//!
//! Flapping is suppressed: an alert that fires again within [5 minutes](AlertsBuilder::settle_time) of its
//! last notification is delayed until then. A sink is notified of the end only if it was of the beginning.
//! If the severity falls, the alert is resolved for the sinks that don't want the lower severity.
//!
//! Alerts of one kind that are due together are sent in one request, if the [sink](Sink::group_size)
//! supports that.
//!
//! A sink that is notified of a cause is not notified of its consequences. A region that is out mutes its
//! circuits. All regions out mutes each region, open circuits and failed calls. A rejected credential mutes
//! everything else. When the cause ends, sinks are notified of the consequences that last, except failed
//! calls, which must fail again.
//!
//! # Cost
//!
//! A successful call costs its verdict and one counted reference. Rules that measure add a counter, and
//! limits on the duration of calls read the clock at the beginning and at the end. A failed call also takes
//! a lock. Windows are sums of 60 buckets that the scheduler fills, so memory and cost are independent of
//! the number of calls.
//!
//! Each sink has a bounded [queue](AlertsBuilder::queue) and a task of its own: callers never wait, and a
//! sink that hangs, fails or panics delays no other. Alerts that find no room are dropped, those that a
//! sink does not accept have failed. Both are [counted](AlertStats) and reported to the
//! [observer](AlertsBuilder::observer).
//!
//! Tasks start on first use within a tokio runtime with time, and end with the last clone of [`Alerts`] and
//! its layers. At the end of a program, call [`flush`](Alerts::flush). A status page can show
//! [`firing`](Alerts::firing), [`history`](Alerts::history) and [`objectives`](Alerts::objectives).
//!
//! # Sinks
//!
//! | sink | alerts in a request | maximum rate | resolved |
//! |---|---|---|---|
//! | [`Slack`] | up to 10 | one a second | a message |
//! | [`Teams`] | up to 10, 28 kB | four a second | a message |
//! | [`PagerDuty`] | 1 | 120 a minute | resolves the incident |
//! | [`Opsgenie`] | 1 | | closes the alert |
//! | [`Alertmanager`] | up to 64 | | ends the alert |
//! | [`Webhook`] | up to 64 | | a request |
//!
//! For the program's log, pass `event::TracingObserver` as the builder's
//! [observer](AlertsBuilder::observer): it writes one line for each alert, at the level of its severity.
//!
//! # Contents
//!
//! Alerts contain configured names, numbers and kinds of failure: never an error's text, a header, a URL or
//! a body. Webhooks and keys are [secrets](Secret), which are never printed. Texts are cut to the documented
//! sizes of each service, between visible characters, and escaped: they contain no mention or link.

mod alerts;
mod delivery;
mod engine;
mod layer;
mod lifecycle;
mod message;
mod observation;
mod rule;
mod service;
mod sink;
mod sinks;
mod state;
mod task;

pub use self::alerts::{Alerts, AlertsBuilder};
pub use self::delivery::AlertStats;
pub use self::layer::{AlertLayer, AlertLayerBuilder};
pub use self::rule::{BurnRate, Objective, Rule, Slo};
pub use self::service::{AlertService, ResponseFuture};
pub use self::sink::{Alertmanager, Opsgenie, PagerDuty, Secret, Sink, Slack, Teams, Webhook};
pub use crate::event::{Alert, AlertKind, Severity};
