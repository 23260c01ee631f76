use super::*;

const NOW: u64 = 1_000;
const FIT: Region = Region { availability: Availability::Fit, asked: false };
const GONE: Region = Region { availability: Availability::Gone, asked: false };
const DRAINED: Region = Region { availability: Availability::Drained, asked: false };

/// Recovered, with half of its share.
const RAMPING: Region =
    Region { availability: Availability::Ramping { until: NOW + 500 }, asked: false };

#[derive(Clone, Copy)]
struct Region {
    availability: Availability,
    asked: bool,
}

const fn out(until: u64) -> Region {
    Region { availability: Availability::Out { until: NOW + until }, asked: false }
}

const fn data(until: u64) -> Region {
    Region { asked: true, ..out(until) }
}

fn preference(tried: &[usize]) -> Preference {
    let mut seen = TriedRegions::NONE;
    for region in tried {
        seen.push(*region);
    }
    let ramp = Duration::from_micros(1);
    Preference { tried: seen, again: false, when_all_out: WhenAllOut::Primary, ramp, sticky: false }
}

fn by(
    preference: Preference,
    regions: &[(u64, Region)],
    random: f64,
    weights: &[u64],
) -> Option<usize> {
    let candidates = regions.iter().enumerate().map(|(number, (priority, region))| Candidate {
        number,
        priority: *priority,
        availability: region.availability,
        asked: region.asked,
        probing: false,
    });
    let weight = |number| weights.get(number).copied().unwrap_or(0);
    choose(candidates, &preference, || NOW, || random, weight)
}

fn selection(preference: Preference, regions: &[(u64, Region)]) -> Option<usize> {
    by(preference, regions, 0.7, &[])
}

#[test]
fn by_priority_and_what_is_tried_is_left_out() {
    let three = [(2, FIT), (1, FIT), (3, FIT)];
    for (tried, expected) in
        [(&[][..], Some(1)), (&[1], Some(0)), (&[0, 1], Some(2)), (&[0, 1, 2], None)]
    {
        assert_eq!(selection(preference(tried), &three), expected, "{tried:?}");
    }
    assert_eq!(selection(preference(&[]), &[]), None);
}

#[test]
fn among_equals_the_better_of_two_drawn() {
    let equals = [(1, FIT); 4];
    for draw in 0..100 {
        let chosen = by(preference(&[]), &equals, f64::from(draw) / 100.0, &[9, 1, 5, 7]).unwrap();
        // The worst of all is never the better of two; each other one is, at times.
        assert_ne!(chosen, 0);
    }
    let pairs: std::collections::BTreeSet<_> =
        (0..1_000).map(|draw| two_of(4, f64::from(draw) / 1_000.0)).collect();
    assert!(pairs.iter().all(|(one, other)| one < other && *other < 4));
    assert_eq!(pairs.len(), 6);
    assert_eq!(two_of(2, 1.0), (0, 1));
    // Of two the better one always, however they are drawn.
    for draw in [0.0, 0.5, 1.0] {
        assert_eq!(by(preference(&[]), &[(1, FIT), (1, FIT)], draw, &[300, 20]), Some(1));
    }
}

#[test]
fn while_all_are_fit_the_short_way_comes_to_the_same() {
    let weight = |number| [5, 3, 4, 1][number];
    for priorities in [[1, 2, 3, 4], [2, 1, 1, 3], [7, 7, 7, 7], [3, 2, 2, 2]] {
        for draw in 0..20 {
            let random = f64::from(draw) / 20.0;
            let fit = priorities.map(|priority| (priority, FIT));
            let regions = (0..).zip(priorities).map(|(number, priority)| (number, priority, true));
            let chosen = choose_of_fit(regions, || random, weight);
            assert_eq!(chosen, by(preference(&[]), &fit, random, &[5, 3, 4, 1]));
        }
    }
    let one_is_not = [(0, 1, true), (1, 2, false)];
    assert_eq!(choose_of_fit(one_is_not.into_iter(), || 0.0, weight), None);
    assert_eq!(choose_of_fit([].into_iter(), || 0.0, weight), None);
}

#[test]
fn a_sticky_call_goes_by_weight_alone() {
    let sticky = Preference { sticky: true, ..preference(&[]) };
    let four = [(1, FIT), (1, FIT), (1, FIT), (2, FIT)];
    assert_eq!(by(sticky, &four, 0.0, &[3, 2, 1, 0]), Some(2));
    assert_eq!(
        by(Preference { tried: preference(&[2]).tried, ..sticky }, &four, 0.0, &[3, 2, 1, 0]),
        Some(1)
    );
}

#[test]
fn what_comes_back_takes_its_share() {
    let two = [(1, RAMPING), (2, FIT)];
    assert_eq!(by(preference(&[]), &two, 0.4, &[]), Some(0));
    assert_eq!(by(preference(&[]), &two, 0.6, &[]), Some(1));
    // Beyond its share it is better than none, and than one that is out.
    assert_eq!(by(preference(&[1]), &two, 0.6, &[]), Some(0));
    assert_eq!(by(preference(&[]), &[(2, RAMPING), (1, out(1))], 0.9, &[]), Some(0));
}

#[test]
fn probing_it_takes_one_call_at_a_time() {
    let at = |number, priority, region: Region, probing| {
        let Region { availability, asked } = region;
        Candidate { number, priority, availability, asked, probing }
    };
    let chosen = |probing, tried: &[usize]| {
        let two = [at(0, 1, out(0), probing), at(1, 2, FIT, false)];
        choose(two.into_iter(), &preference(tried), || NOW, || 0.0, |_| 0)
    };
    assert_eq!(chosen(false, &[]), Some(0));
    assert_eq!(chosen(true, &[]), Some(1));
    assert_eq!(chosen(true, &[1]), Some(0));
    // Who may wait, or fail, doesn't come as a second one, unless it has failed elsewhere.
    for when_all_out in [WhenAllOut::FailFast, WhenAllOut::Wait] {
        for (tried, expected) in [(&[][..], None), (&[1], Some(0))] {
            let preference = Preference { when_all_out, ..preference(tried) };
            let trial = [at(0, 1, out(0), true)];
            assert_eq!(choose(trial.into_iter(), &preference, || NOW, || 0.0, |_| 0), expected);
        }
    }
}

#[test]
fn when_none_is_fit() {
    let regions = [(1, out(30)), (2, out(10)), (3, out(20))];
    let option = |when_all_out| Preference { when_all_out, ..preference(&[]) };
    assert_eq!(selection(option(WhenAllOut::Primary), &regions), Some(0));
    assert_eq!(selection(option(WhenAllOut::LeastBad), &regions), Some(1));
    assert_eq!(selection(option(WhenAllOut::FailFast), &regions), None);
    assert_eq!(selection(option(WhenAllOut::Wait), &regions), None);
    // One that has been everywhere begins anew where it failed longest ago.
    assert_eq!(selection(Preference { again: true, ..preference(&[]) }, &regions), Some(1));
    // A fit one is better than any of them.
    assert_eq!(selection(preference(&[]), &[(1, out(1)), (9, FIT)]), Some(1));
    assert_eq!(selection(preference(&[]), &[(1, out(1)), (9, DRAINED)]), Some(1));
}

#[test]
fn a_call_goes_on_to_what_is_out_before_it_fails() {
    let regions = [(1, FIT), (2, out(30)), (3, out(10))];
    assert_eq!(selection(preference(&[0]), &regions), Some(2));
    assert_eq!(selection(preference(&[0, 2]), &regions), Some(1));
    let option = |when_all_out| Preference { when_all_out, ..preference(&[0]) };
    assert_eq!(selection(option(WhenAllOut::FailFast), &regions), None);
}

#[test]
fn one_that_was_notified_to_wait_is_called_only_if_all_were() {
    assert_eq!(selection(preference(&[]), &[(1, data(9)), (2, out(99))]), Some(1));
    assert_eq!(selection(preference(&[1]), &[(1, data(9)), (2, out(99))]), None);
    assert_eq!(selection(preference(&[]), &[(1, data(9)), (2, data(5))]), Some(0));
    assert_eq!(selection(preference(&[]), &[(1, GONE), (2, data(5))]), Some(1));
    assert_eq!(selection(preference(&[]), &[(1, GONE)]), None);
}

#[test]
fn past_its_bound_nothing_is_remembered() {
    let mut tried = TriedRegions::NONE;
    for region in 0..100 {
        tried.push(region);
    }
    assert_eq!(tried.len(), TriedRegions::MOST);
}
