//! Alerts and events in the log of `tracing`.

use std::io;

use tower_upstream::alert::Rule;
use tower_upstream::event::TracingObserver;
use tracing::subscriber::DefaultGuard;

use super::*;

/// A writer that keeps the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Installs a log for this thread until the guard is dropped.
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_ansi(false)
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Returns the lines of this crate: clients log too.
    fn lines(&self) -> Vec<String> {
        let written = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = |line: &&str| line.contains("tower_upstream");
        written.lines().map(str::trim).filter(ours).map(str::to_owned).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn log_alert_has_level_of_its_severity() {
    let (log, _guard) = Log::begin();
    let builder = Alerts::builder().service("checkout").observer(TracingObserver::new());
    let alerts = builder.rule(Rule::call_failed().warning()).build().unwrap();
    for failure in [401, 503] {
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
        sleep(Duration::from_secs(600)).await;
    }
    let expected = [
        "ERROR tower_upstream::alert: Credential rejected: status 401 \
         kind=\"credential_rejected\" severity=\"critical\" resolved=false \
         key=checkout/credential_rejected service=checkout",
        "INFO tower_upstream::alert: Resolved: credential no longer rejected after 5 m \
         kind=\"credential_rejected\" severity=\"critical\" resolved=true \
         key=checkout/credential_rejected service=checkout",
        "WARN tower_upstream::alert: Call failed: status 503 \
         kind=\"call_failed\" severity=\"warning\" resolved=false \
         key=checkout/call_failed/status 503 service=checkout",
        "INFO tower_upstream::alert: Resolved: no more calls failed with status 503 after 5 m \
         kind=\"call_failed\" severity=\"warning\" resolved=true \
         key=checkout/call_failed/status 503 service=checkout",
    ];
    assert_eq!(log.lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn log_is_muted_only_with_notified_sink() {
    for (sinks, expected) in [(false, 2), (true, 1)] {
        let (log, _guard) = Log::begin();
        let builder = if sinks { slack_and_pager().0 } else { Alerts::builder() };
        let alerts = builder.observer(TracingObserver::new()).build().unwrap();
        for failure in [401, 503] {
            call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
        }
        flush(&alerts).await;
        let mut lines = log.lines();
        lines.retain(|line| !line.starts_with("DEBUG "));
        assert_eq!(lines.len(), expected, "{lines:?}");
        assert!(lines[0].starts_with("ERROR "), "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn log_undelivered_alert_is_warning_with_sink() {
    let (log, _guard) = Log::begin();
    let (builder, chat, _page) = slack_and_pager();
    chat.status.store(400, Ordering::Relaxed);
    let alerts = builder.observer(TracingObserver::new()).build().unwrap();
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(503)))).await;
    flush(&alerts).await;
    let lines = log.lines();
    assert!(lines[0].starts_with("INFO ") && lines.len() == 2, "{lines:?}");
    let failed = "WARN tower_upstream::alert: info alert, call_failed, not delivered: slack did not accept it ";
    assert!(lines[1].starts_with(failed) && lines[1].ends_with(" sink=\"slack\""), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn log_layer_events_have_their_level() {
    let (log, _guard) = Log::begin();
    let breaker = CircuitBreakerLayer::builder().consecutive_failures(2);
    let breaker = breaker.observer(TracingObserver::new()).build().unwrap();
    let retry = RetryLayer::builder()
        .max_attempts(2)
        .backoff(Backoff::constant(Duration::ZERO))
        .observer(TracingObserver::new())
        .build()
        .unwrap();
    let client = ServiceBuilder::new().layer(retry).layer(breaker).service(upstream(&status(503)));
    call(client).await;
    let lines = log.lines();
    let levels: Vec<_> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let (debug, warn) = ("DEBUG tower_upstream", "WARN tower_upstream");
    assert_eq!(levels, [debug, warn, warn], "{lines:?}");
    assert!(lines[0].contains("attempt 1 failed (status 503): retry at once"), "{lines:?}");
    assert!(lines[1].contains(" opened: "), "{lines:?}");
    assert!(lines[2].contains(": not retried: "), "{lines:?}");
}
