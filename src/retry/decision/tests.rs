use proptest::prelude::*;

use super::*;
use crate::event::Decision;
use crate::hint::Hint;
use crate::time;
use crate::verdict::Cause;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A policy and the facts of a call, which the tables vary.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a column of the table
struct Given {
    policy: Policy,
    attempt: u32,
    idempotent: bool,
    replayable: bool,
    other_region: bool,
    has_previous_result: bool,
    has_unpaid_attempt: bool,
    left: Option<Duration>,
    budget: bool,
}

/// Returns three attempts, a wait of a second and hints of up to a minute; the first attempt of an
/// idempotent, replayable request; and budget for a retry.
fn given() -> Given {
    let policy = Policy {
        max_attempts: 3,
        backoff: Backoff::constant(secs(1)),
        hint_use: HintUse::Floor,
        hint_cap: secs(60),
        non_idempotent: false,
        fail_fast: false,
        retry_if: None,
    };
    Given {
        policy,
        attempt: 1,
        idempotent: true,
        replayable: true,
        other_region: false,
        has_previous_result: false,
        has_unpaid_attempt: true,
        left: None,
        budget: true,
    }
}

impl Given {
    fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// As for a `POST`.
    fn not_idempotent(self) -> Self {
        Self { idempotent: false, ..self }
    }

    fn not_replayable(self) -> Self {
        Self { replayable: false, ..self }
    }

    /// A failover below has another region.
    fn with_other_region(self) -> Self {
        Self { other_region: true, ..self }
    }

    /// The result of an earlier attempt is kept.
    fn with_previous_result(self) -> Self {
        Self { has_previous_result: true, ..self }
    }

    /// Nothing was sent since the budget last paid.
    fn nothing_unpaid(self) -> Self {
        Self { has_unpaid_attempt: false, ..self }
    }

    fn left(self, left: Duration) -> Self {
        Self { left: Some(left), ..self }
    }

    fn no_budget_left(self) -> Self {
        Self { budget: false, ..self }
    }

    fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    fn retry_if(self, retry: bool) -> Self {
        self.policy(|policy| policy.retry_if = Some(Arc::new(move |_| retry)))
    }

    fn hint_use(self, hint_use: HintUse) -> Self {
        self.policy(|policy| policy.hint_use = hint_use)
    }

    /// Returns whether the budget pays for a retry after this verdict.
    fn is_costly(&self, verdict: &Verdict) -> bool {
        !self.other_region && (self.has_unpaid_attempt || verdict.class() != Class::CircuitOpen)
    }

    /// Returns the decision and the number of withdrawals.
    fn decide(&self, verdict: Verdict) -> (Decision, u32) {
        let (decision, withdrawals, _) = self.decide_and_count(verdict);
        (decision, withdrawals)
    }

    /// Returns the decision, the number of withdrawals and the number of failures that the budget received.
    fn decide_and_count(&self, verdict: Verdict) -> (Decision, u32, u32) {
        let now = time::now();
        let facts = AttemptFacts {
            attempts_made: self.attempt,
            max_attempts: self.policy.max_attempts,
            idempotent: self.idempotent,
            replayable: self.replayable,
            other_region: self.other_region,
            has_previous_result: self.has_previous_result,
            has_unpaid_attempt: self.has_unpaid_attempt,
            now,
            deadline: self.left.map(|left| now + left),
        };
        let (mut withdrawals, mut failures) = (0, 0);
        let failed = || failures += 1;
        let backoff = |backoff: &Backoff| backoff.wait(0, None, &mut fastrand::Rng::with_seed(1));
        let withdraw = || {
            withdrawals += 1;
            self.budget
        };
        let decision = self.policy.decide(&verdict, facts, failed, backoff, withdraw);
        (decision, withdrawals, failures)
    }
}

const CLASSES: [Class; 10] = [
    Class::Success,
    Class::Throttled,
    Class::Overloaded,
    Class::NotSent,
    Class::Transient,
    Class::QuotaExhausted,
    Class::CredentialRejected,
    Class::Rejected,
    Class::CircuitOpen,
    Class::Local,
];

fn verdict(class: Class) -> Verdict {
    Verdict::new(class)
}

fn hinted(class: Class, wait: u64) -> Verdict {
    Verdict::new(class).with_retry_after(secs(wait))
}

fn said(class: Class, should_retry: bool) -> Verdict {
    Verdict::new(class).with_hint(Hint { should_retry: Some(should_retry), ..Hint::NONE })
}

const fn retry(wait: u64) -> Decision {
    Decision::Retry { wait: secs(wait) }
}

const fn stop(reason: StopReason) -> Decision {
    Decision::Stop(reason)
}

#[track_caller]
fn check(rows: &[(Given, Verdict, Decision)]) {
    for (number, (given, verdict, expected)) in rows.iter().enumerate() {
        let (decision, withdrawals) = given.decide(*verdict);
        assert_eq!(decision, *expected, "row {number}: {verdict:?}");
        let costs = match decision {
            Decision::Retry { .. } => given.is_costly(verdict),
            Decision::Return => false,
            Decision::Stop(reason) => reason == StopReason::Budget,
        };
        assert_eq!(withdrawals, u32::from(costs), "row {number}: withdrawals from the budget");
    }
}

#[test]
fn decide_each_class_retries_what_may_pass() {
    use StopReason::{CredentialRejected, NotIdempotent, QuotaExhausted};
    let safe = given;
    let post = || given().not_idempotent();
    check(&[
        (safe(), verdict(Class::Success), Decision::Return),
        (post(), verdict(Class::Success), Decision::Return),
        (safe(), verdict(Class::Throttled), retry(1)),
        (post(), verdict(Class::Throttled), retry(1)),
        (safe(), verdict(Class::Overloaded), retry(1)),
        (post(), verdict(Class::Overloaded), stop(NotIdempotent)),
        (post(), hinted(Class::Overloaded, 5), retry(5)),
        (safe(), verdict(Class::NotSent), retry(1)),
        (post(), verdict(Class::NotSent), retry(1)),
        (safe(), verdict(Class::Transient), retry(1)),
        (post(), verdict(Class::Transient), stop(NotIdempotent)),
        (post(), hinted(Class::Transient, 5), stop(NotIdempotent)),
        (safe(), verdict(Class::QuotaExhausted), stop(QuotaExhausted)),
        (post(), verdict(Class::QuotaExhausted), stop(QuotaExhausted)),
        (safe(), verdict(Class::CredentialRejected), stop(CredentialRejected)),
        (post(), verdict(Class::CredentialRejected), stop(CredentialRejected)),
        (safe(), verdict(Class::Rejected), Decision::Return),
        (post(), verdict(Class::Rejected), Decision::Return),
        (safe(), verdict(Class::CircuitOpen), stop(StopReason::CircuitOpen)),
        (safe().left(secs(60)), verdict(Class::CircuitOpen), retry(1)),
        (
            safe().left(secs(60)).policy(|policy| policy.fail_fast = true),
            verdict(Class::CircuitOpen),
            stop(StopReason::CircuitOpen),
        ),
        (
            safe().with_other_region().policy(|policy| policy.fail_fast = true),
            verdict(Class::CircuitOpen),
            retry(0),
        ),
        (post().left(secs(60)), verdict(Class::CircuitOpen), retry(1)),
        (safe(), verdict(Class::Local), Decision::Return),
        (post(), verdict(Class::Local), Decision::Return),
        (safe().with_previous_result(), verdict(Class::Local), stop(StopReason::RejectedLocally)),
        (
            safe().with_previous_result(),
            Verdict::new(Class::Local).with_cause(Cause::Deadline),
            Decision::Return,
        ),
        (post().policy(|policy| policy.non_idempotent = true), verdict(Class::Transient), retry(1)),
    ]);
}

#[test]
fn decide_server_hint_is_obeyed() {
    use StopReason::{HintAboveCap, ServerSaidNo};
    let above = |requested| stop(HintAboveCap { requested: secs(requested), cap: secs(60) });
    check(&[
        // The hint is the shortest wait; the backoff may be longer.
        (given(), hinted(Class::Throttled, 5), retry(5)),
        (
            given().policy(|policy| policy.backoff = Backoff::constant(secs(9))),
            hinted(Class::Throttled, 5),
            retry(9),
        ),
        (given().hint_use(HintUse::Replace), hinted(Class::Throttled, 5), retry(5)),
        (
            given()
                .hint_use(HintUse::Replace)
                .policy(|policy| policy.backoff = Backoff::constant(secs(9))),
            hinted(Class::Throttled, 5),
            retry(5),
        ),
        (given().hint_use(HintUse::Replace), verdict(Class::Throttled), retry(1)),
        (given().hint_use(HintUse::Ignore), hinted(Class::Throttled, 5), retry(1)),
        // The cap.
        (given(), hinted(Class::Throttled, 60), retry(60)),
        (given(), hinted(Class::Throttled, 61), above(61)),
        (given().hint_use(HintUse::Replace), hinted(Class::Overloaded, 61), above(61)),
        (given().hint_use(HintUse::Ignore), hinted(Class::Throttled, 61), retry(1)),
        (
            given().policy(|policy| policy.hint_cap = Duration::MAX),
            hinted(Class::Throttled, 86_400),
            retry(86_400),
        ),
        (given().left(secs(60)), hinted(Class::CircuitOpen, 30), retry(30)),
        // The hint of a local circuit is neither ignored nor capped.
        (given().left(secs(99)), hinted(Class::CircuitOpen, 90), retry(90)),
        (given().left(secs(99)).hint_use(HintUse::Ignore), hinted(Class::CircuitOpen, 9), retry(9)),
        (given().left(secs(90)), hinted(Class::CircuitOpen, 90), stop(StopReason::Deadline)),
        // `x-should-retry`.
        (given(), said(Class::Throttled, false), stop(ServerSaidNo)),
        (given(), said(Class::Transient, false), stop(ServerSaidNo)),
        (given().retry_if(true), said(Class::Transient, false), stop(ServerSaidNo)),
        (given().hint_use(HintUse::Ignore), said(Class::Transient, false), stop(ServerSaidNo)),
        (given().not_idempotent(), said(Class::Transient, true), retry(1)),
        (given().not_idempotent(), said(Class::Rejected, true), retry(1)),
        (given(), said(Class::Success, true), Decision::Return),
        (given(), said(Class::Local, true), Decision::Return),
        (given(), said(Class::QuotaExhausted, true), stop(StopReason::QuotaExhausted)),
        (given(), said(Class::CredentialRejected, true), stop(StopReason::CredentialRejected)),
    ]);
}

/// Like any other 404, one with `x-should-retry: false` isn't a failure of the upstream.
#[test]
fn decide_rejected_request_with_server_no_returns() {
    check(&[
        (given(), said(Class::Rejected, false), Decision::Return),
        (given().retry_if(true), said(Class::Rejected, false), Decision::Return),
    ]);
}

/// Another region is called at once and without cost, whatever the hint. All other rules apply.
#[test]
fn decide_other_region_is_immediate_and_free() {
    use StopReason::{Deadline, MaxAttempts, NotIdempotent, NotReplayable, ServerSaidNo};
    let other = || given().with_other_region();
    check(&[
        (other(), verdict(Class::Transient), retry(0)),
        (other(), hinted(Class::Overloaded, 5), retry(0)),
        (other(), hinted(Class::Throttled, 90), retry(0)),
        (other().hint_use(HintUse::Replace), hinted(Class::Throttled, 90), retry(0)),
        (other(), hinted(Class::CircuitOpen, 90), retry(0)),
        (other().left(Duration::from_millis(1)), hinted(Class::Throttled, 90), retry(0)),
        (other().left(Duration::ZERO), verdict(Class::Transient), stop(Deadline)),
        (other().attempt(3), verdict(Class::Transient), stop(MaxAttempts)),
        (other().not_idempotent(), verdict(Class::Transient), stop(NotIdempotent)),
        (other().not_replayable(), verdict(Class::Transient), stop(NotReplayable)),
        (other().no_budget_left(), verdict(Class::Transient), retry(0)),
        (other(), said(Class::Transient, false), stop(ServerSaidNo)),
        (other(), verdict(Class::Rejected), Decision::Return),
    ]);
}

#[test]
fn decide_retry_if_overrides_default() {
    use StopReason::NotRetryable;
    check(&[
        (given().retry_if(false), verdict(Class::Throttled), stop(NotRetryable)),
        (given().retry_if(false), verdict(Class::CircuitOpen), stop(NotRetryable)),
        (given().retry_if(false), verdict(Class::Rejected), Decision::Return),
        (given().retry_if(true), verdict(Class::Rejected), retry(1)),
        (given().retry_if(true), verdict(Class::Success), Decision::Return),
        (given().retry_if(true), verdict(Class::Local), Decision::Return),
        (given().retry_if(true), verdict(Class::QuotaExhausted), stop(StopReason::QuotaExhausted)),
        (
            given().retry_if(true).not_idempotent(),
            verdict(Class::Transient),
            stop(StopReason::NotIdempotent),
        ),
    ]);
}

#[test]
fn decide_several_reasons_reports_the_first() {
    use StopReason::{
        Budget, CircuitOpen, Deadline, HintAboveCap, MaxAttempts, NotIdempotent, NotReplayable,
    };
    let worst = || given().not_idempotent().not_replayable().left(Duration::ZERO).no_budget_left();
    check(&[
        (worst().attempt(3), hinted(Class::Transient, 90), stop(MaxAttempts)),
        (worst(), hinted(Class::Transient, 90), stop(NotIdempotent)),
        (worst(), hinted(Class::Throttled, 90), stop(NotReplayable)),
        (
            Given { replayable: true, ..worst() },
            hinted(Class::Throttled, 90),
            stop(HintAboveCap { requested: secs(90), cap: secs(60) }),
        ),
        (Given { left: None, ..worst() }, verdict(Class::CircuitOpen), stop(CircuitOpen)),
        (Given { replayable: true, ..worst() }, hinted(Class::Throttled, 9), stop(Deadline)),
        (
            Given { replayable: true, left: None, ..worst() },
            hinted(Class::Throttled, 9),
            stop(Budget),
        ),
    ]);
}

#[test]
fn decide_attempts_deadline_and_budget_bound_retries() {
    use StopReason::{Budget, Deadline, MaxAttempts};
    let at_most = |attempts| given().policy(|policy| policy.max_attempts = attempts);
    let transient = verdict(Class::Transient);
    check(&[
        (given().attempt(2), transient, retry(1)),
        (given().attempt(3), transient, stop(MaxAttempts)),
        (given().attempt(4), transient, stop(MaxAttempts)),
        (at_most(0), transient, stop(MaxAttempts)),
        (at_most(1), transient, stop(MaxAttempts)),
        (at_most(u32::MAX).attempt(u32::MAX - 1), transient, retry(1)),
        (at_most(u32::MAX).attempt(u32::MAX), transient, stop(MaxAttempts)),
        // No time would be left after the wait.
        (given().left(secs(1)), transient, stop(Deadline)),
        (given().left(Duration::from_millis(1001)), transient, retry(1)),
        (given().left(secs(5)), hinted(Class::Throttled, 5), stop(Deadline)),
        (given().left(secs(5)).hint_use(HintUse::Ignore), hinted(Class::Throttled, 5), retry(1)),
        (
            given()
                .left(Duration::ZERO)
                .policy(|policy| policy.backoff = Backoff::constant(secs(0))),
            transient,
            stop(Deadline),
        ),
        (given().no_budget_left(), transient, stop(Budget)),
        (given().no_budget_left(), verdict(Class::NotSent), stop(Budget)),
        (given().no_budget_left().left(secs(9)), verdict(Class::CircuitOpen), stop(Budget)),
        (
            given().no_budget_left().left(secs(9)).nothing_unpaid(),
            verdict(Class::CircuitOpen),
            retry(1),
        ),
    ]);
}

#[test]
fn is_retryable_only_for_passing_failures() {
    for class in CLASSES {
        let passes = matches!(
            class,
            Class::Throttled
                | Class::Overloaded
                | Class::NotSent
                | Class::Transient
                | Class::CircuitOpen
        );
        assert_eq!(is_retryable(&verdict(class)), passes, "{class:?}");
        assert!(!is_retryable(&said(class, false)), "{class:?}");
        let requested = passes || class == Class::Rejected;
        assert_eq!(is_retryable(&said(class, true)), requested, "{class:?}");
    }
}

fn any_given() -> impl Strategy<Value = Given> {
    let policy = (
        0..6u32,
        0..20_000u64,
        prop_oneof![Just(HintUse::Floor), Just(HintUse::Replace), Just(HintUse::Ignore)],
        0..90_000u64,
        any::<[bool; 2]>(),
        proptest::option::of(any::<bool>()),
    );
    let facts = (1..7u32, any::<[bool; 5]>(), proptest::option::of(0..90_000u64), any::<bool>());
    (policy, facts).prop_map(|(policy, (attempt, facts, left, budget))| {
        let (max_attempts, wait, hint_use, cap, [non_idempotent, fail_fast], retry_if) = policy;
        let [idempotent, replayable, other_region, has_previous_result, has_unpaid_attempt] = facts;
        let policy = Policy {
            max_attempts,
            backoff: Backoff::constant(Duration::from_millis(wait)),
            hint_use,
            hint_cap: Duration::from_millis(cap),
            non_idempotent,
            fail_fast,
            retry_if: retry_if.map(|retry| Arc::new(move |_: &Verdict| retry) as RetryIf),
        };
        let left = left.map(Duration::from_millis);
        Given {
            policy,
            attempt,
            idempotent,
            replayable,
            other_region,
            has_previous_result,
            has_unpaid_attempt,
            left,
            budget,
        }
    })
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let hint = (proptest::option::of(0..90_000u64), proptest::option::of(any::<bool>()));
    (proptest::sample::select(&CLASSES[..]), hint).prop_map(|(class, (wait, should_retry))| {
        let retry_after = wait.map(Duration::from_millis);
        Verdict::new(class).with_hint(Hint { retry_after, should_retry, ..Hint::NONE })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn decide_any_input_keeps_the_invariants(given in any_given(), verdict in any_verdict()) {
        let (decision, withdrawals) = given.decide(verdict);
        let costs = given.is_costly(&verdict);
        let Given { policy, attempt, idempotent, replayable, other_region, left, budget, .. } = given;
        let hint = verdict.hint();
        match decision {
            Decision::Retry { wait } => {
                prop_assert!(!matches!(
                    verdict.class(),
                    Class::Success | Class::QuotaExhausted | Class::CredentialRejected | Class::Local
                ));
                prop_assert!(hint.should_retry != Some(false));
                prop_assert!(attempt < policy.max_attempts);
                prop_assert!(replayable);
                prop_assert!(
                    idempotent
                        || policy.non_idempotent
                        || verdict.is_unprocessed()
                        || hint.should_retry == Some(true)
                );
                let rejected_locally = verdict.class() == Class::CircuitOpen;
                let obeyed = policy.hint_use != HintUse::Ignore;
                if other_region {
                    prop_assert_eq!(wait, Duration::ZERO);
                } else if let Some(hint) = hint.retry_after && (rejected_locally || obeyed) {
                    prop_assert!(wait >= hint && (rejected_locally || hint <= policy.hint_cap));
                }
                prop_assert!(left.is_none_or(|left| wait < left));
                prop_assert!(!rejected_locally || other_region || !policy.fail_fast && left.is_some());
                prop_assert!(budget || !costs);
                prop_assert_eq!(withdrawals, u32::from(costs));
            }
            Decision::Stop(StopReason::Budget) => {
                prop_assert!(costs && !budget);
                prop_assert_eq!(withdrawals, 1);
            }
            Decision::Stop(_) | Decision::Return => prop_assert_eq!(withdrawals, 0),
        }
        // No failure is returned without a reason, and no success becomes a failure.
        let quiet = matches!(verdict.class(), Class::Success | Class::Rejected | Class::Local);
        prop_assert!(quiet || decision != Decision::Return);
        prop_assert!(!verdict.is_success() || decision == Decision::Return);
        let rejected_locally = if given.has_previous_result { stop(StopReason::RejectedLocally) } else { Decision::Return };
        prop_assert!(verdict.class() != Class::Local || decision == rejected_locally);
    }
}

#[test]
fn decide_retryable_failure_notifies_budget_once() {
    let failures = |given: &Given, verdict| given.decide_and_count(verdict).2;
    let no = Hint::NONE.with_should_retry(false);
    let rows = [
        (given(), Verdict::transient(), 1),
        (given(), Verdict::throttled(), 1),
        (given(), Verdict::overloaded().with_hint(no), 1),
        (given().attempt(3), Verdict::transient(), 1),
        (given().not_idempotent(), Verdict::transient(), 1),
        (given().not_replayable(), Verdict::transient(), 1),
        (given(), Verdict::new(Class::CircuitOpen), 0),
        (given(), Verdict::success(), 0),
        (given(), Verdict::rejected(), 0),
        (given(), Verdict::rejected().with_hint(no), 0),
        (given(), Verdict::quota_exhausted(), 0),
        (given(), Verdict::credential_rejected(), 0),
    ];
    for (given, verdict, expected) in rows {
        assert_eq!(failures(&given, verdict), expected, "{verdict:?}");
    }
}
