//! People hear what matters, once, and never at the caller's cost.
//!
//! [`Alerts`] hears the [events](crate::event) of the other layers, and, through its
//! [`AlertLayer`], how each call ended for its caller. What is worth an alert is told to
//! [`Slack`], [`PagerDuty`], or a [`Sink`] of yours, through any tower HTTP service that you give.
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
//!     .layer(RetryLayer::new().observer(alerts.observer()))
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
//! [Rules](Rule) say, and objectives ([`Slo`]). By default, [`Rule::standard`]:
//!
//! | what | severity | over when |
//! |---|---|---|
//! | a timeout, or a deadline passed, after more than 3 retries | critical | not seen for 5 minutes |
//! | the credential was refused | critical | not seen for 5 minutes |
//! | the quota is spent (told by your classifier) | critical | not seen for 5 minutes |
//! | no region is healthy | critical | a region is back, or added |
//! | a region is lost | warning | it is back, or removed |
//! | a circuit opened | warning | it closed |
//! | another timeout, a call that failed or was turned away, a pause that the server asked for | information | not seen for 5 minutes |
//!
//! And, where a rule or an objective asks for it:
//!
//! | what | rule | over when |
//! |---|---|---|
//! | too many calls fail | [`Rule::error_ratio`] | few enough do |
//! | the median, or a tail, is too slow | [`Rule::slow_median`], [`Rule::slow_tail`] | it isn't |
//! | calls have no answer | [`Rule::calls_hanging`] | all have |
//! | retries cost too much in a minute | [`Rule::retry_spend`] | they don't |
//! | an objective's error budget is spent too fast | [`Slo`] | it lasts |
//!
//! Not worth one: a success, the request's own fault, a call that its caller dropped, and what
//! a retry or a failover mended. That a retry was in vain is known from its events: give it the
//! observer.
//!
//! # How often
//!
//! An alert waits a [second](AlertsBuilder::group_wait) for what goes with it, and for as long as
//! its rule says that it must [last](Rule::lasting). What is over by then isn't told. Then it is told
//! once; again when it gets more severe, each [hour](AlertsBuilder::repeat_interval) that it lasts,
//! and when it is over. What is resolved and fires again within
//! [5 minutes](AlertsBuilder::settle_time) is held back until then, so that a circuit that opens and
//! closes all the time isn't told each time. That it is over is told to those sinks that were
//! told of it, and to no others; that it is less severe, to those that don't hear of less, as its end.
//!
//! Alerts of a kind that are told at once are one message, where the [sink](Sink::group_size) can.
//! A cause mutes what only follows from it, where it is heard: a lost region the circuits
//! that open in it, all regions lost each of them and the calls that fail, a refused credential all the rest. What goes
//! on when the cause is over is told then; calls must fail again.
//!
//! # What it costs
//!
//! A call that succeeds: its verdict, one counted reference, and, with rules that measure, a
//! count for its thread; with limits on the calls' time also a reading of the clock at its beginning
//! and at its end. One that fails: a lock for a look at what is firing. Windows are sums of sixty
//! buckets that a task fills at each look, so memory and cost don't grow with the calls. Messages
//! wait in a bounded [queue](AlertsBuilder::queue) for a task of each sink's own: nothing on the
//! request path waits, and a sink that hangs, fails or panics holds up nobody, other sinks included.
//! What doesn't fit is dropped, what a sink doesn't take has failed: both are [counted](AlertStats), and
//! told to the [observer](AlertsBuilder::observer).
//!
//! The tasks are started on first use within a tokio runtime with time, and end with the last
//! clone of [`Alerts`] and its layers. At the end of a program [`flush`](Alerts::flush) what is left.
//! For a status page there are [`firing`](Alerts::firing), [`history`](Alerts::history) and
//! [`objectives`](Alerts::objectives).
//!
//! # Whom it tells
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
//! The program's own log is an [observer](AlertsBuilder::observer), `event::TracingObserver`: a line an
//! alert, at the level of its severity.
//!
//! # What it tells
//!
//! Names that you gave, numbers and kinds of failure: never an error's text, a header, a URL
//! or a body. Webhooks and keys are [secrets](Secret) that are never printed. Texts are cut at each
//! service's documented sizes, between what is seen as characters, and mean nothing to it but text.

mod alerts;
mod audience;
mod builder;
mod call;
mod deliver;
mod desk;
mod dispatch;
mod event;
mod future;
mod history;
mod keeper;
mod kind;
mod layer;
mod lifecycle;
mod measure;
mod message;
mod outbox;
mod rule;
mod service;
mod sighting;
mod sink;
mod slo;
mod tally;
mod within;
mod worker;

pub use self::alerts::Alerts;
pub use self::builder::AlertsBuilder;
pub use self::event::{AlertEvent, AlertEventKind};
pub use self::future::ResponseFuture;
pub use self::kind::{AlertKind, Severity};
pub use self::layer::AlertLayer;
pub use self::message::Alert;
pub use self::rule::Rule;
pub use self::service::Alerting;
pub use self::sink::{Alertmanager, Opsgenie, PagerDuty, Secret, Sink, Slack, Teams, Webhook};
pub use self::slo::{BurnRate, Objective, Slo};
pub use self::tally::AlertStats;
