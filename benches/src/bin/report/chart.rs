//! The README's chart of the cost of a call, beside the peers, as an SVG.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::run::Run;

/// Returns the path of the chart.
fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "costs.svg"].iter().collect()
}

/// Rows that are compared.
struct Group {
    title: &'static str,
    ours: &'static [&'static str],
    peers: &'static [&'static str],
}

const GROUPS: [Group; 4] = [
    Group { title: "retry", ours: &["retry"], peers: &["tower_retry", "tower_resilience_retry"] },
    Group {
        title: "circuit breaker",
        ours: &["circuit_breaker_consecutive", "circuit_breaker_rate"],
        peers: &["failsafe", "recloser", "tower_resilience_circuit_breaker"],
    },
    Group {
        title: "rate limit",
        ours: &["rate_limit"],
        peers: &["governor", "tower_resilience_rate_limiter"],
    },
    Group { title: "the stack", ours: &["stack"], peers: &["tower_resilience_stack"] },
];

impl Group {
    /// Returns the names of the rows with their colours.
    fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let ours = self.ours.iter().map(|name| (*name, "#2a6fdb"));
        ours.chain(self.peers.iter().map(|name| (*name, "#b8bcc4")))
    }
}

const WIDTH: f64 = 760.0;
/// Start of the bars, and length of the longest.
const BARS: (f64, f64) = (280.0, 330.0);
const LINE: f64 = 20.0;
const HEAD: f64 = 48.0;

/// Writes the chart of the run.
pub(crate) fn save(run: &Run) -> io::Result<()> {
    std::fs::write(path(), draw(run))
}

fn draw(run: &Run) -> String {
    let costs = |name: &str| cost(run, name).unwrap_or_default();
    let names = || GROUPS.iter().flat_map(Group::names);
    let longest = names().map(|(name, _)| costs(name).ns).fold(1.0, f64::max);
    let height = HEAD + LINE * (names().count() + GROUPS.len() + 1) as f64;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="22" font-size="14" font-weight="bold">What a call that succeeds costs above the inner service alone</text>
<text x="12" y="40" fill="#555555">nanoseconds and allocations, from one run; an empty request</text>
"##
    );
    let mut y = HEAD;
    for group in &GROUPS {
        y += LINE;
        bold(&mut svg, y, group.title);
        for (name, fill) in group.names() {
            y += LINE;
            bar(&mut svg, y, (name, fill), costs(name), longest);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

#[derive(Clone, Copy, Default)]
struct Cost {
    ns: f64,
    allocations: f64,
}

/// Returns the cost of a row above that of the inner service alone.
fn cost(run: &Run, name: &str) -> Option<Cost> {
    let at = run.rows.iter().position(|row| row.name == name)?;
    let bare = run.rows[at].bare();
    let bare = run.rows.iter().position(|row| row.name == bare)?;
    let (cost, bare) = (run.overheads[at], run.overheads[bare]);
    Some(Cost { ns: cost.ns - bare.ns, allocations: cost.allocations - bare.allocations })
}

fn bold(svg: &mut String, y: f64, title: &str) {
    _ = writeln!(svg, r#"<text x="12" y="{}" font-weight="bold">{title}</text>"#, y + 14.0);
}

fn bar(svg: &mut String, y: f64, (name, fill): (&str, &str), cost: Cost, longest: f64) {
    let (start, most) = BARS;
    let length = (cost.ns.max(0.0) / longest * most).max(1.0);
    let text = y + 14.0;
    _ = writeln!(
        svg,
        r#"<text x="24" y="{text}">{}</text><rect x="{start}" y="{}" width="{length:.1}" height="14" fill="{fill}"/><text x="{:.1}" y="{text}">{:.0} ns{}</text>"#,
        name.replace('_', " "),
        y + 3.0,
        start + length + 6.0,
        cost.ns,
        allocations(cost.allocations.round()),
    );
}

fn allocations(many: f64) -> String {
    match many {
        0.0 => String::new(),
        1.0 => ", 1 allocation".to_owned(),
        many => format!(", {many} allocations"),
    }
}
