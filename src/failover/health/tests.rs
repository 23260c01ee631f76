use super::*;

const RECOVERY: Recovery = Recovery {
    first: secs(10),
    most: secs(60),
    hint_cap: Duration::MAX,
    good_calls: 2,
    ramp: secs(30),
};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A region's timeline, data in seconds.
struct Timeline {
    health: HealthState,
    start: Instant,
    recovery: Recovery,
}

impl Timeline {
    fn new() -> Self {
        let start = time::now();
        Self { health: HealthState::new(start), start, recovery: RECOVERY }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + secs(second)
    }

    /// A call sent at one second fails at another.
    fn fails(&mut self, sent: u64, now: u64, asked: Option<u64>) -> Option<Change> {
        let (sent, now) = (self.at(sent), self.at(now));
        self.health.failed(&self.recovery, asked.map(secs), sent, now, 0.0)
    }

    fn succeeds(&mut self, sent: u64, now: u64) -> Option<Change> {
        let (sent, now) = (self.at(sent), self.at(now));
        self.health.succeeded(&self.recovery, sent, now)
    }

    /// Until when it is out, in seconds.
    fn out_until(&self) -> Option<u64> {
        match self.health.availability(TimeOrigin::new(self.start)) {
            Availability::Out { until } => Some(until / 1_000_000_000),
            _ => None,
        }
    }

    fn ramping_until(&self) -> Option<u64> {
        match self.health.availability(TimeOrigin::new(self.start)) {
            Availability::Ramping { until } => Some(until / 1_000_000_000),
            _ => None,
        }
    }
}

const fn lost(out_for: u64) -> Change {
    Change::Out { out_for: secs(out_for) }
}

#[test]
fn out_then_probing_then_back_gradually() {
    let mut timeline = Timeline::new();
    assert_eq!(timeline.succeeds(0, 0), None);
    assert_eq!(timeline.fails(0, 1, None), Some(lost(10)));
    assert_eq!(timeline.out_until(), Some(11));
    assert_eq!(timeline.succeeds(12, 12), None);
    assert_eq!(timeline.succeeds(13, 13), Some(Change::Recovered));
    assert_eq!(timeline.ramping_until(), Some(43));
    assert_eq!(timeline.succeeds(20, 42), None);
    assert_eq!(timeline.ramping_until(), Some(43));
    assert_eq!(timeline.succeeds(20, 43), None);
    assert_eq!(timeline.health.availability(TimeOrigin::new(timeline.start)), Availability::Fit);
}

#[test]
fn cooldowns_grow_until_it_has_quite_come_back() {
    let mut timeline = Timeline::new();
    let mut now = 0;
    for (expected, change) in [(10, Some(lost(10))), (20, None), (40, None), (60, None), (60, None)]
    {
        assert_eq!(timeline.fails(now, now, None), change);
        assert_eq!(timeline.out_until(), Some(now + expected));
        now += expected;
    }
    // Recovered, and lost again within the ramp: it grows on.
    timeline.succeeds(now, now);
    assert_eq!(timeline.succeeds(now, now), Some(Change::Recovered));
    assert_eq!(timeline.fails(now, now + 29, None), Some(lost(60)));
    // Recovered, and lost again after it.
    now += 29 + 60;
    timeline.succeeds(now, now);
    timeline.succeeds(now, now);
    assert_eq!(timeline.fails(now, now + 30, None), Some(lost(10)));
}

#[test]
fn one_failure_probing_is_enough() {
    let mut timeline = Timeline::new();
    timeline.fails(0, 0, None);
    timeline.succeeds(10, 10);
    assert_eq!(timeline.fails(10, 11, None), None);
    assert_eq!(timeline.out_until(), Some(31));
    timeline.succeeds(31, 31);
    assert_eq!(timeline.succeeds(31, 31), Some(Change::Recovered));
}

#[test]
fn the_calls_in_flight_when_it_failed_count_once() {
    let mut timeline = Timeline::new();
    assert!(timeline.fails(0, 1, None).is_some());
    for now in 1..9 {
        assert_eq!(timeline.fails(0, now, None), None);
    }
    assert_eq!(timeline.out_until(), Some(11));
    // Nor do they when it is probed, or healthy again.
    timeline.fails(0, 12, None);
    assert_eq!(timeline.out_until(), Some(11));
    timeline.succeeds(12, 12);
    timeline.succeeds(12, 12);
    assert_eq!(timeline.fails(0, 15, None), None);
    assert_eq!(timeline.ramping_until(), Some(42));
}

#[test]
fn a_success_of_a_call_sent_before_it_was_lost_brings_nothing_back() {
    let mut timeline = Timeline::new();
    timeline.recovery.good_calls = 1;
    timeline.fails(0, 5, None);
    assert_eq!(timeline.succeeds(4, 6), None);
    assert_eq!(timeline.out_until(), Some(15));
    // One that was sent since, for want of a better region, does.
    assert_eq!(timeline.succeeds(6, 7), Some(Change::Recovered));
}

#[test]
fn phases_of_one_instant_are_notified_separately() {
    let mut timeline = Timeline::new();
    timeline.recovery.good_calls = 1;
    timeline.fails(0, 0, None);
    assert_eq!(timeline.succeeds(0, 1), None);
    assert_eq!(timeline.out_until(), Some(10));
}

#[test]
fn it_is_out_for_as_long_as_the_server_asks_and_only_moves_later() {
    let mut timeline = Timeline::new();
    assert_eq!(timeline.fails(0, 0, Some(300)), Some(lost(300)));
    assert_eq!(timeline.out_until(), Some(300));
    timeline.fails(0, 1, Some(5));
    assert_eq!(timeline.out_until(), Some(300));
    // Not even a success, or a check that finds it well, ends that.
    timeline.recovery.good_calls = 1;
    assert_eq!(timeline.succeeds(2, 3), None);
    timeline.health.found_well(timeline.at(4));
    assert_eq!(timeline.out_until(), Some(300));
    assert_eq!(timeline.succeeds(300, 300), Some(Change::Recovered));
}

#[test]
fn who_only_asks_to_wait_has_no_cooldown_that_grows() {
    let mut timeline = Timeline::new();
    let asks = |timeline: &mut Timeline, sent, now, wait| {
        timeline.health.asked_to_wait(secs(wait), timeline.at(sent), timeline.at(now))
    };
    assert_eq!(asks(&mut timeline, 0, 1, 4), Some(lost(4)));
    // Sent before, and shorter: nothing new.
    assert_eq!(asks(&mut timeline, 0, 2, 60), None);
    assert_eq!(asks(&mut timeline, 2, 2, 1), None);
    assert_eq!(timeline.out_until(), Some(5));
    // Again, while probed, and it only moves later.
    assert_eq!(asks(&mut timeline, 5, 5, 4), None);
    assert_eq!(timeline.out_until(), Some(9));
    timeline.health.found_well(timeline.at(6));
    assert_eq!(timeline.out_until(), Some(9));
    assert_eq!(timeline.fails(9, 9, None), None);
    assert_eq!(timeline.out_until(), Some(19));
    // Once it is fully healthy again, its history is cleared.
    timeline.succeeds(19, 19);
    assert_eq!(timeline.succeeds(19, 19), Some(Change::Recovered));
    assert_eq!(asks(&mut timeline, 60, 60, 4), Some(lost(4)));
    assert_eq!(timeline.fails(64, 64, None), None);
    assert_eq!(timeline.out_until(), Some(74));
}

#[test]
fn a_check_ends_a_cooldown_but_not_one_that_it_was_wrong_about_before() {
    let mut timeline = Timeline::new();
    timeline.fails(0, 0, None);
    timeline.health.found_well(timeline.at(4));
    assert_eq!(timeline.out_until(), Some(4));
    timeline.fails(5, 5, None);
    timeline.health.found_well(timeline.at(6));
    assert_eq!(timeline.out_until(), Some(25));
    assert_eq!(timeline.health.last_check(), Some(timeline.at(6)));
}

#[test]
fn what_a_check_finds_wanting_is_out_until_the_next_one() {
    let mut timeline = Timeline::new();
    let (now, next) = (timeline.at(1), timeline.at(17));
    let change = timeline.health.found_wanting(&RECOVERY, next, now, 0.0);
    assert_eq!(change, Some(lost(10)));
    assert_eq!(timeline.out_until(), Some(17));
    let (now, next) = (timeline.at(11), timeline.at(27));
    assert_eq!(timeline.health.found_wanting(&RECOVERY, next, now, 0.0), None);
    assert_eq!(timeline.out_until(), Some(27));
    timeline.health.found_well(timeline.at(21));
    assert_eq!(timeline.out_until(), Some(21));
}

#[test]
fn a_fleet_does_not_come_back_together() {
    let mut timeline = Timeline::new();
    timeline.health.failed(&RECOVERY, None, timeline.start, timeline.start, 1.0);
    assert_eq!(timeline.out_until(), Some(11));
}

#[test]
fn without_a_ramp_it_is_back_at_once() {
    let mut timeline = Timeline::new();
    timeline.recovery.ramp = Duration::ZERO;
    timeline.recovery.good_calls = 0;
    timeline.fails(0, 0, None);
    assert_eq!(timeline.succeeds(10, 10), Some(Change::Recovered));
    assert_eq!(timeline.health.availability(TimeOrigin::new(timeline.start)), Availability::Fit);
}

#[test]
fn a_reset_drops_all_but_the_check() {
    let mut timeline = Timeline::new();
    timeline.health.found_well(timeline.at(1));
    assert_eq!(timeline.health.reset(timeline.at(2)), None);
    timeline.fails(2, 2, Some(99));
    assert_eq!(timeline.health.reset(timeline.at(3)), Some(Change::Recovered));
    assert_eq!(timeline.health.availability(TimeOrigin::new(timeline.start)), Availability::Fit);
    assert_eq!(timeline.health.last_check(), Some(timeline.at(1)));
}

#[test]
fn extremes_do_not_overflow() {
    let recovery = Recovery {
        first: Duration::MAX,
        most: Duration::MAX,
        hint_cap: Duration::MAX,
        good_calls: u32::MAX,
        ramp: Duration::MAX,
    };
    let now = time::now();
    let mut health = HealthState::new(now);
    for _ in 0..100 {
        health.failed(&recovery, Some(Duration::MAX), now, now, 1.0);
        health.succeeded(
            &Recovery { good_calls: 0, ..recovery },
            time::after(now, Duration::MAX),
            now,
        );
    }
    assert!(health.availability(TimeOrigin::new(now)).is_out(1));
}
