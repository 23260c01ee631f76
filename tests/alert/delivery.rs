//! Alerts and the services that are to take them.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Such as an Alertmanager that restarts, or a network that is being changed.
#[tokio::test(start_paused = true)]
async fn sink_unavailable_for_minutes_receives_alert() {
    for seconds in [1, 5, 30, 240] {
        let (builder, chat, page) = both();
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
        assert_eq!((chat.take().len(), page.take().len()), (1, 1), "away for {seconds} s");
        assert_eq!(alerts.stats().sent, 2);
    }
}

/// A service that refuses with this `Retry-After`, and notes the seconds at which it was asked.
fn refuses(
    status: u16,
    retry_after: &'static str,
    asked_at: &Arc<Mutex<Vec<u64>>>,
) -> impl Service<Request<Bytes>, Response = Response<()>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ use<> {
    let (started, asked_at) = (tokio::time::Instant::now(), Arc::clone(asked_at));
    service_fn(move |_: Request<Bytes>| {
        asked_at.lock().unwrap().push(started.elapsed().as_secs());
        async move {
            let answer = Response::builder().status(status).header("retry-after", retry_after);
            Ok::<_, BoxError>(answer.body(())?)
        }
    })
}

/// Slack takes one message a second, the same one included.
#[tokio::test(start_paused = true)]
async fn sink_retries_keep_min_interval() {
    let asked_at: Arc<Mutex<Vec<u64>>> = Arc::default();
    let alerts = Alerts::builder()
        .sink(slack(), Severity::Info, refuses(503, "", &asked_at))
        .group_wait(Duration::ZERO)
        .build()
        .unwrap();
    call(AlertLayer::new(&alerts).layer_over(upstream(&status(503)))).await;
    flush(&alerts).await;
    let asked_at = asked_at.lock().unwrap();
    assert!(asked_at.len() > 10, "{asked_at:?}");
    assert!(asked_at.windows(2).all(|pair| pair[0] < pair[1]), "{asked_at:?}");
}

/// If the time is longer than one alert may take, the next alert waits for it.
#[tokio::test(start_paused = true)]
async fn sink_retry_after_delays_later_alerts() {
    for (status_now, retry_after, expected) in [
        // Within the time of one alert, that is what it takes.
        (429, "120", vec![1, 121, 241]),
        (503, "1000", vec![1, 1001]),
        // Nobody means a year.
        (429, "31536000", vec![1, 3601]),
    ] {
        let asked_at = Arc::default();
        let busy = refuses(status_now, retry_after, &asked_at);
        let alerts = Alerts::builder().sink(slack(), Severity::Info, busy).build().unwrap();
        for failure in [500, 502, 503, 504] {
            call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
            sleep(SECOND * 5).await;
        }
        sleep(SECOND * 3700).await;
        let asked_at = asked_at.lock().unwrap();
        let close = |(asked, expected): (&u64, &u64)| asked.abs_diff(*expected) <= 15;
        assert!(asked_at.len() >= expected.len(), "{retry_after}: {asked_at:?}");
        assert!(asked_at.iter().zip(&expected).all(close), "{retry_after}: {asked_at:?}");
        adds_up(&alerts);
    }
}

/// Such as one whose key was revoked: the observer hears of each alert that it didn't take.
#[tokio::test(start_paused = true)]
async fn sink_permanent_rejection_is_emitted_once() {
    let (asked_at, events) = (Arc::default(), Arc::new(Mutex::new(Vec::new())));
    let observer = {
        let events = Arc::clone(&events);
        observer_fn(move |event: &Event<'_>| {
            events.lock().unwrap().push(event.to_string());
            assert!(!event.to_string().contains("not delivered: slack"), "an observer panics");
        })
    };
    let builder = Alerts::builder().sink(slack(), Severity::Info, refuses(400, "0", &asked_at));
    let alerts = builder.observer(observer).build().unwrap();
    for (number, failure) in (1..).zip([503, 500]) {
        call(AlertLayer::new(&alerts).layer_over(upstream(&status(failure)))).await;
        flush(&alerts).await;
        assert_eq!(
            (asked_at.lock().unwrap().len(), alerts.stats().failed),
            (number, number as u64)
        );
    }
    let events = events.lock().unwrap();
    let failed = "info alert, call_failed, not delivered: slack did not accept it";
    assert_eq!(events.iter().filter(|events| *events == failed).count(), 2, "{events:?}");
}
