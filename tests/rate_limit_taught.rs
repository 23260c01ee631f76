//! Limits that are learned from responses: in virtual time, against the server of
//! `examples/learned_limits`, and with the headers of known servers.

#![cfg(feature = "rate-limit")]

#[path = "../examples/learned_limits/upstream.rs"]
mod upstream;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout_at};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service, service_fn};
use tower_upstream::hint::Resource;
use tower_upstream::{BoxError, Quota, RateLimitLayer};

use self::upstream::{Upstream, Windows};

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);

type Shared = Arc<Mutex<Upstream>>;

/// Calls from `callers` tasks for a number of windows.
async fn calls(layer: &RateLimitLayer, server: &Shared, callers: u64, windows: u32) {
    let end = Instant::now() + WINDOW * windows;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (mut client, mut random) = (client(layer, server), fastrand::Rng::with_seed(caller));
        tasks.spawn(timeout_at(end, async move {
            loop {
                client.call(Request::new(random.u64(..))).await.unwrap();
            }
        }));
    }
    while let Some(ended) = tasks.join_next().await {
        assert!(ended.unwrap().is_err(), "they go on until their time is over");
    }
}

/// Returns a client with random delays, so that responses arrive out of order.
fn client(
    layer: &RateLimitLayer,
    server: &Shared,
) -> impl Service<Request<u64>, Response = Response<()>, Error = BoxError, Future: Send> + Send + use<>
{
    let server = Arc::clone(server);
    layer.layer(service_fn(move |request: Request<u64>| {
        let server = Arc::clone(&server);
        async move {
            let mut random = fastrand::Rng::with_seed(request.into_body());
            sleep(Duration::from_millis(random.u64(1..30))).await;
            let reply = server.lock().unwrap().arrive();
            sleep(Duration::from_millis(random.u64(1..100))).await;
            Ok::<_, Infallible>(reply)
        }
    }))
}

fn server(windows: Windows, limit: usize) -> Shared {
    Arc::new(Mutex::new(Upstream::new(windows, limit, WINDOW)))
}

fn unknown() -> RateLimitLayer {
    RateLimitLayer::builder(Quota::learned()).max_wait(Duration::MAX).build().unwrap()
}

/// Returns the percentage of calls answered with a 429, and the used percentage of `allowed` calls.
fn shares(server: &Shared, allowed: usize) -> (usize, usize) {
    let server = server.lock().unwrap();
    let (answered, refused) = (server.answered, server.refused);
    (100 * refused / (answered + refused), 100 * answered / allowed)
}

#[tokio::test(start_paused = true)]
async fn learned_limit_follows_responses_alone() {
    for windows in [Windows::Fixed, Windows::Sliding, Windows::SlidingByUnit] {
        for limit in [20, 200] {
            let server = server(windows, limit);
            // Starts in the middle of one of the server's windows.
            advance(SECOND * 4).await;
            calls(&unknown(), &server, 40, 30).await;
            let (refused, used) = shares(&server, 30 * limit);
            assert!(refused < 1 && used > 90, "{windows:?} of {limit}: {refused} % {used} %");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn learned_limit_follows_lowered_and_raised_limit() {
    let kinds = [Windows::Fixed, Windows::Sliding, Windows::SlidingByUnit];
    let quotas = [Quota::learned(), Quota::new(200, WINDOW)];
    for (windows, quota) in
        kinds.into_iter().flat_map(|kind| quotas.clone().map(|quota| (kind, quota)))
    {
        let builder =
            RateLimitLayer::builder(quota.clone()).learn_limits(true).max_wait(Duration::MAX);
        let (server, layer) = (server(windows, 200), builder.build().unwrap());
        calls(&layer, &server, 40, 10).await;
        server.lock().unwrap().set_limit(100);
        calls(&layer, &server, 40, 10).await;
        server.lock().unwrap().set_limit(200);
        calls(&layer, &server, 40, 10).await;
        let (refused, used) = shares(&server, 5_000);
        assert!(refused < 1 && used > 90, "{windows:?}, {quota:?}: {refused} % {used} %");
    }
}

/// A burst that used up all remaining units would make all later calls wait for the end of the
/// window.
#[tokio::test(start_paused = true)]
async fn learned_lower_limit_is_paced_without_long_gaps() {
    for windows in [Windows::Fixed, Windows::Sliding, Windows::SlidingByUnit] {
        let server = server(windows, 100);
        let builder = RateLimitLayer::builder(Quota::new(200, WINDOW)).learn_limits(true);
        let layer = builder.max_wait(Duration::MAX).build().unwrap();
        // The first burst is sent before any response reports a limit.
        calls(&layer, &server, 40, 2).await;
        let (mut longest, mut answered) = (Duration::ZERO, server.lock().unwrap().answered);
        let watched = async {
            let mut since = Instant::now();
            loop {
                sleep(SECOND / 100).await;
                let now = server.lock().unwrap().answered;
                if now > answered {
                    (answered, since) = (now, Instant::now());
                }
                longest = longest.max(since.elapsed());
            }
        };
        tokio::select! {
            () = calls(&layer, &server, 40, 5) => {}
            () = watched => {}
        }
        assert!(longest < WINDOW / 5, "{windows:?}: {longest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn learned_limit_is_shared_by_two_clients() {
    // The length of each ramp-up is random, and with it the result.
    const ROUNDS: u64 = 5;
    let seeded = |seed| {
        RateLimitLayer::builder(Quota::learned())
            .max_wait(Duration::MAX)
            .seed(seed)
            .build()
            .unwrap()
    };
    for windows in [Windows::Fixed, Windows::Sliding, Windows::SlidingByUnit] {
        let mut sum = (0, 0);
        for seed in 0..ROUNDS {
            let server = server(windows, 200);
            tokio::join!(
                calls_owned(seeded(seed), Arc::clone(&server)),
                calls_owned(seeded(ROUNDS + seed), Arc::clone(&server)),
            );
            let (refused, used) = shares(&server, 30 * 200);
            sum = (sum.0 + refused, sum.1 + used);
        }
        let (refused, used) = (sum.0 / ROUNDS as usize, sum.1 / ROUNDS as usize);
        assert!(refused <= 10 && used > 75, "{windows:?}: {refused} % {used} %");
    }
}

/// The same as `calls`, with owned arguments for concurrent tasks.
async fn calls_owned(layer: RateLimitLayer, server: Shared) {
    calls(&layer, &server, 10, 30).await;
}

#[tokio::test(start_paused = true)]
async fn learned_higher_limit_never_exceeds_configured() {
    let server = server(Windows::Fixed, 1_000);
    let quota = Quota::new(50, WINDOW).margin(Duration::ZERO);
    let layer =
        RateLimitLayer::builder(quota).learn_limits(true).max_wait(Duration::MAX).build().unwrap();
    calls(&layer, &server, 40, 10).await;
    assert_eq!(server.lock().unwrap().answered, 10 * 50);
}

/// Why learning is off by default: servers have separate limits for models and endpoints, and a
/// response doesn't state which other calls its limit applies to.
#[tokio::test(start_paused = true)]
async fn learned_limits_of_mixed_calls_use_the_lowest() {
    let mut used = Vec::new();
    for learns in [false, true] {
        let small = server(Windows::Sliding, 20);
        let large = server(Windows::Sliding, 200);
        let quota = Quota::new(220, WINDOW);
        let layer = RateLimitLayer::builder(quota)
            .learn_limits(learns)
            .max_wait(Duration::MAX)
            .build()
            .unwrap();
        // One call in twenty is for the smaller limit: half of what that allows.
        let end = Instant::now() + WINDOW * 20;
        let mut tasks = JoinSet::new();
        for caller in 0..40 {
            let mut to_small = client(&layer, &small);
            let mut to_large = client(&layer, &large);
            let mut random = fastrand::Rng::with_seed(caller);
            tasks.spawn(timeout_at(end, async move {
                loop {
                    let request = Request::new(random.u64(..));
                    if random.u8(..20) == 0 {
                        to_small.call(request).await.unwrap();
                    } else {
                        to_large.call(request).await.unwrap();
                    }
                }
            }));
        }
        while tasks.join_next().await.is_some() {}
        used.push(shares(&large, 20 * 200));
    }
    let [(_, without), (refused, with)] = used[..] else { unreachable!("two of them") };
    assert!(without > 70 && with < 20, "{without} %, {with} % of the larger limit are used");
    assert_eq!(refused, 0);
}

#[tokio::test(start_paused = true)]
async fn learn_limits_off_learns_nothing() {
    let reply = replies("x-ratelimit-remaining: 0\nx-ratelimit-reset: 60");
    for (learns, remaining) in [(true, 0), (false, 59)] {
        let layer =
            RateLimitLayer::builder(Quota::per_minute(60)).learn_limits(learns).build().unwrap();
        layer.layer(service_fn(reply.clone())).call(Request::new(())).await.unwrap();
        assert_eq!(layer.handle().status().remaining, remaining);
    }
}

#[tokio::test(start_paused = true)]
async fn set_quota_learned_requires_learn_limits() {
    let set = |learns| {
        let layer =
            RateLimitLayer::builder(Quota::per_minute(60)).learn_limits(learns).build().unwrap();
        layer.handle().set_quota(Quota::learned())
    };
    assert!(set(true).is_ok());
    assert!(set(false).unwrap_err().to_string().contains("build it with"));
}

#[tokio::test(start_paused = true)]
async fn learned_quota_probes_until_a_response_reports() {
    let silent = replies("content-type: text/plain");
    let layer = unknown();
    let mut client = layer.layer(service_fn(silent));
    let start = Instant::now();
    for _ in 0..5 {
        client.call(Request::new(())).await.unwrap();
    }
    assert_eq!(start.elapsed(), 4 * SECOND);
    let observed = replies("x-ratelimit-remaining: 3\nx-ratelimit-reset: 60");
    let mut client = layer.layer(service_fn(observed));
    let mut calls: Vec<_> =
        (0..10).map(|_| task::spawn(Box::pin(client.call(Request::new(()))))).collect();
    for called in &mut calls {
        assert_pending!(called.poll());
    }
    advance(SECOND).await;
    for called in &mut calls[..4] {
        assert_ready_ok!(called.poll());
    }
    // Each response reports that three remain. Units that were sent since are subtracted.
    assert_eq!(layer.handle().status().remaining, 0);
    assert_pending!(calls[4].poll());
    layer.handle().resume();
    assert_eq!(layer.handle().status().limits[0].limit, u32::MAX);
}

/// Returns a service that responds with these headers.
fn replies(
    head: &str,
) -> impl Fn(Request<()>) -> std::future::Ready<Result<Response<()>, Infallible>> + Clone + use<> {
    let lines: Vec<(String, String)> = head
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    move |_| {
        let mut response = Response::new(());
        for (name, value) in &lines {
            let name: http::HeaderName = name.parse().unwrap();
            response.headers_mut().append(name, value.parse().unwrap());
        }
        std::future::ready(Ok(response))
    }
}

#[tokio::test(start_paused = true)]
async fn learned_limits_of_known_servers() {
    use Resource::{InputTokens, Requests, Tokens};
    // The headers, then the metered resources with their remaining units and limits.
    let table = [
        (
            "x-ratelimit-limit-requests: 60\nx-ratelimit-remaining-requests: 9\n\
             x-ratelimit-reset-requests: 51s\nx-ratelimit-limit-tokens: 150000\n\
             x-ratelimit-remaining-tokens: 149984\nx-ratelimit-reset-tokens: 6ms",
            [(Requests, 9, 60), (Tokens, 999, 1_000)],
        ),
        (
            "date: Sun, 22 Nov 2026 04:51:00 GMT\n\
             anthropic-ratelimit-requests-limit: 50\nanthropic-ratelimit-requests-remaining: 7\n\
             anthropic-ratelimit-requests-reset: 2026-11-22T04:51:40Z\n\
             anthropic-ratelimit-input-tokens-limit: 500\n\
             anthropic-ratelimit-input-tokens-remaining: 100\n\
             anthropic-ratelimit-input-tokens-reset: 2026-11-22T04:51:30Z",
            [(Requests, 7, 50), (InputTokens, 100, 500)],
        ),
        (
            "x-ratelimit-limit-requests: 10\nx-ratelimit-remaining-requests: 2\n\
             x-ratelimit-reset-requests: 10\nx-ratelimit-remaining-tokens: 40\n\
             x-ratelimit-reset-tokens: 30",
            [(Requests, 2, 10), (Tokens, 40, 1_000)],
        ),
        (
            "date: Sun, 22 Nov 2026 04:51:00 GMT\nx-ratelimit-limit: 60\n\
             x-ratelimit-remaining: 56\nx-ratelimit-reset: 1795323660",
            [(Requests, 56, 60), (Tokens, 999, 1_000)],
        ),
        (
            "x-ratelimit-limit: 10, 10;w=60, 1000;w=3600\nx-ratelimit-remaining: 4\n\
             x-ratelimit-reset: 30",
            [(Requests, 4, 10), (Tokens, 999, 1_000)],
        ),
        (
            "ratelimit-policy: \"minute\";q=100;w=60\nratelimit: \"minute\";r=50;t=30",
            [(Requests, 50, 100), (Tokens, 999, 1_000)],
        ),
        (
            "x-ratelimit-limit: many\nx-ratelimit-remaining: -1\nx-ratelimit-reset: soon\n\
             ratelimit: \"a\";r=;t=\nratelimit-policy: ;;\nx-ratelimit-limit-tokens: 0",
            [(Requests, 999, 1_000), (Tokens, 999, 1_000)],
        ),
    ];
    for (head, limits) in table {
        let observed: Vec<_> = limits.iter().map(|(resource, ..)| *resource).collect();
        let layer = RateLimitLayer::builder(Quota::per_hour(1_000).of(observed[0]))
            .and(Quota::per_hour(1_000).of(observed[1]), |_: &Request<()>| 1)
            .learn_limits(true)
            .build()
            .unwrap();
        layer.layer(service_fn(replies(head))).call(Request::new(())).await.unwrap();
        let status = layer.handle().status();
        for (status, (_, remaining, limit)) in status.limits.iter().zip(limits) {
            assert_eq!((status.remaining, status.limit), (remaining, limit), "{head}");
        }
        assert_eq!(status.paused_until, None);
    }
}

/// A client that starts at the end of one of the server's fixed windows.
#[tokio::test(start_paused = true)]
async fn learned_longer_window_does_not_block_for_all_of_it() {
    let start = Instant::now();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    // 60 in each window of 60 s. The first window ends one second after the start.
    let upstream = service_fn(move |_: Request<()>| {
        let reset = match start.elapsed().as_secs() {
            0 => 1,
            passed => 60 - (passed - 1) % 60,
        };
        let before = counted.fetch_add(1, Ordering::SeqCst);
        let remaining = if reset == 1 { 59 } else { 60 - before.min(60) };
        let response = Response::builder()
            .header("x-ratelimit-limit", 60)
            .header("x-ratelimit-remaining", remaining)
            .header("x-ratelimit-reset", reset);
        std::future::ready(response.body(()))
    });
    let layer = RateLimitLayer::builder(Quota::per_minute(60))
        .learn_limits(true)
        .no_wait()
        .build()
        .unwrap();
    let mut client = layer.layer(upstream);
    for _ in 0..2 {
        client.call(Request::new(())).await.unwrap();
    }
    advance(Duration::from_millis(1_200)).await;
    for _ in 0..40 {
        client.call(Request::new(())).await.unwrap();
        advance(SECOND).await;
    }
}

/// A limit below a call's cost would let no call pass, so that no response could report another.
#[tokio::test(start_paused = true)]
async fn learned_small_limit_still_admits_expensive_calls() {
    let observed = replies(
        "x-ratelimit-limit-tokens: 10\nx-ratelimit-remaining-tokens: 10\n\
         x-ratelimit-reset-tokens: 60s",
    );
    let layer = RateLimitLayer::builder(Quota::per_minute(100).of(Resource::Tokens))
        .cost_fn(|_: &Request<()>| 50)
        .learn_limits(true)
        .build()
        .unwrap();
    let mut client = layer.layer(service_fn(observed));
    let start = Instant::now();
    for _ in 0..3 {
        client.call(Request::new(())).await.unwrap();
    }
    // After the first call, one in each of the server's windows, which are 1 % longer here.
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(layer.handle().status().limits[0].limit, 10);
}

#[tokio::test(start_paused = true)]
async fn learned_remaining_ignores_refunded_calls() {
    let (reply, later) = oneshot::channel();
    let later = Arc::new(Mutex::new(Some(later)));
    let observed = replies("x-ratelimit-remaining-requests: 50\nx-ratelimit-reset-requests: 60s");
    let upstream = service_fn(move |request: Request<()>| {
        let (later, observed) = (later.lock().unwrap().take(), observed.clone());
        async move {
            let Some(later) = later else {
                return Err::<_, BoxError>(
                    io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                );
            };
            let () = later.await?;
            Ok(observed(request).await?)
        }
    });
    let layer =
        RateLimitLayer::builder(Quota::per_minute(1_000)).learn_limits(true).build().unwrap();
    let mut client = layer.layer(upstream);
    let mut first = task::spawn(Box::pin(client.call(Request::new(()))));
    assert_pending!(first.poll());
    let mut refused: Vec<_> =
        (0..50).map(|_| task::spawn(Box::pin(client.call(Request::new(()))))).collect();
    for call in &mut refused {
        assert_ready_err!(call.poll());
    }
    assert_eq!(layer.handle().status().remaining, 999);
    reply.send(()).unwrap();
    assert_ready_ok!(first.poll());
    assert_eq!(layer.handle().status().remaining, 50);
}

#[tokio::test(start_paused = true)]
async fn learned_share_of_others_survives_missing_limit() {
    let no_limit = replies("x-ratelimit-remaining-requests: 5\nx-ratelimit-reset-requests: 1s");
    let of_others = replies(
        "x-ratelimit-limit-requests: 10\nx-ratelimit-remaining-requests: 1\n\
         x-ratelimit-reset-requests: 60s",
    );
    let layer = RateLimitLayer::builder(Quota::per_second(100))
        .key_fn(|head| head.header("key"))
        .max_keys(1)
        .learn_limits(true)
        .no_wait()
        .build()
        .unwrap();
    let with_key = |key| Request::builder().header("key", key).body(()).unwrap();
    layer.layer(service_fn(no_limit)).call(with_key("a")).await.unwrap();
    let mut client = layer.layer(service_fn(of_others));
    client.call(with_key("a")).await.unwrap();
    advance(SECOND * 30).await;
    // There is no room for another key.
    client.call(with_key("b")).await.unwrap();
    assert!(client.call(with_key("a")).await.is_ok());
    assert!(client.call(with_key("a")).await.is_err());
}
