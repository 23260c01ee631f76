//! A call that ends when the state that let it through is gone changes nothing.

use crate::clock::{at_once, pass, starts_to_wait};
use crate::layers::{End, Subject, call, try_call};
use crate::upstream::{Reply, Upstream, request};

contracts! { circuits:
    late_failures_do_not_open_what_has_recovered,
    late_successes_do_not_close_what_is_open,
}

/// Five calls that hang in a layer that was healthy when they began.
fn hanging<S: Subject>(subject: &S) -> (Upstream, Vec<impl Future<Output = End> + Unpin>) {
    let upstream = Upstream::that_replies(Reply::Hang);
    let client = subject.over(upstream.inner());
    let calls = (0..5).map(|_| {
        let call = call(client.clone(), request());
        let mut call = Box::pin(async { call.await.map_or(End::Rejected, |_| End::Answered) });
        starts_to_wait(&mut call);
        call
    });
    let calls = calls.collect();
    (upstream, calls)
}

async fn late_failures_do_not_open_what_has_recovered<S: Subject>() {
    let subject = S::new();
    let (upstream, calls) = hanging(&subject);
    S::use_up(&subject.layer());
    pass(S::REFILL).await;
    let client = subject.over(Upstream::new().inner());
    assert_eq!(try_call(client.clone(), request()), End::Answered, "it has recovered");
    let held = subject.held();
    upstream.replies_late(Reply::Status(500));
    for call in calls {
        assert_eq!(at_once(call), End::Answered);
    }
    assert_eq!(subject.held(), held);
    assert_eq!(try_call(client, request()), End::Answered);
}

async fn late_successes_do_not_close_what_is_open<S: Subject>() {
    let subject = S::new();
    let (upstream, calls) = hanging(&subject);
    S::use_up(&subject.layer());
    let held = subject.held();
    upstream.replies_late(Reply::Status(200));
    for call in calls {
        assert_eq!(at_once(call), End::Answered);
    }
    assert_eq!(subject.held(), held);
    let client = subject.over(Upstream::new().inner());
    assert_eq!(try_call(client, request()), End::Rejected);
}
