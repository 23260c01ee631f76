//! The paced meter against timestamps.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::rate_limit::Quota;
use crate::rate_limit::meter::Meter;

const INTERVAL: u64 = 1_000;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Take(u32),
    /// One of those that were taken is sent, or isn't.
    Send(Index),
    Restore(Index),
    /// One of those that were sent never left.
    Refund(Index),
    /// The same where the mark is too small, or isn't known.
    RefundUnsure(Index, Option<u64>),
}

fn steps(refunds: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        40 => (0..3 * INTERVAL).prop_map(Step::Wait),
        60 => (1..6_u32).prop_map(Step::Take),
        60 => any::<Index>().prop_map(Step::Send),
        10 => any::<Index>().prop_map(Step::Restore),
        refunds => any::<Index>().prop_map(Step::Refund),
        refunds.div_ceil(4) => (any::<Index>(), prop::option::of(0..5 * INTERVAL))
            .prop_map(|(index, smaller)| Step::RefundUnsure(index, smaller)),
    ];
    prop::collection::vec(step, 0..150)
}

/// When, how many units, and their mark.
type Sent = (u64, u32, u64);

/// Never above `burst + rate * time`, whichever call one counts from.
fn conforms(sent: &[Sent], burst: u32) {
    for (at, (from, ..)) in sent.iter().enumerate() {
        let mut units = 0;
        for (to, more, _) in &sent[at..] {
            units += u64::from(*more);
            assert!(
                units * INTERVAL <= u64::from(burst) * INTERVAL + (to - from),
                "{units} from {from} to {to}: {sent:?}"
            );
        }
    }
}

fn paced(burst: u32) -> PacedMeter {
    PacedMeter::new(0, Pace::new(1, Duration::from_nanos(INTERVAL), burst))
}

fn check(burst: u32, steps: Vec<Step>) {
    let mut paced = paced(burst);
    let (mut taken, mut sent, mut now) = (Vec::new(), Vec::<Sent>::new(), 0);
    let mut refunded = false;
    for step in steps {
        match step {
            Step::Wait(nanos) => now += nanos,
            Step::Take(units) if units <= burst => {
                let reserved = u64::from(taken.iter().sum::<u32>());
                let predicted = paced.available_at(now, reserved, units);
                // Without refunds it is GCRA to the nanosecond: the bucket's level.
                let level = sent.iter().fold((0, 0), |(level, last), (at, units, _)| {
                    let level = u64::saturating_sub(level, at - last);
                    (level + u64::from(*units) * INTERVAL, *at)
                });
                let level = level.0.saturating_sub(now - level.1);
                let wanted: u32 = taken.iter().sum::<u32>() + units;
                let fits = level + u64::from(wanted) * INTERVAL <= u64::from(burst) * INTERVAL;
                match paced.admit(now, reserved, units) {
                    Ok(()) => {
                        assert_eq!(predicted, now);
                        taken.push(units);
                    }
                    Err(at) => {
                        assert!(!fits || refunded);
                        assert!(at > now);
                        assert_eq!(predicted, at);
                    }
                }
                assert!(fits || refunded || taken.last() != Some(&units) || predicted > now);
            }
            Step::Send(index) if !taken.is_empty() => {
                let units = taken.swap_remove(index.index(taken.len()));
                let mark = paced.send(now, units.into());
                sent.push((now, units, mark));
            }
            Step::Restore(index) if !taken.is_empty() => {
                taken.swap_remove(index.index(taken.len()));
            }
            Step::Refund(index) if !sent.is_empty() => {
                let (at, units, mark) = sent.remove(index.index(sent.len()));
                paced.refund(now, units, at, Some(mark));
                refunded = true;
            }
            Step::RefundUnsure(index, smaller) if !sent.is_empty() => {
                let (at, units, mark) = sent.remove(index.index(sent.len()));
                let mark = smaller.map(|smaller| mark.wrapping_sub(smaller));
                paced.refund(now, units, at, mark);
                refunded = true;
            }
            _ => {}
        }
        conforms(&sent, burst);
    }
    // After a lull nothing is owed.
    let lull = u64::from(burst) * INTERVAL;
    assert_eq!(paced.used(now + lull), 0);
    paced.admit(now + lull, 0, burst).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn paced_never_exceeds_burst_and_rate(burst in 1_u32..12, steps in steps(1)) {
        check(burst, steps);
    }

    #[test]
    fn paced_refunds_add_no_burst_and_no_debt(burst in 1_u32..12, steps in steps(40)) {
        check(burst, steps);
    }

    #[test]
    fn paced_refund_at_once_restores_all_units(
        burst in 1_u32..12,
        before in 0_u32..12,
        wait in 0..5 * INTERVAL,
        units in 1_u32..12,
        smaller in prop::option::of(0..5 * INTERVAL),
    ) {
        let (mut paced, now) = (paced(burst), wait);
        if (1..=burst).contains(&before) {
            paced.send(0, before.into());
        }
        let used = paced.used(now);
        if units <= burst && paced.admit(now, 0, units).is_ok() {
            // The refund is complete, however small the mark is: nothing was replenished since.
            let mark = paced.send(now, units.into());
            paced.refund(now, units, now, smaller.map(|smaller| mark.wrapping_sub(smaller)));
        }
        assert_eq!(paced.used(now), used);
    }

    #[test]
    fn paced_other_pace_keeps_fractions_of_units(
        steps in prop::collection::vec((0..2_000_u32, 0_u32..2, 1_u32..5), 0..60),
    ) {
        let (mut paced, mut now, mut sent) = (paced(5), 0, Vec::new());
        // The units that are used, with fractions, and the interval of one unit.
        let (mut used, mut interval) = (0.0_f64, 1_000_u32);
        for (wait, units, intervals) in steps {
            now += u64::from(wait);
            used = (used - f64::from(wait) / f64::from(interval)).max(0.0);
            interval = intervals * 1_000;
            let pace = Pace::new(1, Duration::from_nanos(interval.into()), 5);
            if pace != paced.pace() {
                // Earlier units aren't refunded any more: they may be replenished.
                sent.clear();
            }
            paced.set_pace(now, pace);
            if paced.admit(now, 0, units).is_ok() {
                sent.push((now, units, paced.send(now, units.into())));
                used += f64::from(units);
            }
            let ahead = u32::try_from(paced.arrival.saturating_sub(now)).unwrap();
            let here = f64::from(ahead) / f64::from(interval);
            // A change rounds up, by less than a nanosecond.
            assert!(here >= used - 1e-6 && here < used + 0.1, "{here} {used}");
        }
        if let Some((at, units, mark)) = sent.pop() {
            let before = paced.used(now);
            paced.refund(now, units, at, Some(mark));
            assert_eq!(before - paced.used(now), u64::from(units));
        }
    }

    #[test]
    fn prediction_of_single_units_is_exact(
        burst in 1_u32..6,
        spent in 0_u32..6,
        ahead in 0_u64..40,
        later in 0..20 * INTERVAL,
    ) {
        let mut paced = paced(burst);
        if (1..=burst).contains(&spent) {
            paced.send(0, spent.into());
        }
        let predicted = paced.available_at(later, ahead, 1);
        let mut now = later;
        for _ in 0..=ahead {
            while let Err(at) = paced.admit(now, 0, 1) {
                assert!(at > now);
                now = at;
            }
            paced.send(now, 1);
        }
        assert_eq!(predicted, now);
    }
}

#[test]
fn paced_refunds_may_wrap_around() {
    let year = Duration::from_secs(365 * 86_400);
    let mut paced = PacedMeter::new(0, Pace::new(1, year, 2));
    let mut last = paced.send(0, 1);
    for _ in 0..2_000 {
        assert_eq!(paced.admit(0, 0, 1), Ok(()));
        let mark = paced.send(0, 1);
        paced.refund(0, 1, 0, Some(std::mem::replace(&mut last, mark)));
    }
    assert_eq!(paced.used(0), 1);
}

#[test]
fn paced_refund_after_longer_interval_excludes_replenished() {
    let quota = |interval| Quota::new(1, Duration::from_nanos(interval)).burst(2);
    for before in [quota(INTERVAL), Quota::new(2, Duration::from_nanos(2 * INTERVAL))] {
        let mut meter = Meter::new(0, &before);
        let mark = meter.send(0, 1);
        let now = 5 * INTERVAL;
        meter.set_quota(now, &quota(100 * INTERVAL));
        meter.send(now, 2);
        meter.refund(now, 1, 0, mark);
        assert_eq!(meter.used(now), 2);
    }
}
