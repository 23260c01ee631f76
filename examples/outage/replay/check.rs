//! What the morning has to show.

use std::time::Duration;

use super::receivers::Received;
use super::report::{ClientReport, Report};

/// One thing to show, and whether it was.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) what: &'static str,
    pub(crate) held: bool,
    /// What was seen.
    pub(crate) seen: String,
}

const AMPLIFICATION: f64 = 1.25;
const SUCCESS_SHARE: f64 = 0.99;
const GAP: Duration = Duration::from_secs(40);
const MESSAGES: usize = 15;

/// Compares a morning with what it has to show, each thing by itself.
pub(crate) fn check(report: &Report) -> Vec<Shown> {
    let [naive, by_hand, layered] = &report.clients;
    let shown = |what, held, seen| Shown { what, held, seen };
    let received = |sink, what: &dyn Fn(&Received) -> bool| {
        report.alerts.iter().filter(|received| received.sink == sink && what(received)).count()
    };
    let (slack, pager) = (received("slack", &|_| true), received("pagerduty", &|_| true));
    let lost = received("slack", &|received| is(received, "region_out", "warning"));
    let all_lost = received("slack", &|received| is(received, "all_regions_out", "critical"));
    let back = received("slack", &|received| is(received, "all_regions_out", "info"));
    let region_back = received("slack", &|received| is(received, "region_out", "info"));
    let critical = |sink| received(sink, &|received| received.severity == "critical");
    let (received, paged) = (critical("slack"), critical("pagerduty"));
    let suspended = |client: &ClientReport| if client.key_suspended { "yes" } else { "no" };
    vec![
        shown(
            "the naive client's key is suspended, the layered one's never",
            naive.key_suspended && !layered.key_suspended,
            format!("{}, {}", suspended(naive), suspended(layered)),
        ),
        shown(
            "layered: amplification ≤ 1.25",
            layered.amplification() <= AMPLIFICATION,
            format!("{:.3}", layered.amplification()),
        ),
        shown(
            "layered wastes < a tenth of the naive client's money",
            layered.wasted_usd < naive.wasted_usd / 10.0,
            format!("{:.3} of {:.3} USD", layered.wasted_usd, naive.wasted_usd),
        ),
        shown(
            "layered wastes < half of the by-hand client's money",
            layered.wasted_usd < by_hand.wasted_usd / 2.0,
            format!("{:.3} of {:.3} USD", layered.wasted_usd, by_hand.wasted_usd),
        ),
        shown(
            "layered: ≥ 99 % succeed while a region replies",
            layered.outside.success_share >= SUCCESS_SHARE,
            format!("{:.2} %", layered.outside.success_share * 100.0),
        ),
        shown(
            "layered: longest gap while a region replies ≤ 40 s",
            layered.outside.longest_gap <= GAP,
            format!("{:.1} s", layered.outside.longest_gap.as_secs_f64()),
        ),
        shown(
            "layered: nothing is spent on a suspended key",
            layered.answered_401 == 0,
            format!("{} calls", layered.answered_401),
        ),
        shown(
            "Slack received of the lost region, of all lost, and of recovery",
            lost > 0 && all_lost > 0 && back > 0 && region_back > 0,
            format!("{lost}, {all_lost}, {region_back} + {back}"),
        ),
        shown(
            "PagerDuty received of all that is critical",
            paged > 0 && paged == received,
            format!("{paged} of {received}"),
        ),
        shown(
            "each sink got at most 15 messages",
            slack <= MESSAGES && pager <= MESSAGES,
            format!("Slack {slack}, PagerDuty {pager}"),
        ),
    ]
}

fn is(received: &Received, kind: &str, severity: &str) -> bool {
    received.kind == kind && received.severity == severity
}
