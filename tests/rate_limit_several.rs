//! Several quotas at once, costs that are settled later, quotas that change, and keys of two parts.

#![cfg(feature = "rate-limit")]

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, service_fn};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::hint::Resource;
use tower_upstream::key::{ByAuthority, ByBoth, ByCredential, KeyRef};
use tower_upstream::rate_limit::{CostAboveQuota, RateLimited, RateLimitedReason, Usage};
use tower_upstream::{BoxError, Quota, RateLimitLayer, cause_ref};

const SECOND: Duration = Duration::from_secs(1);

/// A request's body is its estimated cost; a response's body, its real cost.
type Called =
    task::Spawn<Pin<Box<dyn Future<Output = Result<Response<Option<u32>>, BoxError>> + Send>>>;

/// Responds at once with the real cost in the request's body.
async fn reply(request: Request<(u32, Option<u32>)>) -> Result<Response<Option<u32>>, Infallible> {
    Ok(Response::new(request.into_body().1))
}

fn costing(tokens: u32) -> Request<(u32, Option<u32>)> {
    Request::new((tokens, None))
}

fn tokens(request: &Request<(u32, Option<u32>)>) -> u32 {
    request.body().0
}

macro_rules! call {
    ($layer:expr, $request:expr) => {{
        let future: Called = task::spawn(Box::pin($layer.layer(service_fn(reply)).call($request)));
        future
    }};
}

/// Returns a quota of at most `limit` in any ten seconds, without a margin.
fn ten_seconds(limit: u32) -> Quota {
    Quota::new(limit, 10 * SECOND).margin(Duration::ZERO)
}

fn limited(called: &mut Called) -> (Option<String>, RateLimitedReason, Duration) {
    let error = assert_ready_err!(called.poll());
    let limited = cause_ref::<RateLimited>(&*error).expect("a rejection");
    assert!(error.to_string().contains(limited.limit().unwrap_or("pause")), "{error}");
    (limited.limit().map(str::to_owned), limited.reason(), limited.retry_after())
}

// Several quotas.

#[tokio::test(start_paused = true)]
async fn quotas_are_taken_atomically() {
    let layer = RateLimitLayer::builder(ten_seconds(3))
        .and(ten_seconds(100).of(Resource::Tokens), tokens)
        .and(Quota::per_hour(150).margin(Duration::ZERO).named("cents"), tokens)
        .no_wait()
        .build()
        .unwrap();
    let left = || layer.handle().status().limits.iter().map(|limit| limit.remaining).collect();
    let left = || -> Vec<u32> { left() };
    assert_ready_ok!(call!(layer, costing(60)).poll());
    assert_eq!(left(), [2, 40, 90]);
    // A call that one quota rejects takes no units of the others.
    let refused = (Some("tokens".to_owned()), RateLimitedReason::MaxWait, 10 * SECOND);
    assert_eq!(limited(&mut call!(layer, costing(41))), refused);
    assert_eq!(left(), [2, 40, 90]);
    assert_ready_ok!(call!(layer, costing(1)).poll());
    assert_ready_ok!(call!(layer, costing(1)).poll());
    assert_eq!(limited(&mut call!(layer, costing(1))).0.as_deref(), Some("requests"));
    advance(10 * SECOND).await;
    // The quota that is available last determines the wait.
    let (limit, _, after) = limited(&mut call!(layer, costing(95)));
    assert_eq!((limit.as_deref(), after), (Some("cents"), Duration::from_secs(3_590)));
    let error = assert_ready_err!(call!(layer, costing(101)).poll());
    let above = cause_ref::<CostAboveQuota>(&*error).unwrap();
    assert_eq!((above.limit(), above.cost(), above.capacity()), ("tokens", 101, 100));
    let limits = layer.handle().status().limits;
    let names: Vec<_> = limits.iter().map(|limit| &*limit.name).collect();
    assert_eq!(names, ["requests", "tokens", "cents"]);
}

#[tokio::test(start_paused = true)]
async fn queue_call_waiting_for_one_quota_keeps_its_position() {
    let layer =
        RateLimitLayer::builder(ten_seconds(10)).and(ten_seconds(10), tokens).build().unwrap();
    assert_ready_ok!(call!(layer, costing(8)).poll());
    let mut dear = call!(layer, costing(5));
    assert_pending!(dear.poll());
    let mut cheap = call!(layer, costing(1));
    assert_pending!(cheap.poll());
    advance(10 * SECOND).await;
    assert_pending!(cheap.poll());
    assert_ready_ok!(dear.poll());
    assert!(cheap.is_woken());
    assert_ready_ok!(cheap.poll());
    assert_eq!(layer.handle().status().last_wait, Some(10 * SECOND));
    // A waiting call that is dropped leaves no debt.
    let mut dropped = call!(layer, costing(9));
    assert_pending!(dropped.poll());
    drop(dropped);
    assert_ready_ok!(call!(layer, costing(4)).poll());
}

#[tokio::test(start_paused = true)]
async fn queue_zero_cost_request_keeps_fifo_order() {
    let layer = RateLimitLayer::builder(Quota::per_minute(100))
        .and(ten_seconds(10).named("cents"), tokens)
        .max_wait(15 * SECOND)
        .build()
        .unwrap();
    assert_ready_ok!(call!(layer, costing(10)).poll());
    let mut dear = call!(layer, costing(10));
    assert_pending!(dear.poll());
    // The call costs no cents.
    let mut free = call!(layer, costing(0));
    assert_pending!(free.poll());
    advance(10 * SECOND).await;
    assert_ready_ok!(dear.poll());
    assert_ready_ok!(free.poll());
}

// Settling.

fn settling(response: &mut Response<Option<u32>>, usage: Usage) {
    match response.body() {
        Some(used) => usage.settle("tokens", *used).unwrap(),
        None => _ = response.extensions_mut().insert(usage),
    }
}

#[tokio::test(start_paused = true)]
async fn settle_fn_settles_cost_from_response() {
    for quota in [ten_seconds(100), Quota::new(100, 100 * SECOND).burst(100)] {
        let observed = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&observed);
        let layer = RateLimitLayer::builder(Quota::per_minute(1_000))
            .and(quota.of(Resource::Tokens), tokens)
            .settle_fn(settling)
            .observer(observer_fn(move |event: &Event<'_>| {
                if let Event::PermitSettled(event) = event {
                    assert_eq!(event.limit, "tokens");
                    log.lock().unwrap().push((event.charged, event.used));
                }
            }))
            .no_wait()
            .build()
            .unwrap();
        let left = || layer.handle().status().limits[1].remaining;
        // Less than estimated: the excess is refunded.
        assert_ready_ok!(call!(layer, Request::new((50, Some(20)))).poll());
        assert_eq!(left(), 80);
        // More than estimated: the difference is owed.
        assert_ready_ok!(call!(layer, Request::new((10, Some(30)))).poll());
        assert_eq!(left(), 50);
        // More than remains: nothing passes before the debt is replenished.
        assert_ready_ok!(call!(layer, Request::new((50, Some(100)))).poll());
        assert_eq!(left(), 0);
        let (limit, _, after) = limited(&mut call!(layer, costing(1)));
        assert_eq!(limit.as_deref(), Some("tokens"));
        advance(after).await;
        assert_ready_ok!(call!(layer, Request::new((1, Some(1)))).poll());
        let observed = observed.lock().unwrap();
        assert_eq!(observed[..3], [(50, 20), (10, 30), (50, 100)]);
    }
}

#[tokio::test(start_paused = true)]
async fn usage_settled_later_adjusts_units() {
    let layer = RateLimitLayer::builder(ten_seconds(100).of(Resource::Tokens))
        .cost_fn(tokens)
        .settle_fn(settling)
        .build()
        .unwrap();
    let left = || layer.handle().status().remaining;
    let mut response = assert_ready_ok!(call!(layer, costing(60)).poll());
    let usage = response.extensions_mut().remove::<Usage>().unwrap();
    let mut waiting = call!(layer, costing(80));
    assert_pending!(waiting.poll());
    advance(SECOND).await;
    let unknown = usage.settle("cents", 1).unwrap_err();
    assert!(unknown.to_string().contains("name one of: tokens"), "{unknown}");
    usage.settle("tokens", 15).unwrap();
    // The refunded units admit the waiting call.
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!(left(), 5);
    // The last settlement counts.
    usage.settle("tokens", 18).unwrap();
    assert_eq!(left(), 2);
    drop(usage);
    advance(10 * SECOND).await;
    // Without a settlement, the estimate stays spent.
    drop(assert_ready_ok!(call!(layer, costing(60)).poll()));
    assert_eq!(left(), 40);
}

#[tokio::test(start_paused = true)]
async fn usage_settled_after_window_refunds_nothing() {
    for quota in [ten_seconds(10), Quota::new(10, 10 * SECOND).burst(10)] {
        let layer = RateLimitLayer::builder(quota.of(Resource::Tokens))
            .cost_fn(tokens)
            .settle_fn(settling)
            .no_wait()
            .build()
            .unwrap();
        let mut response = assert_ready_ok!(call!(layer, costing(10)).poll());
        let usage = response.extensions_mut().remove::<Usage>().unwrap();
        advance(20 * SECOND).await;
        assert_ready_ok!(call!(layer, costing(10)).poll());
        usage.settle("tokens", 0).unwrap();
        assert_eq!(layer.handle().status().remaining, 0);
        limited(&mut call!(layer, costing(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn settle_fn_before_and_is_called() {
    let layer = RateLimitLayer::builder(ten_seconds(100).of(Resource::Tokens))
        .cost_fn(tokens)
        .settle_fn(settling)
        .and(ten_seconds(100).named("cents"), |_: &Request<_>| 1)
        .build()
        .unwrap();
    assert_ready_ok!(call!(layer, Request::new((10, Some(3)))).poll());
    assert_eq!(layer.handle().status().remaining, 97);
}

#[tokio::test(start_paused = true)]
async fn usage_settles_all_quotas_of_one_resource() {
    let layer = RateLimitLayer::builder(Quota::per_minute(100))
        .and(Quota::per_minute(1_000).of(Resource::Tokens), tokens)
        .and(Quota::per_hour(10_000).of(Resource::Tokens), tokens)
        .settle_fn(settling)
        .build()
        .unwrap();
    assert_ready_ok!(call!(layer, Request::new((10, Some(3)))).poll());
    let left: Vec<_> = layer.handle().status().limits.iter().map(|limit| limit.remaining).collect();
    assert_eq!(left, [99, 997, 9_997]);
}

#[tokio::test(start_paused = true)]
async fn usage_settled_back_owes_nothing() {
    for quota in [ten_seconds(100), Quota::new(100, 10_000 * SECOND).burst(100)] {
        let layer = RateLimitLayer::builder(quota.of(Resource::Tokens))
            .cost_fn(tokens)
            .settle_fn(settling)
            .build()
            .unwrap();
        let mut response = assert_ready_ok!(call!(layer, costing(10)).poll());
        let usage = response.extensions_mut().remove::<Usage>().unwrap();
        for used in [50, 10, 30, 20, 10] {
            advance(SECOND).await;
            usage.settle("tokens", used).unwrap();
            assert_eq!(layer.handle().status().remaining, 100 - used);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn usage_settled_repeatedly_charges_each_part_at_its_time() {
    let layer = RateLimitLayer::builder(ten_seconds(100).of(Resource::Tokens))
        .cost_fn(tokens)
        .settle_fn(settling)
        .build()
        .unwrap();
    let mut response = assert_ready_ok!(call!(layer, costing(10)).poll());
    let usage = response.extensions_mut().remove::<Usage>().unwrap();
    for used in [20, 40, 35, 5, 60] {
        advance(SECOND).await;
        usage.settle("tokens", used).unwrap();
        assert_eq!(layer.handle().status().remaining, 100 - used);
    }
    // The first five are available again. The others were settled five seconds later.
    for (wait, remaining) in [(4, 40), (1, 45), (4, 45), (1, 100)] {
        advance(wait * SECOND).await;
        assert_eq!(layer.handle().status().remaining, remaining);
    }
}

// Quotas that change.

#[tokio::test(start_paused = true)]
async fn set_quota_applies_at_once_and_keeps_spent_units() {
    let layer = RateLimitLayer::builder(ten_seconds(4)).by_credential().build().unwrap();
    let handle = layer.handle();
    for _ in 0..4 {
        assert_ready_ok!(call!(layer, costing(1)).poll());
    }
    let mut waiting = call!(layer, costing(1));
    assert_pending!(waiting.poll());
    // A higher limit: the waiting call passes at once, and no other.
    handle.set_quota(ten_seconds(5)).unwrap();
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll());
    assert_eq!(handle.status().remaining, 0);
    // A lower limit: units that were sent count.
    advance(9 * SECOND).await;
    handle.set_quota(ten_seconds(2)).unwrap();
    let mut waiting = call!(layer, costing(1));
    assert_pending!(waiting.poll());
    advance(SECOND).await;
    assert_ready_ok!(waiting.poll());
    assert_eq!(handle.status().remaining, 1);
    // A limit of zero: the waiting call is rejected.
    assert_ready_ok!(call!(layer, costing(1)).poll());
    let mut waiting = call!(layer, costing(1));
    assert_pending!(waiting.poll());
    handle.set_quota(ten_seconds(0)).unwrap();
    let error = assert_ready_err!(waiting.poll());
    assert!(cause_ref::<CostAboveQuota>(&*error).is_some());
    // It applies to new keys, too.
    let mut request = costing(1);
    request.headers_mut().insert("x-api-key", "new".parse().unwrap());
    assert_ready_err!(call!(layer, request).poll());
    assert!(handle.set_quota(ten_seconds(1).named("others")).is_err());
}

#[tokio::test(start_paused = true)]
async fn set_quota_of_other_kind_adds_no_burst() {
    let paced = || Quota::new(4, 10 * SECOND).burst(4);
    for (before, after) in
        [(ten_seconds(4), paced()), (paced(), ten_seconds(4)), (paced(), paced())]
    {
        let layer = RateLimitLayer::builder(before).no_wait().build().unwrap();
        for _ in 0..3 {
            assert_ready_ok!(call!(layer, costing(1)).poll());
        }
        layer.handle().set_quota(after).unwrap();
        assert_eq!(layer.handle().status().remaining, 1);
        assert_ready_ok!(call!(layer, costing(1)).poll());
        limited(&mut call!(layer, costing(1)));
        advance(10 * SECOND).await;
        assert_eq!(layer.handle().status().remaining, 4);
    }
}

#[tokio::test(start_paused = true)]
async fn set_quota_longer_window_counts_only_sent_units() {
    let layer = RateLimitLayer::new(Quota::per_second(10));
    for _ in 0..2 {
        assert_ready_ok!(call!(layer, costing(1)).poll());
        advance(2 * SECOND).await;
    }
    layer.handle().set_quota(Quota::per_hour(1_000)).unwrap();
    assert_eq!(layer.handle().status().remaining, 998);
    // And no fewer, from window to window.
    for quota in [Quota::per_second(10), Quota::per_hour(1_000)] {
        layer.handle().set_quota(quota).unwrap();
        assert_ready_ok!(call!(layer, costing(1)).poll());
    }
    assert_eq!(layer.handle().status().remaining, 996);
}

#[tokio::test(start_paused = true)]
async fn set_quota_learned_and_back_keeps_sent_units() {
    for quota in [ten_seconds(60), Quota::new(60, 10 * SECOND).burst(60)] {
        let layer =
            RateLimitLayer::builder(quota.clone()).learn_limits(true).no_wait().build().unwrap();
        for _ in 0..58 {
            assert_ready_ok!(call!(layer, costing(1)).poll());
        }
        layer.handle().set_quota(Quota::learned()).unwrap();
        layer.handle().set_quota(quota.clone()).unwrap();
        assert_eq!(layer.handle().status().remaining, 2);
        // Units that are sent meanwhile count, too.
        layer.handle().set_quota(Quota::learned()).unwrap();
        assert_ready_ok!(call!(layer, costing(1)).poll());
        layer.handle().set_quota(quota.clone()).unwrap();
        assert_eq!(layer.handle().status().remaining, 1);
        advance(10 * SECOND).await;
        assert_eq!(layer.handle().status().remaining, 60);
    }
}

#[tokio::test(start_paused = true)]
async fn set_quota_paced_repeatedly_still_replenishes() {
    let quota = |window| Quota::new(2, window * SECOND).burst(2);
    for quotas in [[quota(2), quota(2)], [quota(2), quota(6)]] {
        let layer = RateLimitLayer::new(quotas[0].clone());
        assert_ready_ok!(call!(layer, costing(2)).poll());
        // At one unit a second half of the time, and at a third of that otherwise.
        for quota in quotas.iter().cycle().take(30) {
            layer.handle().set_quota(quota.clone()).unwrap();
            advance(SECOND / 10).await;
        }
        assert_eq!(layer.handle().status().remaining, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn set_quota_other_pace_keeps_used_units() {
    let layer = RateLimitLayer::new(Quota::per_second(1).burst(4));
    assert_ready_ok!(call!(layer, costing(1)).poll());
    assert_ready_ok!(call!(layer, costing(1)).poll());
    advance(SECOND / 2).await;
    // One and a half units are used, of two seconds each.
    layer.handle().set_quota(Quota::per_minute(30).burst(4)).unwrap();
    for (wait, remaining) in [(0, 2), (999, 2), (1, 3), (1_999, 3), (1, 4)] {
        advance(Duration::from_millis(wait)).await;
        assert_eq!(layer.handle().status().remaining, remaining);
    }
}

#[tokio::test(start_paused = true)]
async fn set_quota_without_unit_replaces_requests() {
    let layer = RateLimitLayer::builder(Quota::per_minute(60))
        .and(Quota::per_minute(1_000).of(Resource::Tokens), tokens)
        .build()
        .unwrap();
    layer.handle().set_quota(Quota::per_minute(30)).unwrap();
    let limits: Vec<_> = layer.handle().status().limits.iter().map(|one| one.limit).collect();
    assert_eq!(limits, [30, 1_000]);
}

#[tokio::test(start_paused = true)]
async fn set_quota_ambiguous_name_is_an_error() {
    let layer = RateLimitLayer::builder(Quota::per_minute(60))
        .and(Quota::per_minute(1_000).of(Resource::Tokens), tokens)
        .and(Quota::per_hour(9_000).of(Resource::Tokens), tokens)
        .build()
        .unwrap();
    let tokens = Quota::per_minute(500).of(Resource::Tokens);
    let shared = layer.handle().set_quota(tokens).unwrap_err();
    assert!(shared.to_string().contains("several quotas of tokens"), "{shared}");
    assert_eq!(layer.handle().status().limits[1].limit, 1_000);
}

#[test]
fn set_quota_concurrently_leaves_one_quota_for_all_keys() {
    for _ in 0..1_500 {
        let layer = RateLimitLayer::builder(Quota::per_minute(1)).by_credential().build().unwrap();
        let of_key = |key: u32| {
            let mut request = costing(1);
            request.headers_mut().insert("x-api-key", key.into());
            drop(call!(layer, request));
        };
        (0..50).for_each(of_key);
        let handle = layer.handle();
        std::thread::scope(|scope| {
            for limit in [2, 3] {
                let handle = handle.clone();
                scope.spawn(move || handle.set_quota(Quota::per_minute(limit)).unwrap());
            }
        });
        of_key(50);
        let limits: HashSet<_> = handle.all().iter().map(|one| one.limits[0].limit).collect();
        assert_eq!(limits.len(), 1, "{limits:?}");
    }
}

// Time.

#[tokio::test(start_paused = true)]
async fn suspended_process_sends_at_most_its_quota_afterwards() {
    for quota in [ten_seconds(5), Quota::new(5, 10 * SECOND).burst(5)] {
        let layer = RateLimitLayer::builder(quota).max_wait(Duration::MAX).build().unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let (mut client, sent) = (layer.layer(service_fn(reply)), Arc::clone(&sent));
            tasks.spawn(async move {
                client.call(costing(1)).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            });
        }
        for expected in [5, 10] {
            // Busy, so that the paused clock stands still.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(sent.load(Ordering::Relaxed), expected);
            // Suspended for an hour, in one jump.
            advance(3_600 * SECOND).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttle_gate_ramp_up_differs_between_processes() {
    let mut all = Vec::new();
    for seed in 0..20 {
        let layer = RateLimitLayer::builder(Quota::per_minute(1_000)).seed(seed).build().unwrap();
        let refuse = service_fn(|_: Request<()>| async {
            Response::builder().status(429).header("retry-after", 10).body(())
        });
        let start = Instant::now();
        layer.layer(refuse).call(Request::new(())).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let mut client = layer.layer(service_fn(reply));
            tasks.spawn(async move {
                client.call(costing(1)).await.unwrap();
                Instant::now() - start
            });
        }
        let mut passed = tasks.join_all().await;
        passed.sort();
        // One call at first, and at most twice as many in each next step.
        assert_eq!(passed[0], 10 * SECOND);
        assert!(passed[1] >= 10 * SECOND + SECOND / 4, "{:?}", passed[1]);
        assert!(passed[99] - passed[49] >= SECOND / 5);
        assert!(passed[199] <= 15 * SECOND);
        all.push(passed[199]);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 15, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn max_keys_keeps_key_during_its_ramp_up() {
    let layer =
        RateLimitLayer::builder(Quota::per_second(10)).by_credential().max_keys(1).no_wait();
    let layer = layer.build().unwrap();
    let of_key = |key: &'static str| {
        let mut request = costing(1);
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        request
    };
    let refuse = service_fn(|_: Request<(u32, Option<u32>)>| async {
        Response::builder().status(429).header("retry-after", 60).body(None::<u32>)
    });
    layer.layer(refuse).call(of_key("a")).await.unwrap();
    advance(60 * SECOND).await;
    assert_ready_ok!(call!(layer, of_key("b")).poll());
    // One call passes as the gate opens, and no other, whichever keys are used meanwhile.
    assert_ready_ok!(call!(layer, of_key("a")).poll());
    assert_eq!(limited(&mut call!(layer, of_key("a"))).0, None);
}

// Keys.

#[tokio::test(start_paused = true)]
async fn key_of_credential_and_host_separates_quotas() {
    let layer = RateLimitLayer::builder(ten_seconds(1))
        .key(ByBoth(ByCredential, ByAuthority))
        .no_wait()
        .build()
        .unwrap();
    let request = |key: &'static str, uri: &str| {
        Request::builder().header("x-api-key", key).uri(uri).body((1, None)).unwrap()
    };
    for (key, uri) in
        [("a", "http://x/"), ("a", "http://y/"), ("b", "http://x/"), ("b", "http://y/")]
    {
        assert_ready_ok!(call!(layer, request(key, uri)).poll());
        limited(&mut call!(layer, request(key, uri)));
    }
    let key = KeyRef::both(KeyRef::secret(b"a"), KeyRef::text("y"));
    let status = layer.handle().status_of(&key).unwrap();
    assert_eq!(status.remaining, 0);
    assert!(
        status.name.starts_with("upstream/#") && status.name.ends_with("/y"),
        "{}",
        status.name
    );
    assert_eq!(layer.handle().all().len(), 5);
    assert_ready!(call!(layer, costing(1)).poll()).unwrap();
}
