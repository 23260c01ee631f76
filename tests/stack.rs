//! The recommended stack: all five layers from one builder.
#![cfg(feature = "upstream")]

#[path = "../examples/scenario/circuit_breaker_consecutive.rs"]
mod circuit_breaker_consecutive;
#[path = "../examples/scenario/circuit_breaker_leaky.rs"]
mod circuit_breaker_leaky;
#[path = "../examples/scenario/retry_brief.rs"]
mod retry_brief;
#[path = "../examples/scenario/retry_patient.rs"]
mod retry_patient;
#[path = "../examples/scenario/upstream_team_1.rs"]
mod upstream_team_1;
#[path = "../examples/scenario/upstream_team_2.rs"]
mod upstream_team_2;

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::timeout::TimeoutLayer;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::alert::{AlertKind, Alerts};
use tower_upstream::circuit_breaker::{CircuitOpen, CircuitState};
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{FailoverBuilder, Region, Regions, ServingRegion};
use tower_upstream::key::KeyRef;
use tower_upstream::retry::{DeadlineExceeded, HintUse, Override, RetryBudget};
use tower_upstream::stack::UpstreamBuilder;
use tower_upstream::{BoxError, Quota, UpstreamLayer, cause_ref, check};

type Replies = Result<Response<()>, BoxError>;

fn status(status: u16) -> Replies {
    Ok(Response::builder().status(status).body(())?)
}

fn regions() -> Regions {
    Regions::new([
        Region::new("west", "https://west.example.com/v1").priority(1),
        Region::new("east", "https://east.example.com/v1").priority(2),
        Region::new("south", "https://south.example.com/v1").priority(3),
    ])
    .unwrap()
}

fn get() -> Request<()> {
    Request::get("/models").header("authorization", "Bearer key").body(()).unwrap()
}

/// The URIs that were called.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn note(&self, request: &Request<()>) {
        self.0.lock().unwrap().push(request.uri().to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_that_hangs_costs_one_attempts_time_and_then_nothing() {
    let seen = Seen::default();
    let upstream = UpstreamLayer::builder()
        .attempt_timeout(Duration::from_secs(10))
        .regions(regions())
        .build()
        .unwrap();
    let client = {
        let seen = seen.clone();
        upstream.over(service_fn(move |request: Request<()>| {
            seen.note(&request);
            async move {
                if request.uri().host() == Some("west.example.com") {
                    std::future::pending::<()>().await;
                }
                status(200)
            }
        }))
    };
    let start = Instant::now();
    for _ in 0..5 {
        let reply = client.clone().oneshot(get()).await.unwrap();
        assert_eq!(reply.status(), 200);
    }
    assert_eq!(start.elapsed(), Duration::from_secs(10));
    let west = |uri: &String| uri.starts_with("https://west.example.com/v1/models");
    assert_eq!(seen.take().iter().filter(|uri| west(uri)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn circuits_bear_the_names_of_the_stack_and_the_region() {
    let upstream = UpstreamLayer::builder()
        .name("provider")
        .circuit_breaker(|breaker| breaker.consecutive_failures(1))
        .regions(regions())
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(500) }));
    client.oneshot(get()).await.unwrap();
    let circuits = upstream.circuit_breaker().all();
    let open = circuits.iter().filter(|circuit| circuit.state == CircuitState::Open);
    let mut names: Vec<_> = open.map(|circuit| circuit.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["provider/east", "provider/south", "provider/west"]);
}

#[tokio::test(start_paused = true)]
async fn the_status_of_the_circuits_is_that_of_the_worst_region() {
    let upstream = UpstreamLayer::builder()
        .name("provider")
        .circuit_breaker(|breaker| breaker.consecutive_failures(1))
        .regions(regions())
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|request: Request<()>| async move {
        status(if request.uri().host() == Some("west.example.com") { 500 } else { 200 })
    }));
    client.oneshot(get()).await.unwrap();
    let worst = upstream.circuit_breaker().status();
    assert_eq!((&*worst.name, worst.state), ("provider/west", CircuitState::Open));
    let east = upstream.circuit_breaker().status_of(&KeyRef::text("east")).unwrap();
    assert_eq!(east.state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_latches_no_credential() {
    let upstream =
        UpstreamLayer::builder().circuit_breaker(|breaker| breaker.no_latch()).build().unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(401) }));
    for _ in 0..10 {
        assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 401);
    }
    assert!(upstream.circuit_breaker().latched().is_empty());
}

/// How the circuits are after callers that wait for 5 s each have given up on a client that hangs.
async fn given_up_on(upstream: UpstreamLayer) -> CircuitState {
    let hangs = service_fn(|_: Request<()>| std::future::pending::<Replies>());
    let client = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(5)))
        .service(upstream.over(hangs));
    for _ in 0..5 {
        client.clone().oneshot(get()).await.unwrap_err();
    }
    upstream.circuit_breaker().status().state
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_before_an_attempt_does_open_a_circuit_that_is_notified_how_long_is_too_long()
 {
    let notified_nothing = UpstreamLayer::builder().build().unwrap();
    assert_eq!(given_up_on(notified_nothing).await, CircuitState::Closed);
    let observed = UpstreamLayer::builder()
        .circuit_breaker(|breaker| breaker.abandoned_after(Duration::from_secs(3)))
        .build()
        .unwrap();
    assert_eq!(given_up_on(observed).await, CircuitState::Open);
}

/// Otherwise a few callers with very short deadlines would lose one region after another for all.
#[tokio::test(start_paused = true)]
async fn a_request_with_little_time_says_nothing_of_the_upstream() {
    let upstream = UpstreamLayer::builder().regions(regions()).build().unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        status(200)
    }));
    for _ in 0..20 {
        let mut hasty = get();
        hasty.extensions_mut().insert(Override::new().deadline(Duration::from_millis(10)));
        let error = client.clone().oneshot(hasty).await.unwrap_err();
        assert!(cause_ref::<DeadlineExceeded>(&*error).is_some(), "{error}");
    }
    assert_eq!(upstream.circuit_breaker().status().failure_count, 0);
    let all = upstream.failover().unwrap().status();
    assert!(all.iter().all(|region| region.healthy), "{all:?}");
}

/// Time in our own queue doesn't count against the upstream.
#[tokio::test(start_paused = true)]
async fn a_call_that_queued_until_its_deadline_says_nothing_of_the_upstream() {
    let secs = Duration::from_secs;
    let upstream = UpstreamLayer::builder()
        .deadline(secs(60))
        .quota(Quota::new(1, secs(50)))
        .regions(regions())
        .build()
        .unwrap();
    let client = upstream.over(service_fn(move |_: Request<()>| async move {
        tokio::time::sleep(secs(15)).await;
        status(200)
    }));
    // The second call is sent about ten seconds before its deadline.
    let [first, second] = [(); 2].map(|()| tokio::spawn(client.clone().oneshot(get())));
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
    let error = second.await.unwrap().unwrap_err();
    assert!(cause_ref::<DeadlineExceeded>(&*error).is_some(), "{error}");
    let all = upstream.failover().unwrap().status();
    assert!(all.iter().all(|region| region.healthy), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn without_regions_there_is_a_circuit_a_host() {
    let upstream = UpstreamLayer::builder().build().unwrap();
    assert!(upstream.failover().is_none());
    let client = upstream.over(service_fn(|_: Request<()>| async { status(200) }));
    let request = Request::get("https://api.example.com/v1/models").body(()).unwrap();
    client.oneshot(request).await.unwrap();
    let names: Vec<_> =
        upstream.circuit_breaker().all().iter().map(|c| c.name.to_string()).collect();
    assert!(names.contains(&"upstream/api.example.com".to_owned()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn each_credential_has_its_quota() {
    let upstream = UpstreamLayer::builder()
        .quota(Quota::per_minute(2))
        .rate_limit(|limit| limit.no_wait())
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(200) }));
    let call = |key: &'static str| {
        let request = Request::get("/").header("x-api-key", key).body(()).unwrap();
        client.clone().oneshot(request)
    };
    assert!(call("a").await.is_ok() && call("a").await.is_ok());
    assert!(call("a").await.is_err());
    assert!(call("b").await.is_ok());
    let limits = upstream.rate_limit().all();
    assert!(limits.iter().any(|limiter| limiter.remaining == 0), "{limits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_quota_keeps_the_rate_limits_other_settings() {
    let upstream = UpstreamLayer::builder()
        .rate_limit(|limit| limit.by_authority().cost_fn(|_: &Request<()>| 2).no_wait())
        .quota(Quota::per_minute(4))
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(200) }));
    let call = |host: &str| {
        client.clone().oneshot(Request::get(format!("http://{host}/")).body(()).unwrap())
    };
    assert!(call("a").await.is_ok() && call("a").await.is_ok());
    assert!(call("a").await.is_err(), "two calls cost four, and a third doesn't wait");
    assert!(call("b").await.is_ok(), "another host's quota");
}

#[tokio::test(start_paused = true)]
async fn changes_to_the_rate_limit_add_up() {
    let upstream = UpstreamLayer::builder()
        .quota(Quota::per_minute(1))
        .rate_limit(|limit| limit.no_wait())
        .rate_limit(|limit| limit.max_pause(Duration::MAX))
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(200) }));
    assert!(client.clone().oneshot(get()).await.is_ok());
    let start = Instant::now();
    assert!(client.oneshot(get()).await.is_err(), "the quota is used up");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

/// How many regions a call tries where all of them reply 500.
async fn tried(builder: UpstreamBuilder) -> usize {
    let seen = Seen::default();
    let noted = seen.clone();
    let client = builder.build().unwrap().over(service_fn(move |request: Request<()>| {
        noted.note(&request);
        async { status(500) }
    }));
    client.oneshot(get()).await.unwrap();
    let hosts: HashSet<_> = seen.take().into_iter().collect();
    hosts.len()
}

#[tokio::test(start_paused = true)]
async fn regions_keep_the_failovers_other_settings() {
    let builder = UpstreamLayer::builder();
    assert_eq!(tried(builder.clone().regions(regions())).await, 3);
    let twice = |failover: FailoverBuilder| failover.max_attempts(2).cooldown(Duration::ZERO);
    assert_eq!(tried(builder.failover(twice).regions(regions())).await, 2);
}

#[tokio::test(start_paused = true)]
async fn changes_to_the_failover_add_up() {
    let builder = UpstreamLayer::builder()
        .regions(regions())
        .failover(|failover| failover.max_attempts(2))
        .failover(|failover| failover.cooldown(Duration::ZERO));
    assert_eq!(tried(builder).await, 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_quota_too_a_429_stops_all_calls_of_its_key_until_its_hint() {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let upstream = UpstreamLayer::builder().build().unwrap();
    let client = {
        let sent = Arc::clone(&sent);
        upstream.over(service_fn(move |_: Request<()>| {
            let at = start.elapsed();
            sent.lock().unwrap().push(at);
            async move {
                let limited = at < Duration::from_secs(30);
                let reply = Response::builder().status(if limited { 429 } else { 200 });
                Ok::<_, BoxError>(reply.header("retry-after", "30").body(())?)
            }
        }))
    };
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(tokio::spawn(client.clone().oneshot(get())));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let early = |sent: &[Duration]| sent.iter().filter(|at| at.as_secs() < 30).count();
    assert_eq!(early(&sent.lock().unwrap()), 1);
}

#[tokio::test(start_paused = true)]
async fn several_quotas_in_the_recommended_stack() {
    let upstream = UpstreamLayer::builder()
        .quota(Quota::per_minute(60))
        .rate_limit(|limit| {
            limit.and(Quota::per_minute(100).named("tokens"), |_: &Request<()>| 40).no_wait()
        })
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(200) }));
    assert!(client.clone().oneshot(get()).await.is_ok());
    assert!(client.clone().oneshot(get()).await.is_ok());
    assert!(client.oneshot(get()).await.is_err(), "120 tokens are more than 100");
}

#[tokio::test(start_paused = true)]
async fn one_closure_changes_the_verdict_for_every_layer() {
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    // This provider says 418 when it is overloaded.
    let upstream = UpstreamLayer::builder()
        .classify_fn(|outcome| match outcome.status() {
            Some(status) if status == 418 => tower_upstream::classify::Verdict::overloaded(),
            _ => outcome.verdict(),
        })
        .circuit_breaker(|breaker| breaker.consecutive_failures(3))
        .build()
        .unwrap();
    let client = upstream.over(service_fn(move |_: Request<()>| {
        *counted.lock().unwrap() += 1;
        async { status(418) }
    }));
    assert_eq!(client.oneshot(get()).await.unwrap().status(), 418);
    assert_eq!(*calls.lock().unwrap(), 3, "the retry went by it");
    let state = upstream.circuit_breaker().status().state;
    assert_eq!(state, CircuitState::Open, "and so did the breaker");
}

#[tokio::test(start_paused = true)]
async fn alerts_and_observers_receive_every_layer_and_parts_keep_their_own() {
    let alerts = Alerts::builder().build().unwrap();
    let kinds = || Arc::new(Mutex::new(Vec::new()));
    let (all, own) = (kinds(), kinds());
    let note = |kinds: &Arc<Mutex<Vec<&'static str>>>| {
        let kinds = Arc::clone(kinds);
        observer_fn(move |event: &Event<'_>| {
            kinds.lock().unwrap().push(event.name());
        })
    };
    let upstream = UpstreamLayer::builder()
        .alerts(&alerts)
        .observer(note(&all))
        .retry(|retry| retry.observer(note(&own)))
        .quota(Quota::per_minute(2))
        .regions(regions())
        .failover(|failover| failover.cooldown(Duration::from_secs(300)))
        .circuit_breaker(|breaker| breaker.consecutive_failures(1))
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| async { status(500) }));
    client.oneshot(get()).await.unwrap();
    assert!(alerts.flush(Duration::from_secs(5)).await);
    let all = all.lock().unwrap();
    for kind in ["RetryDecided", "CircuitChanged", "RegionChanged", "LimitWaiting"] {
        assert!(all.contains(&kind), "{kind} in {all:?}");
    }
    assert!(own.lock().unwrap().iter().all(|kind| *kind == "RetryDecided"));
    assert!(!own.lock().unwrap().is_empty());
    let observed: Vec<_> = alerts.history().iter().map(|alert| alert.kind).collect();
    assert!(observed.contains(&AlertKind::AllRegionsOut), "{observed:?}");
    assert!(upstream.alerts().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_a_region() {
    let upstream = UpstreamLayer::builder().regions(regions()).build().unwrap();
    let client = upstream
        .services(|region| {
            let region = region.name();
            service_fn(move |_: Request<()>| async move {
                if region == "south" { status(200) } else { status(503) }
            })
        })
        .unwrap();
    let client = check::<Request<()>, _>(client);
    assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(client.oneshot(get()).await.unwrap().status(), 200);

    let refused = UpstreamLayer::builder().build().unwrap().services(|_| ()).unwrap_err();
    assert!(refused.to_string().contains(".regions("), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_none_replies_ends_by_the_deadline() {
    let hangs = || service_fn(|_: Request<()>| std::future::pending::<Replies>());
    let secs = Duration::from_secs;
    let patient = || {
        UpstreamLayer::builder()
            .retry(|retry| retry.max_attempts(9).no_budget())
            .circuit_breaker(|breaker| breaker.consecutive_failures(99))
    };
    for (builder, expected) in [
        (patient(), 120),
        (patient().deadline(secs(50)), 50),
        (patient().retry(|retry| retry.deadline(secs(45))), 45),
    ] {
        let upstream = builder.build().unwrap();
        let start = Instant::now();
        let error = upstream.over(hangs()).oneshot(get()).await.unwrap_err();
        let ended = start.elapsed();
        assert!(
            ended <= Duration::from_secs(expected) && ended > Duration::from_secs(expected - 31),
            "{ended:?} of {expected}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_order_of_setters_does_not_matter() {
    for swapped in [false, true] {
        let judge = |outcome: tower_upstream::classify::Outcome<'_>| match outcome.status() {
            Some(status) if status == 418 => tower_upstream::classify::Verdict::overloaded(),
            _ => outcome.verdict(),
        };
        let calls = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&calls);
        let inner = service_fn(move |_: Request<()>| {
            *counted.lock().unwrap() += 1;
            async { status(418) }
        });
        let builder = UpstreamLayer::builder();
        let reply = if swapped {
            let builder = builder.retry(|retry| retry.max_attempts(4)).classify_fn(judge);
            builder.build().unwrap().over(inner).oneshot(get()).await
        } else {
            let builder = builder.classify_fn(judge).retry(|retry| retry.max_attempts(4));
            builder.build().unwrap().over(inner).oneshot(get()).await
        };
        assert_eq!(reply.unwrap().status(), 418);
        assert_eq!(*calls.lock().unwrap(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_setting_of_the_breaker_leaves_a_circuit_a_region() {
    let upstream = UpstreamLayer::builder()
        .circuit_breaker(|breaker| breaker.open_for(Duration::from_secs(10)))
        .regions(regions())
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|request: Request<()>| async move {
        status(if request.uri().host() == Some("west.example.com") { 500 } else { 200 })
    }));
    for _ in 0..20 {
        assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_serving_region_is_in_the_response_in_both_forms() {
    let upstream = UpstreamLayer::builder().regions(regions()).build().unwrap();
    let observed =
        service_fn(|_: Request<()>| async { status(200) }).map_response(ServingRegion::insert_into);
    let west = Some(&ServingRegion("west"));
    let reply = upstream.over(observed.clone()).oneshot(get()).await.unwrap();
    assert_eq!(reply.extensions().get(), west);
    let each = upstream.services(|_| observed.clone()).unwrap();
    assert_eq!(each.oneshot(get()).await.unwrap().extensions().get(), west);
}

#[test]
fn what_cannot_work_together_is_refused() {
    let secs = Duration::from_secs;
    let refused = |what: &str, built: Result<UpstreamLayer, _>| {
        let error: tower_upstream::InvalidConfig = built.expect_err(what);
        assert!(error.to_string().contains(what), "{error}");
    };
    let builder = UpstreamLayer::builder;
    refused("lower attempt_timeout", builder().deadline(secs(30)).build());
    refused(
        "set it once",
        builder().retry(|retry| retry.attempt_timeout(secs(5))).attempt_timeout(secs(6)).build(),
    );
    refused(
        "max_attempts",
        builder().circuit_breaker(|breaker| breaker.consecutive_failures(2)).build(),
    );
    // Attempts in several regions go through one circuit if that is the key.
    refused(
        "max_attempts",
        builder()
            .regions(regions())
            .circuit_breaker(|breaker| breaker.consecutive_failures(1).by_credential())
            .retry(|retry| retry.max_attempts(3))
            .build()
            .map(|_| UpstreamLayer::builder().build().unwrap()),
    );
    let brief =
        |builder: UpstreamBuilder| builder.rate_limit(|limit| limit.max_pause(secs(5))).build();
    refused("raise max_pause", brief(builder()));
    // A retry that ignores hints waits for none.
    let _ = brief(builder().retry(|retry| retry.hint(HintUse::Ignore))).unwrap();
    // The stack refuses what one of its layers refuses.
    let nine = |builder: UpstreamBuilder| builder.failover(|failover| failover.max_attempts(9));
    refused("a call tries", nine(builder().regions(regions())).build());
    refused("give the builder `.regions(..)`", nine(builder()).build());
    refused(
        "failures",
        builder().circuit_breaker(|breaker| breaker.consecutive_failures(0)).build(),
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_timeout_of_the_retry_goes_below_the_breaker() {
    let upstream = UpstreamLayer::builder()
        .retry(|retry| retry.max_attempts(1).attempt_timeout(Duration::from_secs(5)))
        .circuit_breaker(|breaker| breaker.consecutive_failures(1))
        .build()
        .unwrap();
    let client = upstream.over(service_fn(|_: Request<()>| std::future::pending::<Replies>()));
    let start = Instant::now();
    client.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let error = client.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some(), "the breaker saw the timeout");
}

#[tokio::test(start_paused = true)]
async fn the_policies_written_by_hand_are_stacks_too() {
    let refuses = || {
        service_fn(|_: Request<()>| async {
            Err::<Response<()>, _>(io::Error::from(io::ErrorKind::ConnectionRefused))
        })
    };
    // Retry A: 1, 2, 4, 8 s and up to a second each; then Breaker A is open for 30 s.
    let a = upstream_team_1::upstream().build().unwrap();
    let client = a.over(refuses());
    let start = Instant::now();
    client.clone().oneshot(get()).await.unwrap_err();
    let took = start.elapsed().as_secs_f64();
    assert!((15.0..=19.0).contains(&took), "{took}");
    let error = client.oneshot(get()).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*error).is_some());

    // Retry B: 2 s, 2 s; Breaker B opens at 10.
    let b = upstream_team_2::upstream().build().unwrap();
    let client = b.over(refuses());
    let start = Instant::now();
    client.clone().oneshot(get()).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(4));
    for _ in 0..3 {
        client.clone().oneshot(get()).await.unwrap_err();
    }
    let open = b.circuit_breaker().all().iter().any(|circuit| circuit.state == CircuitState::Open);
    assert!(open);

    // Both go over regions, with alerts.
    let alerts = Alerts::builder().build().unwrap();
    let _ = upstream_team_1::upstream().regions(regions()).alerts(&alerts).build().unwrap();
    let _ = upstream_team_2::upstream().regions(regions()).alerts(&alerts).build().unwrap();
}

/// What goes to another region costs nothing; to begin again in the first one does, also if the other
/// one's circuit has turned the call away.
#[tokio::test(start_paused = true)]
async fn a_new_round_of_the_regions_costs_budget_whatever_ended_the_last_one() {
    let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(3));
    let shared = Arc::clone(&budget);
    let upstream = UpstreamLayer::builder()
        .retry(|retry| retry.max_attempts(9).budget(shared))
        .circuit_breaker(|breaker| breaker.consecutive_failures(9))
        .regions(regions())
        .build()
        .unwrap();
    for held_open in ["east", "south"] {
        assert!(upstream.circuit_breaker().force_open_of(&KeyRef::text(held_open)));
    }
    let seen = Seen::default();
    let noted = seen.clone();
    let client = upstream.over(service_fn(move |request: Request<()>| {
        noted.note(&request);
        async { status(500) }
    }));
    for _ in 0..2 {
        assert_eq!(client.clone().oneshot(get()).await.unwrap().status(), 500);
    }
    assert_eq!(seen.take().len(), 2 + 3, "two requests and three retries");
    assert_eq!(budget.remaining(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_dies_under_load_costs_no_call() {
    let upstream = UpstreamLayer::builder().regions(regions()).build().unwrap();
    let client = upstream.over(service_fn(|request: Request<()>| async move {
        // All are in flight when the region breaks down.
        tokio::time::sleep(Duration::from_secs(1)).await;
        match request.uri().host() {
            Some("west.example.com") => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            _ => Ok(Response::new(())),
        }
    }));
    let calls = (0..1000).map(|_| tokio::spawn(client.clone().oneshot(get())));
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_wait_for_a_client_that_is_busy() {
    let upstream = UpstreamLayer::builder().deadline(Duration::from_secs(60)).build().unwrap();
    let client = ServiceBuilder::new().layer(upstream).concurrency_limit(1).service(service_fn(
        |_: Request<()>| async {
            tokio::time::sleep(Duration::from_secs(25)).await;
            status(200)
        },
    ));
    let start = Instant::now();
    let calls = (0..5).map(|_| tokio::spawn(client.clone().oneshot(get())));
    let mut served = 0;
    for call in calls.collect::<Vec<_>>() {
        served += u32::from(call.await.unwrap().is_ok());
    }
    assert_eq!(start.elapsed(), Duration::from_secs(60));
    assert_eq!(served, 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_layer_like_any_other() {
    let upstream = UpstreamLayer::builder().build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(upstream)
        .concurrency_limit(1)
        .service(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    let mut boxed = BoxCloneSyncService::new(check::<Request<()>, _>(stack));
    for _ in 0..3 {
        boxed.ready().await.unwrap().call(get()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_region_and_its_client_are_added_while_calls_go_on() {
    let seen = Seen::default();
    let client = |host: &'static str| {
        let seen = seen.clone();
        service_fn(move |_: Request<()>| {
            seen.0.lock().unwrap().push(host.to_owned());
            async { status(200) }
        })
    };
    let builder = UpstreamLayer::builder().quota(Quota::per_minute(2));
    let upstream = builder.regions(regions()).build().unwrap();
    let services = upstream.services(|_| client("old")).unwrap();
    let call = || services.clone().oneshot(get());
    call().await.unwrap();
    let region = || Region::new("north", "https://north.example.com").priority(0);
    services.add(region(), &client("new")).unwrap();
    assert!(services.add(region(), &client("new")).is_err());
    call().await.unwrap();
    assert_eq!(seen.take(), ["old", "new"]);
    // Behind the same layers: its calls are of the same quota, and in a circuit of its own.
    let start = Instant::now();
    call().await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(59), "{:?}", start.elapsed());
    let names: Vec<_> =
        upstream.circuit_breaker().all().iter().map(|c| c.name.to_string()).collect();
    assert!(names.contains(&"upstream/north".to_owned()), "{names:?}");
    upstream.failover().unwrap().remove("north").unwrap();
    call().await.unwrap();
    assert_eq!(seen.take(), ["new", "old"]);
}
