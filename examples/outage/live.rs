//! The morning as it goes on: what happens, and what was received of it.

use std::io::{IsTerminal, Write, stdout};
use std::sync::Arc;
use std::time::Duration;

use super::replay::customer::RegionView;
use super::replay::{Morning, timeline};
use super::text;

/// How often the clients' standings are shown on a terminal, in simulated time.
const LOOK: Duration = Duration::from_secs(1);

/// Tells of the morning on standard output, until it is over. Must be called within its runtime.
pub(crate) fn watch(morning: &Arc<Morning>) {
    tokio::spawn(print(Arc::clone(morning), stdout().is_terminal()));
}

async fn print(morning: Arc<Morning>, terminal: bool) -> std::io::Result<()> {
    let mut out = stdout();
    let (clear, mut shown) = (if terminal { "\r\x1b[2K" } else { "" }, 0);
    let mut stages = timeline::stages().peekable();
    loop {
        let now = morning.clock.elapsed();
        while let Some((span, stage)) = stages.next_if(|(span, _)| span.start <= now) {
            writeln!(out, "{clear}{}  {}", text::time(span.start), stage.name)?;
        }
        let received = morning.receivers.received();
        for alert in &received[shown..] {
            writeln!(out, "{clear}{}", text::alert(alert))?;
        }
        shown = received.len();
        if terminal {
            write!(out, "{clear}{}", standings(&morning))?;
            out.flush()?;
        }
        morning.clock.wait_until(Some(now + LOOK)).await;
    }
}

/// `07:35  naive 48 ok, 120 failed   by_hand …`
fn standings(morning: &Morning) -> String {
    let mut line = text::time(morning.clock.elapsed());
    for RegionView { name, succeeded, failed } in morning.standings() {
        line += &format!("  {name} {succeeded} ok {failed} failed");
    }
    line
}
