use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::*;

const HOUR: u64 = 3_600 * SECOND;

fn limits(headers: &[(&str, &str)]) -> Limits {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    Limits::from_headers(&headers)
}

/// A number of units left until a reset, in seconds.
fn left(remaining: &str, reset: &str) -> Limits {
    limits(&[("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)])
}

/// A limit per minute.
fn minute(limit: &str) -> Limits {
    limits(&[("ratelimit-policy", &format!("{limit};w=60")), ("ratelimit-limit", limit)])
}

fn sent(sent: u64, after: u64) -> Position {
    Position { sent, after }
}

fn after_replies(replies: &[(u64, Limits, Position)]) -> LearnedLimit {
    let mut learned = LearnedLimit::default();
    for (seconds, limits, sent) in replies {
        learned.learn(seconds * SECOND, limits, *sent, HOUR);
    }
    learned
}

#[test]
fn learned_remaining_holds_until_the_reset() {
    let mut learned = after_replies(&[(0, left("2", "10"), sent(1, 0))]);
    assert_eq!(learned.remaining(0, 0), 2);
    assert_eq!(learned.admit(0, 0, 3), Err(10 * SECOND));
    learned.take(2);
    assert_eq!(learned.admit(9 * SECOND, 0, 1), Err(10 * SECOND));
    assert_eq!(learned.admit(10 * SECOND, 0, 1), Ok(()));
    assert_eq!(learned.available_at(9 * SECOND, 0, 1), 10 * SECOND);
    learned.release(1);
    assert_eq!(learned.admit(9 * SECOND, 0, 1), Ok(()));
}

#[test]
fn learned_remaining_excludes_units_sent_since() {
    // Seven units were sent after the call that this response belongs to.
    let learned = after_replies(&[(0, left("10", "10"), sent(1, 7))]);
    assert_eq!(learned.remaining(0, 0), 3);
    let learned = after_replies(&[(0, left("5", "10"), sent(1, 7))]);
    assert_eq!(learned.remaining(0, 0), 0);
}

#[test]
fn learned_remaining_out_of_order_keeps_the_smallest() {
    let table = [
        // The same reset: observed in whole seconds, of another second.
        (vec![(0, left("5", "10"), sent(5, 0)), (1, left("9", "10"), sent(1, 0))], 1, 5),
        (vec![(0, left("9", "10"), sent(1, 0)), (1, left("5", "9"), sent(5, 0))], 1, 5),
        // A later reset: the later call's response holds.
        (vec![(0, left("1", "2"), sent(5, 0)), (1, left("60", "60"), sent(6, 0))], 1, 60),
        // The response to an earlier call arrives late.
        (vec![(0, left("60", "60"), sent(6, 0)), (1, left("0", "5"), sent(2, 0))], 1, 60),
        // After the reset it is new in any case.
        (vec![(0, left("0", "5"), sent(6, 0)), (6, left("9", "60"), sent(2, 0))], 6, 9),
    ];
    for (replies, at, remaining) in table {
        assert_eq!(after_replies(&replies).remaining(at * SECOND, 0), remaining, "{replies:?}");
    }
}

#[test]
fn learned_rate_is_lowered_at_once_and_raised_slowly() {
    let mut learned = after_replies(&[(0, minute("60"), sent(1, 0))]);
    assert_eq!(learned.capacity(), 60);
    learned.learn(SECOND, &minute("20"), sent(2, 0), HOUR);
    assert_eq!(learned.capacity(), 20);
    let mut seen = Vec::new();
    for second in 2..60 {
        learned.learn(second * SECOND, &minute("60"), sent(second, 0), HOUR);
        seen.push(learned.capacity());
    }
    assert!(seen[..5].iter().all(|limit| *limit <= 26), "{seen:?}");
    assert!(seen.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] - pair[0] <= 6), "{seen:?}");
    assert_eq!(seen.last(), Some(&60));
}

#[test]
fn learned_unreported_window_is_the_longest_reset() {
    let reply = |reset: &str| {
        limits(&[
            ("x-ratelimit-limit", "4"),
            ("x-ratelimit-remaining", "3"),
            ("x-ratelimit-reset", reset),
        ])
    };
    let mut learned = after_replies(&[(0, reply("3"), sent(1, 0)), (1, reply("10"), sent(2, 0))]);
    learned.learn(20 * SECOND, &reply("2"), sent(3, 0), HOUR);
    learned.send(30 * SECOND, 4);
    assert_eq!(learned.admit(40 * SECOND, 0, 1), Err(40 * SECOND + SECOND / 10));
    // A limit of which neither is observed has no rate.
    let learned = after_replies(&[(0, limits(&[("x-ratelimit-limit", "4")]), sent(1, 0))]);
    assert_eq!(learned.capacity(), u32::MAX);
}

#[test]
fn learned_binding_limit_and_shortest_window_apply() {
    let both = limits(&[
        ("x-ratelimit-limit-requests-minute", "60"),
        ("x-ratelimit-remaining-requests-minute", "59"),
        ("x-ratelimit-reset-requests-minute", "60"),
        ("x-ratelimit-limit-requests-day", "1000"),
        ("x-ratelimit-remaining-requests-day", "3"),
        ("x-ratelimit-reset-requests-day", "4000"),
    ]);
    let learned = after_replies(&[(0, both, sent(1, 0))]);
    assert_eq!((learned.remaining(0, 0), learned.capacity()), (3, 60));
    // No wait exceeds the longest pause.
    assert_eq!(learned.admit(0, 0, 4), Err(HOUR));
}

#[test]
fn learned_refund_restores_only_earlier_observations() {
    let mut learned = after_replies(&[(0, left("5", "10"), sent(3, 0))]);
    learned.take(1);
    learned.refund(0, 1, 0, 4);
    assert_eq!(learned.remaining(0, 0), 5);
    learned.refund(0, 1, 0, 2);
    assert_eq!(learned.remaining(0, 0), 5);
}

/// A limit, what is left of it, and the reset, in seconds.
fn of_limit(limit: &str, remaining: &str, reset: &str) -> Limits {
    limits(&[
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", remaining),
        ("x-ratelimit-reset", reset),
    ])
}

#[test]
fn learned_share_of_others_is_reserved_until_reset() {
    let mut learned = after_replies(&[(0, of_limit("10", "9", "60"), sent(1, 0))]);
    learned.send(SECOND, 2);
    // Of eight that are used, five are others': one was sent before anything was known.
    learned.learn(2 * SECOND, &of_limit("10", "2", "58"), sent(3, 0), HOUR);
    assert_eq!(learned.remaining(2 * SECOND, 0), 2);
    assert_eq!(learned.admit(2 * SECOND, 0, 3), Err(60 * SECOND));
    assert_eq!(learned.available_at(2 * SECOND, 2, 1), 60 * SECOND);
    assert_eq!(learned.admit(2 * SECOND, 0, 2), Ok(()));
    // In the server's next window they start anew, and ours are still remembered.
    assert_eq!(learned.remaining(60 * SECOND, 0), 8);
}

#[test]
fn learned_own_later_units_do_not_count_as_others() {
    let mut learned = after_replies(&[(0, of_limit("10", "10", "60"), sent(1, 0))]);
    learned.send(SECOND, 8);
    // The responses to the first two, in whichever order.
    learned.learn(2 * SECOND, &of_limit("10", "8", "58"), sent(3, 6), HOUR);
    learned.learn(2 * SECOND, &of_limit("10", "9", "58"), sent(2, 7), HOUR);
    assert_eq!(learned.remaining(2 * SECOND, 0), 2);
}

#[test]
fn learned_limit_counting_far_fewer_has_its_own_window() {
    let seen = |reply: Limits| {
        let mut learned = after_replies(&[(0, of_limit("5000", "4999", "3600"), sent(1, 0))]);
        learned.send(SECOND, 100);
        learned.learn(2 * SECOND, &reply, sent(101, 0), 2 * HOUR);
        learned.rate.unwrap().rate().window
    };
    let hour = Duration::from_secs(3_636);
    assert_eq!(seen(of_limit("30", "29", "60")), Duration::from_millis(60_600));
    assert_eq!(seen(of_limit("30", "0", "60")), hour);
    assert_eq!(seen(of_limit("2500", "2400", "3000")), hour);
}

/// What is configured.
const SIXTY: Rate = Rate { limit: 60, window: Duration::from_secs(60) };

/// When single units pass that are all wanted from the start.
fn passes(learned: &mut LearnedLimit, count: usize) -> Vec<u64> {
    let mut now = 0;
    let pass = |()| {
        while let Err(at) = learned.admit(now, 0, 1) {
            assert!(at > now);
            assert_eq!(learned.available_at(now, 0, 1), at);
            now = at;
        }
        learned.send(now, 1);
        now / SECOND
    };
    std::iter::repeat_n((), count).map(pass).collect()
}

#[test]
fn learned_rate_below_configured_is_paced() {
    let lowered = |limit| {
        let mut learned = after_replies(&[(0, minute(limit), sent(0, 0))]);
        learned.update_pace(0, Some(SIXTY));
        learned
    };
    // A tenth of it at once, and one every two seconds and a bit.
    let passed = passes(&mut lowered("30"), 31);
    assert_eq!(passed[..5], [0, 0, 0, 2, 4]);
    assert_eq!(passed[29..], [54, 60]);
    // What isn't lower goes at once; raised again, it does so from then on.
    assert_eq!(passes(&mut lowered("60"), 60), [0; 60]);
    let mut learned = lowered("30");
    assert!(learned.pace.is_some());
    for seconds in 0..60 {
        learned.learn(seconds * SECOND, &minute("60"), sent(0, 0), HOUR);
        learned.update_pace(seconds * SECOND, Some(SIXTY));
    }
    assert!(learned.pace.is_none());
}

#[test]
fn learned_pace_applies_to_costs_above_the_burst() {
    let mut learned = after_replies(&[(0, minute("30"), sent(0, 0))]);
    learned.update_pace(0, Some(SIXTY));
    // Five times what passes at once, and then as long as those take.
    assert_eq!(learned.admit(0, 0, 15), Ok(()));
    learned.send(0, 15);
    assert_eq!(learned.admit(0, 0, 15).map_err(|at| at / SECOND), Err(26));
}

#[test]
fn learned_limit_below_cost_admits_the_call_alone() {
    let mut learned = after_replies(&[(0, minute("30"), sent(0, 0))]);
    learned.update_pace(0, Some(SIXTY));
    assert_eq!(learned.admit(0, 0, 500), Ok(()));
    learned.send(0, 500);
    let free = 60 * SECOND + 6 * SECOND / 10;
    for cost in [1, 30, 500] {
        assert_eq!(learned.admit(SECOND, 0, cost), Err(free));
        assert_eq!(learned.available_at(SECOND, 0, cost), free);
        assert_eq!(learned.admit(free, 0, cost), Ok(()));
    }
    learned.send(free, 1);
    assert!(learned.admit(free, 0, 500).is_err());
}

#[test]
fn learned_pace_is_restored_by_refunds() {
    let mut learned = after_replies(&[(0, minute("30"), sent(0, 0))]);
    learned.update_pace(0, Some(SIXTY));
    for number in 0..100 {
        assert_eq!(learned.admit(0, 0, 1), Ok(()));
        learned.send(0, 1);
        learned.refund(0, 1, 0, number);
    }
}
