//! A paced quota, whose calls mostly take the lock-free path: properties by random and by seed, on
//! paused time and between threads.

#![cfg(feature = "rate-limit")]

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_upstream::{Quota, RateLimitLayer};

const SECOND: Duration = Duration::from_secs(1);

fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}

/// Asserts that burst and rate hold, counted from each call on.
fn conforms(sent: &[Instant], rate: u32, burst: u32) {
    let interval = SECOND.as_nanos() / u128::from(rate);
    for (at, from) in sent.iter().enumerate() {
        for (more, to) in sent[at..].iter().enumerate() {
            let allowed = u128::from(burst) + (*to - *from).as_nanos() / interval;
            assert!((more as u128) < allowed, "{} within {:?}", more + 1, *to - *from);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn paced_refused_and_dropped_calls_conserve_units() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let burst = random.u32(1..6);
        let layer = RateLimitLayer::new(Quota::per_second(1).burst(burst));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let client = layer.layer(service_fn(move |request: Request<bool>| {
            let reply = if request.into_body() {
                Err(refused())
            } else {
                log.lock().unwrap().push(Instant::now());
                Ok(Response::new(()))
            };
            std::future::ready(reply)
        }));
        let mut calls = Vec::new();
        for _ in 0..120 {
            match random.u8(..10) {
                0..5 => {
                    let call = client.clone().oneshot(Request::new(random.u8(..4) == 0));
                    calls.push(tokio::spawn(call));
                }
                5 if !calls.is_empty() => calls.swap_remove(random.usize(..calls.len())).abort(),
                // Locks the state, and lends to the lock-free path again.
                6 => _ = layer.handle().status(),
                _ => sleep(Duration::from_millis(random.u64(1..2_500))).await,
            }
            if random.bool() {
                yield_now().await;
            }
        }
        for call in calls {
            _ = call.await.unwrap();
        }
        conforms(&sent.lock().unwrap(), 1, burst);
        sleep(SECOND * burst).await;
        let status = layer.handle().status();
        assert_eq!((status.remaining, status.waiting), (burst, 0), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn paced_late_refund_after_quota_change_adds_no_burst() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut rate, mut burst, mut since) = (1, 5, 0);
        let layer = RateLimitLayer::builder(Quota::per_second(rate).burst(burst))
            .no_wait()
            .build()
            .unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&sent);
        let client =
            layer.layer(service_fn(move |request: Request<(u32, oneshot::Receiver<bool>)>| {
                let (number, ended) = request.into_body();
                log.lock().unwrap().push((number, Instant::now()));
                async { if ended.await.unwrap() { Err(refused()) } else { Ok(Response::new(())) } }
            }));
        let (mut under_way, mut calls) = (Vec::new(), JoinSet::new());
        for number in 0..60 {
            match random.u8(..40) {
                0..20 => {
                    let (end, ended) = oneshot::channel();
                    under_way.push((number, end));
                    calls.spawn(client.clone().oneshot(Request::new((number, ended))));
                }
                20..28 if !under_way.is_empty() => {
                    let (number, end) = under_way.swap_remove(random.usize(..under_way.len()));
                    let is_unsent = random.bool();
                    if end.send(is_unsent).is_ok() && is_unsent {
                        sent.lock().unwrap().retain(|(other, _)| *other != number);
                    }
                }
                28 => {
                    (rate, burst, since) = (random.u32(1..6), random.u32(1..6), number);
                    layer.handle().set_quota(Quota::per_second(rate).burst(burst)).unwrap();
                }
                _ => sleep(Duration::from_millis(random.u64(1..2_500))).await,
            }
            yield_now().await;
            let sent = sent.lock().unwrap();
            let these = sent.iter().filter(|(number, _)| *number >= since);
            conforms(&these.map(|(_, at)| *at).collect::<Vec<_>>(), rate, burst);
        }
    }
}

#[test]
fn units_on_many_threads_are_conserved() {
    // Nothing is replenished while this runs.
    let day = Quota::new(1, Duration::from_secs(86_400)).burst(1_000);
    let layer = RateLimitLayer::builder(day).no_wait().build().unwrap();
    let service = layer.layer(service_fn(|request: Request<bool>| {
        let is_unsent = request.into_body();
        std::future::ready(if is_unsent { Err(refused()) } else { Ok(Response::new(())) })
    }));
    let sent = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (mut client, handle, sent) = (service.clone(), layer.handle(), &sent);
            scope.spawn(move || {
                for step in 0..1_000 {
                    if step % 50 == 0 {
                        _ = handle.status();
                    }
                    let call = client.call(Request::new((step + thread) % 3 == 0));
                    if let Some(Ok(_)) = call.now_or_never() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!((sent.into_inner(), layer.handle().status().remaining), (1_000, 0));
}
