//! The closing table.

use std::io::{self, Write};
use std::time::Duration;

use super::replay::check::Shown;
use super::replay::report::{ClientReport, Report};
use super::text;

type Row = (&'static str, fn(&ClientReport) -> String);

const ROWS: [Row; 14] = [
    ("requests", |client| client.logical_requests.to_string()),
    ("  succeeded", |client| client.succeeded.to_string()),
    ("  failed", |client| client.failed.to_string()),
    ("  of these never sent", |client| client.rejected_locally.to_string()),
    ("sent over the wire", |client| client.wire_attempts.to_string()),
    ("  for each request sent", |client| format!("{:.2}", client.amplification())),
    ("answered 429", |client| client.answered_429.to_string()),
    ("answered 401", |client| client.answered_401.to_string()),
    ("key suspended", |client| if client.key_suspended { "yes" } else { "no" }.to_owned()),
    ("spent", |client| usd(client.spend_usd)),
    ("  of that for nothing", |client| usd(client.wasted_usd)),
    ("longest without a success", |client| seconds(Some(client.longest_gap))),
    ("median time to a reply", |client| seconds(client.p50)),
    ("99 % have theirs within", |client| seconds(client.p99)),
];

/// What came of the morning, and whether it shows what it has to.
pub(crate) fn print(out: &mut impl Write, report: &Report, shown: &[Shown]) -> io::Result<()> {
    let line = |name: &str, cells: [String; 3]| {
        let [naive, by_hand, layered] = cells;
        format!("{name:<28}{naive:>14}{by_hand:>14}{layered:>14}")
    };
    writeln!(out, "\n{}", line("", ["naive", "by hand", "layered"].map(str::to_owned)))?;
    for (name, cell) in ROWS {
        writeln!(out, "{}", line(name, report.clients.each_ref().map(cell)))?;
    }
    writeln!(out, "\nAlerts of the layered client")?;
    for received in &report.alerts {
        writeln!(out, "  {}", text::alert(received))?;
    }
    writeln!(out, "\nIt shows")?;
    for Shown { what, held, seen } in shown {
        writeln!(out, "  {} {what:<64}{seen}", if *held { "✓" } else { "✗" })?;
    }
    Ok(())
}

/// A seed in a line.
pub(crate) fn line(seed: u64, report: &Report, shown: &[Shown]) -> String {
    let failed: Vec<String> = shown
        .iter()
        .filter(|shown| !shown.held)
        .map(|shown| format!("{} ({})", shown.what, shown.seen))
        .collect();
    if !failed.is_empty() {
        return format!("seed {seed:<4} FAILED  {}", failed.join("; "));
    }
    let [naive, by_hand, layered] = &report.clients;
    format!(
        "seed {seed:<4} ok  succeeded {}, {} and {}; wasted {}, {} and {}; {:.2} a request",
        naive.succeeded,
        by_hand.succeeded,
        layered.succeeded,
        usd(naive.wasted_usd),
        usd(by_hand.wasted_usd),
        usd(layered.wasted_usd),
        layered.amplification(),
    )
}

fn usd(usd: f64) -> String {
    format!("{usd:.2} USD")
}

fn seconds(time: Option<Duration>) -> String {
    match time.map(|time| time.as_secs_f64()) {
        None => "–".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}
