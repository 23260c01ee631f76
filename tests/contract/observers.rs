//! Observers hear of what the layers do, on the caller's task and outside locks.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use tower_upstream::event::{Event, Observer, observer_fn};

use crate::clock::{in_time, pass, poll};
use crate::layers::{Of, Subject, call, try_call};
use crate::upstream::{Readiness, Reply, Upstream, request};

contracts! { layers_over_anything:
    receives_what_the_layer_does,
    receives_nothing_of_calls_that_pass,
    every_observer_of_a_pair_receives,
    may_look_and_call_while_it_receives,
    a_panic_in_it_locks_none_out,
}

/// Counts what it hears.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Observer for Counter {
    fn observe(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counter {
    fn events(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Failures, hints, a layer that is used up, and a call that waits in vain.
async fn trouble<S: Subject>(subject: &S) {
    let upstream = Upstream::new();
    upstream.replies_next([Reply::Status(503), Reply::Fail, Reply::ComeBack(429, "3")]);
    let client = subject.over(upstream.inner());
    for _ in 0..3 {
        _ = in_time(call(client.clone(), request())).await;
    }
    // A layer that was observed to wait, or has opened, passes again after this.
    pass(Duration::from_secs(30)).await;
    S::use_up(&subject.layer());
    _ = in_time(call(client.clone(), request())).await;
    pass(Duration::from_secs(30)).await;
    S::use_up(&subject.layer());
    let mut waiting = Box::pin(call(client.clone(), request()));
    if poll(&mut waiting).is_pending() {
        upstream.readies(Readiness::Never);
        pass(Duration::from_secs(30)).await;
        _ = poll(&mut waiting);
        drop(waiting);
        upstream.readies(Readiness::AtOnce);
    }
    pass(Duration::from_secs(30)).await;
    _ = in_time(call(client, request())).await;
}

async fn receives_what_the_layer_does<S: Subject>() {
    let counter = Arc::new(Counter::default());
    let subject = S::observed(Arc::clone(&counter));
    trouble(&subject).await;
    assert!(counter.events() > 0);
}

async fn receives_nothing_of_calls_that_pass<S: Subject>() {
    let counter = Arc::new(Counter::default());
    let subject = S::observed(Arc::clone(&counter));
    let client = subject.over(Upstream::new().inner());
    for _ in 0..20 {
        try_call(client.clone(), request());
    }
    assert_eq!(counter.events(), 0);
}

async fn every_observer_of_a_pair_receives<S: Subject>() {
    let (one, other) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let pair = (Arc::clone(&one), ((), Arc::clone(&other)));
    trouble(&S::observed(pair)).await;
    assert_eq!(one.events(), other.events());
    assert!(one.events() > 0);
}

/// Whatever an observer reaches for while it is called, it gets.
///
/// It runs on a thread of its own, since a deadlock is a test that never ends.
async fn may_look_and_call_while_it_receives<S: Subject>() {
    let (done, outcome) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(look_and_call::<S>());
        _ = done.send(());
    });
    let outcome = outcome.recv_timeout(Duration::from_secs(60));
    outcome.expect("a deadlock, or a panic that is shown above");
}

async fn look_and_call<S: Subject>() {
    /// What the observer reaches for: known only once the layer is built.
    struct Reach<S: Subject> {
        subject: S,
        client: Mutex<Of<S>>,
    }
    let reach: Arc<OnceLock<Reach<S>>> = Arc::default();
    let looked = Arc::new(AtomicUsize::new(0));
    let observer = {
        let (reach, looked) = (Arc::clone(&reach), Arc::clone(&looked));
        let nested = AtomicBool::new(false);
        observer_fn(move |_: &Event<'_>| {
            let Some(Reach { subject, client }) = reach.get() else {
                return;
            };
            subject.look();
            looked.fetch_add(1, Ordering::Relaxed);
            // A call that makes events of its own must not call for ever.
            if !nested.swap(true, Ordering::Relaxed) {
                let client = client.lock().expect("no panic").clone();
                try_call(client, request());
                S::new();
                nested.store(false, Ordering::Relaxed);
            }
        })
    };
    let subject = S::observed(observer);
    let upstream = Upstream::that_replies(Reply::Status(503));
    let client = Mutex::new(subject.over(upstream.inner()));
    let reach = reach.get_or_init(|| Reach { subject, client });
    trouble(&reach.subject).await;
    assert!(looked.load(Ordering::Relaxed) > 0);
}

async fn a_panic_in_it_locks_none_out<S: Subject>() {
    let panics = Arc::new(AtomicBool::new(true));
    let subject = S::observed({
        let panics = Arc::clone(&panics);
        observer_fn(move |_: &Event<'_>| {
            assert!(!panics.swap(false, Ordering::Relaxed), "the observer panics");
        })
    });
    // The first event of all panics, in whichever call that is.
    let caught = AssertUnwindSafe(trouble(&subject)).catch_unwind().await;
    assert!(caught.is_err());
    pass(Duration::from_secs(30)).await;
    let client = subject.over(Upstream::new().inner());
    in_time(call(client, request())).await.expect("a reply");
    subject.look();
}
