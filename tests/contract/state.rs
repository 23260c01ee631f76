//! The state belongs to the layer's value: all that is made of it shares it.

use std::fmt::Debug;

use tower::{Layer, Service, ServiceExt};

use crate::clock::at_once;
use crate::layers::{End, Of, Subject, call, try_call};
use crate::upstream::{Reply, Upstream, request};

contracts! { layers_that_show_it:
    shared_by_all_that_is_made_of_a_layer,
    not_shared_by_layers_built_separately,
}
contracts! { every_layer:
    outlives_the_layer,
    built_outside_a_runtime,
    used_from_other_threads,
    debug_shows_no_secret,
}
contracts! { every_layer_and_state: can_be_sent_shared_and_cloned }

/// How a call to an upstream that fails ends: what tells a layer that is used
/// up from one that isn't, whatever it does.
fn end<S: Subject>(client: Of<S>) -> End {
    try_call(client, request())
}

/// Two calls of `layer()`, as axum makes one a route, and clones of layer and service.
async fn shared_by_all_that_is_made_of_a_layer<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Status(503));
    let subject = S::new();
    let layer = subject.layer();
    let services = || {
        let service = layer.layer(upstream.inner());
        [
            service.clone(),
            service,
            layer.layer(upstream.inner()),
            layer.clone().layer(Upstream::that_replies(Reply::Status(503)).inner()),
        ]
    };
    let before = services();
    let fresh = end::<S>(S::new().over(upstream.inner()));
    S::use_up(&layer.clone());
    for service in before.into_iter().chain(services()) {
        assert_ne!(end::<S>(service), fresh, "it didn't notice that the layer is used up");
    }
}

async fn not_shared_by_layers_built_separately<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::Status(503));
    let fresh = end::<S>(S::new().over(upstream.inner()));
    let (one, other) = (S::new(), S::new());
    S::use_up(&one.layer());
    assert_ne!(end::<S>(one.over(upstream.inner())), fresh);
    assert_eq!(end::<S>(other.over(upstream.inner())), fresh);
}

async fn outlives_the_layer<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let service = subject.over(upstream.inner());
    drop(subject);
    assert_eq!(try_call(service, request()), End::Answered);
}

/// In a `static`, or before `main` has started a runtime.
async fn built_outside_a_runtime<S: Subject>() {
    let upstream = Upstream::new();
    let inner = upstream.inner();
    let build = move || {
        assert!(tokio::runtime::Handle::try_current().is_err());
        let subject = S::new();
        drop(S::plain());
        drop(S::new().layer().layer(inner.clone()).clone());
        (subject.over(inner), subject)
    };
    let (service, _subject) = std::thread::spawn(build).join().expect("no runtime is needed");
    at_once(call(service, request())).expect("a reply");
}

async fn used_from_other_threads<S: Subject>() {
    let upstream = Upstream::new();
    let subject = S::new();
    let service = subject.over(upstream.inner());
    let calls = std::array::from_fn::<_, 4, _>(|_| {
        let service = service.clone();
        std::thread::spawn(move || {
            for _ in 0..5 {
                assert_eq!(try_call(service.clone(), request()), End::Answered);
            }
        })
    });
    for thread in calls {
        thread.join().expect("each call is answered");
    }
    assert_eq!(upstream.calls(), 20);
}

async fn can_be_sent_shared_and_cloned<S: Subject>() {
    fn all<T: Send + Sync + Clone + Debug + 'static>(_: &T) {}
    fn service<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn future<T: Send + 'static>(_: &T) {}
    let subject = S::new();
    all(&subject.layer());
    let mut client = subject.over(Upstream::new().inner());
    service(&client);
    future(&at_once(client.ready()).expect("ready").call(request()));
}

/// What a layer's `Debug` may say is how it is configured.
async fn debug_shows_no_secret<S: Subject>() {
    let subject = S::new();
    S::use_up(&subject.layer());
    let shown = format!("{:?} {}", subject.layer(), subject.look());
    assert!(!shown.contains("sk-top-secret") && !shown.contains("page=2"), "{shown}");
}
