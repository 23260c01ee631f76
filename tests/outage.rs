//! The outage example: what it has to show, that it is repeatable, and that its parts are right.

#[allow(dead_code)] // its `main`, and what only that needs
#[path = "../examples/outage/main.rs"]
mod outage;

use outage::replay::check::check;
use outage::replay::clock::Pace;
use outage::replay::play;
use outage::replay::report::Report;

fn morning(pace: Pace, seed: u64) -> Report {
    play(pace, seed, |_| {}).unwrap()
}

fn shows(pace: Pace, seed: u64) {
    let failed: Vec<_> =
        check(&morning(pace, seed)).into_iter().filter(|shown| !shown.held).collect();
    assert!(failed.is_empty(), "seed {seed}: {failed:#?}");
}

#[test]
fn mornings_show_what_they_have_to() {
    for seed in 1..=4 {
        shows(Pace::Virtual, seed);
    }
}

#[test]
fn a_morning_over_real_sockets_does_too() {
    shows(Pace::Faster(24), 1);
}

#[test]
fn a_seed_is_exactly_repeatable() {
    let json = |seed| morning(Pace::Virtual, seed).json().to_string();
    let first = json(7);
    assert_eq!(json(7), first);
    assert_ne!(json(8), first);
}

#[test]
fn the_numbers_add_up() {
    let report = morning(Pace::Virtual, 3);
    for client in &report.clients {
        assert_eq!(client.logical_requests, 17 * 48);
        assert_eq!(client.succeeded + client.failed, client.logical_requests);
        assert_eq!(client.sent_requests + client.rejected_locally, client.logical_requests);
        assert_eq!(client.by_region.values().sum::<u64>(), client.wire_attempts);
        let answered = (client.spend_usd - client.wasted_usd) / 0.008;
        assert_eq!(answered.round() as u64, client.succeeded);
        assert!(client.wire_attempts as f64 >= client.spend_usd / 0.008);
    }
}

#[test]
fn the_table_fits_on_a_screen() {
    let report = morning(Pace::Virtual, 5);
    let mut out = Vec::new();
    outage::table::print(&mut out, &report, &check(&report)).unwrap();
    for line in String::from_utf8(out).unwrap().lines() {
        assert!(line.chars().count() < 100, "{line}");
    }
}
