//! What needs nothing done to it passes as if the layer weren't there.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::clock::{at_once, in_time};
use crate::layers::{Subject, call};
use crate::upstream::{Mark, Reply, Request, Upstream, request};

contracts! { every_layer_and_state:
    the_reply_is_the_inner_services_own,
    each_call_is_sent_once,
}
contracts! { every_layer: a_bad_reply_is_returned_and_not_invented }
contracts! { layers_that_stay:
    the_request_arrives_unchanged,
    the_last_error_is_returned_and_not_invented,
}

/// Its body can't be cloned and hasn't any trait of a body: it can only be passed on.
async fn the_reply_is_the_inner_services_own<S: Subject>() {
    let upstream = Upstream::that_replies(Reply::ComeBack(204, "7"));
    let reply = at_once(call(S::new().over(upstream.inner()), request())).expect("a reply");
    assert_eq!(reply.status(), 204);
    assert_eq!(reply.headers().len(), 1);
    assert_eq!(reply.headers()["retry-after"], "7");
    assert_eq!(*reply.body(), Mark(upstream.take_calls()[0].mark));
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extension(&'static str);

fn elaborate(body: &Bytes) -> Request {
    http::Request::builder()
        .method(Method::from_bytes(b"PURGE").expect("a valid method"))
        .uri("https://user:pass@upstream.test:8443/a%20b/?q=1&q=2")
        .version(Version::HTTP_2)
        .header("x-many", "1")
        .header("x-many", "2")
        .header("x-binary", HeaderValue::from_bytes(b"\xff\xfe").expect("a valid value"))
        .header("idempotency-key", "k")
        .extension(Extension("kept"))
        .body(body.clone())
        .expect("a valid request")
}

async fn the_request_arrives_unchanged<S: Subject>() {
    let upstream = Upstream::new();
    let body = Bytes::from(vec![7; 100_000]);
    let sent = elaborate(&body);
    let (expected, _) = sent.clone().into_parts();
    at_once(call(S::new().over(upstream.inner()), sent)).expect("a reply");
    let [arrived] = &upstream.take_calls()[..] else { panic!("one call") };
    assert_eq!(arrived.head.method, expected.method);
    assert_eq!(arrived.head.uri, expected.uri);
    assert_eq!(arrived.head.version, expected.version);
    assert_eq!(lines(&arrived.head.headers), lines(&expected.headers));
    assert_eq!(arrived.head.extensions.len(), 1, "nothing is added");
    assert_eq!(arrived.head.extensions.get(), Some(&Extension("kept")));
    assert_eq!(arrived.body.as_ptr(), body.as_ptr(), "the body isn't copied");
    assert_eq!(arrived.body.len(), body.len());
}

/// In order, which `HeaderMap`'s equality doesn't ask for.
fn lines(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
}

async fn each_call_is_sent_once<S: Subject>() {
    let upstream = Upstream::new();
    let client = S::new().over(upstream.inner());
    for calls in 1..=20 {
        at_once(call(client.clone(), request())).expect("a reply");
        assert_eq!(upstream.calls(), calls);
    }
}

async fn a_bad_reply_is_returned_and_not_invented<S: Subject>() {
    for status in [301, 400, 401, 403, 404, 429, 500, 501, 503, 529] {
        let upstream = Upstream::that_replies(Reply::Status(status));
        let reply = in_time(call(S::new().over(upstream.inner()), request())).await;
        let reply = reply.expect("the upstream's reply");
        assert_eq!(reply.status(), status);
        let last = upstream.take_calls().pop().expect("it was sent");
        assert_eq!(*reply.body(), Mark(last.mark), "the last reply of all");
    }
}

async fn the_last_error_is_returned_and_not_invented<S: Subject>() {
    use crate::upstream::Failure;
    let upstream = Upstream::that_replies(Reply::Fail);
    let error = in_time(call(S::new().over(upstream.inner()), request())).await;
    let failure = error.expect_err("the upstream's error").downcast::<Failure>();
    let failure = failure.expect("as it was, unwrapped");
    let last = upstream.take_calls().pop().expect("it was sent");
    assert_eq!(*failure, Failure(last.mark), "the last error of all");
}
