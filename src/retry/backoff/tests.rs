use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn without_jitter(base: Duration) -> Backoff {
    Backoff::exponential(base).jitter(Jitter::None)
}

#[test]
fn exponential_doubles_up_to_max() {
    let waits: Vec<_> =
        without_jitter(SECOND).max(Duration::from_secs(60)).waits(0).take(8).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs));
}

#[test]
fn constant_any_retry_is_the_same() {
    let backoff = Backoff::constant(SECOND);
    for retry in [0, 1, 31, 32, 64, u32::MAX] {
        assert_eq!(backoff.wait(retry, None, &mut random()), SECOND);
    }
}

/// With the bound of an exponential backoff, the jitter would have no effect.
#[test]
fn constant_with_additive_jitter_exceeds_base() {
    let backoff = Backoff::constant(SECOND).jitter(Jitter::Additive(SECOND));
    let waits: Vec<_> = backoff.waits(1).take(20).collect();
    assert!(waits.iter().all(|wait| *wait >= SECOND && *wait <= 2 * SECOND));
    assert!(waits.iter().any(|wait| *wait > 5 * SECOND / 4));
}

#[test]
fn exponential_more_than_32_doublings() {
    let backoff = without_jitter(Duration::from_nanos(1)).max(Duration::MAX);
    assert_eq!(backoff.wait(40, None, &mut random()), Duration::from_nanos(1 << 40));
    let backoff = without_jitter(Duration::from_nanos(1));
    assert_eq!(backoff.wait(40, None, &mut random()), Duration::from_secs(10));
}

#[test]
fn backoff_extremes_saturate() {
    let jitters = [
        Jitter::None,
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
        Jitter::Additive(Duration::MAX),
        Jitter::Additive(Duration::ZERO),
    ];
    for jitter in jitters {
        for base in [Duration::ZERO, Duration::from_nanos(1), SECOND, Duration::MAX] {
            for retry in [0, 1, 31, 32, 63, 64, 94, 95, u32::MAX] {
                for last in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
                    let backoff = Backoff::exponential(base).max(Duration::MAX).jitter(jitter);
                    _ = backoff.wait(retry, last, &mut random());
                    let none = backoff.max(Duration::ZERO).wait(retry, last, &mut random());
                    assert_eq!(none, Duration::ZERO);
                }
            }
        }
    }
    let longest = without_jitter(SECOND).max(Duration::MAX).wait(u32::MAX, None, &mut random());
    assert_eq!(longest, Duration::MAX);
}

#[test]
fn backoff_min_above_max_wins() {
    let backoff = Backoff::exponential(SECOND).min(2 * SECOND).max(SECOND);
    for wait in backoff.waits(3).take(20) {
        assert_eq!(wait, 2 * SECOND);
    }
}

#[test]
fn backoff_min_bounds_full_jitter() {
    let backoff = Backoff::exponential(SECOND).min(SECOND / 2);
    assert!(backoff.waits(3).take(200).all(|wait| wait >= SECOND / 2));
}

#[test]
fn jitter_equal_and_additive_keep_their_bounds() {
    let equal = Backoff::exponential(4 * SECOND).max(4 * SECOND).jitter(Jitter::Equal);
    assert!(equal.waits(1).take(200).all(|wait| wait >= 2 * SECOND && wait <= 4 * SECOND));
    let added = Backoff::constant(SECOND).max(60 * SECOND).jitter(Jitter::Additive(SECOND));
    assert!(added.waits(1).take(200).all(|wait| wait >= SECOND && wait <= 2 * SECOND));
}

/// `sleep = min(cap, random_between(base, sleep * 3))`, starting with the base.
#[test]
fn jitter_decorrelated_follows_brooker() {
    let cap = 7 * SECOND;
    let backoff = Backoff::exponential(SECOND).max(cap).jitter(Jitter::Decorrelated);
    let mut at_cap = 0;
    for seed in 0..2000 {
        let waits: Vec<_> = backoff.waits(seed).take(6).collect();
        let mut last = SECOND;
        for wait in waits {
            assert!(wait >= SECOND && wait <= (3 * last).min(cap), "{wait:?} after {last:?}");
            if last == cap {
                // The cap cuts off 14 of the 20 seconds between the base and 21 s.
                at_cap += i32::from(wait == cap) * 6 - i32::from(wait != cap) * 14;
            }
            last = wait;
        }
    }
    assert!(at_cap.abs() < 2000, "{at_cap}");
}

#[test]
fn jitter_decorrelated_first_wait_is_random() {
    let backoff = Backoff::exponential(SECOND).jitter(Jitter::Decorrelated);
    let first: Vec<_> = (0..100).map(|seed| backoff.waits(seed).next().unwrap()).collect();
    let average = first.iter().sum::<Duration>() / 100;
    assert!(average > 3 * SECOND / 2 && average < 5 * SECOND / 2, "{average:?}");
}

#[test]
fn waits_same_seed_is_repeatable() {
    let backoff = Backoff::default();
    assert!(backoff.waits(5).take(50).eq(backoff.waits(5).take(50)));
    assert!(!backoff.waits(5).take(50).eq(backoff.waits(6).take(50)));
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        (0..100_000u64).prop_map(Duration::from_millis),
        (any::<u64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        duration().prop_map(Jitter::Additive),
    ]
}

proptest! {
    #[test]
    fn backoff_any_input_stays_within_bounds(
        base in duration(), min in duration(), max in duration(), jitter in jitter(),
        retry in any::<u32>(), last in proptest::option::of(duration()), seed in any::<u64>(),
    ) {
        let backoff = Backoff::exponential(base).min(min).max(max).jitter(jitter);
        let wait = backoff.wait(retry, last, &mut fastrand::Rng::with_seed(seed));
        prop_assert!(wait >= min && wait <= max.max(min));
    }

    #[test]
    fn jitter_any_input_stays_within_its_range(
        base in duration(), max in duration(), retry in 0..200u32, seed in any::<u64>(),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let plain = without_jitter(base).max(max);
        let wait = plain.wait(retry, None, &mut random);
        let full = plain.jitter(Jitter::Full).wait(retry, None, &mut random);
        prop_assert!(full <= wait);
        let equal = plain.jitter(Jitter::Equal).wait(retry, None, &mut random);
        prop_assert!(equal >= wait / 2 && equal <= wait);
    }
}
