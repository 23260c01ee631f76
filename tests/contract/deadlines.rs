//! A wait that would pass the call's deadline isn't started: the reply comes at once.

use std::time::Duration;

use tower::Layer;
use tower_upstream::RetryLayer;

use crate::clock::{at_once, in_time};
use crate::layers::{Client, Waits, call};
use crate::upstream::{Upstream, request};

contracts! { layers_that_wait:
    a_wait_past_the_deadline_is_not_started,
    a_wait_that_ends_in_time_is_waited_for,
}

/// The layer below one that gives each call so long, and makes no second attempt.
fn with_deadline<S: Waits>(subject: &S, upstream: &Upstream, time: Duration) -> impl Client {
    let deadline = RetryLayer::builder().max_attempts(1).deadline(time).build().unwrap();
    deadline.layer(subject.boxed(upstream.inner()))
}

async fn a_wait_past_the_deadline_is_not_started<S: Waits>() {
    let upstream = Upstream::new();
    let subject = S::new();
    subject.make_wait(&upstream);
    let before = (subject.held(), subject.spent());
    let client = with_deadline(&subject, &upstream, Duration::from_millis(500));
    // A reply or an error, but now.
    _ = at_once(call(client, request()));
    assert_eq!((subject.held(), subject.spent()), before);
}

async fn a_wait_that_ends_in_time_is_waited_for<S: Waits>() {
    let upstream = Upstream::new();
    let subject = S::new();
    subject.make_wait(&upstream);
    let client = with_deadline(&subject, &upstream, 2 * S::WAIT);
    in_time(call(client, request())).await.expect("a reply");
    assert_eq!(upstream.calls(), 1);
}
