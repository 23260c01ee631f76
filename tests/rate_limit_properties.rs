//! Properties of a rate limiter under random calls, on paused time.

#![cfg(feature = "rate-limit")]

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::time::{Instant, advance};
use tokio_test::task;
use tower::{Layer, Service, service_fn};
use tower_upstream::{BoxError, Quota, RateLimitLayer};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// The number of tokens, and whether the connection is refused.
    Call(u32, bool),
    /// A waiting call is dropped.
    Cancel(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4_000_u64).prop_map(Step::Wait),
        5 => (0..=10_u32, prop::bool::weighted(0.2)).prop_map(|(cost, no)| Step::Call(cost, no)),
        1 => any::<Index>().prop_map(Step::Cancel),
    ];
    prop::collection::vec(step, 0..80)
}

/// When a call was sent, its number, and its tokens.
type Sent = (Instant, usize, u32);
type Called = task::Spawn<Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>>>>>;

/// A request's number, its tokens, and whether the connection is refused.
type Asked = Request<(usize, u32, bool)>;

async fn check(calls: Quota, tokens: Quota, steps: Vec<Step>) {
    let layer = RateLimitLayer::builder(calls)
        .and(tokens, |request: &Asked| request.body().1)
        .max_wait(Duration::MAX)
        .build()
        .unwrap();
    let sent = Arc::new(Mutex::new(Vec::<Sent>::new()));
    let log = Arc::clone(&sent);
    let mut client = layer.layer(service_fn(move |request: Asked| {
        let (number, tokens, refused) = *request.body();
        if !refused {
            log.lock().unwrap().push((Instant::now(), number, tokens));
        }
        let refusal = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        std::future::ready(if refused { Err(refusal) } else { Ok(Response::new(())) })
    }));
    let full: Vec<_> = layer.handle().status().limits.iter().map(|limit| limit.remaining).collect();
    let mut waiting = VecDeque::<Called>::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Wait(millis) => advance(Duration::from_millis(millis)).await,
            Step::Call(tokens, refused) => {
                let request = Request::new((number, tokens, refused));
                waiting.push_back(task::spawn(Box::pin(client.call(request))));
            }
            Step::Cancel(at) if !waiting.is_empty() => _ = waiting.remove(at.index(waiting.len())),
            Step::Cancel(_) => {}
        }
        settle(&mut waiting);
    }
    for _ in 0..80 {
        advance(10 * SECOND).await;
        settle(&mut waiting);
    }
    assert!(waiting.is_empty(), "{} are never served", waiting.len());
    holds(&sent.lock().unwrap(), full[0] as usize, full[1]);
    // Refused and dropped calls owe nothing.
    let left: Vec<_> = layer.handle().status().limits.iter().map(|limit| limit.remaining).collect();
    assert_eq!(left, full);
}

/// Polls until nothing changes.
fn settle(waiting: &mut VecDeque<Called>) {
    let mut before = usize::MAX;
    while before != waiting.len() {
        before = waiting.len();
        waiting.retain_mut(|called| called.poll().is_pending());
    }
}

/// Asserts the limits in any ten seconds, and the order of arrival.
fn holds(sent: &[Sent], calls: usize, tokens: u32) {
    for (at, (from, ..)) in sent.iter().enumerate() {
        let window: Vec<_> =
            sent[at..].iter().take_while(|(to, ..)| *to - *from < 10 * SECOND).collect();
        assert!(window.len() <= calls, "{} calls: {sent:?}", window.len());
        let spent: u32 = window.iter().map(|(.., tokens)| tokens).sum();
        assert!(spent <= tokens, "{spent} tokens: {sent:?}");
    }
    assert!(sent.windows(2).all(|pair| pair[0].1 < pair[1].1), "overtaken: {sent:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn windows_hold_their_quotas_and_calls_keep_order(
        calls in 1_u32..6,
        tokens in 10_u32..30,
        steps in steps(),
    ) {
        let ten_seconds = |limit| Quota::new(limit, 10 * SECOND).margin(Duration::ZERO);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(ten_seconds(calls), ten_seconds(tokens), steps));
    }
}
