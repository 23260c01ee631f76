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

/// A region's life, told in seconds.
struct Life {
    health: Health,
    start: Instant,
    recovery: Recovery,
}

impl Life {
    fn new() -> Self {
        let start = time::now();
        Self { health: Health::new(start), start, recovery: RECOVERY }
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
        match self.health.standing(TimeOrigin::new(self.start)) {
            Standing::Out { until } => Some(until / 1_000_000_000),
            _ => None,
        }
    }

    fn ramping_until(&self) -> Option<u64> {
        match self.health.standing(TimeOrigin::new(self.start)) {
            Standing::Ramping { until } => Some(until / 1_000_000_000),
            _ => None,
        }
    }
}

const fn lost(out_for: u64) -> Change {
    Change::Lost { out_for: secs(out_for) }
}

#[test]
fn out_then_on_trial_then_back_by_and_by() {
    let mut life = Life::new();
    assert_eq!(life.succeeds(0, 0), None);
    assert_eq!(life.fails(0, 1, None), Some(lost(10)));
    assert_eq!(life.out_until(), Some(11));
    assert_eq!(life.succeeds(12, 12), None);
    assert_eq!(life.succeeds(13, 13), Some(Change::Back));
    assert_eq!(life.ramping_until(), Some(43));
    assert_eq!(life.succeeds(20, 42), None);
    assert_eq!(life.ramping_until(), Some(43));
    assert_eq!(life.succeeds(20, 43), None);
    assert_eq!(life.health.standing(TimeOrigin::new(life.start)), Standing::Fit);
}

#[test]
fn cooldowns_grow_until_it_has_quite_come_back() {
    let mut life = Life::new();
    let mut now = 0;
    for (expected, change) in [(10, Some(lost(10))), (20, None), (40, None), (60, None), (60, None)]
    {
        assert_eq!(life.fails(now, now, None), change);
        assert_eq!(life.out_until(), Some(now + expected));
        now += expected;
    }
    // Back, and lost again within the ramp: it grows on.
    life.succeeds(now, now);
    assert_eq!(life.succeeds(now, now), Some(Change::Back));
    assert_eq!(life.fails(now, now + 29, None), Some(lost(60)));
    // Back, and lost again after it.
    now += 29 + 60;
    life.succeeds(now, now);
    life.succeeds(now, now);
    assert_eq!(life.fails(now, now + 30, None), Some(lost(10)));
}

#[test]
fn one_failure_on_trial_is_enough() {
    let mut life = Life::new();
    life.fails(0, 0, None);
    life.succeeds(10, 10);
    assert_eq!(life.fails(10, 11, None), None);
    assert_eq!(life.out_until(), Some(31));
    life.succeeds(31, 31);
    assert_eq!(life.succeeds(31, 31), Some(Change::Back));
}

#[test]
fn the_calls_in_flight_when_it_failed_count_once() {
    let mut life = Life::new();
    assert!(life.fails(0, 1, None).is_some());
    for now in 1..9 {
        assert_eq!(life.fails(0, now, None), None);
    }
    assert_eq!(life.out_until(), Some(11));
    // Nor do they when it is on trial, or back.
    life.fails(0, 12, None);
    assert_eq!(life.out_until(), Some(11));
    life.succeeds(12, 12);
    life.succeeds(12, 12);
    assert_eq!(life.fails(0, 15, None), None);
    assert_eq!(life.ramping_until(), Some(42));
}

#[test]
fn a_success_of_a_call_sent_before_it_was_lost_brings_nothing_back() {
    let mut life = Life::new();
    life.recovery.good_calls = 1;
    life.fails(0, 5, None);
    assert_eq!(life.succeeds(4, 6), None);
    assert_eq!(life.out_until(), Some(15));
    // One that was sent since, for want of a better region, does.
    assert_eq!(life.succeeds(6, 7), Some(Change::Back));
}

#[test]
fn phases_of_one_moment_are_told_apart() {
    let mut life = Life::new();
    life.recovery.good_calls = 1;
    life.fails(0, 0, None);
    assert_eq!(life.succeeds(0, 1), None);
    assert_eq!(life.out_until(), Some(10));
}

#[test]
fn it_is_out_for_as_long_as_the_server_asks_and_only_moves_later() {
    let mut life = Life::new();
    assert_eq!(life.fails(0, 0, Some(300)), Some(lost(300)));
    assert_eq!(life.out_until(), Some(300));
    life.fails(0, 1, Some(5));
    assert_eq!(life.out_until(), Some(300));
    // Not even a success, or a check that finds it well, ends that.
    life.recovery.good_calls = 1;
    assert_eq!(life.succeeds(2, 3), None);
    life.health.found_well(life.at(4));
    assert_eq!(life.out_until(), Some(300));
    assert_eq!(life.succeeds(300, 300), Some(Change::Back));
}

#[test]
fn who_only_asks_to_wait_has_no_cooldown_that_grows() {
    let mut life = Life::new();
    let asks = |life: &mut Life, sent, now, wait| {
        life.health.asked_to_wait(secs(wait), life.at(sent), life.at(now))
    };
    assert_eq!(asks(&mut life, 0, 1, 4), Some(lost(4)));
    // Sent before, and shorter: nothing new.
    assert_eq!(asks(&mut life, 0, 2, 60), None);
    assert_eq!(asks(&mut life, 2, 2, 1), None);
    assert_eq!(life.out_until(), Some(5));
    // Again, on trial, and it only moves later.
    assert_eq!(asks(&mut life, 5, 5, 4), None);
    assert_eq!(life.out_until(), Some(9));
    life.health.found_well(life.at(6));
    assert_eq!(life.out_until(), Some(9));
    assert_eq!(life.fails(9, 9, None), None);
    assert_eq!(life.out_until(), Some(19));
    // Once it has quite come back, what was before is forgotten.
    life.succeeds(19, 19);
    assert_eq!(life.succeeds(19, 19), Some(Change::Back));
    assert_eq!(asks(&mut life, 60, 60, 4), Some(lost(4)));
    assert_eq!(life.fails(64, 64, None), None);
    assert_eq!(life.out_until(), Some(74));
}

#[test]
fn a_check_ends_a_cooldown_but_not_one_that_it_was_wrong_about_before() {
    let mut life = Life::new();
    life.fails(0, 0, None);
    life.health.found_well(life.at(4));
    assert_eq!(life.out_until(), Some(4));
    life.fails(5, 5, None);
    life.health.found_well(life.at(6));
    assert_eq!(life.out_until(), Some(25));
    assert_eq!(life.health.last_check(), Some(life.at(6)));
}

#[test]
fn what_a_check_finds_wanting_is_out_until_the_next_one() {
    let mut life = Life::new();
    let (now, next) = (life.at(1), life.at(17));
    let change = life.health.found_wanting(&RECOVERY, next, now, 0.0);
    assert_eq!(change, Some(lost(10)));
    assert_eq!(life.out_until(), Some(17));
    let (now, next) = (life.at(11), life.at(27));
    assert_eq!(life.health.found_wanting(&RECOVERY, next, now, 0.0), None);
    assert_eq!(life.out_until(), Some(27));
    life.health.found_well(life.at(21));
    assert_eq!(life.out_until(), Some(21));
}

#[test]
fn a_fleet_does_not_come_back_together() {
    let mut life = Life::new();
    life.health.failed(&RECOVERY, None, life.start, life.start, 1.0);
    assert_eq!(life.out_until(), Some(11));
}

#[test]
fn without_a_ramp_it_is_back_at_once() {
    let mut life = Life::new();
    life.recovery.ramp = Duration::ZERO;
    life.recovery.good_calls = 0;
    life.fails(0, 0, None);
    assert_eq!(life.succeeds(10, 10), Some(Change::Back));
    assert_eq!(life.health.standing(TimeOrigin::new(life.start)), Standing::Fit);
}

#[test]
fn a_reset_forgets_all_but_the_check() {
    let mut life = Life::new();
    life.health.found_well(life.at(1));
    assert_eq!(life.health.reset(life.at(2)), None);
    life.fails(2, 2, Some(99));
    assert_eq!(life.health.reset(life.at(3)), Some(Change::Back));
    assert_eq!(life.health.standing(TimeOrigin::new(life.start)), Standing::Fit);
    assert_eq!(life.health.last_check(), Some(life.at(1)));
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
    let mut health = Health::new(now);
    for _ in 0..100 {
        health.failed(&recovery, Some(Duration::MAX), now, now, 1.0);
        health.succeeded(
            &Recovery { good_calls: 0, ..recovery },
            time::after(now, Duration::MAX),
            now,
        );
    }
    assert!(health.standing(TimeOrigin::new(now)).is_out(1));
}
