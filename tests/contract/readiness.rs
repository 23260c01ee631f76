//! Readiness: asked for before every call, used in place, let go of when it
//! isn't used, and never a cost.

use std::time::Duration;

use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt};
use tower_upstream::cause_ref;

use crate::clock::{LONG, at_once, in_time, pass, starts_to_wait, within};
use crate::layers::{End, Of, Rejects, Subject, Waits, call, try_call};
use crate::upstream::{Failure, Inner, Readiness, Reply, Upstream, request};

contracts! { every_layer_and_state:
    never_calls_an_unready_service,
    waits_for_a_service_that_gets_ready_late,
    dropped_while_ready_it_lets_go,
    an_unused_ready_costs_nothing,
    a_clone_of_a_ready_service_is_asked_anew,
    an_error_of_readiness_reaches_the_caller_once,
}
contracts! { every_layer:
    calls_in_place_what_it_readied,
    stays_pending_while_the_inner_service_is_not_ready,
}
contracts! { layers_that_reject:
    a_rejection_comes_from_call,
    a_rejection_lets_go_of_the_readiness,
}
contracts! { circuits: rejects_without_asking_the_inner_service }
contracts! { layers_that_wait: a_wait_lets_go_of_the_readiness }
contracts! { layers_with_a_quota: an_error_of_readiness_after_the_wait_spends_nothing }

/// The upstream checks each call and each clone by itself.
async fn never_calls_an_unready_service<S: Subject>() {
    let subject = S::new();
    let upstream = Upstream::new();
    upstream.readies(Readiness::Reluctant);
    let replies = [Reply::Status(200), Reply::Status(503), Reply::Fail, Reply::Status(500)];
    upstream.replies_next(replies.into_iter().cycle().take(400));
    let mut client = subject.over(upstream.inner());
    for round in 0..200_u64 {
        // Through one handle, through a clone, and through a clone of a ready one.
        let mut other = client.clone();
        let chosen = if round % 3 == 0 { &mut other } else { &mut client };
        _ = in_time(async { chosen.ready().await?.call(request()).await }).await;
        if round % 5 == 0 {
            _ = in_time(client.ready()).await;
        }
        pass(Duration::from_secs(round % 4)).await;
    }
    assert!(upstream.calls() > 20, "few calls came through: {}", upstream.calls());
}

async fn calls_in_place_what_it_readied<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let mut client = subject.over(upstream.inner());
    let clones = upstream.clones();
    for _ in 0..50 {
        let client = at_once(client.ready()).expect("ready");
        assert!(upstream.ready() <= 1, "one readiness a call");
        at_once(client.call(request())).expect("a reply");
    }
    assert_eq!(upstream.clones(), clones, "a call that passes takes no other handle");
    let calls = upstream.take_calls();
    assert!(calls.iter().all(|call| call.handle == calls[0].handle), "each time the same one");
}

async fn stays_pending_while_the_inner_service_is_not_ready<S: Subject>() {
    let upstream = Upstream::new();
    upstream.readies(Readiness::Never);
    let subject = S::new();
    let (held, spent) = (subject.held(), subject.spent());
    let mut client = subject.over(upstream.inner());
    assert!(within(LONG, client.ready()).await.is_none(), "ready, though the inner one isn't");
    drop(client);
    assert_eq!((subject.held(), subject.spent()), (held, spent));
    assert_eq!(upstream.calls(), 0);
}

/// Whether it waits in `poll_ready` or in the call.
async fn waits_for_a_service_that_gets_ready_late<S: Subject>() {
    let upstream = Upstream::new();
    upstream.readies(Readiness::Never);
    let subject = S::new();
    let mut call = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut call);
    upstream.readies(Readiness::AtOnce);
    assert!(in_time(call).await.is_ok());
}

async fn dropped_while_ready_it_lets_go<S: Subject>() {
    let upstream = Upstream::new();
    let limited = ConcurrencyLimitLayer::new(1).layer(upstream.inner());
    let subject = S::new();
    let mut client = subject.over(Inner::new(limited.clone()));
    at_once(client.ready()).expect("ready");
    drop(client);
    assert_eq!(upstream.ready(), 0);
    at_once(call(limited, request())).expect("the place is free");
}

async fn an_unused_ready_costs_nothing<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let (held, spent) = (subject.held(), subject.spent());
    let client = subject.over(upstream.inner());
    let mut kept = client.clone();
    for _ in 0..10_000 {
        at_once(client.clone().ready()).expect("ready");
        at_once(kept.ready()).expect("ready again");
    }
    drop(kept);
    assert_eq!((subject.held(), subject.spent()), (held, spent));
    assert_eq!((upstream.ready(), upstream.calls()), (0, 0));
    assert_eq!(try_call(client, request()), End::Answered);
}

async fn a_clone_of_a_ready_service_is_asked_anew<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let mut client = subject.over(upstream.inner());
    at_once(client.ready()).expect("ready");
    let clone = client.clone();
    upstream.readies(Readiness::Never);
    let mut late = Box::pin(call(clone, request()));
    starts_to_wait(&mut late);
    drop(late);
    // The readiness stayed where it was.
    upstream.readies(Readiness::AtOnce);
    at_once(client.call(request())).expect("a reply");
}

/// From `ready` or from `call`, but not from both, and neither panics nor hangs.
async fn an_error_of_readiness_reaches_the_caller_once<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let fresh = subject.over(upstream.inner());
    let mut client = fresh.clone();
    upstream.readies(Readiness::Fails);
    for _ in 0..2 {
        let error = match in_time(client.ready()).await {
            Ok(client) => {
                in_time(client.call(request())).await.expect_err("it can't have been called")
            }
            Err(error) => {
                // After such an error the service is done for, says tower.
                client = fresh.clone();
                error
            }
        };
        assert!(cause_ref::<Failure>(&*error).is_some(), "another error: {error}");
        assert_eq!(upstream.calls(), 0);
    }
    upstream.readies(Readiness::AtOnce);
    // Failures may have opened a circuit: it must close by itself.
    pass(LONG).await;
    in_time(call(client, request())).await.expect("a reply, all being well again");
}

async fn an_error_of_readiness_after_the_wait_spends_nothing<S: Waits>() {
    let upstream = Upstream::new();
    let subject = S::new();
    subject.make_wait(&upstream);
    let mut waiting = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut waiting);
    upstream.readies(Readiness::Fails);
    let error = in_time(waiting).await.expect_err("it can't have been called");
    assert!(cause_ref::<Failure>(&*error).is_some(), "another error: {error}");
    assert_eq!(subject.spent(), S::new().spent(), "nothing was sent");
}

async fn a_rejection_comes_from_call<S: Rejects>() {
    let upstream = Upstream::new();
    let subject = S::new();
    S::use_up(&subject.layer());
    let mut client = subject.over(upstream.inner());
    for _ in 0..10 {
        let client = at_once(client.ready()).expect("`ready` says nothing of it");
        let error = at_once(client.call(request())).expect_err("it is turned away");
        assert!(cause_ref::<S::Rejection>(&*error).is_some());
    }
    assert_eq!(upstream.calls(), 0);
}

async fn rejects_without_asking_the_inner_service<S: Rejects>() {
    let upstream = Upstream::new();
    upstream.readies(Readiness::Never);
    let subject = S::new();
    S::use_up(&subject.layer());
    let error = at_once(call(subject.over(upstream.inner()), request())).expect_err("turned away");
    assert!(cause_ref::<S::Rejection>(&*error).is_some());
}

/// A second client of the same limit goes on, as soon as the first is turned
/// away: whether it was readied before or after the layer began to reject, and
/// whether or not its future has been polled.
async fn a_rejection_lets_go_of_the_readiness<S: Rejects>() {
    for readied_before in [true, false] {
        let upstream = Upstream::new();
        let limited = ConcurrencyLimitLayer::new(1).layer(upstream.inner());
        let subject = S::new();
        let mut first = subject.over(Inner::new(limited.clone()));
        if readied_before {
            at_once(first.ready()).expect("ready");
            S::use_up(&subject.layer());
        } else {
            S::use_up(&subject.layer());
            at_once(first.ready()).expect("ready");
        }
        let rejection = first.call(request());
        at_once(call(limited.clone(), request())).expect("the place is free");
        let error = at_once(rejection).expect_err("it is turned away");
        assert!(cause_ref::<S::Rejection>(&*error).is_some());
        at_once(call(limited, request())).expect("the place is free");
    }
}

async fn a_wait_lets_go_of_the_readiness<S: Waits>() {
    let upstream = Upstream::new();
    let limited = ConcurrencyLimitLayer::new(1).layer(upstream.inner());
    let subject = S::new();
    let mut first: Of<S> = subject.over(Inner::new(limited.clone()));
    at_once(first.ready()).expect("ready");
    subject.make_wait(&upstream);
    let mut waiting = Box::pin(first.call(request()));
    starts_to_wait(&mut waiting);
    at_once(call(limited, request())).expect("the place is free");
    // The first one takes it when its wait is over.
    assert!(in_time(waiting).await.is_ok());
}

/// These tests are worth something only if the upstream notices.
#[tokio::test]
async fn the_upstream_notices_a_broken_contract() {
    let unready = std::panic::catch_unwind(|| _ = Upstream::new().client().call(request()));
    assert!(unready.is_err());
    let asked_again = std::panic::catch_unwind(|| {
        let upstream = Upstream::new();
        upstream.readies(Readiness::Fails);
        let mut client = upstream.client();
        _ = at_once(client.ready()).map(drop);
        _ = at_once(client.ready()).map(drop);
    });
    assert!(asked_again.is_err());
}
