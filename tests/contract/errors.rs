//! One error type at any depth: what came from below passes unchanged, and what
//! a layer decided is found by its type and gives no secret away.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex};

#[cfg(feature = "tonic")]
use tower::Layer;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tower_upstream::circuit_breaker::CircuitOpen;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::rate_limit::{CostAboveQuota, RateLimited};
use tower_upstream::replay::Superseded;
use tower_upstream::retry::{AttemptTimedOut, CredentialRejected, DeadlineExceeded};
use tower_upstream::{InvalidConfig, cause_ref};

use crate::clock::{at_once, in_time, pass};
use crate::layers::{CircuitBreaker, RateLimit, Rejects, Subject, call};
use crate::upstream::{Failure, Inner, Reply, Request, Upstream, request};

contracts! { layers_over_anything: events_give_no_secret_away }
contracts! { layers_that_stay: an_inner_error_passes_three_layers_unchanged }
contracts! { layers_that_reject:
    a_rejection_is_found_below_three_layers,
    a_rejection_is_found_below_three_errors_around_it,
    a_rejection_gives_no_secret_away,
}
#[cfg(feature = "tonic")]
contracts! { layers_that_reject: a_tonic_client_understands_a_rejection }

/// One of each kind above a service. None of them does anything about a failure.
fn three_layers(inner: Inner) -> Inner {
    let stack = ServiceBuilder::new()
        .layer(tower_upstream::RetryLayer::builder().max_attempts(1).build().unwrap())
        .layer(RateLimit::new().layer())
        .layer(CircuitBreaker::new().layer());
    Inner::new(stack.service(inner))
}

async fn an_inner_error_passes_three_layers_unchanged<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Fail);
    let three = |inner| S::new().boxed(S::new().boxed(S::new().boxed(inner)));
    for client in [three(upstream.inner()), three_layers(S::new().boxed(upstream.inner()))] {
        let error = in_time(call(client, request())).await.expect_err("the upstream's error");
        assert!(error.source().is_none(), "nothing is put around it");
        let failure = error.downcast::<Failure>().expect("its own type");
        assert_eq!(*failure, Failure(upstream.take_calls().pop().expect("a call").mark));
    }
}

async fn a_rejection_is_found_below_three_layers<S: Rejects>() {
    let upstream = Upstream::new();
    let subject = S::new();
    S::use_up(&subject.layer());
    let client = three_layers(subject.boxed(upstream.inner()));
    let error = in_time(call(client, request())).await.expect_err("it is turned away");
    assert!(cause_ref::<S::Rejection>(&*error).is_some(), "another error: {error}");
    assert_eq!(upstream.calls(), 0);
}

/// An error with another as its source.
#[derive(Debug)]
struct Around(BoxError);

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something went wrong")
    }
}

impl Error for Around {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

async fn a_rejection_is_found_below_three_errors_around_it<S: Rejects>() {
    let subject = S::new();
    S::use_up(&subject.layer());
    let around = |error: BoxError| -> BoxError { Around(error).into() };
    let client = subject.over(Upstream::new().inner());
    let client = client.map_err(around).map_err(around).map_err(around);
    let error = at_once(client.oneshot(request())).expect_err("it is turned away");
    assert!(error.downcast_ref::<Around>().is_some());
    assert!(cause_ref::<S::Rejection>(&*error).is_some());
}

/// Things that are in requests, replies and errors here, and belong nowhere else.
const SECRETS: [&str; 8] = [
    "sk-top-secret",
    "Bearer",
    "user",
    "hunter2",
    "page=2",
    "v1/things",
    "http://",
    "body of the request",
];

fn assert_no_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

fn secretive() -> Request {
    let mut request = request().map(|_| "body of the request".into());
    *request.uri_mut() =
        "http://user:hunter2@upstream.test/v1/things?page=2".parse().expect("a valid URI");
    request.headers_mut().insert("x-api-key", http::HeaderValue::from_static("sk-top-secret"));
    request
}

/// Neither in words nor in `Debug`, at any depth of its chain.
async fn a_rejection_gives_no_secret_away<S: Rejects>() {
    let subject = S::new();
    let upstream = Upstream::that_replies(Reply::Fail);
    // The failures that are counted carry secrets in their texts.
    let client = subject.over(upstream.inner());
    for _ in 0..3 {
        _ = at_once(call(client.clone(), secretive()));
    }
    if at_once(call(client.clone(), secretive())).is_err_and(|error| error.is::<Failure>()) {
        S::use_up(&subject.layer());
    }
    let error = at_once(call(client, secretive())).expect_err("it is turned away");
    assert!(cause_ref::<S::Rejection>(&*error).is_some());
    assert_no_secret(&format!("{error:?}"));
    let mut next: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = next {
        assert_no_secret(&format!("{error} {error:?} {error:#?}"));
        next = error.source();
    }
}

async fn events_give_no_secret_away<S: Subject>() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let subject = S::observed({
        let events = Arc::clone(&events);
        observer_fn(move |event: &Event<'_>| {
            events.lock().expect("no panic").push(format!("{event} {event:?}"));
        })
    });
    let replies = [Reply::Fail, Reply::Status(500), Reply::ComeBack(429, "5")];
    for reply in replies {
        let upstream = Upstream::that_replies(reply);
        let client = subject.over(upstream.inner());
        for _ in 0..4 {
            _ = in_time(call(client.clone(), secretive())).await;
        }
    }
    pass(S::REFILL).await;
    S::use_up(&subject.layer());
    _ = in_time(call(subject.over(Upstream::new().inner()), secretive())).await;
    let events = events.lock().expect("no panic");
    assert!(!events.is_empty());
    events.iter().for_each(|event| assert_no_secret(event));
}

#[cfg(feature = "tonic")]
async fn a_tonic_client_understands_a_rejection<S: Rejects>() {
    let subject = S::new();
    S::use_up(&subject.layer());
    let client = subject.over(Upstream::new().inner());
    let error = at_once(call(client.clone(), request())).expect_err("it is turned away");
    let status = tonic::Status::from_error(error);
    assert_eq!(status.code(), S::CODE);
    assert_no_secret(&format!("{status} {status:?}"));
    // And with others' errors around it.
    let client = client.map_err(|error| BoxError::from(Around(Around(error).into())));
    let error = at_once(client.oneshot(request())).expect_err("it is turned away");
    assert_eq!(tonic::Status::from_error(error).code(), S::CODE);
}

/// A quota that can never let the call through is a limit like another.
#[cfg(feature = "tonic")]
#[tokio::test(start_paused = true)]
async fn a_tonic_client_understands_a_cost_above_the_quota() {
    use tower_upstream::{Quota, RateLimitLayer};
    let limit =
        RateLimitLayer::builder(Quota::per_minute(1)).cost_fn(|_: &Request| 2).build().unwrap();
    let client = limit.layer(Upstream::new().inner());
    let error: BoxError = at_once(client.oneshot(request())).expect_err("it is turned away");
    assert!(cause_ref::<CostAboveQuota>(&*error).is_some());
    assert_eq!(tonic::Status::from_error(error).code(), tonic::Code::ResourceExhausted);
}

/// They end up in `BoxError`s and in tasks.
#[test]
fn errors_are_send_sync_and_static() {
    fn check<E: Error + Send + Sync + 'static>() {}
    check::<InvalidConfig>();
    check::<AttemptTimedOut>();
    check::<CredentialRejected>();
    check::<DeadlineExceeded>();
    check::<Superseded>();
    check::<CircuitOpen>();
    check::<RateLimited>();
    check::<CostAboveQuota>();
}
