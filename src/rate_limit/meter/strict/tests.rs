//! The strict meter against timestamps.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const WINDOW: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u32),
    /// One of those that were taken is sent, or isn't.
    Send(Index),
    Restore(Index),
    /// One of those that were sent never left.
    Refund(Index),
}

fn steps(most: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..WINDOW / 3).prop_map(Step::Wait),
        1 => (0..3_u64).prop_map(|windows| Step::Wait(windows * WINDOW)),
        6 => (1..=most).prop_map(Step::Take),
        6 => any::<Index>().prop_map(Step::Send),
        1 => any::<Index>().prop_map(Step::Restore),
        2 => any::<Index>().prop_map(Step::Refund),
    ];
    prop::collection::vec(step, 0..150)
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    units: u32,
}

fn sum(sent: &[Sent], from: u64, to: u64) -> u64 {
    let inside = sent.iter().filter(|sent| from < sent.at && sent.at <= to);
    inside.map(|sent| u64::from(sent.units)).sum()
}

/// What is used `now`, for a window of this length.
fn used(taken: &[u32], sent: &[Sent], now: u64, window: u64) -> u64 {
    let taken: u64 = taken.iter().copied().map(u64::from).sum();
    // Times are counted from a window after zero, so that nothing underflows.
    taken + sum(sent, now - window, now)
}

fn strict(limit: u32) -> StrictMeter {
    StrictMeter::new(limit, Duration::from_nanos(WINDOW))
}

fn reserved(taken: &[u32]) -> u64 {
    taken.iter().copied().map(u64::from).sum()
}

fn check(limit: u32, steps: Vec<Step>) {
    let mut strict = strict(limit);
    let grain = if limit > StrictMeter::MAX_ENTRIES {
        WINDOW / u64::from(StrictMeter::MAX_ENTRIES)
    } else {
        0
    };
    let (mut taken, mut sent, mut now) = (Vec::new(), Vec::<Sent>::new(), 3 * WINDOW);
    for step in steps {
        match step {
            Step::Wait(nanos) => now += nanos,
            Step::Take(units) => {
                let left = u64::from(limit).checked_sub(u64::from(units));
                let (fits, surely) = (
                    left.is_some_and(|left| used(&taken, &sent, now, WINDOW) <= left),
                    left.is_some_and(|left| used(&taken, &sent, now, WINDOW + grain) <= left),
                );
                if units > limit {
                    continue;
                }
                let from = now - 3 * WINDOW;
                let predicted = strict.available_at(from, reserved(&taken), units);
                match strict.admit(from, reserved(&taken), units) {
                    Ok(()) => {
                        assert!(fits, "{units} taken of a spent quota: {taken:?} {sent:?}");
                        assert_eq!(predicted, from);
                        taken.push(units);
                    }
                    Err(at) => {
                        assert!(!surely, "{units} refused: {taken:?} {sent:?}");
                        assert!(at > from && at <= from + WINDOW + grain);
                        assert_eq!(predicted, at);
                        if taken.is_empty() && grain == 0 {
                            // Exactly then, and not before.
                            let at = at + 3 * WINDOW;
                            let room = |at| used(&[], &sent, at, WINDOW) + u64::from(units);
                            assert!(room(at) <= u64::from(limit));
                            assert!(room(at - 1) > u64::from(limit));
                        }
                    }
                }
            }
            Step::Send(index) if !taken.is_empty() => {
                let units = taken.swap_remove(index.index(taken.len()));
                strict.send(now - 3 * WINDOW, units.into());
                sent.push(Sent { at: now, units });
            }
            Step::Restore(index) if !taken.is_empty() => {
                taken.swap_remove(index.index(taken.len()));
            }
            Step::Refund(index) if !sent.is_empty() => {
                let sent = sent.swap_remove(index.index(sent.len()));
                strict.refund(sent.units, sent.at - 3 * WINDOW);
            }
            Step::Send(_) | Step::Restore(_) | Step::Refund(_) => {}
        }
        let used_here = strict.used(now - 3 * WINDOW) + reserved(&taken);
        let remaining = u64::from(limit).saturating_sub(used_here);
        let coarsely = used(&taken, &sent, now, WINDOW + grain);
        let at_least = u64::from(limit).saturating_sub(coarsely);
        let at_most = u64::from(limit) - used(&taken, &sent, now, WINDOW);
        assert!((at_least..=at_most).contains(&remaining), "{remaining} remain");
    }
    for last in &sent {
        assert!(sum(&sent, last.at - WINDOW, last.at) <= limit.into());
    }
    // After a quiet window nothing is lost.
    let later = now - 2 * WINDOW + grain;
    assert_eq!(strict.used(later), 0);
    strict.admit(later, 0, limit).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn strict_never_exceeds_the_limit_in_any_window(
        (limit, steps) in (1_u32..=50).prop_flat_map(|limit| (Just(limit), steps(limit.min(9)))),
    ) {
        check(limit, steps);
    }

    #[test]
    fn strict_large_limits_hold_for_any_costs(
        limit in prop_oneof![Just(40_000_u32), Just(16_384), Just(16_385), Just(u32::MAX)],
        large in steps(u32::MAX),
        steps in prop_oneof![steps(3), steps(30_000)],
    ) {
        check(limit, steps);
        check(limit, large);
    }

    #[test]
    fn prediction_of_single_units_is_exact(
        limit in 1_u32..10,
        gaps in prop::collection::vec(0..WINDOW / 2, 0..20),
        ahead in 0_u64..40,
        later in 0..3 * WINDOW,
    ) {
        let mut strict = strict(limit);
        // When each unit was sent, and then will be.
        let (mut sent, mut now) = (Vec::new(), 0);
        for gap in gaps {
            now += gap;
            if strict.admit(now, 0, 1).is_ok() {
                strict.send(now, 1);
                sent.push(now);
            }
        }
        let from = now + later;
        for _ in 0..=ahead {
            let before = sent.len().checked_sub(limit as usize);
            sent.push(before.map_or(from, |before| (sent[before] + WINDOW).max(from)));
        }
        assert_eq!(strict.available_at(from, ahead, 1), sent[sent.len() - 1]);
    }

    #[test]
    fn strict_set_rate_keeps_units_and_adds_no_burst(
        old in 1_u32..10,
        new in 1_u32..10,
        longer in prop_oneof![Just(WINDOW / 2), Just(WINDOW), Just(5 * WINDOW)],
        gaps in prop::collection::vec(0..WINDOW / 2, 0..60),
        at in 0_usize..60,
    ) {
        let mut strict = strict(old);
        let (mut sent, mut now, mut changed) = (Vec::<u64>::new(), 0, None);
        for (step, gap) in gaps.into_iter().enumerate() {
            now += gap;
            if step == at {
                let window = Duration::from_nanos(longer);
                strict.set_rate(now, Rate { limit: new, window });
                changed = Some(now);
            }
            if strict.admit(now, 0, 1).is_ok() {
                strict.send(now, 1);
                sent.push(now);
                let (limit, window) = changed.map_or((old, WINDOW), |_| (new, longer));
                let inside = sent.iter().filter(|sent| **sent + window > now).count();
                assert!(inside <= limit as usize, "{inside} in a window: {sent:?}");
            }
        }
        // What was evicted counts for a window at most.
        let quiet = now + longer.max(WINDOW);
        strict.admit(quiet, 0, changed.map_or(old, |_| new)).unwrap();
    }
}

#[test]
fn send_log_memory_is_bounded() {
    let grain = WINDOW / u64::from(StrictMeter::MAX_ENTRIES);
    let mut log = SendLog::new(grain);
    for now in (0..4 * WINDOW).step_by(7) {
        if let Some(free) = now.checked_sub(WINDOW) {
            log.evict(free);
        }
        log.push(1, now);
        assert!(log.entries.len() <= StrictMeter::MAX_ENTRIES as usize + 2);
    }
}

#[test]
fn send_log_remove_leaves_no_empty_entries() {
    let mut log = SendLog::new(0);
    log.push(1, 10);
    for at in 11..1_000 {
        log.push(1, at);
        log.remove(1, at - 1);
        assert_eq!((log.entries.len(), log.units()), (1, 1));
    }
    // What isn't there any more can't be taken out.
    log.remove(5, 3);
    log.remove(5, 5_000);
    assert_eq!(log.units(), 1);
    log.remove(5, 999);
    assert_eq!((log.entries.len(), log.units()), (0, 0));
}
