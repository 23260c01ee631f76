use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::error::{RateLimited, RateLimitedReason};
use crate::event::Observers;
use crate::rate_limit::Quota;
use crate::rate_limit::config::{Config, Settings};
use crate::sharded::ShardedArc;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(quota: Quota, max_wait: Duration) -> ShardRef<Limiter> {
    limiter_of(vec![quota], max_wait)
}

fn limiter_of(quotas: Vec<Quota>, max_wait: Duration) -> ShardRef<Limiter> {
    let settings = Settings {
        max_wait,
        max_waiting: usize::MAX,
        max_pause: Duration::MAX,
        learns_limits: true,
        seed: Some(1),
        observers: Observers::default(),
    };
    let limiter = Limiter::new("test".into(), Arc::new(Config::new(quotas, settings).unwrap()));
    ShardedArc::new(limiter).shard_ref()
}

/// The outcome of a call's arrival.
enum Arrival {
    Sent(Permit),
    Queued(QueuedCall),
    Rejected(BoxError),
}

fn arrive(limiter: &ShardRef<Limiter>, cost: u32, deadline: Option<Instant>) -> Arrival {
    arrive_with(limiter, Costs::new(cost), deadline)
}

fn arrive_with(limiter: &ShardRef<Limiter>, costs: Costs, deadline: Option<Instant>) -> Arrival {
    let now = time::now();
    if let Some(charge) = limiter.try_send_fast(now, &costs) {
        return Arrival::Sent(Permit::fast(limiter.clone(), costs.units[0], charge));
    }
    if let Some(charges) = limiter.try_send(now, &costs) {
        return Arrival::Sent(Permit::locked(limiter.clone(), charges));
    }
    let wait_limit = limiter.wait_limit(now, deadline);
    match QueuedCall::join(limiter.clone(), costs, now, wait_limit) {
        Ok(queued) => Arrival::Queued(queued),
        Err(error) => Arrival::Rejected(error),
    }
}

/// At most `limit` in any ten seconds.
fn ten_seconds(limit: u32) -> Quota {
    Quota::new(limit, 10 * SECOND).margin(Duration::ZERO)
}

fn assert_sent(limiter: &ShardRef<Limiter>) {
    assert!(
        matches!(arrive(limiter, 1, None), Arrival::Sent(_)),
        "the call should be sent at once"
    );
}

/// Returns a call in the queue, polled once.
fn queued(limiter: &ShardRef<Limiter>, deadline: Option<Instant>) -> task::Spawn<QueuedCall> {
    let Arrival::Queued(call) = arrive(limiter, 1, deadline) else {
        panic!("the call should wait");
    };
    let mut call = task::spawn(call);
    assert_pending!(call.poll());
    call
}

fn assert_admitted(call: &mut task::Spawn<QueuedCall>) {
    assert_ready!(call.poll()).expect("units").send().expect("an open gate");
}

fn rejection(call: &mut task::Spawn<QueuedCall>) -> (RateLimitedReason, Duration) {
    let rejection = assert_ready!(call.poll()).unwrap_err().downcast::<RateLimited>().unwrap();
    (rejection.reason(), rejection.retry_after())
}

#[tokio::test(start_paused = true)]
async fn queue_wait_past_deadline_is_rejected_on_arrival() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    assert_sent(&limiter);
    let now = time::now();
    for seconds in [0, 1, 9] {
        let Arrival::Rejected(error) = arrive(&limiter, 1, Some(now + seconds * SECOND)) else {
            panic!("the call should be rejected");
        };
        let rejection = error.downcast::<RateLimited>().unwrap();
        assert_eq!(rejection.reason(), RateLimitedReason::Deadline);
        assert_eq!(rejection.retry_after(), 10 * SECOND);
    }
    let mut exactly = queued(&limiter, Some(now + 10 * SECOND));
    advance(10 * SECOND).await;
    assert_admitted(&mut exactly);
    // A call that needn't wait is sent even after its deadline.
    advance(10 * SECOND).await;
    assert!(matches!(arrive(&limiter, 1, Some(now)), Arrival::Sent(_)));
}

#[tokio::test(start_paused = true)]
async fn queue_prediction_includes_other_quotas_of_the_head() {
    let cents = Quota::per_minute(10).margin(Duration::ZERO).named("cents");
    let limiter = limiter_of(vec![ten_seconds(9), cents], 120 * SECOND);
    let arrive = |cents, deadline| arrive_with(&limiter, Costs::new(1).and(cents), deadline);
    assert!(matches!(arrive(10, None), Arrival::Sent(_)));
    let Arrival::Queued(_head) = arrive(10, None) else { panic!("the call should wait") };
    // The call costs no cents, but is behind the one that does.
    let Arrival::Rejected(error) = arrive(0, Some(time::now() + 59 * SECOND)) else {
        panic!("the call should be rejected");
    };
    let rejection = error.downcast::<RateLimited>().unwrap();
    assert_eq!((rejection.limit(), rejection.retry_after()), (Some("cents"), 60 * SECOND));
    assert!(matches!(arrive(0, Some(time::now() + 60 * SECOND)), Arrival::Queued(..)));
}

#[tokio::test(start_paused = true)]
async fn queue_deadline_behind_longer_waiting_head_expires() {
    let limiter = limiter(ten_seconds(1), 300 * SECOND);
    assert_sent(&limiter);
    let mut head = queued(&limiter, None);
    let mut second = queued(&limiter, Some(time::now() + 30 * SECOND));
    // A pause that exceeds the second call's deadline only.
    limiter.apply_verdict(&Verdict::throttled().with_retry_after(100 * SECOND));
    assert!(head.is_woken());
    assert_pending!(head.poll());
    advance(30 * SECOND + GRACE).await;
    assert!(second.is_woken());
    let until_free = (80 * SECOND).saturating_sub(GRACE);
    assert_eq!(rejection(&mut second), (RateLimitedReason::Deadline, until_free));
    assert_eq!(limiter.state.lock().waiting, 1);
    // A completed call that isn't dropped blocks no other call.
    let mut last = queued(&limiter, None);
    advance(70 * SECOND).await;
    assert_admitted(&mut head);
    assert_pending!(last.poll());
    advance(10 * SECOND).await;
    assert_admitted(&mut last);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn queue_wait_limit_ending_as_units_free_up_is_admitted() {
    let limiter = limiter(ten_seconds(5), 10 * SECOND);
    (0..5).for_each(|_| assert_sent(&limiter));
    let mut queue: Vec<_> = (0..5).map(|_| queued(&limiter, None)).collect();
    assert!(matches!(arrive(&limiter, 1, None), Arrival::Rejected(_)));
    advance(10 * SECOND).await;
    // Polled from the back: the order of polls doesn't matter.
    for call in queue[1..].iter_mut().rev() {
        assert_pending!(call.poll());
    }
    queue.iter_mut().for_each(assert_admitted);
}

#[tokio::test(start_paused = true)]
async fn queue_refund_before_head_sleeps_wakes_head() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    let Arrival::Sent(permit) = arrive(&limiter, 1, None) else {
        panic!("the call should be sent")
    };
    let Arrival::Queued(call) = arrive(&limiter, 1, None) else { panic!("the call should wait") };
    let mut call = task::spawn(call);
    // Refunded before the head's first attempt.
    permit.on_failure(&Verdict::not_sent());
    let reservation = assert_ready!(call.poll()).unwrap();
    // Refunded after it, before the head sleeps: the notification is stored.
    let mut next = queued(&limiter, None);
    drop(reservation);
    assert!(next.is_woken());
    assert_admitted(&mut next);
}

#[tokio::test(start_paused = true)]
async fn reservation_not_sent_keeps_its_units() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    assert_sent(&limiter);
    let mut first = queued(&limiter, None);
    advance(10 * SECOND).await;
    let mut reservation = assert_ready!(first.poll()).unwrap();
    let mut waiting = queued(&limiter, None);
    for _ in 0..5 {
        advance(10 * SECOND).await;
        assert_pending!(waiting.poll());
    }
    assert!(reservation.send().is_some());
    advance(5 * SECOND).await;
    assert_pending!(waiting.poll());
    advance(5 * SECOND).await;
    assert_admitted(&mut waiting);
}

#[tokio::test(start_paused = true)]
async fn retired_limiter_sends_nothing() {
    for quota in [ten_seconds(2), Quota::new(2, 10 * SECOND).burst(2)] {
        let limiter = limiter(quota.clone(), 60 * SECOND);
        assert_sent(&limiter);
        assert!(!limiter.state.lock().retire(limiter.now()), "spent units aren't evicted");
        assert_sent(&limiter);
        advance(20 * SECOND).await;
        assert!(limiter.state.lock().retire(limiter.now()));
        assert!(!matches!(arrive(&limiter, 1, None), Arrival::Sent(_)), "{quota:?}");
    }
}

#[test]
fn queue_many_threads_lose_no_wake_up() {
    let year = Duration::from_secs(365 * 86_400);
    let limiter = refund_on_many_threads(Quota::new(2, year));
    assert_eq!(limiter.state.lock().quotas[0].remaining(limiter.now()), 2);
    let limiter = refund_on_many_threads(Quota::new(1, year).burst(2));
    // A paced refund may be smaller than its charge, by the time between the two.
    std::thread::sleep(SECOND);
    assert_eq!(limiter.state.lock().quotas[0].remaining(limiter.now()), 2);
}

/// Sends calls on several threads, and refunds each at once. At most two pass at a time. A waiting
/// call is woken by a refund; if a wake-up were lost, it would sleep for the quota's window.
fn refund_on_many_threads(quota: Quota) -> ShardRef<Limiter> {
    const CALLS: u32 = 20_000;
    let limiter = limiter(quota, Duration::MAX);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8 {
            let limiter = limiter.clone();
            tasks.spawn(async move {
                for call in 0..CALLS / 8 {
                    let reserved = match arrive(&limiter, 1 + (call % 2), None) {
                        Arrival::Sent(permit) => Err(permit),
                        Arrival::Queued(queued) => {
                            let mut queued = Box::pin(queued);
                            if (call + task) % 5 == 0 {
                                let once = std::future::poll_fn(|cx| {
                                    Poll::Ready(queued.as_mut().poll(cx))
                                });
                                let Poll::Ready(result) = once.await else {
                                    continue;
                                };
                                Ok(result.unwrap())
                            } else {
                                Ok(queued.await.unwrap())
                            }
                        }
                        Arrival::Rejected(error) => panic!("{error}"),
                    };
                    if call % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    // Sent or reserved, the units are refunded.
                    match reserved {
                        Ok(reservation) => drop(reservation),
                        Err(permit) => permit.on_failure(&Verdict::not_sent()),
                    }
                }
            });
        }
        tasks.join_all().await;
    });
    assert_eq!(limiter.state.lock().waiting, 0);
    limiter
}
