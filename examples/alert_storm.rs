//! A million failing calls and four sinks: one that accepts all alerts, one that wants only critical
//! ones, one that always responds with 429, and one that hangs.
//!
//! ```sh
//! cargo run --release --example alert_storm
//! ```
//!
//! The exit code is 1 if an alert is not accounted for, or if memory grew by more than a tenth after
//! the first 100,000 calls.

use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::Value;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_upstream::alert::{
    AlertLayer, Alerts, Opsgenie, PagerDuty, Rule, Severity, Slack, Slo, Teams,
};

const CALLS: u64 = 1_000_000;
/// The number of calls before memory is first measured: by then every failure has occurred.
const WARM: u64 = 100_000;
const TASKS: u64 = 4;

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let (chat, page) = (Arc::default(), Arc::default());
    let throttles = service_fn(|_: Request<Bytes>| async {
        Ok::<_, BoxError>(Response::builder().status(429).header("retry-after", 1).body(())?)
    });
    let hangs = service_fn(|_: Request<Bytes>| pending::<Result<Response<()>, BoxError>>());
    let alerts = Alerts::builder()
        .service("storm")
        .rule(Rule::error_ratio(0.5).critical())
        .slo(Slo::availability(0.995))
        .sink(Slack::new("https://hooks.slack.test/"), Severity::Info, accepts(&chat, in_slack))
        .sink(PagerDuty::new("key"), Severity::Critical, accepts(&page, |_| 1))
        .sink(Opsgenie::new("key"), Severity::Info, throttles)
        .sink(Teams::new("https://teams.test/"), Severity::Info, hangs)
        // So that some alerts are dropped, and the example ends soon.
        .queue(32)
        .delivery_timeout(Duration::from_millis(500))
        .build()?;

    let times = Arc::new(Times::new());
    storm(&alerts, &times, 0..WARM).await;
    _ = alerts.flush(Duration::from_secs(1)).await;
    let before = resident();
    storm(&alerts, &times, WARM..CALLS).await;
    let after = resident();
    let flushed = alerts.flush(Duration::from_secs(60)).await;

    let kilobytes =
        |size: Option<u64>| size.map_or("unknown".to_owned(), |size| format!("{size} kB"));
    println!("memory after {WARM:>7} calls   {}", kilobytes(before));
    println!("memory after {CALLS:>7} calls   {}", kilobytes(after));
    println!(
        "99.9 % of the calls took      {:?} or less, the layer included",
        times.quantile(0.999)
    );
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (chat, page) = (count(&chat), count(&page));
    println!("alerts received               slack {chat}, pagerduty {page}, opsgenie 0, teams 0");
    let stats = alerts.stats();
    println!(
        "{} offered = {} delivered + {} coalesced + {} dropped + {} failed",
        stats.offered, stats.sent, stats.coalesced, stats.dropped, stats.failed
    );

    // Every call is an alert for the three sinks that want all.
    let sum = stats.sent + stats.coalesced + stats.dropped + stats.failed;
    let adds_up = flushed && stats.offered == sum && stats.offered >= 3 * CALLS;
    let received = chat > 0 && page > 0 && chat + page == stats.sent;
    let grew = before.zip(after).is_some_and(|(before, after)| after > before + before / 10);
    if adds_up && received && !grew {
        return Ok(ExitCode::SUCCESS);
    }
    println!("adds up: {adds_up}; received: {received}; memory grew by more than a tenth: {grew}");
    Ok(ExitCode::FAILURE)
}

/// A service that accepts messages and counts the alerts in them.
fn accepts(
    counter: &Arc<AtomicU64>,
    alerts: fn(&Value) -> usize,
) -> impl Service<Request<Bytes>, Response = Response<()>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ use<> {
    let counter = Arc::clone(counter);
    service_fn(move |message: Request<Bytes>| {
        let received = serde_json::from_slice(message.body()).map(|body| alerts(&body));
        let counter = Arc::clone(&counter);
        async move {
            counter.fetch_add(received?.try_into()?, Ordering::Relaxed);
            Ok(Response::new(()))
        }
    })
}

/// Counts the blocks after the header.
fn in_slack(body: &Value) -> usize {
    body["blocks"].as_array().map_or(0, Vec::len) - 1
}

/// Makes these calls on several threads and records their durations.
async fn storm(alerts: &Alerts, times: &Arc<Times>, calls: std::ops::Range<u64>) {
    // Ninety kinds of failure, each at once.
    let fails = service_fn(|number: Request<u64>| async move {
        let status = 500 + u16::try_from(number.body() % 100)?;
        Ok::<_, BoxError>(Response::builder().status(status.max(502)).body(())?)
    });
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (times, calls) = (Arc::clone(times), calls.clone());
            let mut client = AlertLayer::new(alerts).layer(fails);
            tokio::spawn(async move {
                for number in calls.filter(|number| number % TASKS == task) {
                    let started = Instant::now();
                    _ = client.ready().await?.call(Request::new(number)).await?;
                    times.take(started.elapsed());
                    if number % 1000 < TASKS {
                        tokio::task::yield_now().await;
                    }
                }
                Ok::<_, BoxError>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it doesn't panic").expect("a response");
    }
}

/// How often calls took how long: buckets of 50 ns, the last for all that took longer.
struct Times(Vec<AtomicU64>);

impl Times {
    const BUCKET: u128 = 50;

    fn new() -> Self {
        Self((0..20_000).map(|_| AtomicU64::new(0)).collect())
    }

    fn take(&self, time: Duration) {
        let bucket = usize::try_from(time.as_nanos() / Self::BUCKET).unwrap_or(usize::MAX);
        self.0[bucket.min(self.0.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn quantile(&self, quantile: f64) -> Duration {
        let counts: Vec<_> = self.0.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen as f64 >= all as f64 * quantile
        });
        Duration::from_nanos(50) * u32::try_from(bucket.unwrap_or_default() + 1).unwrap_or(u32::MAX)
    }
}

/// Resident memory in kB, where the system tells it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
