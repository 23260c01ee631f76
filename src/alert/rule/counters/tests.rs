use super::*;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn counters_count_calls_by_measure() {
    let limit = Duration::from_millis(50);
    let measures = [Measure::Failures, Measure::Slower(limit), Measure::Retries];
    let counts = ResultCounters::default();
    let (fast, slow) = (limit, limit + Duration::from_nanos(1));
    for _ in 0..10 {
        counts.timed_success(&measures, fast);
    }
    counts.timed_success(&measures, slow);
    counts.failure(&measures, fast);
    counts.failure(&measures, slow);
    counts.failure(&measures, slow);
    counts.retry(&measures);
    assert_eq!(counts.total(0), CallCounts { calls: 14, bad: 3 });
    // A call that failed within the limit does not count for a latency.
    assert_eq!(counts.total(1), CallCounts { calls: 13, bad: 3 });
    assert_eq!(counts.total(2).bad, 1);
}

#[test]
fn counters_many_threads_lose_no_call() {
    let (counts, measures) = (ResultCounters::default(), [Measure::Failures]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for n in 0..10_000 {
                    match n % 10 {
                        0 => counts.failure(&measures, Duration::ZERO),
                        _ => _ = counts.success(),
                    }
                }
            });
        }
    });
    assert_eq!(counts.total(0), CallCounts { calls: 80_000, bad: 8_000 });
}

#[test]
fn in_flight_call_past_limit_hangs_until_it_ends() {
    let flight = InFlightCounter::new(LIMIT);
    let start = time::now();
    let mut cohorts = Cohorts::new(start);
    let hanging = flight.begin();
    let mut detected_at = None;
    for second in 0..10_000 {
        let brief = flight.begin();
        let hanging_now = flight.hanging(&mut cohorts, start + Duration::from_secs(second));
        if hanging_now > 0 {
            assert_eq!(hanging_now, 1, "after {second} s");
            detected_at.get_or_insert(second);
        }
        flight.end(brief);
    }
    let detected_at = detected_at.unwrap();
    assert!((60..=60 + 60 / 4).contains(&detected_at), "{detected_at}");
    flight.end(hanging);
    assert_eq!(flight.hanging(&mut cohorts, start + Duration::from_secs(10_000)), 0);
}

#[test]
fn in_flight_calls_within_limit_do_not_hang() {
    let flight = InFlightCounter::new(LIMIT);
    let start = time::now();
    let mut cohorts = Cohorts::new(start);
    let mut calls = std::collections::VecDeque::new();
    for second in 0..10_000 {
        calls.push_back(flight.begin());
        if calls.len() > 59 {
            flight.end(calls.pop_front().unwrap());
        }
        let now = start + Duration::from_secs(second);
        assert_eq!(flight.hanging(&mut cohorts, now), 0, "after {second} s");
    }
}

#[test]
fn in_flight_all_slots_occupied_new_calls_do_not_count() {
    let flight = InFlightCounter::new(LIMIT);
    let start = time::now();
    let mut cohorts = Cohorts::new(start);
    let mut hanging = Vec::new();
    let at = |second| start + Duration::from_secs(second);
    for second in 0..1000 {
        hanging.push(flight.begin());
        flight.hanging(&mut cohorts, at(second));
    }
    let count = flight.hanging(&mut cohorts, at(1000));
    // 15 cohorts of 15 seconds.
    assert!((200..=240).contains(&count), "{count}");
    hanging.drain(..).for_each(|slot| flight.end(slot));
    assert_eq!(flight.hanging(&mut cohorts, at(1015)), 0);
    let _one = flight.begin();
    flight.hanging(&mut cohorts, at(1030));
    assert_eq!(flight.hanging(&mut cohorts, at(1091)), 1, "a slot is free again");
}

#[test]
fn in_flight_calls_may_end_on_other_threads() {
    let flight = InFlightCounter::new(LIMIT);
    let slots: Vec<_> = (0..100).map(|_| flight.begin()).collect();
    std::thread::scope(|scope| {
        let flight = &flight;
        for slot in slots {
            scope.spawn(move || flight.end(slot));
        }
    });
    assert_eq!(flight.count(0), 0);
}
