//! Breakers A and B, call by call, against tables worked out by hand from what the two
//! teams wrote.

#[path = "../../examples/scenario/circuit_breaker_consecutive.rs"]
mod circuit_breaker_consecutive;
#[path = "../../examples/scenario/circuit_breaker_leaky.rs"]
mod circuit_breaker_leaky;

use tokio::time::Instant;
use tower_upstream::circuit_breaker::CircuitStatus;

use super::*;
use CircuitState::{Closed, HalfOpen, Open};

/// A call, so many seconds after the start, and how the breaker is after it.
struct Row {
    at: u64,
    /// What the upstream says; none: it must not be asked.
    reply: Option<Reply>,
    state: CircuitState,
    calls: u64,
    successes: u64,
    failures: u32,
    last_failure: Option<u64>,
}

/// How it is after a call: state, calls, successes, failures counted, second of the last failure.
type After = (CircuitState, u64, u64, u32, Option<u64>);

fn row(at: u64, reply: impl Into<Option<Reply>>, after: After) -> Row {
    let (state, calls, successes, failures, last_failure) = after;
    Row { at, reply: reply.into(), state, calls, successes, failures, last_failure }
}

async fn check(client: impl Upstream, status: impl Fn() -> CircuitStatus, table: Vec<Row>) {
    let start = Instant::now();
    for row in table {
        let at = row.at;
        advance(start + Duration::from_secs(at) - Instant::now()).await;
        let mut request = Request::new(Status(200));
        *request.uri_mut() = "https://api.example/v1/chat/completions".parse().unwrap();
        let sent = row.reply.is_some();
        *request.body_mut() = row.reply.unwrap_or(Status(200));
        let reply = client.clone().oneshot(request).await;
        let rejected = reply.is_err_and(|error| cause_ref::<CircuitOpen>(&*error).is_some());
        assert_eq!(rejected, !sent, "at {at}");
        let status = status();
        assert_eq!(status.state, row.state, "at {at}");
        assert_eq!((status.calls, status.successes), (row.calls, row.successes), "at {at}");
        let rate = row.successes as f64 / row.calls as f64;
        assert!((status.success_rate() - rate).abs() < 1e-9, "at {at}");
        assert_eq!(status.failure_count, row.failures, "at {at}");
        let last = row.last_failure.map(|at| start + Duration::from_secs(at));
        assert_eq!(status.last_failure, last, "at {at}");
    }
}

#[tokio::test(start_paused = true)]
async fn breaker_a_call_by_call() {
    let layer = circuit_breaker_consecutive::circuit_breaker().build().unwrap();
    let handle = layer.handle();
    check(
        layer.layer(service_fn(reply)),
        || handle.all().pop().unwrap(),
        vec![
            row(0, Status(200), (Closed, 1, 1, 0, None)),
            // A failure is what was raised; a success while closed sets the count to zero.
            row(1, Status(500), (Closed, 2, 1, 1, Some(1))),
            row(2, Status(401), (Closed, 3, 1, 2, Some(2))),
            row(3, Status(200), (Closed, 4, 2, 0, Some(2))),
            row(4, Refused, (Closed, 5, 2, 1, Some(4))),
            row(5, Status(429), (Closed, 6, 2, 2, Some(5))),
            row(6, Status(501), (Closed, 7, 2, 3, Some(6))),
            row(7, After(503, 3_600), (Closed, 8, 2, 4, Some(7))),
            // The fifth in a row: open, and the count is 0.
            row(8, Status(500), (Open, 9, 2, 0, Some(8))),
            // Calls that are turned away aren't counted.
            row(9, None, (Open, 9, 2, 0, Some(8))),
            row(37, None, (Open, 9, 2, 0, Some(8))),
            // 30 s after the last failure: half-open; two successes close it.
            row(38, Status(200), (HalfOpen, 10, 3, 0, Some(8))),
            row(39, Status(404), (Closed, 11, 4, 0, Some(8))),
            row(40, Status(500), (Closed, 12, 4, 1, Some(40))),
            row(41, Status(500), (Closed, 13, 4, 2, Some(41))),
            row(42, Status(500), (Closed, 14, 4, 3, Some(42))),
            row(43, Status(500), (Closed, 15, 4, 4, Some(43))),
            row(44, After(503, 3_600), (Open, 16, 4, 0, Some(44))),
            row(73, None, (Open, 16, 4, 0, Some(44))),
            // One failure of a half-open one opens it again, for 30 s from then.
            row(74, Status(200), (HalfOpen, 17, 5, 0, Some(44))),
            row(80, Status(429), (Open, 18, 5, 0, Some(80))),
            row(109, None, (Open, 18, 5, 0, Some(80))),
            row(110, Status(200), (HalfOpen, 19, 6, 0, Some(80))),
            row(111, Status(200), (Closed, 20, 7, 0, Some(80))),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn breaker_b_call_by_call() {
    let layer = circuit_breaker_leaky::circuit_breaker().build().unwrap();
    let handle = layer.handle();
    let mut table = vec![
        // Never below zero.
        row(0, Status(200), (Closed, 1, 1, 0, None)),
        row(1, Refused, (Closed, 2, 1, 1, Some(1))),
        row(2, Status(429), (Closed, 3, 1, 2, Some(2))),
        row(3, Status(200), (Closed, 4, 2, 1, Some(2))),
        // Nothing for other statuses.
        row(4, Status(500), (Closed, 5, 2, 1, Some(2))),
        row(5, Status(401), (Closed, 6, 2, 1, Some(2))),
        row(6, Status(201), (Closed, 7, 2, 1, Some(2))),
    ];
    for more in 1..=8 {
        let at = 6 + u64::from(more);
        table.push(row(at, After(429, 3_600), (Closed, 1 + at, 2, 1 + more, Some(at))));
    }
    table.extend([
        // Ten: open, for 60 s, and then from zero, closed.
        row(15, Refused, (Open, 16, 2, 0, Some(15))),
        row(16, None, (Open, 16, 2, 0, Some(15))),
        row(74, None, (Open, 16, 2, 0, Some(15))),
        row(75, Refused, (Closed, 17, 2, 1, Some(75))),
        row(76, Status(200), (Closed, 18, 3, 0, Some(75))),
    ]);
    check(layer.layer(service_fn(reply)), || handle.status(), table).await;
}

/// By hand neither knew a credential.
#[tokio::test(start_paused = true)]
async fn neither_latches_a_credential() {
    let layer = circuit_breaker_leaky::circuit_breaker().build().unwrap();
    let client = layer.layer(service_fn(reply));
    for _ in 0..100 {
        client.clone().oneshot(to("/", Some(("authorization", "key")), 401)).await.unwrap();
    }
    assert!(layer.handle().latched().is_empty());
}
