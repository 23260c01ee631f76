use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::verdict::{Cause, Verdict};

fn withdrawals(budget: &RetryBudget) -> u32 {
    let mut count = 0;
    while budget.withdraw(&Verdict::transient()) {
        count += 1;
    }
    count
}

fn paused<T>(f: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(f)
}

#[test]
fn budget_starts_with_the_reserve() {
    let budget = RetryBudget::new().ratio(0.0).per_second(0.0).reserve(3);
    assert_eq!(budget.remaining(), 3);
    assert_eq!(withdrawals(&budget), 3);
    budget.deposit();
    assert!(!budget.withdraw(&Verdict::transient()));
    budget.release(&Verdict::transient());
    assert_eq!(withdrawals(&budget), 1);
}

#[test]
fn budget_ratio_of_requests_is_retried() {
    let budget = RetryBudget::new().ratio(0.2).per_second(0.0).reserve(10);
    withdrawals(&budget);
    for _ in 0..4 {
        budget.deposit();
        assert!(!budget.withdraw(&Verdict::transient()));
    }
    budget.deposit();
    assert_eq!(withdrawals(&budget), 1);
    (0..1_000).for_each(|_| budget.deposit());
    assert_eq!(withdrawals(&budget), 10);
}

#[test]
fn budget_small_ratio_is_not_rounded_away() {
    let budget = RetryBudget::new().ratio(0.0001).per_second(0.0).reserve(10);
    withdrawals(&budget);
    (0..20_000).for_each(|_| budget.deposit());
    assert_eq!(withdrawals(&budget), 2);
}

#[test]
fn budget_ratio_is_not_rounded_up() {
    let budget = RetryBudget::new().ratio(0.0006).per_second(0.0).reserve(10);
    withdrawals(&budget);
    (0..5_000).for_each(|_| budget.deposit());
    assert_eq!(withdrawals(&budget), 3);
}

#[tokio::test(start_paused = true)]
async fn budget_per_second_refills_with_time() {
    let budget = RetryBudget::new().ratio(0.0).per_second(0.1).reserve(10);
    withdrawals(&budget);
    tokio::time::advance(Duration::from_secs(25)).await;
    assert_eq!(withdrawals(&budget), 2);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(withdrawals(&budget), 1);
    tokio::time::advance(Duration::from_secs(1_000_000)).await;
    assert_eq!(budget.remaining(), 10);
}

#[tokio::test(start_paused = true)]
async fn budget_frequent_refills_keep_fractions() {
    for millis in [1, 2, 5, 15, 19, 33] {
        let budget = RetryBudget::new().ratio(0.0).per_second(0.1).reserve(100);
        withdrawals(&budget);
        let mut granted = 0;
        for _ in 0..100_000 / millis {
            tokio::time::advance(Duration::from_millis(millis)).await;
            granted += withdrawals(&budget);
        }
        assert!((9..=10).contains(&granted), "{granted} withdrawals, one each {millis} ms");
    }
}

#[test]
fn budget_invalid_numbers_are_zero() {
    for invalid in [f64::NAN, f64::NEG_INFINITY, -1.0, -0.0, 0.0, f64::MIN_POSITIVE] {
        let budget = RetryBudget::new().ratio(invalid).per_second(invalid).reserve(1);
        assert_eq!(withdrawals(&budget), 1);
        paused(async {
            budget.deposit();
            tokio::time::advance(Duration::from_secs(1_000_000)).await;
            assert!(!budget.withdraw(&Verdict::transient()));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn budget_infinite_rates_keep_to_the_reserve() {
    for huge in [f64::INFINITY, f64::MAX, 1e300, 1e12] {
        let budget = RetryBudget::new().ratio(huge).per_second(0.0).reserve(4);
        assert_eq!(withdrawals(&budget), 4);
        budget.deposit();
        assert_eq!(withdrawals(&budget), 4);
        let budget = RetryBudget::new().ratio(0.0).per_second(huge).reserve(4);
        assert_eq!(withdrawals(&budget), 4);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(withdrawals(&budget), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn budget_largest_reserve_does_not_overflow() {
    let budget =
        RetryBudget::new().ratio(f64::INFINITY).per_second(f64::INFINITY).reserve(u32::MAX);
    assert_eq!(budget.remaining(), u32::MAX);
    assert!(budget.withdraw(&Verdict::transient()));
    assert_eq!(budget.remaining(), u32::MAX - 1);
    budget.deposit();
    budget.release(&Verdict::transient());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(budget.remaining(), u32::MAX);
}

#[test]
fn budget_zero_reserve_allows_no_retries() {
    let budget = RetryBudget::new().ratio(1.0).per_second(1000.0).reserve(0);
    (0..100).for_each(|_| budget.deposit());
    assert!(!budget.withdraw(&Verdict::transient()));
    budget.release(&Verdict::transient());
    assert!(!budget.withdraw(&Verdict::transient()));
}

#[test]
fn budget_release_fills_up_to_the_reserve() {
    let budget = RetryBudget::new().ratio(1.0).per_second(0.0).reserve(2);
    assert!(budget.withdraw(&Verdict::transient()));
    budget.deposit();
    budget.release(&Verdict::transient());
    assert_eq!(budget.remaining(), 2);
}

#[test]
fn budget_threads_never_overdraw() {
    let budget = RetryBudget::new().ratio(0.0).per_second(0.0).reserve(1000);
    let granted: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| withdrawals(&budget))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(granted, 1000);
}

/// Returns 3 for a timeout, and otherwise 0, which is taken as 1.
fn costly_timeouts(verdict: &Verdict) -> u32 {
    if *verdict == TIMEOUT { 3 } else { 0 }
}

const TIMEOUT: Verdict = Verdict::transient().with_cause(Cause::Timeout);

#[test]
fn budget_cost_fn_charges_by_verdict() {
    let budget = RetryBudget::new().ratio(0.0).per_second(0.0).reserve(8).cost_fn(costly_timeouts);
    assert!(budget.withdraw(&TIMEOUT));
    assert_eq!(budget.remaining(), 5);
    assert!(budget.withdraw(&Verdict::not_sent()));
    assert_eq!(budget.remaining(), 4);
    assert!(budget.withdraw(&TIMEOUT));
    assert!(!budget.withdraw(&TIMEOUT), "one retry is left");
    assert!(budget.withdraw(&Verdict::not_sent()));
    budget.release(&TIMEOUT);
    assert_eq!(budget.remaining(), 3);
    let costly =
        RetryBudget::new().ratio(0.0).per_second(0.0).reserve(u32::MAX).cost_fn(|_| u32::MAX);
    assert_eq!(withdrawals(&costly), 1);
}

#[test]
fn tower_budget_deposits_and_withdraws() {
    // Each deposit pays for two withdrawals.
    let budget = tower::retry::budget::TpsBudget::new(Duration::from_secs(10), 0, 2.0);
    let budget: Arc<dyn Budget> = Arc::new(TowerBudget::new(budget));
    let withdraw = || budget.withdraw(&Verdict::transient());
    assert!(!withdraw());
    budget.deposit();
    assert_eq!([withdraw(), withdraw(), withdraw()], [true, true, false]);
    budget.release(&Verdict::transient());
    assert!(!withdraw(), "tower's budget has no refund");
}

/// Returns the number of sends in ten minutes, and the maximum of one minute, of a client at this rate
/// whose requests all fail and are retried up to twice if the budget allows.
async fn sends_of_a_failing_client(budget: RetryBudget, per_minute: u32) -> (u32, u32) {
    let (mut total, mut worst) = (0, 0);
    for _ in 0..10 {
        let mut minute = 0;
        for _ in 0..per_minute {
            tokio::time::advance(Duration::from_secs(60) / per_minute).await;
            budget.deposit();
            let retries = (0..2).filter(|_| budget.withdraw(&Verdict::transient()));
            minute += 1 + u32::try_from(retries.count()).unwrap();
        }
        total += minute;
        worst = worst.max(minute);
    }
    (total, worst)
}

#[tokio::test(start_paused = true)]
async fn budget_default_fits_small_quotas() {
    // A client at half its quota stays within it while everything fails.
    for quota in [60, 120, 600, 6_000] {
        let (total, worst) = sends_of_a_failing_client(RetryBudget::default(), quota / 2).await;
        assert!(worst <= quota, "{worst} in a minute of {quota}");
        let (requests, reserve_and_rate) = (f64::from(quota / 2 * 10), 10.0 + 0.1 * 600.0);
        assert!(
            f64::from(total) <= requests * 1.2 + reserve_and_rate + 1.0,
            "{total} of {requests}"
        );
    }
    let (_, worst) =
        sends_of_a_failing_client(RetryBudget::new().ratio(0.2).per_second(0.03).reserve(3), 10)
            .await;
    assert!(worst <= 20, "{worst} in a minute of 20");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Request,
    Retry,
    /// A retry that costs three.
    AfterTimeout,
    /// A retry that is cancelled at once.
    Cancelled,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Request),
        6 => Just(Step::Retry),
        2 => Just(Step::AfterTimeout),
        1 => Just(Step::Cancelled),
        1 => (0..3_000u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn budget_any_span_bounds_retries(
        ratio in 0.0..2.0f64, rate in 0.0..5.0f64, reserve in 0..12u32,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        // For each step: requests, seconds and the cost of retries.
        let mut log = Vec::new();
        paused(async {
            let budget = RetryBudget::new().ratio(ratio).per_second(rate).reserve(reserve).cost_fn(costly_timeouts);
            for step in steps {
                match step {
                    Step::Request => {
                        budget.deposit();
                        log.push((1.0, 0.0, 0));
                    }
                    Step::Retry => log.push((0.0, 0.0, u32::from(budget.withdraw(&Verdict::transient())))),
                    Step::AfterTimeout => log.push((0.0, 0.0, 3 * u32::from(budget.withdraw(&TIMEOUT)))),
                    Step::Cancelled => {
                        if budget.withdraw(&Verdict::transient()) {
                            budget.release(&Verdict::transient());
                        }
                    }
                    Step::Pass(millis) => {
                        tokio::time::advance(Duration::from_millis(millis)).await;
                        log.push((0.0, Duration::from_millis(millis).as_secs_f64(), 0));
                    }
                }
            }
        });
        for from in 0..log.len() {
            let (mut requests, mut seconds, mut retries) = (0.0, 0.0, 0);
            for (request, second, retry) in &log[from..] {
                requests += request;
                seconds += second;
                retries += retry;
                let bound = ratio * requests + rate * seconds + f64::from(reserve);
                prop_assert!(f64::from(retries) <= bound + 1e-6);
            }
        }
    }
}
