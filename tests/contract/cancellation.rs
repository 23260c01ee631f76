//! A future may be dropped at any point: what it held comes back, and the layer
//! serves as before.

use std::sync::Arc;

use tower::{Layer, Service, ServiceExt};

use crate::clock::{at_once, in_time, pass, poll, starts_to_wait, within};
use crate::layers::{CircuitBreakerHalfOpen, End, Subject, Waits, call, try_call};
use crate::upstream::{Readiness, Reply, Request, Upstream, request};

contracts! { every_layer_and_state:
    dropped_before_its_first_poll,
    dropped_in_flight,
    dropped_a_thousand_times_in_flight,
    finished_and_not_yet_dropped,
    the_inner_service_panics,
    the_request_goes_too,
}
contracts! { layers_that_wait:
    dropped_while_it_waits,
    dropped_before_it_waits,
    dropped_while_others_wait,
    dropped_waits_delay_none,
    dropped_in_flight_after_the_wait,
    dropped_after_the_wait_while_the_inner_service_gets_ready,
    the_request_of_a_waiting_call_goes_too,
}

/// The layer serves as one that was never called.
fn serves_as_before<S: Subject>(subject: &S) {
    let upstream = Upstream::new();
    let client = subject.over(upstream.inner());
    assert_eq!(try_call(client.clone(), request()), End::Answered);
    assert_eq!(try_call(client, request()), End::Answered);
    assert_eq!(upstream.calls(), 2);
}

async fn dropped_before_its_first_poll<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let held = subject.held();
    let mut client = subject.over(upstream.inner());
    drop(at_once(client.ready()).expect("ready").call(request()));
    assert_eq!(upstream.in_flight(), 0);
    assert_eq!(upstream.ready(), 0);
    assert_eq!(subject.held(), held);
    if upstream.calls() == 0 {
        assert_eq!(subject.spent(), S::new().spent(), "nothing was sent");
    }
    serves_as_before(&subject);
}

async fn dropped_in_flight<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Hang);
    let subject = S::new();
    let held = subject.held();
    let mut hanging = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut hanging);
    assert_eq!(upstream.in_flight(), 1);
    drop(hanging);
    assert_eq!(upstream.in_flight(), 0);
    assert_eq!(subject.held(), held);
    serves_as_before(&subject);
}

/// Neither good nor bad news of the upstream, however many there are.
async fn dropped_a_thousand_times_in_flight<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Hang);
    let subject = S::new();
    let held = subject.held();
    let client = subject.over(upstream.inner());
    for _ in 0..1_000 {
        _ = poll(&mut Box::pin(call(client.clone(), request())));
        assert_eq!(upstream.in_flight(), 0);
    }
    assert_eq!(subject.held(), held);
    // A quota is spent by calls that were sent, and comes back with time.
    pass(S::REFILL).await;
    serves_as_before(&subject);
}

/// A finished future may be kept for long, in a `join` or a `select`.
async fn finished_and_not_yet_dropped<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let mut client = subject.over(upstream.inner());
    let mut future = Box::pin(at_once(client.ready()).expect("ready").call(request()));
    at_once(&mut future).expect("a reply");
    assert_eq!(upstream.in_flight(), 0);
    serves_as_before(&subject);
    drop(future);
    serves_as_before(&subject);
}

async fn the_inner_service_panics<S: Subject>() {
    for panic in [Reply::PanicInCall, Reply::PanicInPoll] {
        let upstream = Upstream::that_replies(panic);
        let subject = S::new();
        let held = subject.held();
        let call = call(subject.over(upstream.inner()), request());
        let caught = tokio::spawn(call).await.expect_err("the caller sees the panic");
        assert!(caught.is_panic());
        assert_eq!(upstream.in_flight(), 0);
        assert_eq!(subject.held(), held);
        serves_as_before(&subject);
    }
}

/// A request with something in it that shows who still has a copy.
fn tracked() -> (Request, Arc<()>) {
    let mut request = request();
    let tracker = Arc::new(());
    request.extensions_mut().insert(Arc::clone(&tracker));
    (request, tracker)
}

async fn the_request_goes_too<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Hang);
    let subject = S::new();
    let (request, tracker) = tracked();
    let mut hanging = Box::pin(call(subject.over(upstream.inner()), request));
    starts_to_wait(&mut hanging);
    upstream.take_calls();
    drop(hanging);
    assert_eq!(Arc::strong_count(&tracker), 1);
}

async fn the_request_of_a_waiting_call_goes_too<S: Waits>() {
    let upstream = Upstream::new();
    let subject = S::new();
    subject.make_wait(&upstream);
    let (request, tracker) = tracked();
    let mut waiting = Box::pin(call(subject.over(upstream.inner()), request));
    starts_to_wait(&mut waiting);
    upstream.take_calls();
    drop(waiting);
    assert_eq!(Arc::strong_count(&tracker), 1);
}

/// What a subject holds and has spent, once it makes calls wait.
fn made_to_wait<S: Waits>(upstream: &Upstream) -> (S, (String, String)) {
    let subject = S::new();
    subject.make_wait(upstream);
    let before = (subject.held(), subject.spent());
    (subject, before)
}

async fn dropped_while_it_waits<S: Waits>() {
    let upstream = Upstream::new();
    let (subject, before) = made_to_wait::<S>(&upstream);
    let mut waiting = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut waiting);
    let calls = upstream.calls();
    drop(waiting);
    assert_eq!((subject.held(), subject.spent()), before);
    pass(S::WAIT).await;
    assert_eq!(upstream.calls(), calls, "a dropped call is not sent");
    assert_eq!((upstream.in_flight(), upstream.ready()), (0, 0));
    serves_as_before(&subject);
}

async fn dropped_before_it_waits<S: Waits>() {
    let upstream = Upstream::new();
    let (subject, before) = made_to_wait::<S>(&upstream);
    let mut client = subject.over(upstream.inner());
    drop(at_once(client.ready()).expect("ready").call(request()));
    assert_eq!((subject.held(), subject.spent()), before);
    pass(S::WAIT).await;
    serves_as_before(&subject);
}

/// The first in a line, the second and one that was never polled leave it: the
/// others are served.
async fn dropped_while_others_wait<S: Waits>() {
    let upstream = Upstream::new();
    let (subject, _) = made_to_wait::<S>(&upstream);
    let client = subject.over(upstream.inner());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        upstream.replies_next([Reply::Status(503)]);
        let mut client = client.clone();
        waiting.push(Box::pin(at_once(client.ready()).expect("ready").call(request())));
    }
    for (place, call) in waiting.iter_mut().enumerate() {
        if place != 2 {
            _ = poll(call);
        }
    }
    let last = waiting.split_off(3);
    for left in waiting {
        drop(left);
    }
    for call in last {
        assert!(in_time(call).await.is_ok());
    }
    pass(S::REFILL).await;
    assert_eq!((upstream.in_flight(), upstream.ready()), (0, 0));
    assert_eq!(subject.held(), S::new().held());
    serves_as_before(&subject);
}

/// Nor is anybody turned away for those who have left the line.
async fn dropped_waits_delay_none<S: Waits>() {
    let upstream = Upstream::new();
    let (subject, _) = made_to_wait::<S>(&upstream);
    let client = subject.over(upstream.inner());
    for _ in 0..5_000 {
        // A retry waits after a failure.
        upstream.replies_next([Reply::Status(503)]);
        starts_to_wait(&mut Box::pin(call(client.clone(), request())));
    }
    let last = within(S::WAIT, call(client, request())).await;
    assert!(last.expect("no longer wait than ever").is_ok());
}

/// It has waited, and is about to be sent, but isn't.
async fn dropped_after_the_wait_while_the_inner_service_gets_ready<S: Waits>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let (held, spent) = (subject.held(), subject.spent());
    subject.make_wait(&upstream);
    let mut waiting = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut waiting);
    upstream.readies(Readiness::Never);
    let calls = upstream.calls();
    pass(S::WAIT).await;
    starts_to_wait(&mut waiting);
    assert_eq!(upstream.in_flight(), 0);
    drop(waiting);
    assert_eq!(upstream.calls(), calls);
    assert_eq!(subject.held(), held);
    assert_eq!(subject.spent(), spent, "what was never sent spends nothing");
    serves_as_before(&subject);
}

async fn dropped_in_flight_after_the_wait<S: Waits>() {
    let upstream = Upstream::that_replies(Reply::Hang);
    let subject = S::new();
    let held = subject.held();
    subject.make_wait(&upstream);
    let mut waiting = Box::pin(call(subject.over(upstream.inner()), request()));
    starts_to_wait(&mut waiting);
    assert_eq!(upstream.in_flight(), 0);
    pass(S::WAIT).await;
    starts_to_wait(&mut waiting);
    assert_eq!(upstream.in_flight(), 1);
    drop(waiting);
    assert_eq!((upstream.in_flight(), upstream.ready()), (0, 0));
    assert_eq!(subject.held(), held);
    serves_as_before(&subject);
}

/// A probe waits for the inner service in its own future: dropped there, it
/// gives its place to the next.
#[tokio::test(start_paused = true)]
async fn a_probe_is_dropped_while_the_inner_service_gets_ready() {
    let upstream = Upstream::new();
    upstream.readies(Readiness::Never);
    let subject = CircuitBreakerHalfOpen::new();
    let mut probe = Box::pin(call(subject.layer().layer(upstream.inner()), request()));
    starts_to_wait(&mut probe);
    let other = Upstream::new();
    let second = subject.over(other.inner());
    assert_eq!(try_call(second, request()), End::Rejected, "there is one probe at a time");
    drop(probe);
    serves_as_before(&subject);
}
