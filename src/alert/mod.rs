//! Tells people what matters, once, and never at the caller's cost.
//!
//! [`Alerts`] hears the [events](crate::event) of the other layers. Through its [`AlertLayer`] it also
//! hears how each call ended for its caller. What is worth an alert is sent to [`Slack`], [`PagerDuty`], or
//! a [`Sink`] of yours, through any tower HTTP service that you give.
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//! use tower_upstream::alert::{Alerts, PagerDuty, Severity, Slack};
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
//!     .layer(alerts.layer())
//!     .layer(RetryLayer::builder().observer(alerts.observer()).build()?)
//!     // The key is suspended.
//!     .service(service_fn(|_: Request<()>| async {
//!         Ok::<_, BoxError>(Response::builder().status(401).body(())?)
//!     }));
//!
//! for _ in 0..100 {
//!     client.ready().await?.call(Request::new(())).await?;
//! }
//! assert!(alerts.flush(Duration::from_secs(5)).await);
//! assert_eq!(alerts.stats().sent, 2, "one to each sink");
//! assert_eq!(alerts.history()[0].severity, Severity::Critical);
//! # Ok(()) }
//! ```
//!
//! # What is worth an alert
//!
//! [Rules](Rule) and objectives ([`Slo`]) say what is. The default is [`Rule::standard`]:
//!
//! | what | severity | over when |
//! |---|---|---|
//! | a timeout, or a deadline passed, after more than 3 retries | critical | not seen for 5 minutes |
//! | the credential was refused | critical | not seen for 5 minutes |
//! | the quota is spent (notified by your classifier) | critical | not seen for 5 minutes |
//! | no region is healthy | critical | a region is back, or added |
//! | a region is lost | warning | it is back, or removed |
//! | a circuit opened | warning | it closed |
//! | another timeout, a call that failed or was turned away, a pause that the server asked for | information | not seen for 5 minutes |
//!
//! These need a rule or an objective of yours:
//!
//! | what | rule | over when |
//! |---|---|---|
//! | too many calls fail | [`Rule::error_ratio`] | few enough do |
//! | the median, or a tail, is too slow | [`Rule::slow_median`], [`Rule::slow_tail`] | it isn't |
//! | calls have no answer | [`Rule::calls_hanging`] | all have |
//! | retries cost too much in a minute | [`Rule::retry_spend`] | they don't |
//! | an objective's error budget is spent too fast | [`Slo`] | it lasts |
//!
//! Not worth an alert: a success, a request's own fault, a call that its caller dropped, and what a retry
//! or a failover mended. How often a call was retried in vain is known only from the retry's events: give
//! it the observer.
//!
//! # How often
//!
//! An alert first waits for as long as its rule says that it must [last](Rule::lasting), and a
//! [second](AlertsBuilder::group_wait) for others that go with it. What is over by then isn't notified. It is
//! notified once, again when it gets more severe, once each [hour](AlertsBuilder::repeat_interval) that it
//! lasts, and when it is over.
//!
//! What is resolved and fires again within [5 minutes](AlertsBuilder::settle_time) is held back until
//! then, so that a circuit that opens and closes all the time isn't notified each time. Only sinks that were
//! notified of an alert are notified its end. When it gets less severe, it ends for the sinks that don't receive of
//! the lower severity.
//!
//! Alerts of one kind that are due together are one message, if the [sink](Sink::group_size) can do that.
//!
//! A sink that hears of a cause doesn't receive of what only follows from it. A lost region mutes the circuits
//! that open in it. That all regions are lost mutes the loss of each, open circuits and calls that fail. A
//! refused credential mutes everything else. What still goes on when the cause is over is notified then, except
//! failed calls: they must fail again.
//!
//! # What it costs
//!
//! A call that succeeds costs its verdict and one counted reference. Rules that measure add a count, and
//! limits on the calls' time a reading of the clock at the beginning and at the end. A call that fails also
//! takes a lock to look at what is firing. Windows are sums of sixty buckets that a task fills at each
//! look, so memory and cost don't grow with the calls.
//!
//! Each sink has a bounded [queue](AlertsBuilder::queue) and a task of its own. So nothing on the request
//! path waits, and a sink that hangs, fails or panics holds up no other. An alert that finds no room is
//! dropped, and one that a sink doesn't take has failed: both are [counted](AlertStats), and notified to the
//! [observer](AlertsBuilder::observer).
//!
//! The tasks are started on first use within a tokio runtime with time. They end with the last clone of
//! [`Alerts`] and its layers. At the end of a program [`flush`](Alerts::flush) what is left. For a status
//! page there are [`firing`](Alerts::firing), [`history`](Alerts::history) and
//! [`objectives`](Alerts::objectives).
//!
//! # Whom it notify
//!
//! | sink | a message | at most | over |
//! |---|---|---|---|
//! | [`Slack`] | up to 10 alerts | one a second | a message |
//! | [`Teams`] | up to 10 alerts, 28 kB | four a second | a message |
//! | [`PagerDuty`] | one alert | 120 a minute | resolves the incident |
//! | [`Opsgenie`] | one alert | | closes the alert |
//! | [`Alertmanager`] | up to 64 alerts | | ends it there |
//! | [`Webhook`] | up to 64 alerts | | a message |
//!
//! For the program's own log give the builder an [observer](AlertsBuilder::observer),
//! `event::TracingObserver`: it writes a line for each alert, at the level of its severity.
//!
//! # What it notify
//!
//! Alerts hold names that you gave, numbers and kinds of failure: never an error's text, a header, a URL
//! or a body. Webhooks and keys are [secrets](Secret) that are never printed. Texts are cut to each
//! service's documented sizes, between what is seen as characters, and escaped so that nothing in them
//! is a mention or a link.

mod alerts;
mod builder;
mod dispatch;
mod layer;
mod lifecycle;
mod measure;
mod message;
mod observation;
mod queue;
mod rule;
mod service;
mod sink;
mod slo;
mod state;

pub use self::alerts::Alerts;
pub use self::builder::AlertsBuilder;
pub use self::layer::AlertLayer;
pub use self::queue::AlertStats;
pub use self::rule::Rule;
pub use self::service::Alerting;
pub use self::service::ResponseFuture;
pub use self::sink::{Alertmanager, Opsgenie, PagerDuty, Secret, Sink, Slack, Teams, Webhook};
pub use self::slo::{BurnRate, Objective, Slo};
pub use crate::event::{Alert, AlertKind, Severity};
