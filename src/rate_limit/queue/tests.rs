use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::error::{RateLimited, RateLimitedReason};
use crate::event::Observers;
use crate::rate_limit::Quota;
use crate::rate_limit::config::{Config, Settings};
use crate::rate_limit::limiter::Arrival;
use crate::rate_limit::permit::Permit;
use crate::sharded::{ShardRef, ShardedArc};
use crate::time::Instant;
use crate::verdict::Verdict;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(quota: Quota, max_wait: Duration) -> ShardRef<Limiter> {
    limiter_of(vec![quota], max_wait)
}

fn limiter_of(quotas: Vec<Quota>, max_wait: Duration) -> ShardRef<Limiter> {
    let settings = Settings {
        max_wait,
        max_waiting: usize::MAX,
        max_pause: Duration::MAX,
        taught: true,
        seed: Some(1),
        observers: Observers::default(),
    };
    let limiter = Limiter::new("test".into(), Arc::new(Config::new(quotas, settings)));
    ShardedArc::new(limiter).shard_ref()
}

/// What a call gets on arrival.
enum Entry {
    Pass(Permit),
    Wait(QueuedCall),
    Reject(BoxError),
}

fn enter(limiter: &ShardRef<Limiter>, cost: u32, deadline: Option<Instant>) -> Entry {
    enter_with(limiter, Costs::of(cost), deadline)
}

fn enter_with(limiter: &ShardRef<Limiter>, costs: Costs, deadline: Option<Instant>) -> Entry {
    let at = time::now();
    if let Some(fast_permit) = limiter.pass_fast(at, &costs) {
        return Entry::Pass(Permit::fast(limiter.clone(), &costs, fast_permit));
    }
    let arrival = Arrival { limiter: limiter.clone(), costs, at };
    if let Some(charges) = arrival.pass() {
        return Entry::Pass(Permit::locked(limiter.clone(), costs, charges));
    }
    match arrival.line_up(deadline) {
        Ok(ticket) => Entry::Wait(ticket),
        Err(error) => Entry::Reject(error),
    }
}

/// At most `limit` in any ten seconds.
fn ten_seconds(limit: u32) -> Quota {
    Quota::new(limit, 10 * SECOND).margin(Duration::ZERO)
}

fn passes(limiter: &ShardRef<Limiter>) {
    assert!(matches!(enter(limiter, 1, None), Entry::Pass(_)), "it should pass at once");
}

/// PendingCall in the queue, polled once.
fn waits(limiter: &ShardRef<Limiter>, deadline: Option<Instant>) -> task::Spawn<QueuedCall> {
    let Entry::Wait(ticket) = enter(limiter, 1, deadline) else {
        panic!("it should wait");
    };
    let mut ticket = task::spawn(ticket);
    assert_pending!(ticket.poll());
    ticket
}

fn is_served(ticket: &mut task::Spawn<QueuedCall>) {
    assert_ready!(ticket.poll()).expect("a permit").send().expect("an open gate");
}

fn reason(ticket: &mut task::Spawn<QueuedCall>) -> (RateLimitedReason, Duration) {
    let rejection = assert_ready!(ticket.poll()).unwrap_err().downcast::<RateLimited>().unwrap();
    (rejection.reason(), rejection.retry_after())
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_rejected_on_arrival() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    passes(&limiter);
    let now = time::now();
    for seconds in [0, 1, 9] {
        let Entry::Reject(error) = enter(&limiter, 1, Some(now + seconds * SECOND)) else {
            panic!("it should be turned away");
        };
        let rejection = error.downcast::<RateLimited>().unwrap();
        assert_eq!(rejection.reason(), RateLimitedReason::Deadline);
        assert_eq!(rejection.retry_after(), 10 * SECOND);
    }
    let mut exactly = waits(&limiter, Some(now + 10 * SECOND));
    advance(10 * SECOND).await;
    is_served(&mut exactly);
    // A deadline that has passed is no reason to turn away what passes at once.
    advance(10 * SECOND).await;
    assert!(matches!(enter(&limiter, 1, Some(now)), Entry::Pass(_)));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_waits_for_another_quota_is_foreseen() {
    let cents = Quota::per_minute(10).margin(Duration::ZERO).named("cents");
    let limiter = limiter_of(vec![ten_seconds(9), cents], 120 * SECOND);
    let enter = |cents, deadline| enter_with(&limiter, Costs::of(1).and(cents), deadline);
    assert!(matches!(enter(10, None), Entry::Pass(_)));
    let Entry::Wait(_head) = enter(10, None) else { panic!("it should wait") };
    // It costs no cents, and passes after the one before it.
    let Entry::Reject(error) = enter(0, Some(time::now() + 59 * SECOND)) else {
        panic!("it should be turned away");
    };
    let rejection = error.downcast::<RateLimited>().unwrap();
    assert_eq!((rejection.limit(), rejection.retry_after()), (Some("cents"), 60 * SECOND));
    assert!(matches!(enter(0, Some(time::now() + 60 * SECOND)), Entry::Wait(..)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_behind_a_head_with_more_max_wait() {
    let limiter = limiter(ten_seconds(1), 300 * SECOND);
    passes(&limiter);
    let mut patient = waits(&limiter, None);
    let mut hurried = waits(&limiter, Some(time::now() + 30 * SECOND));
    // A pause that the head waits for, and the next one can't.
    limiter.apply_verdict(&Verdict::throttled().with_retry_after(100 * SECOND));
    assert!(patient.is_woken());
    assert_pending!(patient.poll());
    advance(30 * SECOND + GRACE).await;
    assert!(hurried.is_woken());
    let until_free = (80 * SECOND).saturating_sub(GRACE);
    assert_eq!(reason(&mut hurried), (RateLimitedReason::Deadline, until_free));
    assert_eq!(limiter.status().waiting, 1);
    // A ticket that is kept after its end is in nobody's way.
    let mut last = waits(&limiter, None);
    advance(70 * SECOND).await;
    is_served(&mut patient);
    assert_pending!(last.poll());
    advance(10 * SECOND).await;
    is_served(&mut last);
    drop(hurried);
}

#[tokio::test(start_paused = true)]
async fn those_whose_max_wait_ends_when_units_come_free_are_served() {
    let limiter = limiter(ten_seconds(5), 10 * SECOND);
    (0..5).for_each(|_| passes(&limiter));
    let mut queue: Vec<_> = (0..5).map(|_| waits(&limiter, None)).collect();
    assert!(matches!(enter(&limiter, 1, None), Entry::Reject(_)));
    advance(10 * SECOND).await;
    // Polled from the back: only the turn decides.
    for ticket in queue[1..].iter_mut().rev() {
        assert_pending!(ticket.poll());
    }
    queue.iter_mut().for_each(is_served);
}

#[tokio::test(start_paused = true)]
async fn a_refund_between_the_look_and_the_sleep_is_not_missed() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    let Entry::Pass(permit) = enter(&limiter, 1, None) else { panic!("it should pass") };
    let Entry::Wait(ticket) = enter(&limiter, 1, None) else { panic!("it should wait") };
    let mut ticket = task::spawn(ticket);
    // Before the first look …
    permit.settle(&Verdict::not_sent());
    let reservation = assert_ready!(ticket.poll()).unwrap();
    // … and after it: the notification finds nobody asleep and is kept.
    let mut next = waits(&limiter, None);
    drop(reservation);
    assert!(next.is_woken());
    is_served(&mut next);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_is_not_sent_keeps_its_units_for_as_long_as_it_takes() {
    let limiter = limiter(ten_seconds(1), 60 * SECOND);
    passes(&limiter);
    let mut first = waits(&limiter, None);
    advance(10 * SECOND).await;
    let mut reservation = assert_ready!(first.poll()).unwrap();
    let mut waiting = waits(&limiter, None);
    for _ in 0..5 {
        advance(10 * SECOND).await;
        assert_pending!(waiting.poll());
    }
    assert!(reservation.send().is_some());
    advance(5 * SECOND).await;
    assert_pending!(waiting.poll());
    advance(5 * SECOND).await;
    is_served(&mut waiting);
}

#[tokio::test(start_paused = true)]
async fn none_passes_by_a_limiter_that_has_retired() {
    for quota in [ten_seconds(2), Quota::new(2, 10 * SECOND).burst(2)] {
        let limiter = limiter(quota, 60 * SECOND);
        passes(&limiter);
        assert!(!limiter.state_lock.state().retire(limiter.now()), "what is spent isn't evicted");
        passes(&limiter);
        advance(20 * SECOND).await;
        assert!(limiter.state_lock.state().retire(limiter.now()));
        assert!(!matches!(enter(&limiter, 1, None), Entry::Pass(_)), "{quota:?}");
    }
}

#[test]
fn many_threads_lose_no_wake_up() {
    let year = Duration::from_secs(365 * 86_400);
    let limiter = lose_no_wake_up(Quota::new(2, year));
    assert_eq!(limiter.status().remaining, 2);
    let limiter = lose_no_wake_up(Quota::new(1, year).burst(2));
    // A paced refund may be smaller than what was taken, by the time between the two.
    std::thread::sleep(SECOND);
    assert_eq!(limiter.status().remaining, 2);
}

/// No more than two pass at once, and give back at once what they took. A call that waits is woken
/// by another's refund; if a wake-up were lost, it would sleep for the quota's window.
fn lose_no_wake_up(quota: Quota) -> ShardRef<Limiter> {
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
                    let reserved = match enter(&limiter, 1 + (call % 2), None) {
                        Entry::Pass(permit) => Err(permit),
                        Entry::Wait(ticket) => {
                            let mut ticket = Box::pin(ticket);
                            if (call + task) % 5 == 0 {
                                let once = std::future::poll_fn(|cx| {
                                    Poll::Ready(ticket.as_mut().poll(cx))
                                });
                                let Poll::Ready(result) = once.await else {
                                    continue;
                                };
                                Ok(result.unwrap())
                            } else {
                                Ok(ticket.await.unwrap())
                            }
                        }
                        Entry::Reject(error) => panic!("{error}"),
                    };
                    if call % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    // Sent or not, it is given back.
                    match reserved {
                        Ok(reservation) => drop(reservation),
                        Err(permit) => permit.settle(&Verdict::not_sent()),
                    }
                }
            });
        }
        tasks.join_all().await;
    });
    assert_eq!(limiter.status().waiting, 0);
    limiter
}
