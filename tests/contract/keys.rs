//! One state a key, and none of another's.

use crate::layers::{End, Keyed, try_call};
use crate::upstream::{Reply, Upstream, request};

contracts! { layers_with_keys:
    one_keys_state_is_not_anothers,
    calls_without_a_key_share_a_state,
    a_flood_of_keys_takes_bounded_room,
    no_room_at_all_means_one_state,
}

async fn one_keys_state_is_not_anothers<S: Keyed>() {
    let upstream = Upstream::that_replies(Reply::Status(503));
    let subject = S::new();
    S::use_up(&subject.layer());
    let client = subject.over(upstream.inner());
    assert_ne!(try_call(client.clone(), request()), End::Answered);
    assert_eq!(try_call(client, S::request_of(1)), End::Answered);
}

async fn calls_without_a_key_share_a_state<S: Keyed>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let client = subject.over(upstream.inner());
    let states = subject.states();
    for path in ["/a", "/b"] {
        // Neither host nor credential.
        let mut request = http::Request::new(bytes::Bytes::new());
        *request.uri_mut() = path.parse().expect("a valid path");
        assert_eq!(try_call(client.clone(), request), End::Answered);
    }
    assert_eq!(subject.states(), states);
}

async fn a_flood_of_keys_takes_bounded_room<S: Keyed>() {
    let upstream = Upstream::new();
    let subject = S::with_room(10);
    S::use_up(&subject.layer());
    let client = subject.over(upstream.inner());
    for n in 0..100 {
        try_call(client.clone(), S::request_of(n));
        assert!(subject.states() <= 11);
    }
    // What matters is remembered.
    assert_ne!(try_call(client, request()), End::Answered);
}

async fn no_room_at_all_means_one_state<S: Keyed>() {
    let upstream = Upstream::new();
    let subject = S::with_room(0);
    S::use_up(&subject.layer());
    let client = subject.over(upstream.inner());
    assert_ne!(try_call(client, S::request_of(1)), End::Answered);
}
