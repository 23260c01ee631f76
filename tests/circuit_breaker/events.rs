//! What observers hear, and what the totals add up to.

use super::*;

#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order() {
    let log = Log::default();
    let (client, handle) = build(builder().name("eu").observer(log.clone()));
    fails(&client, 3).await;
    rejected(&client).await;
    advance(10 * SECOND).await;
    ask(&client, After(503, 20)).await.unwrap();
    advance(20 * SECOND).await;
    let probe = send_later(&client);
    rejected(&client).await;
    drop(probe);
    passes(&client, 200).await;
    handle.reset();
    fails(&client, 3).await;
    handle.reset();

    assert_eq!(
        log.texts(),
        [
            "circuit eu opened: consecutive failures (status 500), retry in 10.0s",
            "circuit eu rejected a call, retry in 10.0s",
            "circuit eu half-open: probing",
            "circuit eu opened: probe failed (status 503), retry in 20.0s",
            "circuit eu half-open: probing",
            "circuit eu rejected a call",
            "circuit eu closed",
            "circuit eu opened: consecutive failures (status 500), retry in 10.0s",
            "circuit eu closed",
        ]
    );
}

#[test]
fn totals_add_up_over_threads() {
    let layer = CircuitBreakerLayer::builder().consecutive_failures(100_000).build().unwrap();
    let client = Mutex::new(layer.layer(service_fn(reply)));
    std::thread::scope(|scope| {
        for thread in 0..8_u16 {
            let mut client = client.lock().unwrap().clone();
            scope.spawn(move || {
                for step in 0..10_000 {
                    let status = [200, 500, 404, 200][(step + usize::from(thread)) % 4];
                    let ready = client.ready().now_or_never().unwrap().unwrap();
                    let call = ready.call(Request::new(Status(status)));
                    call.now_or_never().unwrap().unwrap();
                }
            });
        }
    });
    let status = layer.handle().status();
    assert_eq!((status.calls, status.successes), (80_000, 40_000));
    assert!((status.success_rate() - 0.5).abs() < 1e-9);
    assert!(status.last_failure.is_some());
}
