//! Delivery of alerts to sinks that are unavailable or reject them.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Such as an Alertmanager that restarts.
#[tokio::test(start_paused = true)]
async fn sink_unavailable_for_minutes_receives_alert() {
    for seconds in [1, 5, 30, 240] {
        let (builder, chat, page) = slack_and_pager();
        let alerts = builder.build().unwrap();
        for receiver in [&chat, &page] {
            receiver.status.store(503, Ordering::Relaxed);
        }
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(401)))).await;
        sleep(SECOND * seconds).await;
        for receiver in [&chat, &page] {
            receiver.status.store(200, Ordering::Relaxed);
        }
        sleep(SECOND * 15).await;
        assert_eq!((chat.take().len(), page.take().len()), (1, 1), "unavailable for {seconds} s");
        assert_eq!(alerts.stats().sent, 2);
    }
}

/// A service that responds with this status and `Retry-After`, and records the seconds of its requests.
fn rejecting(
    status: u16,
    retry_after: &'static str,
    requested_at: &Arc<Mutex<Vec<u64>>>,
) -> impl Service<Request<Bytes>, Response = Response<()>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ use<> {
    let (started, requested_at) = (tokio::time::Instant::now(), Arc::clone(requested_at));
    service_fn(move |_: Request<Bytes>| {
        requested_at.lock().unwrap().push(started.elapsed().as_secs());
        async move {
            let response = Response::builder().status(status).header("retry-after", retry_after);
            Ok::<_, BoxError>(response.body(())?)
        }
    })
}

/// Slack accepts one request a second, repeated ones included.
#[tokio::test(start_paused = true)]
async fn sink_retries_keep_min_interval() {
    let requested_at: Arc<Mutex<Vec<u64>>> = Arc::default();
    let alerts = Alerts::builder()
        .sink(slack(), Severity::Info, rejecting(503, "", &requested_at))
        .group_wait(Duration::ZERO)
        .build()
        .unwrap();
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(503)))).await;
    flush(&alerts).await;
    let requested_at = requested_at.lock().unwrap();
    assert!(requested_at.len() > 10, "{requested_at:?}");
    assert!(requested_at.windows(2).all(|pair| pair[0] < pair[1]), "{requested_at:?}");
}

/// If the requested pause exceeds the delivery timeout, the next alert waits for it.
#[tokio::test(start_paused = true)]
async fn sink_retry_after_delays_later_alerts() {
    for (status_now, retry_after, expected) in [
        // Within the delivery timeout the request is repeated.
        (429, "120", vec![1, 121, 241]),
        (503, "1000", vec![1, 1001]),
        // A year is assumed to be an error.
        (429, "31536000", vec![1, 3601]),
    ] {
        let requested_at = Arc::default();
        let busy = rejecting(status_now, retry_after, &requested_at);
        let alerts = Alerts::builder().sink(slack(), Severity::Info, busy).build().unwrap();
        for failure in [500, 502, 503, 504] {
            call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
            sleep(SECOND * 5).await;
        }
        sleep(SECOND * 3700).await;
        let requested_at = requested_at.lock().unwrap();
        let close = |(requested, expected): (&u64, &u64)| requested.abs_diff(*expected) <= 15;
        assert!(requested_at.len() >= expected.len(), "{retry_after}: {requested_at:?}");
        assert!(requested_at.iter().zip(&expected).all(close), "{retry_after}: {requested_at:?}");
        assert_adds_up(&alerts);
    }
}

/// Such as a sink whose key was revoked: each undelivered alert is emitted.
#[tokio::test(start_paused = true)]
async fn sink_permanent_rejection_is_emitted_once() {
    let (requested_at, events) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
    let observer = {
        let events = Arc::clone(&events);
        observer_fn(move |event: &Event<'_>| {
            events.lock().unwrap().push(event.to_string());
            assert!(!event.to_string().contains("not delivered: slack"), "an observer panics");
        })
    };
    let builder =
        Alerts::builder().sink(slack(), Severity::Info, rejecting(400, "0", &requested_at));
    let alerts = builder.observer(observer).build().unwrap();
    for (number, failure) in (1..).zip([503, 500]) {
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
        flush(&alerts).await;
        assert_eq!(
            (requested_at.lock().unwrap().len(), alerts.stats().failed),
            (number, number as u64)
        );
    }
    let events = events.lock().unwrap();
    let failed = "info alert, call_failed, not delivered: slack did not accept it";
    assert_eq!(events.iter().filter(|event| *event == failed).count(), 2, "{events:?}");
}
